"""SIGKILL of hostd and of xapi at named moments of calls, on real processes: QEMU, disks in files,
Open vSwitch. Each call is made once unharmed, which tells its moments; then it is made again for
each of them and killed there (`--fault-points`). Afterwards it has happened or not, what was
acknowledged has, and machine and records are of one mind. The simulator does the same at every
moment (tests/sim/kill_test.cpp); here the operating system is real."""

import atexit
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import lab

sys.path.insert(0, str(lab.SOURCE / "tools/dev"))
import xapi_client

# Of a plan: during each step, and when the last one is done but not yet noted.
PLAN_MOMENT = re.compile(r"[a-z_]+/[^/]+(/[^/]+)*/(inside|after)")
GUEST = "guest to kill under"
MADE = "made by a killed call"
PATIENCE_SECONDS = 30


class Run:
    """A host whose daemons die on command. It has no guest image: a BIOS that finds nothing to
    boot is guest enough."""

    def __init__(self):
        self.state = Path(tempfile.mkdtemp(prefix="basalt-kill-", dir="/var/tmp"))
        atexit.register(self.end)
        done = lab.dev("run", "--detach", "--no-template", "--fault-points", "--state", self.state,
                       "--port", 0, capture_output=True, timeout=lab.START_SECONDS)
        ready = re.search(r"ready (https://127\.0\.0\.1:(\d+)) ", done.stdout)
        if not ready:
            raise AssertionError(f"./dev run: {done.stdout}{done.stderr}")
        self.url = ready[1]
        self.lab = lab.Lab(self.state, int(ready[2]))
        self.host = self.state / "host1"
        self.session = None
        self.login()

    def end(self):
        lab.dev("stop", "--state", self.state, timeout=120)
        shutil.rmtree(self.state, ignore_errors=True)

    def login(self):
        def attempt():
            try:
                return xapi_client.Session(self.url, "root", lab.PASSWORD)
            except (OSError, xapi_client.Failure, xapi_client.Unexpected):
                return None

        self.session = lab.wait_until(attempt, PATIENCE_SECONDS, "xapi serves")
        self.pool = self.call("pool.get_all")[0]
        self.row = self.call("pool.get_master", self.pool)
        self.sr = self.call("pool.get_default_SR", self.pool)

    def call(self, method, *params):
        return self.session.call(method, *params)

    def fault(self, daemon, name):
        return self.host / "fault" / daemon / name

    def moments(self, daemon):
        """Those noted since the last time, in order, each once."""
        seen = self.fault(daemon, "seen")
        lines = seen.read_text().splitlines() if seen.exists() else []
        seen.unlink(missing_ok=True)
        return list(dict.fromkeys(lines))

    def domains(self):
        """VM uuids of the QEMU processes."""
        listed = self.lab.inside("ps", "-eo", "args", capture_output=True).stdout
        return sorted(re.findall(r"^\S*qemu-system\S* .*?-uuid ([0-9a-f-]{36})", listed, re.M))

    def switch(self, *arguments):
        """What Open vSwitch answers, as words."""
        # In the sandbox the state folder has a name of its own.
        done = self.lab.inside("ovs-vsctl", "--db=unix:/var/lib/basalt/host1/run/db.sock",
                               *arguments, capture_output=True)
        if done.returncode != 0:
            raise AssertionError(f"ovs-vsctl: {done.stderr}")
        return set(done.stdout.split())

    def bridges(self):
        """Those of VLANs too, which the switch keeps as ports of another."""
        return self.switch("list-br")

    def taps(self):
        names = self.switch("--bare", "--columns=name", "list", "Interface")
        return {name for name in names if name.startswith("vif")}

    def disks(self):
        return {path.name.split(".")[0] for path in self.host.glob("sr/local/**/*.vdi.json")}

    def journal(self):
        """room -> how many rows, of what hostd still has to do or to tell."""
        with sqlite3.connect(f"file:{self.host}/hostd.db?mode=ro", uri=True) as store:
            rows = store.execute("SELECT room, COUNT(*) FROM record GROUP BY room").fetchall()
        return {room: count for room, count in rows if room in ("operation", "leftover")}


def wrong_with(run):
    """What machine and records disagree about; empty when all is well."""
    found = []
    vms = run.call("VM.get_all_records")
    users = [vm for vm in vms.values() if not vm["is_control_domain"]
             and not vm["is_default_template"]]
    running = sorted(vm["uuid"] for vm in users if vm["power_state"] in ("Running", "Paused"))
    if run.domains() != running:
        found.append(f"domains {run.domains()}, records {running}")
    disks = run.call("VDI.get_all_records")
    local = {disk["uuid"] for disk in disks.values() if disk["SR"] == run.sr}
    if run.disks() != local:
        found.append(f"disks {run.disks() - local} only on disk, {local - run.disks()} only "
                     "in the records")
    networks = {row["bridge"] for row in run.call("network.get_all_records").values()}
    plugged = {row["bridge"] for row in run.call("network.get_all_records").values()
               if row["PIFs"] or row["managed"]}
    if not plugged <= run.bridges() <= networks:
        found.append(f"bridges {run.bridges()}, records {networks}")
    # A suspended guest's devices stay attached, for its resumption; they have no port.
    vifs = [vif for vif in run.call("VIF.get_all_records").values()
            if vif["currently_attached"] and vms[vif["VM"]]["power_state"] != "Suspended"]
    taps = {"vif" + vif["uuid"].replace("-", "")[:12] for vif in vifs}
    if run.taps() != taps:
        found.append(f"ports {run.taps()}, records {taps}")
    for cls, rows in (("VM", vms), ("VDI", disks), ("SR", run.call("SR.get_all_records"))):
        for ref, row in rows.items():
            if row["current_operations"]:
                found.append(f"{cls} {ref}: {row['current_operations']}")
    for vm in users:
        asleep = vm["power_state"] == "Suspended"
        if asleep != (vm["suspend_VDI"] in disks):
            found.append(f"VM {vm['name_label']} {vm['power_state']}, image {vm['suspend_VDI']}")
    kept = run.journal()
    if kept:
        found.append(f"hostd keeps {kept}")
    return found


def make_guest(run):
    (template,) = run.call("VM.get_by_name_label", "Other install media")
    vm = run.call("VM.clone", template, GUEST)
    run.call("VM.provision", vm)
    memory = str(128 << 20)
    run.call("VM.set_memory_limits", vm, memory, memory, memory, memory)
    disk = make_disk(run, GUEST)
    run.call("VBD.create", {
        "VM": vm, "VDI": disk, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk",
        "empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    network = run.call("PIF.get_all_records").values()
    run.call("VIF.create", {
        "VM": vm, "network": next(iter(network))["network"], "device": "0", "MAC": "",
        "MTU": "1500", "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    return vm


def make_disk(run, name):
    return run.call("VDI.create", {
        "name_label": name, "name_description": "", "SR": run.sr, "virtual_size": str(8 << 20),
        "type": "user", "sharable": False, "read_only": False, "other_config": {}})


def guest(run):
    return (run.call("VM.get_by_name_label", GUEST) or [None])[0]


def set_state(run, state):
    """Brings the guest there from wherever the last kill left it."""
    vm = guest(run) or make_guest(run)
    now = run.call("VM.get_power_state", vm)
    if now == state:
        return vm
    if state == "Halted":
        run.call("VM.hard_shutdown", vm)
    elif state == "Running":
        run.call("VM.resume" if now == "Suspended" else "VM.start", vm, False, False)
    else:
        set_state(run, "Running")
        run.call("VM.suspend", vm)
    return vm


def tidy(run):
    """Takes away what a call made."""
    for vm in run.call("VM.get_by_name_label", MADE):
        disks = [run.call("VBD.get_VDI", vbd) for vbd in run.call("VM.get_VBDs", vm)]
        run.call("VM.destroy", vm)
        for disk in disks:
            run.call("VDI.destroy", disk)
    for disk in run.call("VDI.get_by_name_label", MADE):
        run.call("VDI.destroy", disk)
    for vlan in run.call("VLAN.get_all"):
        run.call("VLAN.destroy", vlan)


def state_is(state):
    return lambda run: bool(guest(run)) and run.call("VM.get_power_state", guest(run)) == state


def is_there(cls):
    return lambda run: bool(run.call(f"{cls}.get_by_name_label", MADE))


def named_disk(run):
    """A disk whose snapshot bears a name that is looked for."""
    vbd = run.call("VM.get_VBDs", set_state(run, "Running"))[0]
    return run.call("VBD.get_VDI", vbd)


def snapshots(run):
    disk = named_disk(run)
    return run.call("VDI.get_snapshots", disk)


def disk_snapshot_there(run):
    return bool(snapshots(run))


def tidy_snapshots(run):
    for disk in snapshots(run):
        run.call("VDI.destroy", disk)


def vlan_parameters(run):
    networks = run.call("network.get_by_name_label", MADE)
    network = networks[0] if networks else run.call("network.create", {
        "name_label": MADE, "name_description": "", "MTU": "1500", "other_config": {}, "tags": [],
        "bridge": ""})
    uplink = next(ref for ref, pif in run.call("PIF.get_all_records").items() if pif["physical"])
    return uplink, "42", network


class Call:
    def __init__(self, method, prepare, happened, undo=tidy):
        self.method, self.prepare, self.happened, self.undo = method, prepare, happened, undo


CALLS = [
    Call("VM.start", lambda run: (set_state(run, "Halted"), False, False), state_is("Running"),
         lambda run: set_state(run, "Halted")),
    Call("VM.suspend", lambda run: (set_state(run, "Running"),), state_is("Suspended"),
         lambda run: set_state(run, "Running")),
    Call("VM.snapshot", lambda run: (set_state(run, "Running"), MADE, []), is_there("VM")),
    Call("VDI.create", lambda run: ({
        "name_label": MADE, "name_description": "", "SR": run.sr, "virtual_size": str(8 << 20),
        "type": "user", "sharable": False, "read_only": False, "other_config": {}},),
        is_there("VDI")),
    Call("VDI.snapshot", lambda run: (named_disk(run), {}), disk_snapshot_there, tidy_snapshots),
    Call("VLAN.create", vlan_parameters, lambda run: bool(run.call("VLAN.get_all"))),
    Call("VM.destroy", lambda run: (set_state(run, "Suspended"),), lambda run: not guest(run),
         lambda run: [run.call("VDI.destroy", disk)
                      for disk in run.call("VDI.get_by_name_label", GUEST)]),
]


def chosen(daemon, moments, method):
    """All of xapi's; of hostd's during each step, and after the last one of each plan."""
    if daemon == "xapi":
        verbs = {moment.split("/")[0] for moment in moments}
        return [m for m in moments if m.split("/")[0] == method or re.match("(vm|vdi|network)_", m)
                and m.split("/")[0] in verbs]
    plans = [m for m in moments if PLAN_MOMENT.fullmatch(m)]
    last = {m.split("/")[0]: m for m in plans if m.endswith("/after")}
    return [m for m in plans if m.endswith("/inside") or m == last[m.split("/")[0]]]


class Kill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not lab.os.geteuid() == 0:
            raise unittest.SkipTest("./dev run needs root")
        cls.run_ = Run()

    def settle(self):
        """Waits until nothing is wrong; what stays wrong is the answer."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                found = wrong_with(self.run_)
            except (OSError, xapi_client.Failure, xapi_client.Unexpected) as error:
                found = [str(error)]
                self.run_.login()
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def ask(self, call, params):
        """Makes the call; True when it was acknowledged, its error otherwise."""
        try:
            self.run_.call(call.method, *params)
            return True
        except (OSError, xapi_client.Failure, xapi_client.Unexpected) as error:
            return error

    def kill_at(self, call, daemon, moment):
        run = self.run_
        params = call.prepare(run)
        starts = run.lab.status()[f"host1.{daemon}"][1]
        order = run.fault(daemon, "die")
        order.write_text(f"{moment}\n")
        answers = []
        asking = threading.Thread(target=lambda: answers.append(self.ask(call, params)))
        asking.start()
        lab.wait_until(lambda: not order.exists(), PATIENCE_SECONDS,
                       f"{daemon} dies at {moment}; the call says {answers}")
        lab.wait_until(lambda: run.lab.status()[f"host1.{daemon}"][1] > starts, PATIENCE_SECONDS,
                       f"{daemon} is started again")
        asking.join(PATIENCE_SECONDS)
        self.assertFalse(asking.is_alive(), "the call never ended")
        run.login()
        self.assertEqual(self.settle(), [])
        happened = call.happened(run)
        if answers[0] is True:
            self.assertTrue(happened, "acknowledged and lost")
        elif daemon == "hostd":
            self.assertFalse(happened, f"refused with {answers[0]}, and done")
        if not happened:
            self.assertIs(self.ask(call, call.prepare(run)), True, "asked again")
            self.assertTrue(call.happened(run))
        call.undo(run)

    def kill_everywhere(self, call):
        run = self.run_
        params = call.prepare(run)
        self.assertEqual(self.settle(), [])
        for daemon in ("hostd", "xapi"):
            run.moments(daemon)
        self.assertIs(self.ask(call, params), True)
        self.assertEqual(self.settle(), [])
        moments = [(daemon, moment) for daemon in ("hostd", "xapi")
                   for moment in chosen(daemon, run.moments(daemon), call.method)]
        call.undo(run)
        began = time.monotonic()
        for daemon, moment in moments:
            with self.subTest(daemon=daemon, moment=moment):
                self.kill_at(call, daemon, moment)
        lab.say(f"{call.method}: killed at {len(moments)} moments in "
                f"{time.monotonic() - began:.0f} s")
        self.assertGreaterEqual(len(moments), 4)


def add_test(call):
    name = f"test_{CALLS.index(call)}_{call.method.replace('.', '_')}"
    setattr(Kill, name, lambda self: self.kill_everywhere(call))


for each in CALLS:
    add_test(each)


if __name__ == "__main__":
    unittest.main()
