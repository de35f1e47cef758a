#!/usr/bin/python3
"""Whether the host's processors run more than one thread a core."""

import os

import XenAPIPlugin

ACTIVE = "/sys/devices/system/cpu/smt/active"


def get_hyperthreading(_session, _args):
    # The control domain of Xen sees virtual processors: Xen knows, and tells its processors' facts.
    with open(os.environ.get("BASALT_SMT_FILE", ACTIVE), encoding="ascii") as file:
        return "true" if file.read().strip() == "1" else "false"


if __name__ == "__main__":
    XenAPIPlugin.dispatch({"get_hyperthreading": get_hyperthreading})
