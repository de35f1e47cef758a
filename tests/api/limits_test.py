"""Bad, slow and greedy peers over real sockets: each meets its limit, which is counted, and new
clients are served all the while."""

import contextlib
import json
import re
import resource
import socket
import ssl
import threading
import time
import unittest

import lab

CONTEXT = ssl._create_unverified_context()


def tcp():
    return socket.create_connection(("127.0.0.1", lab.host().port), 30)


def tls():
    return CONTEXT.wrap_socket(tcp())


def rest_of(stream):
    """All that the server says until it ends the connection, however it ends it."""
    said = b""
    with contextlib.suppress(OSError):
        while piece := stream.recv(65536):
            said += piece
    return said


def post(path, body, headers=()):
    with tls() as stream:
        head = [f"POST {path} HTTP/1.1", "Host: h", "Connection: close", *headers]
        if not any(line.startswith("Content-Length:") for line in headers):
            head.append(f"Content-Length: {len(body)}")
        with contextlib.suppress(OSError):  # it may answer and close before it has read all
            stream.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return rest_of(stream)


def call(method, *params):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def exceeded(limit):
    """How often the limit has held so far."""
    with tls() as stream:
        session = lab.login()._session
        stream.sendall(f"GET /metrics HTTP/1.0\r\nCookie: session_id={session}\r\n\r\n".encode())
        text = rest_of(stream).decode()
    return int(re.search(rf'xapi_limit_exceeded_total{{limit="{limit}",[^}}]*}} (\d+)', text)[1])


class Limits(unittest.TestCase):
    def tearDown(self):
        began = time.monotonic()
        self.assertIn(b'"result":"x"', post("/jsonrpc", call("system.isAlive:", "x")))
        self.assertLess(time.monotonic() - began, 5, "others are served meanwhile")

    def test_a_head_that_drips_and_handshakes_that_stop_are_cut_and_others_get_in(self):
        before = exceeded("head_time"), exceeded("handshake_time")
        held = [tcp() for _ in range(50)]
        for stream in held[::2]:
            stream.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a hello
        self.assertIn(b'"result":"y"', post("/jsonrpc", call("system.isAlive:", "y")))
        began = time.monotonic()
        with tls() as stream:
            stream.sendall(b"POST / HTTP/1.1\r\n")
            stream.settimeout(1)
            while time.monotonic() - began < 60:
                try:
                    stream.sendall(b"X")
                    if not stream.recv(1):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        took = time.monotonic() - began
        self.assertGreater(took, 25)
        self.assertLess(took, 45)
        for stream in held:
            self.assertEqual(rest_of(stream), b"")
            stream.close()
        self.assertEqual((exceeded("head_time"), exceeded("handshake_time")),
                         (before[0] + 1, before[1] + 50))

    def test_ten_thousand_connections_are_bounded(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
        refusals = ("connections_of_peer", "handshakes_of_peer")
        before = sum(map(exceeded, refusals))
        held = []
        try:
            for number in range(10000):
                stream = tcp()
                stream.setblocking(False)
                held.append(stream)
                if number % 1000 == 999:  # what the server has closed need not be kept
                    held = self.open_ones(held)
            lab.wait_until(lambda: len(self.open_ones(held)) <= 500, 60, "500 stay open at most")
        finally:
            for stream in held:
                stream.close()
        lab.wait_until(self.serves, 30, "the places are free again")
        self.assertGreaterEqual(sum(map(exceeded, refusals)), before + 9000)

    def open_ones(self, streams):
        still = []
        for stream in streams:
            if self.is_closed(stream):
                stream.close()
            else:
                still.append(stream)
        return still

    @staticmethod
    def is_closed(stream):
        try:
            return stream.fileno() < 0 or stream.recv(1) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    @staticmethod
    def serves():
        with contextlib.suppress(OSError):
            return b'"result":"z"' in post("/jsonrpc", call("system.isAlive:", "z"))

    def test_a_reader_that_never_reads_holds_nobody_up(self):
        session = lab.login()._session
        large = call("event.from", session, ["*"], "", 0.0)
        held = []
        for _ in range(8):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", lab.host().port))
            stream = CONTEXT.wrap_socket(raw)
            stream.sendall(b"POST /jsonrpc HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(large)
                           + large)
            held.append(stream)
        began = time.monotonic()
        answer = post("/jsonrpc", large)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"), answer[:100])
        self.assertLess(time.monotonic() - began, 20, "a large answer passes those that stall")
        for stream in held:
            stream.close()

    def test_a_huge_head_and_a_huge_body_are_refused(self):
        for limit, answer in (
                ("head_bytes", post("/", b"", ["X: " + "x" * 20000])),
                ("body_bytes", post("/", b"x" * 400_000)),
                ("body_bytes", post("/jsonrpc", b"", ["Content-Length: 99999999999999"]))):
            with self.subTest(limit):
                self.assertTrue(answer.startswith(b"HTTP/1.1 500 Internal Error"), answer[:100])
        self.assertGreater(exceeded("head_bytes"), 0)
        self.assertGreater(exceeded("body_bytes"), 0)

    def test_a_chunked_body_without_end_is_refused(self):
        with tls() as stream:
            stream.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(100):
                    stream.sendall(b"400\r\n" + b"x" * 0x400 + b"\r\n")
            self.assertTrue(rest_of(stream).startswith(b"HTTP/1.1 500 Internal Error"))

    def test_nesting_entities_and_bytes_that_are_no_text_are_survived(self):
        deep_json = b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + b"[" * 140_000 + b"]" * 140_000
        deep_xml = (b"<methodCall><methodName>m</methodName><params><param>"
                    + b"<value><array><data>" * 10_000)
        entities = "".join(f'<!ENTITY a{i} "&a{i - 1};&a{i - 1};">' for i in range(1, 40))
        bomb = (f'<!DOCTYPE l [<!ENTITY a0 "ha">{entities}]><methodCall><methodName>system.isAlive:'
                "</methodName><params><param><value>&a39;</value></param></params></methodCall>")
        self.assertIn(b"nested too deeply", post("/jsonrpc", deep_json + b"}"))
        self.assertIn(b"500 Internal Error", post("/", deep_xml))
        answer = post("/", bomb.encode())
        self.assertIn(b"200 OK", answer)
        self.assertLess(len(answer), 2000)
        self.assertIn(b"UTF-8 expected", post("/jsonrpc", b'{"jsonrpc":"2.0","id":1,"method":"\xff",'
                                              b'"params":[]}'))

    def test_a_program_with_a_bound_waits_and_others_do_not(self):
        session = lab.login()
        api = session.xenapi
        limit = api.Rate_limit.create({"burst_size": 2.0, "fill_rate": 2.0})
        self.addCleanup(api.Rate_limit.destroy, limit)
        client = api.Caller.create({"user_agent": "bounded"})
        self.addCleanup(api.Caller.destroy, client)
        api.Rate_limit.add_caller(limit, client)

        def took(program):
            began = time.monotonic()
            for _ in range(5):
                self.assertIn(b'"result":"x"', post("/jsonrpc", call("system.isAlive:", "x"),
                                                    [f"User-Agent: {program}"]))
            return time.monotonic() - began

        free = took("unbounded/1.0")
        bounded = took("bounded/1.0 (test)")
        lab.say(f"five calls: {free:.2f} s, and {bounded:.2f} s at two at once and two a second")
        # Three of the five have to wait for a token, which come every half second.
        self.assertGreater(bounded, 1.2)
        self.assertLess(free, bounded)
        self.assertEqual(api.Caller.query_call_count(client), "5")
        self.assertEqual(api.Caller.query_token_usage(client), 5.0)

    def test_sixty_four_listeners_do_not_starve_a_polite_client(self):
        greedy_session, polite_session = lab.login()._session, lab.login()._session
        large = call("event.from", greedy_session, ["*"], "", 0.0)
        stop = threading.Event()
        done = [0]

        def be_greedy():
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    post("/jsonrpc", large)
                    done[0] += 1

        # As many as the machine's other connections leave room for.
        listeners = [threading.Thread(target=be_greedy, daemon=True) for _ in range(64)]
        for listener in listeners:
            listener.start()
        waits = []
        raw = lab.Raw()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            began = time.monotonic()
            self.assertEqual(raw.call("pool.get_all", polite_session)["Status"], "Success")
            waits.append(time.monotonic() - began)
        stop.set()
        for listener in listeners:
            listener.join(30)
        self.assertGreater(done[0], 0)
        waits.sort()
        lab.say(f"{len(waits)} polite calls beside {done[0]} greedy ones: median "
                f"{waits[len(waits) // 2] * 1000:.1f} ms, longest {waits[-1] * 1000:.1f} ms")
        self.assertLess(waits[len(waits) * 9 // 10], 2)


if __name__ == "__main__":
    unittest.main()
