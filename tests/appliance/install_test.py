"""A host that is installed from the medium, loses its power, is upgraded, and goes back.

The cases are the life of one disk, in their order; what each begins with is saved, so that one of
them can be run again by itself (`python3 -m unittest install_test.HostLife.test_4...`). BASALT_ISO names
a medium that is there already. Pictures of the screen are kept in the folder BASALT_PICTURES, for people
to look at. Everything is emulated, so patient.
"""

import contextlib
import re
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
import paths
import saved

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
AGAIN = INSTALL.replace('target = "/dev/vda"', 'target = "/dev/vda"\nreuse = true')
UPGRADE = """\
[installer]
mode = "upgrade"
then = "poweroff"
"""
INSTALLED = r"The host is installed, after (\d+) s"
UPGRADED = r"The host is upgraded, after (\d+) s"
SICK = " systemd.mask=xapi.service basalt.patience=30"
# The installer's kernel has no Xen below it, and by BIOS on a busy machine takes its timer for
# broken. Unchecked it works, with one processor.
TRUSTING = " no_timer_check nr_cpus=1"
# Emulated on a busy machine, a system may take longer to become healthy than it is given.
PATIENT = f" basalt.patience={machine.BOOT_SECONDS}"
CHANGE_ADDRESS_BACK = f"""\
import sys; sys.path.insert(0, "/usr/lib/basalt/console"); import host; here = host.Host(); \
here.set_network(here.facts(), "{boot.ADDRESS}/24", "10.0.2.2", ["10.0.2.3"])"""
BOOTED = "booted"
# Enough numbers that writing is what the guest does when the power goes.
NUMBERS_MIN = 20


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


def install_by_serial_line(console, until):
    """The menu's entry for the serial line has a key of its own. Returns the installer's own words."""
    machine.until_heard(console.machine, lambda: console.type("s"))
    return console.wait(until, machine.BOOT_SECONDS)[0]


def install_on_screen(console):
    """As a person does, at keyboard and screen, whose last full picture is kept."""
    running = console.machine
    for key in ("down", "ret"):
        machine.until_heard(running, lambda key=key: running.press(key))
    deadline = time.monotonic() + machine.BOOT_SECONDS
    fullest = b""
    while not running.ended():
        if time.monotonic() > deadline:
            raise AssertionError("the installation on the screen does not end")
        # The machine may end while it is looked at.
        with contextlib.suppress(OSError, ValueError, paths.DevError):
            fullest = max(fullest, machine.screen(running), key=len)
        time.sleep(3)
    machine.keep_picture("installer", fullest)
    return ""


def use_medium(folder, disk, answers, do, uefi=True):
    """Starts the machine from the medium, its menu on the screen; `do` gets the console, and what
    it returns is returned. The power goes then, unless the machine was switched off."""
    words = boot.MENU_WORDS + ("" if uefi else TRUSTING)
    made = boot.Machine(medium.image(), folder, uefi, bootindex=0, screen=True, words=words,
                        cache="writethrough", disks=[disk, answers_disk(folder, answers)])
    began = time.monotonic()
    with boot.Running(made) as running:
        console = machine.Console(running)
        machine.wait_for_menu(running, console, "medium-menu" if uefi else "medium-menu-bios")
        said = do(console)
        if "after" in said:
            machine.wait_for_end(running)
        seconds = time.monotonic() - began
    machine.tell(f"the medium's work ended {seconds:.0f} s after power-on. {said}")
    return said


class InstallByBios(unittest.TestCase):
    """The other start of the medium: all of HostLife begins with UEFI."""

    def test_the_medium_installs_on_a_machine_with_a_bios(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="basalt-install-")))
        said = use_medium(folder, empty_disk(folder), INSTALL,
                          lambda console: install_by_serial_line(console, INSTALLED), uefi=False)
        self.assertRegex(said, INSTALLED)


class HostLife(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="basalt-install-")
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        cls.disk = cls.folder / "disk.qcow2"
        cls.note = {}

    # -- what the cases hand on -------------------------------------------------------------------

    @classmethod
    def state(cls, name):
        # A machine that goes on must be the one that was saved; a disk fits into any.
        machine_words = [boot.MACHINE_WORDS] if name == BOOTED else []
        return saved.State(f"host-{name}", medium.digest(), medium.guests_digest(), INSTALL,
                           *machine_words)

    @classmethod
    def keep(cls, name, *more):
        """The disk as it is now, files beside it, and what is known of the host on it."""
        cls.state(name).keep([cls.disk, *more], note=cls.note)

    def take(self, name):
        if not self.state(name).exists():
            self.fail(f"there is no disk with {name!r}: the case before has failed")
        type(self).note = self.state(name).take(self.folder)["note"]

    # -- machines ---------------------------------------------------------------------------------

    @classmethod
    def use_medium(cls, answers, do):
        return use_medium(cls.folder, cls.disk, answers, do)

    def start(self, extra_words="", disks=(), uefi=False, extra=(), loaded=""):
        """A start from the disk; ends with the case."""
        self.port = machine.free_port()
        made = boot.Machine(None, self.folder, uefi, forwarded={self.port: 443},
                            cache="writethrough", screen=True, disks=[self.disk, *disks],
                            words=boot.MACHINE_WORDS + extra_words, extra=list(extra),
                            loaded=loaded)
        self.began = time.monotonic()
        self.running = self.enterContext(boot.Running(made))
        self.console = machine.Console(self.running)

    def start_first(self):
        """By UEFI, the guests' kernel on a second disk, as far as root's shell and the API. That is
        saved, and a later run goes on from there."""
        disks = [self.folder / "guest.qcow2"]
        if not self.state(BOOTED).exists():
            self.take("installed")
            machine.tell(self.note["said"])
            self.start(disks=[medium.guest_disk(self.folder)], uefi=True)
            self.log_in()
            self.assertNotIn("This is a live system", self.running.text())
            machine.picture(self.running, "host-console-first")
            self.api.call("session.logout")
            self.running.save(BOOTED)
            self.running.quit()
            self.keep(BOOTED, *disks, self.folder / "vars.qcow2")
        self.take(BOOTED)
        self.start(disks=disks, uefi=True, loaded=BOOTED)
        self.api = machine.log_in_to_api(self.port, PASSWORD)

    def log_in(self, start=0):
        """At the console and the API, as soon as there is a login after `start` of what was said."""
        self.console.wait("host7 login: ", machine.BOOT_SECONDS, start)
        login = time.monotonic() - self.began
        self.api = machine.log_in_to_api(self.port, PASSWORD)
        machine.tell(f"login {login:.0f} s, API {time.monotonic() - self.began:.0f} s after power-on")
        self.console.log_in(PASSWORD)

    def slot(self):
        return self.console.run("grep -o 'basalt.slot=[ab]' /proc/cmdline").strip()[-1]

    def switch_off(self):
        """Guests are shut down with it."""
        self.console.run("systemctl --no-block poweroff")
        machine.wait_for_end(self.running)

    def first_time(self):
        """What a host has from the beginning, noted for later."""
        api = self.api
        self.note["uuid"] = api.call("host.get_uuid", api.call("host.get_all")[0])
        self.note["srs"] = sorted(api.call("SR.get_uuid", sr) for sr in api.call("SR.get_all"))

    def find_everything(self):
        """The host is the same, its SRs are attached, and the guest, which was to start with it, has
        on its disk what was acknowledged."""
        api = self.api
        self.assertEqual(api.call("host.get_uuid", api.call("host.get_all")[0]), self.note["uuid"])
        self.assertEqual(sorted(api.call("SR.get_uuid", sr) for sr in api.call("SR.get_all")),
                         self.note["srs"])
        for pbd in api.call("PBD.get_all"):
            self.assertTrue(api.call("PBD.get_currently_attached", pbd))
        self.assertEqual(len(api.call("network.get_by_name_label", "inside")), 1)
        vm = api.call("VM.get_by_name_label", "kept")[0]
        deadline = time.monotonic() + machine.ACT_SECONDS
        while api.call("VM.get_power_state", vm) != "Running":
            self.assertLess(time.monotonic(), deadline, "the guest did not start with the host")
            time.sleep(2)
        guest = machine.GuestConsole(api, self.port, vm)
        guest.wait("tick")
        self.assertEqual(guest.ask("read xvda", r"read: (\w*)\."), "acknowledged")
        self.assertGreaterEqual(int(guest.ask("read xvda 1", r"read: (\d+)\.")),
                                self.note["number"])
        guest.close()
        return vm

    # -- the life of the disk ---------------------------------------------------------------------

    def test_0_the_medium_installs_without_a_person(self):
        """By UEFI, as its answers say."""
        empty_disk(self.folder)
        self.note["said"] = self.use_medium(
            INSTALL, lambda console: install_by_serial_line(console, INSTALLED))
        self.assertRegex(self.note["said"], INSTALLED)
        self.keep("installed")

    def test_1_the_host_is_as_it_was_told_and_the_power_goes_while_a_guest_writes(self):
        """Started by UEFI; afterwards by BIOS."""
        self.start_first()
        api, console = self.api, self.console
        record = api.call("host.get_record", api.call("host.get_all")[0])
        self.assertEqual(record["hostname"], "host7")
        self.assertRegex(record["software_version"]["xen"], r"^4\.20\.")
        self.first_time()
        self.assertIn("/sys/firmware/efi", console.run("ls -d /sys/firmware/efi"))
        local = api.call("SR.get_record", api.call("SR.get_by_name_label", "Local storage")[0])
        self.assertEqual(local["type"], "ext")
        self.assertIn("BASALT-SR", console.run(f"findmnt -n -o LABEL,UUID /run/sr-mount/{local['uuid']}"))
        self.assertIn("overlay", console.run("findmnt -n -o FSTYPE /"))
        self.assertIn("via 10.0.2.2 dev xenbr0", console.run("ip route show default"))
        self.assertIn("nameserver 10.0.2.3", console.run("cat /etc/resolv.conf"))
        machine.tell(console.run("free -m"))
        console.run("mount -o ro /dev/vdb /mnt && cp /mnt/vmlinuz /mnt/initrd.gz /boot/guest/"
                    " && sync")
        # What an administrator changed goes along with upgrades, and so does who may log in.
        console.run("echo renamed-by-hand > /root/note; sync")
        self.make_the_guest()
        guest = machine.GuestConsole(api, self.port, api.call("VM.get_by_name_label", "kept")[0])
        guest.wait("guest ready, PV")
        self.assertEqual(guest.ask("write xvda acknowledged", r"wrote: (\d+)\."), "0")
        guest.stream.sendall(b"count xvda\n")
        guest.wait(rf"kept {NUMBERS_MIN}\.")
        self.running.cut_power()
        with contextlib.suppress(OSError, AssertionError):
            guest.wait("no such word", seconds=2)
        self.note["number"] = int(re.findall(r"kept (\d+)\.", guest.text)[-1])
        machine.tell(f"the power goes after {self.note['number']} writes")
        self.keep("cut-while-writing")

    def make_the_guest(self):
        api = self.api
        pool = api.call("pool.get_all")[0]
        api.call("pool.add_to_other_config", pool, "auto_poweron", "true")
        network = api.call("network.create", {
            "name_label": "inside", "name_description": "", "MTU": "1500", "other_config": {},
            "tags": []})
        vm = api.call("VM.create", machine.vm_record(
            "kept", domain_type="pv", other_config={"auto_poweron": "true"}))
        machine.add_disk(api, vm, machine.default_sr(api), GUEST_DISK_BYTES, 0)
        machine.add_nic(api, vm, network, 0, "02:00:00:ba:5a:03")
        machine.act(api, "VM.start", vm, False, False)

    def test_2_after_the_power_cut_everything_is_found_again(self):
        self.take("cut-while-writing")
        self.start()
        self.log_in()
        vm = self.find_everything()
        self.assertIn("via 10.0.2.2 dev xenbr0", self.console.run("ip route show default"))
        machine.picture(self.running, "host-console")
        self.change_address_at_the_screen()
        # What happens when the machine ends: guests are asked, and this one obeys.
        self.console.run("systemctl stop basalt-guests.service")
        self.assertEqual(self.api.call("VM.get_power_state", vm), "Halted")
        self.switch_off()
        self.keep("off")

    def change_address_at_the_screen(self):
        """By the host's own console, and back at its serial line."""
        keyboard = self.running
        keyboard.press("down", "ret")
        time.sleep(3)
        keyboard.type(PASSWORD + "\n")
        time.sleep(5)
        keyboard.press("down", "down", "ret")
        time.sleep(2)
        # The last six characters of 10.0.2.15/24 become others; router and name servers stay.
        keyboard.type("\b" * 4 + "6/24\n")
        time.sleep(1)
        keyboard.type("\n\n")
        machine.picture(keyboard, "console-changes-address")
        self.console.run("until ip -4 address show dev xenbr0 | grep -q 10.0.2.16/24; "
                         "do sleep 1; done", machine.ACT_SECONDS)
        self.console.run("until xe host-list params=address --minimal | grep -qx 10.0.2.16; "
                         "do sleep 1; done", machine.ACT_SECONDS)
        # The services were told it, so that it is what the machine starts with from now on.
        self.console.run("until grep -q '^address = .10.0.2.16/24' /etc/basalt/host.toml; "
                         "do sleep 1; done", machine.ACT_SECONDS)
        self.console.run("rm /var/lib/basalt/management.json && systemctl restart basalt-prepare "
                         "&& systemctl start hostd xapi", machine.ACT_SECONDS)
        self.assertIn("10.0.2.16/24", self.console.run("grep ^address /etc/basalt/host.toml"))
        self.console.run("until xe host-list params=address --minimal | grep -qx 10.0.2.16; "
                         "do sleep 1; done", machine.ACT_SECONDS)
        machine.picture(keyboard, "console-changed-address")
        self.assertIn("via 10.0.2.2 dev xenbr0", self.console.run("ip route show default"))
        self.console.run(f"python3 -I -c '{CHANGE_ADDRESS_BACK}'")
        self.api = machine.log_in_to_api(self.port, PASSWORD)

    def test_3_an_upgrade_that_the_power_ends_has_changed_nothing(self):
        self.take("off")
        self.use_medium(UPGRADE, lambda console: install_by_serial_line(
            console, r"\] write the system"))
        self.start()
        self.log_in()
        self.assertEqual(self.slot(), "a")
        self.find_everything()
        self.switch_off()
        self.keep("cut-while-upgrading")

    def test_4_a_system_that_does_not_become_healthy_is_left_for_the_one_before(self):
        self.take("cut-while-upgrading")
        self.use_medium(UPGRADE, lambda console: install_by_serial_line(console, UPGRADED))
        # It restarts by itself; the machine's words, which make it sick, must not be there then.
        self.start(SICK, extra=["-no-reboot"])
        machine.wait_for_end(self.running, machine.BOOT_SECONDS)
        machine.tell(f"given up {time.monotonic() - self.began:.0f} s after power-on")
        self.start()
        self.log_in()
        self.assertIn("taken back", self.running.text())
        self.assertEqual(self.slot(), "a")
        self.find_everything()
        self.switch_off()
        self.keep("taken-back")

    def test_5_a_healthy_system_stays_with_all_that_the_host_had(self):
        """Installed at the screen, and the machine restarts when it is healthy."""
        self.take("taken-back")
        self.use_medium(UPGRADE, install_on_screen)
        self.start(PATIENT)
        self.log_in()
        self.assertEqual(self.slot(), "b")
        self.assertIn("renamed-by-hand", self.console.run("cat /root/note"))
        self.console.run("until journalctl -u basalt-healthy -o cat | grep -q 'b is chosen'; "
                         "do sleep 1; done", machine.BOOT_SECONDS)
        self.find_everything()
        said = len(self.console.text())
        self.console.run("systemctl --no-block reboot")
        self.began = time.monotonic()
        self.console.wait("GRUB", machine.BOOT_SECONDS, said)
        self.log_in(said + self.console.text()[said:].index("GRUB"))
        self.assertEqual(self.slot(), "b")
        self.assertNotIn("basalt.trial", self.console.run("cat /proc/cmdline"))
        self.find_everything()
        machine.picture(self.running, "host-console-upgraded")

    def test_6_a_host_that_is_made_anew_has_its_local_sr_again(self):
        self.take("off")
        self.use_medium(AGAIN, lambda console: install_by_serial_line(console, INSTALLED))
        self.start()
        self.log_in()
        api = self.api
        self.assertNotEqual(api.call("host.get_uuid", api.call("host.get_all")[0]),
                            self.note["uuid"])
        self.assertEqual(api.call("VM.get_by_name_label", "kept"), [])
        local = machine.default_sr(api)
        self.assertIn(api.call("SR.get_uuid", local), self.note["srs"])
        machine.act(api, "SR.scan", local)
        self.assertEqual([int(vdi["virtual_size"]) for vdi in api.call("VDI.get_all_records").values()
                          if vdi["SR"] == local and vdi["managed"]], [GUEST_DISK_BYTES])


if __name__ == "__main__":
    unittest.main()
