"""The network that an installation was told, made by dom0-image's own program on a host that runs.

Each host is this test's own: the management of one moves to a VLAN on a bond, and to IPv6; that of
the other to a network with a DHCPv6 server.
"""

import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path

import lab

MODULES = ("dom0-image/prepare/dhcp6.py", "dom0-image/prepare/management.py",
           "dom0-image/prepare/nics.py", "dom0-image/prepare/passthrough.py",
           "dom0-image/prepare/prepare.py",
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


# Whose server is in a network of its own, at the far end of the second card.
LEASE_IPV6 = SETTLE.replace("settle_network.work(", "settle_network.lease_ipv6(")
SERVER = """
echo $$ > /var/lib/basalt/far.pid
until ip link show far1 > /dev/null 2>&1; do sleep 0.1; done
ip link set lo up
ip link set far1 up
# The switch of a run is a program, which takes packets only as they were sent.
ethtool -K far1 tx off > /dev/null
ip address add 2001:db8::1/64 dev far1 nodad
exec dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --port=0 --interface=far1 \
    --bind-dynamic --dhcp-range=2001:db8::100,2001:db8::1ff,64,120 --leasefile-ro \
    --dhcp-option=option6:dns-server,[2001:db8::53] --dhcp-authoritative --log-facility=- \
    --pid-file=
"""


class Settling(unittest.TestCase):
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

    def run_inside(self, program):
        done = self.lab.inside("python3", "-c", program, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)

    def settle(self, **network):
        self.put("var/lib/basalt/install.json", json.dumps({"network": network}))
        self.run_inside(SETTLE)

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

    def bridge_of(self, pif):
        network = self.xe("pif-param-get", f"uuid={pif}", "param-name=network-uuid")
        return self.xe("network-param-get", f"uuid={network}", "param-name=bridge")

    def plug_second_card(self):
        self.assertEqual(self.lab.inside(*SECOND_CARD).returncode, 0)
        for link in ("eth1", "far1"):
            self.lab.inside("ip", "link", "set", link, "up")
        self.xe("pif-scan", f"host-uuid={self.xe('host-list', 'params=uuid', '--minimal')}")


@unittest.skipIf(os.geteuid() != 0, "./dev run needs root")
class SettleNetwork(Settling):
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
        self.plug_second_card()
        host = self.xe("host-list", "params=uuid", "--minimal")
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


@unittest.skipIf(os.geteuid() != 0, "./dev run needs root")
class SettleByDhcpv6(Settling):
    def serve(self):
        """Whose network is far1's from then on."""
        note = self.lab.state / "far.pid"
        server = subprocess.Popen([str(lab.DEV), "shell", "--state", str(self.lab.state), "--host",
                                   "1", "unshare", "--net", "sh", "-ec", SERVER],
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait, 60)
        lab.wait_until(lambda: note.exists() and note.read_text().strip(), 60, "a server is there")
        pid = note.read_text().strip()
        self.addCleanup(self.lab.inside, "kill", pid)
        self.assertEqual(self.lab.inside("ip", "link", "set", "far1", "netns", pid).returncode, 0)

    def test_an_address_by_dhcpv6_beside_ipv4_and_alone(self):
        self.plug_second_card()
        self.serve()
        second = self.xe("pif-list", "device=eth1", "params=uuid", "--minimal")
        mac = self.xe("pif-param-get", f"uuid={second}", "param-name=MAC")
        self.xe("pif-plug", f"uuid={second}")
        self.settle(mac=mac, address="192.0.2.9/24", ipv6="dhcp")
        self.run_inside(LEASE_IPV6)
        found = self.managed("IP", "IPv6", "IPv6-configuration-mode")
        self.assertEqual((found["uuid"], found["IP"], found["IPv6-configuration-mode"]),
                         (second, "192.0.2.9", "DHCP"))
        self.assertRegex(found["IPv6"], r"^2001:db8::1[0-9a-f]{2}/128$")
        bridge = self.bridge_of(second)
        self.assertEqual(self.addresses(bridge), {"192.0.2.9/24", found["IPv6"]})
        self.assertEqual((self.root / "run/basalt/lease6").read_text(),
                         f"BRIDGE={bridge}\nADDRESS={found['IPv6'].removesuffix('/128')}\n")
        # At the next start there is nothing on the bridge, and the same address comes again; the
        # switch has not forgotten it meanwhile.
        self.lab.kill("hostd")
        lab.wait_until(lambda: self.lab.xe("host-list").returncode == 0, 60, "xapi answers")
        self.assertEqual(self.addresses(bridge), {"192.0.2.9/24", found["IPv6"]})
        self.lab.inside("ip", "address", "del", found["IPv6"], "dev", bridge)
        self.run_inside(LEASE_IPV6)
        self.assertEqual(self.managed("IPv6")["IPv6"], found["IPv6"])
        self.assertEqual(self.addresses(bridge), {"192.0.2.9/24", found["IPv6"]})

        self.put("var/lib/basalt/network-settled", "begun 192.0.2.9\n")
        self.settle(mac=mac, address="none", ipv6="dhcp")
        alone = self.managed("IP", "IPv6", "primary-address-type")
        self.assertEqual((alone["IP"], alone["IPv6"], alone["primary-address-type"]),
                         ("", found["IPv6"], "IPv6"))
        host = self.xe("host-list", "params=address", "--minimal")
        self.assertEqual(f"{host}/128", found["IPv6"])
        self.run_inside(LEASE_IPV6)
        self.assertEqual((self.root / "etc/resolv.conf").read_text(), "nameserver 2001:db8::53\n")


if __name__ == "__main__":
    unittest.main()
