"""The running host that the tests of this folder share, and the clients that they drive.

One `./dev run --detach` on a free port with a state folder of its own, started by whoever asks
first and stopped when the test program ends. BASALT_API_STATE and BASALT_API_PORT name a host that
runs already; it is left running. So do BASALT_API_POOL_STATE and BASALT_API_POOL_PORT for the pool
of three hosts that some tests ask for.
"""

import atexit
import functools
import http.client
import importlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
DEV = SOURCE / "dev"
PASSWORD = "basalt"
TEMPLATE = "Debian 13 (guest)"
START_SECONDS = 900  # of a tree that is built; the guest image may have to be made


def say(text):
    print(f"    {text}", file=sys.stderr, flush=True)


def dev(*arguments, **options):
    return subprocess.run([str(DEV), *map(str, arguments)], text=True, check=False, **options)


@dataclass
class Lab:
    state: Path
    port: int

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def status(self):
        """The daemons as their keeper sees them: name -> (pid in the sandbox, starts)."""
        answer = json.loads(dev("status", "--state", self.state, capture_output=True).stdout)
        return {name: (row["pid"], row["starts"]) for name, row in answer["daemons"].items()}

    def kill(self, daemon):
        """SIGKILL; returns when the daemon has been started again."""
        self.kill_now(daemon, self.status()[f"host1.{daemon}"])

    def kill_now(self, daemon, known):
        """The same with the status known already: the pid is one of the sandbox."""
        pid, starts = known
        self.inside("kill", "-KILL", str(pid))
        wait_until(lambda: self.status()[f"host1.{daemon}"][1] > starts, 30,
                   f"{daemon} is started again")

    def inside(self, *command, number=1, **options):
        """Runs a command in a host's namespaces."""
        return dev("shell", "--state", self.state, "--host", number, *command, **options)

    def xe(self, *arguments, number=1):
        return dev("xe", "--state", self.state, "--host", number, *arguments, capture_output=True,
                   timeout=300)

    def python(self, number, code):
        """Runs a program with the official module on a host, as its administrators' scripts run:
        what it gives to `tell` comes back."""
        program = f"import json, XenAPI\ndef tell(value): print(json.dumps(value))\n{code}"
        done = self.inside("env", "PYTHONPATH=/var/lib/basalt/python", "python3", "-c", program,
                           number=number, capture_output=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"the program ended with {done.returncode}: {done.stderr[-1500:]}")
        return json.loads(done.stdout)


@functools.cache
def host():
    """The running host. A start that failed fails every test that needs it."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("./dev run needs root")
    return with_module(started("BASALT_API"))


@functools.cache
def pool():
    """A running pool of three hosts, the second and third simulated behind real members."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("./dev run needs root")
    return with_module(started("BASALT_API_POOL", "--hosts", 3, "--no-template"))


def with_module(lab):
    """Programs on the lab's hosts find the official module."""
    (lab.state / "python").mkdir(exist_ok=True)
    for source in Path(xenapi_module().__file__).parent.glob("*.py"):
        shutil.copy(source, lab.state / "python")
    return lab


def started(name, *options):
    if state := os.environ.get(f"{name}_STATE"):
        return Lab(Path(state), int(os.environ[f"{name}_PORT"]))
    state = Path(tempfile.mkdtemp(prefix="basalt-api-", dir="/var/tmp"))
    atexit.register(end, state)
    preset = os.environ.get("BASALT_PRESET", "release")
    began = time.monotonic()
    done = dev("run", "--detach", "--state", state, "--port", 0, "--preset", preset, *options,
               stdout=subprocess.PIPE, timeout=START_SECONDS)
    ready = re.fullmatch(r"ready https://127\.0\.0\.1:(\d+) user root password (\S+)\n",
                         done.stdout)
    if done.returncode != 0 or not ready:
        for log in sorted(state.glob("host*/log/*.log")):
            say(f"--- the end of {log.relative_to(state)}")
            say("\n    ".join(log.read_text(errors="replace").splitlines()[-15:]))
        raise AssertionError(f"./dev run ended with {done.returncode}: {done.stdout!r}")
    say(f"./dev run was ready after {time.monotonic() - began:.1f} s")
    return Lab(state, int(ready[1]))


def end(state):
    dev("stop", "--state", state, timeout=120)
    if os.environ.get("BASALT_API_KEEP"):
        say(f"kept: {state}")
        return
    shutil.rmtree(state, ignore_errors=True)


def cache(name):
    folder = Path(os.environ.get("BASALT_CACHE", "/var/cache/basalt")) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def python_with_xenapi():
    """The interpreter of a virtual environment that has the official XenAPI module."""
    return python_with("XenAPI", "XenAPI")


@functools.cache
def python_with(module, package):
    """The interpreter of the tests' virtual environment, which has that module."""
    folder = cache("api-python")
    python = folder / "bin/python3"
    if has_module(python, module):
        return python
    for command in ([sys.executable, "-m", "venv", str(folder)],
                    [str(python), "-m", "pip", "install", "--quiet", package]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
        if done.returncode != 0:
            raise unittest.SkipTest(f"no module {module}: {command[2]} says "
                                    f"{(done.stderr or done.stdout)[-150:].strip()}")
    return python


def has_module(python, module):
    return python.exists() and subprocess.run(
        [str(python), "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


@functools.cache
def module_of(module, package):
    """A module of the virtual environment, here."""
    python = python_with(module, package)
    folders = [str(path) for path in python.parents[1].glob("lib/python3*/site-packages")]
    sys.path += [folder for folder in folders if folder not in sys.path]
    return importlib.import_module(module)


def xenapi_module():
    return module_of("XenAPI", "XenAPI")


def websocket_module():
    """A client of WebSockets (RFC 6455)."""
    return module_of("websocket", "websocket-client")


def node_with(name, package):
    """The folder of an npm project that has a package (`xen-api@4`)."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise unittest.SkipTest(f"this machine has no {program}")
    folder = cache(name)
    if not (folder / "node_modules" / package.split("@")[0] / "package.json").exists():
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix",
                               str(folder), package], capture_output=True, text=True,
                              check=False, timeout=300)
        if done.returncode != 0:
            raise unittest.SkipTest(f"no {package}: npm says {done.stderr[-200:].strip()}")
    return folder


@functools.cache
def node_with_xen_api():
    return node_with("api-node", "xen-api@4")


@functools.cache
def typescript():
    """The compiler's program."""
    return node_with("api-typescript", "typescript@5") / "node_modules/.bin/tsc"


def login(lab=None):
    """A session of the official module."""
    module = xenapi_module()
    session = module.Session((lab or host()).url, ignore_ssl=True)
    session.login_with_password("root", PASSWORD, "1.0", "basalt-tests")
    return session


class Raw:
    """XML-RPC over one connection, with nothing in between that would ask a second time."""

    def __init__(self, lab=None):
        self.connection = http.client.HTTPSConnection(
            "127.0.0.1", (lab or host()).port, timeout=60,
            context=ssl._create_unverified_context())

    def call(self, method, *params):
        """The answer's struct: Status, and Value or ErrorDescription."""
        self.connection.request("POST", "/", xmlrpc.client.dumps(params, method),
                                {"Content-Type": "text/xml"})
        return xmlrpc.client.loads(self.connection.getresponse().read())[0][0]


def template(session):
    (ref,) = session.xenapi.VM.get_by_name_label(TEMPLATE)
    return ref


def wait_until(condition, seconds, what):
    """Returns the first true answer of `condition`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.2)
    return answer


class Console:
    """The serial console of a VM, by CONNECT /console; what it says is gathered in a thread."""

    def __init__(self, session, vm):
        (console,) = [ref for ref in session.xenapi.VM.get_consoles(vm)
                      if session.xenapi.console.get_protocol(ref) == "vt100"]
        location = urllib.parse.urlsplit(session.xenapi.console.get_location(console))
        # By the machine's port: the host's own address is known in its network only.
        raw = socket.create_connection(("127.0.0.1", host().port), 30)
        # The unverified context: the host made its certificate itself, a moment ago.
        self.stream = ssl._create_unverified_context().wrap_socket(raw)
        self.stream.sendall(f"CONNECT {location.path}?{location.query}"
                            f"&session_id={session._session} HTTP/1.0\r\n\r\n".encode())
        self.text = ""
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.stream.recv(1)
            if not piece:
                break
            head += piece
        self.status = head.split(b"\r\n")[0].decode()
        if " 200 " not in self.status + " ":
            raise http.client.HTTPException(f"/console: {self.status}")
        self.stream.settimeout(None)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            while piece := self.stream.recv(4096):
                self.text += piece.decode(errors="replace")
        except OSError:
            pass

    def type(self, text):
        self.stream.sendall(text.encode())

    def wait(self, pattern, seconds, since=0):
        """The match of `pattern` in what came after `since`."""
        try:
            return wait_until(lambda: re.search(pattern, self.text[since:]), seconds, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}; the console's end: {self.text[-400:]!r}") from None

    def command(self, line, seconds=60):
        """What a shell command prints; the console must be at a shell prompt without echo."""
        mark = f"end{time.monotonic_ns()}"
        since = len(self.text)
        # The quotes keep the echo of the line from looking like its answer.
        self.type(f"{line}; echo {mark[:3]}''{mark[3:]}\n")
        self.wait(rf"{mark}\r?\n", seconds, since)
        # Without the shell's own control sequences (bracketed paste).
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", self.text[since:].split(mark)[0]).strip()

    def prompt(self, seconds=90):
        """A shell prompt, logged in if need be. A slow getty drops what is typed too early, so that
        a line without an answer is typed again, as a person would."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            since = len(self.text)
            self.type("\n")
            said = self.heard(r"login: ?$|# ?$", 10, since)
            if not said:
                continue
            if said.startswith("#"):
                return
            since = len(self.text)
            self.type("root\n")
            if not self.heard(r"Password: ?$", 20, since):
                continue
            since = len(self.text)
            self.type(f"{PASSWORD}\n")
            if self.heard(r"# ?$", 60, since):
                return
        raise AssertionError(f"no shell; the console's end: {self.text[-400:]!r}")

    def heard(self, pattern, seconds, since):
        try:
            return self.wait(pattern, seconds, since)[0]
        except AssertionError:
            return ""

    def close(self):
        try:
            # Wakes the thread that reads; closing alone would leave it, and the connection, there.
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        # Closed under the reader, the descriptor's number is the next socket's, whose bytes it takes.
        self.reader.join(30)
        self.stream.close()
