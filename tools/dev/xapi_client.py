"""A XenAPI client of the standard library alone, over HTTPS or a unix socket."""

import http.client
import socket
import ssl
import xmlrpc.client


TIMEOUT_SECONDS = 60


class Failure(Exception):
    """An error that the server answered: args are its code and parameters."""


class Unexpected(Exception):
    """No XenAPI answer at all."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=TIMEOUT_SECONDS):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Https(xmlrpc.client.SafeTransport):
    """A server that listens but never answers is an error here, not a reason to wait for ever."""

    def make_connection(self, host):
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT_SECONDS
        return connection


class UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def make_connection(self, host):
        return UnixConnection(self.path)


def proxy(where):
    """`where`: https://HOST:PORT or unix:PATH."""
    if where.startswith("unix:"):
        return xmlrpc.client.ServerProxy("http://localhost/", transport=UnixTransport(where[5:]))
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is the host's own, made a moment ago
    return xmlrpc.client.ServerProxy(where, transport=Https(context=context))


class Session:
    def __init__(self, where, user, password):
        self.server = proxy(where)
        self.ref = self._call("session.login_with_password", user, password, "1.0", "basalt-dev")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("session.logout")
        except (Failure, Unexpected, OSError):
            pass

    def call(self, method, *params):
        return self._call(method, self.ref, *params)

    def _call(self, method, *params):
        try:
            answer = getattr(self.server, method)(*params)
        except (xmlrpc.client.Error, http.client.HTTPException, SyntaxError) as error:
            raise Unexpected(f"{method}: {error}") from error
        if not isinstance(answer, dict) or answer.get("Status") not in ("Success", "Failure"):
            raise Unexpected(f"{method}: not a XenAPI answer")
        if answer["Status"] == "Failure":
            raise Failure(*answer["ErrorDescription"])
        return answer["Value"]
