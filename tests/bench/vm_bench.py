"""What the life of VMs costs, beside QEMU, tar and qemu-img alone: `./dev bench vm`.

A real host of its own (`./dev run`), whose guests are the small ones of the hypervisors' contract
suite: a Debian kernel and busybox, 128 MiB each.
"""

import argparse
import hashlib
import http.client
import json
import os
import shutil
import ssl
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/api"))

import lab  # noqa: E402: of the folder above

MIB = 1 << 20
GUEST_MEMORY = 128 * MIB
ROUNDS = 5
READY_SECONDS = 900
DISK_MIB = 8192
DATA_MIB = 256
VM_LIST_AIM_MS = 100
KERNEL_ARGUMENTS = "console=ttyS0 quiet no_timer_check mitigations=off"
PIECE = MIB


def heading(text):
    print(f"\n{text}", flush=True)


def figure(name, value, unit, beside=None, beside_name=""):
    """As the other benchmarks print theirs (tests/bench/table.cpp)."""
    line = f"  {name:<64} {value:>10.2f} {unit}"
    if beside:
        line += f"  {beside_name} {beside:.2f} {unit}  ratio {value / beside:.2f}"
    print(line, flush=True)


def aim(name, value, unit, wanted):
    verdict = "met" if value <= wanted else "MISSED"
    print(f"      {verdict:<7} {name:<44} {value:>10.2f} {unit} (aim at most {wanted:g})",
          flush=True)


def calibration():
    block, size, began = b"x" * 16384, 0, time.thread_time()
    while (took := time.thread_time() - began) < 0.5:
        for _ in range(256):
            hashlib.sha256(block).digest()
            size += len(block)
    load = " ".join(f"{one:.2f}" for one in os.getloadavg()[:2])
    print(f"calibration: SHA-256 {size / took / 1e9:.2f} GB/s on one core; load {load}", flush=True)


def took_ms(work):
    began = time.monotonic()
    answer = work()
    return (time.monotonic() - began) * 1000, answer


class Bench:
    def __init__(self, guest):
        self.lab = lab.host()
        self.session = lab.login()
        self.api = self.session.xenapi
        (self.sr,) = self.api.SR.get_by_name_label("Local storage")
        self.host = self.lab.state / "host1"
        self.boot = [f"/var/lib/basalt/host1/boot/{name}" for name in ("vmlinuz", "initrd.gz")]
        self.made = []
        for name in ("vmlinuz", "initrd.gz"):
            shutil.copy(guest / name, self.host / "boot" / name)

    def small_vm(self, name):
        (template,) = self.api.VM.get_by_name_label("Other install media")
        vm = self.api.VM.clone(template, name)
        self.made.append(vm)
        self.api.VM.provision(vm)
        self.api.VM.set_memory(vm, str(GUEST_MEMORY))
        self.api.VM.set_HVM_boot_policy(vm, "")
        self.api.VM.set_PV_bootloader(vm, "")
        self.api.VM.set_PV_kernel(vm, self.boot[0])
        self.api.VM.set_PV_ramdisk(vm, self.boot[1])
        self.api.VM.set_PV_args(vm, KERNEL_ARGUMENTS)
        return vm

    def add_disk(self, vm, size_mib):
        vdi = self.api.VDI.create({
            "name_label": "bench", "name_description": "", "SR": self.sr,
            "virtual_size": str(size_mib * MIB), "type": "user", "sharable": False,
            "read_only": False, "other_config": {}})
        self.api.VBD.create({
            "VM": vm, "VDI": vdi, "userdevice": "0", "bootable": False, "mode": "RW",
            "type": "Disk", "empty": False, "unpluggable": True, "other_config": {"owner": ""},
            "qos_algorithm_type": "", "qos_algorithm_params": {}})
        return vdi

    def destroy(self, vm):
        if self.api.VM.get_power_state(vm) != "Halted" and not self.api.VM.get_is_a_snapshot(vm):
            self.api.VM.hard_shutdown(vm)
        for snapshot in self.api.VM.get_snapshots(vm):
            self.destroy(snapshot)
        disks = [self.api.VBD.get_VDI(vbd) for vbd in self.api.VM.get_VBDs(vm)]
        self.api.VM.destroy(vm)
        for disk in disks:
            if disk != "OpaqueRef:NULL":
                self.api.VDI.destroy(disk)

    def serial(self, uuid):
        return self.host / "run/vm/vm" / uuid / "serial.log"

    def said(self, uuid, words):
        try:
            return words in self.serial(uuid).read_bytes()
        except OSError:
            return False

    # -- transfers

    def request(self, method, path, **query):
        words = urllib.parse.urlencode({"session_id": self.session._session, **query})
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.lab.port, timeout=600, context=ssl._create_unverified_context())
        connection.putrequest(method, f"{path}?{words}")
        return connection

    def fetch(self, path, target, **query):
        connection = self.request("GET", path, **query)
        connection.endheaders()
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {answer.reason}")
        with target.open("wb") as out:
            shutil.copyfileobj(answer, out, PIECE)
        connection.close()

    def send(self, path, source, **query):
        connection = self.request("PUT", path, **query)
        connection.putheader("Content-Length", str(source.stat().st_size))
        connection.endheaders()
        with source.open("rb") as body:
            while piece := body.read(PIECE):
                connection.send(piece)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {answer.reason}")
        connection.close()


def bench_records(bench):
    heading(f"Copies of a VM with one disk of {DISK_MIB // 1024} GiB; median of {ROUNDS}")
    vm = bench.small_vm("bench copies")
    bench.add_disk(vm, DISK_MIB)
    figures = {"VM.clone": [], "VM.snapshot": [], "VM.revert": []}
    for number in range(ROUNDS):
        spent, clone = took_ms(lambda: bench.api.VM.clone(vm, f"bench clone {number}"))
        figures["VM.clone"].append(spent)
        bench.destroy(clone)
        spent, snapshot = took_ms(lambda: bench.api.VM.snapshot(vm, f"bench {number}"))
        figures["VM.snapshot"].append(spent)
        spent, _ = took_ms(lambda: bench.api.VM.revert(snapshot))
        figures["VM.revert"].append(spent)
    for name, values in figures.items():
        figure(name, statistics.median(values), "ms")


def bench_life(bench, folder):
    heading(f"A guest of 128 MiB, and the same QEMU started by hand; median of {ROUNDS}")
    vm = bench.small_vm("bench life")
    uuid = bench.api.VM.get_uuid(vm)
    program = (SOURCE / "tests/bench/qemu_alone.py").read_text()

    def without_us(*words):
        done = bench.lab.inside("python3", "-c", program, *words, capture_output=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)

    bench.api.VM.start(vm, False, False)
    words = without_us("words", uuid)
    for option, path in zip(("-kernel", "-initrd"), bench.boot):
        words[words.index(option) + 1] = path  # where hostd shows it to QEMU, it is hidden again
    bench.api.VM.hard_shutdown(vm)
    by_hand = [without_us("life", f"/var/lib/basalt/{folder.name}", json.dumps(words))
               for _ in range(ROUNDS)]
    figures = {"running": [], "ready": [], "suspend": [], "resume": []}
    for _ in range(ROUNDS):
        began = time.monotonic()
        told = threading.Thread(target=bench.api_start, args=(vm,))
        told.start()
        lab_wait(lambda: bench.said(uuid, b"guest ready"))
        figures["ready"].append((time.monotonic() - began) * 1000)
        told.join()
        figures["running"].append((bench.started - began) * 1000)
        figures["suspend"].append(took_ms(lambda: bench.api.VM.suspend(vm))[0])
        figures["resume"].append(
            took_ms(lambda: bench.api.VM.resume(vm, False, False))[0])
        bench.api.VM.hard_shutdown(vm)
    names = {"running": "VM.start, to the first instruction",
             "ready": "VM.start, to user space", "suspend": "VM.suspend", "resume": "VM.resume"}
    for key, name in names.items():
        figure(name, statistics.median(figures[key]), "ms",
               statistics.median(one[key] * 1000 for one in by_hand), "QEMU by hand")


def lab_wait(condition, seconds=READY_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"a guest did not come within {seconds} s")
        time.sleep(0.001)


def bench_many(bench, count):
    heading(f"{count} guests started at once on {os.cpu_count()} processors")
    vms = [bench.small_vm(f"bench many {number}") for number in range(count)]
    uuids = [bench.api.VM.get_uuid(vm) for vm in vms]
    began = time.monotonic()
    tasks = [bench.api.Async.VM.start(vm, False, False) for vm in vms]
    lab_wait(lambda: all(bench.api.task.get_status(task) != "pending" for task in tasks))
    figure("all have been started", time.monotonic() - began, "s")
    failed = [bench.api.task.get_error_info(task) for task in tasks
              if bench.api.task.get_status(task) != "success"]
    if failed:
        print(f"      {len(failed)} did not start: {failed[0]}")
    running = [uuid for uuid, task in zip(uuids, tasks)
               if bench.api.task.get_status(task) == "success"]
    lab_wait(lambda: all(bench.said(uuid, b"guest ready") for uuid in running))
    figure("all are in user space", time.monotonic() - began, "s")
    began = time.monotonic()
    tasks = [bench.api.Async.VM.hard_shutdown(vm) for vm in vms
             if bench.api.VM.get_power_state(vm) == "Running"]
    lab_wait(lambda: all(bench.api.task.get_status(task) != "pending" for task in tasks))
    figure("all are off again", time.monotonic() - began, "s")


def bench_transfers(bench, folder):
    heading(f"Archives and disks with {DATA_MIB} MiB of random bytes; rates of what is in them")
    vm = bench.small_vm("bench transfer")
    disk = bench.add_disk(vm, DATA_MIB)
    raw, archive = folder / "disk.raw", folder / "vm.xva"
    with raw.open("wb") as out:
        for _ in range(DATA_MIB):
            out.write(os.urandom(MIB))

    def rate(work):
        return DATA_MIB / (took_ms(work)[0] / 1000)

    def alone(*command):
        return rate(lambda: bench.lab.inside(*command))

    inside = f"/var/lib/basalt/{folder.name}"
    figure("import of a raw disk",
           rate(lambda: bench.send("/import_raw_vdi", raw, vdi=disk, format="raw")), "MiB/s",
           # By itself qemu-img leaves the bytes to the page cache; an import answers when the disk
           # has them.
           alone("qemu-img", "convert", "-t", "writeback", "-f", "raw", "-O", "qcow2",
                 f"{inside}/disk.raw", f"{inside}/alone.qcow2"), "qemu-img")
    figure("export of a raw disk",
           rate(lambda: bench.fetch("/export_raw_vdi", folder / "out.raw", vdi=disk,
                                    format="raw")), "MiB/s",
           alone("qemu-img", "convert", "-f", "qcow2", "-O", "raw", f"{inside}/alone.qcow2",
                 f"{inside}/alone.raw"), "qemu-img")
    tar = alone("tar", "-C", inside, "-cf", f"{inside}/alone.tar", "disk.raw")
    figure("export of a VM as an archive",
           rate(lambda: bench.fetch("/export", archive, uuid=bench.api.VM.get_uuid(vm))),
           "MiB/s", tar, "tar")
    untar = alone("tar", "-C", f"{inside}/out", "-xf", f"{inside}/alone.tar")
    before = set(bench.api.VM.get_by_name_label("bench transfer"))
    figure("import of a VM from an archive",
           rate(lambda: bench.send("/import", archive, sr_id=bench.sr)), "MiB/s", untar, "tar")
    bench.made += set(bench.api.VM.get_by_name_label("bench transfer")) - before


def bench_list(bench, count):
    heading(f"xe with {count} VMs; median of {ROUNDS}")
    have = len(bench.api.VM.get_all())
    (template,) = bench.api.VM.get_by_name_label("Other install media")
    record = bench.api.VM.get_record(template)
    record.update(is_a_template=False, is_default_template=False, other_config={})
    for number in range(max(0, count - have)):
        bench.made.append(bench.api.VM.create({**record, "name_label": f"bench row {number}"}))
    for command in (["vm-list"], ["vm-list", "--minimal"], ["vm-list", "params=all"]):
        # The client itself, not `./dev` around it: its start is counted, that of Python is not.
        program = " ".join(["xe", *command, ">/dev/null"])
        script = (f"for i in $(seq {ROUNDS + 1}); do a=$(date +%s%N); {program}; "
                  "b=$(date +%s%N); echo $(((b - a) / 1000)); done")
        done = bench.lab.inside("bash", "-c", script, capture_output=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        spent = statistics.median(int(line) / 1000 for line in done.stdout.split()[1:])
        figure(f"xe {' '.join(command)}", spent, "ms")
        if command == ["vm-list"]:
            aim("xe vm-list", spent, "ms", VM_LIST_AIM_MS)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--guest", type=Path, required=True,
                        help="folder of what hypervisor/contract/guest/make has made")
    parser.add_argument("--guests", type=int, default=50, help="started at once")
    parser.add_argument("--vms", type=int, default=1000, help="records that xe lists")
    parser.add_argument("parts", nargs="*", default=[],
                        help="copies, life, many, transfers, list; default: all")
    args = parser.parse_args()
    parts = args.parts or ["copies", "life", "many", "transfers", "list"]
    calibration()
    bench = Bench(args.guest)

    def start(vm):
        bench.api_session.VM.start(vm, False, False)
        bench.started = time.monotonic()

    bench.api_session = lab.login().xenapi  # of another connection: it is used by another thread
    bench.api_start = start
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=bench.lab.state))
    (folder / "out").mkdir()
    try:
        if "copies" in parts:
            bench_records(bench)
        if "life" in parts:
            bench_life(bench, folder)
        if "many" in parts:
            bench_many(bench, args.guests)
        if "transfers" in parts:
            bench_transfers(bench, folder)
        if "list" in parts:
            bench_list(bench, args.vms)
    finally:
        for vm in bench.made:
            bench.destroy(vm)
        shutil.rmtree(folder)
    print(flush=True)
    calibration()


if __name__ == "__main__":
    main()
