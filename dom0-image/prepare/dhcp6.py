#!/usr/bin/python3 -I
"""Asks a DHCPv6 server for the address of an interface, and keeps it (RFC 8415).

    dhcp6.py INTERFACE     keeps a lease until it is ended

One address for an interface that does nothing else: no prefixes, no temporary addresses. Busybox's
client chooses another identity at each start, so that a host would have another address after each;
here it is that of the network card, as it is for IPv4. Routes are what routers announce, which the
kernel takes.
"""

import fcntl
import random
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

SOLICIT, ADVERTISE, REQUEST, RENEW, REBIND, REPLY = 1, 2, 3, 5, 6, 7
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, WANTED, PREFERENCE, ELAPSED = 1, 2, 3, 5, 6, 7, 8
STATUS, RAPID_COMMIT, NAME_SERVERS = 13, 14, 23
# Servers of time: a list of addresses (RFC 4075), and what has options of its own (RFC 5908).
TIME_SERVERS, TIME_SOURCES, TIME_ADDRESS = 31, 56, 1
CLIENT_PORT, SERVER_PORT = 546, 547
SERVERS = "ff02::1:2"
# A link-layer identity of Ethernet.
DUID_OF_CARD = bytes.fromhex("00030001")
FOREVER = 0xFFFFFFFF
PREFERRED_MOST = 255
TRY_SECONDS, TRY_SECONDS_MAX = 1, 30
ASK_SECONDS = 20
AGAIN_SECONDS = 30
# Of a lease for ever it is asked now and then all the same.
SLEEP_SECONDS_MAX = 24 * 3600
MESSAGE_BYTES_MAX = 65536
SIOCGIFHWADDR = 0x8927  # linux/sockios.h


@dataclass(frozen=True)
class Lease:
    """Seconds are counted from when it came; FOREVER is a number of them."""

    address: str
    preferred: int
    valid: int
    renew: int  # when its server is asked again
    rebind: int  # when any is
    server: bytes
    dns: tuple = ()
    ntp: tuple = ()  # addresses


@dataclass(frozen=True)
class Message:
    kind: int
    transaction: bytes
    options: tuple  # (code, data)

    def get(self, code):
        """The first option of this kind; None: there is none."""
        return next((data for found, data in self.options if found == code), None)


# -- messages --------------------------------------------------------------------------------------


def option(code, data=b""):
    return struct.pack("!HH", code, len(data)) + data


def parse_options(data):
    """Throws ValueError when they do not fit."""
    found = []
    while data:
        if len(data) < 4:
            raise ValueError("an option without a length")
        code, length = struct.unpack_from("!HH", data)
        if len(data) < 4 + length:
            raise ValueError("an option that goes beyond its message")
        found.append((code, data[4:4 + length]))
        data = data[4 + length:]
    return tuple(found)


def parse_message(data):
    """None: it is none."""
    try:
        return Message(data[0], data[1:4], parse_options(data[4:])) if len(data) >= 4 else None
    except ValueError:
        return None


def is_success(options):
    """`options`: of a message, of an address or of what holds it."""
    return all(len(data) >= 2 and data[:2] == b"\0\0" for code, data in options if code == STATUS)


def parse_lease(message, identity):
    """What a server gives or offers; None: nothing. `identity`: of the association (IAID)."""
    server = message.get(SERVER_ID)
    if not server or not is_success(message.options):
        return None
    try:
        for code, data in message.options:
            if code == IA_NA and len(data) >= 12 and data[:4] == identity:
                if found := parse_association(data, server):
                    return replace(found, dns=parse_addresses(message.get(NAME_SERVERS) or b""),
                                   ntp=parse_time(message))
    except ValueError:
        pass
    return None


def parse_addresses(data):
    return tuple(str(IPv6Address(data[at:at + 16])) for at in range(0, len(data) - 15, 16))


def parse_time(message):
    """Servers that are told by their addresses, each once. What cannot be read is left out: an
    address is not refused for it."""
    found = [*parse_addresses(message.get(TIME_SERVERS) or b"")]
    for code, data in message.options:
        try:
            inner = parse_options(data) if code == TIME_SOURCES else ()
        except ValueError:
            continue
        for kind, value in inner:
            if kind == TIME_ADDRESS:
                found += parse_addresses(value)
    return tuple(dict.fromkeys(found))


def parse_association(data, server):
    """The first address in it that may be used. Throws ValueError when options do not fit."""
    renew, rebind = struct.unpack_from("!II", data, 4)
    inner = parse_options(data[12:])
    if not is_success(inner):
        return None
    for code, value in inner:
        if code != IA_ADDRESS or len(value) < 24 or not is_success(parse_options(value[24:])):
            continue
        address = IPv6Address(value[:16])
        preferred, valid = struct.unpack_from("!II", value, 16)
        if valid == 0 or preferred > valid or address.is_multicast or address.is_link_local:
            continue
        # Where the server leaves it to the client: RFC 8415, 21.4.
        renew = renew or (preferred // 2 if preferred != FOREVER else FOREVER)
        rebind = max(renew, rebind or (preferred * 4 // 5 if preferred != FOREVER else FOREVER))
        return Lease(str(address), preferred, valid, renew, rebind, server)
    return None


# -- the client ------------------------------------------------------------------------------------


def card_of(interface):
    """Its MAC, six bytes. Throws OSError where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # struct ifreq: a name of 16 bytes, then an address with its family.
        found = fcntl.ioctl(probe, SIOCGIFHWADDR, struct.pack("40s", interface.encode()[:15]))
    return found[18:24]


class Client:
    """Throws OSError when the interface is not there, or its port is taken."""

    def __init__(self, interface):
        mac = card_of(interface)
        self.duid, self.identity = DUID_OF_CARD + mac, mac[-4:]
        self.number = socket.if_nametoindex(interface)
        self.line = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            self.line.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            self.line.bind(("::", CLIENT_PORT))
        except OSError:
            self.line.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.line.close()

    def association(self, lease):
        """What is asked for: any address, or that of a lease."""
        inner = option(IA_ADDRESS, IPv6Address(lease.address).packed + bytes(8)) if lease else b""
        return option(IA_NA, self.identity + bytes(8) + inner)

    def send(self, kind, transaction, began, more):
        elapsed = min(int((time.monotonic() - began) * 100), 0xFFFF)
        data = (bytes([kind]) + transaction + option(CLIENT_ID, self.duid) + more
                + option(ELAPSED, struct.pack("!H", elapsed))
                + option(WANTED, struct.pack("!HHH", NAME_SERVERS, TIME_SERVERS, TIME_SOURCES)))
        try:
            self.line.sendto(data, (SERVERS, SERVER_PORT, 0, self.number))
        except OSError:
            # Without a link-local address yet, or the cable is out: it is tried again.
            pass

    def answers(self, transaction, seconds):
        """Messages for this client that come within `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.line.settimeout(left)
            try:
                data = self.line.recv(MESSAGE_BYTES_MAX)
            except OSError:
                continue
            message = parse_message(data)
            if message and message.transaction == transaction and \
                    message.get(CLIENT_ID) == self.duid:
                yield message

    def exchange(self, kind, more, seconds, choose):
        """Sends until `choose` takes something from the answers of one round; None: nothing came
        within `seconds`."""
        transaction = random.randbytes(3)
        began, wait = time.monotonic(), TRY_SECONDS
        while (left := began + seconds - time.monotonic()) > 0:
            self.send(kind, transaction, began, more)
            if chosen := choose(self.answers(transaction, min(wait, left))):
                return chosen
            wait = min(2 * wait, TRY_SECONDS_MAX)
        return None

    def choose_offer(self, messages):
        """(preference, message) of the best; a server that may does not wait to be asked twice."""
        best = None
        for message in messages:
            if not parse_lease(message, self.identity):
                continue
            if message.kind == REPLY and message.get(RAPID_COMMIT) is not None:
                return PREFERRED_MOST, message
            preference = (message.get(PREFERENCE) or b"\0")[0]
            if message.kind == ADVERTISE and (best is None or preference > best[0]):
                best = preference, message
                if preference == PREFERRED_MOST:
                    break
        return best

    def choose_reply(self, messages):
        for message in messages:
            if message.kind == REPLY:
                return parse_lease(message, self.identity) or "refused"
        return None

    def ask(self, seconds=ASK_SECONDS):
        """A lease, or None without one within `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            offer = self.exchange(SOLICIT, self.association(None) + option(RAPID_COMMIT), left,
                                  self.choose_offer)
            if offer is None:
                return None
            lease = parse_lease(offer[1], self.identity)
            if offer[1].kind == REPLY:
                return lease
            given = self.exchange(REQUEST, option(SERVER_ID, lease.server)
                                  + self.association(lease),
                                  min(deadline - time.monotonic(), ASK_SECONDS), self.choose_reply)
            if isinstance(given, Lease):
                return given
            # It has changed its mind.
            time.sleep(min(TRY_SECONDS, max(0, deadline - time.monotonic())))
        return None

    def renew(self, lease, began):
        """The lease again, of its server or of any; None: nobody gives it any more. `began`: when
        it came, on the clock of time.monotonic()."""
        for kind, until in ((RENEW, lease.rebind), (REBIND, lease.valid)):
            left = min(began + until - time.monotonic(), SLEEP_SECONDS_MAX)
            server = option(SERVER_ID, lease.server) if kind == RENEW else b""
            given = self.exchange(kind, server + self.association(lease), left, self.choose_reply)
            if isinstance(given, Lease):
                return given
            if given:
                return None
        return None


def ask(interface, seconds=ASK_SECONDS):
    """A lease, or None: no server answers, or there is no such interface."""
    try:
        with Client(interface) as client:
            return client.ask(seconds)
    except OSError:
        return None


# -- the interface ---------------------------------------------------------------------------------


def seconds_word(seconds):
    return "forever" if seconds == FOREVER else str(seconds)


def give(interface, lease):
    """The address alone: which network lies on the link the routers say. Throws
    CalledProcessError."""
    subprocess.run(["ip", "-6", "address", "replace", f"{lease.address}/128", "dev", interface,
                    "valid_lft", seconds_word(lease.valid), "preferred_lft",
                    seconds_word(lease.preferred)], check=True, capture_output=True)


def is_there(interface, lease):
    """Of the kernel, which makes an address that is to be changed where there is none."""
    return bool(subprocess.run(["ip", "-6", "-oneline", "address", "show", "dev", interface, "to",
                                f"{lease.address}/128"], capture_output=True, check=True).stdout)


def take_away(interface, address):
    """None is there: that is fine."""
    subprocess.run(["ip", "-6", "address", "del", f"{address}/128", "dev", interface],
                   check=False, stderr=subprocess.DEVNULL)


def keep(interface, say=print):
    """Until somebody has taken the address away: who manages the interface has had another word.
    Throws OSError and CalledProcessError when the interface goes."""
    with Client(interface) as client:
        while True:
            began = time.monotonic()
            lease = client.ask()
            if lease is None:
                say("no DHCPv6 server gives an address")
                time.sleep(AGAIN_SECONDS)
                continue
            say(f"the address {lease.address} is leased")
            give(interface, lease)
            while lease:
                time.sleep(max(TRY_SECONDS, min(began + lease.renew - time.monotonic(),
                                                SLEEP_SECONDS_MAX)))
                asked = time.monotonic()
                again = client.renew(lease, began)
                if again is None or again.address != lease.address:
                    say(f"the lease of {lease.address} is not renewed")
                    take_away(interface, lease.address)
                    break
                if not is_there(interface, lease):
                    say(f"the address {lease.address} is not wanted any more")
                    return
                lease, began = again, asked
                give(interface, lease)


if __name__ == "__main__":
    keep(sys.argv[1], lambda text: print(text, flush=True))
