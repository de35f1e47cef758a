"""The same guest under QEMU with nothing of Basalt around it: what vm_bench.py compares with.

    qemu_alone.py FOLDER KERNEL RAMDISK ARGUMENTS

Runs where a host's QEMU is. Prints one JSON object of seconds.
"""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

LIMIT_SECONDS = 300
MEMORY_MIB = 128


def until(condition, what):
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {LIMIT_SECONDS} s: {what}")
        time.sleep(0.001)
    return answer


class Monitor:
    def __init__(self, path):
        until(path.exists, "QEMU listens")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rw")
        self.stream.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if "error" in answer:
                raise SystemExit(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def running(self):
        return self.execute("query-status")["status"] == "running"

    def saved(self):
        return self.execute("query-migrate").get("status") == "completed"


class Guest:
    def __init__(self, folder, boot, *more):
        self.monitor_path = folder / "monitor"
        self.serial = folder / "serial"
        for path in (self.monitor_path, self.serial):
            path.unlink(missing_ok=True)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35",
             "-accel", "tcg,thread=multi,tb-size=64", "-m", str(MEMORY_MIB), "-kernel", boot[0],
             "-initrd", boot[1], "-append", boot[2], "-serial", f"file:{self.serial}",
             "-qmp", f"unix:{self.monitor_path},server=on,wait=off", *more],
            # As hostd starts its own: the kernel shares processors out by session.
            start_new_session=True)
        self.monitor = Monitor(self.monitor_path)

    def seconds(self):
        return time.monotonic() - self.began

    def says(self, words):
        return self.serial.exists() and words in self.serial.read_bytes()

    def end(self):
        self.process.kill()
        self.process.wait()


def main():
    folder, boot = Path(sys.argv[1]), sys.argv[2:5]
    image = folder / "saved"
    figures = {}
    guest = Guest(folder, boot)
    until(guest.monitor.running, "the guest runs")
    figures["running"] = guest.seconds()
    until(lambda: guest.says(b"guest ready"), "the guest is ready")
    figures["ready"] = guest.seconds()
    began = time.monotonic()
    guest.monitor.execute("stop")
    guest.monitor.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    guest.monitor.execute("migrate", uri=f"file:{image}")
    until(guest.monitor.saved, "the guest is saved")
    guest.end()
    figures["suspend"] = time.monotonic() - began
    again = Guest(folder, boot, "-incoming", f"file:{image}", "-S")
    until(lambda: again.monitor.execute("query-status")["status"] == "paused", "it is loaded")
    again.monitor.execute("cont")
    until(again.monitor.running, "the guest runs again")
    figures["resume"] = again.seconds()
    again.end()
    image.unlink()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
