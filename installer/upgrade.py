"""What an upgrade will do, as data: the slot that does not start gets the medium's system, and GRUB
tries it once. Until the last step but the unmounting nothing of the running host has changed, so
that it may be interrupted anywhere.
"""

from answers import FIRST_DISK, Refused
from disks import SLOTS, is_free, known_paths, layout_of, require_image_fits
from plan import (PROGRAMS, STATE, UNSIGNED, Plan, Step, boot_places, check_step, image_steps,
                  last_steps, mount_steps, populated_steps, script_steps)


def plan(answers, machine):
    disk = installed_disk(answers.disk, machine.disks)
    require_image_fits(machine.image_bytes)
    if machine.secure_boot:
        raise Refused(f"{UNSIGNED} Switch it off in the firmware's setup first.")
    layout = layout_of(disk, machine.disks)
    places = [place for _, place in boot_places(layout)]
    before, after = disk.slot, SLOTS[1 - SLOTS.index(disk.slot)]
    steps = [
        check_step(machine.medium),
        *script_steps(answers.scripts, "installation-start"),
        # The power may have gone while it was written. 1: what was wrong is mended.
        *(Step(f"check the boot file system {boot}", ("fsck.fat", "-a", boot), fine=(0, 1))
          for boot in layout.boots),
        *mount_steps(layout),
        # An earlier upgrade that nobody has started yet is forgotten.
        *(slots_step("let the host start what it has", "choose", place, before)
          for place in places),
        *image_steps(layout, machine.medium, after),
        slots_step("carry settings over", "carry", STATE, before, after),
        slots_step("keep the records as they are", "keep", STATE, before, after),
        *populated_steps(answers.scripts, layout, after),
        Step("write the state out", ("sync", "--file-system", STATE)),
        *(Step("write the boot file system out", ("sync", "--file-system", place))
          for place in places),
        # The disk that firmware starts first is the last to be told: until then nothing is tried.
        *(slots_step("let the new system be tried", "try", place, after)
          for place in reversed(places)),
        *last_steps(layout),
    ]
    name = known_paths([one for one in machine.disks if one.path in layout.disks])
    return Plan(name, f"The host on {name} is about to be upgraded: its settings and VMs stay, "
                "and its system as well, until the new one is healthy.",
                steps, list(answers.notes), answers.then, "upgrade",
                after=script_steps(answers.scripts, "installation-complete"))


def slots_step(name, *words):
    return Step(name, ("python3", "-I", f"{PROGRAMS}/slots.py", *words))


def installed_disk(wanted, disks):
    """One disk of the host that is meant; of a mirror any."""
    hosts = [disk for disk in disks if disk.slot]
    known = known_paths(hosts)
    if wanted == FIRST_DISK:
        if not hosts or any(layout_of(disk, disks) != layout_of(hosts[0], disks) for disk in hosts):
            raise Refused(f"There is not one disk with a host on it to upgrade; there are: {known}.")
        return hosts[0]
    for disk in hosts:
        if wanted in (disk.path, *disk.links):
            if not is_free(disk):
                raise Refused(f"The disk {wanted} is in use, or cannot be written.")
            return disk
    raise Refused(f"There is no host to upgrade on {wanted}; there are: {known}.")
