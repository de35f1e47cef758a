"""The installer as far as it is data: answers, plans, and what goes wrong on the way.

GOLDEN_UPDATE=1 rewrites the plans in golden/.
"""

import json
import os
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
# Installed, it lies one folder higher; in the source tree it does not.
sys.path.append(str(HERE.parent / "dom0-image/prepare"))

import answers
import answer_files
import disks
import execute
import machine
import plan
from answers import Refused
from answers_test import HASH, TOML, WHOLE, XML, hashed

GOLDEN = HERE / "golden"
GIB = disks.GIB

def machine_with(*disks, **changes):
    made = plan.Machine(disks=disks, nics={"eth0": "52:54:00:00:00:01", "eth1": "52:54:00:00:00:02"},
                        memory_bytes=8 * GIB, lacks="", medium="/run/medium",
                        image_bytes=250 << 20)
    return replace(made, **changes)


ONE = disks.Disk("/dev/vda", 40 * GIB, "disk", ("/dev/disk/by-id/virtio-one",))
NVME = disks.Disk("/dev/nvme0n1", 40 * GIB)


MIRROR_PARTS = ("basalt-bios", "basalt-boot", "basalt-raid", "basalt-a", "basalt-b", "basalt-state",
                "basalt-sr")


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
        self.check("local_sr", plan.plan(answer_files.parse(TOML, hashed), machine_with(ONE)))

    def test_a_plan_without_one_by_xml_on_a_disk_whose_partitions_have_a_p(self):
        given = replace(answer_files.parse(XML, hashed), disk="/dev/nvme0n1", notes=("A note.",),
                        keymap="us")
        self.check("nvme", plan.plan(given, machine_with(ONE, NVME, lacks="No VT-x.")))

    def test_a_plan_of_a_mirror_with_a_bond_and_more_disks(self):
        given = replace(answer_files.parse(WHOLE.encode(), hashed), network=answers.Network(
            bond=("eth1", "eth0"), bond_mode="lacp", vlan=7, ipv6="autoconf"), keymap="us")
        old = (("lvm", "/dev/mapper/old-local"), ("raid1", "/dev/md127"))
        sda, sdb, sdc = (disks.Disk(f"/dev/sd{letter}", 40 * GIB, stack=old if letter != "c" else ())
                         for letter in "abc")
        found = machine_with(sda, replace(sdb, stack=old[1:]), sdc, disks.Disk("/dev/sdd", GIB),
                             arrays=("/dev/md126", "/dev/md127"))
        self.check("mirror", plan.plan(replace(given, sr_gib=10), found))

    def test_a_plan_that_keeps_the_local_sr_of_a_mirror(self):
        given = answers.Answers(password_hash=HASH, disk="/dev/sdb", reuse=True)
        pair = [disks.Disk(path, 40 * GIB, slot="b", raid="/dev/md127", parts=MIRROR_PARTS,
                           stack=(("raid1", "/dev/md127"),)) for path in ("/dev/sda", "/dev/sdb")]
        self.check("reuse", plan.plan(given, machine_with(*pair, arrays=("/dev/md127",))))

    def test_the_text_keeps_the_secret_that_the_step_writes(self):
        made = plan.plan(answer_files.parse(TOML, hashed), machine_with(ONE))
        kept = next(step for step in made.steps if step.path.endswith("/install.json"))
        self.assertEqual(json.loads(kept.text)["password_hash"], HASH)
        self.assertEqual(kept.mode, 0o600)
        self.assertEqual(json.loads(kept.text)["network"]["mac"], "52:54:00:00:00:02")
        self.assertNotIn(HASH, plan.text_of(made))

    def test_nothing_is_written_before_the_medium_is_checked(self):
        made = plan.plan(answer_files.parse(TOML, hashed), machine_with(ONE))
        self.assertEqual(made.steps[0].argv[:2], ("sha256sum", "--check"))

    def test_what_cannot_be_is_refused(self):
        given = answers.Answers(password_hash=HASH)
        busy = replace(ONE, in_use=True)
        self.assertIn("no disk", self.refusal(given, machine_with(busy, replace(NVME, read_only=True))))
        self.assertEqual(plan.plan(given, machine_with(busy, NVME)).disk, "/dev/nvme0n1")
        self.assertIn("in use", self.refusal(replace(given, disk="/dev/vda"), machine_with(busy)))
        self.assertIn("there are: /dev/vda", self.refusal(replace(given, disk="/dev/sdx"),
                                                          machine_with(ONE)))
        self.assertIn("GiB are needed", self.refusal(given, machine_with(disks.Disk("/dev/vda", 13 * GIB))))
        self.assertIn("memory", self.refusal(given, machine_with(ONE, memory_bytes=GIB)))
        self.assertIn("network device", self.refusal(given, machine_with(ONE, nics={})))
        self.assertIn("no network device eth7", self.refusal(
            replace(given, network=answers.Network("eth7")), machine_with(ONE)))
        self.assertIn("larger", self.refusal(given, machine_with(ONE, image_bytes=3 * GIB)))
        self.assertIn("pv_only", self.refusal(given, machine_with(ONE, lacks="No VT-x.")))
        self.assertIn("nobody has signed Xen",
                      self.refusal(given, machine_with(ONE, secure_boot=True)))
        self.assertIn("'de'", self.refusal(replace(given, keymap="de"), machine_with(ONE)))
        self.assertIn("'Here'", self.refusal(replace(given, timezone="Here"),
                                             machine_with(ONE, zones=("Etc/UTC",))))

    def test_what_cannot_be_of_several_disks_is_refused(self):
        given = answers.Answers(password_hash=HASH, disk="/dev/vda", mirror="/dev/vdb")
        small = disks.Disk("/dev/vdb", 13 * GIB)
        self.assertIn("/dev/vdb has 13.0", self.refusal(given, machine_with(ONE, small)))
        self.assertIn("no disk /dev/vdb", self.refusal(given, machine_with(ONE)))
        self.assertIn("named twice", self.refusal(replace(given, mirror=ONE.links[0]),
                                                  machine_with(ONE)))
        tiny = replace(given, mirror="", guest_disks=("/dev/vdb",))
        self.assertIn("too small for the local SR", self.refusal(
            tiny, machine_with(ONE, disks.Disk("/dev/vdb", GIB))))
        self.assertIn("no host with a local SR", self.refusal(
            replace(given, mirror="", reuse=True), machine_with(ONE)))

    def test_secure_boot_may_be_switched_off_later(self):
        given = answers.Answers(password_hash=HASH, despite_secure_boot=True)
        made = plan.plan(given, machine_with(ONE, secure_boot=True))
        self.assertTrue(any("before it is switched off" in note for note in made.notes), made.notes)
        self.assertEqual(plan.plan(given, machine_with(ONE)).notes, [])

    def test_two_hosts_are_not_left_beside_each_other(self):
        other = disks.Disk("/dev/vdb", 40 * GIB, slot="a")
        given = answers.Answers(password_hash=HASH, disk="/dev/vda")
        self.assertIn('disk.wipe = ["/dev/vdb"]', self.refusal(given, machine_with(ONE, other)))
        made = plan.plan(replace(given, wipe=("/dev/vdb",)), machine_with(ONE, other))
        self.assertIn(("wipefs", "--all", "--force", "/dev/vdb"), [step.argv for step in made.steps])
        # One half of a mirror is installed on anew: the other half still holds the host.
        halves = [disks.Disk(path, 40 * GIB, slot="a", raid="/dev/md127") for path in
                  ("/dev/vda", "/dev/vdb")]
        self.assertIn("/dev/vdb too", self.refusal(given, machine_with(*halves)))

    def test_a_mirror_may_begin_with_one_disk(self):
        made = plan.plan(answers.Answers(password_hash=HASH, disk="/dev/vda", mirror="missing"),
                         machine_with(ONE))
        create = next(step for step in made.steps if "--create" in step.argv)
        self.assertEqual(create.argv[-2:], ("/dev/vda3", "missing"))
        self.assertTrue(any("mirror has one disk" in note for note in made.notes))

    def test_cards_are_called_as_they_are_to_be(self):
        def names(*wanted, **changes):
            return plan.card_names(wanted, machine_with(
                ONE, slots={"eth0": "0000:00:03.0", "eth1": "0000:00:04.0"},
                labels={"eth1": "Port 2"}, **changes))

        one, two = "52:54:00:00:00:01", "52:54:00:00:00:02"
        self.assertEqual(names(), {one: "eth0", two: "eth1"})
        self.assertEqual(names(("eth0", two)), {two: "eth0", one: "eth1"})
        self.assertEqual(names(("eth0", "0000:00:04.0"), ("eth1", one)), {two: "eth0", one: "eth1"})
        self.assertEqual(names(("eth5", "port 2")), {two: "eth5", one: "eth0"})
        for wanted, why in (((("eth0", "nobody"),), "no network device 'nobody'"),
                            ((("eth0", one), ("eth1", "0000:00:03.0")), "named twice")):
            with self.assertRaisesRegex(Refused, why):
                names(*wanted)
        # Who says eth0 means the card that will be called so.
        given = answers.Answers(password_hash=HASH, network=answers.Network(
            "eth0", names=(("eth0", two), ("eth1", one))))
        kept = next(step for step in plan.plan(given, machine_with(ONE)).steps
                    if step.path.endswith("install.json"))
        self.assertEqual(json.loads(kept.text)["network"]["mac"], two)
        made = plan.plan(given, machine_with(ONE, slots={"eth0": "0000:00:03.0"}))
        kept = next(step for step in made.steps if step.path.endswith("nics.json"))
        self.assertEqual(json.loads(kept.text), [
            {"mac": two, "slot": "", "name": "eth0"},
            {"mac": one, "slot": "0000:00:03.0", "name": "eth1"}])

    def test_scripts_run_at_their_stages(self):
        given = answers.Answers(password_hash=HASH, scripts=tuple(
            answers.Script(stage, f"http://a/{number}")
            for number, stage in enumerate(answers.STAGES)))
        made = plan.plan(given, machine_with(ONE))
        argv = [step.argv for step in made.steps]
        start = argv.index((plan.script_path(0),))
        self.assertLess(start, next(at for at, words in enumerate(argv) if words[:1] == ("wipefs",)))
        mounted = next(at for at, words in enumerate(argv) if "overlay" in words)
        self.assertEqual(argv[mounted + 1:mounted + 3],
                         [(plan.script_path(1), plan.ROOT), (plan.script_path(2), plan.ROOT)])
        self.assertEqual([step.argv for step in made.after], [(plan.script_path(3),)])

    def test_the_smallest_disk_that_is_accepted_holds_all_partitions(self):
        given = answers.Answers(password_hash=HASH)
        for local_sr in (True, False):
            size = GIB
            while True:
                try:
                    plan.plan(replace(given, local_sr=local_sr), machine_with(disks.Disk("/dev/a", size)))
                    break
                except Refused:
                    size += disks.MIB
            parts = [*disks.outer_parts(), *disks.inner_parts(local_sr)]
            fixed = sum(part or 0 for _, _, part in parts)
            rest = disks.SR_BYTES_MIN if local_sr else disks.STATE_BYTES
            self.assertGreaterEqual(size, fixed + rest + 2 * disks.MIB)


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
            disks.Disk("/dev/sda", 7, "A", (), True, False),
            disks.Disk("/dev/sdb", 9, "", ("/dev/disk/by-id/b",), False, True)))

    def test_secure_boot_is_read_from_the_firmware(self):
        with tempfile.TemporaryDirectory() as folder:
            for value, passes, is_on in ((b"\1", None, True), (b"\0", None, False),
                                         (b"\1", b"\0", True), (b"\1", b"\1", False),
                                         (b"", None, False)):
                with self.subTest(value=value, passes=passes):
                    for name, what in ((machine.SECURE_BOOT, value),
                                       (machine.SHIM_LETS_PASS, passes)):
                        if what is not None:
                            Path(folder, name).write_bytes(b"\x06\0\0\0" + what)
                    self.assertEqual(machine.read_secure_boot(folder), is_on)
                    Path(folder, machine.SHIM_LETS_PASS).unlink(missing_ok=True)
        self.assertFalse(machine.read_secure_boot("/nonexistent"))

    def test_memory_and_processor_are_read(self):
        self.assertEqual(machine.parse_memory("MemTotal:  2048 kB\nMemFree: 1 kB\n"), 2 << 20)
        for flags, lacks in (("fpu svm npt", ""), ("vmx ept", ""), ("fpu vmxx", "VT-x or AMD-V"),
                             ("vmx", "nested page tables")):
            said = machine.parse_lacks(f"model\t: x\nflags\t\t: {flags}\nflags\t\t: svm npt\n")
            self.assertIn(lacks, said)
            self.assertEqual(bool(lacks), bool(said))


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

    def test_what_follows_is_told_how_it_ended(self):
        told = self.folder / "told"
        after = [plan.Step("tell", ("sh", "-c", 'echo "$0" >> "$1"; exit 1', "ended", str(told)))]
        said = []
        execute.execute(replace(self.made(), after=after), self.folder / "log", said.append)
        with mock.patch.object(execute, "let_go"), self.assertRaises(execute.Failed):
            execute.execute(replace(self.made(plan.Step("break", ("false",))), after=after),
                            self.folder / "log", said.append)
        self.assertEqual(told.read_text(), "ended\nended\n")
        log = (self.folder / "log").read_text()
        self.assertRegex(log, r"(?s)told 0\n.*installed\n.*told 1\n")
        self.assertEqual(log.count(" installed\n"), 1)
        self.assertTrue(any(line.startswith("It failed: tell") for line in said))

    @unittest.skipUnless(Path("/sbin/sfdisk").exists(), "there is no sfdisk here")
    def test_the_partitions_are_those_that_were_planned(self):
        image = self.folder / "disk"
        with open(image, "wb") as file:
            file.truncate(40 * GIB)
        parts = [*disks.outer_parts(), *disks.inner_parts(local_sr=True)]
        execute.take(plan.table_step(str(image), parts))
        told = json.loads(execute.take(plan.Step("look", ("/sbin/sfdisk", "--json", str(image)))))
        made = [(part["name"], part["type"], part["size"] * 512)
                for part in told["partitiontable"]["partitions"]]
        self.assertEqual(made[:-1], parts[:-1])
        self.assertEqual(made[-1][:2], parts[-1][:2])
        self.assertGreater(made[-1][2], 27 * GIB)


if __name__ == "__main__":
    unittest.main()
