"""What an installation is told: a value, read from our own TOML or from the XML that users of
existing installers have. Nothing here looks at a machine.

Whatever this installer cannot do is refused with a reason, before anything is written. What it does
in another way than the file says is a note, which the summary and the log show.
"""

import ipaddress
import re
import tomllib
from dataclasses import dataclass
from xml.etree import ElementTree

PASSWORD_LENGTH_MIN = 6
THEN = ("reboot", "poweroff", "shell")
INSTALL, UPGRADE = "install", "upgrade"
MODES = (INSTALL, UPGRADE)
FIRST_DISK = "first"


class Refused(Exception):
    """A reason for people, in a sentence."""


@dataclass(frozen=True)
class Network:
    """`device`: a name (eth0) or a MAC; empty: the first that a DHCP server answers on."""

    device: str = ""
    address: str = ""  # with its prefix; empty: DHCP
    gateway: str = ""
    dns: tuple = ()


@dataclass(frozen=True)
class Answers:
    """An upgrade keeps what the host was told before: it takes `disk`, `confirm`, `then`."""

    password_hash: str = ""
    mode: str = INSTALL
    disk: str = FIRST_DISK
    local_sr: bool = True
    network: Network = Network()
    hostname: str = "localhost"
    timezone: str = "Etc/UTC"
    ntp: tuple = ()  # empty: what Debian has by default
    confirm: bool = False
    then: str = "reboot"
    notes: tuple = ()


def parse(data, hash_password):
    """`data`: the file's bytes. `hash_password` makes what /etc/shadow has of a plain text."""
    text = decoded(data)
    if text.lstrip().startswith("<"):
        return from_xml(text, hash_password)
    return from_toml(text, hash_password)


def decoded(data):
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"The answer file is not text: {error}.") from error


# -- our own schema -----------------------------------------------------------------------------------

SCHEMA = {
    "disk": {"target": str, "local_sr": bool},
    "network": {"device": str, "address": str, "gateway": str, "dns": list},
    "host": {"hostname": str, "password": str, "password_hash": str, "timezone": str, "ntp": list},
    "installer": {"mode": str, "confirm": bool, "then": str},
}
# What an upgrade can be told; all else would change the host.
UPGRADE_SCHEMA = {"disk": {"target"}, "installer": {"mode", "confirm", "then"}}


def from_toml(text, hash_password):
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"The answer file cannot be read: {error}.") from error
    for section, values in found.items():
        require_known(section, values)
    disk, network, host, installer = (found.get(name, {}) for name in SCHEMA)
    if checked_mode(installer.get("mode", INSTALL)) == UPGRADE:
        require_keeping(found)
        return Answers(mode=UPGRADE, disk=disk.get("target", FIRST_DISK),
                       confirm=installer.get("confirm", False),
                       then=checked_then(installer.get("then", Answers.then)))
    return Answers(
        password_hash=password(host.get("password", ""), host.get("password_hash", ""),
                               hash_password),
        disk=disk.get("target", FIRST_DISK), local_sr=disk.get("local_sr", True),
        network=checked_network(network.get("device", ""), network.get("address", "dhcp"),
                                network.get("gateway", ""), network.get("dns", [])),
        hostname=checked_hostname(host.get("hostname", Answers.hostname)),
        timezone=checked_timezone(host.get("timezone", Answers.timezone)),
        ntp=tuple(checked_host(one) for one in host.get("ntp", [])),
        confirm=installer.get("confirm", False),
        then=checked_then(installer.get("then", Answers.then)))


def require_known(section, values):
    """A key that nobody reads is most likely misspelt."""
    if section not in SCHEMA:
        raise Refused(f"The answer file has a section [{section}] that nobody reads.")
    if not isinstance(values, dict):
        raise Refused(f"[{section}] is not a section.")
    for key, value in values.items():
        if key not in SCHEMA[section]:
            raise Refused(f"The answer file has {section}.{key}, which nobody reads.")
        kind = SCHEMA[section][key]
        if type(value) is not kind or (kind is list and any(type(one) is not str for one in value)):
            raise Refused(f"{section}.{key} is not of the type that it has to be.")


def require_keeping(found):
    for section, values in found.items():
        for key in values:
            if key not in UPGRADE_SCHEMA.get(section, ()):
                raise Refused(f"An upgrade keeps what the host was told: {section}.{key} has no "
                              "place in its answers.")


def password(plain, hashed, hash_password):
    if hashed:
        if plain:
            raise Refused("There are two passwords for root, a plain one and a hash.")
        if not re.fullmatch(r"\$[0-9a-z]+\$[^:\s]+", hashed):
            raise Refused("The password's hash is not one that crypt(3) makes.")
        return hashed
    if len(plain) < PASSWORD_LENGTH_MIN or "\n" in plain:
        raise Refused(f"Root needs a password of {PASSWORD_LENGTH_MIN} characters or more.")
    return hash_password(plain)


# -- checks ---------------------------------------------------------------------------------------------


def checked_network(device, address, gateway, dns):
    if address == "dhcp":
        if gateway or dns:
            raise Refused("With DHCP the router and the name servers come from the server.")
        return Network(device)
    try:
        interface = ipaddress.IPv4Interface(address)
    except ValueError as error:
        raise Refused(f"The address {address!r} is not an IPv4 address with its prefix.") from error
    if "/" not in address:
        raise Refused(f"The address {address!r} lacks its prefix, as in 192.0.2.10/24.")
    if gateway and checked_address(gateway) not in interface.network:
        raise Refused(f"The router {gateway} is not in the network {interface.network}.")
    if not device:
        raise Refused("A fixed address needs a network device to be on.")
    return Network(device, str(interface), gateway, tuple(str(checked_address(one)) for one in dns))


def checked_address(text):
    try:
        return ipaddress.IPv4Address(text)
    except ValueError as error:
        raise Refused(f"{text!r} is not an IPv4 address.") from error


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


def checked_timezone(name):
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name):
        raise Refused(f"{name!r} is not a time zone.")
    return name


def checked_mode(word):
    if word not in MODES:
        raise Refused(f"An installer's mode is one of {', '.join(MODES)}, not {word!r}.")
    return word


def checked_then(word):
    if word not in THEN:
        raise Refused(f"What follows the installation is one of {', '.join(THEN)}, not {word!r}.")
    return word


# -- the XML of existing installers ---------------------------------------------------------------------

# Elements that say what happens here anyway, or what has no meaning without the other product.
WITHOUT_EFFECT = {"keymap": "the console's keyboard is the kernel's (US)",
                  "bootloader": "it is GRUB, for BIOS and UEFI",
                  "network-backend": "it is Open vSwitch until it is switched by the API",
                  "source": "what is installed is on the medium"}
KNOWN = {"primary-disk", "guest-disks", "guest-disk", "admin-interface", "root-password",
         "name-server", "nameserver", "hostname", "timezone", "ntp", "ntp-server", "ntp-servers",
         "ui-confirmation-prompt", *WITHOUT_EFFECT}


def from_xml(text, hash_password):
    # No document type: entities could grow without bound.
    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
        raise Refused("The answer file has declarations, which no answer file needs.")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Refused(f"The answer file cannot be read: {error}.") from error
    mode = root.get("mode", "fresh")
    if root.tag != "installation" or mode not in ("fresh", UPGRADE):
        raise Refused("This installer makes fresh installations and upgrades only: "
                      "<installation mode=\"fresh\">.")
    if mode == UPGRADE:
        return xml_upgrade(root)
    for element in root:
        if element.tag not in KNOWN:
            raise Refused(f"This installer does not know what to do with <{element.tag}>.")
    notes = []
    primary = required(root, "primary-disk")
    if is_true(primary.get("swraid")) or "," in content(primary):
        raise Refused("This installer makes no software RAID.")
    if is_true(primary.get("sr-at-end")) or is_true(primary.get("preserve-first-partition")):
        notes.append("The whole disk is partitioned anew, with the local SR at its end.")
    if content(root.find("guest-disks")) or root.findall("guest-disk"):
        raise Refused("This installer makes a local SR on the primary disk only.")
    if root.get("sr-type", root.get("srtype", "lvm")) == "lvm":
        notes.append("The local SR holds files on ext4: there is no SR of type lvm.")
    if content(root.find("source")) and root.find("source").get("type") != "local":
        notes.append("Nothing is fetched from a repository: what is installed is on the medium.")
    return Answers(
        password_hash=xml_password(required(root, "root-password"), hash_password),
        disk=disk_path(content(primary)),
        local_sr=is_true(primary.get("guest-storage", primary.get("gueststorage", "true"))),
        network=xml_network(required(root, "admin-interface"),
                            [content(one) for tag in ("name-server", "nameserver")
                             for one in root.findall(tag)]),
        hostname=checked_hostname(content(root.find("hostname")) or "localhost.localdomain"),
        timezone=checked_timezone(content(root.find("timezone")) or Answers.timezone),
        ntp=xml_ntp(root),
        confirm=is_true(content(root.find("ui-confirmation-prompt"))),
        notes=tuple(notes))


def xml_upgrade(root):
    for element in root:
        if element.tag not in ("existing-installation", "ui-confirmation-prompt", *WITHOUT_EFFECT):
            raise Refused("An upgrade keeps what the host was told: "
                          f"<{element.tag}> has no place in its answers.")
    return Answers(mode=UPGRADE, disk=disk_path(content(required(root, "existing-installation"))),
                   confirm=is_true(content(root.find("ui-confirmation-prompt"))))


def content(element):
    return "" if element is None else (element.text or "").strip()


def required(root, tag):
    element = root.find(tag)
    if element is None:
        raise Refused(f"The answer file has no <{tag}>.")
    return element


def is_true(text):
    word = (text or "false").lower()
    if word not in ("true", "false", "yes", "no", "if-utility"):
        raise Refused(f"{text!r} is neither true nor false.")
    return word in ("true", "yes")


def disk_path(name):
    if not name:
        raise Refused("The answer file names no disk.")
    return name if name.startswith("/dev/") else f"/dev/{name}"


def xml_password(element, hash_password):
    if element.get("type", "plaintext") == "hash":
        return password("", content(element), hash_password)
    return password(content(element), "", hash_password)


def xml_network(element, dns):
    if element.get("vlan"):
        raise Refused("This installer cannot put the management interface on a VLAN.")
    if element.get("protov6", "none") != "none":
        raise Refused("This installer gives the management interface an IPv4 address only.")
    device = element.get("name") or element.get("hwaddr", "").lower()
    kind = element.get("proto", "")
    if kind == "dhcp":
        return checked_network(device, "dhcp", "", [])
    if kind != "static":
        raise Refused(f"<admin-interface> has the proto {kind!r}, not dhcp or static.")
    address = content(element.find("ipaddr")) or content(element.find("ip"))
    mask = content(element.find("subnet")) or content(element.find("subnet-mask"))
    return checked_network(device, f"{address}/{mask}", content(element.find("gateway")), dns)


def xml_ntp(root):
    servers = [content(one) for tag in ("ntp-server", "ntp-servers") for one in root.findall(tag)]
    source = "" if root.find("ntp") is None else root.find("ntp").get("source", "")
    if servers and source in ("dhcp", "default", "none"):
        raise Refused(f"<ntp source=\"{source}\"> and <ntp-server> exclude each other.")
    return tuple(checked_host(one) for one in servers)
