"""The medium that the tests of this folder are about: made once a run, from this tree.

BASALT_ISO names one that is there already.
"""

import os
import sys
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/dev"))

import iso
from paths import cache

FAST_LEVEL = 3


@lru_cache
def image():
    if "BASALT_ISO" in os.environ:
        return Path(os.environ["BASALT_ISO"]).absolute()
    made = cache() / "appliance-test/basalt.iso"
    iso.make(os.environ.get("BASALT_PRESET", "release"), made, FAST_LEVEL)
    return made
