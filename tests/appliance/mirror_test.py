"""A host on a mirror of two disks, managed on a VLAN by both families of addresses, as its
installation was told; started from the disk that firmware would not have chosen, alone.

BASALT_ISO names a medium that is there already. Everything is emulated, so patient.
"""

import json
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import boot
import install_test
import machine
import medium

PASSWORD = "installed7"
DISKS = ("first.qcow2", "second.qcow2")
INSTALL = f"""\
[disk]
target = "/dev/vda"
mirror = "/dev/vdb"
sr_type = "xfs"
[network]
device = "eth0"
vlan = 7
address = "192.0.2.9/24"
ipv6 = "2001:db8::9/64"
[host]
hostname = "host7"
password = "{PASSWORD}"
keymap = "de"
ntp_source = "none"
[installer]
then = "poweroff"
"""
SETTLED = "grep -sqx done /var/lib/basalt/network-settled"


class MirrorLife(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="basalt-mirror-")
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        for name in DISKS:
            install_test.inside(["qemu-img", "create", "-q", "-f", "qcow2",
                                 str(cls.folder / name), f"{install_test.DISK_GIB}G"], cls.folder)
        made = boot.Machine(medium.image(), cls.folder, uefi=True, bootindex=0, screen=True,
                            words=boot.MENU_WORDS,
                            disks=[*(cls.folder / name for name in DISKS),
                                   install_test.answers_disk(cls.folder, INSTALL)])
        with boot.Running(made) as running:
            console = machine.Console(running)
            machine.wait_for_menu(running, console, "medium-menu-mirror")
            machine.tell(install_test.install_by_serial_line(console, install_test.INSTALLED))
            machine.wait_for_end(running)

    def start(self, *names):
        made = boot.Machine(None, self.folder, uefi=True, screen=True,
                            disks=[self.folder / name for name in names])
        began = time.monotonic()
        self.running = self.enterContext(boot.Running(made))
        self.console = machine.Console(self.running)
        self.console.wait("host7 login: ", machine.BOOT_SECONDS)
        machine.tell(f"login {time.monotonic() - began:.0f} s after power-on, from {names}")
        self.console.log_in(PASSWORD)

    def addresses(self, bridge):
        said = self.console.run(f"ip -json address show dev {bridge}")
        return {f"{one['local']}/{one['prefixlen']}" for one in json.loads(said)[0]["addr_info"]
                if one["scope"] == "global"}

    def test_the_second_disk_alone_is_the_host_that_was_told(self):
        self.start(DISKS[1])
        self.assertIn("[_U]", self.console.run("cat /proc/mdstat"))
        self.console.run(f"until {SETTLED}; do sleep 1; done", machine.BOOT_SECONDS)
        local = self.console.run("xe sr-list type=xfs --minimal").strip()
        self.assertIn("/dev/md", self.console.run(f"findmnt -n -o SOURCE -t xfs /run/sr-mount/{local}"))
        managed = "xe pif-list management=true --minimal params="
        self.assertEqual(self.console.run(managed + "VLAN").strip(), "7")
        self.assertEqual(self.console.run(managed + "IP").strip(), "192.0.2.9")
        bridge = self.console.run("sed -n \"s/^MANAGEMENT_INTERFACE='\\(.*\\)'/\\1/p\" "
                                  "/etc/xensource-inventory").strip()
        self.assertEqual(self.addresses(bridge), {"192.0.2.9/24", "2001:db8::9/64"})
        self.assertEqual(self.addresses("xenbr0"), set())
        self.assertEqual(self.console.run("systemctl is-active chrony || true").strip(), "inactive")
        self.assertIn("keep the log", self.console.run("tail -n 5 /var/lib/basalt/install.log"))


if __name__ == "__main__":
    unittest.main()
