"""Disks as byte streams over HTTP, as xe, Xen Orchestra and XenCenter send and fetch them."""

import hashlib
import http.client
import os
import socket
import ssl
import unittest

import lab

MIB = 1 << 20
UNKNOWN_LENGTH = 1125899906842624  # what xen-api announces for a stream without a length


class Transfers(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        (sr,) = self.api.SR.get_by_name_label("Local storage")
        self.vdi = self.api.VDI.create({
            "name_label": "transfer test", "name_description": "", "SR": sr,
            "virtual_size": str(4 * MIB), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}})
        self.task = self.api.task.create("transfer", "")
        self.addCleanup(self.clean)

    def clean(self):
        self.api.task.destroy(self.task)
        lab.wait_until(lambda: not self.api.VDI.get_current_operations(self.vdi), 10, "unmarked")
        self.api.VDI.destroy(self.vdi)
        self.session.xenapi.session.logout()

    def target(self, handler, **query):
        words = {"vdi": self.vdi, "session_id": self.session._session, **query}
        return f"/{handler}/?" + "&".join(f"{k}={v}" for k, v in words.items())

    def open(self):
        raw = socket.create_connection(("127.0.0.1", lab.host().port), timeout=60)
        stream = ssl._create_unverified_context().wrap_socket(raw)
        self.addCleanup(stream.close)
        return stream

    def put(self, target, length, body):
        """As XenCenter and xe do it: the body follows the answer. Returns the open connection."""
        stream = self.open()
        announced = "" if length is None else f"Content-length: {length}\r\n"
        stream.sendall(f"PUT {target} HTTP/1.0\r\n{announced}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = stream.recv(1)
            self.assertTrue(byte, head)
            head += byte
        self.head = head.decode().lower()
        self.assertIn(" 200 ", self.head.splitlines()[0])
        stream.sendall(body)
        return stream

    def export(self, **query):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        connection.request("GET", self.target("export_raw_vdi", **query))
        self.addCleanup(connection.close)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def ended(self):
        row = lambda: self.api.task.get_record(self.task)
        lab.wait_until(lambda: row()["status"] != "pending", 30, "the task has ended")
        return row()

    def test_what_went_in_comes_out(self):
        body = os.urandom(4 * MIB)
        stream = self.put(self.target("import_raw_vdi", task_id=self.task), len(body), body)
        self.assertNotIn("content-length", self.head)
        self.assertNotIn("chunked", self.head)
        self.assertEqual(stream.recv(1), b"")
        task = self.ended()
        self.assertEqual((task["status"], task["result"]),
                         ("success", f"<value>{self.vdi}</value>"))
        status, out = self.export()
        self.assertEqual(status, 200)
        self.assertEqual(hashlib.sha256(out).digest(), hashlib.sha256(body).digest())
        status, image = self.export(format="qcow2")
        self.assertEqual((status, image[:4]), (200, b"QFI\xfb"))

    def test_a_probe_changes_nothing(self):
        for length in (0, UNKNOWN_LENGTH):
            self.put(self.target("import_raw_vdi"), length, b"").close()
        self.assertEqual(self.api.task.get_status(self.task), "pending")
        self.assertEqual(self.api.VDI.get_current_operations(self.vdi), {})
        _, out = self.export()
        self.assertEqual(out, bytes(4 * MIB))

    def test_a_stream_of_unknown_length_ends_by_breaking_off(self):
        body = os.urandom(MIB)
        self.put(self.target("import_raw_vdi", task_id=self.task), UNKNOWN_LENGTH, body).close()
        self.ended()
        _, out = self.export()
        self.assertEqual(out[:MIB], body)

    def test_a_stream_that_ends_early_is_an_error(self):
        self.put(self.target("import_raw_vdi", task_id=self.task), 4 * MIB, bytes(MIB)).close()
        task = self.ended()
        self.assertEqual((task["status"], task["error_info"][0]), ("failure", "VDI_IO_ERROR"))

    def test_a_disk_under_transfer_is_marked_and_the_transfer_can_be_cancelled(self):
        stream = self.put(self.target("import_raw_vdi", task_id=self.task), 4 * MIB, bytes(MIB))
        marks = lab.wait_until(lambda: self.api.VDI.get_current_operations(self.vdi), 10, "marked")
        self.assertEqual(list(marks), [self.task])
        status, _ = self.export()
        self.assertEqual(status, 500)
        self.api.task.cancel(self.task)
        try:
            stream.sendall(bytes(MIB))
        except OSError:
            pass  # the server has let go already
        self.assertEqual(self.ended()["status"], "cancelled")

    def test_strangers_are_refused(self):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        connection.request("GET", f"/export_raw_vdi?vdi={self.vdi}")
        self.assertEqual(connection.getresponse().status, 401)


if __name__ == "__main__":
    unittest.main()
