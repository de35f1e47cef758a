#!/usr/bin/python3
"""State of the software RAID that the host itself lies on; an empty answer where there is none."""

import json
import os

import XenAPIPlugin
from plugin_tools import output, require

DEVICE = os.environ.get("BASALT_RAID_DEVICE", "/dev/md127")
VOLUME_COLUMNS = 4  # number, major, minor, raid device; then the state's words and the device


def volume_of(line):
    words = line.split()
    if len(words) < VOLUME_COLUMNS + 2 or not words[1].isdigit():
        return None
    return words[:VOLUME_COLUMNS] + [" ".join(words[VOLUME_COLUMNS:-1]), words[-1]]


def parse(text):
    raid, volumes = {}, []
    for line in text.splitlines():
        if " : " in line:
            name, value = line.split(" : ", 1)
            raid[name.strip()] = value.strip()
        elif volume := volume_of(line):
            volumes.append(volume)
    return {"raid": raid, "volumes": volumes}


def check_raid_pool(_session, _args):
    if not os.path.exists(DEVICE):
        return json.dumps({})
    require("mdadm", "raid.py")
    # 1 and 2 tell a degraded array, not a failure to look.
    return json.dumps(parse(output("mdadm", "--detail", DEVICE, good=(0, 1, 2))))


if __name__ == "__main__":
    XenAPIPlugin.dispatch({"check_raid_pool": check_raid_pool})
