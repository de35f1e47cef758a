#!/usr/bin/python3 -I
"""What hostd asks of the machine that it runs on: told by words on the command line.

    host-control [--run SOCKET NUMBER LOGS] WORD...

    power reboot|poweroff|restart_toolstack    begins a moment later
    apply SETTING         the file of a setting under /etc has changed (see Systemd)
    clock SECONDS         since 1970
    debug-keys KEYS       Xen takes them as at its console, and writes into its log
    max-cstate LIMIT      the deepest idle state of Xen: unlimited, C, or C,S with a sub-state
    pci-hidden            addresses of PCI devices that the next boot leaves to guests, a line each
    pci-hide ADDRESS      from the next boot on; exit 4: the machine boots from it
    pci-show ADDRESS      the other way round
    ntp-sources           what chronyc -c sources prints
    log                   the newest lines of our daemons
    bundle FORMAT [KEY..] an archive (tar, tar.bz2, zip) of what tells a fault, on standard output

With --run the machine is a host of `./dev run`: its supervisor boots it, and nothing of the
developer's own machine is touched. Exit 3: nobody here can do it, and standard error says why.
"""

import argparse
import glob
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

NOBODY_CAN = 3
BOOTED_FROM = 4
# Of the appliance: it knows the boot loader's settings.
SLOTS = "/usr/lib/basalt/slots.py"
DELAY_SECONDS = 2  # until a power act begins: the answer that says so must still get out
ITEM_SECONDS = 20
ITEM_BYTES_MAX = 16 << 20
LOG_LINES = 4000
HIDDEN = "***"


class NobodyCan(Exception):
    pass


class BootedFrom(Exception):
    pass


def run(*command, check=True):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=check, timeout=ITEM_SECONDS)


class Systemd:
    """A machine of its own."""

    acts = {
        "reboot": ["systemctl", "reboot"],
        "poweroff": ["systemctl", "poweroff"],
        "restart_toolstack": ["systemctl", "restart", "hostd.service", "xapi.service"],
    }

    def power(self, act):
        run("systemd-run", "--collect", f"--on-active={DELAY_SECONDS}s", *self.acts[act])

    def apply(self, setting):
        getattr(self, "apply_" + setting.replace("-", "_"))()

    def apply_hostname(self):
        socket.sethostname(Path("/etc/hostname").read_text(encoding="utf-8").strip())

    def apply_timezone(self):
        """Programs look at /etc/localtime themselves."""

    def apply_console(self):
        """Logins from now on read it."""

    def apply_iscsi(self):
        if run("systemctl", "is-active", "--quiet", "iscsid", check=False).returncode == 0:
            run("systemctl", "restart", "iscsid")

    def apply_ntp_on(self):
        conf = Path("/etc/chrony/chrony.conf")
        if not conf.exists():
            raise NobodyCan("this host has no chrony")
        # Our file of sources says which there are; the package's own would be asked besides.
        text = conf.read_text(encoding="utf-8")
        conf.write_text(re.sub(r"(?m)^(pool|server)\b", r"#\1", text), encoding="utf-8")
        run("systemctl", "enable", "chrony")
        run("systemctl", "restart", "chrony")

    def apply_ntp_off(self):
        run("systemctl", "disable", "--now", "chrony")

    def apply_syslog(self):
        if not shutil.which("rsyslogd"):
            raise NobodyCan("this host has no rsyslog, which sends log lines to others")
        run("systemctl", "restart", "rsyslog")

    def apply_ssh_on(self):
        run("systemctl", "enable", "--now", "ssh")

    def apply_ssh_off(self):
        run("systemctl", "disable", "--now", "ssh")

    def apply_multipath_on(self):
        self.multipath("enable")

    def apply_multipath_off(self):
        self.multipath("disable")

    def multipath(self, verb):
        if not shutil.which("multipathd"):
            raise NobodyCan("this host has no multipathd")
        run("systemctl", verb, "--now", "multipathd")

    def clock(self, seconds):
        time.clock_settime(time.CLOCK_REALTIME, int(seconds))
        if shutil.which("hwclock"):
            run("hwclock", "--systohc", "--utc", check=False)

    def debug_keys(self, keys):
        if not Path("/proc/xen/capabilities").exists():
            raise NobodyCan("this host does not run on Xen, which alone takes such keys")
        run("xl", "debug-keys", keys)

    def max_cstate(self, limit):
        if not Path("/proc/xen/capabilities").exists():
            raise NobodyCan("this host does not run on Xen, which alone limits idle states")
        run("xenpm", "set-max-cstate", *limit.split(","))

    def slots(self, *words):
        if "basalt.slot=" not in Path("/proc/cmdline").read_text(encoding="utf-8"):
            raise NobodyCan("this system is not installed: nothing says how it boots next")
        done = run(sys.executable, "-I", SLOTS, *words, check=False)
        if done.returncode == BOOTED_FROM:
            raise BootedFrom(done.stderr.strip())
        done.check_returncode()
        return done.stdout

    def pci_hidden(self):
        return self.slots("hidden")

    def pci_hide(self, address):
        self.slots("hide", address)

    def pci_show(self, address):
        self.slots("show", address)

    def ntp_sources(self):
        if not shutil.which("chronyc"):
            raise NobodyCan("this host has no chrony")
        return run("chronyc", "-n", "-c", "sources").stdout

    def log(self):
        return run("journalctl", "--no-pager", f"--lines={LOG_LINES}", "-u", "xapi", "-u",
                   "hostd").stdout

    def log_items(self):
        return [("journal.txt", ["journalctl", "--no-pager", "--lines=50000", "-u", "xapi", "-u",
                                 "hostd", "-u", "xapi*", "-u", "openvswitch*"])] + \
            files("/var/log/dt/zipkinv2/json/*.ndjson")

    def system_log_items(self):
        return [("system.txt", ["journalctl", "--no-pager", "--lines=50000", "--boot"])]


class Run(Systemd):
    """A host of `./dev run`: its settings are files, and its supervisor holds the power."""

    def __init__(self, control, number, logs):
        self.control = control
        self.number = int(number)
        self.logs = Path(logs)

    def power(self, act):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as supervisor:
            supervisor.connect(self.control)
            supervisor.send(json.dumps({"verb": "power", "host": self.number, "act": act,
                                        "delay": DELAY_SECONDS}).encode())
            answer = json.loads(supervisor.recv(65536) or b"{}")
        if error := answer.get("error"):
            raise NobodyCan(error)

    def apply(self, setting):
        if setting not in ("hostname", "timezone", "console", "iscsi", "syslog"):
            raise NobodyCan(f"a host of a run has nothing to set for {setting}")

    def clock(self, seconds):
        raise NobodyCan("the clock is the developer's machine's")

    def debug_keys(self, keys):
        raise NobodyCan("a hypervisor would be the developer's machine's")

    def max_cstate(self, limit):
        raise NobodyCan("processors are the developer's machine's")

    def slots(self, *words):
        raise NobodyCan("a host of a run has no boot loader: its devices are the developer's")

    def ntp_sources(self):
        raise NobodyCan("the clock is the developer's machine's")

    def log(self):
        lines = []
        for name in ("xapi", "hostd"):
            lines += tail(self.logs / f"{name}.log", LOG_LINES // 2)
        return "\n".join(lines) + "\n"

    def log_items(self):
        traces = self.logs.parent / "xapi/traces"
        return [(path.name, path) for path in sorted(self.logs.glob("*.log"))] + \
            [(f"traces/{path.name}", path) for path in sorted(traces.glob("*.ndjson"))]

    def system_log_items(self):
        return []


def tail(path, count):
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []


# -- the bundle -----------------------------------------------------------------------------------------


def files(*patterns):
    return [(path.lstrip("/"), Path(path)) for pattern in patterns
            for path in sorted(glob.glob(pattern))]


def parts(machine):
    """What belongs to each key: a list of (name in the archive, file or command)."""
    return {
        "boot-loader": files("/proc/cmdline", "/boot/grub/grub.cfg"),
        "disk-info": files("/proc/partitions", "/proc/mdstat", "/proc/mounts") + [
            ("lsblk.txt", ["lsblk", "--all"]), ("df.txt", ["df", "--human-readable"]),
            ("pvs.txt", ["pvs"]), ("vgs.txt", ["vgs"]), ("lvs.txt", ["lvs"])],
        "hardware-info": files("/proc/cpuinfo", "/proc/interrupts", "/proc/meminfo",
                               "/sys/class/dmi/id/*_name", "/sys/class/dmi/id/*_vendor") + [
            ("lspci.txt", ["lspci", "-nn"])],
        "kernel-info": files("/proc/version", "/proc/modules", "/proc/vmstat") + [
            ("dmesg.txt", ["dmesg"])],
        "network-config": files("/etc/resolv.conf", "/etc/hosts", "/etc/xensource/network.conf"),
        "network-status": [
            ("address.txt", ["ip", "-details", "address"]), ("route.txt", ["ip", "route"]),
            ("neighbour.txt", ["ip", "neighbour"]), ("sockets.txt", ["ss", "-tulpn"]),
            ("switch.txt", ["ovs-vsctl", "show"])],
        "process-list": [("ps.txt", ["ps", "-e", "-o", "pid,ppid,user,rss,etime,comm"])],
        "system-logs": machine.system_log_items(),
        "system-services": [("units.txt", ["systemctl", "list-units", "--all", "--no-pager"])],
        "xenserver-config": files("/etc/basalt/host.toml", "/etc/xensource-inventory",
                                  "/etc/hostname", "/etc/timezone"),
        "xenserver-logs": machine.log_items(),
    }


SECRET = re.compile(
    r"""(?ix) (\b(?:[\w-]*pass(?:word|wd|phrase)?|secret|[\w-]*_secret|token|ptoken|session_id|psk
              |private_key|chap\w*)\b ["']? \s* [=:>] \s*) ("[^"]*"|'[^']*'|[^\s"'<,;]+)""")
KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.S)


def redacted(text):
    """Without what opens doors: passwords, secrets, keys and sessions."""
    return SECRET.sub(rf"\1{HIDDEN}", KEY.sub(HIDDEN, text))


def content(source):
    """The redacted text of a file or of what a command prints; None: there is none."""
    try:
        if isinstance(source, Path):
            with open(source, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - ITEM_BYTES_MAX))
                data = file.read(ITEM_BYTES_MAX)
        else:
            done = subprocess.run(source, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=ITEM_SECONDS, check=False)
            data = (done.stdout + done.stderr)[-ITEM_BYTES_MAX:]
    except (OSError, subprocess.TimeoutExpired):
        return None
    return redacted(data.decode(errors="replace")).encode()


class TarOut:
    def __init__(self, out, mode):
        self.tar = tarfile.open(fileobj=out, mode=mode)

    def add(self, name, data):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mtime = int(time.time())
        self.tar.addfile(member, io.BytesIO(data))

    def close(self):
        self.tar.close()


class ZipOut:
    def __init__(self, out):
        self.zip = zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED)

    def add(self, name, data):
        self.zip.writestr(name, data)

    def close(self):
        self.zip.close()


def archive(kind, out):
    if kind == "zip":
        return ZipOut(out)
    return TarOut(out, {"tar": "w|", "tar.bz2": "w|bz2"}[kind])


def bundle(machine, out, kind, keys):
    top = time.strftime("bug-report-%Y%m%d%H%M%S", time.gmtime())
    into = archive(kind, out)
    for key, items in parts(machine).items():
        if keys and key not in keys:
            continue
        for name, source in items:
            if (data := content(source)) is not None:
                into.add(f"{top}/{key}/{name}", data)
    into.close()


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", nargs=3, metavar=("SOCKET", "NUMBER", "LOGS"))
    parser.add_argument("words", nargs="+")
    options = parser.parse_args(arguments)
    machine = Run(*options.run) if options.run else Systemd()
    word, *rest = options.words
    try:
        if word == "bundle":
            bundle(machine, sys.stdout.buffer, rest[0], rest[1:])
        elif word in ("power", "apply", "clock", "debug-keys", "max-cstate", "pci-hidden",
                      "pci-hide", "pci-show", "ntp-sources", "log"):
            print(getattr(machine, word.replace("-", "_"))(*rest) or "", end="")
        else:
            parser.error(f"unknown word {word}")
    except NobodyCan as why:
        print(why, file=sys.stderr)
        return NOBODY_CAN
    except BootedFrom as device:
        print(device, file=sys.stderr)
        return BOOTED_FROM
    except subprocess.CalledProcessError as error:
        print((error.stderr or str(error)).strip().splitlines()[-1:] or error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
