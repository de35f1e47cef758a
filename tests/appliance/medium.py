"""The medium that the tests of this folder are about: made from this tree when what is on it has
changed. BASALT_ISO names one that is there already.
"""

import hashlib
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/dev"))

import build
import build_root
import iso
import web
from paths import SOURCE, DevError, cache, say

FAST_LEVEL = 3
HERE = Path(__file__).resolve().parent


def inputs(preset):
    """Files of this tree and of its build that the medium is made of."""
    tops = {SOURCE / "dom0-image", SOURCE / "iso", SOURCE / "tools/dev/iso.py"}
    for listed in (SOURCE / "dom0-image/debs").glob("*/programs"):
        for line in listed.read_text().splitlines():
            what = line.split()[0]
            tops.add((SOURCE if (SOURCE / what).exists() else build.folder(preset)) / what)
    for top in sorted(tops):
        yield from sorted(path for path in [top, *top.rglob("*")]
                          if path.is_file() and "__pycache__" not in path.parts)


def digest_of_inputs(preset):
    digest = hashlib.sha256()
    for path in inputs(preset):
        digest.update(f"{path}\0{path.stat().st_mode:o}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache
def ovmf():
    """The UEFI for guests; None on a day on which Debian's archive lacks its source, since all that
    is not about it can be tested without."""
    try:
        return iso.ensure_debian_ovmf()
    except DevError as error:
        say(str(error))
        return None


@lru_cache
def image():
    if "BASALT_ISO" in os.environ:
        return Path(os.environ["BASALT_ISO"]).absolute()
    preset = os.environ.get("BASALT_PRESET", "release")
    build.programs(preset)
    web.ensure(preset)
    made = cache() / "appliance-test/basalt.iso"
    note = made.with_name("basalt.iso.inputs")
    wanted = digest_of_inputs(preset) + (ovmf() or Path()).name
    if not made.exists() or not note.exists() or note.read_text() != wanted:
        note.unlink(missing_ok=True)
        iso.make(preset, made, FAST_LEVEL, ovmf=bool(ovmf()))
        note.write_text(wanted)
    return made


@lru_cache
def digest():
    """Of the medium, as it says itself."""
    return Path(f"{image()}.sha256").read_text().split()[0]


def has_own_xen():
    """Instead of Debian's (docs/decisions/0020)."""
    return "own-xen" in Path(f"{image()}.packages").read_text().split()


def has_own_ovmf():
    """A UEFI for guests (docs/decisions/0025)."""
    return "own-ovmf" in Path(f"{image()}.packages").read_text().split()


@lru_cache
def guests():
    """A folder with guest.img, hvm.img and own.img: guest/make."""
    made = cache() / "appliance-test/guest"
    made.mkdir(parents=True, exist_ok=True)
    subprocess.run(build_root.entered(build_root.ensure(), [
        str(HERE / "guest/make"), str(made), str(cache() / "contract-guest")]), check=True)
    return made


@lru_cache
def guests_digest():
    return hashlib.sha256(b"".join((guests() / name).read_bytes()
                                   for name in ("guest.img", "hvm.img", "own.img"))).hexdigest()


def guest_disk(folder):
    """A disk for the host with the guests' kernel on it."""
    disk = folder / "guest.qcow2"
    subprocess.run(build_root.entered(
        build_root.ensure(),
        ["qemu-img", "convert", "-q", "-O", "qcow2", str(guests() / "guest.img"), str(disk)],
        ["--bind", str(folder), str(folder)]), check=True)
    return disk
