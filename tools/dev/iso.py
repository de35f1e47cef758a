"""`./dev iso`: the medium that a server boots from, made from this tree and Debian's packages."""

import hashlib
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import apt
import build
import build_root
import web
from paths import SOURCE, DevError, cache, need_root, say

DOM0 = SOURCE / "dom0-image"
# What the root is made of before our packages come onto it.
BASE_PARTS = ("base.sh", "packages", "overlay")
FIRMWARE_PART = "firmware"
# Microcode for Intel's processors needs a tool of contrib.
FIRMWARE_COMPONENTS = "main contrib non-free-firmware"
LEVEL = 15


def add_tree(digest, top, beside):
    """What lies at `top`, by its names below the folder `beside`."""
    for path in sorted(path for path in [top, *top.rglob("*")] if path.is_file()):
        name = path.relative_to(beside)
        digest.update(f"{name}\0{path.stat().st_mode:o}\0".encode() + path.read_bytes())


def digest_of_scripts(*scripts):
    digest = hashlib.sha256()
    for script in scripts:
        add_tree(digest, DOM0 / script, DOM0)
    return digest


def base_hash(firmware):
    digest = hashlib.sha256()
    for part in (*BASE_PARTS, *([FIRMWARE_PART] if firmware else [])):
        add_tree(digest, DOM0 / part, DOM0)
    return digest.hexdigest()[:12]


def logged(command, epoch=None):
    """Runs inside the build root, which passes the output on line by line."""
    start = time.monotonic()
    extra = ["--setenv", "SOURCE_DATE_EPOCH", str(epoch)] if epoch is not None else []
    argv = build_root.entered(build_root.ensure(), command, extra)
    # A mount namespace of its own: whatever is mounted on the way ends with it.
    with subprocess.Popen(["unshare", "--mount", *argv], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as job:
        for line in job.stdout:
            say(f"[{time.monotonic() - start:3.0f} s] {line.rstrip()}")
    if job.returncode != 0:
        raise DevError(f"{Path(command[0]).name} ended with {job.returncode}")


def ensure_base(firmware=True):
    """The folder of the control domain's root as far as it is Debian's, made first if need be.
    `firmware`: with what hardware loads, which is not free software."""
    base = cache() / f"dom0-{base_hash(firmware)}"
    if not base.exists():
        say("making the control domain's root (about 250 MB to download, once)")
        with tempfile.TemporaryDirectory(dir=cache(), prefix=".dom0-") as scratch:
            make_base(Path(scratch) / "root", firmware).rename(base)
    return base


def write_apt(folder, components="main"):
    """The files by which mmdebstrap knows the archive; their paths."""
    made = folder / "sources.list", folder / "apt.conf"
    made[0].write_text(apt.sources(components))
    made[1].write_text(apt.carried_options())
    return [str(path) for path in made]


def make_base(out, firmware=True):
    """Makes the folder `out`, and returns it. Today's packages make it what it is, nothing else."""
    archive = write_apt(out.parent, FIRMWARE_COMPONENTS if firmware else "main")
    logged([str(DOM0 / "base.sh"), *archive, str(out), *([FIRMWARE_PART] if firmware else [])])
    return out


def xen_version(tree):
    """(4.20, 4.20.4) of Xen's source."""
    try:
        text = (tree / "xen/Makefile").read_text()
    except OSError as error:
        raise DevError(f"{tree} is not Xen's source: {error}") from error
    found = [re.search(rf"(?m)^export {name}\s*\??=\s*([.\w]*)", text)
             for name in ("XEN_VERSION", "XEN_SUBVERSION", "XEN_EXTRAVERSION")]
    if not all(found):
        raise DevError(f"{tree}/xen/Makefile does not say which version it is")
    series = f"{found[0][1]}.{found[1][1]}"
    return series, series + found[2][1]


def ensure_xen(tree, base):
    """A folder with the hypervisor of a source tree, made first if need be: `own-xen.sh`. Its tools
    are Debian's, so it must be of their series."""
    series, version = xen_version(tree)
    config = base / f"boot/xen-{series}-amd64.config"
    if not config.exists():
        raise DevError(f"{tree} is Xen {version}, and Debian's tools here are of another series")
    digest = digest_of_scripts("own-xen.sh", "apart.sh")
    for top in (tree / "Config.mk", tree / "config", tree / "xen"):
        add_tree(digest, top, tree)
    add_tree(digest, config, base)
    made = cache() / f"xen-{version}-{digest.hexdigest()[:12]}"
    if not made.exists():
        say(f"compiling Xen {version}")
        compile_own("own-xen.sh", tree, made, version, str(config))
    return made


def compile_own(script, tree, made, version, *words):
    """Has a script of dom0-image make the folder `made` from a source tree."""
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".own-") as scratch:
        # The build root sees the cache, and not where the tree lies.
        copied, out = Path(scratch) / "tree", Path(scratch) / "made"
        subprocess.run(["cp", "-r", str(tree), str(copied)], check=True)
        logged([str(DOM0 / script), *write_apt(Path(scratch)), str(copied), *words, str(out)])
        (out / "version").write_text(version + "\n")
        out.rename(made)


def ensure_ovmf(tree):
    """A folder with the UEFI for guests of Xen from a source tree, made first if need be:
    `own-ovmf.sh`. The tree does not say its version, so what it holds is its name."""
    if not (tree / "OvmfPkg/OvmfXen.dsc").exists():
        raise DevError(f"{tree} is not edk2's source: it has no OvmfPkg/OvmfXen.dsc")
    digest = digest_of_scripts("own-ovmf.sh", "apart.sh")
    held = hashlib.sha256()
    add_tree(held, tree, tree)
    version = held.hexdigest()[:12]
    digest.update(version.encode())
    made = cache() / f"ovmf-{digest.hexdigest()[:12]}"
    if not made.exists():
        say("compiling OvmfXen")
        compile_own("own-ovmf.sh", tree, made, version)
    return made


def ensure_debian_ovmf():
    """The same from Debian's source package. It stays as it is until its folder in the cache goes,
    as the control domain's root does; what is fetched then is the archive's newest."""
    digest = digest_of_scripts("source.sh", "own-ovmf.sh", "apart.sh")
    made = cache() / f"ovmf-debian-{digest.hexdigest()[:12]}"
    if made.exists():
        return made
    say("fetching Debian's source of edk2 (30 MB)")
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".edk2-") as scratch:
        out = Path(scratch) / "source"
        try:
            logged([str(DOM0 / "source.sh"), *write_apt(Path(scratch)), "edk2", str(out)])
        except DevError as error:
            raise DevError(
                "Debian's archive did not give the source of edk2, of which the UEFI of guests is "
                "compiled: give a source tree by --ovmf-source DIR, or make a medium whose hosts "
                "start no guest by UEFI by --no-ovmf") from error
        version = (out / "version").read_text().strip()
        say(f"compiling OvmfXen {version}")
        compile_own("own-ovmf.sh", out / "tree", made, version)
    return made


def commit():
    """(its time in seconds since 1970, its short name); of a tree without git, now and `none`."""
    done = subprocess.run(["git", "-C", str(SOURCE), "log", "-1", "--format=%ct %h"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return int(time.time()), "none"
    seconds, name = done.stdout.split()
    return int(seconds), name


def product_version():
    """What clients are told: the same text as in xapi."""
    found = re.search(r'std::string version = "([0-9.]+)"',
                      (SOURCE / "xapi/core/core.hpp").read_text())
    if not found:
        raise DevError("xapi/core/core.hpp does not name the product's version")
    return found[1]


def make_packages(programs, out):
    """Our packages, into the folder `out`, from the programs of a build."""
    epoch, name = commit()
    stamp = time.strftime("%Y%m%d%H%M", time.gmtime(epoch))
    logged(["python3", str(DOM0 / "package.py"), "--source", str(SOURCE), "--build",
            str(programs.parent), "--version", f"0.1~{stamp}.{name}", "--product",
            product_version(), "--out", str(out)], epoch)


def make_image(base, packages, out, level, xen=None, ovmf=None):
    """The medium `out`, and what is listed beside it. The same input makes the same bytes. `xen`:
    what ensure_xen made, instead of Debian's hypervisor. `ovmf`: what ensure_ovmf made."""
    logged([str(SOURCE / "iso/make.sh"), str(base), str(packages), str(out), str(level),
            str(xen or ""), str(ovmf or "")], commit()[0])


def chosen_ovmf(ovmf, source):
    """What ensure_ovmf makes; None when there is to be none."""
    if not ovmf:
        return None
    return ensure_ovmf(source.absolute()) if source else ensure_debian_ovmf()


def make(preset, out, level, firmware=True, xen_source=None, ovmf_source=None, ovmf=True):
    """`ovmf`: with a UEFI for guests, from `ovmf_source` or else Debian's source."""
    need_root("./dev iso")
    start = time.monotonic()
    programs = build.programs(preset)
    web.ensure(preset)
    base = ensure_base(firmware)
    xen = ensure_xen(xen_source.absolute(), base) if xen_source else None
    own_ovmf = chosen_ovmf(ovmf, ovmf_source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".iso-") as scratch:
        debs = Path(scratch) / "debs"
        debs.mkdir()
        make_packages(programs, debs)
        image = Path(scratch) / "basalt.iso"
        make_image(base, debs, image, level, xen, own_ovmf)
        # The checksum names the medium as it is called in the end.
        text = Path(f"{image}.sha256").read_text().split()[0]
        Path(f"{image}.sha256").write_text(f"{text}  {out.name}\n")
        for suffix in (".packages", ".setuid", ".sha256", ""):
            move(Path(f"{image}{suffix}"), Path(f"{out}{suffix}"))
    say(f"made {out}, {out.stat().st_size >> 20} MiB, in {time.monotonic() - start:.0f} s")


def move(source, target):
    """Also from one file system to another, and never half."""
    fresh = target.with_name(f".{target.name}.new")
    subprocess.run(["cp", "--reflink=auto", source, fresh], check=True)
    os.replace(fresh, target)


def default_image():
    return SOURCE / "build/basalt.iso"


def iso(args):
    make(args.preset, (args.out or default_image()).absolute(), args.level, not args.no_firmware,
         args.xen_source, args.ovmf_source, not args.no_ovmf)
    print(args.out or default_image())
    return 0
