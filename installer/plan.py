"""What an installation will do, as data: a pure function of the answers and of what the machine is.

A plan is a list of steps that execute.py takes one by one. Its text is what the summary shows, and
what the tests compare.
"""

import json
from dataclasses import dataclass, field

from answers import FIRST_DISK, Refused

MIB = 1 << 20
GIB = 1 << 30

BIOS_BYTES = 2 * MIB
BOOT_BYTES = 512 * MIB
SLOT_BYTES = 2 * GIB
STATE_BYTES = 8 * GIB
SR_BYTES_MIN = 1 * GIB
# A partition table at each end, and what alignment takes.
MARGIN_BYTES = 4 * MIB
MEMORY_BYTES_MIN = 1900 * MIB

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

# Labels of file systems and names of partitions; the initramfs and units of the control domain
# look for these.
BOOT_LABEL = "BASALT-BOOT"
STATE_LABEL = "BASALT-STATE"
SR_LABEL = "BASALT-SR"
SLOTS = ("a", "b")

WORK = "/run/basalt-install"
BOOT = f"{WORK}/boot"
STATE = f"{WORK}/state"
# Where the medium's own system has ours.
PROGRAMS = "/usr/lib/basalt"


@dataclass(frozen=True)
class Disk:
    path: str
    size_bytes: int
    model: str = ""
    links: tuple = ()  # other paths of the same disk: /dev/disk/by-id/...
    in_use: bool = False  # something on it is mounted
    read_only: bool = False
    slot: str = ""  # of the installation on it, the one that starts; empty: there is none


@dataclass(frozen=True)
class Machine:
    disks: tuple
    nics: dict  # name -> MAC
    memory_bytes: int
    virtualises: bool  # the processor can, and the firmware lets it
    medium: str  # where it is mounted
    image_bytes: int


@dataclass(frozen=True)
class Step:
    """`argv`: run it, `text` on its standard input. `path`: write `text` there. Else nothing acts."""

    name: str
    argv: tuple = ()
    path: str = ""
    text: str = ""
    mode: int = 0o644
    folder: str = ""  # where argv runs
    fine: tuple = (0,)  # with what argv may end


@dataclass(frozen=True)
class Plan:
    disk: str
    what: str  # what is about to happen to the disk, in a sentence
    steps: list
    notes: list = field(default_factory=list)
    then: str = "reboot"
    word: str = "install"  # by which a person says yes


def plan(answers, machine):
    require_machine(machine)
    disk = choose_disk(answers.disk, machine.disks)
    require_room(disk, answers.local_sr, machine.image_bytes)
    nic = choose_nic(answers.network.device, machine.nics)
    notes = list(answers.notes)
    if not machine.virtualises:
        notes.append("The processor offers no hardware virtualisation: only PV guests can run.")
    parts = partitions(answers.local_sr)
    steps = [
        check_step(machine.medium),
        *partition_steps(disk, parts),
        *file_system_steps(disk, parts),
        *system_steps(disk, machine.medium),
        *settings_steps(answers, nic, machine.nics),
        *last_steps(disk),
    ]
    return Plan(disk.path, f"The disk {disk.path} is about to be erased.", steps, notes, answers.then)


# -- whether it can be done -----------------------------------------------------------------------------


def require_machine(machine):
    if machine.memory_bytes < MEMORY_BYTES_MIN:
        raise Refused(f"This machine has {machine.memory_bytes // MIB} MiB of memory; "
                      "a host needs 2 GiB.")
    if not machine.nics:
        raise Refused("There is no network device that this system knows.")


def choose_disk(wanted, disks):
    usable = [disk for disk in disks if not disk.in_use and not disk.read_only]
    if wanted == FIRST_DISK:
        if not usable:
            raise Refused("There is no disk to install on.")
        return usable[0]
    for disk in disks:
        if wanted not in (disk.path, *disk.links):
            continue
        if disk not in usable:
            raise Refused(f"The disk {wanted} is in use, or cannot be written.")
        return disk
    known = ", ".join(disk.path for disk in usable) or "none"
    raise Refused(f"There is no disk {wanted}; there are: {known}.")


def require_room(disk, local_sr, image_bytes):
    needed = BIOS_BYTES + BOOT_BYTES + 2 * SLOT_BYTES + STATE_BYTES + MARGIN_BYTES
    needed += SR_BYTES_MIN if local_sr else 0
    if disk.size_bytes < needed:
        raise Refused(f"The disk {disk.path} has {disk.size_bytes / GIB:.1f} GiB; "
                      f"{needed / GIB:.1f} GiB are needed.")
    require_image_fits(image_bytes)


def require_image_fits(image_bytes):
    if image_bytes > SLOT_BYTES:
        raise Refused("The medium's system is larger than the partition for it.")


def choose_nic(wanted, nics):
    """The MAC: names may change with the hardware. Empty: whichever a server answers on."""
    if not wanted:
        return ""
    if wanted in nics:
        return nics[wanted]
    if wanted.lower() in nics.values():
        return wanted.lower()
    known = ", ".join(f"{name} ({mac})" for name, mac in sorted(nics.items()))
    raise Refused(f"There is no network device {wanted}; there are: {known}.")


# -- the steps ------------------------------------------------------------------------------------------


def partitions(local_sr):
    """(name, type, size in bytes or None for the rest), in their order on the disk."""
    first = [("basalt-bios", BIOS_BOOT, BIOS_BYTES), ("basalt-boot", EFI_SYSTEM, BOOT_BYTES)]
    slots = [(f"basalt-{slot}", LINUX, SLOT_BYTES) for slot in SLOTS]
    if local_sr:
        return [*first, *slots, ("basalt-state", LINUX, STATE_BYTES), ("basalt-sr", LINUX, None)]
    return [*first, *slots, ("basalt-state", LINUX, None)]


def partition_path(disk, number):
    """/dev/sda3, /dev/nvme0n1p3."""
    return f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}"


def slot_path(disk, slot):
    """The partition of a slot, which every layout has at the same place."""
    return partition_path(disk.path, 3 + SLOTS.index(slot))


def check_step(medium):
    return Step("check the medium", ("sha256sum", "--check", "--quiet", "sha256sums"), folder=medium)


def last_steps(disk):
    return [Step("let go of the boot partition", ("umount", BOOT)),
            Step("let go of the state", ("umount", STATE)),
            Step("write everything out", ("blockdev", "--flushbufs", disk.path))]


def partition_steps(disk, parts):
    lines = ["label: gpt"]
    for name, kind, size in parts:
        length = "" if size is None else f"size={size // MIB}MiB, "
        lines.append(f"{length}type={kind}, name={name}")
    return [
        Step("forget what was on the disk", ("wipefs", "--all", "--force", disk.path)),
        Step("partition the disk", ("sfdisk", "--wipe=always", "--wipe-partitions=always",
                                    disk.path), text="\n".join(lines) + "\n"),
        Step("wait for the partitions", ("udevadm", "settle", "--timeout=60")),
    ]


def file_system_steps(disk, parts):
    place = {name: partition_path(disk.path, number) for number, (name, _, _) in enumerate(parts, 1)}
    ext4 = ("mkfs.ext4", "-q", "-F", "-L")
    steps = [
        Step("make the boot file system",
             ("mkfs.vfat", "-F", "32", "-n", BOOT_LABEL, place["basalt-boot"])),
        Step("make the file system of the host's state",
             (*ext4, STATE_LABEL, place["basalt-state"])),
    ]
    if "basalt-sr" in place:
        steps.append(Step("make the file system of the local SR",
                          (*ext4, SR_LABEL, "-m", "0", place["basalt-sr"])))
    return [*steps, *mount_steps(disk)]


def mount_steps(disk):
    return [Step("make places to mount at", ("mkdir", "-p", BOOT, STATE)),
            Step("mount the boot file system", ("mount", partition_path(disk.path, 2), BOOT)),
            Step("mount the state", ("mount", partition_path(disk.path, 5), STATE))]


def image_steps(disk, medium, slot):
    """The system itself, and what GRUB starts it with."""
    target = f"{BOOT}/{slot}"
    files = [f"{medium}/boot/{name}" for name in ("xen.gz", "vmlinuz", "initrd.img")]
    return [
        Step("write the system", ("dd", f"if={medium}/live/root.squashfs",
                                  f"of={slot_path(disk, slot)}", "bs=4M", "conv=fsync",
                                  "status=none")),
        Step("forget what the slot started with", ("rm", "-rf", target)),
        Step("make the slot's folder", ("mkdir", target)),
        Step("copy Xen and the kernel", ("cp", *files, f"{PROGRAMS}/installer/menu.cfg", target)),
    ]


def system_steps(disk, medium):
    slot = SLOTS[0]
    grub = ("grub-install", "--no-floppy", f"--boot-directory={BOOT}", "--modules=part_gpt fat")
    return [
        *image_steps(disk, medium, slot),
        Step("install GRUB for BIOS", (*grub, "--target=i386-pc", disk.path)),
        Step("install GRUB for UEFI", (*grub, "--target=x86_64-efi", f"--efi-directory={BOOT}",
                                       "--removable", "--no-nvram")),
        Step("copy the menu", ("cp", f"{PROGRAMS}/installer/grub.cfg", f"{BOOT}/grub/grub.cfg")),
        Step("choose the slot", ("grub-editenv", f"{BOOT}/grub/grubenv", "set", f"slot={slot}")),
    ]


def settings_steps(answers, nic, nics):
    """The host reads them at each boot: dom0-image/prepare. Its network cards are called there as
    they are here."""
    names = [{"mac": mac, "slot": "", "name": name} for name, mac in sorted(nics.items())
             if name.startswith("eth")]
    settings = {
        "hostname": answers.hostname,
        "password_hash": answers.password_hash,
        "timezone": answers.timezone,
        "ntp": list(answers.ntp),
        "network": {"mac": nic, "address": answers.network.address,
                    "gateway": answers.network.gateway, "dns": list(answers.network.dns)},
    }
    shared = f"{STATE}/shared"
    return [
        Step("make the folder of the state", ("mkdir", "-p", shared)),
        Step("keep the answers", path=f"{shared}/install.json", mode=0o600,
             text=json.dumps(settings, indent=1) + "\n"),
        Step("keep the names of the network cards", path=f"{shared}/nics.json",
             text=json.dumps(names, indent=1) + "\n"),
    ]


# -- for people -----------------------------------------------------------------------------------------


def describe(step):
    if step.argv:
        return f"{step.name}: {' '.join(step.argv)}"
    return f"{step.name}: {step.path} (mode {step.mode:o})"


def text_of(made):
    """All of it but what is secret."""
    lines = [f"disk {made.disk}", *(f"note: {note}" for note in made.notes)]
    for step in made.steps:
        lines.append(describe(step))
        if step.argv:
            lines += [f"    {line}" for line in step.text.splitlines()]
    return "\n".join([*lines, f"then {made.then}"]) + "\n"
