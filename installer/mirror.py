"""Puts a disk into the mirror of the host that runs: in the place of one that failed, or as the
second that was missing from the beginning. For root at the host's shell:

    python3 -I /usr/lib/basalt/installer/mirror.py DISK

Guests run on; the disk is filled while they do, and /proc/mdstat says how far that is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import ask
import disks as disks_
import execute
import machine
from answers import Refused
from plan import BOOT, SETTLE, Plan, Step, forget_step, grub_steps, release_steps, table_step

LOG = "/var/log/basalt-mirror.log"


def plan_add(wanted, disks):
    """`disks`: of the machine, as machine.py finds them."""
    present = [disk for disk in disks if disk.raid]
    if not present:
        raise Refused("This host is no mirror: it was installed on one disk.")
    if len(present) > 1:
        known = disks_.known_paths(present)
        raise Refused(f"The mirror has both of its disks, {known}.")
    disk, other = disks_.choose_disk(wanted, disks), present[0]
    if disk.size_bytes < other.size_bytes - disks_.MIB:
        raise Refused(f"The disk {disk.path} is smaller than {other.path}.")
    raid, source, target = other.raid, BOOT, f"{BOOT}2"
    boot = disks_.partition_path(disk.path, 2)
    steps = [
        # 1: there is none, or it is out already.
        Step("let go of the disk that failed", ("mdadm", raid, "--remove", "failed", "detached"),
             fine=(0, 1, 2)),
        *release_steps([disk]),
        forget_step(disk),
        table_step(disk.path, [*disks_.outer_parts(), disks_.raid_part()]),
        SETTLE,
        Step(f"make the boot file system on {boot}",
             ("mkfs.vfat", "-F", "32", "-n", disks_.BOOT_LABEL, boot)),
        Step("make places to mount at", ("mkdir", "-p", source, target)),
        Step("mount the boot file system that is there",
             ("mount", "-o", "ro", disks_.partition_path(other.path, 2), source)),
        Step("mount the new one", ("mount", boot, target)),
        Step("copy what starts the host", ("cp", "-r", f"{source}/.", target)),
        *grub_steps(disk.path, target),
        Step("write the boot file system out", ("sync", "--file-system", target)),
        Step("let go of the boot file system that is there", ("umount", source)),
        Step("let go of the new one", ("umount", target)),
        Step("put the disk into the array",
             ("mdadm", raid, "--add", disks_.partition_path(disk.path, 3))),
    ]
    return Plan(disk.path, f"The disk {disk.path} is about to be erased, and to join {other.path}.",
                steps, word="add")


def main(argv):
    if len(argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        made = plan_add(argv[0], machine.parse_disks(machine.list_disks(),
                                                     machine.links_by_target()))
        if not ask.confirmed(input, print, made):
            raise Refused("Nothing was written.")
        execute.execute(made, LOG, print)
    except (Refused, execute.Failed, EOFError) as error:
        print(f"The mirror is as it was. {error or 'Nobody answers.'}", file=sys.stderr)
        return 1
    print("The disk belongs to the mirror. /proc/mdstat says how far it is filled.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
