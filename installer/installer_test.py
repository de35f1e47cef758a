"""The installer as far as it is data: answers, plans, and what goes wrong on the way.

GOLDEN_UPDATE=1 rewrites the plans in golden/.
"""

import json
import os
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import answers
import ask
import execute
import machine
import plan
from answers import Refused

GOLDEN = Path(__file__).resolve().parent / "golden"
GIB = plan.GIB
HASH = "$6$salt$hash"

TOML = b"""
[disk]
target = "/dev/disk/by-id/virtio-one"
[network]
device = "eth1"
address = "192.0.2.10/24"
gateway = "192.0.2.1"
dns = ["192.0.2.2", "192.0.2.3"]
[host]
hostname = "host1.example.org"
password = "secret1"
timezone = "Europe/Berlin"
ntp = ["192.0.2.4", "ntp.example.org"]
[installer]
then = "poweroff"
"""

XML = b"""<?xml version="1.0"?>
<!-- as users have it -->
<installation mode="fresh" srtype="ext">
  <primary-disk guest-storage="no">sda</primary-disk>
  <guest-disks/>
  <keymap>de</keymap>
  <root-password type="hash">$6$salt$hash</root-password>
  <source type="local"/>
  <admin-interface name="eth0" proto="static">
    <ip>192.0.2.10</ip><subnet-mask>255.255.255.0</subnet-mask><gateway>192.0.2.1</gateway>
  </admin-interface>
  <nameserver>192.0.2.2</nameserver>
  <hostname>host1</hostname>
  <timezone>Europe/Berlin</timezone>
  <ntp-servers>192.0.2.4</ntp-servers>
</installation>
"""


def hashed(plain):
    return HASH if plain == "secret1" else f"$6$other${plain}"


def machine_with(*disks, **changes):
    made = plan.Machine(disks=disks, nics={"eth0": "52:54:00:00:00:01", "eth1": "52:54:00:00:00:02"},
                        memory_bytes=8 * GIB, virtualises=True, medium="/run/medium",
                        image_bytes=250 << 20)
    return replace(made, **changes)


ONE = plan.Disk("/dev/vda", 40 * GIB, "disk", ("/dev/disk/by-id/virtio-one",))
NVME = plan.Disk("/dev/nvme0n1", 40 * GIB)


class AnswersTest(unittest.TestCase):
    def refusal(self, text):
        with self.assertRaises(Refused) as refused:
            answers.parse(text.encode(), hashed)
        return str(refused.exception)

    def test_our_own_schema_is_read(self):
        self.assertEqual(answers.parse(TOML, hashed), answers.Answers(
            password_hash=HASH, disk="/dev/disk/by-id/virtio-one", hostname="host1.example.org",
            network=answers.Network("eth1", "192.0.2.10/24", "192.0.2.1",
                                    ("192.0.2.2", "192.0.2.3")),
            timezone="Europe/Berlin", ntp=("192.0.2.4", "ntp.example.org"), then="poweroff"))

    def test_a_password_is_all_that_must_be_answered(self):
        self.assertEqual(answers.parse(b'[host]\npassword_hash = "$6$salt$hash"\n', hashed),
                         answers.Answers(password_hash=HASH))

    def test_the_xml_of_other_installers_says_the_same(self):
        self.assertEqual(answers.parse(XML, hashed), answers.Answers(
            password_hash=HASH, disk="/dev/sda", local_sr=False, hostname="host1",
            network=answers.Network("eth0", "192.0.2.10/24", "192.0.2.1", ("192.0.2.2",)),
            timezone="Europe/Berlin", ntp=("192.0.2.4",)))

    def test_what_is_done_otherwise_is_noted(self):
        text = XML.decode().replace('srtype="ext"', "").replace(
            '<source type="local"/>', '<source type="url">http://192.0.2.9/</source>')
        notes = answers.parse(text.encode(), hashed).notes
        self.assertEqual(len(notes), 2)
        self.assertIn("lvm", notes[0])
        self.assertIn("repository", notes[1])

    def test_misspelt_and_wrong_answers_are_refused_with_the_reason(self):
        good = TOML.decode()
        for old, new, reason in [
                ("[disk]", "[disc]", "[disc]"), ("target", "traget", "disk.traget"),
                ('"192.0.2.10/24"', '"192.0.2.10"', "lacks its prefix"),
                ('"192.0.2.1"', '"198.51.100.1"', "not in the network"),
                ('"192.0.2.10/24"', '"dhcp"', "With DHCP"), ('"eth1"', '""', "a network device"),
                ('"secret1"', '"short"', "6 characters"), ('"host1.example.org"', '"a b"', "host name"),
                ('"Europe/Berlin"', '"../../etc/passwd"', "time zone"),
                ('"poweroff"', '"dance"', "reboot, poweroff, shell"),
                ('"192.0.2.3"]', "7]", "network.dns"), ("[host]", "[host", "cannot be read")]:
            with self.subTest(new):
                self.assertIn(reason, self.refusal(good.replace(old, new, 1)))

    def test_xml_that_asks_for_more_than_this_installer_does_is_refused(self):
        good = XML.decode()
        for old, new, reason in [
                ("fresh", "reinstall", "fresh installations and upgrades"), (">sda<", ">sda,sdb<", "RAID"),
                ("<guest-disks/>", "<guest-disk>sdb</guest-disk>", "primary disk only"),
                ('name="eth0"', 'name="eth0" vlan="7"', "VLAN"),
                ('proto="static"', 'proto="none"', "not dhcp or static"),
                ("<keymap>", "<script>x</script><keymap>", "<script>"),
                ('<source type="local"/>', '<ntp source="dhcp"/>', "exclude each other"),
                ('guest-storage="no"', 'guest-storage="perhaps"', "neither true nor false"),
                ('<?xml version="1.0"?>', '<!DOCTYPE a [<!ENTITY b "c">]>', "declarations"),
                ("</installation>", "", "cannot be read")]:
            with self.subTest(new):
                self.assertIn(reason, self.refusal(good.replace(old, new, 1)))
        self.assertIn("not text", str(self.assert_refused(b"\xff\xfe")))

    def assert_refused(self, data):
        with self.assertRaises(Refused) as refused:
            answers.parse(data, hashed)
        return refused.exception


class PlanTest(unittest.TestCase):
    def check(self, name, made):
        path = GOLDEN / f"{name}.txt"
        text = plan.text_of(made)
        if os.environ.get("GOLDEN_UPDATE"):
            path.write_text(text)
        self.assertEqual(text, path.read_text())

    def refusal(self, given, found):
        with self.assertRaises(Refused) as refused:
            plan.plan(given, found)
        return str(refused.exception)

    def test_a_plan_with_a_local_sr(self):
        self.check("local_sr", plan.plan(answers.parse(TOML, hashed), machine_with(ONE)))

    def test_a_plan_without_one_by_xml_on_a_disk_whose_partitions_have_a_p(self):
        given = replace(answers.parse(XML, hashed), disk="/dev/nvme0n1", notes=("A note.",))
        self.check("nvme", plan.plan(given, machine_with(ONE, NVME, virtualises=False)))

    def test_the_text_keeps_the_secret_that_the_step_writes(self):
        made = plan.plan(answers.parse(TOML, hashed), machine_with(ONE))
        kept = next(step for step in made.steps if step.path)
        self.assertEqual(json.loads(kept.text)["password_hash"], HASH)
        self.assertEqual(kept.mode, 0o600)
        self.assertEqual(json.loads(kept.text)["network"]["mac"], "52:54:00:00:00:02")
        self.assertNotIn(HASH, plan.text_of(made))

    def test_nothing_is_written_before_the_medium_is_checked(self):
        made = plan.plan(answers.parse(TOML, hashed), machine_with(ONE))
        self.assertEqual(made.steps[0].argv[:2], ("sha256sum", "--check"))

    def test_what_cannot_be_is_refused(self):
        given = answers.Answers(password_hash=HASH)
        busy = replace(ONE, in_use=True)
        self.assertIn("no disk", self.refusal(given, machine_with(busy, replace(NVME, read_only=True))))
        self.assertEqual(plan.plan(given, machine_with(busy, NVME)).disk, "/dev/nvme0n1")
        self.assertIn("in use", self.refusal(replace(given, disk="/dev/vda"), machine_with(busy)))
        self.assertIn("there are: /dev/vda", self.refusal(replace(given, disk="/dev/sdx"),
                                                          machine_with(ONE)))
        self.assertIn("GiB are needed", self.refusal(given, machine_with(plan.Disk("/dev/vda", 13 * GIB))))
        self.assertIn("memory", self.refusal(given, machine_with(ONE, memory_bytes=GIB)))
        self.assertIn("network device", self.refusal(given, machine_with(ONE, nics={})))
        self.assertIn("no network device eth7", self.refusal(
            replace(given, network=answers.Network("eth7")), machine_with(ONE)))
        self.assertIn("larger", self.refusal(given, machine_with(ONE, image_bytes=3 * GIB)))

    def test_the_smallest_disk_that_is_accepted_holds_all_partitions(self):
        given = answers.Answers(password_hash=HASH)
        for local_sr in (True, False):
            size = GIB
            while True:
                try:
                    plan.plan(replace(given, local_sr=local_sr), machine_with(plan.Disk("/dev/a", size)))
                    break
                except Refused:
                    size += plan.MIB
            fixed = sum(part or 0 for _, _, part in plan.partitions(local_sr))
            rest = plan.SR_BYTES_MIN if local_sr else plan.STATE_BYTES
            self.assertGreaterEqual(size, fixed + rest + 2 * plan.MIB)


class MachineTest(unittest.TestCase):
    def test_disks_are_read_with_what_is_mounted_below_them(self):
        listed = json.dumps({"blockdevices": [
            {"path": "/dev/sr0", "type": "rom", "size": 5, "model": "CD", "ro": False, "mountpoints": ["/m"]},
            {"path": "/dev/loop0", "type": "loop", "size": 5, "model": None, "ro": True, "mountpoints": []},
            {"path": "/dev/sda", "type": "disk", "size": 7, "model": "A ", "ro": False, "mountpoints": [None],
             "children": [{"path": "/dev/sda1", "type": "part", "size": 3, "mountpoints": ["/x"]}]},
            {"path": "/dev/sdb", "type": "disk", "size": 9, "model": None, "ro": True, "mountpoints": [None]},
            {"path": "/dev/sdc", "type": "disk", "size": 0, "model": None, "ro": False, "mountpoints": []}]})
        self.assertEqual(machine.parse_disks(listed, {"/dev/sdb": ["/dev/disk/by-id/b"]}), (
            plan.Disk("/dev/sda", 7, "A", (), True, False),
            plan.Disk("/dev/sdb", 9, "", ("/dev/disk/by-id/b",), False, True)))

    def test_memory_and_processor_are_read(self):
        self.assertEqual(machine.parse_memory("MemTotal:  2048 kB\nMemFree: 1 kB\n"), 2 << 20)
        self.assertTrue(machine.parse_virtualises("model\t: x\nflags\t\t: fpu svm npt\n"))
        self.assertFalse(machine.parse_virtualises("flags\t\t: fpu vmxx\n"))


class ExecuteTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def made(self, *steps):
        return plan.Plan("/dev/none", "Nothing is about to happen.", list(steps))

    def test_steps_are_taken_in_order_and_logged(self):
        said = []
        execute.execute(self.made(
            plan.Step("write", path=str(self.folder / "a"), text="one", mode=0o600),
            plan.Step("read", ("cat", "a"), folder=str(self.folder)),
            plan.Step("feed", ("tee", "b"), text="two", folder=str(self.folder))),
            self.folder / "log", said.append)
        self.assertEqual(said, ["[1/3] write", "[2/3] read", "[3/3] feed"])
        self.assertEqual((self.folder / "b").read_text(), "two")
        self.assertEqual((self.folder / "a").stat().st_mode & 0o777, 0o600)
        log = (self.folder / "log").read_text()
        self.assertIn(" one\n", log)
        self.assertTrue(log.endswith(" installed\n"))

    def test_a_failure_names_the_step_and_ends_the_plan(self):
        after = self.folder / "after"
        with mock.patch.object(execute, "let_go") as let_go, self.assertRaises(execute.Failed) as failed:
            execute.execute(self.made(plan.Step("break", ("sh", "-c", "echo why >&2; exit 3")),
                                      plan.Step("after", path=str(after))),
                            self.folder / "log", lambda _: None)
        self.assertEqual(str(failed.exception), "break: sh ended with 3: why")
        let_go.assert_called_once_with()
        self.assertFalse(after.exists())
        self.assertIn("failed: break", (self.folder / "log").read_text())
        self.assertEqual(execute.take(plan.Step("mend", ("sh", "-c", "echo done; exit 1"),
                                                fine=(0, 1))), "done")
        with self.assertRaises(execute.Failed):
            execute.take(plan.Step("absent", ("/no/such/program",)))
        with self.assertRaises(execute.Failed):
            execute.take(plan.Step("absent", path="/no/such/folder/file"))

    @unittest.skipUnless(Path("/sbin/sfdisk").exists(), "there is no sfdisk here")
    def test_the_partitions_are_those_that_were_planned(self):
        image = self.folder / "disk"
        with open(image, "wb") as file:
            file.truncate(40 * GIB)
        disk = plan.Disk(str(image), 40 * GIB)
        parts = plan.partitions(local_sr=True)
        execute.take(next(step for step in plan.partition_steps(disk, parts)
                          if step.argv[0] == "sfdisk"))
        told = json.loads(execute.take(plan.Step("look", ("/sbin/sfdisk", "--json", str(image)))))
        made = [(part["name"], part["type"], part["size"] * 512)
                for part in told["partitiontable"]["partitions"]]
        self.assertEqual(made[:-1], parts[:-1])
        self.assertEqual(made[-1][:2], parts[-1][:2])
        self.assertGreater(made[-1][2], 27 * GIB)


class AskTest(unittest.TestCase):
    def test_a_person_is_asked_until_the_answers_are_right(self):
        lines = iter(["7", "2", "2", "192.0.2.10", "192.0.2.10/24", "192.0.2.1", "192.0.2.2 192.0.2.3",
                      "a b", "host1", ""])
        secrets = iter(["secret1", "secret2", "short", "short", "secret1", "secret1"])
        said = []
        found = machine_with(ONE, replace(NVME, path="/dev/vdb"))

        # The wrong address is asked for again, with its router and servers.
        def read(question):
            if "Router" in question and said[-1:] != ["wrong"] and not read.asked:
                read.asked = True
                return ""
            if "Name servers" in question and not read.servers:
                read.servers = True
                return ""
            return next(lines)

        read.asked = read.servers = False
        given = ask.ask(read, lambda _: next(secrets), said.append, found, hashed)
        self.assertEqual(given, answers.Answers(
            password_hash=HASH, disk="/dev/vdb", hostname="host1", timezone="Etc/UTC", confirm=True,
            network=answers.Network("52:54:00:00:00:02", "192.0.2.10/24", "192.0.2.1",
                                    ("192.0.2.2", "192.0.2.3"))))
        self.assertTrue(any("lacks its prefix" in line for line in said))
        self.assertIn("These are not the same.", said)

    def test_only_the_word_goes_on(self):
        made = plan.plan(answers.Answers(password_hash=HASH), machine_with(ONE))
        said = []
        self.assertFalse(ask.confirmed(lambda _: "y", said.append, made))
        self.assertFalse(ask.confirmed(lambda _: "", said.append, made))
        self.assertTrue(ask.confirmed(lambda _: " install ", said.append, made))
        self.assertIn("/dev/vda is about to be erased", said[0])


if __name__ == "__main__":
    unittest.main()
