"""What the host's console shows and does: read from the API on root's own socket, from files, and
done through systemd. Nothing here draws.
"""

import hashlib
import ipaddress
import json
import ssl
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

# Installed, our programs lie a folder higher; in the source tree the tests say where.
sys.path[:0] = [str(Path(__file__).resolve().parents[1]),
                str(Path(__file__).resolve().parents[1] / "installer")]

import management
import slots
import xapi_client
from answers import NO_ADDRESS, Refused, checked_network

LOCAL_SOCKET = "/var/lib/xcp/xapi"
ACT_SECONDS = 300
LOOK_SECONDS = 0.5
# An address that others give takes them some seconds.
LEARN_SECONDS = 40
AGAIN_SECONDS = 2
LOG_LINES = 2000
LOGS = {"The host's services": ["-u", "xapi", "-u", "hostd", "-u", "basalt*"],
        "The kernel": ["--dmesg"], "Everything since the start": ["--boot"]}


# As the API calls them -> for people.
IPV6_WAYS = {"None": "none", "Static": "fixed", "DHCP": "by DHCP",
             "Autoconf": "as routers announce"}


class Failed(Exception):
    """A sentence for the person at the console."""


@dataclass(frozen=True)
class Facts:
    """`known`: whether the API answered; without it, what files tell is all there is."""

    product: str = "Basalt"
    hostname: str = ""
    uuid: str = ""
    address: str = ""  # with its prefix
    gateway: str = ""
    dns: tuple = ()
    device: str = ""
    mac: str = ""
    how: str = "fixed"  # what kind of address it is, for people
    # Of the management interface by IPv6, beside what it is managed by; the API says it.
    ipv6: tuple = ()  # addresses, with their prefixes
    ipv6_how: str = ""  # one of IPV6_WAYS; empty: not known
    gateway6: str = ""
    fingerprint: str = ""  # SHA-256 of the certificate that clients are shown
    notice: str = ""
    live: bool = False
    known: bool = False
    enabled: bool = False
    pool: str = ""
    hosts: int = 1
    xen: str = ""
    processor: str = ""
    processors: int = 0
    memory_bytes: int = 0
    memory_free_bytes: int = 0
    running: int = 0  # VMs, without the control domain
    # What is read only for who looks at it; None: it has not been read.
    vms: tuple | None = None  # (name, power state), without templates and the control domain
    srs: tuple | None = None  # (name, bytes used, bytes there are)


def run(argv, text=None, seconds=ACT_SECONDS):
    return subprocess.run(argv, input=text, capture_output=True, text=True, errors="replace",
                          check=False, timeout=seconds)


def must(argv, doing):
    try:
        done = run(argv)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{doing} failed: {error}") from error
    if done.returncode:
        raise Failed(f"{doing} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def read(path):
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def fingerprint(pem):
    """As browsers print it; empty without a certificate."""
    try:
        body = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE"):])
    except ValueError:
        return ""
    digest = hashlib.sha256(body).hexdigest().upper()
    return ":".join(digest[at:at + 2] for at in range(0, len(digest), 2))


class Host:
    """The machine below. `root`: where its files are."""

    def __init__(self, root=Path("/"), socket=LOCAL_SOCKET):
        self.root = root
        self.socket = socket

    # -- what there is ------------------------------------------------------------------------------

    def facts(self, details=()):
        """`details`: `vms`, `srs` or both; a large host has thousands of them."""
        facts = self.facts_of_files()
        try:
            return self.with_api(facts, details)
        except (OSError, xapi_client.Failure, xapi_client.Unexpected, KeyError):
            return Facts(**facts)

    def facts_of_files(self):
        try:
            config = tomllib.loads(read(self.root / "etc/basalt/host.toml")).get("host", {})
        except tomllib.TOMLDecodeError:
            config = {}
        device = config.get("management", "")
        # Set since the start: in force already, and in the configuration from the next start on.
        how = "by DHCP" if (self.root / "run/basalt/lease").exists() else "fixed"
        if (kept := management.kept_by_hostd(self.root)) and kept["address"]:
            config.update((key, kept[key]) for key in ("address", "gateway", "dns"))
            if kept["address"] == "none":
                # One that is learnt only the API knows.
                config["address"] = kept["ipv6"]
                how = "fixed" if kept["ipv6"] else self.how_ipv6_is_learnt()
        release = dict(line.split("=", 1) for line in
                       read(self.root / "usr/share/basalt/release").splitlines() if "=" in line)
        words = read(self.root / "proc/cmdline").split()
        return {
            "product": " ".join((release.get("PRODUCT_BRAND", "Basalt"),
                                 release.get("PRODUCT_VERSION", ""))).strip(),
            "hostname": read(self.root / "proc/sys/kernel/hostname"),
            "uuid": config.get("uuid", ""), "address": config.get("address", ""),
            "gateway": config.get("gateway", ""),
            "dns": tuple(config.get("dns", ())) or self.name_servers(),
            "device": device, "mac": read(self.root / "sys/class/net" / device / "address"),
            "how": how,
            "fingerprint": fingerprint(read(self.root / "var/lib/basalt/xapi/tls.pem")),
            "notice": " ".join(filter(None, [slots.read_notice(self.root / "var/lib/basalt"),
                                             self.mirror_notice()])),
            "live": "boot=basalt" in words and not slots.running(words),
        }

    def name_servers(self):
        """That are asked now: a lease of DHCPv6 brings them, and no configuration has them."""
        lines = (line.split() for line in read(self.root / "etc/resolv.conf").splitlines())
        return tuple(words[1] for words in lines if words[:1] == ["nameserver"] and words[1:])

    def how_ipv6_is_learnt(self):
        lease = (self.root / "run/basalt/lease6").exists()
        return "by DHCP" if lease else "as routers announce"

    def mirror_notice(self):
        """Empty when no array lacks a disk."""
        lacks = [path for path in self.root.glob("sys/block/md*/md/degraded")
                 if read(path) not in ("", "0")]
        return "The mirror lacks a disk: guests run on, until the other one fails." if lacks else ""

    def with_api(self, facts, details):
        with xapi_client.Session(f"unix:{self.socket}", "root", "") as api:
            ref = api.call("session.get_this_host", api.ref)
            host = api.call("host.get_record", ref)
            metrics = api.call("host_metrics.get_record", host["metrics"])
            pool = next(iter(api.call("pool.get_all_records").values()))
            hosts = len(api.call("host.get_all"))
            pif = api.call("PIF.get_record", api.call("host.get_management_interface", ref))
            listed = {name: getattr(self, f"list_{name}")(api) for name in details}
        return Facts(**{
            **facts, "address": facts["address"] or host["address"],
            "known": True, "enabled": host["enabled"], "pool": pool["name_label"],
            "ipv6": tuple(pif["IPv6"]), "gateway6": pif["ipv6_gateway"],
            "ipv6_how": IPV6_WAYS.get(pif["ipv6_configuration_mode"], ""),
            "hosts": hosts, "xen": host["software_version"].get("xen", ""),
            "processor": host["cpu_info"].get("modelname", ""),
            "processors": int(host["cpu_info"].get("cpu_count", 0)),
            "memory_bytes": int(metrics["memory_total"]),
            "memory_free_bytes": int(metrics["memory_free"]),
            # The control domain is resident too.
            "running": max(len(host["resident_VMs"]) - 1, 0), **listed})

    @staticmethod
    def list_vms(api):
        return tuple(sorted((vm["name_label"], vm["power_state"])
                            for vm in api.call("VM.get_all_records").values()
                            if not vm["is_a_template"] and not vm["is_control_domain"]))

    @staticmethod
    def list_srs(api):
        return tuple(sorted((sr["name_label"], int(sr["physical_utilisation"]),
                             int(sr["physical_size"]))
                            for sr in api.call("SR.get_all_records").values()))

    # -- who may ------------------------------------------------------------------------------------

    def password_is_right(self, password):
        """Root's, by the program that PAM asks too; so it works while our daemons do not."""
        return run(["unix_chkpwd", "root", "nullok"], password + "\0").returncode == 0

    # -- what is done -------------------------------------------------------------------------------

    def set_network(self, facts, address, gateway="", dns=()):
        """`address`: with its prefix, or "dhcp". Takes effect at once, and at each start. Throws
        Refused for what is none, Failed when it does not work."""
        if facts.hosts > 1:
            raise Refused("The address of a pool's host is changed through the pool.")
        wanted = checked_network(facts.mac, address, gateway, list(dns))
        if facts.known:
            self.tell_api(wanted)
        elif management.kept_by_hostd(self.root):
            raise Failed("The services keep an address that was set through them, and do not "
                         "answer now.")
        slots.write_durable(self.root / "var/lib/basalt/management.json", json.dumps(
            {"mac": facts.mac, "address": wanted.address, "gateway": wanted.gateway,
             "dns": list(wanted.dns)}, indent=1) + "\n")
        # hostd and xapi start again with it, and give the address to the bridge.
        must(["systemctl", "restart", "basalt-prepare.service"], "Changing the address")
        must(["systemctl", "start", "hostd.service", "xapi.service", "basalt-lease.service",
              "basalt-network.service"], "Starting the host's services")

    def tell_api(self, wanted):
        """Once the API was told, hostd keeps that: what files say later would not count."""
        if wanted.address:
            interface = ipaddress.IPv4Interface(wanted.address)
            told = ("Static", str(interface.ip), str(interface.netmask), wanted.gateway,
                    ",".join(wanted.dns))
        else:
            told = ("DHCP", "", "", "", "")
        try:
            with xapi_client.Session(f"unix:{self.socket}", "root", "") as api:
                host = api.call("session.get_this_host", api.ref)
                self.wait_for(api, api.call(
                    "Async.PIF.reconfigure_ip", api.call("host.get_management_interface", host),
                    *told))
        except (OSError, xapi_client.Failure, xapi_client.Unexpected) as error:
            raise Failed(f"Changing the address failed: {error}") from error

    def set_ipv6(self, facts, mode, address="", gateway="", dns=()):
        """`mode`: a key of IPV6_WAYS; the rest belongs to Static, `address` with its prefix. Takes
        effect at once, and at each start: the services keep it, so they must answer. Throws Refused
        for what is none, Failed when it does not work."""
        if facts.hosts > 1:
            raise Refused("The address of a pool's host is changed through the pool.")
        if mode == "Static":
            wanted = checked_network(facts.mac, NO_ADDRESS, "", list(dns), ipv6=address,
                                     gateway6=gateway)
            address, dns = wanted.ipv6, wanted.dns
        elif mode == "None" and ":" in facts.address:
            raise Refused("The host is managed by IPv6, and has to keep an address of it.")
        elif ":" in facts.address and facts.ipv6_how == IPV6_WAYS["Static"]:
            # The services look for one at once, and would refuse (INTERFACE_HAS_NO_IP).
            raise Refused("The host is managed by this address, and would have none until others "
                          "give it one. Another fixed one can be chosen.")
        if not facts.known:
            raise Failed("The services keep addresses of IPv6, and do not answer now.")
        told = (mode, address, gateway, ",".join(dns))
        leased = self.leased_ipv6()
        try:
            with xapi_client.Session(f"unix:{self.socket}", "root", "") as api:
                pif = api.call("host.get_management_interface",
                               api.call("session.get_this_host", api.ref))
                self.wait_for(api, api.call("Async.PIF.reconfigure_ipv6", pif, *told))
                # It asks for the lease of DHCPv6, and forgets one that is not wanted any more.
                must(["systemctl", "restart", "basalt-network.service"], "Asking for the lease")
                self.wait_for_ipv6(api, pif, told, leased)
        except (OSError, xapi_client.Failure, xapi_client.Unexpected) as error:
            raise Failed(f"Changing the address failed: {error}") from error

    def leased_ipv6(self):
        """When a lease of DHCPv6 was noted; 0: there is none."""
        try:
            return (self.root / "run/basalt/lease6").stat().st_mtime_ns
        except OSError:
            return 0

    def wait_for_ipv6(self, api, pif, told, leased):
        """As long as somebody else has to give the address. `leased`: of the lease before."""
        mode, deadline = told[0], time.monotonic() + LEARN_SECONDS
        while time.monotonic() < deadline:
            if mode == "DHCP":
                if self.leased_ipv6() not in (0, leased):
                    return
            elif mode != "Autoconf" or api.call("PIF.get_IPv6", pif):
                return
            else:
                # Told once more, it reads what it has now.
                self.wait_for(api, api.call("Async.PIF.reconfigure_ipv6", pif, *told))
            time.sleep(AGAIN_SECONDS)
        raise Failed("No DHCPv6 server has answered yet. It is asked again until one does."
                     if mode == "DHCP" else
                     "No router has announced an address yet. The host has it when one does.")

    @staticmethod
    def wait_for(api, task):
        deadline = time.monotonic() + ACT_SECONDS
        while (status := api.call("task.get_status", task)) == "pending":
            if time.monotonic() > deadline:
                raise Failed(f"The services have not done it within {ACT_SECONDS} s.")
            time.sleep(LOOK_SECONDS)
        if status != "success":
            raise xapi_client.Failure(*api.call("task.get_error_info", task))

    def restart_toolstack(self):
        must(["systemctl", "restart", "hostd.service", "xapi.service"], "Restarting the services")

    def power(self, verb):
        """`verb`: reboot or poweroff. Guests are shut down on the way (guests.py)."""
        must(["systemctl", "--no-block", verb], "It")

    def log(self, which):
        """The newest lines, oldest first. `which`: a key of LOGS."""
        said = run(["journalctl", "--no-pager", "--quiet", f"--lines={LOG_LINES}", *LOGS[which]])
        return (said.stdout or said.stderr).splitlines()
