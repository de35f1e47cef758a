#!/usr/bin/env python3
"""Tries to get out of a guest's processes: what a QEMU or a storage daemon that a guest has taken
over could ask the kernel for, asked through their own monitors and by a stand-in that the same
launcher started.

usage: escape_test.py FOLDER_OF_PROGRAMS      (in a network namespace of its own, as hostd_test.py)
"""
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import unittest

import hostd_test
from hostd_test import GUEST, MIB, PROGRAMS, SR, VBD, VM, disk_ref

OTHER = "5c0ffee0-0000-4000-8000-000000000012"
OTHER_VIF = "0ddba110-0000-4000-8000-00000000001a"  # interfaces are named by its beginning
OTHER_DISK = "5c0ffee0-0000-4000-8000-000000000013"
LOOT = "/tmp/basalt-escape"  # nothing may appear under a name that begins so
REFUSED = ("Permission denied", "Operation not permitted", "Failed to connect", "Read-only")


class Monitor:
    """A QMP connection of our own: hostd, which has the only one, is gone by then."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rw")
        self.stream.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            line = self.stream.readline()
            if not line:
                return {"error": {"desc": "the process is gone"}}
            answer = json.loads(line)
            if "event" not in answer:
                return answer

    def close(self):
        self.stream.close()
        self.socket.close()


def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


class Escape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = hostd_test.Machine()
        cls.addClassCleanup(cls.machine.close)
        peer = cls.peer = cls.machine.boot()
        peer.call("hello", xapi_version="contract")
        cls.effect("network_apply", want={"bridges": [{"name": "xenbr0", "mtu": 1500}]})
        sr = {"uuid": SR, "type": "file", "device_config": {"location": cls.machine.folder + "/sr"}}
        cls.effect("sr_create", size_bytes=0, **sr)
        cls.effect("sr_attach", **sr)
        cls.start(VM, hostd_test.VIF, hostd_test.ROOT_DISK)
        cls.start(OTHER, OTHER_VIF, OTHER_DISK)
        # Guests live on, and their monitors are free for us.
        cls.machine.kill(signal.SIGKILL)
        (cls.qemu,) = cls.machine.processes(VM, "qemu-system")
        (cls.other_qemu,) = cls.machine.processes(OTHER, "qemu-system")
        cls.qsd = cls.daemon_of(VM)
        cls.other_qsd = cls.daemon_of(OTHER)

    @classmethod
    def effect(cls, verb, **args):
        return cls.peer.call(verb, **args, **cls.machine.operation())

    @classmethod
    def start(cls, vm, vif, vdi):
        disk = cls.effect("vdi_create", sr=SR, spec={"uuid": vdi, "size_bytes": 16 * MIB})
        cls.effect("vm_start", paused=True, spec={
            "uuid": vm, "name": "escape", "memory_bytes": 128 * MIB, "vcpus": 1, "vcpus_max": 1,
            "boot": {"kind": "kernel", "kernel": GUEST + "/vmlinuz", "ramdisk": "", "args": "",
                     "firmware": "bios", "order": "c"},
            "disks": [{"vbd": VBD, "device": "xvda", "position": 0, "kind": "disk",
                       "access": "rw", "bootable": True, "disk": disk_ref(disk)}],
            "nics": [{"vif": vif, "device": 0, "mac": "02:00:00:00:00:0" + vif[-2],
                      "bridge": "xenbr0", "mtu": 1500}],
            "on_shutdown": "destroy", "on_reboot": "destroy", "on_crash": "destroy"})

    @classmethod
    def run_folder(cls, *names):
        return os.path.join(cls.machine.folder, "run", *names)

    @classmethod
    def daemon_of(cls, vm):
        with open(cls.run_folder("sd", vm, "pid")) as file:
            return int(file.read().split()[0])

    def images(self):
        """The image files as root sees them."""
        found = glob.glob(self.machine.folder + "/sr/**/*.qcow2", recursive=True)
        self.assertGreaterEqual(len(found), 2)
        return found

    def tearDown(self):
        self.assertEqual(glob.glob(LOOT + "*"), [])

    def refused(self, answer, what):
        self.assertIn("error", answer, what)
        text = answer["error"]["desc"]
        self.assertTrue(any(word in text for word in REFUSED), f"{what}: {text}")

    def test_each_process_is_nobody_and_no_two_are_the_same(self):
        pids = [self.qemu, self.qsd, self.other_qemu, self.other_qsd]
        users = set()
        for pid in pids:
            status = status_of(pid)
            uids = set(status["Uid"].split())
            self.assertEqual(len(uids), 1)
            users |= uids
            self.assertGreaterEqual(int(status["Uid"].split()[0]), 66000)
            self.assertEqual(status["Uid"], status["Gid"])
            self.assertEqual(status["Groups"].strip(), "")
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(status[kind], 16), 0, kind)
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(len(users), len(pids))

    def test_each_process_has_a_group_of_its_own_with_limits(self):
        for pid, group in ((self.qemu, VM + ".qemu"), (self.qsd, VM + ".qsd")):
            with open(f"/proc/{pid}/cgroup") as file:
                # "4:pids:/path"; in the tree v2 "0::/path"
                paths = {line.strip().split(":", 2)[2] for line in file}
            mine = {path for path in paths if path.endswith("/" + group)}
            if not mine:
                self.skipTest("this machine has no cgroup controllers to give")
            # Another test's guest may have the same uuid: the path says whose group it is.
            limits = [one for one in glob.glob(f"/sys/fs/cgroup/**/{group}/pids.max",
                                               recursive=True)
                      if any(one.endswith(path + "/pids.max") for path in mine)]
            self.assertEqual(len(limits), 1, limits)
            with open(limits[0]) as file:
                self.assertLess(int(file.read()), 1024)

    def test_qemu_opens_nothing_by_name(self):
        monitor = Monitor(self.run_folder("vm/vm", VM, "qmp"))
        self.addCleanup(monitor.close)
        # The monitor does take orders:
        self.assertIn("return", monitor.execute("blockdev-add", driver="null-co",
                                                **{"node-name": "nothing"}))

        def blockdev(**options):
            return "blockdev-add", {"node-name": "stolen", "read-only": True, **options}

        def chardev(kind, **data):
            return "chardev-add", {"id": "stolen", "backend": {"type": kind, "data": data}}

        def unix(path):
            return {"addr": {"type": "unix", "data": {"path": path}}, "server": False}

        attempts = [blockdev(driver="file", filename=path) for path in
                    ["/etc/shadow", "/etc/passwd", "/dev/vda", *self.images(),
                     *glob.glob(self.run_folder("sd", "*", "disks", "*"))]]
        attempts += [
            blockdev(driver="nbd", export="xvda",
                     server={"type": "unix", "path": self.run_folder("sd", OTHER, "nbd")}),
            blockdev(driver="nbd", export="x", server={"type": "inet", "host": "127.0.0.1",
                                                       "port": "1"}),
            chardev("file", out=LOOT),
            chardev("serial", device="/dev/tty0"),
            chardev("pipe", device="/etc/passwd"),
            chardev("socket", **unix(self.run_folder("vm/vm", OTHER, "qmp"))),
            chardev("socket", **unix(self.run_folder("sd", VM, "qmp"))),
            chardev("socket", **unix(self.machine.ovsdb)),
            chardev("socket", addr={"type": "unix", "data": {"path": LOOT}}, server=True,
                    wait=False),
            ("netdev_add", {"type": "tap", "id": "stolen", "ifname": "stolen0", "script": "no",
                            "downscript": "no"}),
            ("nbd-server-start", {"addr": {"type": "inet", "data": {"host": "127.0.0.1",
                                                                    "port": "0"}}}),
            ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": LOOT}}}),
            ("pmemsave", {"val": 0, "size": 4096, "filename": LOOT}),
            ("dump-guest-memory", {"paging": False, "protocol": "file:" + LOOT}),
            ("object-add", {"qom-type": "memory-backend-file", "id": "stolen", "size": MIB,
                            "mem-path": LOOT}),
            ("object-add", {"qom-type": "secret", "id": "stolen", "file": "/etc/shadow"}),
            ("object-add", {"qom-type": "rng-random", "id": "stolen", "filename": "/etc/shadow"}),
            ("migrate", {"uri": "file:" + LOOT}),
            ("migrate", {"uri": "unix:" + self.run_folder("vm/vm", OTHER, "qmp")}),
            ("migrate", {"uri": "tcp:127.0.0.1:1"}),
        ]
        for command, arguments in attempts:
            with self.subTest(command=command, arguments=arguments):
                answer = monitor.execute(command, **arguments)
                if command == "migrate" and "return" in answer:
                    answer = self.migration_error(monitor)
                self.refused(answer, command)

    def migration_error(self, monitor):
        def ended():
            return monitor.execute("query-migrate")["return"].get("status") == "failed"

        hostd_test.until(ended, "the migration failed", 20)
        answer = monitor.execute("query-migrate")["return"]
        return {"error": {"desc": answer.get("error-desc", "")}}

    def test_qemu_runs_no_program(self):
        """QEMU is killed for the attempt: its guest is lost, and nobody else's."""
        monitor = Monitor(self.run_folder("vm/vm", OTHER, "qmp"))
        self.addCleanup(monitor.close)
        monitor.execute("migrate", uri=f"exec:touch {LOOT}")
        hostd_test.until(lambda: "error" in monitor.execute("query-status") or
                         monitor.execute("query-migrate").get("return", {}).get("status") ==
                         "failed", "an end", 20)

    def test_the_storage_daemon_opens_only_its_own_disks(self):
        monitor = Monitor(self.run_folder("sd", VM, "qmp"))
        self.addCleanup(monitor.close)
        (own,) = glob.glob(self.run_folder("sd", VM, "disks", "*"))
        self.assertIn("return", monitor.execute("blockdev-add", driver="file", filename=own,
                                                locking="off",
                                                **{"node-name": "own", "read-only": True}))
        files = ["/etc/shadow", "/etc/passwd", "/dev/vda", *self.images(),
                 *glob.glob(self.run_folder("sd", OTHER, "disks", "*"))]
        for path in files:
            with self.subTest(path=path):
                self.refused(monitor.execute("blockdev-add", driver="file", filename=path, locking="off",
                                             **{"node-name": "stolen", "read-only": True}), path)
        for command, arguments in (
                ("chardev-add", {"id": "stolen", "backend": {"type": "file",
                                                             "data": {"out": LOOT}}}),
                ("chardev-add", {"id": "stolen", "backend": {"type": "socket", "data": {
                    "addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": "1"}},
                    "server": False}}}),
                ("object-add", {"qom-type": "secret", "id": "stolen", "file": "/etc/shadow"}),
                ("blockdev-add", {"driver": "nbd", "node-name": "stolen", "export": "xvda",
                                  "server": {"type": "unix",
                                             "path": self.run_folder("sd", OTHER, "nbd")}})):
            with self.subTest(command=command, arguments=arguments):
                self.refused(monitor.execute(command, **arguments), command)

    def as_user_of(self, pid, script, launcher):
        """Runs Python as the user of a guest's process: with all that the launcher takes away, or
        (to see that users alone are apart) as that user only."""
        uid = status_of(pid)["Uid"].split()[0]
        if launcher:
            command = [PROGRAMS + "/confine", "--uid", uid, "--"]
        else:
            command = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--"]
        done = subprocess.run([*command, "/usr/bin/python3", "-I", "-S", "-c", script],
                              capture_output=True, text=True, timeout=30)
        return done.stderr.strip().split("\n")[-1]

    def test_its_user_has_its_own_disk_server_and_nothing_else(self):
        def connect(path):
            return f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"

        for launcher in (True, False):
            own = connect(self.run_folder("sd", VM, "nbd"))
            self.assertEqual(self.as_user_of(self.qemu, own, launcher), "")
            for path in (self.run_folder("sd", OTHER, "nbd"), self.run_folder("sd", VM, "qmp"),
                         self.run_folder("vm/vm", VM, "qmp"), self.run_folder("vm/vm", VM, "serial"),
                         self.run_folder("vm/vm", OTHER, "qmp"), self.machine.ovsdb):
                with self.subTest(path=path, launcher=launcher):
                    self.assertIn("PermissionError",
                                  self.as_user_of(self.qemu, connect(path), launcher))
            for path in (*self.images(), self.run_folder("vm/vm", VM, "domain.json"),
                         self.run_folder("vm/vm", VM, "serial.log"),
                         *glob.glob(self.run_folder("sd", OTHER, "disks", "*")),
                         self.machine.folder + "/state/users.json"):
                with self.subTest(path=path, launcher=launcher):
                    self.assertIn("PermissionError",
                                  self.as_user_of(self.qsd, f"open({path!r}, 'rb')", launcher))

    def test_its_user_reaches_no_other_process(self):
        ptrace = ("import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                  "if libc.ptrace(16, {pid}, None, None):\n"
                  "    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))")
        for script in ("import os; os.kill({pid}, 0)", ptrace, "open('/proc/{pid}/mem', 'rb')",
                       "open('/proc/{pid}/environ', 'rb')"):
            for pid in (self.other_qemu, self.other_qsd, self.qsd, 1, self.qemu):
                # As the same user, only what the launcher takes away is in between.
                for launcher in (True,) if pid == self.qemu else (True, False):
                    with self.subTest(script=script, pid=pid, launcher=launcher):
                        said = self.as_user_of(self.qemu, script.format(pid=pid), launcher)
                        self.assertIn("PermissionError", said)


if __name__ == "__main__":
    reason = hostd_test.why_not()
    if reason:
        print("[  SKIPPED ]", reason)
        sys.exit(0)
    unittest.main(verbosity=2)
