"""A host's guest under QEMU with nothing of Basalt around it: what vm_bench.py compares with.

    qemu_alone.py words UUID              the words by which a running guest's QEMU was started
    qemu_alone.py life FOLDER WORDS       the life of the same guest, started by hand with these words

Runs where a host's QEMU is. Prints JSON: a list of texts, or an object of seconds.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

LIMIT_SECONDS = 300


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


def words_of(uuid):
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")[:-1]
        except OSError:
            continue  # it has ended meanwhile
        if "-uuid" in words and words[words.index("-uuid") + 1] == uuid:
            return words
    raise SystemExit(f"no QEMU of {uuid}")


def by_hand(words, folder):
    """Has QEMU make for itself what hostd hands it: sockets to listen on and the file of the log."""
    out = []
    for word in words:
        word = re.sub(r"^(socket,id=(\w+),)fd=\d+", rf"\1path={folder}/\2", word)
        out.append(word.replace("/dev/fdset/1", f"{folder}/serial.log"))
    while "-add-fd" in out:
        at = out.index("-add-fd")
        if "set=1," not in out[at + 1]:
            raise SystemExit(f"a file that nobody gives by hand: {out[at + 1]}")
        del out[at:at + 2]
    return out


class Guest:
    def __init__(self, folder, words, *more):
        self.serial = folder / "serial.log"
        for path in (folder / "qmp", folder / "serial", folder / "agent", self.serial):
            path.unlink(missing_ok=True)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*by_hand(words, folder), *more],
            # As hostd starts its own: the kernel shares processors out by session.
            start_new_session=True)
        self.monitor = Monitor(folder / "qmp")

    def seconds(self):
        return time.monotonic() - self.began

    def says(self, words):
        return self.serial.exists() and words in self.serial.read_bytes()

    def end(self):
        self.process.kill()
        self.process.wait()


def life(folder, words):
    image = folder / "saved"
    figures = {}
    guest = Guest(folder, words)
    guest.monitor.execute("cont")
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
    again = Guest(folder, words, "-incoming", f"file:{image}")
    until(lambda: again.monitor.execute("query-status")["status"] == "paused", "it is loaded")
    again.monitor.execute("cont")
    until(again.monitor.running, "the guest runs again")
    figures["resume"] = again.seconds()
    again.end()
    image.unlink()
    return figures


def main():
    match sys.argv[1:]:
        case ["words", uuid]:
            answer = words_of(uuid)
        case ["life", folder, words]:
            answer = life(Path(folder), json.loads(words))
        case _:
            raise SystemExit(__doc__)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
