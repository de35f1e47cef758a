"""Where things lie: the source tree, the cache, the state of a run."""

import contextlib
import fcntl
import os
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]


class DevError(Exception):
    """Something the user can act on; printed without a traceback."""


def say(text):
    """One line of progress, on stderr: stdout belongs to what was asked for."""
    print(f"dev: {text}", file=sys.stderr, flush=True)


def cache():
    """The folder of everything that can be made again: build roots, guest images, ccache."""
    folder = Path(os.environ.get("BASALT_CACHE", "/var/cache/basalt"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise DevError(f"cannot make {folder}: run as root once, or set BASALT_CACHE") from error
    return folder


@contextlib.contextmanager
def alone(lock):
    """Within, nobody else holds the file `lock`: what several commands need at the same moment is
    made once, and the others wait for it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def default_state():
    if os.geteuid() == 0:
        return Path("/var/lib/basalt-dev")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "basalt"


def need_root(what):
    if os.geteuid() != 0:
        raise DevError(f"{what} needs root (namespaces, taps, a build root); try: sudo ./dev ...")
