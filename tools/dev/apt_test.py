"""Which of a machine's apt sources count as Debian mirrors."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import apt
import build_root

DEB822 = """\
Types: deb
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
FOREIGN = """\
deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] https://apt.example/debian bookworm main
deb https://tools.example/apt cloud-sdk-bookworm main
deb-src http://mirror.example/debian bookworm main
# deb http://commented.example/debian bookworm main
"""


class Sources(unittest.TestCase):
    def test_deb822(self):
        mirrors = apt.debian_mirrors(apt.deb822_entries(DEB822))
        self.assertEqual(mirrors, ("http://mirror.example/debian",
                                   "http://mirror.example/debian-security"))

    def test_one_line(self):
        text = "deb [trusted=yes] http://a.example/debian trixie main contrib # here\n"
        self.assertEqual(apt.debian_mirrors(apt.one_line_entries(text)),
                         ("http://a.example/debian", None))

    def test_foreign_archives_are_left_out(self):
        self.assertEqual(apt.debian_mirrors(apt.one_line_entries(FOREIGN)), (None, None))
        ubuntu = "deb http://archive.example/ubuntu noble main universe\n"
        self.assertEqual(apt.debian_mirrors(apt.one_line_entries(ubuntu)), (None, None))

    def test_a_disabled_stanza_is_left_out(self):
        disabled = DEB822.replace("Types: deb\n", "Types: deb\nEnabled: no\n")
        self.assertEqual(apt.debian_mirrors(apt.deb822_entries(disabled)), (None, None))

    def test_mirror_list(self):
        with tempfile.NamedTemporaryFile("w", suffix=".list") as file:
            file.write("http://b.example/debian priority:1\n")
            file.flush()
            entries = apt.one_line_entries(f"deb mirror+file:{file.name} bookworm main\n")
            self.assertEqual(apt.debian_mirrors(entries), ("http://b.example/debian", None))

    def test_the_machine_that_is_debian_13(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write('ID=debian\nVERSION_CODENAME="trixie"\n')
            file.flush()
            self.assertTrue(build_root.machine_is_debian_13(Path(file.name)))
        self.assertFalse(build_root.machine_is_debian_13(Path("/nonexistent")))


if __name__ == "__main__":
    unittest.main()
