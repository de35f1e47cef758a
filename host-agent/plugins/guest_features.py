#!/usr/bin/python3
"""What guests' agents are told of the host's wishes: a tree in the store of Xen that every guest
reads. A hypervisor without such a store has nobody who would look."""

import os
import re

import XenAPIPlugin
from plugin_tools import output, require

PLUGIN = "guest_features.py"
ROOT = "/guest_agent_features"
STORE = "/run/xenstored/socket"
NAME = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*")
READ_BY_ALL = "r0"  # Xen's own domain owns it, others read


def nodes(args):
    """What is written: path -> value, parents before what is in them."""
    tree = {"": ""}
    for name, value in args.items():
        if not NAME.fullmatch(name):
            raise XenAPIPlugin.Failure("INVALID_VALUE", ["name", name])
        parts = name.split("/")
        for depth in range(1, len(parts)):
            tree.setdefault("/".join(parts[:depth]), "")
        tree[name] = value
    return {f"{ROOT}/{name}".rstrip("/"): value for name, value in sorted(tree.items())}


def write(_session, args):
    tree = nodes(args)
    if not os.path.exists(os.environ.get("BASALT_XENSTORE", STORE)):
        return "nobody looks"
    for tool in ("xenstore-rm", "xenstore-write", "xenstore-chmod"):
        require(tool, PLUGIN)
    output("xenstore-rm", ROOT, good=(0, 1))  # it may not be there
    for path, value in tree.items():
        output("xenstore-write", path, value)
        output("xenstore-chmod", path, READ_BY_ALL)
    return "written"


if __name__ == "__main__":
    XenAPIPlugin.dispatch({"write": write})
