"""A person at the console, whose lines are written down here."""

import unittest
from dataclasses import replace

import answers
import ask
import disks
import plan
from answers import Refused
from answers_test import HASH, hashed
from installer_test import MIRROR_PARTS, NVME, ONE, machine_with

GIB = disks.GIB


class Conversation(unittest.TestCase):
    def ask(self, found, *lines, secrets=("secret1", "secret1")):
        """`lines`: (a part of the question, what is typed), in their order. Returns the answers."""
        left, left_secrets = list(lines), list(secrets)
        self.said, self.keymaps = [], []

        def read(question):
            self.assertTrue(left, f"nobody expected {question!r} after {self.said[-3:]}")
            expected, line = left.pop(0)
            self.assertIn(expected, question)
            return line

        person = ask.Person(read, lambda _: left_secrets.pop(0), self.said.append,
                            self.keymaps.append)
        given = ask.ask(person, found, hashed)
        self.assertEqual((left, left_secrets), ([], []))
        return given

    def was_said(self, part):
        self.assertTrue(any(part in line for line in self.said), self.said)

    def test_a_person_is_asked_until_the_answers_are_right(self):
        given = self.ask(
            machine_with(ONE, replace(NVME, path="/dev/vdb")),
            ("Device", "2"), ("VLAN", "5000"), ("VLAN", ""), ("IPv4", "192.0.2.10"),
            ("IPv4", "192.0.2.10/24"), ("Router", "192.0.2.1"),
            ("Name servers", "192.0.2.2 192.0.2.3"), ("IPv6", ""), ("Disk", "7"), ("Disk", "2"),
            ("Mirror", ""), ("Local SR", ""), ("File system", ""), ("Disks", "9"), ("Disks", ""),
            ("Name of", "a b"), ("Name of", "host1"), ("Time zone", ""), ("Servers of time", ""),
            secrets=("secret1", "secret2", "short", "short", "secret1", "secret1"))
        self.assertEqual(given, answers.Answers(
            password_hash=HASH, disk="/dev/vdb", hostname="host1", timezone="Etc/UTC", confirm=True,
            network=answers.Network("52:54:00:00:00:02", "192.0.2.10/24", "192.0.2.1",
                                    ("192.0.2.2", "192.0.2.3"))))
        self.was_said("lacks its prefix")
        self.was_said("1 to 4094")
        self.was_said("numbers from 1 to 1")
        self.was_said("These are not the same.")

    def test_a_mirror_a_bond_and_a_vlan(self):
        found = machine_with(ONE, replace(NVME, path="/dev/vdb"), disks.Disk("/dev/vdc", 9 * GIB),
                             keymaps=("de", "dvorak", "us"), zones=("Etc/UTC", "Europe/Berlin"))
        given = self.ask(
            found, ("Keyboard", "dx"), ("Keyboard", "de"), ("Device", "3"), ("Devices", "1"),
            ("Devices", "1, 2"), ("Mode", "3"), ("VLAN", "7"), ("IPv4", "none"),
            ("IPv6", "2001:db8::10/64"), ("Router of IPv6", "fe80::1"),
            ("Name servers", "2001:db8::2"), ("Disk", "1"), ("Mirror", "2"), ("Local SR", "2"),
            ("size in GiB", "many"), ("size in GiB", "10"), ("File system", "2"), ("Disks", "1"),
            ("Name of", "host1"), ("Time zone", "berlin"), ("Time zone", "Europe/Berlin"),
            ("Servers of time", "192.0.2.4"))
        self.assertEqual(given, answers.Answers(
            password_hash=HASH, disk="/dev/vda", mirror="/dev/vdb", sr_gib=10, sr_type="xfs",
            keymap="de", guest_disks=("/dev/vdc",), hostname="host1", timezone="Europe/Berlin",
            confirm=True, ntp=("192.0.2.4",), network=answers.Network(
                "", "none", "", ("2001:db8::2",), ("52:54:00:00:00:01", "52:54:00:00:00:02"), "lacp",
                7, "2001:db8::10/64", "fe80::1")))
        self.assertEqual(self.keymaps, ["de"])
        self.was_said("there are: de, dvorak, us")
        self.was_said("Is it one of Europe/Berlin?")
        self.was_said("A bond is made of 2 to 4 devices.")
        # What was answered can be done.
        self.assertEqual(plan.plan(given, found).summary[0][1],
                         "/dev/vda (40.0 GiB) and /dev/vdb (40.0 GiB), a mirror")

    def test_partitions_can_be_used_again_and_another_host_erased(self):
        host = replace(ONE, slot="a", parts=MIRROR_PARTS[:2] + MIRROR_PARTS[3:])
        other = replace(NVME, slot="b")
        network = ("Device", ""), ("VLAN", ""), ("IPv4", ""), ("IPv6", "")
        rest = ("Name of", "host1"), ("Time zone", ""), ("Servers of time", "none")
        given = self.ask(machine_with(host), ("Choice", "2"), *network, ("Disk", ""),
                         ("Choice", "2"), *rest)
        self.assertEqual((given.disk, given.reuse, given.ntp_source), ("/dev/vda", True, "none"))
        given = self.ask(machine_with(host, other), ("Choice", "3"), *network, ("Disk", ""),
                         ("Choice", "1"), ("Mirror", ""), ("Local SR", "3"),
                         ("Erase that disk", "y"), *rest)
        self.assertEqual((given.local_sr, given.wipe), (False, ("/dev/nvme0n1",)))

    def test_ipv6_alone_may_come_by_dhcp(self):
        asked = (("Device", ""), ("VLAN", ""), ("IPv4", "none"), ("IPv6", "dhcp"), ("Disk", ""),
                 ("Local SR", ""), ("File system", ""), ("Name of", "host1"), ("Time zone", ""),
                 ("Servers of time", ""))
        given = self.ask(machine_with(ONE), *asked)
        self.assertEqual((given.network.address, given.network.ipv6, given.network.dns),
                         ("none", "dhcp", ()))
        self.assertIn(("IPv6", "by DHCP"), plan.plan(given, machine_with(ONE)).summary)

    def test_a_name_is_left_to_the_dhcp_server_only_with_the_address(self):
        asked = (("Device", ""), ("VLAN", ""), ("IPv4", ""), ("IPv6", ""), ("Disk", ""),
                 ("Local SR", ""), ("File system", ""), ("Name of the host (empty", ""),
                 ("Time zone", ""), ("Servers of time", ""))
        self.assertEqual(self.ask(machine_with(ONE), *asked).hostname, "")

    def test_a_processor_for_pv_guests_alone_must_be_agreed_to(self):
        found = machine_with(ONE, lacks="There is no VT-x.")
        with self.assertRaisesRegex(Refused, "Nothing was written"):
            self.ask(found, ("nevertheless", "perhaps"), ("nevertheless", ""))

    def test_secure_boot_that_is_on_must_be_agreed_to(self):
        found = machine_with(ONE, secure_boot=True)
        with self.assertRaisesRegex(Refused, "Nothing was written"):
            self.ask(found, ("nevertheless", ""))
        self.was_said("nobody has signed Xen")
        given = self.ask(found, ("nevertheless", "y"), ("Device", ""), ("VLAN", ""), ("IPv4", ""),
                         ("IPv6", ""), ("Disk", ""), ("Local SR", ""), ("File system", ""),
                         ("Name of", ""), ("Time zone", ""), ("Servers of time", ""))
        self.assertEqual((given.despite_secure_boot, given.pv_only), (True, False))

    def test_only_the_word_goes_on(self):
        made = plan.plan(answers.Answers(password_hash=HASH), machine_with(ONE))
        said = []
        self.assertFalse(ask.confirmed(lambda _: "y", said.append, made))
        self.assertFalse(ask.confirmed(lambda _: "", said.append, made))
        self.assertTrue(ask.confirmed(lambda _: " install ", said.append, made))
        # Of what is on the screen when the word is typed, it is the greater part.
        self.assertTrue(any("/dev/vda is about to be erased" in line for line in said[-12:]), said)
        self.assertTrue(any("Time zone:" in line and "Etc/UTC" in line for line in said))


if __name__ == "__main__":
    unittest.main()
