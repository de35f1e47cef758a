"""Where the host is managed, as hostd remembers it: what the API has set stands from then on,
whatever the installation and the host's console have said.

hostd runs later than those who need to know, so they look into its records themselves.
"""

import json
import sqlite3

RECORDS = "var/lib/basalt/hostd.db"
QUERY = "SELECT key, value FROM record WHERE room = 'network'"


def card_below(want, bridge):
    """The network card by which a bridge of `want` is reached: through a bond, or as a VLAN."""
    bridges = {one["name"]: one for one in want["bridges"]}
    uplink = bridges.get(bridge["vlan_parent"], bridge)["uplink"]
    for bond in want["bonds"]:
        if bond["name"] == uplink and bond["members"]:
            return bond["members"][0]
    return uplink


def parse(management, text):
    """`management`: the bridge's name; `text`: the network that hostd was last told to have. As the
    installation's answers have it, with `device` and `bridge`; `address` is "none" where the host is
    managed by IPv6 alone, and `ipv6` its first address then, as far as it is fixed. None when that
    bridge has no address of either kind."""
    want = json.loads(text)
    for bridge in want["bridges"]:
        if bridge["name"] != management:
            continue
        four = bridge["address"] or bridge["dhcp"]
        if not four and not bridge["ipv6"] and not bridge["autoconf"]:
            continue
        fixed = not bridge["dhcp"]
        return {"mac": "", "device": card_below(want, bridge), "bridge": management,
                "address": (bridge["address"] if four else "none") if fixed else "",
                "ipv6": (bridge["ipv6"] or [""])[0],
                "gateway": bridge["gateway"] if fixed else "",
                "dns": bridge["dns"] if fixed else []}
    return None


def read_records(root, parse_found):
    """What `parse_found` makes of them; None when there are none, or they cannot be read."""
    path = root / RECORDS
    if not path.exists():
        return None
    try:
        records = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            found = dict(records.execute(QUERY))
        finally:
            records.close()
        return parse_found(found)
    except (sqlite3.Error, ValueError, KeyError) as error:
        print(f"what hostd remembers of the network cannot be read: {error!r}")
        return None


def kept_by_hostd(root):
    """None where no call of the API has ever moved it, or nothing can be read."""
    return read_records(root, lambda found: parse(found["management"], found["want"])
                        if found.get("management") else None)


def learns_ipv6(root, name):
    """Whether hostd leaves to a bridge the IPv6 addresses that it is given by others."""
    def parse_found(found):
        bridges = json.loads(found["want"])["bridges"] if "want" in found else []
        return any(one["autoconf"] for one in bridges if one["name"] == name)

    return bool(read_records(root, parse_found))
