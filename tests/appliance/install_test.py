"""A host that is installed from the medium, loses its power, is upgraded, and goes back.

The cases are the life of one disk, in their order; BASALT_ISO names a medium that is there already.
Pictures of the screen are kept in the folder BASALT_PICTURES, for people to look at. Everything is
emulated, so patient.
"""

import os
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
GUEST_DISK_BYTES = 64 << 20
PASSWORD = "installed7"
# A fixed address: QEMU's own DHCP server tells no router to a network that leads nowhere.
INSTALL = f"""\
[disk]
target = "/dev/vda"
[network]
device = "52:54:00:BA:5A:17"
address = "{boot.ADDRESS}/24"
gateway = "10.0.2.2"
dns = ["10.0.2.3"]
[host]
hostname = "host7"
password = "{PASSWORD}"
timezone = "Europe/Berlin"
[installer]
then = "poweroff"
"""
UPGRADE = """\
[installer]
mode = "upgrade"
then = "poweroff"
"""
SICK = " systemd.mask=xapi.service basalt.patience=30"
# Emulated on a busy machine, a system may take longer to become healthy than it is given.
PATIENT = f" basalt.patience={machine.BOOT_SECONDS}"


def inside(argv, folder):
    subprocess.run(build_root.entered(build_root.ensure(), argv,
                                      ["--bind", str(folder), str(folder)]), check=True)


def empty_disk(folder):
    disk = folder / "disk.qcow2"
    inside(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), f"{DISK_GIB}G"], folder)
    return disk


def answers_disk(folder, answers):
    """A file system with the label by which the installer finds its answers."""
    with tempfile.TemporaryDirectory(dir=folder) as tree:
        Path(tree, "answers.toml").write_text(answers)
        raw, disk = folder / "answers.img", folder / "answers.qcow2"
        with open(raw, "wb") as file:
            file.truncate(4 << 20)
        inside(["mkfs.ext4", "-q", "-F", "-L", "BASALT-ANSWERS", "-d", tree, str(raw)], folder)
        inside(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(disk)], folder)
    return disk


def picture(running, name):
    """Of a screen that shows something: an empty one is a PNG of a kilobyte."""
    path = running.machine.folder / f"{name}.png"
    running.picture(path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 2500, f"nothing to be seen: {path}"
    if folder := os.environ.get("BASALT_PICTURES"):
        Path(folder, path.name).write_bytes(data)


def choose_installation(console):
    """The menu's entry for the serial line has a key of its own."""
    console.wait("run from this medium", machine.BOOT_SECONDS)
    picture(console.machine, "medium-menu")
    console.type("s")


class Installed:
    uefi = False

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="basalt-install-")
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        cls.disk = empty_disk(cls.folder)
        cls.install(INSTALL, r"The host is installed, after (\d+) s")

    @classmethod
    def install(cls, answers, until):
        """Runs the medium's installer, and the power goes when it says `until`, unless it switches
        the machine off itself."""
        made = boot.Machine(medium.image(), cls.folder, cls.uefi, bootindex=0, screen=True,
                            cache="writethrough",
                            disks=[cls.disk, answers_disk(cls.folder, answers)])
        began = time.monotonic()
        with boot.Running(made) as running:
            console = machine.Console(running)
            choose_installation(console)
            console.wait(until, machine.BOOT_SECONDS)
            if "after" in until:
                machine.wait_for_end(running)
        print(f"{until!r} {time.monotonic() - began:.0f} s after power-on", file=sys.stderr)

    def start(self, extra_words="", disks=()):
        """A start from the disk, as far as the login; ends with the case."""
        self.port = machine.free_port()
        made = boot.Machine(None, self.folder, self.uefi, forwarded={self.port: 443},
                            cache="writethrough", screen=True, disks=[self.disk, *disks],
                            words=boot.MACHINE_WORDS + extra_words)
        began = time.monotonic()
        self.running = self.enterContext(boot.Running(made))
        self.console = machine.Console(self.running)
        self.console.wait("host7 login: ", machine.BOOT_SECONDS)
        print(f"login {time.monotonic() - began:.0f} s after power-on", file=sys.stderr)

    def log_in(self):
        self.console.log_in(PASSWORD)
        self.api = machine.log_in_to_api(self.port, PASSWORD)

    def slot(self):
        return self.console.run("grep -o 'basalt.slot=[ab]' /proc/cmdline").strip()[-1]

    def switch_off(self):
        self.console.run("systemctl --no-block poweroff")
        machine.wait_for_end(self.running)

    def find_the_guest(self):
        """It was to start with the host, and its disk has what was acknowledged to it."""
        vm = self.api.call("VM.get_by_name_label", "kept")[0]
        deadline = time.monotonic() + machine.ACT_SECONDS
        while self.api.call("VM.get_power_state", vm) != "Running":
            self.assertLess(time.monotonic(), deadline, "the guest did not start with the host")
            time.sleep(2)
        guest = machine.GuestConsole(self.api, self.port, vm)
        guest.wait("tick")
        self.assertEqual(guest.ask("read xvda", r"read: (\w*)\."), "acknowledged")
        guest.close()
        return vm


class ByBios(Installed, unittest.TestCase):
    def test_1_the_host_is_as_it_was_told_and_the_power_goes_while_a_guest_writes(self):
        self.start(disks=[medium.guest_disk(self.folder)])
        self.assertNotIn("This is a live system", self.running.text())
        self.log_in()
        api, console = self.api, self.console
        record = api.call("host.get_record", api.call("host.get_all")[0])
        self.assertEqual(record["hostname"], "host7")
        self.assertRegex(record["software_version"]["xen"], r"^4\.20\.")
        type(self).uuid = record["uuid"]
        picture(self.running, "host-console")
        self.assertIn("BASALT-SR", console.run("findmnt -n -o LABEL /var/lib/basalt/sr/local"))
        self.assertIn("overlay", console.run("findmnt -n -o FSTYPE /"))
        self.assertIn("via 10.0.2.2 dev xenbr0", console.run("ip route show default"))
        self.assertIn("nameserver 10.0.2.3", console.run("cat /etc/resolv.conf"))
        console.run("mount -o ro /dev/vdb /mnt && cp /mnt/vmlinuz /mnt/initrd.gz /boot/guest/"
                    " && sync")
        # What an administrator changed goes along with upgrades, and so does who may log in.
        console.run("echo renamed-by-hand > /root/note; sync")
        pool = api.call("pool.get_all")[0]
        api.call("pool.add_to_other_config", pool, "auto_poweron", "true")
        vm = api.call("VM.create", machine.vm_record(
            "kept", domain_type="pv", other_config={"auto_poweron": "true"},
            PV_kernel="/boot/guest/vmlinuz", PV_ramdisk="/boot/guest/initrd.gz"))
        machine.add_disk(api, vm, machine.default_sr(api), GUEST_DISK_BYTES, 0)
        machine.act(api, "VM.start", vm, False, False)
        guest = machine.GuestConsole(api, self.port, vm)
        guest.wait("guest ready, PV")
        self.assertEqual(guest.ask("write xvda acknowledged", r"wrote: (\d+)\."), "0")
        guest.stream.sendall(b"write xvda\n")
        self.running.cut_power()

    def test_2_after_the_power_cut_everything_is_found_again(self):
        self.start()
        self.log_in()
        self.assertEqual(self.api.call("host.get_uuid", self.api.call("host.get_all")[0]),
                         self.uuid)
        vm = self.find_the_guest()
        self.assertIn("via 10.0.2.2 dev xenbr0", self.console.run("ip route show default"))
        # What happens when the machine ends: guests are asked, and this one obeys.
        self.console.run("systemctl stop basalt-guests.service")
        self.assertEqual(self.api.call("VM.get_power_state", vm), "Halted")
        self.switch_off()

    def test_3_an_upgrade_that_the_power_ends_has_changed_nothing(self):
        self.install(UPGRADE, r"\] write the system")
        self.start()
        self.log_in()
        self.assertEqual(self.slot(), "a")
        self.find_the_guest()
        self.switch_off()

    def test_4_a_system_that_does_not_become_healthy_is_left_for_the_one_before(self):
        self.install(UPGRADE, r"The host is upgraded, after (\d+) s")
        self.start(SICK)
        self.console.wait("taken back", machine.BOOT_SECONDS, len(self.running.text()))
        self.console.wait("host7 login: ", start=self.running.text().rindex("taken back"))
        self.running.cut_power()
        self.start()
        self.log_in()
        self.assertEqual(self.slot(), "a")
        self.find_the_guest()
        self.switch_off()

    def test_5_a_healthy_system_stays_with_all_that_the_host_had(self):
        self.install(UPGRADE, r"The host is upgraded, after (\d+) s")
        self.start(PATIENT)
        self.log_in()
        self.assertEqual(self.slot(), "b")
        self.assertEqual(self.api.call("host.get_uuid", self.api.call("host.get_all")[0]),
                         self.uuid)
        self.assertIn("renamed-by-hand", self.console.run("cat /root/note"))
        self.console.run("until journalctl -u basalt-healthy -o cat | grep -q 'b is chosen'; "
                         "do sleep 1; done")
        self.switch_off()
        self.start()
        self.log_in()
        self.assertEqual(self.slot(), "b")
        self.assertNotIn("basalt.trial", self.console.run("cat /proc/cmdline"))


class ByUefi(Installed, unittest.TestCase):
    uefi = True

    def test_it_starts_by_itself(self):
        self.start()
        self.log_in()
        self.assertIn("EFI", self.console.run("ls -d /sys/firmware/efi; dmesg | grep -m1 EFI; "
                                              "xl dmesg | grep -m1 EFI"))


if __name__ == "__main__":
    unittest.main()
