"""What an installation is told: a value, and what is true of all such values. Nothing here reads a
file (answer_files.py) or looks at a machine.

Whatever this installer cannot do is refused with a reason, before anything is written. What it does
in another way than the file says is a note, which the summary and the log show.
"""

import ipaddress
import re
from dataclasses import dataclass

PASSWORD_LENGTH_MIN = 6
THEN = ("reboot", "poweroff", "shell")
INSTALL, UPGRADE = "install", "upgrade"
MODES = (INSTALL, UPGRADE)
FIRST_DISK = "first"
# In the place of the second disk of a mirror: it is put in later.
MISSING = "missing"
# The file systems of a local SR, by its type.
SR_TYPES = {"ext": "ext4", "xfs": "XFS"}
NO_ADDRESS = "none"
AUTOCONF = "autoconf"
DHCP = "dhcp"
# IPv6 that is not told but learnt.
LEARNT = (AUTOCONF, DHCP)
BACKENDS = ("openvswitch", "bridge")
BOND_MODES = ("active-backup", "balance-slb", "lacp")
# Source: Bond.create of the switch that carries it.
BOND_CARDS_MIN, BOND_CARDS_MAX = 2, 4
VLAN_TAG_MAX = 4094
NTP_SOURCES = ("dhcp", "default", "manual", "none")
SCHEMES = ("http", "https", "ftp", "nfs", "file")
# When scripts run: before anything is written; when the new system lies on the disk, twice; at the
# end, however that came.
STAGES = ("installation-start", "packages-installed", "filesystem-populated",
          "installation-complete")


class Refused(Exception):
    """A reason for people, in a sentence."""


@dataclass(frozen=True)
class Network:
    """The management interface. `device`: a name (eth0) or a MAC; empty: the first that a DHCP
    server answers on. `bond`: several of them, as one; then `device` is empty."""

    device: str = ""
    address: str = ""  # with its prefix; empty: DHCP; NO_ADDRESS: by IPv6 alone
    gateway: str = ""
    dns: tuple = ()
    bond: tuple = ()
    bond_mode: str = BOND_MODES[0]
    vlan: int = 0  # 0: untagged
    ipv6: str = ""  # with its prefix; empty: none; AUTOCONF: as routers announce; DHCP
    gateway6: str = ""
    backend: str = BACKENDS[0]
    names: tuple = ()  # (eth0, MAC or PCI slot or firmware's label): what cards are called


@dataclass(frozen=True)
class Script:
    """Is run at `stage` (STAGES); the shebang says by what."""

    stage: str
    url: str


@dataclass(frozen=True)
class Answers:
    """An upgrade keeps what the host was told before: it takes `disk`, `confirm`, `then`, and
    scripts."""

    password_hash: str = ""
    mode: str = INSTALL
    disk: str = FIRST_DISK
    mirror: str = ""  # a second disk with the same on it, or MISSING; empty: there is none
    reuse: bool = False  # the disks' partitions stay, and the local SR with what is in it
    wipe: tuple = ()  # other disks, of which everything is to be forgotten
    local_sr: bool = True
    sr_gib: int = 0  # 0: all the room that is left
    sr_type: str = "ext"  # SR_TYPES
    guest_disks: tuple = ()  # that belong to the local SR as well
    network: Network = Network()
    hostname: str = "localhost"  # empty: what the DHCP server says
    timezone: str = "Etc/UTC"
    keymap: str = "us"
    ntp: tuple = ()
    ntp_source: str = ""  # NTP_SOURCES; empty: as `settled_ntp_source` says
    scripts: tuple = ()
    pv_only: bool = False  # a processor on which only PV guests run will do
    despite_secure_boot: bool = False  # which somebody switches off before the host starts
    confirm: bool = False
    then: str = "reboot"
    notes: tuple = ()

    def settled_ntp_source(self):
        if self.ntp_source:
            return self.ntp_source
        if self.ntp:
            return "manual"
        return "default" if self.network.address else "dhcp"


# -- checks ---------------------------------------------------------------------------------------------


def password(plain, hashed, hash_password):
    """The hash. `hash_password` makes what /etc/shadow has of a plain text."""
    if hashed:
        if plain:
            raise Refused("There are two passwords for root, a plain one and a hash.")
        if not re.fullmatch(r"\$[0-9a-z]+\$[^:\s]+", hashed):
            raise Refused("The password's hash is not one that crypt(3) makes.")
        return hashed
    if len(plain) < PASSWORD_LENGTH_MIN or "\n" in plain:
        raise Refused(f"Root needs a password of {PASSWORD_LENGTH_MIN} characters or more.")
    return hash_password(plain)


def checked_network(device, address, gateway, dns, **more):
    """`address`: with its prefix, "dhcp" or "none"; `more`: the other members of Network."""
    network = Network(device, "", "", tuple(str(checked_address(one)) for one in dns), **more)
    require_whole(network)
    if network.ipv6 not in ("", *LEARNT):
        six = interface(network.ipv6, 6)
        require_router(network.gateway6, six, 6)
    elif network.gateway6:
        raise Refused("A router of IPv6 belongs to a fixed address; others announce themselves.")
    if address == NO_ADDRESS and not network.ipv6:
        raise Refused("The management interface has neither an IPv4 nor an IPv6 address.")
    require_reachable_servers(network, address)
    if address == NO_ADDRESS:
        if gateway:
            raise Refused(f"The router {gateway} belongs to an address, and there is none.")
        return changed(network, address=NO_ADDRESS)
    if address == "dhcp":
        if gateway:
            raise Refused("With DHCP the router comes from the server.")
        return network
    four = interface(address, 4)
    require_router(gateway, four, 4)
    if not device and not network.bond:
        raise Refused("A fixed address needs a network device to be on.")
    return changed(network, address=str(four), gateway=gateway)


def changed(network, **values):
    return Network(**{**network.__dict__, **values})


def require_whole(network):
    if network.bond:
        if network.device:
            raise Refused("The management interface is one device, or a bond of several.")
        count = len({one.lower() for one in network.bond})
        if count != len(network.bond) or not BOND_CARDS_MIN <= count <= BOND_CARDS_MAX:
            raise Refused(f"A bond is made of {BOND_CARDS_MIN} to {BOND_CARDS_MAX} different "
                          "network devices.")
    if network.backend not in BACKENDS:
        raise Refused(f"The network's backend is one of {', '.join(BACKENDS)}, "
                      f"not {network.backend!r}.")
    if network.bond and network.backend != BACKENDS[0]:
        raise Refused("Bonds are made by Open vSwitch, not by the backend bridge.")
    if network.bond_mode not in BOND_MODES:
        raise Refused(f"A bond's mode is one of {', '.join(BOND_MODES)}, "
                      f"not {network.bond_mode!r}.")
    if not 0 <= network.vlan <= VLAN_TAG_MAX:
        raise Refused(f"A VLAN's tag is a number from 1 to {VLAN_TAG_MAX}, not {network.vlan}.")
    if network.vlan and not network.device and not network.bond:
        raise Refused("A VLAN needs a network device to be on.")
    names = [name for name, _ in network.names]
    for name in names:
        if not re.fullmatch(r"eth(0|[1-9][0-9]?)", name):
            raise Refused(f"Network devices are called eth0 to eth99, not {name!r}.")
    if len(set(names)) != len(names) or len({what for _, what in network.names}) != len(names):
        raise Refused("Two network devices cannot have one name, nor one of them two.")


def interface(text, version):
    """An address with its prefix."""
    example = "192.0.2.10/24" if version == 4 else "2001:db8::10/64"
    try:
        found = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Refused(f"The address {text!r} is not an IPv{version} address with its prefix.") \
            from error
    if found.version != version:
        raise Refused(f"The address {text!r} is not an IPv{version} address with its prefix.")
    if "/" not in text:
        raise Refused(f"The address {text!r} lacks its prefix, as in {example}.")
    return found


def require_router(gateway, own, version):
    """A router of IPv6 may be known by its link-local address."""
    if not gateway:
        return
    router = checked_address(gateway)
    if router.version != version:
        raise Refused(f"The router {gateway} is not of IPv{version}.")
    if router not in own.network and not (version == 6 and router.is_link_local):
        raise Refused(f"The router {gateway} is not in the network {own.network}.")


def require_reachable_servers(network, address):
    """The API has one list of them for an interface, which comes with a fixed address of IPv6, or
    with IPv4."""
    versions = {ipaddress.ip_address(one).version for one in network.dns}
    if len(versions) > 1:
        raise Refused("Name servers are all of IPv4, or all of IPv6.")
    if 4 in versions and address == NO_ADDRESS:
        raise Refused("Name servers of IPv4 cannot be asked without an IPv4 address.")
    if 6 in versions and network.ipv6 in ("", *LEARNT):
        raise Refused("Name servers of IPv6 belong to a fixed IPv6 address.")


def checked_address(text):
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise Refused(f"{text!r} is not an IP address.") from error


def checked_vlan(text):
    """A tag as files of text have it; empty: none."""
    if not text:
        return 0
    if not text.isdigit() or not 1 <= int(text) <= VLAN_TAG_MAX:
        raise Refused(f"A VLAN's tag is a number from 1 to {VLAN_TAG_MAX}, not {text!r}.")
    return int(text)


def checked_hostname(name):
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if not re.fullmatch(rf"{label}(\.{label})*", name) or len(name) > 253:
        raise Refused(f"{name!r} is not a host name.")
    return name


def checked_host(name):
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return checked_hostname(name)


def checked_ntp(source, servers):
    """(source, servers); source empty: nothing was said of it."""
    if source and source not in NTP_SOURCES:
        raise Refused(f"The time's source is one of {', '.join(NTP_SOURCES)}, not {source!r}.")
    if servers and source not in ("", "manual"):
        raise Refused(f"The time's source {source!r} and servers of time exclude each other.")
    if source == "manual" and not servers:
        raise Refused("With the time's source \"manual\" there must be a server of time.")
    return source, tuple(checked_host(one) for one in servers)


def checked_timezone(name):
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name):
        raise Refused(f"{name!r} is not a time zone.")
    return name


def checked_keymap(name):
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise Refused(f"{name!r} is not the name of a keyboard.")
    return name


def checked_url(url):
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in SCHEMES or not rest or re.search(r"\s", url):
        raise Refused(f"Files are fetched by {', '.join(SCHEMES)}, not from {url!r}.")
    return url


def checked_script(stage, url):
    if stage not in STAGES:
        raise Refused(f"A script's stage is one of {', '.join(STAGES)}, not {stage!r}.")
    return Script(stage, checked_url(url))


def checked_whole(answers):
    """`answers`, when what it says of different things goes together."""
    if not answers.hostname and answers.network.address:
        raise Refused("A host gets its name from a DHCP server only if it gets its address there.")
    return checked_disks(answers)


def checked_disks(answers):
    """`answers`, when what it says of disks goes together."""
    named = [answers.disk, answers.mirror, *answers.guest_disks, *answers.wipe]
    several = [one for one in named if one not in ("", MISSING)]
    if len(set(several)) != len(several):
        raise Refused("A disk is named twice.")
    if answers.mirror and answers.disk == FIRST_DISK:
        raise Refused("A mirror needs both of its disks named.")
    if answers.reuse and (answers.mirror or answers.guest_disks or answers.sr_gib or
                          answers.sr_type != Answers.sr_type):
        raise Refused("What is used again stays as it is: nothing can be said of a mirror, of more "
                      "disks or of the local SR's size and type.")
    if answers.reuse and not answers.local_sr:
        raise Refused("Partitions are used again for the local SR in them: it cannot be left out.")
    if answers.sr_gib < 0 or (answers.sr_gib and not answers.local_sr):
        raise Refused("The local SR's size is a number of GiB, of an SR that there is.")
    return answers


def checked_sr_type(kind):
    if kind not in SR_TYPES:
        raise Refused(f"A local SR's type is one of {', '.join(SR_TYPES)}, not {kind!r}.")
    return kind


def checked_mode(word):
    if word not in MODES:
        raise Refused(f"An installer's mode is one of {', '.join(MODES)}, not {word!r}.")
    return word


def checked_then(word):
    if word not in THEN:
        raise Refused(f"What follows the installation is one of {', '.join(THEN)}, not {word!r}.")
    return word
