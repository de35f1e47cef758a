"""Answers from files: our own TOML, or the XML that users of existing installers have."""

import tomllib

import answer_xml
from answers import (FIRST_DISK, INSTALL, UPGRADE, Answers, Network, Refused,
                     checked_hostname, checked_keymap, checked_mode, checked_network, checked_ntp,
                     checked_script, checked_sr_type, checked_then, checked_timezone, checked_whole,
                     password)

SCHEMA = {
    "disk": {"target": str, "mirror": str, "reuse": bool, "wipe": list, "local_sr": bool,
             "sr_type": str, "sr_gib": int, "guest_disks": list},
    "network": {"device": str, "bond": list, "bond_mode": str, "vlan": int, "address": str,
                "gateway": str, "dns": list, "backend": str, "ipv6": str, "gateway6": str,
                "names": dict},
    "host": {"hostname": str, "password": str, "password_hash": str, "timezone": str,
             "keymap": str, "ntp": list, "ntp_source": str, "pv_only": bool,
             "despite_secure_boot": bool},
    "installer": {"mode": str, "confirm": bool, "then": str},
}
# There may be several of it.
SCRIPT_SCHEMA = {"stage": str, "url": str}
# What an upgrade can be told; all else would change the host.
UPGRADE_SCHEMA = {"disk": {"target"}, "installer": {"mode", "confirm", "then"}, "script": {}}


def parse(data, hash_password):
    """`data`: the file's bytes. `hash_password` makes what /etc/shadow has of a plain text."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"The answer file is not text: {error}.") from error
    if text.lstrip().startswith("<"):
        return answer_xml.from_xml(text, hash_password)
    return from_toml(text, hash_password)


def from_toml(text, hash_password):
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"The answer file cannot be read: {error}.") from error
    scripts = toml_scripts(found.pop("script", []))
    for section, values in found.items():
        require_known(section, values)
    disk, network, host, installer = (found.get(name, {}) for name in SCHEMA)
    what_follows = {"confirm": installer.get("confirm", False), "scripts": scripts,
                    "then": checked_then(installer.get("then", Answers.then))}
    if checked_mode(installer.get("mode", INSTALL)) == UPGRADE:
        require_keeping(found)
        return Answers(mode=UPGRADE, disk=disk.get("target", FIRST_DISK), **what_follows)
    source, servers = checked_ntp(host.get("ntp_source", ""), host.get("ntp", []))
    return checked_whole(Answers(
        password_hash=password(host.get("password", ""), host.get("password_hash", ""),
                               hash_password),
        disk=disk.get("target", FIRST_DISK), mirror=disk.get("mirror", ""),
        reuse=disk.get("reuse", False), wipe=tuple(disk.get("wipe", ())),
        local_sr=disk.get("local_sr", True), sr_gib=disk.get("sr_gib", 0),
        sr_type=checked_sr_type(disk.get("sr_type", Answers.sr_type)),
        guest_disks=tuple(disk.get("guest_disks", ())),
        network=toml_network(network),
        hostname=toml_hostname(host.get("hostname", Answers.hostname)),
        timezone=checked_timezone(host.get("timezone", Answers.timezone)),
        keymap=checked_keymap(host.get("keymap", Answers.keymap)),
        ntp=servers, ntp_source=source, pv_only=host.get("pv_only", False),
        despite_secure_boot=host.get("despite_secure_boot", False), **what_follows))


def toml_network(values):
    names = values.get("names", {})
    if any(type(what) is not str for what in names.values()):
        raise Refused("network.names is not of the type that it has to be.")
    return checked_network(
        values.get("device", ""), values.get("address", "dhcp"), values.get("gateway", ""),
        values.get("dns", []), bond=tuple(values.get("bond", ())),
        bond_mode=values.get("bond_mode", Network.bond_mode), vlan=values.get("vlan", 0),
        backend=values.get("backend", Network.backend),
        ipv6=toml_ipv6(values.get("ipv6", "none")), gateway6=values.get("gateway6", ""),
        names=tuple((name, what.lower()) for name, what in sorted(names.items())))


def toml_hostname(word):
    return "" if word == "dhcp" else checked_hostname(word)


def toml_ipv6(word):
    return "" if word == "none" else word


def toml_scripts(found):
    if type(found) is not list or any(type(one) is not dict for one in found):
        raise Refused("Scripts are written as [[script]].")
    for one in found:
        require_values("script", one, SCRIPT_SCHEMA)
    return tuple(checked_script(one.get("stage", ""), one.get("url", "")) for one in found)


def require_known(section, values):
    if section not in SCHEMA:
        raise Refused(f"The answer file has a section [{section}] that nobody reads.")
    if not isinstance(values, dict):
        raise Refused(f"[{section}] is not a section.")
    require_values(section, values, SCHEMA[section])


def require_values(section, values, schema):
    """A key that nobody reads is most likely misspelt."""
    for key, value in values.items():
        if key not in schema:
            raise Refused(f"The answer file has {section}.{key}, which nobody reads.")
        kind = schema[key]
        if type(value) is not kind or (kind is list and any(type(one) is not str for one in value)):
            raise Refused(f"{section}.{key} is not of the type that it has to be.")


def require_keeping(found):
    for section, values in found.items():
        for key in values:
            if key not in UPGRADE_SCHEMA.get(section, ()):
                raise Refused(f"An upgrade keeps what the host was told: {section}.{key} has no "
                              "place in its answers.")
