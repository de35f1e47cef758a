"""Configuring, compiling, formatting."""

import os
import subprocess
import sys
from pathlib import Path

import build_root
from paths import SOURCE, DevError, alone, say

JOBS = os.cpu_count() or 1


def folder(preset):
    return SOURCE / "build" / preset


def configure(preset):
    # A build.ninja that is there knows by itself when CMake must run again.
    if not (folder(preset) / "build.ninja").exists():
        say(f"configuring the preset {preset}")
        build_root.run(["cmake", "--preset", preset], stdout=2)


def build(preset, targets):
    # Two at once would spoil each other's log of what is made.
    with alone(SOURCE / "build" / f"{preset}.lock"):
        configure(preset)
        say(f"building {' '.join(targets) or 'what ships'}")
        build_root.run(["ninja", "-C", str(folder(preset)), f"-j{JOBS}", *targets], stdout=2)


def programs(preset):
    """Builds what a run needs and returns the folder of the programs."""
    configure(preset)
    listed = build_root.run(["ninja", "-C", str(folder(preset)), "-t", "targets", "all"],
                            stdout=subprocess.PIPE, text=True).stdout
    names = [line.split(":")[0] for line in listed.splitlines()]
    targets = [name for name in names if name.startswith("bin/") and name.count("/") == 1]
    missing = {"bin/hostd", "bin/xapi"} - set(targets)
    if missing:
        raise DevError(f"the source tree has no target {', '.join(sorted(missing))}")
    build(preset, targets)
    return folder(preset) / "bin"


def labelled_programs(preset, label):
    """Test or benchmark programs with a ctest label, as (name, command)."""
    import json

    listed = build_root.run(["ctest", "--test-dir", str(folder(preset)), "--show-only=json-v1",
                             "-L", f"^{label}$"], stdout=subprocess.PIPE, text=True).stdout
    return [(test["name"], test["command"]) for test in json.loads(listed)["tests"]]


def bench(args):
    if args.what == "vm":
        return bench_vm(args)
    build(args.preset, ["all", "benches"])
    found = labelled_programs(args.preset, "bench")
    if not found:
        say("there are no benchmarks yet")
    missed = []
    for name, command in found:
        say(f"bench {name}")
        if build_root.run(command, check=False).returncode:
            missed.append(name)
    if missed:
        say(f"what is promised was not held by {', '.join(missed)}")
    return 1 if missed else 0


def bench_vm(args):
    """The life of VMs on a real host; its figures are printed by the program itself."""
    guest = Path(os.environ.get("BASALT_CACHE", "/var/cache/basalt")) / "contract-guest"
    build_root.run([str(SOURCE / "hypervisor/contract/guest/make"), str(guest)])
    environment = {**os.environ, "BASALT_PRESET": args.preset}
    program = SOURCE / "tests/bench/vm_bench.py"
    return subprocess.run([sys.executable, "-W", "ignore", str(program), "--guest", str(guest),
                           *args.options], env=environment, check=False).returncode


def fmt(_):
    listed = subprocess.run(["git", "-C", str(SOURCE), "ls-files", "-z", "*.cpp", "*.hpp"],
                            capture_output=True, text=True, check=True).stdout
    files = [name for name in listed.split("\0") if name]
    if files:
        build_root.run(["clang-format", "-i", *files])
    return 0
