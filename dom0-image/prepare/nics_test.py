"""Names of network cards, on a folder that stands for the kernel's."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import nics
import prepare

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")


def entry(mac, slot, name):
    return {"mac": mac, "slot": slot, "name": name}


class Assign(unittest.TestCase):
    def test_the_first_start_takes_the_kernel_s_names(self):
        present = [("eth0", A, "0000:00:03.0"), ("eth1", B, "0000:00:04.0")]
        known = nics.assign([], present)
        self.assertEqual(known, [entry(A, "0000:00:03.0", "eth0"),
                                 entry(B, "0000:00:04.0", "eth1")])
        self.assertEqual(nics.renames(known, present), [])

    def test_another_order_and_a_card_between_change_no_name(self):
        known = [entry(A, "s1", "eth0"), entry(B, "s3", "eth1")]
        present = [("eth0", B, "s3"), ("eth1", C, "s2"), ("eth2", A, "s1")]
        known = nics.assign(known, present)
        self.assertEqual({one["mac"]: one["name"] for one in known},
                         {A: "eth0", B: "eth1", C: "eth2"})
        self.assertEqual(nics.renames(known, present), [
            ("eth0", "aside0"), ("eth1", "aside1"), ("eth2", "aside2"),
            ("aside0", "eth1"), ("aside1", "eth2"), ("aside2", "eth0")])

    def test_a_card_in_the_place_of_another_gets_its_name(self):
        known = [entry(A, "s1", "eth0"), entry(B, "s2", "eth1")]
        self.assertEqual(nics.assign(known, [("eth0", C, "s1"), ("eth1", B, "s2")]),
                         [entry(C, "s1", "eth0"), entry(B, "s2", "eth1")])

    def test_a_card_that_is_out_keeps_its_name_for_the_day_it_is_back(self):
        known = nics.assign([entry(A, "s1", "eth0")], [("eth0", B, "s2")])
        self.assertEqual(known, [entry(A, "s1", "eth0"), entry(B, "s2", "eth1")])
        # Moved to another slot, it is still the same card.
        known = nics.assign(known, [("eth0", B, "s2"), ("eth1", A, "s5")])
        self.assertEqual(known, [entry(A, "s5", "eth0"), entry(B, "s2", "eth1")])

    def test_ports_of_one_slot_are_not_taken_for_each_other(self):
        known = [entry(A, "s1", "eth0"), entry(B, "s1", "eth1")]
        known = nics.assign(known, [("eth0", A, "s1"), ("eth1", C, "s1")])
        self.assertEqual(known[-1], entry(C, "s1", "eth2"))
        self.assertEqual(known[1], entry(B, "s1", "eth1"))

    def test_devices_without_a_slot_replace_nobody(self):
        known = nics.assign([entry(A, "", "eth0")], [("eth0", B, "")])
        self.assertEqual(known, [entry(A, "", "eth0"), entry(B, "", "eth1")])


class Settle(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        self.ran = []

    def card(self, name, mac, slot, index, virtual=False):
        device = self.root / "sys/devices/pci0000:00" / slot / "virtio0"
        device.mkdir(parents=True)
        if virtual:
            (device / "physfn").mkdir()
        place = self.root / "sys/class/net" / name
        place.mkdir(parents=True)
        (place / "device").symlink_to(device)
        (place / "address").write_text(mac.upper() + "\n")
        (place / "ifindex").write_text(f"{index}\n")

    def settle(self):
        nics.settle(self.root, self.ran.append, prepare.write)

    def test_cards_are_read_in_the_order_of_the_kernel(self):
        self.card("eth10", A, "0000:00:03.0", 2)
        self.card("eth2", B, "0000:01:00.1", 3)
        self.card("eth3", C, "0000:01:02.1", 4, virtual=True)
        (self.root / "sys/class/net/lo").mkdir()
        self.assertEqual(nics.cards(self.root), [("eth10", A, "0000:00:03.0"),
                                                 ("eth2", B, "0000:01:00.1")])

    def test_of_two_with_the_same_address_the_first_is_known(self):
        self.card("eth1", A, "0000:00:04.0", 3)
        self.card("eth0", A, "0000:00:03.0", 2)
        self.assertEqual(nics.cards(self.root), [("eth0", A, "0000:00:03.0")])

    def test_a_name_that_cannot_be_given_does_not_stop_the_host(self):
        (self.root / "var/lib/basalt").mkdir(parents=True)
        (self.root / nics.MAP).write_text(json.dumps([entry(A, "0000:00:03.0", "eth1")]))
        self.card("eth0", A, "0000:00:03.0", 2)
        refused = mock.Mock(side_effect=subprocess.CalledProcessError(2, "ip"))
        with mock.patch("builtins.print") as said:
            nics.settle(self.root, refused, prepare.write)
        self.assertIn("keep the kernel's names", said.call_args.args[0])

    def test_names_are_given_once_a_boot(self):
        (self.root / "var/lib/basalt").mkdir(parents=True)
        (self.root / nics.MAP).write_text(json.dumps([entry(A, "0000:00:03.0", "eth1")]))
        self.card("eth0", A, "0000:00:03.0", 2)
        self.settle()
        self.settle()
        self.assertEqual([argv[4:] for argv in self.ran],
                         [["eth0", "down"], ["eth0", "name", "aside0"],
                          ["aside0", "down"], ["aside0", "name", "eth1"]])

    def test_without_cards_nothing_is_written_down(self):
        self.settle()
        self.assertFalse((self.root / nics.MAP).exists())


if __name__ == "__main__":
    unittest.main()
