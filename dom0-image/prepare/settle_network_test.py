"""The network that an installation was told, on an API that the test makes up, and on a folder that
stands for a host's root. What the real one does with the same calls: tests/api/settle_network_test.py.
"""

import copy
import json
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/dev"))

import dhcp6
import prepare
import settle_network
import xapi_client
from settle_network import BEGUN, DONE, JOURNAL, NOTHING, NotYet

HOST = "OpaqueRef:host"
MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
LINK_LOCAL = "169.254.7.7"


def pif(device, mac, **changes):
    return {"device": device, "MAC": mac, "host": HOST, "physical": True, "network": f"net-{device}",
            "bond_slave_of": NOTHING, "VLAN_slave_of": [], "ip_configuration_mode": "None", "IP": "",
            "gateway": "", "DNS": "", "ipv6_configuration_mode": "None", "IPv6": [],
            "primary_address_type": "IPv4", **changes}


class Api:
    """As much of a host as these calls change. `fails`: messages that fail once."""

    ref = "session"

    def __init__(self, mode="Static", address=LINK_LOCAL, fails=()):
        self.pifs = {"eth0": pif("eth0", MACS[0], ip_configuration_mode=mode, IP=address),
                     "eth1": pif("eth1", MACS[1])}
        self.networks = {f"net-{name}": {"bridge": f"xenbr{number}", "other_config": {}}
                         for number, name in enumerate(self.pifs)}
        self.managed = "eth0"
        self.leased = []  # what a client of DHCPv6 has given the bridge
        self.address = address
        self.acts = []
        self.fails = list(fails)

    def call(self, method, *params):
        if method.startswith("Async."):
            return self.begin(method.removeprefix("Async."), params)
        return copy.deepcopy({
            "session.get_this_host": lambda _: HOST,
            "task.get_status": lambda task: "failure" if task.startswith("bad") else "success",
            "task.get_error_info": lambda task: ["INTERNAL_ERROR", task],
            "task.get_result": lambda _: "",
            "host.get_address": lambda _: self.address,
            "host.get_management_interface": lambda _: self.managed,
            "PIF.get_all_records": lambda: {ref: {**row, "management": ref == self.managed}
                                            for ref, row in self.pifs.items()},
            "PIF.get_record": lambda ref: self.pifs[ref],
            "network.get_all_records": lambda: self.networks,
            "network.get_bridge": lambda ref: self.networks[ref]["bridge"],
            "network.create": self.create_network,
            "Bond.get_master": lambda _: "bond0",
            "VLAN.get_tag": lambda ref: ref.split("-")[1],
            "VLAN.get_untagged_PIF": lambda ref: ref.replace("vlan", "pif"),
        }[method](*params))

    def create_network(self, row):
        ref = f"net-{len(self.networks)}"
        self.networks[ref] = {**row, "bridge": f"xapi{len(self.networks)}"}
        return ref

    def begin(self, message, params):
        if message in self.fails:
            self.fails.remove(message)
            return f"bad {message}"
        self.acts.append((message, *params))
        getattr(self, message.replace(".", "_"))(*params)
        return f"good {message}"

    def Bond_create(self, network, cards, _mac, _mode, _properties):
        self.pifs["bond0"] = {**self.pifs[self.managed], "physical": False, "network": network,
                              "device": "bond0"}
        for card in cards:
            self.pifs[card].update(bond_slave_of="bond", ip_configuration_mode="None", IP="")
        self.managed = "bond0"

    def VLAN_create(self, carrier, tag, network):
        self.pifs[carrier]["VLAN_slave_of"] = [f"vlan-{tag}"]
        self.pifs[f"pif-{tag}"] = pif(self.pifs[carrier]["device"], "", physical=False,
                                      network=network)

    def PIF_reconfigure_ip(self, ref, mode, address, _mask, gateway, dns):
        row = self.pifs[ref]
        # By DHCP a bridge keeps what it has.
        kept = row["IP"] if mode == "DHCP" else address
        row.update(ip_configuration_mode=mode, IP=kept, gateway=gateway, DNS=dns)
        if ref == self.managed:
            self.address = kept

    def PIF_reconfigure_ipv6(self, ref, mode, address, _gateway, _dns):
        learnt = self.leased if mode == "DHCP" else ["2001:db8::77/64"]
        self.pifs[ref].update(ipv6_configuration_mode=mode,
                              IPv6=[address] if address else list(learnt))

    def PIF_set_primary_address_type(self, ref, kind):
        self.pifs[ref]["primary_address_type"] = kind

    def host_management_reconfigure(self, ref):
        self.managed = ref
        self.address = self.pifs[ref]["IP"]

    def host_reset_server_certificate(self, _):
        pass

    def host_set_hostname_live(self, _, name):
        self.name = name


class Session:
    def __init__(self, api):
        self.api = api

    def __enter__(self):
        return self.api

    def __exit__(self, *_):
        pass


class SettleNetwork(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        self.put("var/lib/basalt/xapi/pool.conf", "master\n")
        self.put("var/lib/basalt/uuid", "the-uuid\n")
        self.put("proc/cmdline", "boot=basalt basalt.slot=a\n")
        self.leases = []
        self.enterContext(mock.patch.object(settle_network, "ROUTER_SECONDS", 0.01))
        self.enterContext(mock.patch.object(settle_network, "LOOK_SECONDS", 0.001))
        self.enterContext(mock.patch.object(prepare, "give_address"))
        self.enterContext(mock.patch.object(prepare, "run"))
        self.enterContext(mock.patch.object(prepare, "ask_for_lease", self.lease))

    def put(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path):
        return prepare.read(self.root / path)

    def lease(self, device, bridge):
        found = self.leases.pop(0) if self.leases else None
        if found:
            # What the switch has now, the API reads when it is told again.
            ref = next(ref for ref, row in self.api.pifs.items()
                       if self.api.networks[row["network"]]["bridge"] == bridge)
            self.api.pifs[ref]["IP"] = found.address.split("/")[0]
        return found

    def told(self, **network):
        self.put("var/lib/basalt/install.json", json.dumps({"network": {
            "mac": MACS[0], "address": "", "gateway": "", "dns": [], "bond": [],
            "bond_mode": "active-backup", "vlan": 0, "ipv6": "", "gateway6": "", **network}}))

    def work(self, api):
        self.api = api
        with mock.patch("builtins.print"):
            settle_network.work(self.root, lambda: Session(api))
        return [(message, *params) for message, *params in api.acts]

    def messages(self, api):
        return [message for message, *_ in self.work(api)]

    def test_a_lease_becomes_a_record(self):
        self.told()
        self.put("run/basalt/lease", "BRIDGE=xenbr0\nADDRESS=192.0.2.7\n")
        self.put("run/chrony-dhcp/basalt.sources", "server 192.0.2.5 iburst\n")
        api = Api(address="192.0.2.7")
        self.assertEqual(self.work(api), [
            ("PIF.reconfigure_ip", "eth0", "DHCP", "", "", "", "")])
        self.assertEqual(self.read(JOURNAL), DONE)
        self.assertEqual(self.read("run/basalt/lease"), "BRIDGE=xenbr0\nADDRESS=192.0.2.7")
        self.assertIn("iburst", self.read("run/chrony-dhcp/basalt.sources"))
        # Once: whoever makes it static afterwards has done so.
        self.assertEqual(self.messages(Api(address="192.0.2.7")), [])

    def test_a_live_system_has_a_lease_too(self):
        self.assertEqual(self.messages(Api(address="192.0.2.7")), [], "none")
        (self.root / JOURNAL).unlink()
        self.put("run/basalt/lease", "BRIDGE=xenbr0\nADDRESS=192.0.2.7\n")
        self.put("proc/cmdline", "boot=basalt\n")
        self.put("run/issue.d/basalt.issue", "Password: geheim\n")
        self.assertEqual(self.messages(Api(address="192.0.2.7")), ["PIF.reconfigure_ip"])
        self.assertEqual(self.read("run/issue.d/basalt.issue"), "Password: geheim")

    def test_a_fixed_address_on_a_card_is_there_already(self):
        self.told(address="192.0.2.9/24")
        self.assertEqual(self.work(Api(address="192.0.2.9")), [])
        self.assertEqual(self.read(JOURNAL), DONE)

    def test_a_vlan_on_a_bond_is_made_and_takes_management_over(self):
        self.told(mac="", bond=MACS, bond_mode="lacp", vlan=7, address="192.0.2.9/24",
                  gateway="192.0.2.1", dns=["192.0.2.3"])
        api = Api()
        self.assertEqual(self.work(api), [
            ("Bond.create", "net-2", ["eth0", "eth1"], "", "lacp", {}),
            ("VLAN.create", "bond0", "7", "net-3"),
            ("PIF.reconfigure_ip", "pif-7", "Static", "192.0.2.9", "255.255.255.0", "192.0.2.1",
             "192.0.2.3"),
            ("host.management_reconfigure", "pif-7"),
            ("PIF.reconfigure_ip", "bond0", "None", "", "", "", ""),
            ("host.reset_server_certificate", HOST)])
        self.assertIn("MANAGEMENT_INTERFACE='xapi3'", self.read("etc/xensource-inventory"))
        self.assertIn("https://192.0.2.9", self.read("run/issue.d/basalt.issue"))
        self.assertEqual(self.read("etc/resolv.conf"), "nameserver 192.0.2.3")

    def test_what_was_interrupted_goes_on(self):
        """After each of its steps, one after the other: everything is made once."""
        self.told(mac="", bond=MACS, vlan=7, address="192.0.2.9/24")
        whole = ["Bond.create", "VLAN.create", "PIF.reconfigure_ip", "host.management_reconfigure",
                 "PIF.reconfigure_ip", "host.reset_server_certificate"]
        for failing in set(whole):
            with self.subTest(failing):
                (self.root / JOURNAL).unlink(missing_ok=True)
                api = Api(fails=[failing])
                with self.assertRaises(xapi_client.Failure):
                    self.work(api)
                self.assertTrue(self.read(JOURNAL).startswith(BEGUN))
                # hostd has been told something by then, which is no word of an administrator.
                with mock.patch.object(settle_network.management, "kept_by_hostd", return_value={}):
                    self.assertEqual(self.messages(api), whole)
                self.assertEqual(len(api.networks), 4)

    def test_a_lease_on_a_vlan_is_asked_for_until_there_is_one(self):
        self.told(vlan=7)
        (self.root / "sys/class/net/xapi2").mkdir(parents=True)
        api = Api()
        with self.assertRaisesRegex(NotYet, "no DHCP server answers on xapi2"):
            self.work(api)
        self.leases = [prepare.Lease("eth0", "192.0.2.9/24", "192.0.2.1")]
        self.assertEqual(self.messages(api)[-4:], [
            "PIF.reconfigure_ip", "host.management_reconfigure", "PIF.reconfigure_ip",
            "host.reset_server_certificate"])
        self.assertEqual(api.address, "192.0.2.9")
        self.assertEqual(self.read("run/basalt/lease"), "BRIDGE=xapi2\nADDRESS=192.0.2.9")

    def test_at_later_starts_the_lease_is_asked_for_where_hostd_made_it(self):
        self.put(JOURNAL, DONE + "\n")
        self.put("run/basalt/lease-wanted", "eth0 xenbr0\n")
        api = Api("DHCP", "", fails=["PIF.reconfigure_ip"])
        with self.assertRaises(NotYet):
            self.work(api)
        (self.root / "sys/class/net/xenbr0").mkdir(parents=True)
        self.leases = [prepare.Lease("eth0", "192.0.2.9/24")]
        with self.assertRaises(xapi_client.Failure):
            self.work(api)
        # The lease is there, and the API does not know it yet.
        self.assertEqual(self.messages(api), ["PIF.reconfigure_ip"])
        self.assertEqual(self.read("run/basalt/lease"), "BRIDGE=xenbr0\nADDRESS=192.0.2.9")
        self.assertFalse((self.root / "run/basalt/lease-wanted").exists())

    def test_the_name_that_comes_with_a_later_lease_is_taken_by_who_has_none(self):
        for name, wanted in (("basalt", ["host.set_hostname_live"]), ("host1", [])):
            with self.subTest(name):
                self.told(vlan=7)
                self.put("etc/hostname", name + "\n")
                (self.root / "sys/class/net/xapi2").mkdir(parents=True, exist_ok=True)
                self.leases = [prepare.Lease("eth0", "192.0.2.9/24", hostname="host9")]
                api = Api()
                found = self.messages(api)
                self.assertEqual([one for one in found if "hostname" in one], wanted)
                if wanted:
                    self.assertEqual(api.name, "host9")
                self.assertFalse((self.root / settle_network.OFFERED_NAME).exists())
                (self.root / JOURNAL).unlink()

    def test_a_member_is_told_by_its_coordinator(self):
        self.told(vlan=7)
        self.put("var/lib/basalt/xapi/pool.conf", "slave:192.0.2.1\n")
        self.put("run/basalt/lease-wanted", "eth0 xenbr0\n")
        (self.root / "sys/class/net/xenbr0").mkdir(parents=True)
        self.leases = [prepare.Lease("eth0", "192.0.2.9/24")]
        self.assertEqual(self.messages(Api("DHCP", "")), [])
        self.assertEqual(self.read("run/basalt/lease"), "BRIDGE=xenbr0\nADDRESS=192.0.2.9")

    def test_ipv6_beside_and_alone(self):
        self.told(address="192.0.2.9/24", ipv6="2001:db8::9/64", gateway6="fe80::1")
        self.assertEqual(self.work(Api(address="192.0.2.9")), [
            ("PIF.reconfigure_ipv6", "eth0", "Static", "2001:db8::9/64", "fe80::1", "")])
        (self.root / JOURNAL).unlink()
        self.told(address="none", ipv6="autoconf", dns=[])
        self.assertEqual(self.messages(Api()), [
            "PIF.reconfigure_ipv6", "PIF.set_primary_address_type", "PIF.reconfigure_ip",
            "host.reset_server_certificate"])
        self.assertIn("https://[2001:db8::77]", self.read("run/issue.d/basalt.issue"))

    def lease6(self, api, lease):
        """What a server of DHCPv6 gives; None: there is no server."""
        self.enterContext(mock.patch.object(dhcp6, "ask", return_value=lease))
        self.enterContext(mock.patch.object(dhcp6, "give", lambda _, one: api.leased.append(
            f"{one.address}/128")))
        self.enterContext(mock.patch.object(prepare, "addresses_on", lambda _: [
            row["IP"] for row in api.pifs.values() if row["IP"]]))

    LEASE6 = dhcp6.Lease("2001:db8::9", 60, 120, 30, 48, b"server", ("2001:db8::53",))

    def lease_ipv6(self, api):
        before = len(api.acts)
        settle_network.lease_ipv6(self.root, lambda: Session(api))
        return api.acts[before:]

    def test_a_lease_of_dhcpv6_beside_ipv4_holds_nothing_up(self):
        self.told(address="192.0.2.9/24", dns=["192.0.2.3"], ipv6="dhcp")
        self.put("etc/resolv.conf", "nameserver 192.0.2.3\n")
        api = Api(address="192.0.2.9")
        self.lease6(api, None)
        told = ("PIF.reconfigure_ipv6", "eth0", "DHCP", "", "", "")
        self.assertEqual(self.work(api), [told])
        self.assertEqual(self.read(JOURNAL), DONE)
        with self.assertRaisesRegex(NotYet, "no DHCPv6 server answers on xenbr0"):
            self.lease_ipv6(api)
        self.lease6(api, self.LEASE6)
        api.pifs["eth0"]["IP"] = "192.0.2.9"
        self.assertEqual(self.lease_ipv6(api), [told])
        self.assertEqual(api.pifs["eth0"]["IPv6"], ["2001:db8::9/128"])
        self.assertEqual(self.read("run/basalt/lease6"), "BRIDGE=xenbr0\nADDRESS=2001:db8::9")
        self.assertEqual(self.read("etc/resolv.conf"), "nameserver 192.0.2.3")
        # The API knows it already.
        self.assertEqual(self.lease_ipv6(api), [])

    def test_by_dhcpv6_alone_a_host_is_managed_when_it_has_its_lease(self):
        self.told(address="none", ipv6="dhcp")
        api = Api()
        self.lease6(api, None)
        with self.assertRaises(NotYet):
            self.work(api)
        self.lease6(api, self.LEASE6)
        self.assertEqual(self.messages(api), [
            "PIF.reconfigure_ipv6", "PIF.reconfigure_ipv6", "PIF.set_primary_address_type",
            "PIF.reconfigure_ip", "host.reset_server_certificate"])
        self.assertIn("https://[2001:db8::9]", self.read("run/issue.d/basalt.issue"))
        self.assertEqual(self.lease_ipv6(api), [])
        self.assertEqual(self.read("etc/resolv.conf"), "nameserver 2001:db8::53")

    def test_a_member_asks_where_it_asked_before_as_long_as_that_may_be(self):
        api = Api()
        self.lease6(api, self.LEASE6)
        self.put("var/lib/basalt/xapi/pool.conf", "slave:192.0.2.1\n")
        self.assertEqual(self.lease_ipv6(api), [])
        self.assertEqual(api.leased, [])
        self.put(settle_network.LEASED6, "xenbr0\n")
        for learns, count in ((False, 0), (True, 1)):
            with mock.patch.object(settle_network.management, "learns_ipv6", return_value=learns):
                self.lease_ipv6(api)
            self.assertEqual(len(api.leased), count)

    def test_servers_of_time_of_a_lease_are_asked_unless_others_were_named(self):
        api = Api(address="192.0.2.9")
        api.pifs["eth0"]["ipv6_configuration_mode"] = "DHCP"
        self.lease6(api, replace(self.LEASE6, ntp=("2001:db8::123",)))
        self.put(settle_network.NAMED_TIME, "server 192.0.2.4 iburst\n")
        self.lease_ipv6(api)
        self.assertFalse((self.root / settle_network.OFFERED_TIME6).exists())
        (self.root / settle_network.NAMED_TIME).unlink()
        with mock.patch.object(settle_network.subprocess, "run") as run:
            self.lease_ipv6(api)
            self.assertEqual(self.read(settle_network.OFFERED_TIME6), "server 2001:db8::123 iburst")
            api.pifs["eth0"]["ipv6_configuration_mode"] = "Autoconf"
            self.lease_ipv6(api)
            self.assertEqual(run.call_args.args[0], ["chronyc", "reload", "sources"])
        self.assertFalse((self.root / settle_network.OFFERED_TIME6).exists())

    def test_another_way_to_an_address_forgets_that_of_before(self):
        self.put(settle_network.LEASED6, "xenbr0\n")
        self.put("run/basalt/lease6", "BRIDGE=xenbr0\nADDRESS=2001:db8::9\n")
        api = Api()
        self.lease6(api, self.LEASE6)
        with mock.patch.object(settle_network.subprocess, "run") as run:
            self.assertEqual(self.lease_ipv6(api), [])
            self.assertEqual([call.args[0] for call in run.call_args_list], [
                ["systemctl", "stop", "basalt-lease6.service"],
                ["ip", "-6", "address", "del", "2001:db8::9/128", "dev", "xenbr0"]])
            self.assertEqual(self.lease_ipv6(api), [])
            self.assertEqual(run.call_count, 2)
        self.assertFalse((self.root / settle_network.LEASED6).exists())
        self.assertFalse((self.root / "run/basalt/lease6").exists())
        self.assertEqual(api.leased, [])

    def test_who_changed_the_network_first_has_changed_it(self):
        self.told(vlan=7)
        with mock.patch.object(settle_network.management, "kept_by_hostd", return_value={}):
            self.assertEqual(self.messages(Api()), [])
        (self.root / JOURNAL).unlink()
        self.put("var/lib/basalt/management.json", "{}")
        self.assertEqual(self.messages(Api()), [])

    def test_a_card_that_was_replaced_leaves_the_interface_that_is_managed(self):
        self.told(mac="52:54:00:00:00:99")
        self.assertEqual(self.messages(Api(address="192.0.2.7")), ["PIF.reconfigure_ip"])
        (self.root / JOURNAL).unlink()
        self.told(mac="", bond=[MACS[0], "52:54:00:00:00:99"])
        with self.assertRaisesRegex(NotYet, "is not there"):
            self.work(Api())


if __name__ == "__main__":
    unittest.main()
