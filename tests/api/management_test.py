"""By which address a host is managed: what the records say is what its namespace has, after a start
of the daemons too. On the shared host, which has its own address back afterwards."""

import http.client
import json
import unittest

import lab

CARD = {"mode": "Static", "IP": "10.71.0.2", "netmask": "255.255.255.0", "gateway": "", "DNS": ""}


class Management(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        self.module = lab.xenapi_module()
        (self.host,) = self.api.host.get_all()
        self.pif = self.api.host.get_management_interface(self.host)
        self.bridge = self.api.network.get_bridge(self.api.PIF.get_network(self.pif))

    def fails(self, code, call, *arguments):
        with self.assertRaises(self.module.Failure) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.details[0], code)

    def addresses(self, family):
        """Those of global scope that the bridge has, as its kernel tells."""
        told = lab.host().inside("ip", "-json", f"-{family}", "address", "show", "dev", self.bridge,
                                 capture_output=True).stdout
        return [f"{entry['local']}/{entry['prefixlen']}"
                for link in json.loads(told or "[]") if link
                for entry in link.get("addr_info", []) if entry["scope"] == "global"]

    def set_address(self, **changes):
        words = {**CARD, **changes}
        self.api.PIF.reconfigure_ip(self.pif, words["mode"], words["IP"], words["netmask"],
                                    words["gateway"], words["DNS"])

    def xe(self, *arguments):
        done = lab.host().xe(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def serves(self):
        try:
            return lab.login()
        except (OSError, http.client.HTTPException, self.module.Failure):
            return None

    def test_another_address_is_had_at_once_and_after_a_start(self):
        self.addCleanup(self.set_address)
        self.assertEqual(self.addresses(4), ["10.71.0.2/24"])
        self.fails("PIF_IS_MANAGEMENT_INTERFACE", self.api.PIF.reconfigure_ip, self.pif, "None", "",
                   "", "", "")
        self.set_address(IP="10.71.0.22")
        self.assertEqual(self.addresses(4), ["10.71.0.22/24"])
        self.assertEqual(self.api.host.get_address(self.host), "10.71.0.22")
        lab.host().kill("hostd")
        lab.host().kill("xapi")
        session = lab.wait_until(self.serves, 60, "it serves again") or lab.login()
        self.api = session.xenapi
        lab.wait_until(lambda: self.api.host.get_enabled(self.host), 60, "its start of day is over")
        self.assertEqual(self.addresses(4), ["10.71.0.22/24"])
        self.assertEqual(self.api.host.get_address(self.host), "10.71.0.22")
        self.assertEqual(self.api.host.get_management_interface(self.host), self.pif)

    def test_an_address_of_ipv6_lies_beside(self):
        if not lab.host().inside("test", "-e", "/proc/sys/net/ipv6/conf", capture_output=True) \
                .returncode == 0:
            self.skipTest("the kernel has no IPv6")
        self.api.PIF.reconfigure_ipv6(self.pif, "Static", "fd00:71::2/64", "", "")
        self.addCleanup(self.api.PIF.reconfigure_ipv6, self.pif, "None", "", "", "")
        self.assertEqual(self.addresses(6), ["fd00:71::2/64"])
        self.assertEqual(self.addresses(4), ["10.71.0.2/24"])
        self.assertEqual(self.api.PIF.get_IPv6(self.pif), ["fd00:71::2/64"])
        announced = f"/proc/sys/net/ipv6/conf/{self.bridge}/accept_ra"
        self.api.PIF.reconfigure_ipv6(self.pif, "Autoconf", "", "", "")
        self.assertEqual(lab.host().inside("cat", announced, capture_output=True).stdout, "1\n")
        self.assertEqual(self.addresses(6), [])
        self.api.PIF.reconfigure_ipv6(self.pif, "None", "", "", "")
        self.assertEqual(lab.host().inside("cat", announced, capture_output=True).stdout, "0\n")

    def test_a_card_joins_packets_or_not(self):
        # The switch of a run is a program, which takes packets only as they were sent.
        self.fails("OPERATION_NOT_ALLOWED", self.api.PIF.set_property, self.pif, "gro", "on")
        self.assertEqual(self.api.PIF.get_properties(self.pif), {})
        self.api.PIF.set_property(self.pif, "gro", "off")
        told = lab.host().inside("ethtool", "-k", "eth0", capture_output=True).stdout
        self.assertIn("generic-receive-offload: off", told)

    def test_closed_to_the_network_root_on_the_host_opens_it_again(self):
        uuid = self.api.PIF.get_uuid(self.pif)
        self.addCleanup(lambda: self.xe("host-management-reconfigure", f"pif-uuid={uuid}"))
        self.xe("host-management-disable")
        self.assertIsNone(self.serves())
        self.assertEqual(self.xe("pif-param-get", f"uuid={uuid}", "param-name=management"), "false")
        self.xe("host-management-reconfigure", f"pif-uuid={uuid}")
        self.assertIsNotNone(self.serves())
        self.assertEqual(self.xe("pif-param-get", f"uuid={uuid}", "param-name=management"), "true")


if __name__ == "__main__":
    unittest.main()
