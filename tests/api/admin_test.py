"""What an administrator does to a host: its settings, its power, its certificate, what it tells of
itself. On a host of its own, because it is booted."""

import http.client
import importlib.util
import io
import json
import os
import ssl
import subprocess
import tarfile
import tempfile
import unittest
import urllib.parse
from pathlib import Path

import lab


HOST_XENAPI = Path(__file__).resolve().parents[2] / "host-agent/plugins/XenAPI.py"
PLUGIN = """#!/usr/bin/env python3
import json, XenAPI, XenAPIPlugin

def look(session, args):
    host = session.xenapi.session.get_this_host(session.handle)
    own = XenAPI.xapi_local()
    own.xenapi.login_with_password("root", "", "1.0", "own")
    callers = session.handle != own.handle
    code = ended = ""
    try:
        own.xenapi.VM.get_by_uuid("none")
    except XenAPI.Failure as failure:
        code = failure.details[0]
    own._session = "OpaqueRef:forgotten"
    anew = len(own.xenapi.VM.get_all()) > 0 and own.handle != "OpaqueRef:forgotten"
    version, last = own.API_version, own.handle
    own.xenapi.session.logout()
    try:
        XenAPI.answer_of(own.host.get_all(last))
    except XenAPI.Failure as failure:
        ended = failure.details[0]
    return json.dumps({"name": session.xenapi.host.get_hostname(host), "callers": callers,
                       "word": args["word"], "version": version, "code": code, "anew": anew,
                       "ended": ended})

def fail(session, args):
    return session.xenapi.VM.get_by_uuid("none")

XenAPIPlugin.dispatch({"look": look, "fail": fail})
"""


class Admin(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        self.module = lab.xenapi_module()
        (self.pool,) = self.api.pool.get_all()
        (self.host,) = self.api.host.get_all()

    def fails(self, code, call, *arguments):
        with self.assertRaises(self.module.Failure) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.details[0], code)

    def http(self, method, path, query, body=None, cookie=True):
        words = dict(query)
        if cookie:
            words["session_id"] = self.session._session
        connection = http.client.HTTPSConnection(
            "127.0.0.1", lab.host().port, timeout=60, context=ssl._create_unverified_context())
        connection.request(method, f"{path}?{urllib.parse.urlencode(words)}", body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer

    def test_names_are_the_machines_and_survive_a_restart_of_the_daemons(self):
        before = self.api.host.get_hostname(self.host)
        self.fails("HOST_NAME_INVALID", self.api.host.set_hostname_live, self.host, "a b")
        self.api.host.set_hostname_live(self.host, "lion")
        self.addCleanup(lambda: lab.login().xenapi.host.set_hostname_live(self.host, before))
        self.assertEqual(self.api.host.get_hostname(self.host), "lion")
        self.assertEqual((lab.host().state / "host1/etc/hostname").read_text(), "lion\n")
        lab.host().kill("hostd")
        lab.host().kill("xapi")
        lab.wait_until(self.serves, 60, "it serves again")
        self.assertEqual(lab.login().xenapi.host.get_hostname(self.host), "lion")

    def serves(self):
        try:
            session = lab.login()
            return session.xenapi.host_metrics.get_live(
                session.xenapi.host.get_metrics(self.host)) and session
        except (OSError, http.client.HTTPException, self.module.Failure):
            return None

    def test_a_zone_is_one_that_the_machine_knows(self):
        zones = self.api.host.list_timezones(self.host)
        self.assertIn("Europe/Zurich", zones)
        self.fails("INVALID_VALUE", self.api.host.set_timezone, self.host, "Mars/Base")
        self.api.host.set_timezone(self.host, "Europe/Zurich")
        self.addCleanup(self.api.host.set_timezone, self.host, "Etc/UTC")
        self.assertEqual((lab.host().state / "host1/etc/timezone").read_text(), "Europe/Zurich\n")

    def test_services_of_the_developers_machine_are_left_alone(self):
        self.fails("ENABLE_SSH_FAILED", self.api.host.enable_ssh, self.host)
        self.fails("OPERATION_NOT_ALLOWED", self.api.host.set_ntp_mode, self.host, "Disabled")
        self.assertEqual(self.api.host.get_ntp_servers_status(self.host), {})

    def test_plugins_that_clients_call_answer(self):
        self.assertIn(self.api.host.call_plugin(self.host, "hyperthreading.py",
                                                "get_hyperthreading", {}), ("true", "false"))
        told = json.loads(self.api.host.call_plugin(self.host, "lsblk.py", "list_block_devices", {}))
        self.assertIn("blockdevices", told)
        self.fails("XENAPI_MISSING_PLUGIN", self.api.host.call_plugin, self.host, "updater.py",
                   "check_update", {})

    def test_a_plugin_as_people_write_them_uses_the_host_s_own_modules(self):
        script = lab.host().state / "host1/plugins/own"
        script.write_text(PLUGIN)
        script.chmod(0o755)
        self.addCleanup(script.unlink)
        told = json.loads(self.api.host.call_plugin(self.host, "own", "look", {"word": "<&>"}))
        self.assertEqual(told, {
            "name": self.api.host.get_hostname(self.host), "callers": True, "word": "<&>",
            "version": ".".join(self.api.host.get_record(self.host)[f"API_version_{part}"]
                                for part in ("major", "minor")), "code": "UUID_INVALID", "anew": True, "ended": "SESSION_INVALID"})
        self.fails("UUID_INVALID", self.api.host.call_plugin, self.host, "own", "fail", {})

    def test_the_host_s_own_module_reaches_other_hosts_too(self):
        spec = importlib.util.spec_from_file_location("host_xenapi", HOST_XENAPI)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with self.assertRaises(ssl.SSLCertVerificationError):
            module.Session(lab.host().url).xenapi.login_with_password("root", lab.PASSWORD)
        session = module.Session(lab.host().url, ignore_ssl=True)
        with self.assertRaises(module.Failure) as wrong:
            session.login_with_password("root", "no", "1.0", "test")
        self.assertEqual(wrong.exception.details[0], "SESSION_AUTHENTICATION_FAILED")
        session.login_with_password("root", lab.PASSWORD, "1.0", "test")
        self.assertEqual(session.xenapi.host.get_all(), [self.host])
        session.logout()
        self.assertIsNone(session.handle)

    def test_an_extension_serves_a_call(self):
        script = lab.host().state / "host1/extensions/Test.echo"
        script.write_text("""#!/usr/bin/python3
import sys, xmlrpc.client
params, name = xmlrpc.client.loads(sys.stdin.read())
print(xmlrpc.client.dumps(({"Status": "Success", "Value": [name, *params]},), methodresponse=True))
""")
        script.chmod(0o755)
        self.addCleanup(script.unlink)
        self.assertTrue(self.api.host.has_extension(self.host, "Test.echo"))
        self.assertFalse(self.api.pool.has_extension(self.pool, "Test.none"))
        call = json.dumps({"method": "Test.echo", "params": ["you"], "id": 1})
        self.assertEqual(json.loads(self.api.host.call_extension(self.host, call)),
                         ["Test.echo", "you"])

    def test_bytes_of_a_blob(self):
        blob = self.api.host.create_new_blob(self.host, "notes", "text/plain", False)
        self.addCleanup(self.api.blob.destroy, blob)
        data = os.urandom(3 << 20)
        self.assertEqual(self.http("PUT", "/blob", {"ref": blob}, data)[0], 200)
        self.assertEqual(int(self.api.blob.get_size(blob)), len(data))
        status, body, answer = self.http("GET", "/blob", {"uuid": self.api.blob.get_uuid(blob)})
        self.assertEqual((status, body), (200, data))
        self.assertEqual(answer.getheader("content-type"), "text/plain")
        self.assertEqual(self.http("GET", "/blob", {"ref": blob}, cookie=False)[0], 401)
        self.api.blob.set_public(blob, True)
        self.assertEqual(self.http("GET", "/blob", {"ref": blob}, cookie=False)[1], data)

    def test_the_bundle_has_logs_and_no_password(self):
        listed = self.http("GET", "/system-status", {"list": "true"})[1].decode()
        self.assertEqual(listed, self.api.host.get_system_status_capabilities(self.host))
        status, body, _ = self.http("GET", "/system-status", {
            "entries": "xenserver-logs,xenserver-config,network-status", "output": "tar"})
        self.assertEqual(status, 200)
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            names = tar.getnames()
            text = b"".join(tar.extractfile(name).read() for name in names)
        self.assertTrue([name for name in names if name.endswith("hostd.log")], names)
        self.assertNotIn(self.session._session.encode(), text.replace(b"session_id=***", b""))
        self.assertEqual(self.http("GET", "/system-status", {"output": "rar"})[0], 500)

    def test_the_logs_alone_are_downloaded_too(self):
        status, body, _ = self.http("GET", "/host_logs_download", {})
        self.assertEqual(status, 200)
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:bz2") as tar:
            names = tar.getnames()
        self.assertTrue([name for name in names if name.endswith("xapi.log")], names)
        self.assertFalse([name for name in names if "network-status" in name], names)

    def test_a_note_is_about_something_that_there_is(self):
        uuid = self.api.host.get_uuid(self.host)
        note = self.api.message.create("test", "5", "Host", uuid, "text")
        self.addCleanup(self.api.message.destroy, note)
        self.assertEqual(self.api.message.get_record(note)["obj_uuid"], uuid)
        self.assertIn(note, self.api.message.get("Host", uuid, "19700101T00:00:00Z"))
        create, get = self.api.message.create, self.api.message.get
        self.fails("UUID_INVALID", create, "test", "5", "VM", uuid, "text")
        self.fails("UUID_INVALID", create, "test", "5", "Host", "none", "text")
        self.fails("UUID_INVALID", get, "SR", uuid, "19700101T00:00:00Z")

    def test_the_audit_log_names_who_did_what(self):
        self.api.pool.set_name_description(self.pool, "audited")
        self.fails("HOST_NOT_DISABLED", self.api.host.reboot, self.host)
        status, body, _ = self.http("GET", "/audit_log", {"since": "20200101T00:00:00Z"})
        self.assertEqual(status, 200)
        lines = body.decode().splitlines()
        self.assertTrue([line for line in lines if "'root'" in line and "'OK'" in line
                         and "pool.set_name_description" in line], lines[-5:])
        self.assertTrue([line for line in lines if "ERROR:HOST_NOT_DISABLED" in line])
        self.assertFalse([line for line in lines if "get_record" in line])
        self.assertEqual(self.http("GET", "/audit_log", {"since": "20990101T00:00:00Z"})[1], b"")

    def shown(self):
        return ssl.get_server_certificate(("127.0.0.1", lab.host().port))

    def test_a_certificate_is_replaced_while_connections_go_on(self):
        with tempfile.TemporaryDirectory() as folder:
            made = subprocess.run(
                ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "20",
                 "-subj", "/CN=lion", "-keyout", f"{folder}/key", "-out", f"{folder}/cert"],
                capture_output=True, check=False)
            self.assertEqual(made.returncode, 0, made.stderr)
            key, certificate = (Path(folder, name).read_text() for name in ("key", "cert"))
        self.fails("SERVER_CERTIFICATE_KEY_INVALID", self.api.host.install_server_certificate,
                   self.host, certificate, "no key", "")
        before = self.shown()
        self.fails("SERVER_CERTIFICATE_INVALID", self.api.host.install_server_certificate,
                   self.host, "none", key, "")
        self.assertEqual(self.shown(), before)
        self.api.host.install_server_certificate(self.host, certificate, key, "")
        self.assertEqual(self.shown().strip(), certificate.strip())
        (row,) = [one for one in self.api.Certificate.get_all_records().values()
                  if one["type"] == "host"]
        self.assertEqual(row["host"], self.host)
        self.api.host.reset_server_certificate(self.host)
        self.assertNotEqual(self.shown().strip(), certificate.strip())

    def test_authorities_and_revocations(self):
        certificate = self.api.host.get_server_certificate(self.host)
        self.api.pool.install_ca_certificate("own.pem", certificate)
        self.assertEqual(self.api.pool.certificate_list(), ["own.pem"])
        self.fails("CERTIFICATE_ALREADY_EXISTS", self.api.pool.install_ca_certificate, "own.pem",
                   certificate)
        self.api.pool.certificate_sync()
        self.api.pool.uninstall_ca_certificate("own.pem")
        self.assertEqual(self.api.pool.certificate_list(), [])
        self.fails("CRL_CORRUPT", self.api.pool.crl_install, "list", certificate)

    def test_plain_http_can_be_closed(self):
        ask = ["curl", "--silent", "--max-time", "5", "--output", "/dev/null", "--write-out",
               "%{http_code}", "http://127.0.0.1/"]
        if lab.host().inside("which", "curl", capture_output=True).returncode:
            ask = ["python3", "-c", "import urllib.request as u;"
                   "print(u.urlopen('http://127.0.0.1/docs').status)"]
        self.assertEqual(lab.host().inside(*ask, capture_output=True).returncode, 0)
        self.api.host.set_https_only(self.host, True)
        self.addCleanup(self.api.host.set_https_only, self.host, False)
        self.assertNotEqual(lab.host().inside(*ask, capture_output=True).returncode, 0)

    def test_restarted_daemons_serve_again(self):
        starts = lab.host().status()
        self.api.host.restart_agent(self.host)
        lab.wait_until(lambda: all(lab.host().status()[f"host1.{name}"][1] >
                                   starts[f"host1.{name}"][1] for name in ("xapi", "hostd")),
                       30, "both were started again")
        lab.wait_until(self.serves, 60, "it serves again")

    def test_z_a_reboot_is_one(self):
        boot = self.api.host.get_other_config(self.host)["boot_time"]
        template = lab.template(self.session)
        vm = self.api.VM.clone(template, "reboot test")
        self.api.VM.provision(vm)
        self.api.VM.start(vm, False, False)
        self.api.host.disable(self.host)
        self.fails("HOST_IN_USE", self.api.host.reboot, self.host)
        self.api.VM.hard_shutdown(vm)
        self.api.host.reboot(self.host)

        def booted():
            session = self.serves()
            config = session and session.xenapi.host.get_other_config(self.host)
            return session if config and config["boot_time"] != boot else None

        session = lab.wait_until(booted, 120, "it has booted")
        lab.wait_until(lambda: session.xenapi.host.get_enabled(self.host), 60, "it is enabled")
        session.xenapi.VM.start(vm, False, False)
        session.xenapi.VM.hard_shutdown(vm)
        session.xenapi.VM.destroy(vm)


if __name__ == "__main__":
    unittest.main()
