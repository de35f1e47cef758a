"""What the machine is, as far as a plan asks: read from the kernel and from lsblk."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nics as nics_
from disks import RAID_PART, SLOTS, Disk, partition_path
from plan import Machine

MEDIUM = "/run/basalt-live/medium"
COLUMNS = "PATH,TYPE,SIZE,MODEL,RO,MOUNTPOINTS,PARTLABEL"
EFI_VARIABLES = "/sys/firmware/efi/efivars"
SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM_LETS_PASS = "MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
KEYMAPS = "/usr/share/keymaps/i386"
ZONES = "/usr/share/zoneinfo/tzdata.zi"

# The first partitions of an installation, by which it is known: on a disk of its own, or on each
# disk of a mirror and in its array.
INSTALLED = ["basalt-bios", "basalt-boot", "basalt-a", "basalt-b", "basalt-state"]
MIRRORED, IN_ARRAY = [*INSTALLED[:2], RAID_PART], INSTALLED[2:]


def read_text(path):
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


# -- disks ----------------------------------------------------------------------------------------------


def links_by_target(folder="/dev/disk/by-id"):
    """Stable names of disks -> which disk they stand for now."""
    out = {}
    place = Path(folder)
    for link in sorted(place.iterdir()) if place.is_dir() else []:
        out.setdefault(str(link.resolve()), []).append(str(link))
    return out


def children(device):
    return device.get("children", [])


def mounted(device):
    return any(device.get("mountpoints") or []) or any(map(mounted, children(device)))


def labels(device):
    return [one.get("partlabel") or "" for one in children(device) if one["type"] == "part"]


def stack_of(device):
    """(kind, path) of all that lies on a disk's partitions or on itself, the topmost first."""
    out = []
    for child in children(device):
        out += stack_of(child)
        if child["type"] not in ("part", "disk"):
            out.append((child["type"], child["path"]))
    return out


def array_on(device):
    """What a mirror's disk has most of its installation in; None: it is none, or not running."""
    for child in children(device):
        if child.get("partlabel") == RAID_PART:
            return next((one for one in children(child) if one["type"] == "raid1"), None)
    return None


def parts_of(device):
    """(names of an installation's partitions, its array's path); nothing where there is none."""
    names = labels(device)
    if names[:5] == INSTALLED:
        return tuple(names), ""
    array = array_on(device)
    if names[:3] == MIRRORED and array and labels(array)[:3] == IN_ARRAY:
        return (*names, *labels(array)), array["path"]
    return (), ""


def parse_disks(listed, links, slot_of=lambda path: ""):
    """`listed`: what lsblk says in JSON. In the order of the kernel."""
    disks = []
    for device in json.loads(listed)["blockdevices"]:
        if device["type"] != "disk" or not device["size"]:
            continue
        disk = Disk(device["path"], int(device["size"]), (device["model"] or "").strip(),
                    tuple(links.get(device["path"], ())), mounted(device), bool(device["ro"]),
                    stack=tuple(stack_of(device)))
        parts, raid = parts_of(device)
        disk = replace(disk, parts=parts, raid=raid)
        if parts and not disk.in_use:
            disk = replace(disk, slot=slot_of(disk.path))
        disks.append(disk)
    return tuple(disks)


def parse_slot(text):
    """`text`: what grub-editenv lists. Empty: there is no installation that was finished."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return values.get("slot", "") if values.get("slot") in SLOTS else ""


def read_slot(disk):
    """The slot that the installation on a disk starts, as its boot file system says."""
    with tempfile.TemporaryDirectory(prefix="basalt-boot-") as place:
        if subprocess.run(["mount", "-o", "ro", partition_path(disk, 2), place], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            return ""
        try:
            return parse_slot(subprocess.run(
                ["grub-editenv", f"{place}/grub/grubenv", "list"], capture_output=True, text=True,
                check=False).stdout)
        finally:
            subprocess.run(["umount", place], check=True)


def list_disks():
    return subprocess.run(["lsblk", "--json", "--bytes", "--tree", "--output", COLUMNS],
                          capture_output=True, text=True, check=True).stdout


def read_disks():
    # Arrays of which a disk is missing: by themselves they wait for it.
    subprocess.run(["mdadm", "--incremental", "--run", "--scan"], check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run(["udevadm", "settle", "--timeout=30"], check=False)
    return parse_disks(list_disks(), links_by_target(), read_slot)


# -- the rest -------------------------------------------------------------------------------------------


def parse_memory(text):
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def parse_lacks(text):
    """`text`: /proc/cpuinfo. Xen is built without shadow paging: without page tables of its own for
    guests (EPT, NPT), hardware virtualisation is of no use to it."""
    flags = set()
    for line in text.splitlines():
        if line.startswith("flags"):
            flags = set(line.split(":", 1)[1].split())
            break
    if not {"vmx", "svm"} & flags:
        return ("The processor offers no hardware virtualisation (VT-x or AMD-V): it has none, or "
                "the firmware's setup has switched it off.")
    if not {"ept", "npt"} & flags:
        return "The processor's hardware virtualisation lacks nested page tables (EPT or NPT)."
    return ""


def read_arrays(root="/sys/class/block"):
    return tuple(sorted(f"/dev/{path.name}" for path in Path(root).glob("md*")
                        if (path / "md").is_dir()))


def read_keymaps(root=KEYMAPS):
    found = (path.name for path in Path(root).rglob("*.kmap.gz"))
    return tuple(sorted({name.removesuffix(".kmap.gz") for name in found}))


def parse_zones(text):
    """`text`: the time zones' own list (zic(8)): Z lines define one, L lines name it again."""
    words = [line.split() for line in text.splitlines() if line[:2] in ("Z ", "L ")]
    return tuple(sorted({line[1] if line[0] == "Z" else line[2] for line in words}))


def read_variable(name, root=EFI_VARIABLES):
    """The value of a variable of the firmware; empty: there is none, or no UEFI."""
    try:
        # Four bytes say what kind of variable it is.
        return Path(root, name).read_bytes()[4:]
    except OSError:
        return b""


def read_secure_boot(root=EFI_VARIABLES):
    """Whether only what is signed is started. Shim can be told to let everything pass, and then
    says so to whom it starts."""
    return read_variable(SECURE_BOOT, root) == b"\1" and \
        read_variable(SHIM_LETS_PASS, root) != b"\1"


def read_machine(medium=MEDIUM):
    image = Path(medium) / "live/root.squashfs"
    cards = nics_.cards(Path("/"))
    return Machine(disks=read_disks(), nics={name: mac for name, mac, _ in cards},
                   slots={name: slot for name, _, slot in cards},
                   labels={name: read_text(f"/sys/class/net/{name}/device/label")
                           for name, _, _ in cards},
                   memory_bytes=parse_memory(read_text("/proc/meminfo")),
                   lacks=parse_lacks(read_text("/proc/cpuinfo")), arrays=read_arrays(),
                   secure_boot=read_secure_boot(), keymaps=read_keymaps(),
                   zones=parse_zones(read_text(ZONES)),
                   medium=medium, image_bytes=image.stat().st_size)
