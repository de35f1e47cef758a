"""The two systems of a host, on folders that stand for its partitions."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import slots

TRIED = ["boot=basalt", "basalt.slot=b", "basalt.trial"]
BEFORE = ["boot=basalt", "basalt.slot=a"]


def block(*lines):
    """As GRUB keeps them."""
    return "\n".join(["# GRUB Environment Block", *lines, ""]).ljust(1024, "#")


class SlotsTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.state = Path(scratch.name)
        self.shared = self.state / "shared"
        self.shared.mkdir()
        self.put(self.shared / "install.json", json.dumps({"password_hash": "$6$installed"}))

    @staticmethod
    def put(path, text=""):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def settle(self, words):
        self.chosen = []
        return slots.settle(self.shared, words, self.chosen.append)

    def upper(self, slot):
        return self.state / "slots" / slot / "upper"

    def records(self):
        return {str(path.relative_to(self.shared)): path.read_text()
                for path in sorted(self.shared.rglob("*"))
                if path.is_file() and path.name != "install.json"}

    def test_the_kernel_says_which_system_runs(self):
        self.assertEqual(slots.running(TRIED), "b")
        self.assertEqual(slots.running(["boot=basalt"]), "")
        self.assertEqual(slots.running(["basalt.slot=../x"]), "")
        self.assertEqual(slots.other("b"), "a")

    def test_what_is_of_the_host_goes_along_and_what_is_of_the_system_does_not(self):
        upper = self.upper("a")
        self.put(upper / "etc/hostname", "renamed\n")
        self.put(upper / "etc/ssh/ssh_host_ed25519_key", "key")
        self.put(upper / "etc/xapi.d/plugins/mine", "#!/bin/sh\n")
        self.put(upper / "root/.ssh/authorized_keys", "friend")
        self.put(upper / "boot/guest/vmlinuz", "a guest's kernel")
        self.put(upper / "etc/basalt/password-set", "yes")
        self.put(upper / "etc/passwd", "root:x:0:0::/root:/bin/bash\n")
        self.put(upper / "usr/bin/patched", "old")
        self.put(upper / "etc/shadow", "daemon:*:1::::::\nroot:$y$changed:1:0:::::\n")
        self.put(self.upper("b") / "etc/left-over", "of the system before the last")
        (upper / "root/.ssh").chmod(0o700)
        slots.carry(self.state, "a", "b")
        new = self.upper("b")
        found = {str(path.relative_to(new)) for path in new.rglob("*") if path.is_file()}
        self.assertEqual(found, {"boot/guest/vmlinuz", "etc/hostname", "etc/ssh/ssh_host_ed25519_key",
                                 "etc/xapi.d/plugins/mine", "root/.ssh/authorized_keys"})
        self.assertEqual((new / "root/.ssh").stat().st_mode & 0o777, 0o700)
        # The new system has users of its own, and root's password as it was last.
        self.assertEqual(json.loads((self.shared / "install.json").read_text()),
                         {"password_hash": "$y$changed"})
        self.assertEqual((upper / "etc/hostname").read_text(), "renamed\n")

    def test_a_host_that_nobody_changed_goes_along_too(self):
        slots.carry(self.state, "b", "a")
        self.assertEqual(list(self.upper("a").iterdir()), [])

    @unittest.skipIf(os.geteuid() != 0, "marks of overlayfs are devices, which root makes")
    def test_what_was_deleted_stays_deleted(self):
        wants = "etc/systemd/system/multi-user.target.wants"
        (self.upper("a") / wants).mkdir(parents=True)
        os.mknod(self.upper("a") / wants / "ssh.service", 0o020000, os.makedev(0, 0))
        slots.carry(self.state, "a", "b")
        made = (self.upper("b") / wants / "ssh.service").stat()
        self.assertEqual(made.st_rdev, os.makedev(0, 0))

    def upgrade(self):
        self.put(self.shared / "xapi/xapi.db", "old records")
        self.put(self.shared / "hostd.db", "old journal")
        self.put(self.shared / "hostd.db-wal", "old log")
        self.put(self.shared / "sr/local/disk", "a guest's")
        slots.keep(self.state, "a", "b")

    def run_the_new_system(self):
        self.assertEqual(self.settle(TRIED), "")
        self.put(self.shared / "xapi/xapi.db", "new records")
        self.put(self.shared / "xapi/new-file", "new")
        self.put(self.shared / "hostd.db", "new journal")
        self.put(self.shared / "hostd.db-wal", "new log")
        self.put(self.shared / "hostd.db-shm", "new index")
        self.put(self.shared / "network-settled", "done")
        self.put(self.shared / "sr/local/disk", "written by the guest since")

    def test_a_system_that_did_not_become_healthy_leaves_no_records(self):
        self.upgrade()
        self.run_the_new_system()
        self.assertIn("taken back", self.settle(BEFORE))
        self.assertEqual(self.chosen, ["a"])
        self.assertEqual(self.records(), {
            "xapi/xapi.db": "old records", "hostd.db": "old journal", "hostd.db-wal": "old log",
            "sr/local/disk": "written by the guest since",
            "upgrade-notice": slots.read_notice(self.shared) + "\n"})
        # People are told until the next upgrade.
        self.assertIn("taken back", self.settle(BEFORE))

    def test_what_the_old_system_had_done_is_not_done_again(self):
        self.put(self.shared / "network-settled", "begun 192.0.2.7")
        self.upgrade()
        self.run_the_new_system()
        self.settle(BEFORE)
        self.assertEqual(self.records()["network-settled"], "begun 192.0.2.7")

    def test_a_taking_back_that_the_power_ends_is_finished(self):
        """After each of its renames and removals, one after the other."""
        def interrupt(after):
            calls = 0

            def counted(real):
                def call(*args, **kwargs):
                    nonlocal calls
                    calls += 1
                    if calls > after:
                        raise KeyboardInterrupt
                    return real(*args, **kwargs)
                return call
            return (mock.patch.object(Path, "rename", counted(Path.rename)),
                    mock.patch.object(slots, "remove", counted(slots.remove)))

        interruptions = 0
        for after in range(40):
            self.upgrade()
            self.run_the_new_system()
            first, second = interrupt(after)
            try:
                with first, second:
                    self.settle(BEFORE)
                break
            except KeyboardInterrupt:
                interruptions += 1
            self.settle(BEFORE)
            found = self.records()
            found.pop("upgrade-notice")
            self.assertEqual(found, {
                "xapi/xapi.db": "old records", "hostd.db": "old journal",
                "hostd.db-wal": "old log", "sr/local/disk": "written by the guest since"}, after)
        self.assertGreater(interruptions, 6)

    def test_a_system_that_is_chosen_keeps_what_it_wrote(self):
        self.upgrade()
        self.run_the_new_system()
        # The power went after GRUB had been told and before the rest was forgotten.
        self.assertEqual(self.settle(["boot=basalt", "basalt.slot=b"]), "")
        self.assertEqual(self.records()["xapi/xapi.db"], "new records")
        self.assertFalse((self.shared / "before-upgrade").exists())
        self.assertEqual(self.settle(BEFORE), "")
        self.assertEqual(self.records()["xapi/xapi.db"], "new records")

    def test_an_upgrade_after_one_that_failed_is_not_told_of_it(self):
        self.upgrade()
        self.run_the_new_system()
        self.settle(BEFORE)
        self.upgrade()
        self.assertEqual(self.settle(TRIED), "")

    def test_a_change_of_what_starts_is_whole_or_not_at_all(self):
        boot = self.state / "boot"
        env = boot / "grub/grubenv"
        self.put(env, block("slot=a"))
        inode = env.stat().st_ino
        texts = {"trial=b": block("slot=a", "trial=b"), "slot=b": block("slot=b"),
                 "slot=c": "#" * 600, "slot=d": "#" * 600 + "x" * 424}
        done = []

        def edit(argv, check):
            self.assertEqual(argv[0], "grub-editenv")
            done.append(argv[2:])
            if argv[2] == "unset":
                raise subprocess.CalledProcessError(1, argv)
            Path(argv[1]).write_text(texts[argv[3]])

        with mock.patch.object(slots.subprocess, "run", edit):
            slots.try_once(boot, "b")
            self.assertEqual(env.read_text(), texts["trial=b"])
            with self.assertRaises(subprocess.CalledProcessError):
                slots.choose(boot, "b")
            for slot in "cd":
                with self.assertRaisesRegex(OSError, "does not fit"):
                    slots.change_env(boot, ("set", f"slot={slot}"))
        self.assertEqual(done[:3], [["set", "trial=b"], ["set", "slot=b"], ["unset", "trial"]])
        self.assertEqual(env.read_text(), texts["trial=b"])
        # The same file: what its folder says of it did not change, and nothing lies beside it.
        self.assertEqual(env.stat().st_ino, inode)
        self.assertEqual(list(env.parent.iterdir()), [env])

    def test_words_that_nobody_knows_change_nothing(self):
        for words in ([], ["carry", str(self.state), "a", "a"], ["try", str(self.state), "c"]):
            with mock.patch("sys.stderr"):
                self.assertEqual(slots.main(words), 2)
        self.assertFalse((self.state / "slots").exists())


class HiddenDevices(unittest.TestCase):
    """Two disks of a mirror, each with its settings of the boot loader."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.mounted = None
        self.fails_on = None
        for disk in ("sda2", "sdb2"):
            (self.folder / disk / "grub").mkdir(parents=True)
            (self.folder / disk / "grub/grubenv").write_text(block("slot=a"))
        patches = (mock.patch.object(slots.subprocess, "run", self.run_program),
                   mock.patch.object(slots, "BOOT_PLACE", self.folder / "boot"))
        for patch in patches:
            patch.start()
            self.addCleanup(patch.stop)

    def run_program(self, argv, check):
        if argv[0] == "mount":
            (self.folder / "boot").rmdir()
            (self.folder / "boot").symlink_to(self.folder / Path(argv[1]).name)
            self.mounted = Path(argv[1]).name
        elif argv[0] == "umount":
            (self.folder / "boot").unlink()
            (self.folder / "boot").mkdir()
        elif argv[0] == "grub-editenv":
            if self.mounted == self.fails_on and "=" in argv[3]:
                raise subprocess.CalledProcessError(1, argv)
            env = Path(argv[1])
            name = argv[3].split("=")[0]
            lines = [line for line in env.read_text().rstrip("#").splitlines()[1:]
                     if line.split("=")[0] != name]
            env.write_text(block(*lines, *([argv[3]] if argv[2] == "set" else [])))

    def hide(self, address, away):
        slots.hide(address, away, lambda: ["/dev/sda2", "/dev/sdb2"])

    def hidden(self):
        return [slots.hidden(self.folder / disk) for disk in ("sda2", "sdb2")]

    def env(self, disk):
        return (self.folder / disk / "grub/grubenv").read_text()

    def test_they_are_the_same_on_all_disks_of_a_mirror(self):
        self.assertEqual(self.hidden(), [[], []])
        self.hide("0000:3b:00.1", True)
        self.hide("0000:3b:00.0", True)
        self.hide("0000:3b:00.0", True)
        self.assertEqual(self.hidden(), [["0000:3b:00.0", "0000:3b:00.1"]] * 2)
        self.assertIn("\nhidden_pci=(0000:3b:00.0)(0000:3b:00.1)\n", self.env("sdb2"))
        self.hide("0000:3b:00.0", False)
        self.hide("0000:99:00.0", False)
        self.hide("0000:3b:00.1", False)
        self.assertEqual(self.env("sda2"), block("slot=a"))

    def test_a_change_that_fails_on_one_disk_is_taken_back_on_the_other(self):
        self.hide("0000:3b:00.1", True)
        before = self.env("sda2")
        self.fails_on = "sdb2"
        with self.assertRaises(subprocess.CalledProcessError):
            self.hide("0000:3b:00.0", True)
        self.fails_on = None
        self.assertEqual(self.env("sda2"), before)
        self.assertEqual(self.hidden(), [["0000:3b:00.1"]] * 2)

    def test_a_device_that_the_machine_starts_from_is_known(self):
        block_of = "devices/pci0000:00/0000:00:1f.2/ata1/block/sda/sda2"
        (self.folder / block_of).mkdir(parents=True)
        (self.folder / "class").mkdir()
        (self.folder / "class/sda2").symlink_to(self.folder / block_of)
        for address, answer in (("0000:00:1f.2", True), ("0000:3b:00.0", False)):
            self.assertEqual(slots.starts_from(address, lambda: ["/dev/sda2"],
                                               self.folder / "class"), answer, address)

    def test_only_addresses_are_taken(self):
        with mock.patch("sys.stderr"):
            for address in ("3b:00.0", "0000:3b:00.8", "0000:3b:00.0)(0000:00:00.0"):
                self.assertEqual(slots.main(["hide", address]), 2, address)


class BootPartitions(unittest.TestCase):
    def test_each_disk_below_the_state_has_one(self):
        listed = {"/dev/nvme0n1p5": "/dev/nvme0n1p5 part\n/dev/nvme0n1 disk\n",
                  "/dev/md127p3": "/dev/md127p3 part\n/dev/md127 raid1\n/dev/sda3 part\n"
                                  "/dev/sda disk\n/dev/sdb3 part\n/dev/sdb disk\n"}
        for state, found in (("/dev/nvme0n1p5", ["/dev/nvme0n1p2"]),
                             ("/dev/md127p3[/shared]", ["/dev/sda2", "/dev/sdb2"])):
            def run(argv, state=state, **_):
                said = state if argv[0] == "findmnt" else listed[argv[-1]]
                return subprocess.CompletedProcess(argv, 0, stdout=said + "\n")

            with mock.patch.object(slots.subprocess, "run", run):
                self.assertEqual(slots.boot_partitions(), found)

    def test_a_slot_is_chosen_on_all_of_them(self):
        ran, chosen = [], []
        with tempfile.TemporaryDirectory() as place, \
                mock.patch.object(slots, "BOOT_PLACE", Path(place)), \
                mock.patch.object(slots, "choose", lambda boot, slot: chosen.append((boot, slot))), \
                mock.patch.object(slots.subprocess, "run", lambda argv, **_: ran.append(argv[:2])):
            slots.choose_everywhere("b", lambda: ["/dev/sda2", "/dev/sdb2"])
            self.assertEqual(chosen, [(Path(place), "b")] * 2)
            self.assertEqual(ran, [["mount", "/dev/sda2"], ["umount", place],
                                   ["mount", "/dev/sdb2"], ["umount", place]])


if __name__ == "__main__":
    unittest.main()
