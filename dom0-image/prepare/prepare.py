#!/usr/bin/python3 -I
"""Makes this Debian the control domain of a host, before hostd and xapi start; runs at each boot,
and again when the host's console has changed the management address.

What is made once and kept: the host's uuid, the key by which other hosts of a pool know it, the
pool's secret, ssh host keys. What is made anew: the management address, the configuration of the
daemons, the files that scripts read. A live system also gets a password for root, which its
console shows: whoever reads it there holds the machine anyway.
"""

import ipaddress
import json
import os
import pwd
import re
import secrets
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import management
import nics
import passthrough
import slots

ROOT = Path("/")
LEASE_TRIES = 6
NIC_SECONDS = 15
OUR_WEB = "usr/share/basalt/web"
# Of the host and not of a system: it stays when the host is upgraded.
OTHER_WEB = "var/lib/basalt/web"
OTHER_WEB_POLICY = "var/lib/basalt/web-policy"
# No character that looks like another one.
PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
PASSWORD_LENGTH = 12
# Source: installer/disks.py.
SR_LABEL = "BASALT-SR"
SR_GROUP = "basalt-sr"
# Of a live system, and of a host that was installed before its local SR was one on a device.
SR_FOLDER = "var/lib/basalt/sr/local"
# What the settings say of the others. Source: installer/plan.py.
SR_ON_DEVICE = "device"
# Types of SRs, by their file systems.
SR_TYPES = {"ext4": "ext", "xfs": "xfs"}
NO_ADDRESS = "none"
# Source: overlay/etc/hostname. Whoever is called so has not been named.
UNNAMED = "basalt"

CONFIG = """\
# Made by basalt-prepare at each boot.
[host]
uuid = "{uuid}"
hostname = "{hostname}"
address = "{address}"
{route}management = "{device}"
state = "/var/lib/basalt"

[hostd]
socket = "/run/basalt/hostd.sock"
backend = "{backend}"
run_dir = "/run/basalt"
xapi_uid = {xapi_uid}

[storage]
{local_sr}iso_sr = "/var/lib/basalt/sr/iso"

[xapi]
store = "/var/lib/basalt/xapi/xapi.db"
tls = "/var/lib/basalt/xapi/tls.pem"
{web}manual = "/usr/share/basalt/manual"

[pool]
role = "/var/lib/basalt/xapi/pool.conf"
identity = "/var/lib/basalt/xapi/pool.pem"
certificates = "/var/lib/basalt/xapi/pool-certificates.pem"
secret = "/var/lib/basalt/xapi/ptoken"
"""


HOSTS = """\
127.0.0.1\tlocalhost {name}
::1\t\tlocalhost ip6-localhost ip6-loopback
"""


@dataclass
class Lease:
    """`dhcp`: a server gave it; else it is the one that was told, or a link-local one."""

    device: str
    address: str  # with its prefix
    gateway: str = ""
    dns: tuple = ()
    dhcp: bool = True
    bridge: str = ""  # that hostd gives it to; empty: the device's own
    ntp: tuple = ()  # servers of time, by their addresses
    later: bool = False  # a server is asked over `bridge` as soon as hostd has made that
    hostname: str = ""  # that the server gives the host


def write(path, text, mode=0o644, owner=None):
    """Whole or not at all, also when the power goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w",
              encoding="utf-8") as file:
        if owner is not None:
            os.fchown(file.fileno(), owner, owner)
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def read(path):
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def kept(path, make, mode=0o644, owner=None):
    """What `path` holds; made and written first when there is nothing."""
    if not (text := read(path)):
        text = make()
        write(path, text + "\n", mode, owner)
    return text


def kernel_words(root=ROOT):
    return read(root / "proc/cmdline").split()


def is_live(root=ROOT):
    """Run from the medium, and not installed."""
    words = kernel_words(root)
    return "boot=basalt" in words and not slots.running(words)


def backend(root=ROOT):
    """Which hypervisor this kernel runs on; without Xen there is only QEMU."""
    return "xen" if read(root / "sys/hypervisor/type") == "xen" else "qemu"


# -- identity -----------------------------------------------------------------------------------------


def pool_key(host):
    return subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-days", "3650", "-subj", f"/CN={host}",
         "-addext", "basicConstraints=critical,CA:FALSE",
         "-addext", "extendedKeyUsage=serverAuth,clientAuth", "-keyout", "-"],
        capture_output=True, text=True, check=True).stdout.strip()


def certificate_of(key_and_certificate):
    return key_and_certificate[key_and_certificate.index("-----BEGIN CERTIFICATE"):]


def make_identity(root, owner):
    """Returns the host's uuid. `owner`: who reads the pool's keys."""
    host = kept(root / "var/lib/basalt/uuid", lambda: str(uuid.uuid4()))
    private = root / "var/lib/basalt/xapi"
    key = kept(private / "pool.pem", lambda: pool_key(host), 0o600, owner)
    kept(private / "pool-certificates.pem", lambda: certificate_of(key), 0o600, owner)
    kept(private / "pool.conf", lambda: "master", 0o600, owner)
    kept(private / "ptoken", lambda: "/".join(str(uuid.uuid4()) for _ in range(3)), 0o600, owner)
    return host


def make_ssh_key(root):
    """One, of the kind that every client of the last ten years knows: an RSA key would hold up the
    first boot for as long as everything else together."""
    path = root / "etc/ssh/ssh_host_ed25519_key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)])


def link(path, target):
    """What scripts look for at `path` is kept at `target`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and os.readlink(path) == target:
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def write_for_scripts(root, host, lease, release):
    """The files of such hosts that scripts and clients by ssh read."""
    etc = root / "etc/xensource"
    for name in ("pool.conf", "ptoken"):
        link(etc / name, f"/var/lib/basalt/xapi/{name}")
    kept(etc / "network.conf", lambda: "openvswitch")
    for folder in ("plugins", "extensions"):
        (root / "etc/xapi.d" / folder).mkdir(parents=True, exist_ok=True)
    made = kept(root / "var/lib/basalt/installed_at",
                lambda: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
    values = {
        "PRODUCT_BRAND": release.get("PRODUCT_BRAND", ""),
        "PRODUCT_NAME": release.get("PRODUCT_NAME", ""),
        "PRODUCT_VERSION": release.get("PRODUCT_VERSION", ""),
        "BUILD_NUMBER": release.get("BUILD_NUMBER", ""),
        "INSTALLATION_UUID": host,
        "INSTALLATION_DATE": made,
        "MANAGEMENT_INTERFACE": lease.bridge or bridge_of(lease.device),
        "MANAGEMENT_ADDRESS_TYPE": "IPv6" if ":" in lease.address else "IPv4",
    }
    write(root / "etc/xensource-inventory",
          "".join(f"{name}='{value}'\n" for name, value in values.items()))


def read_release(root):
    pairs = (line.split("=", 1) for line in read(root / "usr/share/basalt/release").splitlines())
    return {name: value for name, value in pairs}


# -- what the installation was told ---------------------------------------------------------------------


def read_settings(root):
    """Empty where nothing was installed: a live system chooses for itself."""
    text = read(root / "var/lib/basalt/install.json")
    return json.loads(text) if text else {}


def read_network(root, settings):
    """What the API was told since, or the host's console, or the installation; None: nobody said
    anything."""
    told = settings.get("network")
    if kept := management.kept_by_hostd(root):
        # Of name servers beside DHCP the API knows nothing.
        asks = not kept["address"] and told and not told["address"]
        return {**kept, "dns": told["dns"]} if asks else kept
    text = read(root / "var/lib/basalt/management.json")
    return json.loads(text) if text else told


def apply_settings(root, settings):
    """As far as the system has files for them; once: who changes them later has changed them."""
    if settings:
        kept(root / "etc/basalt/settings-applied", lambda: write_settings(root, settings))
        kept(root / "etc/basalt/password-set", lambda: set_password(settings["password_hash"]))


def write_settings(root, settings):
    if name := settings["hostname"]:
        write_hostname(root, name)
    zone = root / "usr/share/zoneinfo" / settings["timezone"]
    if zone.is_file():
        link(root / "etc/localtime", f"/usr/share/zoneinfo/{settings['timezone']}")
        write(root / "etc/timezone", settings["timezone"] + "\n")
    write_time_source(root, settings)
    if backend := settings["network"].get("backend"):
        write(root / "etc/xensource/network.conf", backend + "\n")
    return "yes"


def write_hostname(root, name):
    write(root / "etc/hostname", name + "\n")
    write(root / "etc/hosts", HOSTS.format(name=name))


def offered_hostname(root, settings, lease):
    """What a DHCP server calls this host, if it is still to get its name from one; else empty."""
    asks = not settings.get("hostname") and read(root / "etc/hostname") == UNNAMED
    return lease.hostname if asks else ""


def write_time_source(root, settings):
    """Servers that were named are the only ones; as the API has it (host_control.py)."""
    if settings["ntp"]:
        write(root / "etc/chrony/sources.d/basalt.sources",
              "".join(f"server {server} iburst\n" for server in settings["ntp"]))
        conf = root / "etc/chrony/chrony.conf"
        if text := read(conf):
            write(conf, re.sub(r"(?m)^(pool|server)\b", r"#\1", text) + "\n")
    if settings.get("ntp_source") == "none":
        run(["systemctl", "disable", "chrony.service"])
        # What has this boot started it for is still to come.
        run(["systemctl", "--no-block", "stop", "chrony.service"])


def load_keymap(settings):
    """Of the machine's own screen. What is typed on a serial line comes as letters."""
    name = settings.get("keymap", "us")
    if name != "us" and subprocess.run(["loadkeys", "-q", "-C", "/dev/tty0", name],
                                       check=False).returncode:
        print(f"the keyboard {name} cannot be had")


def make_sr_folders(root):
    """Of the SRs that a host has from its first start: their drivers make none by themselves."""
    for name in ("local", "iso"):
        (root / "var/lib/basalt/sr" / name).mkdir(parents=True, exist_ok=True)


def local_sr_lines(root, settings):
    """What hostd is told of the SR that a new host begins with: on an installed one the file system
    that the installer made, or that an earlier installation left, with the uuid of that one."""
    kind = settings.get("local_sr", True)
    if not kind:
        return ""
    if kind != SR_ON_DEVICE:
        return f'local_sr = "/{SR_FOLDER}"\n'
    device = find_local_sr(root)
    facts = sr_facts(device) if device else {}
    if facts.get("TYPE") not in SR_TYPES:
        print(f"the local SR is not there: {facts or 'no file system ' + SR_LABEL}")
        return ""
    uuid = facts["UUID"]
    return (f'local_sr = "/dev/disk/by-uuid/{uuid}"\nlocal_sr_type = "{SR_TYPES[facts["TYPE"]]}"\n'
            f'local_sr_uuid = "{uuid}"\n')


def mount_local_sr(root):
    """Of a host that was installed when its local SR was a folder: its records say that one."""
    place, device = root / SR_FOLDER, find_local_sr(root)
    if device is None or os.path.ismount(place):
        return
    run(["mount", "-t", "ext4", "-o", "noatime", str(device), str(place)])


def find_local_sr(root):
    """Its device, or None."""
    device = root / "dev/disk/by-label" / SR_LABEL
    if not device.exists():
        # On several disks: volumes appear by themselves, but nobody says when.
        subprocess.run(["vgchange", "--quiet", "--activate", "y", SR_GROUP], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["udevadm", "settle", "--timeout=30"], check=False)
    return device if device.exists() else None


def sr_facts(device):
    """What blkid says of its file system."""
    told = subprocess.run(["blkid", "-p", "-o", "export", str(device)], check=False, text=True,
                          stdout=subprocess.PIPE).stdout
    return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)


def set_password(hashed):
    subprocess.run(["chpasswd", "--encrypted"], input=f"root:{hashed}\n", text=True, check=True)
    return "yes"


# -- network ------------------------------------------------------------------------------------------


def bridge_of(device):
    """Source: the network that each ethN gets has the bridge xenbrN."""
    return "xenbr" + device.removeprefix("eth")


def wired(root):
    """Network devices with hardware below, in the order of their numbers."""
    found = [path.name for path in (root / "sys/class/net").glob("eth*")
             if (path / "device").exists()]
    return sorted(found, key=lambda name: (len(name), name))


def wait_for_nics(root, seconds=NIC_SECONDS):
    deadline = time.monotonic() + seconds
    while not (found := wired(root)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def link_local(mac):
    """RFC 3927's range, by the MAC: the same machine gets the same address again."""
    number = int(mac.replace(":", ""), 16) % (254 * 256) if mac else 0
    return f"169.254.{1 + number // 256}.{number % 256}/16"


def parse_lease(device, text):
    """`text`: NAME=VALUE lines, as udhcpc gives its script. None when it brought no address."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        address = ipaddress.IPv4Interface(
            f"{values.get('ip', '')}/{values.get('subnet') or values.get('mask') or 24}")
    except ValueError:
        return None
    return Lease(device, str(address), (values.get("router", "").split() or [""])[0],
                 tuple(values.get("dns", "").split()), ntp=tuple(values.get("ntp", "").split()),
                 hostname=parse_hostname(values.get("hostname", "")))


def parse_hostname(text):
    """The host's own part of it: the rest is the name of its domain. Empty when it is none."""
    label = text.split(".")[0].lower()
    return label if re.fullmatch(r"(?!\d+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) else ""


def ask_for_lease(device, interface=""):
    """The script that udhcpc calls prints what the server gave; None without an answer.
    `interface`: over which it is asked; empty: where an address on `device` belongs."""
    interface = interface or interface_of(ROOT, device)
    run(["ip", "link", "set", interface, "up"])
    done = subprocess.run(
        ["busybox", "udhcpc", "-f", "-n", "-q", "-t", str(LEASE_TRIES), "-T", "2", "-O", "ntpsrv",
         "-i", interface, "-s", "/usr/libexec/basalt/lease-printed"],
        capture_output=True, text=True, check=False)
    return parse_lease(device, done.stdout)


def with_mac(root, devices, mac):
    return [name for name in devices
            if read(root / "sys/class/net" / name / "address").lower() == mac]


def choose_address(root, ask=ask_for_lease, wanted=None):
    """The address that the installation was told, or one by the first network device that gets it
    from a DHCP server."""
    wanted = {"mac": "", "address": "", "bridge": "", "dns": [], **(wanted or {})}
    devices = cards_wanted(root, wanted)
    device = devices[0] if devices else "eth0"
    bridge = "" if wanted["bridge"] == bridge_of(device) else wanted["bridge"]
    dns = tuple(wanted["dns"])
    own = Lease(device, link_local(read(root / "sys/class/net" / device / "address")), dns=dns,
                dhcp=False)
    if wanted["address"] == NO_ADDRESS and wanted["bridge"]:
        # By IPv6 alone, which hostd gives; its first address is what people are told.
        return replace(own, address=wanted["ipv6"] or own.address, bridge=wanted["bridge"])
    if wanted["address"] == NO_ADDRESS or wanted.get("vlan"):
        # Told, and not made yet (settle_network.py): until then only this machine knows it.
        return own
    if bridge and not wanted["address"]:
        return replace(own, bridge=bridge, later=True)
    if wanted["address"] and devices:
        return replace(own, address=wanted["address"], gateway=wanted["gateway"], bridge=bridge)
    for one in devices:
        if lease := ask(one):
            return replace(lease, dns=dns or lease.dns)
    return own


def cards_wanted(root, wanted):
    """Network devices by which the host may be managed; those of a bond before it is made, too."""
    devices = wait_for_nics(root)
    macs = wanted.get("bond") or [wanted["mac"]]
    if wanted.get("device") in devices:
        return [wanted["device"]]
    # A card that was replaced must not leave the host without an address.
    named = [name for mac in macs if mac for name in with_mac(root, devices, mac)]
    return named or devices


def interface_of(root, device):
    """Where an address on `device` belongs: on itself at boot, later on the bridge that hostd made."""
    bridge = bridge_of(device)
    return bridge if (root / "sys/class/net" / bridge).exists() else device


def addresses_on(interface):
    """IPv4, with their prefixes."""
    said = subprocess.run(["ip", "-4", "-json", "address", "show", "dev", interface, "scope",
                           "global"], capture_output=True, text=True, check=True).stdout
    # What is of another scope comes as nothing between braces.
    return [f"{one['local']}/{one['prefixlen']}" for link in json.loads(said or "[]")
            for one in link.get("addr_info", ()) if one]


def give_address(interface, lease):
    run(["ip", "link", "set", interface, "up"])
    run(["ip", "address", "replace", lease.address, "dev", interface])
    for other in addresses_on(interface) if lease.dhcp else []:
        if other != lease.address:
            run(["ip", "address", "del", other, "dev", interface])


def apply_address(root, lease):
    """What hostd has made is hostd's: there, only the files change, and leases, of which hostd knows
    nothing. A VLAN or a bond is made by hostd, and has no address before."""
    interface = interface_of(root, lease.device)
    if not lease.bridge and (lease.dhcp or interface == lease.device):
        if (root / "sys/class/net" / interface).exists():
            give_address(interface, lease)
        if lease.gateway:
            run(["ip", "route", "replace", "default", "via", lease.gateway])
    note_address(root, lease)


def note_address(root, lease):
    """In files: for who looks for name servers, for chrony, and for who asks for leases."""
    write_name_servers(root, lease.dns)
    note_lease(root, lease)
    replace_file(root / "run/basalt/lease-wanted",
                 f"{lease.device} {lease.bridge}\n" if lease.later else "")
    replace_file(root / "run/chrony-dhcp/basalt.sources",
                 "".join(f"server {one} iburst\n" for one in lease.ntp))


def write_name_servers(root, servers):
    """None: those that were there stay."""
    if servers:
        write(root / "etc/resolv.conf", "".join(f"nameserver {one}\n" for one in servers))


def note_lease(root, lease):
    """For its keeper (basalt-lease.service)."""
    address = lease.address.split("/")[0]
    replace_file(root / "run/basalt/lease",
                 f"BRIDGE={lease.bridge or bridge_of(lease.device)}\nADDRESS={address}\n"
                 if lease.dhcp else "")


def replace_file(path, text):
    """No text: no file."""
    path.unlink(missing_ok=True)
    if text:
        write(path, text)


def route_lines(lease):
    """The part of the configuration that an address without a router or name servers lacks."""
    lines = [f'gateway = "{lease.gateway}"\n'] if lease.gateway else []
    if lease.dns:
        lines.append(f"dns = {json.dumps(lease.dns)}\n")
    return "".join(lines)


def web_lines(root):
    """Which web console is served: an administrator's own, with the Content-Security-Policy that
    it needs, or ours, which is there when whoever made the image had Node.js."""
    if (root / OTHER_WEB / "index.html").is_file():
        policy = " ".join(read(root / OTHER_WEB_POLICY).split())
        return f'web = "/{OTHER_WEB}"\n' + (f"web_policy = {json.dumps(policy)}\n" if policy else "")
    return f'web = "/{OUR_WEB}"\n' if (root / OUR_WEB).is_dir() else ""


def run(argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


# -- live ---------------------------------------------------------------------------------------------


def give_password(root):
    """Root's password of a live system, for its console to show."""
    password = "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(PASSWORD_LENGTH))
    subprocess.run(["chpasswd"], input=f"root:{password}\n", text=True, check=True)
    return password


def write_issue(root, lease, password, notice):
    lines = [notice] if notice else []
    address = lease.address.split("/")[0]
    lines.append(f"XenAPI at https://[{address}]" if ":" in address else
                 f"XenAPI at https://{address}")
    if password:
        lines.append(f"This is a live system. User: root  Password: {password}")
    write(root / "run/issue.d/basalt.issue", "\n".join(lines) + "\n\n", 0o600)


# -- all ----------------------------------------------------------------------------------------------


def main(root=ROOT):
    owner = pwd.getpwnam("xapi").pw_uid
    make_sr_folders(root)
    notice = slots.settle(root / "var/lib/basalt", kernel_words(root))
    settings = read_settings(root)
    apply_settings(root, settings)
    if settings:
        load_keymap(settings)
        if settings.get("local_sr", True) is True:
            mount_local_sr(root)
    host = make_identity(root, owner)
    make_ssh_key(root)
    passthrough.settle(root, kernel_words(root))
    wait_for_nics(root)
    nics.settle(root, run, write)
    lease = choose_address(root, wanted=read_network(root, settings))
    apply_address(root, lease)
    if name := offered_hostname(root, settings, lease):
        write_hostname(root, name)
    socket.sethostname(read(root / "etc/hostname"))
    write_for_scripts(root, host, lease, read_release(root))
    write(root / "etc/basalt/host.toml", CONFIG.format(
        uuid=host, hostname=os.uname().nodename, address=lease.address, device=lease.device,
        route=route_lines(lease), backend=backend(root), web=web_lines(root), xapi_uid=owner,
        local_sr=local_sr_lines(root, settings)))
    write_issue(root, lease, give_password(root) if is_live(root) else "", notice)
    print(f"host {host} at {lease.address} on {lease.device}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
