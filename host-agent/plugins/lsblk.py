#!/usr/bin/python3
"""The host's block devices, as a tree: partitions and volumes below what they lie on."""

import json
import shlex

import XenAPIPlugin
from plugin_tools import output, require

COLUMNS = ("NAME", "KNAME", "PKNAME", "SIZE", "TYPE", "RO", "MOUNTPOINT")


def tree(rows):
    by_name = {}
    for row in rows:
        by_name.setdefault(row["kname"], row)
    top = []
    for row in rows:
        parent = by_name.get(row["pkname"])
        if parent is None or parent is row:
            top.append(row)
        else:
            parent.setdefault("children", []).append(row)
    return top


def list_block_devices(_session, _args):
    require("lsblk", "lsblk.py")
    rows = []
    for line in output("lsblk", "-P", "-b", "-o", ",".join(COLUMNS)).splitlines():
        pairs = (field.split("=", 1) for field in shlex.split(line))
        rows.append({name.lower(): value for name, value in pairs})
    return json.dumps({"blockdevices": tree(rows)})


if __name__ == "__main__":
    XenAPIPlugin.dispatch({"list_block_devices": list_block_devices})
