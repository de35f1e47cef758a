"""What the machine is, as far as a plan asks: read from the kernel and from lsblk."""

import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from plan import SLOTS, Disk, Machine, partition_path

MEDIUM = "/run/basalt-live/medium"
COLUMNS = "PATH,TYPE,SIZE,MODEL,RO,MOUNTPOINTS,PARTLABEL"


# The first partitions of an installation, by which it is known.
INSTALLED = ["basalt-bios", "basalt-boot", "basalt-a", "basalt-b", "basalt-state"]


def read_text(path):
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def links_by_target(folder="/dev/disk/by-id"):
    """Stable names of disks -> which disk they stand for now."""
    out = {}
    place = Path(folder)
    for link in sorted(place.iterdir()) if place.is_dir() else []:
        out.setdefault(str(link.resolve()), []).append(str(link))
    return out


def mounted(device):
    return any(device.get("mountpoints") or []) or any(map(mounted, device.get("children", [])))


def labels(device):
    return [one.get("partlabel") for one in device.get("children", [])]


def parse_disks(listed, links, slot_of=lambda path: ""):
    """`listed`: what lsblk says in JSON. In the order of the kernel."""
    disks = []
    for device in json.loads(listed)["blockdevices"]:
        if device["type"] != "disk" or not device["size"]:
            continue
        disk = Disk(device["path"], int(device["size"]), (device["model"] or "").strip(),
                    tuple(links.get(device["path"], ())), mounted(device), bool(device["ro"]))
        if labels(device)[:5] == INSTALLED and not disk.in_use:
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


def read_disks():
    listed = subprocess.run(["lsblk", "--json", "--bytes", "--tree", "--output", COLUMNS],
                            capture_output=True, text=True, check=True).stdout
    return parse_disks(listed, links_by_target(), read_slot)


def read_nics(root="/sys/class/net"):
    """Network devices with hardware below: name -> MAC."""
    return {path.name: read_text(path / "address").lower() for path in sorted(Path(root).iterdir())
            if (path / "device").exists()}


def parse_memory(text):
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def parse_virtualises(text):
    for line in text.splitlines():
        if line.startswith("flags"):
            return bool({"vmx", "svm"} & set(line.split(":", 1)[1].split()))
    return False


def read_machine():
    image = Path(MEDIUM) / "live/root.squashfs"
    return Machine(disks=read_disks(), nics=read_nics(),
                   memory_bytes=parse_memory(read_text("/proc/meminfo")),
                   virtualises=parse_virtualises(read_text("/proc/cpuinfo")),
                   medium=MEDIUM, image_bytes=image.stat().st_size)
