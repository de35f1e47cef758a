#!/usr/bin/python3 -I
"""Shuts this host's guests down before the machine ends: asks them first, and ends those that do not
obey. Those that are to start with the host (other_config:auto_poweron) do so when xapi comes back.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import xapi_client

LOCAL_SOCKET = "/var/lib/xcp/xapi"
POLITE_SECONDS = 120
HARD_SECONDS = 60
LOOK_SECONDS = 0.5


def running(api, host):
    """References of guests that hold a domain on this host."""
    return [ref for ref, vm in api.call("VM.get_all_records").items()
            if vm["power_state"] in ("Running", "Paused") and vm["resident_on"] == host
            and not vm["is_control_domain"]]


def begin(api, message, vms):
    """The tasks, as VM -> task; a VM that cannot do it has none."""
    tasks = {}
    for vm in vms:
        try:
            tasks[vm] = api.call(f"Async.{message}", vm)
        except xapi_client.Failure as failure:
            print(f"{message} of {vm}: {failure}")
    return tasks


def wait(api, tasks, seconds, clock=time.monotonic, sleep=time.sleep):
    deadline = clock() + seconds
    left = dict(tasks)
    while left and clock() < deadline:
        left = {vm: task for vm, task in left.items()
                if api.call("task.get_status", task) == "pending"}
        sleep(LOOK_SECONDS)
    for vm, task in left.items():
        print(f"{vm} did not obey in {seconds} s")
        api.call("task.cancel", task)


def shut_down(api):
    host = api.call("session.get_this_host", api.ref)
    # Nothing new starts here meanwhile.
    api.call("host.disable", host)
    wait(api, begin(api, "VM.clean_shutdown", running(api, host)), POLITE_SECONDS)
    wait(api, begin(api, "VM.hard_shutdown", running(api, host)), HARD_SECONDS)
    left = running(api, host)
    print(f"{len(left)} guests are left")
    return 1 if left else 0


def main():
    try:
        with xapi_client.Session(f"unix:{LOCAL_SOCKET}", "root", "") as api:
            return shut_down(api)
    except (OSError, xapi_client.Failure, xapi_client.Unexpected) as error:
        print(f"the guests were not shut down: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
