"""The same commit and the same packages make the same medium, byte for byte.

Our packages and the medium are made twice here, from one build and one Debian root. With
BASALT_REPRODUCE=base that root is made twice, too, from the archive as it is today.
"""

import hashlib
import os
import stat
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import build
import iso
import medium
import paths
import web

FASTEST_LEVEL = 1


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder):
    return {path.name: digest(path) for path in folder.iterdir()}


def contents(tree):
    """All that an image has of a tree: path -> (mode, owner, time, what is in it)."""
    found = {}
    for path in tree.rglob("*"):
        status = path.lstat()
        inside = ""
        if stat.S_ISLNK(status.st_mode):
            inside = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            inside = digest(path)
        found[str(path.relative_to(tree))] = (
            oct(status.st_mode), status.st_uid, status.st_gid, int(status.st_mtime), inside)
    return found


class Reproducible(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # In the cache: the build root sees that folder, and has it at the same place.
        scratch = tempfile.TemporaryDirectory(prefix=".reproduced-", dir=paths.cache())
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        preset = os.environ.get("BASALT_PRESET", "release")
        cls.programs = build.programs(preset)
        web.ensure(preset)

    def make(self, name):
        """The digests of our packages, and of the medium with what is listed beside it."""
        debs, media = self.folder / f"{name}-debs", self.folder / name
        debs.mkdir()
        media.mkdir()
        iso.make_packages(self.programs, debs)
        iso.make_image(iso.ensure_base(), debs, media / "basalt.iso", FASTEST_LEVEL,
                       ovmf=medium.ovmf())
        return digests(debs), digests(media)

    def test_packages_and_medium_made_twice_are_the_same_bytes(self):
        packages, media = self.make("first")
        self.assertEqual(len(packages), 3)
        self.assertEqual(set(media), {"basalt.iso", "basalt.iso.packages", "basalt.iso.setuid",
                                      "basalt.iso.sha256"})
        packages_again, media_again = self.make("second")
        self.assertEqual(packages, packages_again)
        self.assertEqual(media, media_again)

    @unittest.skipUnless(os.environ.get("BASALT_REPRODUCE") == "base",
                         "downloads the packages of the root; BASALT_REPRODUCE=base asks for it")
    def test_the_root_made_again_has_the_same_contents(self):
        self.maxDiff = None
        there = contents(iso.ensure_base())
        again = contents(iso.make_base(self.folder / "root"))
        self.assertEqual({path: (there.get(path), again.get(path))
                          for path in there.keys() | again.keys()
                          if there.get(path) != again.get(path)}, {})


if __name__ == "__main__":
    unittest.main()
