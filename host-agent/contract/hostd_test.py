#!/usr/bin/env python3
"""hostd over the real backends: a guest under QEMU, its disk, its port; and what a SIGKILL leaves.

usage: hostd_test.py FOLDER_OF_PROGRAMS      (in a network namespace of its own: see CMakeLists.txt)
Exit 0 prints "[  SKIPPED ]" and why when the machine lacks something.
"""
import glob
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAMS = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "."
HERE = os.path.dirname(os.path.abspath(__file__))
GUEST = os.path.join(os.environ.get("BASALT_CACHE", "/var/cache/basalt"), "contract-guest")
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
SR = "5c0ffee0-0000-4000-8000-000000000001"
VM = "5c0ffee0-0000-4000-8000-000000000002"
VIF = "5c0ffee0-0000-4000-8000-00000000000a"
HOST = f"5c0ffee0-0000-4000-8000-{os.getpid():012x}"
VBD = "5c0ffee0-0000-4000-8000-00000000000b"
ROOT_DISK = "5c0ffee0-0000-4000-8000-000000000003"
DATA_DISK = "5c0ffee0-0000-4000-8000-000000000004"
IMAGE = "5c0ffee0-0000-4000-8000-000000000005"
MIB = 1 << 20


def why_not():
    for tool in ("qemu-system-x86_64", "qemu-storage-daemon", "ovsdb-server", "ovs-vswitchd"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        return "needs a network namespace of its own"
    make = os.path.join(HERE, "../../hypervisor/contract/guest/make")
    made = subprocess.run([make, GUEST], capture_output=True, text=True)
    if made.returncode == 3:
        return "no guest: " + made.stderr.strip()
    made.check_returncode()
    return None


class Refused(Exception):
    pass


class Peer:
    """One connection to hostd: length-prefixed JSON."""

    def __init__(self, path, limit=60):
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.time() + limit
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.time() > deadline:
                    raise
                time.sleep(0.02)
        self.last = 0
        self.events = []
        self.fds = []

    def send(self, body):
        text = json.dumps(body).encode()
        self.socket.sendall(struct.pack(">I", len(text)) + text)

    def exactly(self, size):
        out = b""
        while len(out) < size:
            part, fds, _, _ = socket.recv_fds(self.socket, size - len(out), 4)
            self.fds += fds
            if not part:
                raise EOFError
            out += part
        return out

    def receive(self):
        return json.loads(self.exactly(struct.unpack(">I", self.exactly(4))[0]))

    def ask(self, verb, **args):
        self.last += 1
        self.send({"id": self.last, "verb": verb, "args": args})
        return self.last

    def answer(self, call):
        while True:
            body = self.receive()
            if "event" in body:
                self.events.append(body)
            if body.get("id") == call:
                if "error" in body:
                    raise Refused(body["error"])
                return body["result"]

    def call(self, verb, **args):
        return self.answer(self.ask(verb, **args))


class Machine:
    """Open vSwitch and hostd in a folder of their own."""

    def __init__(self, network="openvswitch"):
        self.folder = tempfile.mkdtemp(prefix="basalt-hostd-")
        os.chmod(self.folder, 0o711)  # guests' users pass through to their sockets
        self.children = []
        self.hostd = None
        self.peer = None
        self.operations = 0
        self.path = self.folder + "/hostd.sock"
        database = self.folder + "/conf.db"
        subprocess.run(["ovsdb-tool", "create", database, SCHEMA], check=True)
        self.ovsdb = self.folder + "/db.sock"
        self.child("ovsdb-server", database, "--remote=punix:" + self.ovsdb, *self.ovs("ovsdb"))
        until(lambda: os.path.exists(self.ovsdb), "ovsdb-server")
        self.vsctl("--no-wait", "init")
        self.child("ovs-vswitchd", "unix:" + self.ovsdb, *self.ovs("vswitchd"))
        with open(self.folder + "/host.toml", "w") as file:
            file.write(f"""
[host]
uuid = "{HOST}"
hostname = "contract"
address = "192.0.2.1/24"
state = "{self.folder}/state"
[hostd]
socket = "{self.path}"
backend = "qemu"
ovsdb = "{self.ovsdb}"
ovs_datapath = "netdev"
network_conf = "{self.folder}/network.conf"
run_dir = "{self.folder}/run"
launcher = "{PROGRAMS}/confine"
boot_dir = "{GUEST}"
[storage]
local_sr = "{self.folder}/sr"
worker = "{PROGRAMS}/sm-worker"
""")
        with open(self.folder + "/network.conf", "w") as file:
            file.write(network + "\n")
        os.makedirs(self.folder + "/sr")

    def ovs(self, name):
        return [f"--log-file={self.folder}/{name}.log", f"--unixctl={self.folder}/{name}.ctl",
                f"--pidfile={self.folder}/{name}.pid"]

    def child(self, *argv):
        process = subprocess.Popen(argv, env={**os.environ, "OVS_RUNDIR": self.folder},
                                   stderr=subprocess.DEVNULL)
        self.children.append(process)
        return process

    def vsctl(self, *args):
        out = subprocess.run(["ovs-vsctl", "--db=unix:" + self.ovsdb, "--timeout=20", *args],
                             capture_output=True, text=True, check=True)
        return out.stdout.split()

    def boot(self):
        with open(self.folder + "/hostd.log", "a") as log:
            self.hostd = subprocess.Popen(
                [PROGRAMS + "/hostd", "--config", self.folder + "/host.toml"], stderr=log)
        self.peer = Peer(self.path)
        return self.peer

    def kill(self, how=signal.SIGKILL):
        self.peer.socket.close()
        self.hostd.send_signal(how)
        status = self.hostd.wait(30)
        if how == signal.SIGTERM and status != 0:
            with open(self.folder + "/hostd.log") as log:
                raise AssertionError(f"hostd ended with {status}: {log.read()[-8000:]}")
        if os.path.exists(self.path):
            os.unlink(self.path)

    def operation(self):
        self.operations += 1
        return {"operation": f"op-{self.operations}", "term": 1}

    def processes(self, word, program=None):
        """Pids of the program (`word` alone: of that program) whose command line names our folder
        and `word`."""
        program = program or word
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path) as file:
                    line = file.read().replace("\0", " ")
            except OSError:
                continue
            if self.folder in line and word in line and program in line.split(" ")[0]:
                found.append(int(path.split("/")[2]))
        if word == "qemu-storage":
            found += self.storage_daemons()
        return found

    def storage_daemons(self):
        """Nothing on their command lines says whose they are; their pid files do."""
        found = []
        for path in glob.glob(self.folder + "/run/sd/*/pid"):
            try:
                with open(path) as file:
                    pid, start = file.read().split()
                with open(f"/proc/{pid}/stat") as file:
                    if file.read().rpartition(")")[2].split()[19] == start:
                        found.append(int(pid))
            except (OSError, ValueError):
                continue  # it has ended, or has not begun
        return found

    def close(self):
        stuck = False
        if self.peer:
            self.peer.socket.close()
        if self.hostd and self.hostd.poll() is None:
            try:
                self.kill(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                # What a service manager would do then; its log says what it was at.
                self.kill()
                with open(self.folder + "/hostd.log") as log:
                    print("hostd did not end within 30 s of SIGTERM:", log.read()[-4000:],
                          flush=True)
                stuck = True
        for word in ("qemu-system", "qemu-storage", "sm-"):
            for pid in self.processes(word):
                os.kill(pid, signal.SIGKILL)
        for child in reversed(self.children):
            child.terminate()
            child.wait()
        until(lambda: not self.processes("qemu-system"), "no QEMU")
        for shown in glob.glob(self.folder + "/run/*/*/disks/*"):
            subprocess.run(["umount", "-q", shown], check=False)
        for path in glob.glob("/sys/fs/cgroup/**/basalt-" + HOST, recursive=True):
            for group in [*glob.glob(path + "/*/"), path]:
                os.rmdir(group)
        if os.environ.get("KEEP"):
            print("kept", self.folder)
        else:
            shutil.rmtree(self.folder)
        if stuck:
            raise AssertionError("hostd did not end")


def until(done, what, limit=60):
    deadline = time.time() + limit
    while not done():
        if time.time() > deadline:
            raise AssertionError("never: " + what)
        time.sleep(0.02)


class Console:
    def __init__(self, test):
        test.peer.call("console_open", uuid=VM, kind="serial")
        self.socket = socket.socket(fileno=test.peer.fds.pop())
        test.addCleanup(self.socket.close)
        self.text = ""

    def expect(self, pattern, limit=120):
        deadline = time.time() + limit
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end():]
                return found
            ready, _, _ = select.select([self.socket], [], [], max(0, deadline - time.time()))
            if not ready:
                raise AssertionError(f"no {pattern!r} in {self.text[-500:]!r}")
            part = self.socket.recv(4096)
            if not part:
                raise AssertionError("the console ended")
            self.text += part.decode(errors="replace")

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")


def disk_ref(vdi):
    return {"sr": SR, "vdi": vdi["uuid"], "location": vdi["location"]}


class Hosted(unittest.TestCase):
    """What the cases share: an SR with two disks, a bridge, a guest to start on them."""
    network = "openvswitch"
    bridge = "xenbr0"

    def setUp(self):
        self.machine = Machine(self.network)
        self.addCleanup(self.machine.close)
        peer = self.peer = self.machine.boot()
        facts = peer.call("hello", xapi_version="contract")
        self.assertEqual(facts["network_backend"], self.network)
        bridge = {"name": self.bridge, "uplink": "", "mtu": 1500}
        self.effect("network_apply", want={"bridges": [bridge]})
        sr = {"uuid": SR, "type": "file", "device_config": {"location": self.machine.folder + "/sr"}}
        self.effect("sr_create", size_bytes=0, **sr)
        self.effect("sr_attach", **sr)
        self.root = self.disk(ROOT_DISK, 16 * MIB)
        self.data = self.disk(DATA_DISK, 32 * MIB)

    def effect(self, verb, **args):
        return self.peer.call(verb, **args, **self.machine.operation())

    def disk(self, uuid, size):
        return self.effect("vdi_create", sr=SR, spec={"uuid": uuid, "size_bytes": size, "type": "user"})

    def spec(self):
        return {
            "uuid": VM, "name": "contract", "memory_bytes": 128 * MIB, "vcpus": 1, "vcpus_max": 1,
            "boot": {"kind": "kernel", "kernel": GUEST + "/vmlinuz", "ramdisk": GUEST + "/initrd.gz",
                     # On a busy machine the emulated timer is late, and the kernel would give up.
                     "args": "console=ttyS0 quiet no_timer_check", "firmware": "bios", "order": "c"},
            "disks": [{"vbd": VBD, "device": "xvda", "position": 0, "kind": "disk",
                       "access": "rw", "bootable": True, "disk": disk_ref(self.root)}],
            "nics": [{"vif": VIF, "device": 0, "mac": "02:00:00:00:00:01", "bridge": self.bridge,
                      "mtu": 1500}],
            "on_shutdown": "destroy", "on_reboot": "restart", "on_crash": "destroy"}

    def start(self):
        return self.effect("vm_start", spec=self.spec(), paused=False)

    def ports(self):
        return [name for name in self.machine.vsctl("list-ports", self.bridge) if name.startswith("vif")]

    def nothing_left(self):
        until(lambda: not self.machine.processes("qemu-system"), "no QEMU")
        until(lambda: not self.machine.processes("qemu-storage"), "no storage daemon")
        self.assertEqual(self.ports(), [])
        self.assertEqual(self.peer.call("domains"), [])

    def restart(self, how=signal.SIGKILL):
        self.machine.kill(how)
        self.peer = self.machine.boot()


class HostdOnBridges(Hosted):
    """The kernel's own bridges instead of Open vSwitch, as network.conf says."""
    network = "bridge"
    bridge = "xenbr1"  # an Open vSwitch that ended leaves its own behind

    def ports(self):
        shown = subprocess.run(["ip", "-o", "link", "show", "master", self.bridge],
                               capture_output=True, text=True, check=True).stdout
        return re.findall(r"^\d+: (vif[^:@]*)", shown, re.MULTILINE)

    def test_a_guests_port_is_on_the_bridge_and_outlives_hostd(self):
        self.addCleanup(subprocess.run, ["ip", "link", "delete", self.bridge], check=True)
        self.assertEqual(self.machine.vsctl("list-br"), [])
        self.start()
        ports = self.ports()
        self.assertEqual(len(ports), 1)
        self.restart()
        self.assertEqual(self.ports(), ports)
        state = self.peer.call("network_state")
        self.assertEqual([(one["name"], one["ports"]) for one in state["bridges"]],
                         [(self.bridge, ports)])
        self.effect("vm_shutdown", uuid=VM, method="hard", timeout_seconds=60)
        self.nothing_left()


class Hostd(Hosted):
    def test_a_guest_outlives_hostd_and_is_managed_again(self):
        started = self.start()
        self.assertEqual(started["power"], "running")
        console = Console(self)
        console.expect("guest ready")
        before = float(console.expect(r"tick ([0-9.]+)\s").group(1))
        qemu = self.machine.processes("qemu-system")
        for how in (signal.SIGKILL, signal.SIGTERM):
            self.restart(how)
            domains = self.peer.call("domains")
            self.assertEqual([d["domid"] for d in domains], [started["domid"]])
            self.assertEqual(self.machine.processes("qemu-system"), qemu)
        self.assertEqual(len(self.ports()), 1)
        console = Console(self)
        console.say("echo still here")
        console.expect("said: still here")
        after = [float(t) for t in re.findall(r"tick ([0-9.]+)\s", console.text)]
        self.assertTrue(not after or min(after) >= before, "the guest was started anew")
        self.effect("disk_plug", uuid=VM, disk={
            "vbd": VBD[:-1] + "c", "device": "xvdb", "position": 1, "kind": "disk", "access": "rw",
            "disk": disk_ref(self.data)})
        time.sleep(1)
        console.say("disks")
        console.expect(f"={32 * MIB}")
        self.effect("vm_shutdown", uuid=VM, method="clean", timeout_seconds=60)
        self.nothing_left()

    def test_suspend_and_resume(self):
        image = self.disk(IMAGE, 300 * MIB)
        self.start()
        console = Console(self)
        console.expect("guest ready")
        ticked = float(console.expect(r"tick ([0-9.]+)\s").group(1))
        self.effect("vm_suspend", uuid=VM, into=disk_ref(image))
        self.nothing_left()
        self.restart()
        resumed = {"from": disk_ref(image)}
        self.effect("vm_resume", spec=self.spec(), paused=False, **resumed)
        console = Console(self)
        console.say("echo back again")
        console.expect("said: back again")
        later = float(console.expect(r"tick ([0-9.]+)\s").group(1))
        self.assertGreater(later, ticked)
        self.effect("vm_shutdown", uuid=VM, method="hard", timeout_seconds=0)
        self.nothing_left()

    def test_killed_in_the_middle_of_a_start(self):
        for delay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
            operation = self.machine.operation()
            self.peer.ask("vm_start", spec=self.spec(), paused=False, **operation)
            time.sleep(delay)
            self.restart()
            running = self.peer.call("domains")
            self.assertLessEqual(len(self.machine.processes("qemu-system")), 1)
            self.assertEqual(len(running), len(self.machine.processes("qemu-system")), f"{delay}")
            if running:
                self.effect("vm_shutdown", uuid=VM, method="hard", timeout_seconds=0)
            self.nothing_left()
        self.start()
        self.effect("vm_shutdown", uuid=VM, method="hard", timeout_seconds=0)
        self.nothing_left()


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print("[  SKIPPED ]", reason)
        sys.exit(0)
    unittest.main(verbosity=2)
