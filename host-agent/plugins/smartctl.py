#!/usr/bin/python3
"""Health of the host's disks, by what they say of themselves."""

import json

import XenAPIPlugin
from plugin_tools import output, require

# Source: smartctl(8), exit status: bits 3 to 7 tell of the disk, not of the look at it.
GOOD = tuple(code for code in range(256) if not code & 0b111)


def disks():
    require("smartctl", "smartctl.py")
    listed = json.loads(output("smartctl", "--json", "--scan"))
    return [(one["name"], one.get("type", "auto")) for one in listed.get("devices", [])]


def look(name, kind, option):
    return json.loads(output("smartctl", "--json", option, "--device", kind, name, good=GOOD))


def health(_session, _args):
    told = {}
    for name, kind in disks():
        status = look(name, kind, "--health").get("smart_status", {})
        told[name] = {True: "PASSED", False: "FAILED"}.get(status.get("passed"), "UNKNOWN")
    return json.dumps(told)


def information(_session, _args):
    return json.dumps({name: look(name, kind, "--all") for name, kind in disks()})


if __name__ == "__main__":
    XenAPIPlugin.dispatch({"health": health, "information": information})
