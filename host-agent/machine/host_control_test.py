"""Packing, hiding, and the words of a run; nothing here touches the machine."""

import contextlib
import importlib.util
import io
import json
import re
import socket
import tarfile
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("host_control", HERE / "host_control.py")
control = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(control)


class Bundle(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "xapi.log").write_text("login user=root password=tiger\nhost_ready\n")
        self.machine = control.Run("/nowhere", "1", self.folder)

    def pack(self, kind, *keys):
        out = io.BytesIO()
        control.bundle(self.machine, out, kind, keys)
        return io.BytesIO(out.getvalue())

    def test_a_tar_has_what_was_asked_for(self):
        for kind in ("tar", "tar.bz2"):
            with tarfile.open(fileobj=self.pack(kind, "xenserver-logs", "kernel-info")) as tar:
                names = ["/".join(name.split("/")[1:]) for name in tar.getnames()]
                self.assertIn("xenserver-logs/xapi.log", names)
                self.assertIn("kernel-info/proc/version", names)
                self.assertFalse([name for name in names if name.startswith("disk-info")])

    def test_a_zip_has_it_too_and_secrets_are_hidden(self):
        with zipfile.ZipFile(self.pack("zip", "xenserver-logs")) as archive:
            (name,) = archive.namelist()
            text = archive.read(name).decode()
        self.assertIn("host_ready", text)
        self.assertIn("password=***", text)
        self.assertNotIn("tiger", text)

    def test_traces_that_lie_on_the_disk_are_logs_too(self):
        (self.folder / "log").mkdir()
        (self.folder / "xapi/traces").mkdir(parents=True)
        (self.folder / "xapi/traces/xapi-1.ndjson").write_text("[]\n")
        self.machine = control.Run("/nowhere", "1", self.folder / "log")
        with tarfile.open(fileobj=self.pack("tar", "xenserver-logs")) as tar:
            self.assertEqual([name.split("/", 2)[2] for name in tar.getnames()],
                             ["traces/xapi-1.ndjson"])

    def test_what_opens_doors_is_hidden(self):
        for text, kept in (
                ('{"password": "a b", "user": "root"}', '{"password": ***, "user": "root"}'),
                ("pool_secret=1-2-3 x", "pool_secret=*** x"),
                ("session_id=OpaqueRef:1", "session_id=***"),
                ("chapuser = joe", "chapuser = ***"),
                ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "***"),
                ("passed 3 tests", "passed 3 tests")):
            self.assertEqual(control.redacted(text), kept)

    def test_its_keys_are_those_that_clients_are_told(self):
        told = (HERE / "../../xapi/core/system_status.cpp").read_text()
        keys = re.findall(r'\{"([a-z-]+)", "[a-z]+/[a-z]+"', told)
        self.assertEqual(sorted(keys), sorted(control.parts(self.machine)))


class Words(unittest.TestCase):
    def test_a_hosts_power_in_a_run_is_its_supervisors(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/control.sock"
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(path)
            listener.listen(1)
            asked = []

            def serve():
                connection, _ = listener.accept()
                with connection:
                    asked.append(json.loads(connection.recv(65536)))
                    connection.send(b"{}")

            thread = threading.Thread(target=serve)
            thread.start()
            self.assertEqual(control.main(["--run", path, "2", folder, "power", "reboot"]), 0)
            thread.join()
            listener.close()
        self.assertEqual((asked[0]["verb"], asked[0]["host"], asked[0]["act"]),
                         ("power", 2, "reboot"))

    def test_a_run_sets_no_clock_and_no_services_of_the_developers_machine(self):
        for words in (["clock", "5"], ["apply", "ssh-on"], ["apply", "ntp-off"], ["ntp-sources"],
                      ["apply", "multipath-on"], ["debug-keys", "q"], ["max-cstate", "1"],
                      ["pci-hidden"], ["pci-hide", "0000:3b:00.0"], ["pci-show", "0000:3b:00.0"]):
            self.assertEqual(control.main(["--run", "/nowhere", "1", "/tmp", *words]), 3, words)
        self.assertEqual(control.main(["--run", "/nowhere", "1", "/tmp", "apply", "hostname"]), 0)

    def test_what_the_boot_loader_hides_is_asked_of_who_knows_it(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "slots.py"
            program.write_text("import sys\n"
                               "if sys.argv[1:] == ['hidden']: print('0000:3b:00.0')\n"
                               "if sys.argv[1:] == ['hide', '0000:00:1f.2']:\n"
                               "    sys.exit(print('0000:00:1f.2', file=sys.stderr) or 4)\n"
                               "if sys.argv[2:] == ['bad']: sys.exit('no such disk')\n")
            out = io.StringIO()
            said = io.StringIO()
            with mock.patch.object(control, "SLOTS", str(program)), \
                    mock.patch.object(control.Path, "read_text", lambda *_, **__: "basalt.slot=a"), \
                    contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
                statuses = [control.main(list(words)) for words in (
                    ("pci-hidden",), ("pci-hide", "0000:00:1f.2"), ("pci-show", "0000:3b:00.0"),
                    ("pci-hide", "bad"))]
        self.assertEqual(statuses, [0, 4, 0, 1])
        self.assertEqual(out.getvalue(), "0000:3b:00.0\n")
        self.assertEqual(said.getvalue().splitlines()[0], "0000:00:1f.2")

    def test_a_live_system_hides_nothing(self):
        with mock.patch.object(control.Path, "read_text", lambda *_, **__: "boot=basalt"), \
                mock.patch("sys.stderr"):
            self.assertEqual(control.main(["pci-hide", "0000:3b:00.0"]), 3)


if __name__ == "__main__":
    unittest.main()
