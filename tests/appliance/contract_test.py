"""The contract suite of hypervisors, run by Xen: within the control domain of a medium that was
booted live. BASALT_CONTRACT may be a filter of its cases, as *_reboots_*.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import boot
import build
import build_root
import machine
import medium
from paths import SOURCE, cache

ANSWER = r"XenAPI at https://(\S+)\s+.*User: root  Password: (\w+)\s"
SUITE_SECONDS = 2 * 3600
DISK_MIB = 192


def in_root(argv, *folders):
    binds = [word for folder in folders for word in ("--bind", str(folder), str(folder))]
    subprocess.run(build_root.entered(build_root.ensure(), argv, binds), check=True)


def suite_disk(folder):
    """A disk with the suite's program and its guest."""
    preset = os.environ.get("BASALT_PRESET", "release")
    build.build(preset, ["hv_contract"])
    content = folder / "content"
    content.mkdir()
    guest = cache() / "contract-guest"
    in_root([str(SOURCE / "hypervisor/contract/guest/make"), str(guest)])
    for name in ("vmlinuz", "initrd.gz"):
        shutil.copy(guest / name, content)
    program = build.folder(preset) / "hypervisor/contract/hv_contract"
    in_root(["strip", "-o", str(content / "hv_contract"), str(program)], folder)
    raw, disk = folder / "suite.img", folder / "suite.qcow2"
    in_root(["truncate", "-s", f"{DISK_MIB}M", str(raw)], folder)
    in_root(["mkfs.ext4", "-q", "-d", str(content), str(raw)], folder)
    in_root(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(disk)], folder)
    return disk


def run_suite(console, cases):
    """What the suite says, from the machine's only disk."""
    console.run("mount -o ro /dev/vda /mnt")
    return console.run(f"BASALT_GUEST=/mnt /mnt/hv_contract '--gtest_filter={cases}' 2>&1; "
                       "umount /mnt", SUITE_SECONDS)


class XenContract(unittest.TestCase):
    def test_xen_means_the_same_by_the_same_verb(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="basalt-contract-")))
        made = boot.Machine(medium.image(), folder, disks=[suite_disk(folder)])
        running = self.enterContext(boot.Running(made))
        console = machine.Console(running)
        said = console.wait(ANSWER, machine.BOOT_SECONDS)
        console.log_in(said[2])
        began = time.monotonic()
        words = run_suite(console, f"Xen/*{os.environ.get('BASALT_CONTRACT', '')}")
        machine.tell(words)
        machine.tell(f"the contract suite took {time.monotonic() - began:.0f} s on Xen")
        self.assertNotRegex(words, r"\[  FAILED  \]")
        self.assertRegex(words, r"\[  PASSED  \] [1-9]\d* test")


if __name__ == "__main__":
    unittest.main()
