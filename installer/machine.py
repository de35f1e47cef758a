"""What the machine is, as far as a plan asks: read from the kernel and from lsblk."""

import json
import subprocess
from pathlib import Path

from plan import Disk, Machine

MEDIUM = "/run/basalt-live/medium"
COLUMNS = "PATH,TYPE,SIZE,MODEL,RO,MOUNTPOINTS"


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


def parse_disks(listed, links):
    """`listed`: what lsblk says in JSON. In the order of the kernel."""
    disks = []
    for device in json.loads(listed)["blockdevices"]:
        if device["type"] != "disk" or not device["size"]:
            continue
        disks.append(Disk(device["path"], int(device["size"]), (device["model"] or "").strip(),
                          tuple(links.get(device["path"], ())), mounted(device),
                          bool(device["ro"])))
    return tuple(disks)


def read_disks():
    listed = subprocess.run(["lsblk", "--json", "--bytes", "--tree", "--output", COLUMNS],
                            capture_output=True, text=True, check=True).stdout
    return parse_disks(listed, links_by_target())


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
