"""A host that is installed in a network without IPv4: its address is leased by DHCPv6, and its own
console changes it.

BASALT_ISO names a medium that is there already; pictures go to the folder BASALT_PICTURES.
Everything is emulated, so patient.
"""

import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import boot
import install_test
import live_test
import machine
import medium

PASSWORD = "installed7"
INSTALL = f"""\
[disk]
target = "/dev/vda"
[network]
device = "eth0"
address = "none"
ipv6 = "dhcp"
[host]
hostname = "host7"
password = "{PASSWORD}"
[installer]
then = "poweroff"
"""
SETTLED = "grep -sqx done /var/lib/basalt/network-settled"
SERVED = {"network": live_test.TAP,
          "around": ["unshare", "--net", "sh", "-ec", live_test.SERVED, "sh"]}
MANAGEMENT = "xe pif-list management=true --minimal params="
FIXED = "2001:db8::77/64"
# From the choice of what is to be changed to that of IPv6, at the screen.
IPV6 = ["down", "down", "down", "ret"]
# What the console's menu does, without its screen: QEMU's keyboard has no easy colon.
CHANGE = """python3 -I -c 'import sys; sys.path.insert(0, "/usr/lib/basalt/console"); import host; \
here = host.Host(); here.set_ipv6(here.facts(), {})'"""


class HostByDhcpv6(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="basalt-ipv6-")
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        cls.disk = install_test.empty_disk(cls.folder)
        made = boot.Machine(medium.image(), cls.folder, uefi=True, bootindex=0, screen=True,
                            words=boot.MENU_WORDS,
                            disks=[cls.disk, install_test.answers_disk(cls.folder, INSTALL)],
                            **SERVED)
        with boot.Running(made) as running:
            console = machine.Console(running)
            machine.wait_for_menu(running, console, "medium-menu-ipv6")
            machine.tell(install_test.install_by_serial_line(console, install_test.INSTALLED))
            machine.wait_for_end(running)

    def start(self):
        made = boot.Machine(None, self.folder, uefi=True, screen=True, disks=[self.disk], **SERVED)
        began = time.monotonic()
        self.running = self.enterContext(boot.Running(made))
        self.console = machine.Console(self.running)
        self.console.wait("host7 login: ", machine.BOOT_SECONDS)
        machine.tell(f"login {time.monotonic() - began:.0f} s after power-on")
        self.console.log_in(PASSWORD)

    def pif(self, what):
        return self.console.run(MANAGEMENT + what).strip()

    def test_it_is_managed_at_its_lease_until_its_console_is_told_otherwise(self):
        self.start()
        console = self.console
        console.run(f"until {SETTLED}; do sleep 1; done", machine.BOOT_SECONDS)
        address = self.pif("IPv6")
        self.assertRegex(address, r"^2001:db8::1[0-9a-f]{2}/128$")
        self.assertEqual(self.pif("primary-address-type"), "IPv6")
        self.assertEqual(self.pif("IP-configuration-mode"), "None")
        self.assertEqual(console.run("xe host-list params=address --minimal").strip(),
                         address.split("/")[0])
        self.assertIn(f"https://[{address.split('/')[0]}]", console.run("cat /run/issue.d/*"))
        self.assertIn("2001:db8::53", console.run("cat /etc/resolv.conf"))
        self.assertIn("2001:db8::123", console.run("cat /run/chrony-dhcp/basalt6.sources"))
        console.run("until systemctl is-active basalt-lease6; do sleep 1; done")
        self.running.press("down")
        machine.picture(self.running, "host-console-ipv6")
        self.log_in_at_the_screen()
        self.running.press(*IPV6)
        machine.picture(self.running, "console-changes-ipv6")
        self.running.press("esc")

        self.assertIn("managed by IPv6", console.run(CHANGE.format('"None"') + " 2>&1 || true"))
        console.run(CHANGE.format(f'"Static", "{FIXED}", "2001:db8::1"'))
        self.assertEqual(self.pif("IPv6"), FIXED)
        said = console.run("ip -6 -oneline address show dev xenbr0 scope global")
        self.assertIn(FIXED, said)
        self.assertNotIn(address, said)
        console.run("while systemctl is-active basalt-lease6; do sleep 1; done")
        self.assertIn("via 2001:db8::1", console.run("ip -6 route show default"))

    def log_in_at_the_screen(self):
        """As far as the choice of what is to be changed."""
        self.running.press("ret")
        time.sleep(3)
        self.running.type(PASSWORD + "\n")
        time.sleep(5)


if __name__ == "__main__":
    unittest.main()
