"""The client of DHCPv6: its messages, answers that are none, and a real server in a network of its
own.
"""

import os
import struct
import subprocess
import sys
import tempfile
import unittest
from ipaddress import IPv6Address
from pathlib import Path

import dhcp6
from dhcp6 import (ADVERTISE, CLIENT_ID, FOREVER, IA_ADDRESS, IA_NA, NAME_SERVERS, PREFERENCE,
                   RAPID_COMMIT, REPLY, SERVER_ID, STATUS, Lease, Message, option)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools/dev"))

import build_root

IDENTITY = b"\1\2\3\4"
ADDRESS = IPv6Address("2001:db8::7").packed
NO_ADDRESSES = option(STATUS, struct.pack("!H", 2) + b"none left")


def held(address=ADDRESS, preferred=60, valid=120, more=b""):
    return option(IA_ADDRESS, address + struct.pack("!II", preferred, valid) + more)


def message(*inner, kind=REPLY, identity=IDENTITY, renew=0, rebind=0, server=b"server", more=b""):
    data = option(IA_NA, identity + struct.pack("!II", renew, rebind) + b"".join(inner))
    if server:
        data += option(SERVER_ID, server)
    return Message(kind, b"abc", dhcp6.parse_options(data + more))


class Answers(unittest.TestCase):
    def lease(self, *inner, **more):
        return dhcp6.parse_lease(message(*inner, **more), IDENTITY)

    def test_a_lease_is_read(self):
        servers = option(NAME_SERVERS, ADDRESS + IPv6Address("2001:db8::8").packed)
        self.assertEqual(self.lease(held(), renew=10, rebind=20, more=servers),
                         Lease("2001:db8::7", 60, 120, 10, 20, b"server",
                               ("2001:db8::7", "2001:db8::8")))

    def test_servers_of_time_are_read_from_either_option(self):
        other = IPv6Address("2001:db8::8").packed
        sources = option(dhcp6.TIME_SOURCES, option(dhcp6.TIME_ADDRESS, ADDRESS)
                         + option(3, b"\4time\0") + option(dhcp6.TIME_ADDRESS, other))
        listed = option(dhcp6.TIME_SERVERS, other)
        self.assertEqual(self.lease(held(), more=sources).ntp, ("2001:db8::7", "2001:db8::8"))
        self.assertEqual(self.lease(held(), more=sources + listed).ntp,
                         ("2001:db8::8", "2001:db8::7"))
        self.assertEqual(self.lease(held()).ntp, ())
        self.assertEqual(self.lease(held(), more=option(dhcp6.TIME_SOURCES, b"\0\1\0")).ntp, ())

    def test_when_to_ask_again_may_be_left_to_the_client(self):
        self.assertEqual(self.lease(held()), Lease("2001:db8::7", 60, 120, 30, 48, b"server"))
        made = self.lease(held(preferred=FOREVER, valid=FOREVER))
        self.assertEqual((made.renew, made.rebind), (FOREVER, FOREVER))
        self.assertEqual(self.lease(held(), renew=50, rebind=20).rebind, 50)

    def test_what_gives_no_address_is_none(self):
        for name, found in {
                "nothing": self.lease(), "a refusal": self.lease(NO_ADDRESSES),
                "a refusal of all": self.lease(held(), more=NO_ADDRESSES),
                "a refusal of the address": self.lease(held(more=NO_ADDRESSES)),
                "an address that is over": self.lease(held(preferred=0, valid=0)),
                "lives that contradict": self.lease(held(preferred=121)),
                "somebody else's": self.lease(held(), identity=b"else"),
                "no server": self.lease(held(), server=b""),
                "no address of a host": self.lease(held(IPv6Address("ff02::1").packed)),
                "of this link only": self.lease(held(IPv6Address("fe80::1").packed)),
                "half an option": self.lease(held()[:-1])}.items():
            self.assertIsNone(found, name)

    def test_a_second_address_takes_the_place_of_one_that_is_over(self):
        other = held(IPv6Address("2001:db8::9").packed)
        self.assertEqual(self.lease(held(valid=0, preferred=0), other).address, "2001:db8::9")

    def test_no_bytes_throw(self):
        whole = b"\7abc" + option(SERVER_ID, b"server") + option(
            IA_NA, IDENTITY + bytes(8) + held()) + option(NAME_SERVERS, ADDRESS[:7])
        self.assertEqual(dhcp6.parse_lease(dhcp6.parse_message(whole), IDENTITY).dns, ())
        for length in range(len(whole)):
            if found := dhcp6.parse_message(whole[:length]):
                dhcp6.parse_lease(found, IDENTITY)
        for at in range(4, len(whole)):
            if found := dhcp6.parse_message(whole[:at] + b"\xff" + whole[at + 1:]):
                dhcp6.parse_lease(found, IDENTITY)


class Choosing(unittest.TestCase):
    def setUp(self):
        self.client = dhcp6.Client.__new__(dhcp6.Client)
        self.client.identity = IDENTITY

    def offer(self, address, preference=None, **more):
        extra = b"" if preference is None else option(PREFERENCE, bytes([preference]))
        return message(held(IPv6Address(address).packed), more=extra, **{"kind": ADVERTISE, **more})

    def test_the_preferred_offer_is_taken_and_the_first_of_equals(self):
        offers = [self.offer("2001:db8::1"), self.offer("2001:db8::2", 7),
                  self.offer("2001:db8::3", 7), message(NO_ADDRESSES, kind=ADVERTISE)]
        self.assertEqual(self.client.choose_offer(iter(offers)), (7, offers[1]))
        self.assertIsNone(self.client.choose_offer(iter(offers[3:])))

    def test_nobody_waits_for_more_once_it_is_decided(self):
        def never():
            yield decided
            raise AssertionError("it waits for more")

        for decided in (self.offer("2001:db8::1", 255), message(held(), more=option(RAPID_COMMIT))):
            self.assertEqual(self.client.choose_offer(never())[1], decided)
        # Not asked for: a reply to something else.
        self.assertIsNone(self.client.choose_offer(iter([message(held())])))


# Run inside the build root, in a network of its own: dnsmasq sits in another one at the far end.
LAB = """
import os, subprocess, sys, time
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
import dhcp6
scratch = sys.argv[2]
def ip(*words):
    subprocess.run(["ip", *words], check=True)
def addresses():
    return subprocess.run(["ip", "-6", "-o", "address", "show", "dev", "near", "scope", "global"],
                          capture_output=True, text=True, check=True).stdout
ip("link", "add", "near", "address", "02:00:00:ba:5a:01", "type", "veth", "peer", "name", "far")
far = subprocess.Popen(["unshare", "--net", "sh", "-ec", '''
    until ip link show far > /dev/null 2>&1; do sleep 0.1; done
    ip link set lo up
    ip link set far up
    ip address add 2001:db8::1/64 dev far nodad
    exec dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --port=0 --interface=far \
        --bind-dynamic --dhcp-range=2001:db8::100,2001:db8::1ff,64,120 --leasefile-ro \
        --dhcp-option=option6:dns-server,[2001:db8::53] \
        --dhcp-option=option6:ntp-server,[2001:db8::123] --dhcp-authoritative --log-facility=- \
        --pid-file=
''' ], stderr=open(scratch + "/dnsmasq.log", "w"))
try:
    time.sleep(0.5)
    ip("link", "set", "far", "netns", str(far.pid))
    ip("link", "set", "near", "up")
    first = dhcp6.ask("near", 60)
    assert first, "no lease"
    assert first.address.startswith("2001:db8::1"), first
    assert (first.valid, first.dns) == (120, ("2001:db8::53",)), first
    assert first.ntp == ("2001:db8::123",), first
    # Who asks again is known, and has the same.
    assert dhcp6.ask("near", 60).address == first.address
    # And who waits for offers, and then asks for the one that it has chosen.
    rapid, dhcp6.RAPID_COMMIT = dhcp6.RAPID_COMMIT, 0xFFFE
    assert dhcp6.ask("near", 60).address == first.address
    dhcp6.RAPID_COMMIT = rapid
    with dhcp6.Client("near") as client:
        again = client.renew(first, time.monotonic())
        assert again and again.address == first.address and again.valid == 120, again
    dhcp6.give("near", again)
    assert f"{first.address}/128" in addresses(), addresses()
    assert "valid_lft 1" in addresses(), addresses()
    # Another card is another client.
    ip("link", "set", "near", "down")
    ip("link", "set", "near", "address", "02:00:00:ba:5a:02")
    ip("link", "set", "near", "up")
    other = dhcp6.ask("near", 60)
    assert other and other.address != first.address, (first, other)
    # The keeper gives the address, and ends when somebody else has taken it away.
    lives = {"renew": 1, "rebind": 20}
    asked = dhcp6.Client.ask
    dhcp6.Client.ask = lambda self: replace(asked(self, 60), **lives)
    renewed = dhcp6.Client.renew
    dhcp6.Client.renew = lambda self, *words: replace(renewed(self, *words), **lives)
    said = []
    def say(text):
        said.append(text)
        if len(said) == 1:
            # After it was renewed once.
            subprocess.Popen(["sh", "-c", "sleep 1.7; "
                              f"ip -6 address del {other.address}/128 dev near"])
    dhcp6.keep("near", say)
    assert said == [f"the address {other.address} is leased",
                    f"the address {other.address} is not wanted any more"], said
    dhcp6.Client.ask = asked
finally:
    far.kill()
    far.wait()
# Nobody answers any more; nor is there such an interface.
assert dhcp6.ask("near", 2) is None
assert dhcp6.ask("nowhere", 2) is None
"""


@unittest.skipIf(os.geteuid() != 0, "networks of their own need root")
class RealServer(unittest.TestCase):
    def test_a_server_gives_an_address_and_gives_it_again(self):
        with tempfile.TemporaryDirectory(prefix="basalt-dhcp6-") as scratch:
            done = subprocess.run(build_root.entered(build_root.ensure(), [
                "unshare", "--net", "python3", "-c", LAB, str(HERE), scratch]),
                capture_output=True, text=True, check=False, timeout=120)
            log = Path(scratch, "dnsmasq.log")
            said = log.read_text() if log.exists() else ""
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr + said)
            for kind in ("SOLICIT", "ADVERTISE", "REQUEST", "RENEW", "REPLY"):
                self.assertIn(f"DHCP{kind}(far)", said)


if __name__ == "__main__":
    unittest.main()
