"""The Debian 13 in which everything is compiled, tested and run.

On Debian 13 that is the machine itself. Elsewhere it is a folder in the cache, made by mmdebstrap
and entered by bubblewrap: a private mount namespace, never a mount that the machine can see.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import apt
from paths import SOURCE, DevError, cache, need_root, say

PACKAGES = SOURCE / "tools/dev/build-root.packages"


def package_list():
    lines = (line.split("#")[0].strip() for line in PACKAGES.read_text().splitlines())
    return [line for line in lines if line]


def machine_is_debian_13(os_release=Path("/etc/os-release")):
    if not os_release.exists():
        return False
    pairs = (line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    values = {name: value.strip('"') for name, value in pairs}
    return values.get("ID") == "debian" and values.get("VERSION_CODENAME") == apt.SUITE


def ensure():
    """The path of the build root, made first if need be; "/" on Debian 13."""
    apt.ensure_tools({"bwrap": "bubblewrap"})
    if machine_is_debian_13():
        installed = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package}\n"],
            capture_output=True, text=True, check=True,
        ).stdout.split("\n")
        missing = [name for name in package_list() if f"ii {name}" not in installed]
        if missing:
            apt.install(missing)
        return Path("/")
    text = "\n".join(["1", apt.SUITE, *package_list()])
    root = cache() / f"root-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not root.exists():
        make(root)
    return root


def make(root):
    need_root("making the build root")
    apt.ensure_tools({"mmdebstrap": "mmdebstrap"})
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if not keyring.exists():
        apt.install(["debian-archive-keyring"])
    say(f"making the Debian 13 build root {root} (about 700 MB to download, once)")
    start = time.monotonic()
    # Made under another name and renamed, so that one that was interrupted is never used.
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".making-") as scratch:
        tree = Path(scratch) / "root"
        (Path(scratch) / "apt.conf").write_text(apt.carried_options())
        (Path(scratch) / "sources.list").write_text(apt.sources())
        command = [
            "mmdebstrap", "--mode=root", "--variant=minbase", f"--keyring={keyring}",
            '--aptopt=APT::Install-Recommends "false"', f"--aptopt={scratch}/apt.conf",
            "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
            f"--include={','.join(package_list())}",
            apt.SUITE, str(tree), f"{scratch}/sources.list",
        ]
        # A mount namespace of its own: whatever mmdebstrap mounts ends with it.
        subprocess.run(["unshare", "--mount", *command], check=True, stdout=2)
        try:
            os.rename(tree, root)
        except OSError:
            if not root.exists():
                raise
            shutil.rmtree(tree)
    say(f"build root made in {time.monotonic() - start:.0f} s")


def entered(root, command, extra=()):
    """`command` as an argument vector that runs inside `root`, at the same source path."""
    compiler_cache = cache() / "ccache"
    compiler_cache.mkdir(exist_ok=True)
    argv = [
        "bwrap", "--bind", str(root), "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc",
        "--bind", "/sys", "/sys", "--bind", "/tmp", "/tmp", "--tmpfs", "/run",
        "--bind", str(SOURCE), str(SOURCE), "--bind", str(cache()), str(cache()),
    ]
    git = common_git_folder()
    if git:
        argv += ["--bind", git, git]
    if Path("/etc/resolv.conf").exists() and root != Path("/"):
        argv += ["--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf"]
    if os.geteuid() == 0:
        argv += ["--cap-add", "ALL"]
    for name, value in {
        "PATH": "/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin",
        "CCACHE_DIR": compiler_cache, "CCACHE_BASEDIR": SOURCE, "CCACHE_MAXSIZE": "20G", "CCACHE_NOHASHDIR": "1",
        # What ccache needs to cache units with a precompiled header.
        "CCACHE_SLOPPINESS": "pch_defines,time_macros",
        "LANG": "C.UTF-8",
    }.items():
        argv += ["--setenv", name, str(value)]
    return [*argv, "--chdir", str(SOURCE), "--die-with-parent", *extra, "--", *command]


def common_git_folder():
    """A worktree's git folder lies outside of it; None for an ordinary clone."""
    marker = SOURCE / ".git"
    if not marker.is_file():
        return None
    folder = Path(marker.read_text().split("gitdir:", 1)[1].strip())
    common = folder / "commondir"
    return str((folder / common.read_text().strip()).resolve()) if common.exists() else str(folder)


def run(command, **options):
    """Runs `command` inside the build root; a failure is a DevError unless check=False."""
    check = options.pop("check", True)
    done = subprocess.run(entered(ensure(), command), check=False, **options)
    if check and done.returncode != 0:
        raise DevError(f"{command[0]} ended with {done.returncode}")
    return done
