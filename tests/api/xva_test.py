"""VMs as archives over HTTP: what is exported comes back, and what others exported comes in."""

import base64
import hashlib
import http.client
import io
import os
import socket
import ssl
import subprocess
import tarfile
import unittest
import xmlrpc.client
from xml.etree import ElementTree

import lab

MIB = 1 << 20
UNKNOWN_LENGTH = 1125899906842624  # what xen-api announces for a stream without a length
NULL = "OpaqueRef:NULL"
# Says its port; /moved leads to the archive, which needs a password; /short is half of it.
WEB_SERVER = """
import http.server, pathlib, sys
body = (pathlib.Path(sys.argv[1]) / "vm.xva").read_bytes()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Basic bWU6c2VjcmV0"
        status = {"/moved": 302, "/vm.xva": 200, "/short": 200}.get(self.path, 404)
        self.send_response(status if known or status != 302 else 401)
        self.send_header("Location", "/vm.xva")
        self.send_header("Content-Length", str(len(body) if status == 200 else 0))
        self.end_headers()
        if status == 200:
            self.wfile.write(body[:len(body) // 2] if self.path == "/short" else body)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port)
for _ in range(int(sys.argv[2])):
    server.handle_request()
"""


def member_values(struct):
    return {member.findtext("name"): member.find("value") for member in struct.findall("member")}


def plain(value):
    """An XML-RPC value as Python has it; numbers stay text, as servers write them."""
    for kind in value:
        if kind.tag == "struct":
            return {name: plain(inner) for name, inner in member_values(kind).items()}
        if kind.tag == "array":
            return [plain(inner) for inner in kind.find("data")]
        if kind.tag == "boolean":
            return kind.text == "1"
        return kind.text or ""
    return value.text or ""


class Archive:
    """An exported archive, taken apart."""

    def __init__(self, data):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            self.names = tar.getnames()
            self.files = {name: tar.extractfile(name).read() for name in self.names}
        document = plain(ElementTree.fromstring(self.files["ova.xml"]))
        self.version = document["version"]
        self.objects = document["objects"]

    def of(self, cls):
        return [one["snapshot"] for one in self.objects if one["class"] == cls]


class ForeignArchive:
    """An archive as an older server would write it: only the members of its day, SHA-1, by hand."""

    def __init__(self):
        self.objects = []
        self.chunks = []

    def add(self, cls, identity, **snapshot):
        self.objects.append({"class": cls, "id": identity, "snapshot": snapshot})

    def ova(self, **version):
        said = {"hostname": "elsewhere", "date": "20190101T00:00:00Z", "product_version": "7.6.0",
                "product_brand": "XCP-ng", "build_number": "release/7.6", "xapi_major": "1",
                "xapi_minor": "110", "export_vsn": "2", **version}
        return xmlrpc.client.dumps(({"version": said, "objects": self.objects},)).replace(
            "<params>\n<param>\n", "").replace("</param>\n</params>\n", "").encode()

    def data(self, first="ova.xml", tamper=False, **version):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            def put(name, content):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            put(first, self.ova(**version))
            for name, content in self.chunks:
                put(name, content)
                put(name + ".checksum", hashlib.sha1(content + b"!" * tamper).hexdigest().encode())
        return out.getvalue()


def foreign_vm(size, chunks):
    """A VM of an older release with a disk, a network card and an empty drive."""
    out = ForeignArchive()
    out.add("VM", "Ref:0", uuid="11111111-2222-3333-4444-555555555555", name_label="from elsewhere",
            name_description="an older one", power_state="Halted", user_version="1",
            is_a_template=False, memory_static_max="268435456", memory_static_min="134217728",
            memory_dynamic_max="268435456", memory_dynamic_min="268435456", VCPUs_max="1",
            VCPUs_at_startup="1", actions_after_shutdown="destroy", actions_after_reboot="restart",
            actions_after_crash="restart", HVM_boot_policy="BIOS order",
            HVM_boot_params={"order": "cd"}, platform={"pae": "true"}, other_config={"x": "y"},
            is_control_domain=False, VBDs=["Ref:1", "Ref:2"], VIFs=["Ref:3"],
            suspend_VDI=NULL, a_member_of_the_future="ignored",
            allowed_operations=["an_operation_of_the_future"])
    out.add("VBD", "Ref:1", uuid="", VM="Ref:0", VDI="Ref:4", userdevice="0", bootable=True,
            mode="RW", type="Disk", empty=False, other_config={"owner": ""})
    out.add("VBD", "Ref:2", uuid="", VM="Ref:0", VDI=NULL, userdevice="3", bootable=False,
            mode="RO", type="CD", empty=True, other_config={})
    out.add("VIF", "Ref:3", uuid="", VM="Ref:0", network="Ref:6", device="0",
            MAC="aa:bb:cc:00:11:22", MTU="1500", other_config={})
    out.add("VDI", "Ref:4", uuid="99999999-2222-3333-4444-555555555555", name_label="disk",
            name_description="", SR="Ref:5", virtual_size=str(size), type="system", sharable=False,
            read_only=False, other_config={}, sm_config={"vhd-parent": "nobody"})
    out.add("SR", "Ref:5", uuid="", name_label="theirs", content_type="user", type="ext")
    out.add("network", "Ref:6", uuid="", name_label="xva test network", bridge="xapi7")
    out.chunks = [(f"Ref:4/{number:08}", content) for number, content in chunks]
    return out


class Requests(unittest.TestCase):
    """What those need who send archives and fetch them."""

    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        (self.sr,) = self.api.SR.get_by_name_label("Local storage")
        self.before = self.inventory()
        self.addCleanup(self.clean)

    def inventory(self):
        return {cls: set(getattr(self.api, cls).get_all())
                for cls in ("VM", "VDI", "VBD", "VIF", "network", "task")}

    def clean(self):
        for vm in set(self.api.VM.get_all()) - self.before["VM"]:
            self.destroy(vm)
        for network in set(self.api.network.get_all()) - self.before["network"]:
            self.api.network.destroy(network)
        for task in set(self.api.task.get_all()) - self.before["task"]:
            self.api.task.destroy(task)
        self.session.xenapi.session.logout()

    def destroy(self, vm):
        disks = [self.api.VBD.get_VDI(vbd) for vbd in self.api.VM.get_VBDs(vm)
                 if self.api.VBD.get_type(vbd) == "Disk"]
        if self.api.VM.get_power_state(vm) == "Suspended":
            self.api.VM.hard_shutdown(vm)
        self.api.VM.destroy(vm)
        for disk in disks:
            self.api.VDI.destroy(disk)

    # -- a VM with something on its disk

    def disk(self, content):
        vdi = self.api.VDI.create({
            "name_label": "xva test", "name_description": "of the test", "SR": self.sr,
            "virtual_size": str(len(content)), "type": "user", "sharable": False,
            "read_only": False, "other_config": {"is": "kept"}})
        self.put(self.target("import_raw_vdi", vdi=vdi), len(content), content).recv(1)
        return vdi

    def vm(self, *disks):
        vm = self.api.VM.create({
            "name_label": "xva test", "name_description": "goes abroad", "user_version": "1",
            "is_a_template": False, "affinity": NULL, "memory_static_max": str(256 * MIB),
            "memory_dynamic_max": str(256 * MIB), "memory_dynamic_min": str(256 * MIB),
            "memory_static_min": str(128 * MIB), "VCPUs_params": {"weight": "64"},
            "VCPUs_max": "2", "VCPUs_at_startup": "1", "actions_after_shutdown": "destroy",
            "actions_after_reboot": "restart", "actions_after_crash": "preserve",
            "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
            "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order",
            "HVM_boot_params": {"order": "dc", "firmware": "uefi"}, "PCI_bus": "",
            "platform": {"viridian": "true"}, "other_config": {"of": "mine"},
            "recommendations": "", "tags": ["one", "two"]})
        for place, disk in enumerate(disks):
            self.drive(vm, disk, str(place), "Disk")
        self.drive(vm, NULL, "3", "CD")
        self.api.VIF.create({"device": "0", "network": self.api.network.get_all()[0], "VM": vm,
                             "MAC": "02:aa:00:00:00:01", "MTU": "1500", "other_config": {},
                             "qos_algorithm_type": "", "qos_algorithm_params": {}})
        return vm

    def drive(self, vm, disk, place, kind):
        self.api.VBD.create({"VM": vm, "VDI": disk, "userdevice": place, "bootable": place == "0",
                             "mode": "RO" if kind == "CD" else "RW", "type": kind,
                             "empty": disk == NULL, "other_config": {"owner": ""},
                             "qos_algorithm_type": "", "qos_algorithm_params": {}})

    # -- requests

    def target(self, handler, **query):
        words = {"session_id": self.session._session, **query}
        return f"/{handler}?" + "&".join(f"{k}={v}" for k, v in words.items())

    def put(self, target, length, body, cut=False):
        """As XenCenter and xe do it: the body follows the answer. Returns the open connection."""
        raw = socket.create_connection(("127.0.0.1", lab.host().port), timeout=60)
        stream = ssl._create_unverified_context().wrap_socket(raw)
        self.addCleanup(stream.close)
        announced = "" if length is None else f"Content-length: {length}\r\n"
        stream.sendall(f"PUT {target} HTTP/1.0\r\n{announced}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = stream.recv(1)
            self.assertTrue(byte, head)
            head += byte
        self.head = head.decode()
        self.assertIn(" 200 ", self.head.splitlines()[0])
        try:
            stream.sendall(body)
        except OSError:
            pass  # it has seen enough of it
        return stream

    def get(self, target, **headers):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=120,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()

    def export(self, vm, handler="export", **query):
        answer, body = self.get(self.target(handler, ref=vm, **query))
        self.assertEqual(answer.status, 200)
        return body

    def task(self):
        return self.api.task.create("archive", "")

    def ended(self, task):
        lab.wait_until(lambda: self.api.task.get_status(task) != "pending", 60, "the task's end")
        return self.api.task.get_record(task)

    def bring(self, body, handler="import", length=None, **query):
        """Imports, and returns the task's record."""
        task = self.task()
        self.put(self.target(handler, task_id=task, **query), length or len(body), body).close()
        return self.ended(task)

    def imported(self, body, handler="import", **query):
        record = self.bring(body, handler, **query)
        self.assertEqual(record["status"], "success", record["error_info"])
        found = [value.text for value in ElementTree.fromstring(record["result"]).iter("value")
                 if value.text]
        self.assertEqual(len(found), 1)
        return found[0]

    def refused(self, body, *error, handler="import", **query):
        before = self.inventory()
        record = self.bring(body, handler, **query)
        self.assertEqual((record["status"], record["error_info"][:len(error)]),
                         ("failure", list(error)))
        self.left_nothing(before)

    def left_nothing(self, before):
        now = lambda: {cls: refs for cls, refs in self.inventory().items() if cls != "task"}
        before = {cls: refs for cls, refs in before.items() if cls != "task"}
        lab.wait_until(lambda: now() == before, 30, "everything is as it was")

    def content(self, disk):
        _, body = self.get(self.target("export_raw_vdi", vdi=disk))
        return body

    def only_disk(self, vm):
        (disk,) = [self.api.VBD.get_VDI(vbd) for vbd in self.api.VM.get_VBDs(vm)
                   if self.api.VBD.get_type(vbd) == "Disk"]
        return disk


class Archives(Requests):
    def test_a_vm_comes_back_as_it_went(self):
        content = os.urandom(MIB) + bytes(2 * MIB) + os.urandom(MIB) + bytes(2 * MIB)
        vm = self.vm(self.disk(content))
        told = self.api.VM.get_record(vm)
        for how in ("false", "true", "zstd"):
            with self.subTest(how):
                data = self.export(vm, use_compression=how)
                magic = {"true": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "false": b"ova."}[how]
                self.assertTrue(data.startswith(magic))
                made = self.imported(data)
                self.assertEqual(self.content(self.only_disk(made)), content)
                now = self.api.VM.get_record(made)
                for field in ("name_label", "name_description", "memory_static_max", "VCPUs_max",
                              "VCPUs_params", "HVM_boot_params", "platform", "tags",
                              "actions_after_crash", "power_state", "current_operations"):
                    self.assertEqual(now[field], told[field], field)
                self.assertEqual(now["other_config"]["of"], "mine")
                self.assertNotIn("import_task", now["other_config"])
                self.assertNotEqual(now["uuid"], told["uuid"])
                (interface,) = now["VIFs"]
                self.assertNotEqual(self.api.VIF.get_MAC(interface), "02:aa:00:00:00:01")
                self.assertEqual(self.api.VIF.get_network(interface),
                                 self.api.VIF.get_network(told["VIFs"][0]))
                self.assertEqual(self.api.VDI.get_other_config(self.only_disk(made)),
                                 {"is": "kept"})
                self.assertEqual(sorted(self.api.VBD.get_userdevice(vbd) for vbd in now["VBDs"]),
                                 ["0", "3"])

    def test_what_is_in_an_archive(self):
        content = os.urandom(MIB) + bytes(3 * MIB) + os.urandom(MIB) + bytes(2 * MIB)
        vm = self.vm(self.disk(content), self.disk(bytes(2 * MIB)))
        answer, data = self.get(self.target("export", uuid=self.api.VM.get_uuid(vm)))
        self.assertEqual(answer.version, 10)
        self.assertIsNone(answer.getheader("content-length"))
        self.assertEqual(answer.getheader("content-type"), "application/octet-stream")
        archive = Archive(data)
        self.assertEqual(archive.names[0], "ova.xml")
        self.assertEqual(archive.version["export_vsn"], "2")
        sizes = {one["id"]: int(one["snapshot"]["virtual_size"]) for one in archive.objects
                 if one["class"] == "VDI"}
        wanted = {7 * MIB: ["00000000", "00000004", "00000006"], 2 * MIB: ["00000000", "00000001"]}
        expected = ["ova.xml"]
        for disk in sorted(sizes):
            for number in wanted[sizes[disk]]:
                expected += [f"{disk}/{number}", f"{disk}/{number}.xxhash"]
        self.assertEqual(archive.names, expected)
        for name in expected[1::2]:
            self.assertRegex(archive.files[name + ".xxhash"].decode(), r"^[0-9A-F]{16}$")
        (told,) = archive.of("VM")
        self.assertEqual((told["power_state"], told["name_label"]), ("Halted", "xva test"))
        self.assertEqual(told["memory_static_max"], str(256 * MIB))
        self.assertEqual(told["current_operations"], {})
        ids = {one["id"] for one in archive.objects}
        self.assertEqual(ids, {f"Ref:{number}" for number in range(len(ids))})
        self.assertLessEqual({*told["VBDs"], *told["VIFs"]}, ids)
        for disk in archive.of("VDI"):
            self.assertIn(disk["SR"], ids)

    def test_what_is_restored_is_the_same_vm(self):
        vm = self.vm(self.disk(os.urandom(MIB)))
        uuid, data = self.api.VM.get_uuid(vm), self.export(vm)
        self.refused(data, "DUPLICATE_VM", vm, restore="true")
        self.destroy(vm)
        made = self.imported(data, restore="true")
        self.assertEqual(self.api.VM.get_uuid(made), uuid)
        (interface,) = self.api.VM.get_VIFs(made)
        self.assertEqual(self.api.VIF.get_MAC(interface), "02:aa:00:00:00:01")

    def test_an_archive_of_an_older_server_comes_in(self):
        first, third = os.urandom(MIB), os.urandom(MIB // 2)
        foreign = foreign_vm(4 * MIB + MIB // 2, [(0, first), (2, first), (3, b""), (5, third)])
        made = self.imported(foreign.data())
        record = self.api.VM.get_record(made)
        self.assertEqual((record["name_label"], record["other_config"]["x"]),
                         ("from elsewhere", "y"))
        (network,) = self.api.network.get_by_name_label("xva test network")
        (interface,) = record["VIFs"]
        self.assertEqual(self.api.VIF.get_network(interface), network)
        # The empty chunk has used up a number: what follows lies one further ahead than it says.
        wanted = first + bytes(MIB) + first + bytes(MIB) + third
        self.assertEqual(self.content(self.only_disk(made))[:len(wanted)], wanted)
        self.assertNotIn("vhd-parent", self.api.VDI.get_sm_config(self.only_disk(made)))

    def test_what_is_broken_is_refused_and_leaves_nothing(self):
        content = os.urandom(MIB)
        good = foreign_vm(2 * MIB, [(0, content), (1, content)])
        data = good.data()
        self.refused(data[:len(data) // 2], "IMPORT_ERROR_PREMATURE_EOF")
        self.refused(good.data(tamper=True), "IMPORT_ERROR_SOME_CHECKSUMS_FAILED")
        self.refused(good.data(first="something.xml"), "IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml",
                     "something.xml")
        self.refused(good.data(xapi_major="999"), "IMPORT_INCOMPATIBLE_VERSION")
        self.refused(bytes(range(256)) * 64, "IMPORT_ERROR")
        short = foreign_vm(3 * MIB, [(0, content), (1, content)])
        self.refused(short.data(), "IMPORT_ERROR_PREMATURE_EOF")
        unordered = foreign_vm(2 * MIB, [(1, content), (0, content)])
        self.refused(unordered.data(), "IMPORT_ERROR_UNEXPECTED_FILE")
        beyond = foreign_vm(MIB, [(0, content), (70000000, content)])
        self.refused(beyond.data(), "IMPORT_ERROR")
        made = self.imported(good.data(tamper=True), force="true")
        self.assertEqual(self.content(self.only_disk(made)), content * 2)

    def test_a_stream_of_unknown_length_comes_in(self):
        content = os.urandom(2 * MIB)
        made = self.imported(self.export(self.vm(self.disk(content))), length=UNKNOWN_LENGTH)
        self.assertEqual(self.content(self.only_disk(made)), content)

    def test_a_probe_changes_nothing(self):
        before = self.inventory()
        for length in (0, UNKNOWN_LENGTH):
            self.put(self.target("import", sr_id=self.sr), length, b"").close()
        self.left_nothing(before)

    def test_an_import_is_seen_and_can_be_cancelled(self):
        before = self.inventory()
        data = self.export(self.vm(self.disk(os.urandom(4 * MIB))))
        now = self.inventory()
        task = self.task()
        stream = self.put(self.target("import", task_id=task), len(data), data[:len(data) // 2])
        lab.wait_until(lambda: self.api.task.get_other_config(task).get("object_creation"), 30,
                       "its objects are there")
        (made,) = set(self.api.VM.get_all()) - now["VM"]
        self.assertEqual(self.api.VM.get_current_operations(made), {task: "import"})
        self.assertEqual(self.api.VM.get_other_config(made)["import_task"], task)
        self.assertIn(task, self.head)
        self.api.task.cancel(task)
        try:
            stream.sendall(data[len(data) // 2:])
        except OSError:
            pass
        self.assertEqual(self.ended(task)["status"], "cancelled")
        self.left_nothing(now)
        self.assertNotEqual(before, now)

    def test_chunked_bodies_are_refused(self):
        raw = socket.create_connection(("127.0.0.1", lab.host().port), timeout=60)
        stream = ssl._create_unverified_context().wrap_socket(raw)
        self.addCleanup(stream.close)
        stream.sendall(f"PUT {self.target('import')} HTTP/1.1\r\nhost: a\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n".encode())
        self.assertIn(b" 403 ", stream.recv(100).split(b"\r\n")[0])

    def test_strangers_are_refused(self):
        for target in ("/export?ref=OpaqueRef:NULL", "/export_metadata?all=true"):
            self.assertEqual(self.get(target)[0].status, 401)

    def test_a_running_import_keeps_its_vm(self):
        """Nobody starts or destroys what is only half there."""
        data = self.export(self.vm(self.disk(os.urandom(2 * MIB))))
        known = set(self.api.VM.get_all())
        task = self.task()
        stream = self.put(self.target("import", task_id=task), len(data), data[:-MIB])
        lab.wait_until(lambda: self.api.task.get_other_config(task).get("object_creation"), 30,
                       "its objects are there")
        (made,) = set(self.api.VM.get_all()) - known
        for call in (lambda: self.api.VM.start(made, False, False),
                     lambda: self.api.VM.destroy(made)):
            with self.assertRaises(lab.xenapi_module().Failure) as caught:
                call()
            self.assertEqual(caught.exception.details[0], "OTHER_OPERATION_IN_PROGRESS")
        stream.sendall(data[-MIB:])
        stream.close()
        self.assertEqual(self.ended(task)["status"], "success")

    def test_metadata_alone(self):
        disk = self.disk(bytes(MIB))
        vm = self.vm(disk)
        snapshot = self.api.VM.snapshot(vm, "before it went")
        answer, data = self.get(self.target("export_metadata", ref=vm))
        self.assertEqual(int(answer.getheader("content-length")), len(data))
        archive = Archive(data)
        self.assertEqual(archive.names, ["ova.xml"])
        self.assertEqual({one["name_label"] for one in archive.of("VM")},
                         {"xva test", "before it went"})
        self.assertEqual(Archive(self.export(vm, "export_metadata", export_snapshots="false",
                                             excluded_device_types="vif,vbd")).of("VIF"), [])
        self.assertEqual(self.bring(data, "import_metadata", dry_run="true")["status"], "success")
        self.refused(data, "DUPLICATE_VM", handler="import_metadata", restore="true")
        made = self.imported(data, "import_metadata")
        self.assertEqual(self.only_disk(made), disk)
        (copied,) = self.api.VM.get_snapshots(made)
        self.assertEqual(self.api.VM.get_name_label(copied), "before it went")
        for one in (copied, made):
            self.api.VM.destroy(one)
        self.destroy(snapshot)

    def test_metadata_of_a_lost_disk(self):
        vm = self.vm(self.disk(bytes(MIB)))
        data = self.export(vm, "export_metadata")
        self.destroy(vm)
        self.refused(data, "IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND", handler="import_metadata")
        made = self.imported(data, "import_metadata", force="true")
        self.assertEqual([self.api.VBD.get_type(vbd) for vbd in self.api.VM.get_VBDs(made)],
                         ["CD"])

    def xe(self, script):
        """What a shell on the host says; `xe` is ours, and the folder is empty."""
        done = lab.host().inside("sh", "-ec", "cd $(mktemp -d); xe=/opt/basalt/bin/xe\n" + script,
                                 capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.split()

    def serve(self, body, requests):
        """A web server on the host that redirects once, answers so many requests, and ends."""
        folder = "/tmp/xva-web"
        self.assertEqual(lab.host().inside(
            "sh", "-c", f"mkdir -p {folder} && base64 -d > {folder}/vm.xva",
            input=base64.b64encode(body).decode(), capture_output=True).returncode, 0)
        server = subprocess.Popen(
            [str(lab.DEV), "shell", "--state", str(lab.host().state), "--host", "1", "timeout",
             "120", "python3", "-u", "-c", WEB_SERVER, folder, str(requests)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        self.addCleanup(server.stdout.close)
        return f"127.0.0.1:{server.stdout.readline().strip()}"

    def fetch(self, *arguments):
        return getattr(self.api.VM, "import")(*arguments)  # a word of Python's

    def test_a_vm_is_fetched_from_a_web_server(self):
        content = os.urandom(MIB)
        body = self.export(self.vm(self.disk(content)))
        where = self.serve(body, 5)
        (vm,) = self.fetch(f"http://me:secret@{where}/moved", self.sr, False, False)
        self.assertEqual(self.content(self.only_disk(vm)), content)
        self.assertEqual(self.api.VM.get_name_label(vm), "xva test")
        before = self.inventory()
        for url, code in ((f"http://{where}/none", "IMPORT_ERROR"), ("ftp://x/y", "INVALID_VALUE"),
                          (f"http://{where}/short", "IMPORT_ERROR_PREMATURE_EOF"),
                          ("http://127.0.0.1:1/x", "IMPORT_ERROR")):
            with self.subTest(url), self.assertRaises(lab.xenapi_module().Failure) as refused:
                self.fetch(url, self.sr, False, False)
            self.assertEqual(refused.exception.details[0], code, refused.exception.details)
        self.left_nothing(before)

    def test_a_vm_is_recovered_from_a_dump(self):
        content = os.urandom(MIB)
        disk = self.disk(content)
        vm = self.vm(disk)
        row = self.api.VM.get_record(vm)
        dump = "/tmp/xva-dump.xml"
        lab.host().inside("rm", "-f", dump)
        done = lab.host().xe("pool-dump-database", f"file-name={dump}")
        self.assertEqual(done.returncode, 0, done.stderr)
        lab.host().inside("chmod", "0644", dump)
        self.api.VM.destroy(vm)
        file = self.api.session.create_from_db_file(dump)
        raw = lab.Raw()
        lost = raw.call("VM.get_by_uuid", file, row["uuid"])["Value"]
        here = self.session._session
        self.assertEqual(raw.call("VM.get_SRs_required_for_recovery", file, lost, here)["Value"],
                         [])
        self.assertEqual(raw.call("VM.assert_can_be_recovered", file, lost, here)["Status"],
                         "Success")
        self.assertEqual(raw.call("VM.recover", file, lost, file, False)["ErrorDescription"][0],
                         "SESSION_INVALID")
        said = raw.call("VM.recover", file, lost, here, False)
        self.assertEqual(said["Status"], "Success", said)
        back = self.api.VM.get_by_uuid(row["uuid"])
        self.assertEqual(self.api.VM.get_name_label(back), row["name_label"])
        self.assertEqual(self.only_disk(back), disk)
        (vif,) = self.api.VM.get_VIFs(back)
        self.assertEqual(self.api.VIF.get_MAC(vif), "02:aa:00:00:00:01")
        self.assertEqual(raw.call("VM.recover", file, lost, here, False)["ErrorDescription"][0],
                         "DUPLICATE_VM")
        raw.call("session.logout", file)

    def test_xe_exports_and_imports(self):
        content = os.urandom(2 * MIB)
        vm = self.vm(self.disk(content))
        uuid, sr = self.api.VM.get_uuid(vm), self.api.SR.get_uuid(self.sr)
        snapshot = self.api.VM.get_uuid(self.api.VM.snapshot(vm, "for xe"))
        made = self.xe(f"""
            $xe vm-export uuid={uuid} filename=one.xva >&2
            $xe vm-import filename=one.xva sr-uuid={sr}
            $xe vm-export uuid={uuid} filename=two.xva compress=true >&2
            test $(head -c 2 two.xva | od -An -tx1 | tr -d ' ') = 1f8b
            $xe vm-import filename=two.xva
            $xe snapshot-export-to-template snapshot-uuid={snapshot} filename=three.xva >&2
            $xe vm-import filename=three.xva
            $xe vm-export uuid={uuid} filename=records.xva metadata=true >&2
            $xe vm-import filename=records.xva metadata=true dry-run=true >&2""")
        self.assertEqual(len(made), 3)
        for number, one in enumerate(made):
            ref = self.api.VM.get_by_uuid(one)
            self.assertEqual(self.content(self.only_disk(ref)), content)
            self.assertEqual(self.api.VM.get_is_a_template(ref), number == 2)
        self.destroy(self.api.VM.get_by_uuid(snapshot))

    def test_xe_says_why_an_import_failed(self):
        done = lab.host().inside(
            "sh", "-c", "cd $(mktemp -d); echo nonsense > file; /opt/basalt/bin/xe vm-import "
            "filename=file", capture_output=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("cannot be decompressed", done.stdout + done.stderr)

    def test_a_snapshot_becomes_a_template(self):
        content = os.urandom(MIB)
        vm = self.vm(self.disk(content))
        snapshot = self.api.VM.snapshot(vm, "as it was")
        data = self.export(snapshot)
        self.destroy(snapshot)
        made = self.imported(data)
        record = self.api.VM.get_record(made)
        self.assertTrue(record["is_a_template"])
        self.assertFalse(record["is_a_snapshot"])
        self.assertEqual(self.content(self.only_disk(made)), content)


if __name__ == "__main__":
    unittest.main()
