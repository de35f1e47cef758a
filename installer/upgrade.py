"""What an upgrade will do, as data: the slot that does not start gets the medium's system, and GRUB
tries it once. Until the last step but the unmounting nothing of the running host has changed, so
that it may be interrupted anywhere.
"""

from answers import FIRST_DISK, Refused
from plan import (BOOT, PROGRAMS, SLOTS, STATE, Plan, Step, check_step, image_steps, last_steps,
                  mount_steps, partition_path, require_image_fits)


def plan(answers, machine):
    disk = installed_disk(answers.disk, machine.disks)
    require_image_fits(machine.image_bytes)
    before, after = disk.slot, SLOTS[1 - SLOTS.index(disk.slot)]
    steps = [
        check_step(machine.medium),
        # The power may have gone while it was written. 1: what was wrong is mended.
        Step("check the boot file system", ("fsck.fat", "-a", partition_path(disk.path, 2)),
             fine=(0, 1)),
        *mount_steps(disk),
        # An earlier upgrade that nobody has started yet is forgotten.
        slots_step("let the host start what it has", "choose", BOOT, before),
        *image_steps(disk, machine.medium, after),
        slots_step("carry settings over", "carry", STATE, before, after),
        slots_step("keep the records as they are", "keep", STATE, before, after),
        Step("write the state out", ("sync", "--file-system", STATE)),
        Step("write the boot file system out", ("sync", "--file-system", BOOT)),
        slots_step("let the new system be tried", "try", BOOT, after),
        *last_steps(disk),
    ]
    return Plan(disk.path, f"The host on {disk.path} is about to be upgraded: its settings and VMs "
                "stay, and its system as well, until the new one is healthy.",
                steps, list(answers.notes), answers.then, "upgrade")


def slots_step(name, *words):
    return Step(name, ("python3", "-I", f"{PROGRAMS}/slots.py", *words))


def installed_disk(wanted, disks):
    hosts = [disk for disk in disks if disk.slot]
    known = ", ".join(disk.path for disk in hosts) or "none"
    if wanted == FIRST_DISK:
        if len(hosts) != 1:
            raise Refused(f"There is not one disk with a host on it to upgrade; there are: {known}.")
        return hosts[0]
    for disk in hosts:
        if wanted in (disk.path, *disk.links):
            if disk.in_use or disk.read_only:
                raise Refused(f"The disk {wanted} is in use, or cannot be written.")
            return disk
    raise Refused(f"There is no host to upgrade on {wanted}; there are: {known}.")
