"""The guest image, made once for each version of its recipe."""

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

import apt
import build_root
from paths import SOURCE, DevError, alone, cache, need_root, say

RECIPE = SOURCE / "tools/guest"


def recipe_hash():
    digest = hashlib.sha256()
    for path in sorted(path for path in RECIPE.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(RECIPE)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def ensure():
    """The path of the image (qcow2), made first if need be."""
    image = cache() / f"guest-{recipe_hash()}.qcow2"
    if image.exists():
        return image
    need_root("making the guest image")
    with alone(cache() / "guest.lock"):
        if not image.exists():
            make(image)
    return image


def make(image):
    say("making the guest image, a small Debian 13 (about a minute, once)")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".guest-") as scratch:
        (Path(scratch) / "sources.list").write_text(apt.sources())
        (Path(scratch) / "apt.conf").write_text(apt.carried_options())
        made = Path(scratch) / "guest.qcow2"
        command = [str(RECIPE / "build.sh"), f"{scratch}/sources.list", f"{scratch}/apt.conf", str(made)]
        argv = build_root.entered(build_root.ensure(), command)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
            for line in job.stdout:
                say(f"[{time.monotonic() - start:3.0f} s] {line.rstrip()}")
        if job.returncode != 0:
            raise DevError("the guest image could not be made")
        made.rename(image)
