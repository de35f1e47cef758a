"""Becomes another program, inside the namespaces of a process and with sockets handed over.

    enter.py [--net PID] [--mount PID] [--sockets NAME=FD,...] -- PROGRAM ARGS...

The sockets arrive as systemd hands them: descriptors from 3 on, LISTEN_PID, LISTEN_FDS,
LISTEN_FDNAMES.
"""

import argparse
import os
import sys

FIRST_SOCKET = 3


def hand_over(sockets):
    """Puts the sockets at 3, 4, ... and says so in the environment."""
    pairs = [pair.split("=") for pair in sockets.split(",")]
    # Far away first: a descriptor's new place may be another one's old place.
    parked = [os.dup2(int(fd), 100 + index) for index, (_, fd) in enumerate(pairs)]
    for _, fd in pairs:
        os.close(int(fd))
    for index, fd in enumerate(parked):
        os.dup2(fd, FIRST_SOCKET + index, inheritable=True)
        os.close(fd)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(pairs))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in pairs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", type=int)
    parser.add_argument("--mount", type=int)
    parser.add_argument("--sockets")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    if args.sockets:
        hand_over(args.sockets)
    namespaces = []
    if args.net:
        namespaces.append((f"/proc/{args.net}/ns/net", os.CLONE_NEWNET))
    if args.mount:
        namespaces.append((f"/proc/{args.mount}/ns/mnt", os.CLONE_NEWNS))
    opened = [(os.open(path, os.O_RDONLY | os.O_CLOEXEC), kind) for path, kind in namespaces]
    for fd, kind in opened:
        os.setns(fd, kind)
    os.chdir("/")
    sys.stdout.flush()
    os.execvp(args.command[0], args.command)


if __name__ == "__main__":
    main()
