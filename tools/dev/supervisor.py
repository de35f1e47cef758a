"""Runs inside the sandbox of `./dev run`: makes the network, keeps the daemons, answers `./dev`.

    supervisor.py OPTIONS_JSON REPORT_FD

Lines on REPORT_FD: `progress TEXT`, then `ready PORT` or `failed TEXT`. The sandbox has a process
namespace of its own, so that everything, guests included, ends with it.
"""

import array
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

import net
import template
import xapi_client
from daemon import SLOWEST_SECONDS, SOON_SECONDS, Daemon
from hosts import PROGRAMS, STATE, TOOLS, Host, make_pool

GRACE_SECONDS = 5.0
READY_SECONDS = 90.0


class Supervisor:
    def __init__(self, options, report):
        self.options = options
        self.report_fd = report
        self.daemons = []
        count = options["hosts"]
        self.hosts = [Host(index + 1, in_pool=count > 1) for index in range(count)]
        self.sockets = {}  # by the host's number: they outlive its boots
        self.power_lock = threading.Lock()
        self.lan = 0
        self.port = 0
        self.ended = threading.Event()

    def report(self, text):
        print(text, flush=True)
        try:
            os.write(self.report_fd, f"{text}\n".encode())
        except OSError:
            pass  # whoever started us has gone; that is what --detach means

    def keep(self, name, command, host=None, **options):
        folder = host.folder if host else STATE
        label = f"{host.name}.{name}" if host else name
        daemon = Daemon(label, command, folder / "log" / f"{name}.log", **options).start()
        self.daemons.append(daemon)
        return daemon

    def start(self):
        os.makedirs("/var/lib/xcp", exist_ok=True)
        (STATE / "log").mkdir(exist_ok=True)
        (STATE / "lan").mkdir(exist_ok=True)
        forwarded = net.listening_socket(0, "127.0.0.1", self.options["port"])
        self.port = forwarded.getsockname()[1]
        self.report("progress making the network")
        lan = self.lan = net.hold(STATE / "lan")
        net.make_lan(lan)
        self.keep("dnsmasq", net.dhcp_command(STATE / "lan"), net=lan)
        for host in self.hosts:
            host.prepare(self.options["password"])
        if len(self.hosts) > 1:
            make_pool(self.hosts)
        for host in self.hosts:
            host.holder = net.hold(host.folder / "xcp")
            net.plug_host(lan, host.holder, host.index, host.mac)
            self.sockets[host.index] = self.open_sockets(
                host, forwarded if host.index == 1 else None)
            self.start_daemons(host)
        for host in self.hosts:
            self.report(f"progress waiting for {host.name}")
            self.wait_ready(host)
        if self.options["template"]:
            template.ensure(self.hosts[0], self.options["guest_bytes"],
                            lambda text: self.report(f"progress {text}"))
        self.report(f"ready {self.port}")

    def open_sockets(self, host, forwarded):
        sockets = [("http", net.listening_socket(host.holder, "0.0.0.0", 80)),
                   ("https", net.listening_socket(host.holder, "0.0.0.0", 443)),
                   ("nbd", net.listening_socket(host.holder, "0.0.0.0", 10809))]
        if forwarded:
            sockets.append(("https", forwarded))
        return sockets + [("unix", unix_listener(host.folder / "xcp/xapi"))]

    def start_daemons(self, host):
        where = {"net": host.holder, "mount": host.holder}
        if not host.simulated:
            host.make_switch_database()
            self.keep("ovsdb-server", host.ovsdb_command(), host, **where)
            host.initialise_switch()
            self.keep("ovs-vswitchd", host.vswitchd_command(), host, **where)
        # Who kills daemons on purpose does not want to wait ever longer for the next start.
        where["slowest"] = SOON_SECONDS if self.options["fault_points"] else SLOWEST_SECONDS
        hostd = [PROGRAMS / "hostd", "--config", host.config]
        self.keep("hostd", hostd + self.fault_options(host, "hostd"), host, **where)
        self.keep("xapi", host.xapi_command() + self.fault_options(host, "xapi"), host, **where,
                  sockets=self.sockets[host.index])

    def fault_options(self, host, name):
        return ["--fault-points", host.fault_folder(name)] if self.options["fault_points"] else []

    def wait_ready(self, host):
        deadline = time.monotonic() + READY_SECONDS
        problem = "its start of day is not over"
        while time.monotonic() < deadline:
            try:
                # The first host over the machine's port, as clients come; others by their socket.
                where = (f"https://127.0.0.1:{self.port}" if host.index == 1
                         else f"unix:{host.folder}/xcp/xapi")
                with xapi_client.Session(where, "root", self.options["password"] or "basalt") as api:
                    if host.index == 1 or api.call(
                            "host.get_enabled", api.call("host.get_by_uuid", host.uuid)):
                        return
            except (OSError, xapi_client.Failure, xapi_client.Unexpected) as error:
                problem = error
            time.sleep(0.3)
        raise TimeoutError(f"{host.name} does not serve: {problem} (see {host.name}/log)")

    def spawn(self, request, descriptors):
        """Runs a command inside a host's namespaces, on descriptors of the asking process."""
        host = self.hosts[request["host"] - 1]
        argv = [sys.executable, "-I", str(TOOLS / "enter.py"), "--net", str(host.holder),
                "--mount", str(host.holder), "--", *request["command"]]
        environment = {**os.environ, **request.get("environment", {})}
        return subprocess.Popen(argv, stdin=descriptors[0], stdout=descriptors[1],
                                stderr=descriptors[2], env=environment, start_new_session=True)

    def serve(self, connection):
        """One request of `./dev`: stop, status, or exec."""
        with connection:
            # SOCK_SEQPACKET: one packet is one request, with its descriptors.
            data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(3 * 4))
            descriptors = array.array("i")
            for _, _, payload in ancillary:
                descriptors.frombytes(payload[: len(payload) // 4 * 4])
            request = json.loads(data) if data else {}
            answer = {}
            if request.get("verb") == "stop":
                self.ended.set()
            elif request.get("verb") == "status":
                answer = {"port": self.port, "daemons": {
                    daemon.name: {"pid": daemon.process.pid if daemon.process else 0,
                                  "starts": daemon.starts} for daemon in self.daemons}}
            elif request.get("verb") == "power":
                answer = self.power(request)
            elif request.get("verb") == "exec" and len(descriptors) == 3:
                answer = self.execute(connection, request, descriptors)
            for fd in descriptors:
                os.close(fd)
            try:
                connection.send(json.dumps(answer).encode())
            except OSError:
                pass

    def execute(self, connection, request, descriptors):
        if not 1 <= request["host"] <= len(self.hosts):
            return {"error": f"there is no host {request['host']}"}
        process = self.spawn(request, descriptors)

        def end_with_caller():
            # The caller waits; its end of the connection closes when it is interrupted.
            if not connection.recv(1) and process.poll() is None:
                process.terminate()

        threading.Thread(target=end_with_caller, daemon=True).start()
        return {"code": process.wait()}

    # -- a host's power ------------------------------------------------------------------------------

    def power(self, request):
        """Begins what a host asked for itself, or another host for it; answers at once."""
        acts = {"reboot": self.reboot, "poweroff": self.power_off, "on": self.power_on,
                "restart_toolstack": self.restart_toolstack}
        if not 1 <= request["host"] <= len(self.hosts) or request["act"] not in acts:
            return {"error": f"there is no such host or act: {request}"}
        host = self.hosts[request["host"] - 1]

        def begin():
            time.sleep(request.get("delay", 0))
            with self.power_lock:
                if not self.ended.is_set():
                    print(f"{host.name}: {request['act']}", flush=True)
                    acts[request["act"]](host)

        threading.Thread(target=begin, daemon=True).start()
        return {}

    def daemons_of(self, host):
        return [daemon for daemon in self.daemons if daemon.name.startswith(f"{host.name}.")]

    def restart_toolstack(self, host):
        for daemon in self.daemons_of(host):
            if daemon.name.endswith((".xapi", ".hostd")) and daemon.process:
                daemon.process.terminate()  # its keeper starts it again

    def power_off(self, host):
        self.cut_power(host)
        if not any(self.daemons_of(other) for other in self.hosts):
            self.ended.set()  # nobody is left who could be asked to wake a host

    def cut_power(self, host):
        for daemon in reversed(self.daemons_of(host)):
            daemon.stop(GRACE_SECONDS)
            self.daemons.remove(daemon)
        # Guests and their disks outlive the daemons, and no boot.
        for pid in processes_beside(host.holder):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def power_on(self, host):
        if self.daemons_of(host):
            return
        host.prepare(None)
        if len(self.hosts) > 1:
            make_pool(self.hosts)
        net.address_host(host.holder, host.index)
        self.start_daemons(host)

    def reboot(self, host):
        self.cut_power(host)
        self.power_on(host)

    def listen(self):
        path = STATE / "control.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(16)

        def accept():
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self.serve, args=[connection], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def stop(self):
        """xapi first, so that it refuses nothing half-done; switches last."""
        for daemon in reversed(self.daemons):
            daemon.stop(GRACE_SECONDS)


def processes_beside(holder):
    """All that run in the holder's mount namespace, which is a host's own, but the holder."""
    here = os.readlink(f"/proc/{holder}/ns/mnt")
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(entry) != holder and \
                    os.readlink(f"/proc/{entry}/ns/mnt") == here:
                yield int(entry)
        except OSError:
            continue  # it has ended meanwhile


def unix_listener(path):
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    os.chmod(path, 0o600)
    listener.listen(256)
    return listener


def main():
    options = json.loads(sys.argv[1])
    lock = open(STATE / "lock", "a", encoding="ascii")  # held for as long as we live
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    supervisor = Supervisor(options, int(sys.argv[2]))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.ended.set())
    supervisor.listen()

    def start():
        try:
            supervisor.start()
        except Exception as error:  # whatever it was, whoever waits must hear of it
            traceback.print_exc()
            supervisor.report(f"failed {error}")
            supervisor.ended.set()

    threading.Thread(target=start, daemon=True).start()
    while not supervisor.ended.wait(1):
        pass
    supervisor.stop()
    # Not sys.exit: threads that wait for clients need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
