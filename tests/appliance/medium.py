"""The medium that the tests of this folder are about: made once a run, from this tree.

BASALT_ISO names one that is there already.
"""

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/dev"))

import build_root
import iso
from paths import cache

FAST_LEVEL = 3
HERE = Path(__file__).resolve().parent


@lru_cache
def image():
    if "BASALT_ISO" in os.environ:
        return Path(os.environ["BASALT_ISO"]).absolute()
    made = cache() / "appliance-test/basalt.iso"
    iso.make(os.environ.get("BASALT_PRESET", "release"), made, FAST_LEVEL)
    return made


def guest_disk(folder):
    """A disk for the host with the guests' kernel on it."""
    made = cache() / "appliance-test/guest"
    made.mkdir(parents=True, exist_ok=True)
    root = build_root.ensure()
    subprocess.run(build_root.entered(root, [str(HERE / "guest/make"), str(made),
                                             str(cache() / "contract-guest")]), check=True)
    disk = folder / "guest.qcow2"
    subprocess.run(build_root.entered(
        root, ["qemu-img", "convert", "-q", "-O", "qcow2", str(made / "guest.img"), str(disk)],
        ["--bind", str(folder), str(folder)]), check=True)
    return disk
