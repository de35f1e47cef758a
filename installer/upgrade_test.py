"""Upgrades as far as they are data: what is answered, what is found, what will be done.

GOLDEN_UPDATE=1 rewrites the plan in golden/.
"""

import json
import os
import sys
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
# Installed, it lies one folder higher; in the source tree it does not.
sys.path.append(str(HERE.parent / "dom0-image/prepare"))

import answer_files
import answers
import ask
import disks
import machine
import plan
import upgrade
from answers import Refused

GOLDEN = HERE / "golden/upgrade.txt"
GIB = disks.GIB
EMPTY = disks.Disk("/dev/sda", 40 * GIB)
HOST = disks.Disk("/dev/nvme0n1", 40 * GIB, "disk", ("/dev/disk/by-id/nvme-one",), slot="a")
OTHER = disks.Disk("/dev/sdb", 40 * GIB, slot="b")

TOML = b"""
[disk]
target = "/dev/disk/by-id/nvme-one"
[installer]
mode = "upgrade"
then = "poweroff"
"""

XML = b"""<installation mode="upgrade">
  <existing-installation>nvme0n1</existing-installation>
  <source type="local"/>
</installation>
"""


def never(_):
    raise AssertionError("no password has a place here")


def machine_with(*disks, image_bytes=250 << 20):
    return plan.Machine(disks=disks, nics={}, memory_bytes=8 * GIB, lacks="",
                        medium="/run/medium", image_bytes=image_bytes)


class AnswersTest(unittest.TestCase):
    def refusal(self, data):
        with self.assertRaises(Refused) as refused:
            answer_files.parse(data, never)
        return str(refused.exception)

    def test_both_schemas_say_what_is_upgraded(self):
        self.assertEqual(answer_files.parse(TOML, never), answers.Answers(
            mode="upgrade", disk="/dev/disk/by-id/nvme-one", then="poweroff"))
        self.assertEqual(answer_files.parse(XML, never), answers.Answers(
            mode="upgrade", disk="/dev/nvme0n1"))
        self.assertEqual(answer_files.parse(b"[installer]\nmode = \"upgrade\"\n", never),
                         answers.Answers(mode="upgrade"))

    def test_what_would_change_the_host_is_refused(self):
        self.assertIn("host.hostname", self.refusal(TOML + b"[host]\nhostname = \"x\"\n"))
        self.assertIn("disk.local_sr", self.refusal(
            TOML.replace(b"[installer]", b"local_sr = false\n[installer]")))
        self.assertIn("install, upgrade", self.refusal(TOML.replace(b"upgrade", b"reinstall")))
        self.assertIn("<root-password>", self.refusal(
            XML.replace(b"<source", b"<root-password>x</root-password><source")))
        self.assertIn("existing-installation", self.refusal(
            b"<installation mode=\"upgrade\"></installation>"))


class PlanTest(unittest.TestCase):
    def refusal(self, given, found):
        with self.assertRaises(Refused) as refused:
            upgrade.plan(given, found)
        return str(refused.exception)

    def test_the_slot_that_does_not_start_is_written(self):
        text = plan.text_of(upgrade.plan(answer_files.parse(TOML, never), machine_with(EMPTY, HOST)))
        if os.environ.get("GOLDEN_UPDATE"):
            GOLDEN.write_text(text)
        self.assertEqual(text, GOLDEN.read_text())

    def test_nothing_is_upgraded_where_the_new_system_could_not_be_tried(self):
        found = replace(machine_with(HOST), secure_boot=True)
        self.assertIn("Secure Boot", self.refusal(answer_files.parse(TOML, never), found))

    def test_after_an_upgrade_the_first_slot_is_next(self):
        made = upgrade.plan(answers.Answers(mode="upgrade"), machine_with(OTHER))
        writes = [step.argv for step in made.steps if step.argv[0] == "dd"]
        self.assertEqual(len(writes), 1)
        self.assertIn("of=/dev/sdb3", writes[0])

    def test_nothing_names_the_partition_that_runs(self):
        """Nor the disk, but to write it out: an upgrade makes no file system and no partition."""
        made = upgrade.plan(answer_files.parse(TOML, never), machine_with(HOST))
        for step in made.steps:
            words = " ".join(step.argv)
            self.assertNotIn("/dev/nvme0n1p3", words)
            self.assertNotRegex(words, r"mkfs|wipefs|sfdisk|grub-install")
            self.assertNotIn(f"{plan.BOOT}/a", words)

    def test_the_word_to_grub_comes_when_all_is_on_the_disk(self):
        names = [step.name for step in upgrade.plan(answer_files.parse(TOML, never),
                                                    machine_with(HOST)).steps]
        told = names.index("let the new system be tried")
        for name in ("write the system", "copy Xen and the kernel", "carry settings over",
                     "keep the records as they are", "write the state out",
                     "write the boot file system out"):
            self.assertLess(names.index(name), told)

    def test_both_disks_of_a_mirror_are_written(self):
        pair = [disks.Disk(path, 40 * GIB, slot="a", raid="/dev/md127") for path in
                ("/dev/sda", "/dev/sdb")]
        for given in (answers.Answers(mode="upgrade"),
                      answers.Answers(mode="upgrade", disk="/dev/sdb")):
            made = upgrade.plan(given, machine_with(*pair))
            argv = [step.argv for step in made.steps]
            self.assertIn(("mount", "/dev/md127p3", plan.STATE), argv)
            self.assertEqual([words[2] for words in argv if words[0] == "dd"], ["of=/dev/md127p2"])
            copied = [words[-1] for words in argv if words[0] == "cp"]
            self.assertEqual(copied[:2], [f"{plan.BOOT}/b", f"{plan.BOOT}2/b"])
            self.assertEqual([words[-2] for words in argv if "try" in words],
                             [f"{plan.BOOT}2", plan.BOOT])

    def test_scripts_see_the_new_system(self):
        given = answers.Answers(mode="upgrade", scripts=(
            answers.Script("filesystem-populated", "http://a/b"),))
        made = upgrade.plan(given, machine_with(HOST))
        argv = [step.argv for step in made.steps]
        self.assertIn((plan.script_path(0), plan.ROOT), argv)
        self.assertTrue(any("/dev/nvme0n1p4" in words and plan.IMAGE in words for words in argv))

    def test_what_cannot_be_is_refused(self):
        given = answers.Answers(mode="upgrade")
        self.assertIn("there are: none", self.refusal(given, machine_with(EMPTY)))
        self.assertIn("/dev/nvme0n1, /dev/sdb", self.refusal(given, machine_with(HOST, OTHER)))
        self.assertIn("no host to upgrade on /dev/sda",
                      self.refusal(replace(given, disk="/dev/sda"), machine_with(EMPTY, HOST)))
        self.assertIn("in use", self.refusal(replace(given, disk="/dev/sdb"),
                                             machine_with(replace(OTHER, in_use=True))))
        self.assertIn("larger", self.refusal(given, machine_with(HOST, image_bytes=3 * GIB)))


class MachineTest(unittest.TestCase):
    def disk(self, path, *names, mounted=None):
        return {"path": path, "type": "disk", "size": 9, "model": None, "ro": False,
                "mountpoints": [None], "partlabel": None,
                "children": [{"path": f"{path}{number}", "type": "part", "size": 1,
                              "mountpoints": [mounted], "partlabel": name}
                             for number, name in enumerate(names, 1)]}

    def test_an_installation_is_known_by_its_partitions(self):
        names = ("basalt-bios", "basalt-boot", "basalt-a", "basalt-b", "basalt-state", "basalt-sr")
        listed = json.dumps({"blockdevices": [
            self.disk("/dev/sda", *names), self.disk("/dev/sdb", "EFI", "root"),
            self.disk("/dev/sdc", *names[:3]), self.disk("/dev/sdd", *names[:5], mounted="/x")]})
        looked = []

        def slot_of(path):
            looked.append(path)
            return "b"

        found = machine.parse_disks(listed, {}, slot_of)
        self.assertEqual([disk.slot for disk in found], ["b", "", "", ""])
        self.assertEqual(looked, ["/dev/sda"])

    def test_a_mirror_is_known_by_both_its_disks(self):
        def part(path, name, *children, kind="part"):
            return {"path": path, "type": kind, "mountpoints": [None], "partlabel": name,
                    "children": list(children)}

        volume = part("/dev/mapper/basalt--sr-local", None, kind="lvm")
        array = part("/dev/md127", None, part("/dev/md127p1", "basalt-a"),
                     part("/dev/md127p2", "basalt-b"), part("/dev/md127p3", "basalt-state"),
                     part("/dev/md127p4", "basalt-sr", volume), kind="raid1")
        listed = {"blockdevices": [
            {**self.disk(path, "basalt-bios", "basalt-boot"), "children": [
                part(f"{path}1", "basalt-bios"), part(f"{path}2", "basalt-boot"),
                part(f"{path}3", "basalt-raid", array)]} for path in ("/dev/sda", "/dev/sdb")]}
        found = machine.parse_disks(json.dumps(listed), {}, lambda path: "b")
        for disk in found:
            self.assertEqual((disk.slot, disk.raid), ("b", "/dev/md127"))
            self.assertEqual(disk.parts[-2:], ("basalt-state", "basalt-sr"))
            self.assertEqual(disk.stack, (("lvm", "/dev/mapper/basalt--sr-local"),
                                          ("raid1", "/dev/md127")))
        self.assertEqual(disks.layout_of(found[1], found).boots, ("/dev/sda2", "/dev/sdb2"))
        # An array that does not run is no host that could be upgraded.
        for disk in listed["blockdevices"]:
            disk["children"][2]["children"] = []
        self.assertEqual([disk.slot for disk in machine.parse_disks(json.dumps(listed), {})],
                         ["", ""])

    def test_what_grub_says_of_its_slot_is_read(self):
        self.assertEqual(machine.parse_slot("slot=b\ntrial=a\n"), "b")
        self.assertEqual(machine.parse_slot("slot=z\n"), "")
        self.assertEqual(machine.parse_slot(""), "")


class AskTest(unittest.TestCase):
    def test_a_person_chooses_between_an_upgrade_and_a_new_host(self):
        found = machine_with(EMPTY, HOST)
        said = []
        def person(word):
            return ask.Person(lambda _: word, never, said.append)

        given = ask.ask(person("1"), found, never)
        self.assertEqual(given, answers.Answers(mode="upgrade", disk="/dev/nvme0n1", confirm=True))
        self.assertTrue(any("Upgrade the host on /dev/nvme0n1" in line for line in said))
        with mock.patch.object(ask, "ask_network", side_effect=Refused("asked for a network")), \
                self.assertRaisesRegex(Refused, "asked for a network"):
            ask.ask(person("2"), found, never)

    def test_the_summary_says_what_stays(self):
        said = []
        made = upgrade.plan(answer_files.parse(TOML, never), machine_with(HOST))
        self.assertFalse(ask.confirmed(lambda _: "install", said.append, made))
        self.assertTrue(ask.confirmed(lambda _: "upgrade", lambda _: None, made))
        self.assertIn("settings and VMs stay", "\n".join(said[-12:]))
        self.assertNotIn("erased", "".join(said))


if __name__ == "__main__":
    unittest.main()
