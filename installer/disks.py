"""Where things are on the disks of a host: what a partition is for, how large, and which it is.

One disk holds all of a host, or two hold the same: then GRUB, Xen and the kernel lie on both, each
with a boot file system of its own that firmware can read, and all else in one array (RAID 1).
"""

from dataclasses import dataclass

from answers import FIRST_DISK, MISSING, Refused

MIB = 1 << 20
GIB = 1 << 30

BIOS_BYTES = 2 * MIB
BOOT_BYTES = 512 * MIB
SLOT_BYTES = 2 * GIB
STATE_BYTES = 8 * GIB
SR_BYTES_MIN = 1 * GIB
# A partition table at each end, and what alignment takes.
MARGIN_BYTES = 4 * MIB
# What an array keeps for itself: its superblock, and room to grow. Source: mdadm(8), data offset.
ARRAY_BYTES = 132 * MIB

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
LINUX_LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
LINUX_RAID = "A19D880F-05FC-4D3B-A006-743F0F84911E"

# Labels of file systems and names of partitions; the initramfs and units of the control domain
# look for these.
BOOT_LABEL = "BASALT-BOOT"
STATE_LABEL = "BASALT-STATE"
SR_LABEL = "BASALT-SR"
RAID_PART = "basalt-raid"
SR_PART = "basalt-sr"
SLOTS = ("a", "b")
# Of a local SR on several disks: dom0-image/prepare looks for it.
SR_GROUP, SR_VOLUME = "basalt-sr", "local"


@dataclass(frozen=True)
class Disk:
    path: str
    size_bytes: int
    model: str = ""
    links: tuple = ()  # other paths of the same disk: /dev/disk/by-id/...
    in_use: bool = False  # something on it is mounted
    read_only: bool = False
    slot: str = ""  # of the installation on it, the one that starts; empty: there is none
    raid: str = ""  # the array that holds most of that installation, when it is one of a mirror
    parts: tuple = ()  # names of the installation's partitions, those in the array last
    stack: tuple = ()  # (kind as lsblk has it, path) of what lies on its partitions, topmost first


@dataclass(frozen=True)
class Layout:
    """Partitions of a host. `disks`: paths of those that start it; `raid`: the array, or empty."""

    disks: tuple
    raid: str = ""

    @property
    def boots(self):
        """The boot file system of each disk."""
        return tuple(partition_path(disk, 2) for disk in self.disks)

    def inner(self, number):
        """Those after the boot file system; in an array they begin anew."""
        return partition_path(self.raid, number) if self.raid else \
            partition_path(self.disks[0], 2 + number)

    def slot(self, slot):
        return self.inner(1 + SLOTS.index(slot))

    @property
    def state(self):
        return self.inner(3)

    @property
    def local_sr(self):
        """Where there is one."""
        return self.inner(4)


def layout_of(disk, disks):
    """Of the installation on `disk`, with the others of `disks` that are in its mirror."""
    if not disk.raid:
        return Layout((disk.path,))
    return Layout(tuple(one.path for one in disks if one.raid == disk.raid), disk.raid)


def partition_path(disk, number):
    """/dev/sda3, /dev/nvme0n1p3, /dev/md127p3."""
    return f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}"


# -- partitions -----------------------------------------------------------------------------------------


def outer_parts():
    """(name, type, size in bytes or None for the rest), in their order on a disk."""
    return [("basalt-bios", BIOS_BOOT, BIOS_BYTES), ("basalt-boot", EFI_SYSTEM, BOOT_BYTES)]


def inner_parts(local_sr, sr_bytes=0, sr_type=LINUX):
    """Those of the host itself. What an SR of a size of its own leaves over stays free."""
    slots = [(f"basalt-{slot}", LINUX, SLOT_BYTES) for slot in SLOTS]
    if not local_sr:
        return [*slots, ("basalt-state", LINUX, None)]
    state = ("basalt-state", LINUX, STATE_BYTES)
    return [*slots, state, (SR_PART, sr_type, sr_bytes or None)]


def raid_part():
    return (RAID_PART, LINUX_RAID, None)


def table_text(parts):
    """What sfdisk makes them of."""
    lines = ["label: gpt"]
    for name, kind, size in parts:
        length = "" if size is None else f"size={size // MIB}MiB, "
        lines.append(f"{length}type={kind}, name={name}")
    return "\n".join(lines) + "\n"


# -- whether it can be done -----------------------------------------------------------------------------


def known_paths(disks):
    return ", ".join(disk.path for disk in disks) or "none"


def is_free(disk):
    return not disk.in_use and not disk.read_only


def choose_disk(wanted, disks):
    usable = [disk for disk in disks if is_free(disk)]
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
    raise Refused(f"There is no disk {wanted}; there are: {known_paths(usable)}.")


@dataclass(frozen=True)
class Chosen:
    """The disks that answers name. `starts`: one, or the present ones of a mirror."""

    starts: tuple
    guests: tuple
    wiped: tuple

    @property
    def all(self):
        return (*self.starts, *self.guests, *self.wiped)


def choose_disks(answers, disks):
    starts = [choose_disk(answers.disk, disks)]
    if answers.mirror not in ("", MISSING):
        starts.append(choose_disk(answers.mirror, disks))
    chosen = Chosen(tuple(starts), tuple(choose_disk(one, disks) for one in answers.guest_disks),
                    tuple(choose_disk(one, disks) for one in answers.wipe))
    paths = [disk.path for disk in chosen.all]
    for path in paths:
        # Under two names, which answers cannot know.
        if paths.count(path) > 1:
            raise Refused(f"The disk {path} is named twice.")
    return chosen


def require_alone(disks, ours):
    """File systems of a host are found by their labels: with those of another one beside them,
    nobody can say which is started. `ours`: paths of disks that are this host's, or are wiped."""
    for disk in disks:
        if disk.slot and disk.path not in ours:
            raise Refused(f"There is a host on {disk.path} too, and which of them starts would be "
                          f"left to chance: have it wiped (disk.wipe = [\"{disk.path}\"]), or take "
                          "it out.")


def require_room(answers, chosen):
    needed = BIOS_BYTES + BOOT_BYTES + 2 * SLOT_BYTES + STATE_BYTES + MARGIN_BYTES
    needed += ARRAY_BYTES + MARGIN_BYTES if answers.mirror else 0
    if answers.local_sr:
        needed += answers.sr_gib * GIB or SR_BYTES_MIN
    for disk in chosen.starts:
        if disk.size_bytes < needed:
            raise Refused(f"The disk {disk.path} has {disk.size_bytes / GIB:.1f} GiB; "
                          f"{needed / GIB:.1f} GiB are needed.")
    for disk in chosen.guests:
        if disk.size_bytes < SR_BYTES_MIN + MARGIN_BYTES:
            raise Refused(f"The disk {disk.path} is too small for the local SR.")


def require_reusable(disk):
    """A host with a local SR, whose partitions are as this installer makes them."""
    if SR_PART not in disk.parts:
        raise Refused(f"There is no host with a local SR on {disk.path}, whose partitions could be "
                      "used again.")


def require_image_fits(image_bytes):
    if image_bytes > SLOT_BYTES:
        raise Refused("The medium's system is larger than the partition for it.")
