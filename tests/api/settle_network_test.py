"""The network that an installation was told, made by dom0-image's own program on a host that runs.

The host is this test's own: its management moves to a VLAN on a bond, and to IPv6.
"""

import json
import os
import shutil
import unittest
from pathlib import Path

import lab

MODULES = ("dom0-image/prepare/management.py", "dom0-image/prepare/nics.py",
           "dom0-image/prepare/passthrough.py", "dom0-image/prepare/prepare.py",
           "dom0-image/prepare/settle_network.py", "dom0-image/prepare/slots.py",
           "tools/dev/xapi_client.py")
# The second card is one end of a pair, by a name that hardware has.
SECOND_CARD = ("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far1")
SETTLE = """
import json, sys
from pathlib import Path
sys.path.insert(0, "/var/lib/basalt/python")
import settle_network, xapi_client
root = Path("/var/lib/basalt/told")
settle_network.work(root, lambda: xapi_client.Session("unix:/var/lib/xcp/xapi", "root", ""))
"""


@unittest.skipIf(os.geteuid() != 0, "./dev run needs root")
class SettleNetwork(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab.started("BASALT_SETTLE", "--no-template", "--no-web")
        (cls.lab.state / "python").mkdir(exist_ok=True)
        for module in MODULES:
            shutil.copy(lab.SOURCE / module, cls.lab.state / "python")
        cls.root = cls.lab.state / "told"

    def setUp(self):
        shutil.rmtree(self.root, ignore_errors=True)
        self.put("var/lib/basalt/xapi/pool.conf", "master\n")
        self.put("var/lib/basalt/uuid", "the-uuid\n")

    def put(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def settle(self, **network):
        self.put("var/lib/basalt/install.json", json.dumps({"network": network}))
        done = self.lab.inside("python3", "-c", SETTLE, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)

    def xe(self, *words):
        done = self.lab.xe(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def managed(self, *names):
        """Of the interface by which the host is managed."""
        uuid = self.xe("pif-list", "management=true", "params=uuid", "--minimal")
        return {name: self.xe("pif-param-get", f"uuid={uuid}", f"param-name={name}")
                for name in ("uuid", *names)}

    def addresses(self, bridge):
        said = self.lab.inside("ip", "-json", "address", "show", "dev", bridge,
                               capture_output=True, timeout=60).stdout
        return {f"{one['local']}/{one['prefixlen']}" for one in json.loads(said)[0]["addr_info"]
                if one["scope"] == "global"}

    def certificate(self):
        return (self.lab.state / "host1/xapi/tls.pem").read_text()

    def test_1_a_lease_is_a_record_and_the_address_stays(self):
        before = self.managed("IP", "IP-configuration-mode", "netmask")
        self.assertEqual(before["IP-configuration-mode"], "Static")
        certificate = self.certificate()
        self.settle(mac="", address="")
        self.assertEqual(self.managed(*before), {**before, "IP-configuration-mode": "DHCP"})
        self.assertIn(f"{before['IP']}/24", self.addresses("xenbr0"))
        self.assertEqual(self.certificate(), certificate)
        self.assertEqual((self.root / "var/lib/basalt/network-settled").read_text(), "done\n")
        # It outlives the daemons, as what an administrator has set.
        for daemon in ("hostd", "xapi"):
            self.lab.kill(daemon)
        lab.wait_until(lambda: self.lab.xe("host-list").returncode == 0, 60, "xapi answers")
        self.assertEqual(self.managed("IP-configuration-mode")["IP-configuration-mode"], "DHCP")

    def test_2_a_vlan_on_a_bond_with_both_families(self):
        self.assertEqual(self.lab.inside(*SECOND_CARD).returncode, 0)
        for link in ("eth1", "far1"):
            self.lab.inside("ip", "link", "set", link, "up")
        host = self.xe("host-list", "params=uuid", "--minimal")
        self.xe("pif-scan", f"host-uuid={host}")
        macs = self.xe("pif-list", "physical=true", "params=MAC", "--minimal").split(",")
        self.assertEqual(len(macs), 2)
        certificate = self.certificate()
        told = {"mac": "", "bond": macs, "bond_mode": "active-backup", "vlan": 7,
                "address": "192.0.2.9/24", "gateway": "", "dns": [], "ipv6": "2001:db8::9/64"}
        self.settle(**told)
        found = self.managed("IP", "VLAN", "device", "IPv6")
        self.assertEqual((found["IP"], found["VLAN"], found["device"]), ("192.0.2.9", "7", "bond0"))
        self.assertIn("2001:db8::9/64", found["IPv6"])
        self.assertEqual(self.xe("host-param-get", f"uuid={host}", "param-name=address"), "192.0.2.9")
        bridge = self.bridge_of(found["uuid"])
        self.assertEqual(self.addresses(bridge), {"192.0.2.9/24", "2001:db8::9/64"})
        self.assertIn(f"MANAGEMENT_INTERFACE='{bridge}'",
                      (self.root / "etc/xensource-inventory").read_text())
        self.assertNotEqual(self.certificate(), certificate)
        # What was interrupted is begun again, and makes nothing twice.
        networks = self.xe("network-list", "--minimal")
        (self.root / "var/lib/basalt/network-settled").write_text("begun 192.0.2.9\n")
        certificate = self.certificate()
        self.settle(**told)
        self.assertEqual(self.xe("network-list", "--minimal"), networks)
        self.assertEqual(self.managed("IP")["uuid"], found["uuid"])
        self.assertEqual(self.certificate(), certificate)

    def bridge_of(self, pif):
        network = self.xe("pif-param-get", f"uuid={pif}", "param-name=network-uuid")
        return self.xe("network-param-get", f"uuid={network}", "param-name=bridge")

    def test_3_ipv6_alone(self):
        """On what the case before has made; by itself, on a card."""
        mac = self.xe("pif-list", "physical=true", "params=MAC", "--minimal").split(",")[0]
        bonds = self.xe("bond-list", "--minimal")
        vlan = self.managed("VLAN")["VLAN"]
        self.put("var/lib/basalt/network-settled", "begun\n")
        macs = self.xe("pif-list", "physical=true", "params=MAC", "--minimal").split(",")
        self.settle(mac=mac, bond=macs if bonds else [], vlan=max(int(vlan), 0),
                    address="none", ipv6="2001:db8::9/64")
        found = self.managed("IP", "IP-configuration-mode", "primary-address-type")
        self.assertEqual((found["IP"], found["IP-configuration-mode"], found["primary-address-type"]),
                         ("", "None", "IPv6"))
        self.assertEqual(self.addresses(self.bridge_of(found["uuid"])), {"2001:db8::9/64"})


if __name__ == "__main__":
    unittest.main()
