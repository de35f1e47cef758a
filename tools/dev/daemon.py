"""A daemon that is kept running: started again when it dies, ever more slowly if it keeps dying."""

import subprocess
import sys
import threading
import time

from hosts import TOOLS

SOON_SECONDS = 0.2
SLOWEST_SECONDS = 10.0
HEALTHY_SECONDS = 30.0


class Daemon:
    def __init__(self, name, command, log, *, net=0, mount=0, sockets=(),
                 slowest=SLOWEST_SECONDS):
        self.name = name
        self.log = log
        self.sockets = list(sockets)
        self.slowest = slowest
        self.process = None
        self.starts = 0
        self.stopping = threading.Event()
        self.argv = [sys.executable, "-I", str(TOOLS / "enter.py")]
        for option, value in (("--net", net), ("--mount", mount)):
            if value:
                self.argv += [option, str(value)]
        if self.sockets:
            pairs = ",".join(f"{name}={socket.fileno()}" for name, socket in self.sockets)
            self.argv += ["--sockets", pairs]
        self.argv += ["--", *map(str, command)]
        self.thread = threading.Thread(target=self._keep, name=name, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def _keep(self):
        delay = SOON_SECONDS
        while not self.stopping.is_set():
            began = time.monotonic()
            with open(self.log, "ab") as log:
                self.starts += 1
                self.process = subprocess.Popen(
                    self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=[socket.fileno() for _, socket in self.sockets],
                    start_new_session=True)
            status = self.process.wait()
            if self.stopping.is_set():
                return
            if time.monotonic() - began > HEALTHY_SECONDS:
                delay = SOON_SECONDS
            print(f"{self.name} ended with {status}, starting again in {delay:.1f} s", flush=True)
            self.stopping.wait(delay)
            delay = min(2 * delay, self.slowest)

    def stop(self, grace_seconds):
        """Asks, waits, kills."""
        self.stopping.set()
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
