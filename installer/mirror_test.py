"""A disk that is put into the mirror of a host that runs.

GOLDEN_UPDATE=1 rewrites the plan in golden/.
"""

import os
import sys
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
# Installed, it lies one folder higher; in the source tree it does not.
sys.path.append(str(HERE.parent / "dom0-image/prepare"))

import disks
import mirror
import plan
from answers import Refused

GOLDEN = HERE / "golden/mirror_add.txt"
GIB = disks.GIB
LEFT = disks.Disk("/dev/nvme0n1", 40 * GIB, in_use=True, raid="/dev/md127")
NEW = disks.Disk("/dev/nvme1n1", 40 * GIB, links=("/dev/disk/by-id/new",),
                 stack=(("lvm", "/dev/mapper/old"),))


class MirrorTest(unittest.TestCase):
    def refusal(self, wanted, *found):
        with self.assertRaises(Refused) as refused:
            mirror.plan_add(wanted, found)
        return str(refused.exception)

    def test_the_new_disk_gets_what_starts_the_host_and_joins(self):
        text = plan.text_of(mirror.plan_add("/dev/disk/by-id/new", (LEFT, NEW)))
        if os.environ.get("GOLDEN_UPDATE"):
            GOLDEN.write_text(text)
        self.assertEqual(text, GOLDEN.read_text())

    def test_nothing_is_written_on_the_disk_that_is_left(self):
        for step in mirror.plan_add("/dev/nvme1n1", (LEFT, NEW)).steps:
            if any(word.startswith(LEFT.path) for word in step.argv):
                self.assertEqual(step.argv[:3], ("mount", "-o", "ro"))

    def test_what_cannot_be_is_refused(self):
        self.assertIn("no mirror", self.refusal("/dev/nvme1n1", replace(LEFT, raid=""), NEW))
        self.assertIn("both of its disks", self.refusal(
            "/dev/sdc", LEFT, replace(NEW, raid="/dev/md127"), disks.Disk("/dev/sdc", 40 * GIB)))
        self.assertIn("in use", self.refusal("/dev/nvme0n1", LEFT, NEW))
        self.assertIn("smaller", self.refusal("/dev/nvme1n1", LEFT,
                                              replace(NEW, size_bytes=39 * GIB)))
        self.assertIn("no disk /dev/sdz", self.refusal("/dev/sdz", LEFT, NEW))

    def test_only_the_word_begins(self):
        with mock.patch.object(mirror.machine, "list_disks", return_value=""), \
                mock.patch.object(mirror.machine, "parse_disks", return_value=(LEFT, NEW)), \
                mock.patch.object(mirror.execute, "execute") as execute, \
                mock.patch("builtins.print"):
            for word, status in (("no", 1), ("add", 0)):
                with mock.patch("builtins.input", return_value=word):
                    self.assertEqual(mirror.main(["/dev/nvme1n1"]), status)
            self.assertEqual(mirror.main([]), 2)
        execute.assert_called_once()


if __name__ == "__main__":
    unittest.main()
