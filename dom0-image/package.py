"""Makes the .deb packages of the control domain from what the release preset built.

    package.py --source DIR --build DIR --version V --out DIR

Runs inside the build root, which has dpkg-dev. A folder of debs/ is a package: `control` without
the fields that are worked out here, `programs` (what to install, and where), `units` (enabled by
the installation), `tree` (files as they are). The same inputs make the same bytes: times come from
SOURCE_DATE_EPOCH.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Needs Node.js where the packages are made; a host goes without it where there was none.
WEB = "share/web"
MAINTAINER = "Basalt <root@localhost>"

AFTER_INSTALLATION = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
systemd-sysusers {sysusers}
systemd-tmpfiles --create {tmpfiles} || true
systemctl --quiet enable {units}
# A running host takes the new version at once; guests do not notice.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart {units}
fi
"""


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def is_dynamic(path):
    return "INTERP" in subprocess.run(["readelf", "--program-headers", "--wide", path],
                                      stdout=subprocess.PIPE, text=True, check=True).stdout


def install_programs(package, source, build, tree):
    """Returns the installed programs that are linked against shared libraries."""
    linked = []
    for line in (package / "programs").read_text().splitlines():
        what, where = line.split()
        if what == WEB and not (build / what).exists():
            continue
        origin = (source if (source / what).exists() else build) / what
        target = tree / where
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target)
            continue
        shutil.copyfile(origin, target)
        target.chmod(0o644 if where.startswith("usr/share/") else 0o755)
        if is_elf(target):
            subprocess.run(["strip", "--strip-unneeded", target], check=True)
            if is_dynamic(target):
                linked.append(target)
    return linked


def library_packages(programs):
    """What dpkg-shlibdeps finds, as it would stand in Depends."""
    if not programs:
        return ""
    with tempfile.TemporaryDirectory() as scratch:
        # It wants to be called from a source package.
        (Path(scratch) / "debian").mkdir()
        (Path(scratch) / "debian/control").write_text(
            "Source: basalt\n\nPackage: basalt\nArchitecture: amd64\n")
        out = subprocess.run(["dpkg-shlibdeps", "-O", *map(str, programs)], cwd=scratch,
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    return out.strip().removeprefix("shlibs:Depends=")


def control_text(package, version, libraries, size_kib):
    text = (package / "control").read_text().replace("${version}", version)
    text = text.replace("${shlibs}", libraries).replace(", \n", "\n")
    return (f"Package: {package.name}\nVersion: {version}\nArchitecture: amd64\n"
            f"Maintainer: {MAINTAINER}\nPriority: optional\nInstalled-Size: {size_kib}\n{text}")


def after_installation(package, tree):
    def names(folder):
        return " ".join(sorted(path.name for path in (tree / "usr/lib" / folder).glob("*")))

    units = " ".join((package / "units").read_text().split())
    lines = AFTER_INSTALLATION.format(units=units, sysusers=names("sysusers.d"),
                                      tmpfiles=names("tmpfiles.d")).splitlines(keepends=True)
    if not names("sysusers.d"):
        lines = [line for line in lines if "sysusers" not in line]
    if not names("tmpfiles.d"):
        lines = [line for line in lines if "tmpfiles" not in line]
    return "".join(lines)


def make(package, args):
    with tempfile.TemporaryDirectory(dir=args.out) as scratch:
        tree = Path(scratch) / "tree"
        if (package / "tree").exists():
            shutil.copytree(package / "tree", tree)
        else:
            tree.mkdir()
        tree.chmod(0o755)
        linked = install_programs(package, args.source, args.build, tree)
        if package.name == "basalt-dom0":
            release = tree / "usr/share/basalt/release"
            release.parent.mkdir(parents=True, exist_ok=True)
            release.write_text("PRODUCT_BRAND=Basalt\nPRODUCT_NAME=basalt\n"
                               f"PRODUCT_VERSION={args.product}\nBUILD_NUMBER={args.version}\n")
        for path in tree.rglob("*"):
            executable = path.is_dir() or os.access(path, os.X_OK)
            path.chmod(0o755 if executable else 0o644)
        # A folder counts as a kilobyte, whatever the file system here makes of it.
        size = sum(-(-path.lstat().st_size // 1024) if path.is_file() else 1
                   for path in tree.rglob("*"))
        debian = tree / "DEBIAN"
        debian.mkdir()
        (debian / "control").write_text(
            control_text(package, args.version, library_packages(linked), size))
        (debian / "postinst").write_text(after_installation(package, tree))
        (debian / "postinst").chmod(0o755)
        out = args.out / f"{package.name}_{args.version}_amd64.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zzstd", "--build", tree, out],
                       check=True, stdout=subprocess.DEVNULL)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--product", required=True, help="the version that clients are told")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    os.umask(0o022)
    for package in sorted((HERE / "debs").iterdir()):
        print(make(package, args).name)


if __name__ == "__main__":
    main()
