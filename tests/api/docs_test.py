"""The reference manual as a browser gets it from a host, and what it tells people to type."""

import html
import http.client
import json
import re
import ssl
import unittest
import urllib.parse
from pathlib import Path

import lab

FACTS = Path(__file__).parent / "facts/datamodel.json"


def ask_host(method, path, *rest):
    connection = http.client.HTTPSConnection(
        "127.0.0.1", lab.host().port, timeout=30, context=ssl._create_unverified_context())
    try:
        connection.request(method, path, *rest)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


class Docs(unittest.TestCase):
    def get(self, path):
        return ask_host("GET", path)

    def post(self, call):
        return json.loads(ask_host("POST", "/jsonrpc", json.dumps(call),
                                   {"Content-Type": "application/json"})[1])

    def test_every_page_that_the_front_page_links_to_is_there(self):
        answer, body = self.get("/docs")
        self.assertEqual((answer.status, answer.getheader("Location")), (302, "/docs/"))
        answer, body = self.get("/docs/")
        self.assertEqual(answer.status, 200)
        pages = {urllib.parse.urldefrag(link)[0]
                 for link in re.findall(r'href="([^"]+)"', body) if not link.startswith("data:")}
        self.assertGreater(len(pages), 70)
        for page in sorted(pages):
            answer, body = self.get(f"/docs/{page}")
            with self.subTest(page):
                self.assertEqual(answer.status, 200)
                self.assertIn("default-src 'none'", answer.getheader("Content-Security-Policy"))
        lab.say(f"{len(pages)} pages of the manual")

    def test_an_unknown_page_is_not_found(self):
        for path in ("/docs/Nothing.html", "/docs/../etc/passwd", "/docs/VM"):
            with self.subTest(path):
                self.assertEqual(self.get(path)[0].status, 404)

    def test_the_calls_of_the_first_steps_work(self):
        _, body = self.get("/docs/guide.html")
        typed = re.findall(r"-d \\\s+'(\{.*?\})'", html.unescape(body), re.DOTALL)
        self.assertEqual(len(typed), 2)
        login = json.loads(typed[0].replace("PASSWORD", lab.PASSWORD))
        session = self.post(login)["result"]
        ask = json.loads(typed[1])
        ask["params"] = [session if ref.startswith("OpaqueRef:") else ref for ref in ask["params"]]
        records = self.post(ask)["result"]
        self.assertTrue(any(vm["is_control_domain"] for vm in records.values()))
        self.post({"jsonrpc": "2.0", "id": 3, "method": "session.logout", "params": [session]})

    def test_what_the_manual_calls_not_built_answers_so(self):
        _, body = self.get("/docs/host.html")
        listed = re.findall(r'<tr id="(\w+)">', body[body.find('id="unbuilt"'):])
        classes = json.loads(FACTS.read_text())["classes"]
        (facts,) = (cls for cls in classes if cls["name"] == "host")
        of_a_host = {message["name"] for message in facts["messages"]
                     if [kind for _, kind, *_ in message["params"]] == ["host ref"]
                     and not message.get("pool_internal")}
        unbuilt = of_a_host.intersection(listed)
        self.assertTrue(unbuilt)
        session = lab.login()
        host = session.xenapi.host.get_all()[0]  # a handle that is wrong is told first
        for name in unbuilt:
            answer = self.post({"jsonrpc": "2.0", "id": 1, "method": f"host.{name}",
                                "params": [session._session, host]})
            with self.subTest(name):
                self.assertEqual(answer["error"]["message"], "NOT_IMPLEMENTED")
        session.xenapi.session.logout()


if __name__ == "__main__":
    unittest.main()
