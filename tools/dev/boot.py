"""`./dev boot`: the medium in QEMU, without hardware virtualisation, its serial console here."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import build_root
import iso
from paths import DevError, say

OVMF = "/usr/share/OVMF"
# Emulated, so slow: what makes a hypervisor safe from its guests' side channels is left out, which
# the machine says by an SMBIOS string that the medium's menu reads.
MACHINE_WORDS = "basalt xen spec-ctrl=no xpti=no dom0_max_vcpus=1 linux mitigations=off"
# The same, and the medium's menu waits until somebody chooses.
MENU_WORDS = MACHINE_WORDS.replace("basalt ", "basalt menu ", 1)
ADDRESS = "10.0.2.15"
MONITOR_SECONDS = 300
# How long a key is down, and up before the next one: keyboards are read by whoever is emulated.
KEY_SECONDS = 0.1
# What is typed -> QEMU's name of the key.
KEYS = {"\n": "ret", " ": "spc", ".": "dot", "/": "slash", "-": "minus", "\b": "backspace"}


@dataclass
class Machine:
    image: Path  # the medium; None: there is none in the drive
    folder: Path
    uefi: bool = False
    secure_boot: bool = False  # UEFI that starts only what Microsoft's keys vouch for
    memory_mib: int = 4096
    forwarded: dict = field(default_factory=dict)  # port of this machine -> port of the host
    disks: list = field(default_factory=list)
    words: str = MACHINE_WORDS
    bootindex: int = 9  # of the medium: after the disks, which are empty as a rule
    cache: str = "unsafe"  # of the disks; writethrough: what was acknowledged outlives QEMU's end
    screen: bool = False  # for pictures of it, and a keyboard for it
    loaded: str = ""  # the name of a state that was saved, from which it goes on
    network: str = ""  # QEMU's words for another one than its own
    around: list = field(default_factory=list)  # a command that runs QEMU, for such a network
    extra: list = field(default_factory=list)

    def firmware(self):
        """As QEMU wants it. Its variables with keys are out of reach of whoever is started: only
        what runs in system management mode writes them."""
        if not (self.uefi or self.secure_boot):
            return []
        code = "OVMF_CODE_4M.secboot.fd" if self.secure_boot else "OVMF_CODE_4M.fd"
        guard = ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
                 "-global", "ICH9-LPC.disable_s3=1"] if self.secure_boot else []
        return [*guard, "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/{code}",
                "-drive", f"if=pflash,format=qcow2,unit=1,file={self.variables()}"]

    def variables(self):
        return self.folder / ("vars-secure.qcow2" if self.secure_boot else "vars.qcow2")

    def medium(self):
        if self.image is None:
            return []
        return ["-drive", f"file={self.image},if=none,id=cd,format=raw,media=cdrom,readonly=on",
                "-device", f"ide-cd,drive=cd,bus=ide.0,bootindex={self.bootindex}"]

    def command(self):
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:{to}"
                           for port, to in self.forwarded.items())
        words = self.words.replace(",", ",,")
        network = self.network or f"user,restrict=on{forwards}"
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-M", "q35",
                "-cpu", "qemu64,+svm,+npt,+nrip-save,+rdrand",
                "-accel", "tcg,thread=multi,tb-size=512", "-smp", "2", "-m", str(self.memory_mib),
                "-display", "none", "-smbios", f"type=11,value={words}", *self.firmware(),
                *self.medium(),
                # A medium in the drive only: nothing outside of this machine is reached.
                "-netdev", f"{network},id=n0",
                "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:ba:5a:17,romfile=",
                "-device", "virtio-rng-pci", *self.extra]
        if self.screen:
            argv += ["-device", "VGA,xres=1024,yres=768"]
        if self.loaded:
            argv += ["-loadvm", self.loaded]
        for index, disk in enumerate(self.disks):
            argv += ["-drive",
                     f"file={disk},if=none,id=d{index},format=qcow2,cache={self.cache}",
                     "-device", f"virtio-blk-pci,drive=d{index},bootindex={index + 1}"]
        return argv

    def prepare(self):
        if self.firmware() and not self.variables().exists():
            folder = str(self.folder)
            empty = "OVMF_VARS_4M.ms.fd" if self.secure_boot else "OVMF_VARS_4M.fd"
            argv = ["qemu-img", "convert", "-q", "-O", "qcow2", f"{OVMF}/{empty}",
                    str(self.variables())]
            subprocess.run(build_root.entered(build_root.ensure(), argv,
                                              ["--bind", folder, folder]), check=True)


def boot(args):
    image = (args.image or iso.default_image()).absolute()
    if not image.exists():
        raise DevError(f"there is no {image}; make it with ./dev iso")
    with tempfile.TemporaryDirectory(prefix="basalt-boot-") as folder:
        machine = Machine(image, Path(folder), args.uefi, args.memory,
                          {args.port: 443, args.port + 1: 22})
        machine.prepare()
        say(f"https://127.0.0.1:{args.port} and ssh at port {args.port + 1}, "
            "once the console shows how to log in; ends with Ctrl-A x")
        argv = build_root.entered(build_root.ensure(), [*machine.command(), "-serial", "mon:stdio"],
                                  ["--bind", str(image.parent), str(image.parent)])
        return subprocess.run(argv, check=False).returncode


class Running:
    """A machine of a test: its console goes to a file, its monitor answers on a socket."""

    def __init__(self, machine, nice=10):
        self.machine = machine
        self.console = machine.folder / "console.log"
        self.input = machine.folder / "console.sock"
        self.monitor = machine.folder / "monitor.sock"
        self.process = None
        self.nice = nice

    def __enter__(self):
        self.machine.prepare()
        for path in (self.console, self.input, self.monitor):
            path.unlink(missing_ok=True)
        argv = [*self.machine.around, *self.machine.command(),
                "-chardev", f"socket,id=serial0,path={self.input},server=on,wait=off,"
                            f"logfile={self.console}", "-serial", "chardev:serial0",
                "-qmp", f"unix:{self.monitor},server=on,wait=off"]
        shown = {str(path) for path in (self.machine.folder, self.machine.image and
                                        self.machine.image.parent) if path}
        binds = [word for path in sorted(shown) for word in ("--bind", path, path)]
        inside = build_root.entered(build_root.ensure(), ["nice", "-n", str(self.nice), *argv],
                                    binds)
        self.errors = open(self.machine.folder / "qemu.log", "wb")
        self.process = subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=self.errors,
                                        stderr=self.errors, start_new_session=True)
        return self

    def ask(self, command, **arguments):
        """QEMU's answer to a command of its monitor; raises for an error."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(MONITOR_SECONDS)
            line.connect(str(self.monitor))
            stream = line.makefile("rw")
            stream.readline()
            for execute, given in (("qmp_capabilities", {}), (command, arguments)):
                stream.write(json.dumps({"execute": execute, "arguments": given}) + "\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):
                    if "error" in answer:
                        raise DevError(f"{execute}: {answer['error']['desc']}")
        return answer["return"]

    def picture(self, path):
        """Of the screen, as PNG."""
        self.ask("screendump", filename=str(path), format="png")

    def press(self, *keys):
        """Keys of the screen's keyboard, by QEMU's names, one after the other."""
        for key in keys:
            self.ask("send-key", keys=[{"type": "qcode", "data": key}],
                     **{"hold-time": int(KEY_SECONDS * 1000)})
            time.sleep(2 * KEY_SECONDS)

    def type(self, text):
        """Small letters, digits and what KEYS has, at the screen's keyboard."""
        self.press(*(KEYS.get(letter, letter) for letter in text))

    def save(self, name):
        """Everything that the machine is at this moment goes into its disks, by a name. It runs on."""
        said = self.ask("human-monitor-command", **{"command-line": f"savevm {name}"})
        if said.strip():
            raise DevError(f"savevm: {said.strip()}")

    def quit(self):
        """QEMU ends, with its files in order; the machine is not asked."""
        self.ask("quit")
        self.process.wait(MONITOR_SECONDS)

    def cut_power(self):
        """Nothing is written out."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __exit__(self, *_):
        self.cut_power()
        self.errors.close()

    def ended(self):
        return self.process.poll() is not None

    def text(self):
        return self.console.read_text(errors="replace") if self.console.exists() else ""
