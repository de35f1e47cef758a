"""The host's console: its facts, its menu, and the whole of it on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
PATHS = [str(HERE), str(HERE.parent / "prepare"), str(SOURCE / "installer"),
         str(SOURCE / "tools/dev")]
sys.path[:0] = PATHS

import console
import host
import menu

PATIENCE_SECONDS = 60
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"
# A host that writes down what it is asked, run in a process of its own below a terminal.
PROGRAM = """
import sys
sys.path[:0] = {paths!r}
import console, host
class Made(host.Host):
    def facts(self, details=()):
        return host.Facts(product="Basalt 8.3", hostname="host7", uuid="the-uuid",
                          fingerprint=":".join(f"{{number:02X}}" for number in range(32)),
                          address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.2",),
                          device="eth0", mac="52:54:00:00:00:01", known=True, enabled=True,
                          memory_bytes=4 << 30, memory_free_bytes=3 << 30, processors=2,
                          xen="4.20.1", running=1, ipv6=("2001:db8::10/64",), ipv6_how="fixed",
                          vms=(("guest", "Running"),) if "vms" in details else None)
    def password_is_right(self, password):
        return password == "secret1"
    def note(self, *what):
        with open({log!r}, "a") as file:
            print(*what, file=file)
    def set_network(self, facts, address, gateway="", dns=()):
        host.checked_network(facts.mac, address, gateway, list(dns))
        self.note("network", address, gateway, *dns)
    def set_ipv6(self, facts, mode, address="", gateway="", dns=()):
        self.note("ipv6", mode, address, gateway, *dns)
    def restart_toolstack(self):
        self.note("restart")
        raise host.Failed("Restarting the services failed: no such unit.")
    def power(self, verb):
        self.note("power", verb)
    def log(self, which):
        return [f"{{which}} line {{number}}" for number in range(200)]
console.main(Made())
"""
UP, DOWN, ENTER, ESCAPE, BACK = b"\x1b[A", b"\x1b[B", b"\r", b"\x1b", b"\x7f"


class Terminal:
    """A console program at the other end of a pseudo terminal of 80 by 25."""

    def __init__(self, log):
        self.child, self.line = pty.fork()
        if self.child == 0:
            os.environ.update(TERM="linux", LINES="25", COLUMNS="80", LC_ALL="C.UTF-8")
            os.execvp(sys.executable, [sys.executable, "-B", "-c",
                                       PROGRAM.format(paths=PATHS, log=str(log))])
        self.text = ""

    def read(self, seconds):
        if select.select([self.line], [], [], seconds)[0]:
            try:
                self.text += os.read(self.line, 65536).decode(errors="replace")
            except OSError:  # EIO: the other end is closed
                self.text += "\n(the console has ended)\n"
                return False
        return True

    def plain(self):
        """What was written since the last `type`, each sequence of the terminal as a space."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|[\r\n]", " ", self.text)

    def wait(self, *words):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(word in self.plain() for word in words):
            if time.monotonic() > deadline or not self.read(0.2):
                raise AssertionError(f"no {words} in:\n{self.plain()[-3000:]}")

    def type(self, *keys):
        while self.read(0.3) and select.select([self.line], [], [], 0)[0]:
            pass
        self.text = ""
        for key in keys:
            os.write(self.line, key)

    def close(self):
        os.close(self.line)
        # A terminal that is gone says so by SIGHUP, which whoever runs the tests may have ignored.
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


class OnATerminal(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.log = Path(scratch.name) / "log"
        self.terminal = Terminal(self.log)
        self.addCleanup(self.terminal.close)
        self.terminal.wait("Switch the machine off")

    def choose(self, title):
        titles = [item.title for item in menu.ITEMS]
        self.terminal.type(*[DOWN] * titles.index(title))

    def log_in(self):
        self.terminal.wait("password:")
        self.terminal.type(b"secret1", ENTER)

    def acted(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def assert_acts(self, *lines):
        """What is done may come some time after the words that announce it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.acted() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.acted(), list(lines))

    def test_the_state_is_there_for_everybody(self):
        self.terminal.wait("host7", "https://192.0.2.10/", "enabled", "nobody logged in", "4.0 GiB",
                           "the-uuid")
        # A line of its own for each eight pairs, whatever the width.
        self.terminal.wait("00:01:02:03:04:05:06:07 ", "18:19:1A:1B:1C:1D:1E:1F ")

    def test_the_vms_are_read_when_somebody_looks_at_them(self):
        self.choose("Virtual machines")
        self.terminal.wait("Running", "guest")

    def test_a_wrong_password_opens_nothing(self):
        self.choose("Switch the machine off")
        self.terminal.type(ENTER)
        self.terminal.wait("password:")
        self.terminal.type(b"secret2", ENTER)
        self.terminal.wait("That is not the password.")
        self.assertNotIn("secret2", self.terminal.plain())
        self.terminal.type(b" ", ENTER)
        self.terminal.wait("password:")
        self.assertEqual(self.acted(), [])

    def test_the_machine_is_switched_off_when_root_says_so_twice(self):
        self.choose("Switch the machine off")
        self.terminal.type(ENTER)
        self.log_in()
        self.terminal.wait("root", "1 VMs run on it now.")
        self.terminal.type(ENTER)  # No is what Enter says by itself
        self.terminal.type(ENTER, DOWN, ENTER)
        self.terminal.wait("It has begun.")
        self.assert_acts("power poweroff")

    def test_a_fixed_address_is_asked_for_and_a_wrong_one_is_refused(self):
        self.choose("Management network")
        self.terminal.wait("192.0.2.1", "52:54:00:00:00:01")
        self.terminal.type(ENTER)
        self.log_in()
        self.terminal.wait("A fixed address")
        self.terminal.type(DOWN, DOWN, ENTER, *[BACK] * 20, b"192.0.2.99", ENTER, ENTER, ENTER)
        self.terminal.wait("lacks its prefix")
        self.terminal.type(b" ", ENTER, DOWN, DOWN, ENTER, *[BACK] * 20, b"192.0.2.99/24", ENTER,
                           ENTER, b" 192.0.2.3", ENTER)
        self.terminal.wait("Changing the address")
        self.assert_acts("network 192.0.2.99/24 192.0.2.1 192.0.2.2 192.0.2.3")

    def test_ipv6_is_shown_and_asked_for(self):
        self.choose("Management network")
        self.terminal.wait("2001:db8::10/64, fixed", "none known")
        self.terminal.type(ENTER)
        self.log_in()
        self.terminal.wait("IPv6 ...")
        self.terminal.type(DOWN, DOWN, DOWN, ENTER)
        self.terminal.wait("It is now: 2001:db8::10/64 fixed.", "As routers announce")
        self.terminal.type(DOWN, DOWN, DOWN, DOWN, ENTER, BACK, BACK, BACK, b"/80", ENTER,
                           b"fe80::1", ENTER, b"2001:db8::2", ENTER)
        self.terminal.wait("Changing the address")
        self.assert_acts("ipv6 Static 2001:db8::10/80 fe80::1 2001:db8::2")
        self.terminal.type(ENTER, DOWN, DOWN, DOWN, ENTER, DOWN, ENTER)
        self.terminal.wait("Changing the address")

    def test_logs_are_looked_through_and_a_failure_is_told(self):
        self.choose("Logs")
        self.terminal.type(ENTER)
        self.log_in()
        self.terminal.wait("The kernel")
        self.terminal.type(DOWN, ENTER)
        self.terminal.wait("kernel line 199")
        # Only what differs is written: of "line 177" and the next, the numbers.
        self.terminal.type(b"\x1b[5~")
        self.terminal.wait("54", "76")
        self.terminal.type(ESCAPE, DOWN, ENTER)
        self.terminal.wait("no such unit")
        self.assert_acts("restart")

    def test_keys_that_end_other_programs_do_not_end_it(self):
        self.terminal.type(b"\x03", b"\x1a", b"\x1c", b"\x04", DOWN)
        self.terminal.wait("fixed")


class WatchTest(unittest.TestCase):
    def test_until_the_services_answer_they_are_asked_often(self):
        known, asked = threading.Event(), []
        enough = threading.Event()

        def facts(_details=()):
            asked.append(known.is_set())
            if asked.count(False) == 4 or asked[-1]:
                enough.set()
            return host.Facts(known=asked[-1])

        self.enterContext(mock.patch.object(console, "ATTENDED_SECONDS", 0.01))
        # For ever: the thread of a watch ends with its program.
        self.enterContext(mock.patch.object(console, "UNATTENDED_SECONDS", 3600))
        console.Watch(mock.Mock(facts=facts))
        self.assertTrue(enough.wait(PATIENCE_SECONDS))
        enough.clear()
        known.set()
        self.assertTrue(enough.wait(PATIENCE_SECONDS))
        time.sleep(0.2)
        self.assertLessEqual(asked.count(True), 1)


class FactsTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def put(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def test_files_say_enough_while_the_api_does_not_answer(self):
        self.put("etc/basalt/host.toml", '[host]\nuuid = "u"\naddress = "192.0.2.7/24"\n'
                                         'management = "eth1"\ndns = ["192.0.2.2"]\n')
        self.put("sys/class/net/eth1/address", "52:54:00:00:00:02\n")
        self.put("usr/share/basalt/release", "PRODUCT_BRAND=Basalt\nPRODUCT_VERSION=8.3.0\n")
        self.put("proc/cmdline", "boot=basalt basalt.slot=b\n")
        self.put("var/lib/basalt/xapi/tls.pem", "key\n" + CERTIFICATE)
        self.put("var/lib/basalt/upgrade-notice", "It was taken back.\n")
        found = host.Host(self.root, str(self.root / "no-socket")).facts()
        self.assertEqual((found.known, found.live, found.how), (False, False, "fixed"))
        self.assertEqual((found.product, found.device, found.mac, found.dns),
                         ("Basalt 8.3.0", "eth1", "52:54:00:00:00:02", ("192.0.2.2",)))
        # The SHA-256 of the bytes 0, 1, 2.
        self.assertTrue(found.fingerprint.startswith("AE:4B:32:80:E5:6E:2F:AF:83:F4:14:A6:E3:DA"))
        shown = " ".join(text for _, text in menu.status(found))
        self.assertIn("do not answer", shown)
        self.assertIn("It was taken back.", shown)

    def test_a_mirror_that_lacks_a_disk_is_told(self):
        made = host.Host(self.root, str(self.root / "no-socket"))
        for lacking, said in (("0", ""), ("1", "The mirror lacks a disk")):
            self.put("sys/block/md127/md/degraded", f"{lacking}\n")
            self.put("sys/block/md126/md/degraded", "0\n")
            self.assertTrue(made.facts().notice.startswith(said))
            self.assertEqual(bool(made.facts().notice), bool(said))

    def test_a_host_that_is_managed_by_ipv6_shows_that(self):
        self.put("etc/basalt/host.toml", '[host]\naddress = "169.254.1.1/16"\n')
        self.put("etc/resolv.conf", "search example.org\nnameserver 2001:db8::53\n")
        kept = {"address": "none", "ipv6": "2001:db8::7/64", "gateway": "", "dns": []}
        with mock.patch.object(host.management, "kept_by_hostd", return_value=kept):
            found = host.Host(self.root, str(self.root / "no-socket")).facts()
        self.assertEqual((found.address, found.how, found.dns),
                         ("2001:db8::7/64", "fixed", ("2001:db8::53",)))
        self.assertIn(("Manage it at", "https://[2001:db8::7]/"), menu.status(found))

    def test_an_ipv6_address_that_is_learnt_is_what_the_api_says(self):
        kept = {"address": "none", "ipv6": "", "gateway": "", "dns": []}
        answers = {"session.get_this_host": "ref", "host.get_record": {
            "address": "2001:db8::9", "metrics": "ref", "enabled": True, "resident_VMs": ["dom0"],
            "software_version": {}, "cpu_info": {}}, "host.get_all": ["ref"],
            "host_metrics.get_record": {"memory_total": "0", "memory_free": "0"},
            "pool.get_all_records": {"ref": {"name_label": ""}},
            "host.get_management_interface": "pif", "PIF.get_record": {
                "IPv6": ["2001:db8::9/128"], "ipv6_gateway": "fe80::1",
                "ipv6_configuration_mode": "DHCP"}}
        session = mock.MagicMock()
        session.return_value.__enter__.return_value.call = lambda method, *_: answers[method]
        for lease, how in (("", "as routers announce"), ("run/basalt/lease6", "by DHCP")):
            if lease:
                self.put(lease, "BRIDGE=xenbr0\n")
            with mock.patch.object(host.management, "kept_by_hostd", return_value=kept), \
                    mock.patch.object(host.xapi_client, "Session", session):
                found = host.Host(self.root).facts()
            self.assertEqual(menu.network(found)[0], ("Address", f"2001:db8::9, {how}"))
            self.assertIn(("IPv6", "2001:db8::9/128, by DHCP"), menu.network(found))
            self.assertIn(("IPv6 router", "fe80::1"), menu.network(found))

    def test_a_machine_without_any_of_it_has_a_console_too(self):
        found = host.Host(self.root, str(self.root / "no-socket")).facts()
        for item in menu.ITEMS:
            self.assertTrue(item.lines(found), item.title)

    def test_an_address_is_written_before_it_is_used(self):
        made = host.Host(self.root)
        facts = host.Facts(mac="52:54:00:00:00:02")
        self.put("var/lib/basalt/uuid", "u")
        with mock.patch.object(host, "must") as must:
            made.set_network(facts, "192.0.2.9/24", "192.0.2.1", ["192.0.2.2"])
        self.assertEqual(must.call_args_list[0].args[0],
                         ["systemctl", "restart", "basalt-prepare.service"])
        self.assertIn('"address": "192.0.2.9/24"',
                      (self.root / "var/lib/basalt/management.json").read_text())
        with mock.patch.object(host, "must") as must:
            with self.assertRaisesRegex(host.Refused, "not in the network"):
                made.set_network(facts, "192.0.2.9/24", "198.51.100.1")
            with self.assertRaisesRegex(host.Refused, "through the pool"):
                made.set_network(host.Facts(mac=facts.mac, hosts=2), "dhcp")
        must.assert_not_called()

    def test_services_that_answer_are_told_the_address_first(self):
        made = host.Host(self.root)
        facts = host.Facts(mac="52:54:00:00:00:02", known=True)
        self.put("var/lib/basalt/uuid", "u")
        api = mock.MagicMock()
        api.__enter__.return_value = api
        answers = {"task.get_status": "success", "task.get_error_info": ["INTERFACE_HAS_NO_IP", "x"]}
        api.call.side_effect = lambda method, *_: answers.get(method, method)
        with mock.patch.object(host, "must") as must, \
                mock.patch.object(host.xapi_client, "Session", return_value=api):
            made.set_network(facts, "192.0.2.9/24", "192.0.2.1", ["192.0.2.2", "192.0.2.3"])
            api.call.assert_any_call(
                "Async.PIF.reconfigure_ip", "host.get_management_interface", "Static", "192.0.2.9",
                "255.255.255.0", "192.0.2.1", "192.0.2.2,192.0.2.3")
            made.set_network(facts, "dhcp")
            api.call.assert_any_call(
                "Async.PIF.reconfigure_ip", "host.get_management_interface", "DHCP", "", "", "", "")
            self.assertEqual(must.call_count, 4)
            must.reset_mock()
            self.root.joinpath("var/lib/basalt/management.json").unlink()
            answers["task.get_status"] = "failure"
            with self.assertRaisesRegex(host.Failed, "INTERFACE_HAS_NO_IP"):
                made.set_network(facts, "192.0.2.9/24")
        must.assert_not_called()
        self.assertFalse((self.root / "var/lib/basalt/management.json").exists())

    def api(self, answers):
        """What `answers` says, and else the message's own name."""
        api = mock.MagicMock()
        api.__enter__.return_value = api
        api.call.side_effect = lambda method, *_: answers.get(method, method)
        self.enterContext(mock.patch.object(host.xapi_client, "Session", return_value=api))
        self.enterContext(mock.patch.object(host, "LEARN_SECONDS", 0.2))
        self.enterContext(mock.patch.object(host, "AGAIN_SECONDS", 0.01))
        return api

    def test_ipv6_is_told_to_the_services(self):
        made = host.Host(self.root)
        facts = host.Facts(mac="52:54:00:00:00:02", known=True, address="192.0.2.9/24")
        answers = {"task.get_status": "success", "PIF.get_IPv6": ["2001:db8::7/64"],
                   "task.get_error_info": ["INTERFACE_HAS_NO_IP", "x"]}
        api = self.api(answers)
        message = ("Async.PIF.reconfigure_ipv6", "host.get_management_interface")
        with mock.patch.object(host, "must") as must:
            made.set_ipv6(facts, "Static", "2001:db8::9/64", "fe80::1", ["2001:db8::2"])
            api.call.assert_any_call(*message, "Static", "2001:db8::9/64", "fe80::1", "2001:db8::2")
            for mode in ("None", "Autoconf"):
                made.set_ipv6(facts, mode)
                api.call.assert_any_call(*message, mode, "", "", "")
            self.assertEqual(must.call_args.args[0],
                             ["systemctl", "restart", "basalt-network.service"])
            # Nobody has announced anything.
            answers["PIF.get_IPv6"] = []
            with self.assertRaisesRegex(host.Failed, "No router"):
                made.set_ipv6(facts, "Autoconf")
            answers["task.get_status"] = "failure"
            must.reset_mock()
            with self.assertRaisesRegex(host.Failed, "INTERFACE_HAS_NO_IP"):
                made.set_ipv6(facts, "None")
        must.assert_not_called()

    def test_a_lease_of_dhcpv6_is_waited_for(self):
        made = host.Host(self.root)
        facts = host.Facts(mac="52:54:00:00:00:02", known=True, address="192.0.2.9/24")
        self.api({"task.get_status": "success", "PIF.get_IPv6": ["2001:db8::7/64"]})
        self.put("run/basalt/lease6", "BRIDGE=xenbr0\nADDRESS=2001:db8::7\n")
        # That of before is none.
        with mock.patch.object(host, "must"), self.assertRaisesRegex(host.Failed, "No DHCPv6"):
            made.set_ipv6(facts, "DHCP")
        (self.root / "run/basalt/lease6").unlink()
        with mock.patch.object(host, "must", side_effect=lambda *_: self.put(
                "run/basalt/lease6", "BRIDGE=xenbr0\nADDRESS=2001:db8::8\n")):
            made.set_ipv6(facts, "DHCP")

    def test_what_is_no_address_of_ipv6_is_refused(self):
        made = host.Host(self.root)
        api = self.api({})
        facts = host.Facts(mac="52:54:00:00:00:02", known=True, address="192.0.2.9/24")
        for change, wanted, reason in (
                ({}, ("Static", "192.0.2.9/24"), "not an IPv6 address"),
                ({}, ("Static", "2001:db8::9"), "lacks its prefix"),
                ({}, ("Static", ""), "no.*IPv6"),
                ({}, ("Static", "2001:db8::9/64", "2001:db9::1"), "not in the network"),
                ({}, ("Static", "2001:db8::9/64", "", ["192.0.2.2"]), "IPv4"),
                ({"address": "2001:db8::9/64"}, ("None",), "managed by IPv6"),
                ({"address": "2001:db8::9/64", "ipv6_how": "fixed"}, ("DHCP",), "would have none"),
                ({"hosts": 2}, ("Autoconf",), "through the pool")):
            with self.subTest(wanted), self.assertRaisesRegex(host.Refused, reason):
                made.set_ipv6(replace(facts, **change), *wanted)
        with self.assertRaisesRegex(host.Failed, "do not answer now"):
            made.set_ipv6(replace(facts, known=False), "None")
        api.call.assert_not_called()

    def test_an_address_that_the_api_set_is_shown_and_stands(self):
        self.put("etc/basalt/host.toml", '[host]\naddress = "192.0.2.7/24"\n'
                                         'gateway = "192.0.2.1"\nmanagement = "eth0"\n')
        made = host.Host(self.root)
        kept = {"address": "192.0.2.9/24", "gateway": "", "dns": ["192.0.2.3"]}
        for remembered, shown in ((None, ("192.0.2.7/24", "192.0.2.1", ())),
                                  ({**kept, "address": ""}, ("192.0.2.7/24", "192.0.2.1", ())),
                                  (kept, ("192.0.2.9/24", "", ("192.0.2.3",)))):
            with mock.patch.object(host.management, "kept_by_hostd", return_value=remembered):
                facts = made.facts_of_files()
            self.assertEqual((facts["address"], facts["gateway"], facts["dns"]), shown)
        with mock.patch.object(host.management, "kept_by_hostd", return_value=kept), \
                self.assertRaisesRegex(host.Failed, "do not answer now"):
            made.set_network(host.Facts(mac="52:54:00:00:00:02"), "192.0.2.9/24")

    def test_what_systemd_refuses_is_told(self):
        with mock.patch.object(host, "run", return_value=subprocess.CompletedProcess(
                [], 1, "", "Unit is masked.\n")), self.assertRaisesRegex(host.Failed, "is masked"):
            host.Host(self.root).restart_toolstack()


if __name__ == "__main__":
    unittest.main()
