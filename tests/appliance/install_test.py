"""An unattended installation from the medium onto an empty disk, and the host that it makes.

BASALT_ISO names a medium that is there already. Everything is emulated, so patient.
"""

import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import boot
import build_root
import machine
import medium

DISK_GIB = 20
PASSWORD = "installed7"
ANSWERS = f"""\
[disk]
target = "/dev/vda"
[network]
device = "52:54:00:BA:5A:17"
[host]
hostname = "host7"
password = "{PASSWORD}"
timezone = "Europe/Berlin"
[installer]
then = "poweroff"
"""


def inside(argv, folder):
    subprocess.run(build_root.entered(build_root.ensure(), argv,
                                      ["--bind", str(folder), str(folder)]), check=True)


def empty_disk(folder):
    disk = folder / "disk.qcow2"
    inside(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), f"{DISK_GIB}G"], folder)
    return disk


def answers_disk(folder):
    """A file system with the label by which the installer finds its answers."""
    tree = folder / "answers"
    tree.mkdir()
    (tree / "answers.toml").write_text(ANSWERS)
    raw, disk = folder / "answers.img", folder / "answers.qcow2"
    with open(raw, "wb") as file:
        file.truncate(4 << 20)
    inside(["mkfs.ext4", "-q", "-L", "BASALT-ANSWERS", "-d", str(tree), str(raw)], folder)
    inside(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(disk)], folder)
    return disk


def choose_installation(console):
    """The menu's entry for the serial line has a key of its own."""
    console.wait("run from this medium", machine.BOOT_SECONDS)
    console.type("s")


class Installed(unittest.TestCase):
    uefi = False

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="basalt-install-")
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        cls.disk = empty_disk(cls.folder)
        cls.install()

    @classmethod
    def install(cls):
        made = boot.Machine(medium.image(), cls.folder, cls.uefi, bootindex=0,
                            disks=[cls.disk, answers_disk(cls.folder)])
        began = time.monotonic()
        with boot.Running(made) as running:
            console = machine.Console(running)
            choose_installation(console)
            console.wait(r"The host is installed, after (\d+) s", machine.BOOT_SECONDS)
            while not running.ended():
                time.sleep(1)
        print(f"installed {time.monotonic() - began:.0f} s after power-on", file=sys.stderr)

    def test_it_starts_by_itself_keeps_its_identity_and_forgets_nothing(self):
        told = []
        for _ in range(2):
            port = machine.free_port()
            made = boot.Machine(None, self.folder, self.uefi, forwarded={port: 443},
                                disks=[self.disk])
            with boot.Running(made) as running:
                console = machine.Console(running)
                console.wait("host7 login: ", machine.BOOT_SECONDS)
                self.assertNotIn("This is a live system", running.text())
                api = machine.log_in_to_api(port, PASSWORD)
                host = api.call("host.get_all")[0]
                record = api.call("host.get_record", host)
                self.assertEqual(record["hostname"], "host7")
                self.assertRegex(record["software_version"]["xen"], r"^4\.20\.")
                told.append((record["uuid"], [api.call("VM.get_name_label", vm)
                                              for vm in sorted(api.call("VM.get_all"))]))
                console.log_in(PASSWORD)
                self.assertRegex(console.run("findmnt -n -o LABEL /var/lib/basalt/sr/local"),
                                 "BASALT-SR")
                self.assertRegex(console.run("findmnt -n -o FSTYPE /"), "overlay")
                api.call("VM.create", machine.vm_record("kept"))
                console.run("sync; systemctl --no-block poweroff")
                while not running.ended():
                    time.sleep(1)
        (first, before), (again, after) = told
        self.assertEqual(first, again)
        self.assertNotIn("kept", before)
        self.assertIn("kept", after)


if __name__ == "__main__":
    unittest.main()
