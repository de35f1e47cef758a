"""A pool of three hosts: one leads, two are members in front of simulated machines. Clients come
to the members as they come to the members of any pool: by the socket, by the network, by xe."""

import shutil
import ssl
import unittest
import xmlrpc.client
from pathlib import Path

import lab

COORDINATOR = "10.71.0.2"
MEMBER = 2
MEMBER_ADDRESS = "10.71.0.3"
CUT_OFF_SECONDS = 45
BACK_SECONDS = 60

ON_SOCKET = """
session = XenAPI.xapi_local()
session.xenapi.login_with_password("root", "", "1.0", "basalt-tests")
api = session.xenapi
"""

# What a client that knows nothing of pools sends over the network, and what it is told.
ASK = """
import http.client, ssl, xmlrpc.client
def post(address, path, body, scheme="https", headers={}):
    cls = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    extra = {"context": ssl._create_unverified_context()} if scheme == "https" else {}
    connection = cls(address, timeout=30, **extra)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read().decode()
def xml(address, method, *params, path="/", scheme="https"):
    text = post(address, path, xmlrpc.client.dumps(params, method), scheme)[2]
    return xmlrpc.client.loads(text)[0][0]
login = ("session.login_with_password", "root", "basalt", "1.0", "basalt-tests")
"""

PLUGIN = r'''#!/usr/bin/env python3
"""A plug-in as administrators write them: one argument, an XML-RPC call; an XML-RPC answer."""
import sys, xmlrpc.client
sys.path.append("/var/lib/basalt/python")
import XenAPI

(session_ref, args), function = xmlrpc.client.loads(sys.argv[1])
session = XenAPI.xapi_local()
session._session = session_ref
host = session.xenapi.session.get_this_host(session_ref)
name = session.xenapi.host.get_hostname(host)
value = f"{function} {args['word']} for {session_ref} of {name}"
answer = {"Status": "Success", "Value": value}
if function == "fail":
    answer = {"Status": "Failure", "ErrorDescription": ["OWN_CODE", args["word"]]}
print(xmlrpc.client.dumps((answer,), "", True))
'''


def number_of_live(session):
    api = session.xenapi
    return sum(api.host_metrics.get_live(row["metrics"])
               for row in api.host.get_all_records().values())


class Members(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pool = lab.pool()
        cls.session = lab.login(cls.pool)
        cls.api = cls.session.xenapi
        cls.uuid = (cls.pool.state / f"host{MEMBER}/uuid").read_text().strip()

    def member(self):
        return self.api.host.get_by_uuid(self.uuid)

    def code(self, failure):
        return failure["ErrorDescription"][0] if failure["Status"] == "Failure" else "Success"

    def test_three_hosts_are_one_pool(self):
        (pool,) = self.api.pool.get_all_records().values()
        hosts = self.api.host.get_all_records()
        self.assertEqual(sorted(row["address"] for row in hosts.values()),
                         ["10.71.0.2", "10.71.0.3", "10.71.0.4"])
        self.assertEqual(hosts[pool["master"]]["address"], COORDINATOR)
        self.assertTrue(all(row["enabled"] for row in hosts.values()))
        self.assertEqual(number_of_live(self.session), 3)
        self.assertEqual(len(self.api.VM.get_all_records_where(
            'field "is_control_domain" = "true"')), 3)

    def test_the_socket_of_a_member_is_a_way_into_the_pool(self):
        seen = self.pool.python(MEMBER, ON_SOCKET + """
host = api.session.get_this_host(session._session)
network = api.network.create({"name_label": "made on a member", "name_description": "",
                              "MTU": "1500", "other_config": {}, "tags": [], "bridge": ""})
tell({"uuid": api.host.get_uuid(host), "hosts": len(api.host.get_all()), "network": network,
      "slave": api.pool.is_slave(host), "emergency": api.host.is_in_emergency_mode(),
      "big": len(json.dumps(api.VM.get_all_records(), default=str))})
session.xenapi.session.logout()
""")
        self.assertEqual(seen["uuid"], self.uuid, "the session is of the host whose socket it is")
        self.assertEqual((seen["hosts"], seen["slave"], seen["emergency"]), (3, True, False))
        self.assertGreater(seen["big"], 10000)
        self.assertEqual(self.api.network.get_name_label(seen["network"]), "made on a member")
        self.api.network.destroy(seen["network"])

    def test_over_the_network_a_member_names_the_coordinator(self):
        told = self.pool.python(3, ASK + f"""
member = "{MEMBER_ADDRESS}"
answers = [xml(member, *login, path=path) for path in ("/", "/RPC2", "/json")]
answers.append(xml(member, *login, scheme="http"))
answers.append(xml(member, "VM.get_all", "OpaqueRef:whatever"))
body = json.dumps({{"jsonrpc": "2.0", "method": login[0], "params": login[1:], "id": 1}})
asked = {{"x-xenapi-request-host-certificate-thumbprint": "sha-256:master"}}
status, headers, text = post(member, "/jsonrpc", body, headers=asked)
address = answers[0]["ErrorDescription"][1]
arrived = xml(address, *login)
pem = ssl.get_server_certificate((address, 443))
import hashlib
tell({{"answers": [answer["ErrorDescription"] for answer in answers], "json": json.loads(text),
      "arrived": arrived["Status"], "headers": headers,
      "seen": hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()}})
""")
        for answer in told["answers"]:
            self.assertEqual(answer, ["HOST_IS_SLAVE", COORDINATOR])
        error = told["json"]["error"]
        self.assertEqual((error["message"], error["data"]), ("HOST_IS_SLAVE", [COORDINATOR]))
        self.assertEqual(told["arrived"], "Success", "who follows the address arrives")
        thumbprint = told["headers"]["x-xenapi-response-host-certificate-thumbprint"]
        self.assertEqual(thumbprint.replace(":", "").lower(), told["seen"])

    def test_a_handler_knows_the_pools_hosts_by_its_secret(self):
        secret = (self.pool.state / "host1/xapi/ptoken").read_text().strip()
        told = self.pool.python(MEMBER, ASK + f"""
def ask(secret):
    connection = http.client.HTTPSConnection("{COORDINATOR}", timeout=30,
                                             context=ssl._create_unverified_context())
    connection.request("GET", "/metrics", None, {{"Cookie": f"pool_secret={{secret}}"}})
    answer = connection.getresponse()
    return answer.status, "xapi_calls_total" in answer.read().decode()
tell([ask({secret!r}), ask({secret[::-1]!r})])
""")
        self.assertEqual(told, [[200, True], [401, False]])

    def test_xe_over_the_network_is_told_too(self):
        done = self.pool.inside("/opt/basalt/bin/xe", "-s", MEMBER_ADDRESS, "-u", "root", "-pw",
                                "basalt", "vm-list", number=3, capture_output=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"Error code: HOST_IS_SLAVE\nError parameters: {COORDINATOR}", done.stderr)

    def test_xe_on_a_member_is_xe(self):
        for command in (["host-list", "--minimal"], ["pool-list", "params=all"],
                        ["vm-list", "is-control-domain=true"]):
            here, there = (self.pool.xe(*command, number=number) for number in (1, MEMBER))
            self.assertEqual((there.returncode, there.stderr), (0, ""))
            self.assertEqual(sorted(there.stdout.splitlines()), sorted(here.stdout.splitlines()))
        done = self.pool.xe("vm-start", "vm=nobody", number=MEMBER)
        self.assertEqual((done.returncode, done.stderr), (1, "Error: No matching VMs found\n"))
        done = self.pool.xe("host-is-in-emergency-mode", number=MEMBER)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "false"))

    def test_a_disk_goes_in_and_comes_out_by_a_members_socket(self):
        sr = self.api.pool.get_default_SR(self.api.pool.get_all()[0])
        vdi = self.pool.xe("vdi-create", f"sr-uuid={self.api.SR.get_uuid(sr)}", "name-label=far",
                           "virtual-size=2MiB", number=MEMBER).stdout.strip()
        done = self.pool.inside("sh", "-ec", f"""
            cd $(mktemp -d); xe=/opt/basalt/bin/xe
            head -c 2097152 /dev/urandom > in
            $xe vdi-import uuid={vdi} filename=in
            $xe vdi-export uuid={vdi} filename=out
            cmp in out""", number=MEMBER, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.pool.xe("vdi-destroy", f"uuid={vdi}")

    def test_a_vm_goes_out_and_comes_in_by_a_members_socket(self):
        api = self.api
        known = set(api.VM.get_all())
        sr = api.pool.get_default_SR(api.pool.get_all()[0])
        (template,) = api.VM.get_by_name_label("Other install media")
        vm = api.VM.clone(template, "far away")
        api.VM.provision(vm)
        vdi = api.VDI.create({
            "name_label": "far", "name_description": "", "SR": sr, "virtual_size": str(3 << 20),
            "type": "user", "sharable": False, "read_only": False, "other_config": {}})
        api.VBD.create({
            "VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW",
            "type": "Disk", "empty": False, "other_config": {}, "qos_algorithm_type": "",
            "qos_algorithm_params": {}})
        uuid = api.VM.get_uuid(vm)
        done = self.pool.inside("sh", "-ec", f"""
            cd $(mktemp -d); xe=/opt/basalt/bin/xe
            head -c 3145728 /dev/urandom > disk
            $xe vdi-import uuid={api.VDI.get_uuid(vdi)} filename=disk
            $xe vm-export uuid={uuid} filename=one.xva compress=zstd >&2
            made=$($xe vm-import filename=one.xva)
            copy=$($xe vbd-list vm-uuid=$made type=Disk params=vdi-uuid --minimal)
            $xe vdi-export uuid=$copy filename=out >&2
            cmp disk out
            echo $made $copy""", number=MEMBER, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        made, copy = done.stdout.split()
        self.assertEqual(api.VM.get_name_label(api.VM.get_by_uuid(made)), "far away")
        for one in set(api.VM.get_all()) - known:
            api.VM.destroy(one)
        for one in (vdi, api.VDI.get_by_uuid(copy)):
            api.VDI.destroy(one)

    def test_streams_are_redirected_with_their_query(self):
        target = "/export_raw_vdi?session_id=OpaqueRef%3Ax&vdi=a%20b&format=raw&x=%C3%A9+y"
        told = self.pool.python(3, f"""
import http.client, ssl
def ask(method, target):
    connection = http.client.HTTPSConnection("{MEMBER_ADDRESS}", timeout=30,
                                             context=ssl._create_unverified_context())
    connection.putrequest(method, target)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.getheader("Location")
tell([ask("GET", {target!r}), ask("PUT", "/import_raw_vdi?vdi=x&session_id=y"),
      ask("GET", "/no_such_thing"), ask("GET", "/export/?ref=x&use_compression=zstd"),
      ask("PUT", "/import/?sr_id=x&session_id=y")])
""")
        self.assertEqual(told[0], [302, f"https://{COORDINATOR}{target}"])
        self.assertEqual(told[1], [302, f"https://{COORDINATOR}/import_raw_vdi?vdi=x&session_id=y"])
        self.assertEqual(told[2][0], 404)
        self.assertEqual(told[3],
                         [302, f"https://{COORDINATOR}/export/?ref=x&use_compression=zstd"])
        self.assertEqual(told[4], [302, f"https://{COORDINATOR}/import/?sr_id=x&session_id=y"])

    def test_a_download_goes_on_by_way_of_a_member(self):
        api = self.api
        sr = api.pool.get_default_SR(api.pool.get_all()[0])
        vdi = api.VDI.create({
            "name_label": "resumed", "name_description": "", "SR": sr,
            "virtual_size": str(2 << 20), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}})
        self.addCleanup(api.VDI.destroy, vdi)
        told = self.pool.python(MEMBER, f"""
import hashlib, http.client, os, ssl, urllib.parse
def ask(method, target, headers={{}}, body=None, only=None):
    # As browsers do: what a member says of another place is followed, with the same headers.
    host = "{MEMBER_ADDRESS}"
    for step in range(2):
        connection = http.client.HTTPSConnection(
            host, timeout=60, context=ssl._create_unverified_context())
        connection.request(method, target, body if step else None, headers)
        answer = connection.getresponse()
        if answer.status != 302:
            read = answer.read(only)
            connection.close()
            return answer.status, answer.getheader("ETag"), read
        where = urllib.parse.urlsplit(answer.getheader("Location"))
        host, target = where.netloc, where.path + "?" + where.query
disk = os.urandom(2 << 20)
query = "vdi={vdi}&session_id={self.session._session}"
assert ask("PUT", "/import_raw_vdi?" + query, body=disk)[0] == 200
status, mark, first = ask("GET", "/export_raw_vdi?" + query, only=700001)
rest = ask("GET", "/export_raw_vdi?" + query, {{"Range": "bytes=700001-", "If-Range": mark}})
tell([status, rest[0], len(first), len(first) + len(rest[2]),
      hashlib.sha256(first + rest[2]).digest() == hashlib.sha256(disk).digest()])
""")
        self.assertEqual(told, [200, 206, 700001, 2 << 20, True])

    def make_vm(self, name):
        """A VM with a disk in the storage that only the member has."""
        api = self.api
        (sr,) = [row["SR"] for row in api.PBD.get_all_records().values()
                 if row["host"] == self.member() and api.SR.get_type(row["SR"]) == "file"]
        (template,) = api.VM.get_by_name_label("Other install media")
        vm = api.VM.clone(template, name)
        api.VM.provision(vm)
        vdi = api.VDI.create({
            "name_label": name, "name_description": "", "SR": sr, "virtual_size": str(1 << 20),
            "type": "user", "sharable": False, "read_only": False, "other_config": {},
            "xenstore_data": {}, "sm_config": {}, "tags": []})
        api.VBD.create({
            "VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk",
            "unpluggable": False, "empty": False, "other_config": {"owner": ""},
            "qos_algorithm_type": "", "qos_algorithm_params": {}})
        return vm

    def test_a_guest_starts_on_the_members_simulated_host(self):
        api = self.api
        vm = self.make_vm("guest of a member")
        api.VM.start(vm, False, False)
        self.assertEqual(api.VM.get_power_state(vm), "Running")
        self.assertEqual(api.VM.get_resident_on(vm), self.member())
        (console,) = [ref for ref in api.VM.get_consoles(vm)
                      if api.console.get_protocol(ref) == "rfb"]
        location = api.console.get_location(console)
        self.assertTrue(location.startswith(f"https://{MEMBER_ADDRESS}/console?"), location)
        # The bytes come from the member's hostd, by way of both daemons.
        greeting = self.pool.python(3, f"""
import socket, ssl, urllib.parse
where = urllib.parse.urlsplit({location!r})
stream = ssl._create_unverified_context().wrap_socket(
    socket.create_connection((where.hostname, 443), 30))
stream.sendall((f"CONNECT {{where.path}}?{{where.query}}"
                "&session_id={self.session._session} HTTP/1.0\\r\\n\\r\\n").encode())
text = b""
while b"RFB" not in text or not text.endswith(b"\\n"):
    piece = stream.recv(100)
    if not piece: break
    text += piece
tell(text.decode())
""")
        self.assertTrue(greeting.startswith("HTTP/1.1 200"), greeting)
        self.assertTrue(greeting.endswith("RFB 003.008\n"), greeting)
        self.assertEqual(self.banner_by_websocket(location), ["RFB 003.008\n"] * 2)
        api.VM.hard_shutdown(vm)
        self.assertEqual(api.VM.get_power_state(vm), "Halted")
        self.forget(vm)

    def banner_by_websocket(self, location):
        """What a page's WebSocket hears at the coordinator and at a member, where it is passed on:
        the client follows no redirects."""
        module = Path(lab.websocket_module().__file__).parent
        shutil.copytree(module, self.pool.state / "python/websocket", dirs_exist_ok=True)
        return self.pool.python(3, f"""
import ssl, urllib.parse, websocket
where = urllib.parse.urlsplit({location!r})
def banner(address):
    client = websocket.create_connection(
        f"wss://{{address}}{{where.path}}?{{where.query}}&session_id={self.session._session}",
        timeout=30, sslopt={{"cert_reqs": ssl.CERT_NONE, "check_hostname": False}},
        subprotocols=["binary"])
    return client.recv().decode()
tell([banner("{COORDINATOR}"), banner("{MEMBER_ADDRESS}")])
""")

    def forget(self, vm):
        disks = [self.api.VBD.get_VDI(vbd) for vbd in self.api.VM.get_VBDs(vm)
                 if self.api.VBD.get_type(vbd) == "Disk"]
        self.api.VM.destroy(vm)
        for disk in disks:
            self.api.VDI.destroy(disk)

    def test_a_plug_in_on_a_member_acts_with_its_callers_session(self):
        plugin = self.pool.state / f"host{MEMBER}/plugins/basalt-test"
        plugin.write_text(PLUGIN)
        plugin.chmod(0o755)
        said = self.api.host.call_plugin(self.member(), "basalt-test", "echo", {"word": "<&>"})
        self.assertEqual(said, f"echo <&> for {self.session._session} of host1",
                         "the caller logged in at the coordinator")
        with self.assertRaises(lab.xenapi_module().Failure) as caught:
            self.api.host.call_plugin(self.member(), "basalt-test", "fail", {"word": "why"})
        self.assertEqual(caught.exception.details, ["OWN_CODE", "why"])
        with self.assertRaises(lab.xenapi_module().Failure) as caught:
            self.api.host.call_plugin(self.member(), "no-such", "x", {})
        self.assertEqual(caught.exception.details[:2], ["XENAPI_MISSING_PLUGIN", "no-such"])
        done = self.pool.xe("host-call-plugin", f"host-uuid={self.uuid}", "plugin=basalt-test",
                            "fn=echo", "args:word=xe", number=MEMBER)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^echo xe for OpaqueRef:\S+ of host2\n$")

    def in_emergency(self):
        done = self.pool.xe("host-is-in-emergency-mode", number=MEMBER)
        return done.returncode == 0 and done.stdout.strip() == "true"

    def test_the_coordinator_lets_its_hosts_in_by_their_secret(self):
        raw = lab.Raw(self.pool)
        secret = (self.pool.state / "host1/xapi/ptoken").read_text().strip()
        session = raw.call("session.slave_local_login", secret)["Value"]
        self.assertEqual(raw.call("VM.get_all", session)["Status"], "Success")
        raw.call("session.local_logout", session)
        self.assertEqual(self.code(raw.call("VM.get_all", session)), "SESSION_INVALID")
        self.assertEqual(self.code(raw.call("session.slave_local_login", secret[:-1])),
                         "SESSION_AUTHENTICATION_FAILED")

    def test_cut_off_a_member_serves_emergency_calls_and_comes_back(self):
        vm = self.make_vm("guest that stays")
        self.api.VM.start(vm, False, False)
        on_socket = self.pool.python(MEMBER, ON_SOCKET + "tell(session._session)")
        pid, starts = self.pool.status()["host1.xapi"]
        self.pool.inside("kill", "-STOP", str(pid))
        try:
            lab.wait_until(self.in_emergency, CUT_OFF_SECONDS, "the member knows that it is cut off")
            told = self.pool.python(MEMBER, ASK + f"""
here = "{MEMBER_ADDRESS}"
local = xml(here, "session.slave_local_login_with_password", "root", "basalt")
ref = local["Value"]
wrong = xml(here, "session.slave_local_login_with_password", "root", "wrong")
def local_socket():
    session = XenAPI.xapi_local()
    session.slave_local_login_with_password("root", "")
    return session
own = local_socket()
told = {{
  "login": xml(here, *login), "start": xml(here, "VM.start", ref, "{vm}", False, False),
  "wrong": wrong, "emergency": xml(here, "host.is_in_emergency_mode", ref),
  "slave": xml(here, "pool.is_slave", ref, "OpaqueRef:NULL"),
  "foreign": xml(here, "host.is_in_emergency_mode", "{on_socket}"),
  "own": own.xenapi.host.is_in_emergency_mode(),
}}
own.xenapi.session.logout()
told["over"] = xml(here, "session.local_logout", ref)
told["gone"] = xml(here, "host.is_in_emergency_mode", ref)
tell(told)
""")
            self.assertEqual({name: self.code(told[name]) for name in
                              ("login", "start", "wrong", "foreign", "over", "gone")},
                             {"login": "HOST_STILL_BOOTING", "start": "HOST_STILL_BOOTING",
                              "wrong": "SESSION_AUTHENTICATION_FAILED",
                              "foreign": "SESSION_INVALID", "over": "Success",
                              "gone": "SESSION_INVALID"})
            self.assertEqual((told["emergency"]["Value"], told["slave"]["Value"], told["own"]),
                             (True, True, True))
            done = self.pool.xe("vm-list", number=MEMBER)
            self.assertEqual(done.returncode, 1)
            self.assertIn("HOST_STILL_BOOTING", done.stderr)
        finally:
            self.pool.inside("kill", "-CONT", str(pid))
        self.wait_back()
        self.assertEqual(self.pool.status()["host1.xapi"], (pid, starts), "it was only frozen")
        self.assertEqual(self.api.VM.get_power_state(vm), "Running")
        self.api.VM.hard_shutdown(vm)
        self.forget(vm)

    def wait_back(self):
        lab.wait_until(lambda: not self.in_emergency(), BACK_SECONDS, "the member is back")
        lab.wait_until(self.all_live, BACK_SECONDS, "all hosts are live again")

    def all_live(self):
        try:
            session = lab.login(self.pool)
        except (OSError, lab.xenapi_module().Failure, xmlrpc.client.Error, ssl.SSLError):
            return False
        type(self).session, type(self).api = session, session.xenapi
        return number_of_live(session) == 3

    def test_the_death_of_the_coordinator_is_survived(self):
        vm = self.make_vm("guest that survives")
        self.api.VM.start(vm, False, False)
        before = self.pool.status()
        self.pool.kill("xapi")
        lab.wait_until(self.all_live, BACK_SECONDS, "all hosts are live again")
        after = self.pool.status()
        self.assertEqual(before[f"host{MEMBER}.xapi"], after[f"host{MEMBER}.xapi"],
                         "members live on")
        self.assertEqual(self.api.VM.get_power_state(vm), "Running")
        self.assertEqual(self.api.VM.get_resident_on(vm), self.member())
        self.assertEqual(self.pool.xe("host-list", "--minimal", number=MEMBER).returncode, 0)
        self.api.VM.hard_shutdown(vm)
        self.forget(vm)

    def test_a_relayed_call_costs_little(self):
        figures = {}
        for number in (1, MEMBER):
            figures[number] = self.pool.python(number, ON_SOCKET + """
import time
api.host.get_all()
began = time.monotonic()
for _ in range(100): api.host.get_all()
tell((time.monotonic() - began) / 100)
""")
        lab.say(f"a call by the coordinator's socket {figures[1] * 1000:.2f} ms, "
                f"by a member's {figures[MEMBER] * 1000:.2f} ms")
        self.assertLess(figures[MEMBER], 0.25)


if __name__ == "__main__":
    unittest.main()
