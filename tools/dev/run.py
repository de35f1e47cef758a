"""`./dev run`, `stop`, `xe`, and `shell` of a running host."""

import json
import os
import subprocess
import sys

import build
import build_root
import guest
import sandbox
import web
from paths import DevError, need_root, say


def run(args):
    need_root("./dev run")
    state = args.state.absolute()
    state.mkdir(parents=True, exist_ok=True)
    if sandbox.running(state):
        raise DevError(f"{state} is in use by a run; ./dev stop --state {state} ends it")
    sandbox.warn_stale(state)
    programs = args.programs or build.programs(args.preset)
    console = None if args.no_web else web.ensure(args.preset)
    image = None if args.no_template else guest.ensure()
    options = {
        "port": args.port, "hosts": args.hosts, "password": args.password or "basalt",
        "template": image is not None, "guest_bytes": virtual_bytes(image) if image else 0,
        "fault_points": args.fault_points,
    }
    say("starting")
    process, reports = sandbox.start(state, programs, image, console, options)
    try:
        port = wait_ready(reports, state)
        print(f"ready https://127.0.0.1:{port} user root password {options['password']}", flush=True)
        if args.detach:
            return 0
        process.wait()
        say("the run has ended")
        return 0
    except KeyboardInterrupt:
        say("stopping")
        return 130
    finally:
        if not (args.detach and sys.exc_info()[0] is None):
            sandbox.stop(state)


def virtual_bytes(image):
    """The size of the disk inside a qcow2: bytes 24 to 31 of its header."""
    with open(image, "rb") as file:
        header = file.read(32)
    if header[:4] != b"QFI\xfb":
        raise DevError(f"{image} is not a qcow2 image")
    return int.from_bytes(header[24:32], "big")


def wait_ready(reports, state):
    """Passes progress on; returns the port."""
    for line in reports:
        kind, _, text = line.rstrip("\n").partition(" ")
        if kind == "ready":
            return int(text)
        if kind == "failed":
            raise DevError(f"{text}\n     logs: {state}/log, {state}/host1/log")
        say(text)
    raise DevError(f"the run ended before it was ready, see {state}/log/supervisor.log")


def stop(args):
    sandbox.stop(args.state.absolute())
    return 0


def xe(args):
    return sandbox.execute(args.state.absolute(), args.host, ["/opt/basalt/bin/xe", *args.arguments])


def status(args):
    print(json.dumps(sandbox.ask(args.state.absolute(), {"verb": "status"}), indent=2))
    return 0


def shell(args):
    command = args.arguments or ["bash", "-i"]
    if args.state is not None or args.host is not None:
        state = (args.state or args.default_state).absolute()
        environment = {"TERM": os.environ.get("TERM", "dumb"), "PS1": f"host{args.host or 1}# "}
        return sandbox.execute(state, args.host or 1, command, environment)
    return subprocess.run(build_root.entered(build_root.ensure(), command), check=False).returncode
