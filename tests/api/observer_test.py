"""Observers (class Observer): what a collector of traces is told of calls."""

import http.client
import json
import ssl
import subprocess
import threading
import time
import unittest
import xmlrpc.client

import lab

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


SERVER = """
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps([self.path, self.headers["Content-Type"], body]), flush=True)
        self.send_response(int(sys.argv[1]))
        self.end_headers()

    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


class Collector:
    """A small HTTP server beside the host's daemons that tells what is posted to it."""

    def __init__(self, status):
        self.spans = []
        self.posts = []
        self.server = subprocess.Popen(
            [str(lab.DEV), "shell", "--state", str(lab.host().state), "--host", "1", "timeout", "300",
             "python3", "-c", SERVER, str(status)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.server.stdout.readline())
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.server.stdout:
            path, kind, spans = json.loads(line)
            self.posts.append((path, kind))
            self.spans += spans

    def named(self, name):
        return [span for span in list(self.spans) if span["name"] == name]

    def wait(self, name, count=1):
        return lab.wait_until(lambda: len(self.named(name)) >= count and self.named(name), 20,
                              f"a span {name}")

    def close(self):
        self.server.terminate()
        self.server.wait()
        self.server.stdout.close()


class Observers(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        self.addCleanup(lambda: self.session.logout())  # of a later one, after a restart
        (self.host,) = self.api.host.get_all()

    def observe(self, endpoints, **fields):
        observer = self.api.Observer.create({
            "name_label": "test", "name_description": "", "hosts": [], "attributes": {},
            "endpoints": endpoints, "components": [], "enabled": True, **fields})
        self.addCleanup(self.forget, observer)
        return observer

    def forget(self, observer):
        if observer in self.api.Observer.get_all():
            self.api.Observer.destroy(observer)

    def collector(self, status=202):
        collector = Collector(status)
        self.addCleanup(collector.close)
        return collector, f"http://127.0.0.1:{collector.port}/api/v2/spans"

    def call(self, method, *params, **headers):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", lab.host().port, timeout=60, context=ssl._create_unverified_context())
        connection.request("POST", "/", xmlrpc.client.dumps(params, method),
                           {"Content-Type": "text/xml", **headers})
        answer = xmlrpc.client.loads(connection.getresponse().read())[0][0]
        connection.close()
        return answer

    def refused(self, call, *params):
        with self.assertRaises(lab.xenapi_module().Failure) as caught:
            call(*params)
        return caught.exception.details

    def test_calls_arrive_at_a_collector_in_the_trace_of_who_made_them(self):
        collector, url = self.collector()
        observer = self.observe([url], attributes={"site.name": "lab"})
        answer = self.call("host.get_hostname", self.session._session, self.host,
                           traceparent=f"00-{TRACE}-{CALLER}-01")
        self.assertEqual(answer["Status"], "Success")
        answer = self.call("VM.start", self.session._session, "OpaqueRef:NULL", False, False,
                           traceparent=f"00-{TRACE}-{CALLER}-01")
        self.assertEqual(answer["Status"], "Failure")
        (read,) = collector.wait("host.get_hostname")
        self.assertEqual((read["traceId"], read["parentId"], read["kind"]),
                         (TRACE, CALLER, "SERVER"))
        self.assertRegex(read["id"], r"^[0-9a-f]{16}$")
        self.assertLess(abs(read["timestamp"] / 1e6 - time.time()), 60)
        self.assertGreaterEqual(read["duration"], 1)
        self.assertEqual(read["localEndpoint"], {"serviceName": "xapi"})
        tags = read["tags"]
        self.assertEqual(tags["xs.host.uuid"], self.api.host.get_uuid(self.host))
        self.assertEqual(tags["xs.observer.uuid"], self.api.Observer.get_uuid(observer))
        self.assertEqual((tags["site.name"], tags["otel.status_code"], tags["xs.observer.name"]),
                         ("lab", "OK", "test"))
        (failed,) = collector.wait("VM.start")
        self.assertEqual((failed["tags"]["otel.status_code"], failed["tags"]["error"]),
                         ("ERROR", "HANDLE_INVALID"))
        self.assertEqual(collector.posts[0], ("/api/v2/spans", "application/json"))

    def test_what_a_call_asks_of_its_host_is_below_it(self):
        collector, url = self.collector()
        self.observe([url])
        self.api.PUSB.scan(self.host)
        task = self.api.Async.PUSB.scan(self.host)
        lab.wait_until(lambda: self.api.task.get_status(task) == "success", 20, "the task ends")
        self.api.task.destroy(task)
        asked = collector.wait("hostd.usb_devices", 2)
        scans = {span["id"]: span for span in collector.wait("PUSB.scan", 2)}
        self.assertEqual({span["kind"] for span in asked}, {"CLIENT"})
        self.assertEqual({span["parentId"] for span in asked}, set(scans))
        for span in asked:
            self.assertEqual(span["traceId"], scans[span["parentId"]]["traceId"])
        (began,) = collector.wait("Async.PUSB.scan")
        (of_task,) = [span for span in scans.values() if span.get("parentId") == began["id"]]
        self.assertEqual(of_task["tags"]["xs.xapi.task"], task)
        # Its lines in the log say whose they are.
        log = (lab.host().state / "host1/log/xapi.log").read_text(errors="replace")
        self.assertIn(f"trace={of_task['traceId']}-{of_task['id']}", log)

    def test_nobody_is_told_of_what_is_not_observed(self):
        collector, url = self.collector()
        observer = self.observe([url], enabled=False)
        self.api.host.get_hostname(self.host)
        self.api.Observer.set_enabled(observer, True)
        self.api.Observer.set_components(observer, ["smapi", "xenopsd"])
        self.api.host.get_name_label(self.host)
        self.api.Observer.set_components(observer, ["xapi"])
        self.api.Observer.unregister(observer, self.host)
        self.api.host.get_address(self.host)
        self.api.Observer.register(observer, self.host)
        self.api.host.get_uuid(self.host)
        collector.wait("host.get_uuid")
        names = {span["name"] for span in collector.spans}
        self.assertFalse(names & {"host.get_hostname", "host.get_name_label", "host.get_address"},
                         names)
        self.api.Observer.destroy(observer)
        collector.spans.clear()
        self.api.host.get_hostname(self.host)
        time.sleep(6)
        self.assertEqual(collector.spans, [])

    def test_the_disk_of_the_host_has_them_too(self):
        self.observe(["bugtool"], hosts=[self.host])
        self.api.host.get_hostname(self.host)
        folder = lab.host().state / "host1/xapi/traces"

        def spans():
            lines = [line for file in sorted(folder.glob("xapi-*.ndjson"))
                     for line in file.read_text().splitlines()]
            return [span for line in lines for span in json.loads(line)
                    if span["name"] == "host.get_hostname"]

        found = lab.wait_until(spans, 20, "a line in a file")
        self.assertEqual(found[-1]["tags"]["service.name"], "xapi")
        for file in folder.iterdir():
            self.assertEqual(file.stat().st_mode & 0o077, 0, file)

    def test_a_collector_that_fails_harms_nobody(self):
        collector, url = self.collector(status=503)
        self.observe([url, "http://192.0.2.1:9/never"])
        self.api.host.get_hostname(self.host)
        collector.wait("host.get_hostname")
        log = lab.host().state / "host1/log/xapi.log"
        lab.wait_until(lambda: "traces_lost" in log.read_text(errors="replace"), 20, "a warning")
        self.assertEqual(self.api.host.get_enabled(self.host), True)

    def test_an_observer_outlives_a_restart(self):
        collector, url = self.collector()
        self.observe([url])
        lab.host().kill("xapi")
        lab.wait_until(self.logs_in, 60, "xapi is back")
        self.session = lab.login()
        self.api = self.session.xenapi
        self.api.host.get_hostname(self.host)
        collector.wait("host.get_hostname")

    def logs_in(self):
        try:
            lab.login().logout()
            return True
        except (OSError, lab.xenapi_module().Failure, http.client.HTTPException):
            return False

    def test_what_is_wrong_is_refused_and_changes_nothing(self):
        observer = self.observe([], enabled=False)
        before = self.api.Observer.get_record(observer)
        api = self.api.Observer
        for call, value, details in (
                (api.set_components, ["xapi", "networkd"], ["component", "networkd"]),
                (api.set_endpoints, ["ftp://collector/"], ["endpoint", "ftp://collector/"]),
                (api.set_endpoints, ["http://"], ["endpoint", "http://"]),
                (api.set_endpoints, ["http://a b/"], ["endpoint", "http://a b/"]),
                (api.set_endpoints, ["http://c:0/"], ["endpoint", "http://c:0/"]),
                (api.set_endpoints, ["bugtool", "http://[fe80::x]/"],
                 ["endpoint", "http://[fe80::x]/"]),
                (api.set_attributes, {"Upper": "x"}, ["attributes", "Upper:x"]),
                (api.set_attributes, {"a": "x"}, ["attributes", "a:x"]),
                (api.set_hosts, ["OpaqueRef:NULL"], ["host", "OpaqueRef:NULL"])):
            with self.subTest(value=value):
                self.assertEqual(self.refused(call, observer, value),
                                 ["INVALID_VALUE", *details])
        self.assertEqual(self.api.Observer.get_record(observer), before)
        count = len(self.api.Observer.get_all())
        self.assertEqual(self.refused(self.observe, ["nonsense"])[0], "INVALID_VALUE")
        self.assertEqual(len(self.api.Observer.get_all()), count)
        self.assertEqual(self.refused(api.register, observer, "OpaqueRef:NULL")[0],
                         "HANDLE_INVALID")
        api.set_endpoints(observer, ["bugtool", "https://[fd00::7]:9411/x", "http://zipkin.lab"])
        api.set_attributes(observer, {"site.name": "lab", "a_1": ""})
        api.set_hosts(observer, [self.host])
        self.assertEqual(api.get_hosts(observer), [self.host])

    def test_xe_makes_one_that_sleeps_at_first(self):
        done = lab.host().xe("observer-create", "name-label=by xe", "endpoints=bugtool")
        self.assertEqual(done.returncode, 0, done.stderr)
        observer = self.api.Observer.get_by_uuid(done.stdout.strip())
        self.addCleanup(self.forget, observer)
        self.assertEqual(self.api.Observer.get_endpoints(observer), ["bugtool"])
        self.assertEqual(self.api.Observer.get_enabled(observer), False)


if __name__ == "__main__":
    unittest.main()
