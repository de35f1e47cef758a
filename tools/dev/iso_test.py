"""What of a medium is compiled from a source tree: its hypervisor, the UEFI of guests."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
import iso
from paths import DevError

MAKEFILE = """\
export XEN_VERSION       = 4
export XEN_SUBVERSION    = 20
export XEN_EXTRAVERSION ?= .4$(XEN_VENDORVERSION)
export XEN_FULLVERSION   = $(XEN_VERSION).$(XEN_SUBVERSION)$(XEN_EXTRAVERSION)
"""


class Compiled(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.tree = self.folder / "tree"
        self.runs = []
        self.enterContext(mock.patch.object(iso, "cache", lambda: self.folder))
        self.enterContext(mock.patch.object(iso, "logged", self.compile))
        self.enterContext(mock.patch.object(iso, "write_apt", lambda _: ["sources", "conf"]))
        self.enterContext(contextlib.redirect_stderr(io.StringIO()))

    @staticmethod
    def put(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def compile(self, argv):
        raise NotImplementedError


class OwnXen(Compiled):
    def setUp(self):
        super().setUp()
        self.base = self.folder / "base"
        self.put(self.tree / "xen/Makefile", MAKEFILE)
        self.put(self.tree / "Config.mk", "")
        self.put(self.base / "boot/xen-4.20-amd64.config", "# CONFIG_SHADOW_PAGING is not set\n")

    def compile(self, argv):
        self.runs.append(argv)
        self.assertEqual((Path(argv[3]) / "xen/Makefile").read_text(), MAKEFILE)
        self.put(Path(argv[-1]) / "xen.gz", "a hypervisor")

    def test_it_is_made_once_for_the_same_tree(self):
        made = iso.ensure_xen(self.tree, self.base)
        self.assertEqual((made / "xen.gz").read_text(), "a hypervisor")
        self.assertEqual((made / "version").read_text(), "4.20.4\n")
        self.assertEqual(iso.ensure_xen(self.tree, self.base), made)
        self.assertEqual(len(self.runs), 1)
        self.put(self.tree / "xen/common/fix.c", "int fixed;\n")
        self.assertNotEqual(iso.ensure_xen(self.tree, self.base), made)
        self.put(self.base / "boot/xen-4.20-amd64.config", "CONFIG_HVM=y\n")
        iso.ensure_xen(self.tree, self.base)
        self.assertEqual(len(self.runs), 3)

    def test_what_does_not_fit_the_tools_is_refused(self):
        self.put(self.tree / "xen/Makefile", MAKEFILE.replace("= 20", "= 21"))
        with self.assertRaisesRegex(DevError, "is Xen 4.21.4, and Debian's tools"):
            iso.ensure_xen(self.tree, self.base)
        self.put(self.tree / "xen/Makefile", "all:\n")
        with self.assertRaisesRegex(DevError, "does not say which version"):
            iso.ensure_xen(self.tree, self.base)
        with self.assertRaisesRegex(DevError, "is not Xen's source"):
            iso.ensure_xen(self.folder, self.base)
        self.assertEqual(self.runs, [])


class Firmware(Compiled):
    def compile(self, argv):
        self.runs.append(Path(argv[0]).name)
        self.assertTrue((Path(argv[3]) / "OvmfPkg/OvmfXen.dsc").exists())
        self.put(Path(argv[-1]) / "OvmfXen.fd", "a firmware")


class OwnOvmf(Firmware):
    def test_it_is_made_once_for_the_same_tree(self):
        self.put(self.tree / "OvmfPkg/OvmfXen.dsc", "")
        made = iso.ensure_ovmf(self.tree)
        self.assertEqual((made / "OvmfXen.fd").read_text(), "a firmware")
        version = (made / "version").read_text()
        self.assertRegex(version, r"^[0-9a-f]{12}\n$")
        self.assertEqual(iso.ensure_ovmf(self.tree), made)
        self.assertEqual(self.runs, ["own-ovmf.sh"])
        self.put(self.tree / "MdePkg/fix.c", "int fixed;\n")
        fixed = iso.ensure_ovmf(self.tree)
        self.assertNotEqual((fixed / "version").read_text(), version)
        self.assertEqual(len(self.runs), 2)

    def test_another_tree_is_refused(self):
        with self.assertRaisesRegex(DevError, "is not edk2's source"):
            iso.ensure_ovmf(self.tree)
        self.assertEqual(self.runs, [])


class DebianOvmf(Firmware):
    """What the archive gives, in place of a tree of one's own."""

    gives = True

    def compile(self, argv):
        if Path(argv[0]).name != "source.sh":
            super().compile(argv)
            return
        self.runs.append("source.sh")
        self.assertEqual(argv[3], "edk2")
        if not self.gives:
            raise DevError("source.sh ended with 100")
        self.put(Path(argv[-1]) / "tree/OvmfPkg/OvmfXen.dsc", "")
        self.put(Path(argv[-1]) / "version", "2025.02-8\n")

    def test_it_is_fetched_and_compiled_once(self):
        made = iso.chosen_ovmf(True, None)
        self.assertEqual((made / "OvmfXen.fd").read_text(), "a firmware")
        self.assertEqual((made / "version").read_text(), "2025.02-8\n")
        self.assertEqual(iso.chosen_ovmf(True, None), made)
        self.assertEqual(self.runs, ["source.sh", "own-ovmf.sh"])
        # Nothing of the source is kept.
        self.assertEqual(list(self.folder.iterdir()), [made])

    def test_an_archive_that_lacks_it_leaves_two_ways(self):
        self.gives = False
        with self.assertRaisesRegex(DevError, "--ovmf-source DIR.* --no-ovmf"):
            iso.chosen_ovmf(True, None)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertIsNone(iso.chosen_ovmf(False, None))
        self.put(self.tree / "OvmfPkg/OvmfXen.dsc", "")
        self.assertTrue((iso.chosen_ovmf(True, self.tree) / "OvmfXen.fd").exists())
        self.assertEqual(self.runs, ["source.sh", "own-ovmf.sh"])


if __name__ == "__main__":
    unittest.main()
