"""The one sandbox of a run, seen from outside: starting it, asking it, ending it."""

import array
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import build_root
from paths import SOURCE, DevError, say

STOP_SECONDS = 30


def running(state):
    """Whether a supervisor holds this state folder."""
    try:
        with open(state / "lock", "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def command(root, state, programs, guest_image, console, info_fd):
    """bubblewrap's arguments. Only /usr and /etc of the build root are seen, and not to write."""
    argv = ["bwrap", "--unshare-pid", "--unshare-ipc", "--info-fd", str(info_fd),
            "--cap-add", "ALL", "--tmpfs", "/", "--perms", "1777", "--tmpfs", "/tmp",
            "--ro-bind", f"{root}/usr", "/usr", "--ro-bind", f"{root}/etc", "/etc"]
    for name in ("bin", "sbin", "lib", "lib64"):
        argv += ["--symlink", f"usr/{name}", f"/{name}"]
    argv += ["--dev-bind", "/dev", "/dev", "--proc", "/proc", "--bind", "/sys", "/sys",
             "--tmpfs", "/run", "--tmpfs", "/var", "--dir", "/var/tmp", "--dir", "/var/lib/xcp",
             "--dir", "/root",
             "--dir", "/opt", "--dir", "/opt/basalt", "--bind", str(state), "/var/lib/basalt",
             "--ro-bind", str(programs), "/opt/basalt/bin",
             "--ro-bind", str(programs.parent / "share/manual"), "/opt/basalt/manual",
             "--ro-bind", str(SOURCE / "host-agent/machine"), "/opt/basalt/machine",
             "--ro-bind", str(SOURCE / "host-agent/plugins"), "/opt/basalt/plugins",
             "--ro-bind", str(SOURCE / "tools/dev"), "/opt/basalt/dev"]
    if console:
        argv += ["--ro-bind", str(console), "/opt/basalt/web"]
    if guest_image:
        argv += ["--ro-bind", str(guest_image), "/opt/basalt/guest.qcow2"]
    return argv + ["--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin:/opt/basalt/bin",
                   "--setenv", "LANG", "C.UTF-8", "--setenv", "HOME", "/root",
                   "--setenv", "PYTHONDONTWRITEBYTECODE", "1", "--chdir", "/"]


def start(state, programs, guest_image, console, options):
    """Starts the sandbox; returns (process, stream of the supervisor's reports)."""
    (state / "log").mkdir(parents=True, exist_ok=True)
    os.chmod(state, 0o755)  # xapi, unprivileged, has its folders below
    report_read, report_write = os.pipe()
    info_read, info_write = os.pipe()
    argv = command(build_root.ensure(), state, programs, guest_image, console, info_write)
    argv += ["--", "python3", "/opt/basalt/dev/supervisor.py", json.dumps(options), str(report_write)]
    with open(state / "log/supervisor.log", "ab") as log:
        process = subprocess.Popen(argv, pass_fds=[report_write, info_write], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True)
    os.close(report_write)
    os.close(info_write)
    with os.fdopen(info_read) as info:
        text = info.read()
    if not text:
        raise DevError(f"the sandbox did not start, see {state}/log/supervisor.log")
    child = json.loads(text)["child-pid"]
    (state / "sandbox.json").write_text(json.dumps({"init": child, "started": start_time(child)}))
    return process, os.fdopen(report_read)


def start_time(pid):
    """With its pid, names a process for good; None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def stop(state):
    """Ends the sandbox of this state folder, if any, with all that runs in it."""
    if running(state):
        try:
            ask(state, {"verb": "stop"})
        except OSError:
            pass
        wait_end(state, STOP_SECONDS)
    record = state / "sandbox.json"
    if record.exists():
        known = json.loads(record.read_text())
        # The init of a process namespace takes everything in it along.
        if start_time(known["init"]) == known["started"]:
            wait_gone(known, 2)
            if start_time(known["init"]) == known["started"]:
                os.kill(known["init"], signal.SIGKILL)
                wait_gone(known, 10)
        record.unlink()
    remove_groups(state)


def remove_groups(state):
    """Control groups of hosts are the machine's, not the sandbox's, and outlive it."""
    for identity in state.glob("host*/uuid"):
        name = f"basalt-{identity.read_text().strip()}"
        for group in Path("/sys/fs/cgroup").glob(f"**/{name}"):
            for folder in [*group.glob("*/"), group]:
                try:
                    folder.rmdir()
                except OSError:
                    pass  # somebody is still in it


def wait_end(state, seconds):
    deadline = time.monotonic() + seconds
    while running(state) and time.monotonic() < deadline:
        time.sleep(0.05)


def wait_gone(known, seconds):
    deadline = time.monotonic() + seconds
    while start_time(known["init"]) == known["started"] and time.monotonic() < deadline:
        time.sleep(0.05)


def connect(state):
    # By way of a descriptor: a socket's path may have 107 bytes only, a state folder's more.
    folder = os.open(state, os.O_PATH)
    try:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.connect(f"/proc/self/fd/{folder}/control.sock")
        return control
    finally:
        os.close(folder)


def ask(state, request, descriptors=()):
    with connect(state) as control:
        ancillary = []
        if descriptors:
            rights = array.array("i", descriptors)
            ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, rights))
        control.sendmsg([json.dumps(request).encode()], ancillary)
        answer = control.recv(65536)
    return json.loads(answer) if answer else {}


def execute(state, host, argv, environment=None):
    """Runs a command inside a running host, on our own standard streams; returns its code."""
    if not running(state):
        raise DevError(f"nothing runs with the state {state}; start it with ./dev run")
    request = {"verb": "exec", "host": host, "command": argv, "environment": environment or {}}
    answer = ask(state, request, (0, 1, 2))
    if "error" in answer or "code" not in answer:
        raise DevError(answer.get("error", "the run ended meanwhile"))
    code = answer["code"]
    return code if code >= 0 else 128 - code


def warn_stale(state):
    if (state / "sandbox.json").exists() and not running(state):
        say("an earlier run of this state did not end well; cleaning up")
        stop(state)
