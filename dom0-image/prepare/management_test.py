"""What hostd remembers, in a database as hostd writes it."""

import io
import json
import sqlite3
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path

import management

# Source: host-agent/local/records.cpp.
TABLE = ("CREATE TABLE record (room TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, "
         "PRIMARY KEY (room, key)) WITHOUT ROWID")


def bridge(name, **changes):
    return {"name": name, "uplink": "", "vlan_parent": "", "vlan_tag": 0, "mtu": 1500, "address": "",
            "gateway": "", "dns": [], "dhcp": False, "mac": "", "ipv6": [], "gateway6": "",
            "autoconf": False, **changes}


FIXED = {"address": "192.0.2.7/24", "gateway": "192.0.2.1", "dns": ["192.0.2.3"]}
OTHER = bridge("xenapi", address="169.254.0.1/16")


class Management(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        self.path = self.root / management.RECORDS
        self.path.parent.mkdir(parents=True)

    def kept(self, name, *bridges, bonds=()):
        self.path.unlink(missing_ok=True)
        records = sqlite3.connect(self.path)
        with records:
            records.execute("PRAGMA journal_mode=WAL")
            records.execute(TABLE)
            rows = [("network", "want", json.dumps({"bridges": [OTHER, *bridges],
                                                    "bonds": list(bonds),
                                                    "igmp_snooping": False})),
                    ("vm", "management", "of something else")]
            rows += [("network", "management", name)] if name else []
            records.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
        # hostd may be running: its connection stays open, and the log beside the file.
        self.addCleanup(records.close)
        return management.kept_by_hostd(self.root)

    def test_a_fixed_address_is_known_with_its_card_and_bridge(self):
        self.assertEqual(self.kept("xenbr1", bridge("xenbr1", uplink="eth1", **FIXED)), {
            "mac": "", "device": "eth1", "bridge": "xenbr1", "ipv6": "", **FIXED})

    def test_of_a_lease_only_where_it_is_asked_for(self):
        self.assertEqual(self.kept("xenbr0", bridge("xenbr0", uplink="eth0", dhcp=True)), {
            "mac": "", "device": "eth0", "bridge": "xenbr0", "address": "", "ipv6": "",
            "gateway": "", "dns": []})

    def test_below_a_bond_and_a_vlan_there_is_a_card(self):
        bonds = [{"name": "bond0", "members": ["eth2", "eth3"], "mode": "lacp", "properties": {}}]
        vlan = bridge("xapi2", vlan_parent="xapi1", vlan_tag=7, **FIXED)
        found = self.kept("xapi1", bridge("xapi1", uplink="bond0", **FIXED), bonds=bonds)
        self.assertEqual((found["device"], found["bridge"]), ("eth2", "xapi1"))
        found = self.kept("xapi2", bridge("xapi1", uplink="bond0"), vlan, bonds=bonds)
        self.assertEqual((found["device"], found["bridge"]), ("eth2", "xapi2"))

    def test_who_was_never_told_remembers_nothing(self):
        self.assertIsNone(management.kept_by_hostd(self.root), "no records")
        self.assertIsNone(self.kept("", bridge("xenbr0", uplink="eth0", **FIXED)))
        self.assertIsNone(self.kept("xenbr9", bridge("xenbr0", uplink="eth0", **FIXED)))
        self.assertIsNone(self.kept("xenbr0", bridge("xenbr0", uplink="eth0")), "no address")

    def test_a_host_may_be_managed_by_ipv6_alone(self):
        for how, first in (({"ipv6": ["2001:db8::7/64"]}, "2001:db8::7/64"), ({"autoconf": True}, "")):
            found = self.kept("xenbr0", bridge("xenbr0", uplink="eth0", **how))
            self.assertEqual((found["address"], found["ipv6"]), ("none", first))

    def test_a_bridge_learns_ipv6_where_hostd_was_told_so(self):
        self.assertFalse(management.learns_ipv6(self.root, "xenbr0"), "no records")
        self.kept("xenbr0", bridge("xenbr0", uplink="eth0", autoconf=True),
                  bridge("xenbr1", uplink="eth1"))
        self.assertEqual([management.learns_ipv6(self.root, f"xenbr{one}") for one in range(3)],
                         [True, False, False])

    def test_what_cannot_be_read_is_said_and_nothing(self):
        for data in (b"", b"no database at all, whatever its name"):
            self.path.write_bytes(data)
            with redirect_stdout(io.StringIO()) as said:
                self.assertIsNone(management.kept_by_hostd(self.root))
            self.assertIn("cannot be read", said.getvalue())


if __name__ == "__main__":
    unittest.main()
