"""What an installation will do, as data: a pure function of the answers and of what the machine is.

A plan is a list of steps that execute.py takes one by one. Its text is what the log shows, and what
the tests compare; its summary is for people.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import disks as disks_
from answers import DHCP, MISSING, NO_ADDRESS, SR_TYPES, Refused
from disks import (BOOT_LABEL, GIB, LINUX_LVM, MIB, SLOTS, SR_GROUP, SR_LABEL, SR_PART, SR_VOLUME,
                   STATE_LABEL, Layout, partition_path)

# What the host's settings say of a local SR.
SR_ON_DEVICE = "device"
# As storage-manager/drivers/device formats what is made later.
SR_FORMATS = {"ext": ("mkfs.ext4", "-q", "-F", "-m", "0"), "xfs": ("mkfs.xfs", "-q", "-f")}
MEMORY_BYTES_MIN = 1900 * MIB

WORK = "/run/basalt-install"
BOOT = f"{WORK}/boot"
STATE = f"{WORK}/state"
# The new system as it will run, for scripts.
IMAGE, ROOT = f"{WORK}/image", f"{WORK}/root"
SCRIPTS = f"{WORK}/scripts"
# Where the medium's own system has ours.
PROGRAMS = "/usr/lib/basalt"
GRUB = "/usr/lib/grub"
# What firmware finds by itself on a disk, as Debian has it signed (docs/decisions/0026).
UEFI_FILES = (("/usr/lib/shim/shimx64.efi.signed", "BOOTX64.EFI"),
              ("/usr/lib/shim/mmx64.efi.signed", "mmx64.efi"),
              (f"{GRUB}/x86_64-efi-signed/grubx64.efi.signed", "grubx64.efi"))
# The one file that the signed GRUB looks for, on the file system that it was started from.
UEFI_MENU = "EFI/debian/grub.cfg"
UEFI_MENU_TEXT = "set prefix=($root)/grub\nsource $prefix/grub.cfg\n"
UNSIGNED = "Secure Boot is on, and nobody has signed Xen: the firmware would start no host."
LOG = "/var/log/basalt-install.log"
# The highest number is what the kernel itself gives first.
ARRAYS = [f"/dev/md{number}" for number in range(127, 99, -1)]


@dataclass(frozen=True)
class Machine:
    disks: tuple
    nics: dict  # name -> MAC, as they are called now
    memory_bytes: int
    lacks: str  # in hardware, for guests of all kinds; a sentence. Empty: nothing
    medium: str  # where it is mounted
    image_bytes: int
    slots: dict = field(default_factory=dict)  # name -> the PCI slot of a network device
    labels: dict = field(default_factory=dict)  # name -> what the firmware calls it
    arrays: tuple = ()  # paths of arrays that the kernel has
    keymaps: tuple = ()
    zones: tuple = ()  # empty: nobody knows
    secure_boot: bool = False  # the firmware starts only what is signed


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
    what: str  # what is about to happen to the disks, in a sentence
    steps: list
    notes: list = field(default_factory=list)
    then: str = "reboot"
    word: str = "install"  # by which a person says yes
    summary: list = field(default_factory=list)  # (what, how) for people
    # Taken in any case, with one word more: 0 when all went well, else 1. Their failure is none.
    after: list = field(default_factory=list)


def plan(answers, machine):
    require_machine(answers, machine)
    chosen = disks_.choose_disks(answers, machine.disks)
    disks_.require_image_fits(machine.image_bytes)
    names = card_names(answers.network.names, machine)
    nics = {name: mac for mac, name in names.items()}
    cards = tuple(choose_nic(one, nics)
                  for one in answers.network.bond or (answers.network.device,))
    if len(set(cards)) != len(cards):
        raise Refused("A bond is made of different network devices.")
    notes = list(answers.notes)
    if machine.lacks:
        notes.append(f"{machine.lacks} Only PV guests can run.")
    if machine.secure_boot:
        notes.append("Secure Boot is on. The host does not start before it is switched off in the "
                     "firmware's setup.")
    if answers.mirror == MISSING:
        notes.append("The mirror has one disk. Until the second is put in, nothing is safe from "
                     "the loss of the first.")
    layout, disk_steps = (reuse_steps if answers.reuse else fresh_steps)(answers, chosen, machine)
    disks_.require_alone(machine.disks, {*layout.disks, *(disk.path for disk in chosen.all)})
    steps = [
        check_step(machine.medium),
        *script_steps(answers.scripts, "installation-start"),
        *disk_steps,
        *mount_steps(layout),
        *system_steps(layout, machine.medium),
        *settings_steps(answers, cards, card_map(names, machine)),
        *populated_steps(answers.scripts, layout, SLOTS[0]),
        *last_steps(layout),
    ]
    erased = disks_.known_paths(chosen.all)
    what = f"The disk{'s' if len(chosen.all) > 1 else ''} {erased} " \
           f"{'are' if len(chosen.all) > 1 else 'is'} about to be erased."
    if answers.reuse:
        what = f"The host on {erased} is about to be erased; its local SR stays."
    return Plan(erased, what, steps, notes, answers.then,
                summary=summary_of(answers, chosen, cards, nics),
                after=script_steps(answers.scripts, "installation-complete"))


# -- whether it can be done -----------------------------------------------------------------------------


def require_machine(answers, machine):
    if machine.memory_bytes < MEMORY_BYTES_MIN:
        raise Refused(f"This machine has {machine.memory_bytes // MIB} MiB of memory; "
                      "a host needs 2 GiB.")
    if not machine.nics:
        raise Refused("There is no network device that this system knows.")
    if machine.lacks and not answers.pv_only:
        raise Refused(f"{machine.lacks} Only PV guests could run. If that will do, say so: "
                      "host.pv_only = true.")
    if machine.secure_boot and not answers.despite_secure_boot:
        raise Refused(f"{UNSIGNED} Switch it off in the firmware's setup. If that is to follow "
                      "the installation, say so: host.despite_secure_boot = true.")
    if answers.keymap not in ("us", *machine.keymaps):
        raise Refused(f"There is no keyboard {answers.keymap!r} here.")
    if machine.zones and answers.timezone not in machine.zones:
        raise Refused(f"There is no time zone {answers.timezone!r} here.")


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


def card_of(what, machine):
    """The MAC of the card that has this MAC, PCI slot or label."""
    for name, mac in machine.nics.items():
        if what.lower() in (mac, machine.slots.get(name, "").lower(),
                            machine.labels.get(name, "").lower()):
            return mac
    raise Refused(f"There is no network device {what!r} that could be given a name.")


def card_names(wanted, machine):
    """MAC -> name. Those that are not named in `wanted` keep the names that they have now, unless
    these are given away; then they get the next free ones."""
    names = {}
    for name, what in wanted:
        mac = card_of(what, machine)
        if mac in names:
            raise Refused(f"The network device {what!r} is named twice.")
        names[mac] = name
    rest = sorted((name, mac) for name, mac in machine.nics.items()
                  if name.startswith("eth") and mac not in names)
    for name, mac in [*(one for one in rest if one[0] not in names.values()),
                      *(one for one in rest if one[0] in names.values())]:
        taken = names.values()
        free = (f"eth{number}" for number in range(100) if f"eth{number}" not in taken)
        names[mac] = name if name not in taken else next(free)
    return names


# -- disks ----------------------------------------------------------------------------------------------


def check_step(medium):
    return Step("check the medium", ("sha256sum", "--check", "--quiet", "sha256sums"), folder=medium)


def fresh_steps(answers, chosen, machine):
    """(layout, steps)"""
    disks_.require_room(answers, chosen)
    raid = free_array(chosen, machine.arrays) if answers.mirror else ""
    layout = Layout(tuple(disk.path for disk in chosen.starts), raid)
    guests = [partition_path(disk.path, 1) for disk in chosen.guests]
    is_group = len(guests) + answers.local_sr > 1
    inner = disks_.inner_parts(answers.local_sr, answers.sr_gib * GIB,
                               LINUX_LVM if is_group else disks_.LINUX)
    outer = [*disks_.outer_parts(), *([disks_.raid_part()] if raid else inner)]
    steps = [*release_steps(chosen.all), *(forget_step(disk) for disk in chosen.all)]
    steps += [table_step(disk.path, outer) for disk in chosen.starts]
    steps += [table_step(disk.path, [(SR_PART, LINUX_LVM if is_group else disks_.LINUX, None)])
              for disk in chosen.guests]
    steps.append(SETTLE)
    if raid:
        steps += array_steps(raid, layout.disks, inner)
    steps += file_system_steps(layout)
    members = [*([layout.local_sr] if answers.local_sr else []), *guests]
    return layout, steps + sr_steps(members, answers.sr_type)


def reuse_steps(answers, chosen, machine):
    """(layout, steps): the partitions are as an earlier installation made them."""
    disks_.require_reusable(chosen.starts[0])
    layout = disks_.layout_of(chosen.starts[0], machine.disks)
    steps = [*release_steps(chosen.wiped), *(forget_step(disk) for disk in chosen.wiped)]
    return layout, steps + file_system_steps(layout)


SETTLE = Step("wait for the partitions", ("udevadm", "settle", "--timeout=60"))


def release_steps(chosen):
    """What the kernel has made of old contents must go before they can."""
    steps = []
    for disk in chosen:
        for kind, path in disk.stack:
            step = Step(f"let go of the array {path}", ("mdadm", "--stop", path)) \
                if kind.startswith("raid") or kind == "linear" else \
                Step(f"let go of the volume {path}", ("dmsetup", "remove", "--retry", path))
            # Two disks of one array both tell of it.
            if step not in steps:
                steps.append(step)
    return steps


def forget_step(disk):
    return Step(f"forget what was on {disk.path}", ("wipefs", "--all", "--force", disk.path))


def table_step(path, parts):
    return Step(f"partition {path}", ("sfdisk", "--wipe=always", "--wipe-partitions=always", path),
                text=disks_.table_text(parts))


def free_array(chosen, arrays):
    """A name for a new one. Those that are let go of leave theirs."""
    gone = {path for disk in chosen.all for _, path in disk.stack}
    return next(path for path in ARRAYS if path not in arrays or path in gone)


def array_steps(raid, disks, parts):
    """Of one disk, and of one that is missing, as well as of two."""
    members = [partition_path(disk, 3) for disk in disks]
    members += [MISSING] * (2 - len(members))
    return [
        Step("make the array of both disks",
             ("mdadm", "--create", raid, "--run", "--level=1", "--raid-devices=2",
              "--metadata=1.2", "--bitmap=internal", "--homehost=any", "--name=basalt", *members)),
        table_step(raid, parts),
        SETTLE,
    ]


def file_system_steps(layout):
    """Those of a host. There is a boot file system on each disk that starts it."""
    return [
        *(Step(f"make the boot file system on {boot}",
               ("mkfs.vfat", "-F", "32", "-n", BOOT_LABEL, boot)) for boot in layout.boots),
        Step("make the file system of the host's state",
             ("mkfs.ext4", "-q", "-F", "-L", STATE_LABEL, layout.state)),
    ]


def sr_steps(members, sr_type):
    """The local SR on what it has: a partition, or several as one volume."""
    if not members:
        return []
    steps, place = [], members[0]
    if len(members) > 1:
        place = f"/dev/{SR_GROUP}/{SR_VOLUME}"
        steps = [
            Step("prepare the disks of the local SR", ("pvcreate", "--yes", "-ff", *members)),
            Step("join the disks of the local SR", ("vgcreate", SR_GROUP, *members)),
            Step("make the local SR's volume",
                 ("lvcreate", "--yes", "--extents=100%FREE", f"--name={SR_VOLUME}", SR_GROUP)),
        ]
    return [*steps, Step("make the file system of the local SR",
                         (*SR_FORMATS[sr_type], "-L", SR_LABEL, place))]


def boot_places(layout):
    """(partition, where it is mounted)"""
    return [(boot, BOOT if number == 0 else f"{BOOT}{number + 1}")
            for number, boot in enumerate(layout.boots)]


def mount_steps(layout):
    places = boot_places(layout)
    return [Step("make places to mount at",
                 ("mkdir", "-p", *(place for _, place in places), STATE)),
            *(Step(f"mount the boot file system {boot}", ("mount", boot, place))
              for boot, place in places),
            Step("mount the state", ("mount", layout.state, STATE))]


def last_steps(layout):
    steps = [Step("keep the log", ("cp", LOG, f"{STATE}/shared/install.log")),
             *(Step(f"let go of the boot file system {boot}", ("umount", place))
               for boot, place in boot_places(layout)),
             Step("let go of the state", ("umount", STATE)),
             *(Step(f"write everything out to {disk}", ("blockdev", "--flushbufs", disk))
               for disk in layout.disks)]
    if layout.raid:
        steps += [Step("write everything out to the array",
                       ("blockdev", "--flushbufs", layout.raid)),
                  # 1: the local SR's volume holds it, and the machine's end lets go of both.
                  Step("let go of the array", ("mdadm", "--stop", layout.raid), fine=(0, 1))]
    return steps


# -- the system -----------------------------------------------------------------------------------------


# What one system of a host brings for GRUB.
MENUS = ("menu.cfg", "secure-boot.cfg")


def image_steps(layout, medium, slot):
    """The system itself, and what GRUB starts it with, from each disk."""
    files = [f"{medium}/boot/{name}" for name in ("xen.gz", "vmlinuz", "initrd.img")]
    steps = [Step("write the system", ("dd", f"if={medium}/live/root.squashfs",
                                       f"of={layout.slot(slot)}", "bs=4M", "conv=fsync",
                                       "status=none"))]
    for _, place in boot_places(layout):
        target = f"{place}/{slot}"
        steps += [
            Step("forget what the slot started with", ("rm", "-rf", target)),
            Step("make the slot's folder", ("mkdir", target)),
            Step("copy Xen and the kernel",
                 ("cp", *files, *(f"{PROGRAMS}/installer/{name}" for name in MENUS), target)),
        ]
    return steps


def system_steps(layout, medium):
    slot = SLOTS[0]
    steps = image_steps(layout, medium, slot)
    for disk, (_, place) in zip(layout.disks, boot_places(layout), strict=True):
        steps += [
            *grub_steps(disk, place),
            Step("copy the menu",
                 ("cp", f"{PROGRAMS}/installer/grub.cfg", f"{place}/grub/grub.cfg")),
            Step("choose the slot",
                 ("grub-editenv", f"{place}/grub/grubenv", "set", f"slot={slot}")),
        ]
    return steps


def grub_steps(disk, place):
    """GRUB's files are at `place`, by which firmware of both kinds finds them on `disk`. For UEFI
    it is Debian's signed one behind Debian's shim, byte for byte; where Secure Boot is off, it
    loads the rest of itself (multiboot2) from the modules beside it, of the same version."""
    return [
        Step(f"install GRUB for BIOS on {disk}",
             ("grub-install", "--no-floppy", f"--boot-directory={place}",
              "--modules=part_gpt fat", "--target=i386-pc", disk)),
        Step("make the folders of GRUB for UEFI",
             ("mkdir", "-p", f"{place}/EFI/BOOT", str(Path(place, UEFI_MENU).parent))),
        *(Step(f"install {name} for UEFI on {disk}", ("cp", source, f"{place}/EFI/BOOT/{name}"))
          for source, name in UEFI_FILES),
        Step("copy GRUB's modules for UEFI", ("cp", "-r", f"{GRUB}/x86_64-efi", f"{place}/grub")),
        Step("tell GRUB for UEFI where they are", path=f"{place}/{UEFI_MENU}",
             text=UEFI_MENU_TEXT),
    ]


def card_map(names, machine):
    """As dom0-image/prepare/nics.py has it: a card that is put where another was gets its name."""
    slots = {mac: machine.slots.get(name, "") for name, mac in machine.nics.items()}
    return [{"mac": mac, "slot": slots[mac], "name": name}
            for mac, name in sorted(names.items(), key=lambda pair: pair[1])]


def settings_steps(answers, cards, listed):
    """The host reads them at each boot: dom0-image/prepare. `listed`: its network cards."""
    network = answers.network
    settings = {
        "hostname": answers.hostname,
        "password_hash": answers.password_hash,
        "timezone": answers.timezone,
        "keymap": answers.keymap,
        "ntp": list(answers.ntp),
        "ntp_source": answers.settled_ntp_source(),
        "local_sr": SR_ON_DEVICE if answers.local_sr or answers.guest_disks else False,
        "network": {"mac": "" if network.bond else cards[0], "address": network.address,
                    "gateway": network.gateway, "dns": list(network.dns),
                    "bond": list(cards) if network.bond else [], "bond_mode": network.bond_mode,
                    "vlan": network.vlan, "ipv6": network.ipv6, "gateway6": network.gateway6,
                    "backend": network.backend},
    }
    shared = f"{STATE}/shared"
    return [
        Step("make the folder of the state", ("mkdir", "-p", shared)),
        Step("keep the answers", path=f"{shared}/install.json", mode=0o600,
             text=json.dumps(settings, indent=1) + "\n"),
        Step("keep the names of the network cards", path=f"{shared}/nics.json",
             text=json.dumps(listed, indent=1) + "\n"),
    ]


# -- scripts --------------------------------------------------------------------------------------------


def script_path(number):
    """Where install.py puts the one with this number among all."""
    return f"{SCRIPTS}/{number}"


def script_steps(scripts, stage, *words):
    return [Step(f"run the script {one.url} ({stage})", (script_path(number), *words))
            for number, one in enumerate(scripts) if one.stage == stage]


def populated_steps(scripts, layout, slot):
    """Scripts that look at the new system or change it: what they write lies in its layer, as what
    is written when it runs."""
    runs = [*script_steps(scripts, "packages-installed", ROOT),
            *script_steps(scripts, "filesystem-populated", ROOT)]
    if not runs:
        return []
    layer = f"{STATE}/slots/{slot}"
    options = f"lowerdir={IMAGE},upperdir={layer}/upper,workdir={layer}/work"
    return [
        Step("make places for the new system",
             ("mkdir", "-p", IMAGE, ROOT, f"{layer}/upper", f"{layer}/work")),
        Step("mount the new system",
             ("mount", "-t", "squashfs", "-o", "ro", layout.slot(slot), IMAGE)),
        Step("mount its layer", ("mount", "-t", "overlay", "-o", options, "overlay", ROOT)),
        *runs,
        Step("let go of its layer", ("umount", ROOT)),
        Step("let go of the new system", ("umount", IMAGE)),
    ]


# -- for people -----------------------------------------------------------------------------------------


def summary_of(answers, chosen, cards, nics):
    """[(what, how)]: what a person has to agree to."""
    network = answers.network
    by_mac = {mac: name for name, mac in nics.items()}
    named = ", ".join(by_mac.get(mac, mac) for mac in cards if mac)
    device = named or "the first on which a DHCP server answers"
    if network.bond:
        device = f"bond of {named} ({network.bond_mode})"
    if network.vlan:
        device += f", VLAN {network.vlan}"
    four = {"": "by DHCP", NO_ADDRESS: "none"}.get(network.address, network.address)
    lines = [("Disk", describe_disk(answers, chosen)),
             ("Local SR", describe_sr(answers, chosen)),
             ("Management", device),
             ("IPv4", four + (f", router {network.gateway}" if network.gateway else ""))]
    if network.ipv6:
        router = f", router {network.gateway6}" if network.gateway6 else ""
        six = "by DHCP" if network.ipv6 == DHCP else network.ipv6
        lines.append(("IPv6", six + router))
    if network.backend == "bridge":
        lines.append(("Switch", "the kernel's bridges"))
    if network.dns:
        lines.append(("Name servers", ", ".join(network.dns)))
    source = answers.settled_ntp_source()
    lines += [("Host name", answers.hostname or "by DHCP"),
              ("Time zone", answers.timezone),
              ("Time from", ", ".join(answers.ntp) if source == "manual" else source),
              ("Keyboard", answers.keymap)]
    return lines + [("Script", f"{one.url} ({one.stage})") for one in answers.scripts]


def describe_disk(answers, chosen):
    disks = " and ".join(f"{disk.path} ({disk.size_bytes / GIB:.1f} GiB)" for disk in chosen.starts)
    if answers.mirror:
        disks += ", a mirror" if answers.mirror != MISSING else ", a mirror with one disk missing"
    if chosen.wiped:
        disks += f"; wiped: {disks_.known_paths(chosen.wiped)}"
    return disks + ("; partitions are used again" if answers.reuse else "")


def describe_sr(answers, chosen):
    if answers.reuse:
        return "stays, with what is in it"
    if not answers.local_sr and not chosen.guests:
        return "none"
    places = []
    if answers.local_sr:
        places.append(f"{answers.sr_gib} GiB" if answers.sr_gib else "the rest of the disk")
    places += [disk.path for disk in chosen.guests]
    return f"files on {SR_TYPES[answers.sr_type]}: {', '.join(places)}"


def describe(step):
    if step.argv:
        return f"{step.name}: {' '.join(step.argv)}"
    return f"{step.name}: {step.path} (mode {step.mode:o})"


def text_of(made):
    """All of it but what is secret."""
    lines = [f"disk {made.disk}", *(f"{what}: {how}" for what, how in made.summary),
             *(f"note: {note}" for note in made.notes)]
    for step in made.steps:
        lines.append(describe(step))
        if step.argv:
            lines += [f"    {line}" for line in step.text.splitlines()]
    lines += [f"in any case {describe(step)} 0|1" for step in made.after]
    return "\n".join([*lines, f"then {made.then}"]) + "\n"
