"""Disks as byte streams over HTTP, as xe, Xen Orchestra and XenCenter send and fetch them."""

import hashlib
import http.client
import os
import re
import socket
import ssl
import struct
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

    def part(self, begin="", target=None, **headers):
        """What the host answers to a request for the bytes from there on: status, headers, body."""
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        if begin != "":
            headers["Range"] = f"bytes={begin}-"
        connection.request("GET", target or self.target("export_raw_vdi"),
                           headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def fill(self, body):
        self.put(self.target("import_raw_vdi"), len(body), body).recv(1)
        lab.wait_until(lambda: not self.api.VDI.get_current_operations(self.vdi), 10, "unmarked")

    def cut_off(self, target, length):
        """The first bytes of a download that then loses its connection."""
        stream = self.open()
        stream.sendall(f"GET {target} HTTP/1.1\r\nHost: host\r\n\r\n".encode())
        text = b""
        while b"\r\n\r\n" not in text or len(text.split(b"\r\n\r\n", 1)[1]) < length:
            text += stream.recv(65536)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()  # resets it
        head, body = text.split(b"\r\n\r\n", 1)
        return head.decode().lower(), body[:length]

    def test_a_download_that_broke_off_goes_on_where_it_was(self):
        size = 24 * MIB  # more than sockets hold by themselves
        self.api.VDI.resize(self.vdi, str(size))
        body = os.urandom(size)
        self.fill(body)
        target = self.target("export_raw_vdi", task_id=self.task)
        head, first = self.cut_off(target, MIB + 4321)
        self.assertIn("accept-ranges: bytes", head)
        etag = re.search(r'^etag: ("[0-9a-f]{32}")', head, re.MULTILINE)[1]
        self.assertEqual(self.ended()["status"], "failure")
        # A browser asks for the rest under the same address, with the task that has failed.
        status, headers, rest = self.part(len(first), target, If_Range=etag)
        self.assertEqual((status, headers["content-range"]),
                         (206, f"bytes {len(first)}-{size - 1}/{size}"))
        self.assertEqual(int(headers["content-length"]), len(rest))
        self.assertEqual(hashlib.sha256(first + rest).digest(), hashlib.sha256(body).digest())
        status, headers, _ = self.part(size)
        self.assertEqual((status, headers["content-range"]), (416, f"bytes */{size}"))

    def test_a_part_of_other_contents_is_not_sent(self):
        body = os.urandom(4 * MIB)
        self.fill(body)
        _, headers, _ = self.part()
        etag = headers["etag"]
        self.assertEqual(self.part()[1]["etag"], etag)
        body = body[:3 * MIB] + os.urandom(MIB)
        self.fill(body)
        status, headers, whole = self.part(2 * MIB, If_Range=etag)
        self.assertEqual((status, whole == body), (200, True))
        self.assertNotEqual(headers["etag"], etag)
        # Streams of the other formats are made anew each time, their times and all.
        for query in ("vhd", "qcow2", "tar"):
            status, headers, _ = self.part(
                5, self.target("export_raw_vdi", format=query), If_Range='"x"')
            self.assertEqual((status, headers["etag"], headers["accept-ranges"]), (200, None, None))

    def test_a_download_goes_on_after_the_daemons_were_killed(self):
        body = os.urandom(4 * MIB)
        self.fill(body)
        head, first = self.cut_off(self.target("export_raw_vdi"), 2 * MIB + 1)
        etag = re.search(r'^etag: (\S+)', head, re.MULTILINE)[1]
        for daemon in ("xapi", "hostd"):
            lab.host().kill(daemon)
        self.session = lab.wait_until(self.logged_in, 60, "it answers again")
        self.api = self.session.xenapi
        self.task = self.api.task.create("transfer", "")  # those from before are forgotten
        again = lab.wait_until(lambda: self.rest(len(first), etag), 60, "the disk's host is back")
        self.assertEqual(hashlib.sha256(first + again).digest(), hashlib.sha256(body).digest())

    def logged_in(self):
        try:
            return lab.login()
        except (OSError, http.client.HTTPException, lab.xenapi_module().Failure):
            return None

    def rest(self, begin, etag):
        status, _, body = self.part(begin, If_Range=etag)
        self.assertNotEqual(status, 200, "it begins anew")
        return body if status == 206 else None

    def test_strangers_are_refused(self):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        connection.request("GET", f"/export_raw_vdi?vdi={self.vdi}")
        self.assertEqual(connection.getresponse().status, 401)


if __name__ == "__main__":
    unittest.main()
