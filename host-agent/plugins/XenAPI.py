"""The API for Python on the host: what scripts and plug-ins of such hosts import.

    session = XenAPI.xapi_local()            # by the host's own socket, as root
    session = XenAPI.Session("https://HOST") # checks the certificate unless ignore_ssl
    session.xenapi.login_with_password("root", "secret", "1.0", "my script")
    for vm in session.xenapi.VM.get_all(): ...
    session.xenapi.session.logout()

The same names and meanings as the module XenAPI of PyPI, which clients elsewhere install; this one
needs nothing beside Python. Errors of the API are `Failure`, with the code and its parameters in
`details`.
"""

import http.client
import socket
import ssl
import xmlrpc.client

API_VERSION_1_1 = "1.1"
API_VERSION_1_2 = "1.2"
LOCAL_SOCKET = "/var/lib/xcp/xapi"
# The host of this name is that socket; an address has to have one.
LOCAL_ADDRESS = "http://_var_lib_xcp_xapi/"
# A session that has ended is begun anew, this often.
LOGIN_TRIES = 3


class Failure(Exception):
    """`details`: the code of the error, and its parameters."""

    def __init__(self, details):
        super().__init__(details)
        self.details = details

    def __str__(self):
        return str(self.details)

    def _details_map(self):
        return {str(at): word for at, word in enumerate(self.details)}


class UDSHTTPConnection(http.client.HTTPConnection):
    """HTTP over the host's own socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(LOCAL_SOCKET)


class UDSTransport(xmlrpc.client.Transport):
    def make_connection(self, host):
        return UDSHTTPConnection(host)


def answer_of(response):
    """The value in a response of the API; Failure."""
    if not isinstance(response, dict) or "Status" not in response:
        raise xmlrpc.client.Fault(500, f"This is no response of the API: {response!r}")
    if response["Status"] != "Success":
        raise Failure(response["ErrorDescription"])
    return response.get("Value", "")


class Method:
    """A message that has been named, in one part or more: called, it is sent."""

    def __init__(self, send, name):
        self._send = send
        self._name = name

    def __getattr__(self, part):
        return Method(self._send, f"{self._name}.{part}")

    def __call__(self, *params):
        return self._send(self._name, params)


class Messages:
    """What `session.xenapi` is: `login*` and `logout` are the session's own, all else has its
    reference put before its parameters."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        if name in ("API_version", "handle"):
            return getattr(self._session, name)
        return Method(self._session.xenapi_request, name)


class Session(xmlrpc.client.ServerProxy):
    """One login. `uri`: https://HOST, http://HOST. `ignore_ssl`: any certificate will do."""

    def __init__(self, uri, transport=None, encoding=None, verbose=False, allow_none=True,
                 ignore_ssl=False):
        context = ssl.create_default_context() if uri.startswith("https") else None
        if context and ignore_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        super().__init__(uri, transport=transport, encoding=encoding, verbose=verbose,
                         allow_none=allow_none, context=context)
        self.transport = transport
        self._session = None
        self._login = None  # (message, its parameters), to begin anew with
        self.API_version = API_VERSION_1_1
        self.xenapi = Messages(self)

    @property
    def handle(self):
        """The session's reference."""
        return self._session

    def xenapi_request(self, name, params):
        """Sends a message. A session that the server has forgotten is begun anew."""
        if name.startswith(("login", "slave_local_login")):
            return self._log_in(name, params)
        if name in ("logout", "session.logout", "local_logout", "session.local_logout"):
            return self._log_out(name.rpartition(".")[2])
        for left in reversed(range(LOGIN_TRIES)):
            try:
                return self._send(name, self._session, *params)
            except Failure as failure:
                if failure.details[0] != "SESSION_INVALID" or not self._login or not left:
                    raise
                self._log_in(*self._login)

    def __getattr__(self, name):
        """Of a login or logout, without `xenapi` too; else a message as it is."""
        if name == "logout" or name.startswith(("login", "slave_local_login")):
            return Method(self.xenapi_request, name)
        return super().__getattr__(name)

    def _send(self, name, *params):
        return answer_of(super().__getattr__(name)(*params))

    def _log_in(self, name, params):
        self._session = self._send(f"session.{name}", *params)
        self._login = (name, params)
        self.API_version = self._version()
        return ""

    def _log_out(self, name):
        self._send(f"session.{name}", self._session)
        self._session = self._login = None
        return ""

    def _version(self):
        try:
            pool = self._send("pool.get_all", self._session)[0]
            host = self._send("pool.get_master", self._session, pool)
            major, minor = (self._send(f"host.get_API_version_{part}", self._session, host)
                            for part in ("major", "minor"))
        except Failure:
            # An emergency's session knows no objects.
            return API_VERSION_1_1
        return f"{major}.{minor}"


def xapi_local():
    """A session, not begun yet, with the host that the script runs on."""
    return Session(LOCAL_ADDRESS, transport=UDSTransport())
