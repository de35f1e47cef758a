"""What is on the medium: which packages, which files with privileges, which boot loaders."""

import hashlib
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import build_root
import medium
import paths

ISO_BYTES_MAX = 500 << 20
# What UEFI finds on the medium -> which file of the control domain it is, byte for byte.
LOADERS = {"EFI/BOOT/BOOTX64.EFI": "usr/lib/shim/shimx64.efi.signed",
           "EFI/BOOT/mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
           "EFI/BOOT/grubx64.efi": "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"}
# Not in the signed GRUB, which loads it from the medium.
MODULE = "usr/lib/grub/x86_64-efi/multiboot2.mod"


def inside(command, folder):
    """What a program of the build root says; it sees `folder` too."""
    argv = build_root.entered(build_root.ensure(), command, ["--bind", folder, folder])
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=True).stdout


class Medium(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.image = medium.image()

    def beside(self, suffix):
        return Path(f"{self.image}{suffix}").read_text()

    def xorriso(self, *words):
        return inside(["xorriso", "-indev", str(self.image), *words], str(self.image.parent))

    def test_it_is_small(self):
        self.assertLess(self.image.stat().st_size, ISO_BYTES_MAX)

    def test_its_checksum_is_beside_it(self):
        with open(self.image, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.assertEqual(self.beside(".sha256").split(), [digest, self.image.name])

    def test_the_packages_are_those_that_somebody_looked_at(self):
        """A package that comes or goes is a line in a diff of packages.txt."""
        lines = self.beside(".packages").splitlines()
        names = [line.split()[0] for line in lines
                 if not line.startswith(("own-xen ", "own-ovmf "))]
        self.assertEqual(names, (HERE / "packages.txt").read_text().split())
        # Of each the very file, so that the same medium can be made again.
        for line in lines:
            self.assertRegex(line, r"^\S+ \S+ [0-9a-f]{64}$")

    @unittest.skipIf("BASALT_ISO" in os.environ, "somebody's own medium may lack it")
    def test_its_hosts_have_a_uefi_for_guests(self):
        if not medium.ovmf():
            self.skipTest("the archive lacks its source today")
        self.assertTrue(medium.has_own_ovmf())

    def test_no_program_of_the_control_domain_gives_privileges(self):
        self.assertEqual(self.beside(".setuid"), "")

    def test_it_boots_by_bios_and_by_uefi(self):
        report = self.xorriso("-report_el_torito", "plain")
        self.assertRegex(report, r"El Torito boot img :\s+1\s+BIOS\s+y")
        self.assertRegex(report, r"El Torito boot img :\s+2\s+UEFI\s+y")
        # From a USB stick too: a partition table over the same bytes.
        self.assertIn("MBR", self.xorriso("-report_system_area", "plain"))

    def test_uefi_starts_what_debian_has_signed(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix=".loaders-",
                                                               dir=paths.cache()))
        script = f"""set -e
            xorriso -osirrox on -indev {self.image} -extract /efi.img {folder}/efi.img \\
                -extract /live/root.squashfs {folder}/root -extract /boot/grub/x86_64-efi \\
                {folder}/modules
            unsquashfs -quiet -no-progress -dest {folder}/system {folder}/root \\
                {' '.join([*LOADERS.values(), MODULE])}
            mcopy -s -i {folder}/efi.img ::EFI {folder}/
            """
        subprocess.run(build_root.entered(
            build_root.ensure(), ["bash", "-c", script],
            ["--bind", str(self.image.parent), str(self.image.parent)]), check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        same = {**LOADERS, f"modules/{Path(MODULE).name}": MODULE}
        for found, source in same.items():
            self.assertEqual(Path(folder, found).read_bytes(),
                             Path(folder, "system", source).read_bytes(), found)

    def test_everything_that_boots_is_on_it(self):
        found = set(self.xorriso("-find", "/", "-type", "f").replace("'", "").split())
        self.assertTrue({"/boot/xen.gz", "/boot/vmlinuz", "/boot/initrd.img",
                         "/boot/grub/grub.cfg", "/boot/grub/secure-boot.cfg",
                         "/live/root.squashfs", "/sha256sums",
                         "/packages"} <= found, sorted(found)[:40])


if __name__ == "__main__":
    unittest.main()
