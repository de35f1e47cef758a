"""Consoles as WebSockets, as pages in a browser open them (xapi/transfer/README.md)."""

import http.client
import re
import ssl
import unittest
import urllib.parse

import lab

UNCHECKED = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
ELSEWHERE = "https://elsewhere.example"


class Consoles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.session = lab.login()
        cls.api = cls.session.xenapi
        (template,) = cls.api.VM.get_by_name_label("Other install media")
        cls.vm = cls.api.VM.clone(template, "console test")
        cls.api.VM.provision(cls.vm)
        cls.api.VM.start(cls.vm, False, False)

    @classmethod
    def tearDownClass(cls):
        if cls.api.VM.get_power_state(cls.vm) != "Halted":
            cls.api.VM.hard_shutdown(cls.vm)
        cls.api.VM.destroy(cls.vm)
        cls.session.xenapi.session.logout()

    def location(self, vm, protocol):
        """A console's URL with the machine's port: its host's address is known in the lab only."""
        (console,) = [ref for ref in self.api.VM.get_consoles(vm)
                      if self.api.console.get_protocol(ref) == protocol]
        location = urllib.parse.urlsplit(self.api.console.get_location(console))
        return f"wss://127.0.0.1:{lab.host().port}{location.path}?{location.query}"

    def screen(self, **options):
        """The guest's graphical console."""
        return self.open(self.location(self.vm, "rfb"), **options)

    def open(self, url, session="query", **options):
        if session == "query":
            url += f"&session_id={self.session._session}"
        elif session == "cookie":
            options["cookie"] = f"session_id={self.session._session}"
        # This client sends an Origin like a browser's unless told not to.
        socket = lab.websocket_module().create_connection(
            url, timeout=30, sslopt=UNCHECKED, suppress_origin="origin" not in options, **options)
        self.addCleanup(socket.shutdown)
        return socket

    def refused(self, status, url=None, **options):
        module = lab.websocket_module()
        with self.assertRaises(module.WebSocketBadStatusException) as caught:
            self.open(url or self.location(self.vm, "rfb"), **options)
        self.assertEqual(caught.exception.status_code, status)
        return caught.exception

    def test_the_screen_speaks_rfb(self):
        socket = self.screen(subprotocols=["binary", "base64"])
        self.assertEqual(socket.getsubprotocol(), "binary")
        opcode, data = socket.recv_data()
        self.assertEqual((opcode, data), (lab.websocket_module().ABNF.OPCODE_BINARY,
                                          b"RFB 003.008\n"))
        socket.send_binary(b"RFB 003.008\n")
        self.assertEqual(socket.recv(), b"\x01\x01", "one way to authenticate: none")
        socket.ping("are you there")
        opcode, data = socket.recv_data(control_frame=True)
        self.assertEqual((opcode, data), (lab.websocket_module().ABNF.OPCODE_PONG,
                                          b"are you there"))
        socket.send_close(1000)
        opcode, data = socket.recv_data(control_frame=True)
        self.assertEqual((opcode, data), (lab.websocket_module().ABNF.OPCODE_CLOSE, b"\x03\xe8"))

    def test_a_vm_stands_for_its_screen_and_no_subprotocol_is_needed(self):
        for query in (f"uuid={self.api.VM.get_uuid(self.vm)}", f"ref={self.vm}"):
            socket = self.open(f"wss://127.0.0.1:{lab.host().port}/console?{query}")
            self.assertIsNone(socket.getsubprotocol())
            self.assertEqual(socket.recv(), b"RFB 003.008\n")

    def test_a_host_s_console_takes_what_is_typed(self):
        dom0 = self.api.host.get_control_domain(self.api.host.get_all()[0])
        socket = self.open(self.location(dom0, "vt100"))
        said = b""
        while not re.search(rb"[#$] ?$", said):
            said += socket.recv()
        socket.send("echo six times seven is $((6*7))\n")
        while b"is 42" not in said:
            said += socket.recv()
        socket.send_binary(b"exit\n")
        opcode = None
        while opcode != lab.websocket_module().ABNF.OPCODE_CLOSE:
            opcode, data = socket.recv_data(control_frame=True)
        self.assertEqual(data, b"\x03\xe8", "the shell has ended: a normal close")

    def test_who_may(self):
        self.assertEqual(self.screen(session="cookie").recv(), b"RFB 003.008\n")
        refused = self.refused(401, session=None)
        self.assertEqual(refused.resp_headers["www-authenticate"],
                         'Basic realm="connect_console_ws"')
        self.refused(401, session=None, cookie="session_id=OpaqueRef:bad")

    def test_a_foreign_page_does_not_ride_on_a_cookie(self):
        own = f"https://127.0.0.1:{lab.host().port}"
        self.assertEqual(self.screen(session="cookie", origin=own).recv(), b"RFB 003.008\n")
        self.refused(401, session="cookie", origin=ELSEWHERE)
        self.refused(401, session="cookie", origin="null")
        self.assertEqual(self.screen(origin=ELSEWHERE).recv(), b"RFB 003.008\n",
                         "it knows the session")

    def test_what_is_refused(self):
        self.refused(400, subprotocols=["base64"])
        nobody = f"wss://127.0.0.1:{lab.host().port}/console?uuid=no-such"
        refused = self.refused(500, url=nobody)
        self.assertIn(b"UUID_INVALID", refused.resp_body)
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=30,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        connection.request("GET", f"/console?ref={self.vm}&session_id={self.session._session}")
        self.assertEqual(connection.getresponse().status, 400)

    def test_a_message_too_long_is_told(self):
        socket = self.screen()
        socket.recv()
        # The limit counts when a frame announces its length: its bytes are not waited for.
        head = b"\x82\xff" + (2 << 20).to_bytes(8, "big") + b"mask"
        socket.sock.sendall(head)
        opcode, data = socket.recv_data(control_frame=True)
        self.assertEqual((opcode, data), (lab.websocket_module().ABNF.OPCODE_CLOSE, b"\x03\xf1"))

    def test_the_pool_may_allow_one_viewer_at_a_time(self):
        (pool,) = self.api.pool.get_all()
        first = self.screen()
        self.assertEqual(first.recv(), b"RFB 003.008\n")
        self.assertEqual(self.screen().recv(), b"RFB 003.008\n", "it is not limited yet")
        self.api.pool.set_limit_console_sessions(pool, True)
        self.addCleanup(self.api.pool.set_limit_console_sessions, pool, False)
        self.refused(503)
        with self.assertRaisesRegex(http.client.HTTPException, "503"):
            self.serial_twice()

    def serial_twice(self):
        first = lab.Console(self.session, self.vm)
        self.addCleanup(first.close)
        self.addCleanup(lab.Console(self.session, self.vm).close)

    def test_the_end_of_the_guest_ends_it(self):
        vm = self.api.VM.clone(self.api.VM.get_by_name_label("Other install media")[0], "short")
        self.addCleanup(self.api.VM.destroy, vm)
        self.api.VM.provision(vm)
        self.api.VM.start(vm, False, False)
        socket = self.open(self.location(vm, "rfb"))
        self.assertEqual(socket.recv(), b"RFB 003.008\n")
        self.api.VM.hard_shutdown(vm)
        opcode, data = socket.recv_data(control_frame=True)
        self.assertEqual((opcode, data), (lab.websocket_module().ABNF.OPCODE_CLOSE, b"\x03\xe8"))

    def test_one_that_a_client_makes_is_nobodys(self):
        # Of a console's fields a client sets this one alone.
        made = self.api.console.create({"other_config": {"made": "here"}})
        record = self.api.console.get_record(made)
        self.assertEqual((record["VM"], record["other_config"]), ("OpaqueRef:NULL", {"made": "here"}))
        self.api.console.destroy(made)
        self.assertNotIn(made, self.api.console.get_all())


if __name__ == "__main__":
    unittest.main()
