import tempfile
import unittest
from pathlib import Path
from unittest import mock

import passthrough

WORDS = ["quiet", "xen-pciback.hide=(0000:3b:00.0)(0000:3b:00.1)(0000:99:00.0)"]


class PassthroughTest(unittest.TestCase):
    """A kernel's folders, made up: two functions of a card, the first with a driver."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.drivers = self.root / "sys/bus/pci/drivers"
        for address in ("0000:3b:00.0", "0000:3b:00.1", "0000:00:1f.2"):
            (self.root / "sys/bus/pci/devices" / address).mkdir(parents=True)
        for driver in ("igb", "pciback"):
            (self.drivers / driver).mkdir(parents=True)
        self.bind("0000:3b:00.0", "igb")
        self.bind("0000:00:1f.2", "igb")
        self.told = []
        self.ran = []
        patch = mock.patch.object(passthrough, "tell", self.tell)
        patch.start()
        self.addCleanup(patch.stop)

    def bind(self, address, driver):
        link = self.root / "sys/bus/pci/devices" / address / "driver"
        link.unlink(missing_ok=True)
        link.symlink_to(self.drivers / driver)

    def tell(self, path, text):
        driver = path.parent.resolve().name
        self.told.append((driver, path.name, text))
        if path.name == "bind":
            self.bind(text, driver)

    def settle(self, words=WORDS):
        with mock.patch("builtins.print"):
            passthrough.settle(self.root, words, lambda argv, check: self.ran.append(argv))

    def test_devices_go_from_their_drivers_to_who_keeps_them(self):
        self.settle()
        self.assertEqual(self.ran, [["modprobe", "xen-pciback"]])
        self.assertEqual(self.told, [
            ("igb", "unbind", "0000:3b:00.0"), ("pciback", "new_slot", "0000:3b:00.0"),
            ("pciback", "bind", "0000:3b:00.0"), ("pciback", "new_slot", "0000:3b:00.1"),
            ("pciback", "bind", "0000:3b:00.1")])
        self.told.clear()
        self.settle()
        self.assertEqual(self.told, [])

    def test_nothing_is_touched_where_nothing_is_hidden(self):
        self.settle(["quiet", "xen-pciback.passthrough=1"])
        self.assertEqual((self.told, self.ran), ([], []))

    def test_one_that_fails_leaves_the_others_alone(self):
        def fail(path, text):
            if text.endswith(".0"):
                raise OSError("busy")
            self.tell(path, text)

        with mock.patch.object(passthrough, "tell", fail):
            self.settle()
        self.assertEqual([text for _, _, text in self.told], ["0000:3b:00.1"] * 2)

    def test_the_last_word_counts_and_only_addresses_do(self):
        self.assertEqual(passthrough.hidden(
            ["xen-pciback.hide=(0000:3b:00.0)", "xen-pciback.hide=(junk)(0000:3b:00.1)"]),
            ["0000:3b:00.1"])


if __name__ == "__main__":
    unittest.main()
