#!/usr/bin/python3 -I
"""Runs beside a system that is started for the first time after an upgrade: keeps it when hostd and
xapi answer and go on answering, and else starts the machine anew, by which GRUB starts the system
before it. `basalt.patience=SECONDS` on the kernel's command line says how long it may take.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import slots
import xapi_client

LOCAL_SOCKET = "/var/lib/xcp/xapi"
STATE = Path("/var/lib/basalt")
PATIENCE_SECONDS = 900
# A daemon that ends again and again answers in between.
STEADY_SECONDS = 20
LOOK_SECONDS = 3
RESTART_SECONDS = 180
# systemd's own patience with those who ask it something.
SYSTEMD_SECONDS = 30


class OutOfTime(Exception):
    """Time is up, whatever is being waited for."""


def patience(words):
    for word in words:
        if word.startswith("basalt.patience=") and word.removeprefix("basalt.patience=").isdigit():
            return int(word.removeprefix("basalt.patience="))
    return PATIENCE_SECONDS


def processes():
    """The main processes of our daemons, as systemd tells; raises while one is not running."""
    said = subprocess.run(["systemctl", "show", "--property=MainPID", "--value", "hostd.service",
                           "xapi.service"], capture_output=True, text=True, check=True,
                          timeout=SYSTEMD_SECONDS).stdout
    found = said.split()
    if len(found) != 2 or "0" in found:
        raise OSError("hostd or xapi is not running")
    return found


def answers():
    """Whether xapi knows its host as enabled and hears of it."""
    with xapi_client.Session(f"unix:{LOCAL_SOCKET}", "root", "") as api:
        host = api.call("session.get_this_host", api.ref)
        metrics = api.call("host.get_metrics", host)
        return api.call("host.get_enabled", host) and api.call("host_metrics.get_live", metrics)


def look():
    """What runs when all is well; None when something is not."""
    try:
        return processes() if answers() else None
    except (OSError, subprocess.SubprocessError, xapi_client.Failure, xapi_client.Unexpected):
        return None


def becomes_healthy(seconds, look_now=look, clock=time.monotonic, sleep=time.sleep):
    """Whether the same daemons are well for a while before `seconds` are over."""
    deadline = clock() + seconds
    steady, since = None, 0
    while clock() < deadline:
        seen = look_now()
        if seen is None or seen != steady:
            steady, since = seen, clock()
        elif clock() - since >= STEADY_SECONDS:
            return True
        sleep(LOOK_SECONDS)
    return False


def becomes_healthy_in_time(seconds, look_now=look):
    """The same, also where an answer is waited for that never comes."""
    def ring(*_):
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return becomes_healthy(seconds, look_now)
    except OutOfTime:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def start_anew():
    """In order, as long as systemd obeys; else at once, by the kernel."""
    try:
        subprocess.run(["systemctl", "--no-block", "reboot"], check=False, timeout=SYSTEMD_SECONDS)
        time.sleep(RESTART_SECONDS)
    except subprocess.TimeoutExpired:
        print("systemd does not answer")
    subprocess.run(["systemctl", "--force", "--force", "reboot"], check=False)


def main():
    words = Path("/proc/cmdline").read_text().split()
    slot = slots.running(words)
    if becomes_healthy_in_time(patience(words)):
        slots.choose_everywhere(slot)
        slots.forget(STATE)
        print(f"this system is healthy: slot {slot} is chosen")
        return 0
    print(f"slot {slot} did not become healthy: the one before is started")
    start_anew()
    return 1


if __name__ == "__main__":
    sys.exit(main())
