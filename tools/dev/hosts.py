"""One host of a run: its folder, its configuration, the commands of its daemons."""

import os
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import net

STATE = Path("/var/lib/basalt")  # the run's state folder, as everything in the sandbox sees it
PROGRAMS = Path("/opt/basalt/bin")
TOOLS = Path("/opt/basalt/dev")
MACHINE = Path("/opt/basalt/machine")  # host-agent/machine
PLUGINS = Path("/opt/basalt/plugins")  # host-agent/plugins
MANUAL = Path("/opt/basalt/manual")
WEB = Path("/opt/basalt/web")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
XAPI_UID = 4210
GUEST_UIDS = 66000

PAM_SERVICE = """\
# Logins to this host: one user, root, whose password hash lies in `passwd` beside this file.
auth     required pam_exec.so quiet expose_authtok {tool} {file}
account  required pam_exec.so quiet {tool} {file}
password required pam_exec.so quiet expose_authtok {tool} {file}
"""

CONFIG = """\
[host]
uuid = "{uuid}"
hostname = "{name}"
address = "{address}"
management = "eth0"
boot_id = "{boot_id}"
boot_time = {boot_time}
state = "{folder}"

[hostd]
socket = "{folder}/hostd.sock"
backend = "{backend}"
pam_dir = "{folder}/pam.d"
pam_service = "xapi"
ovsdb = "{folder}/run/db.sock"
ovs_datapath = "{datapath}"
plugin_dir = "{folder}/plugins"
extension_dir = "{folder}/extensions"
etc_dir = "{folder}/etc"
control = ["{machine}/host_control.py", "--run", "{state}/control.sock", "{index}", "{folder}/log"]
qemu = "/usr/bin/qemu-system-x86_64"
qsd = "/usr/bin/qemu-storage-daemon"
run_dir = "{folder}/run"
console_program = ["/bin/bash", "--login"]
xapi_uid = {uid}
launcher = "{programs}/confine"
uid_first = {guest_uids}
boot_dir = "{folder}/boot"
usb_dir = "{folder}/usb"
pci_dir = "{folder}/pci"
certificate = "{folder}/xapi/tls.pem"

[storage]
local_sr = "{folder}/sr/local"
iso_sr = "{folder}/sr/iso"
worker = "{programs}/sm-worker"

[xapi]
store = "{folder}/xapi/xapi.db"
tls = "{folder}/xapi/tls.pem"
traces = "{folder}/xapi/traces"
uid = {uid}
manual = "{manual}"
web = "{web}"
"""

POOL_CONFIG = """
[pool]
role = "{folder}/xapi/pool.conf"
identity = "{folder}/xapi/pool.pem"
certificates = "{folder}/xapi/pool-certificates.pem"
secret = "{folder}/xapi/ptoken"
"""


@dataclass
class Host:
    """Host 1 leads the pool and has real guests, disks and networks; the others simulate theirs."""

    index: int
    in_pool: bool = False
    holder: int = 0

    @property
    def simulated(self):
        return self.index > 1

    @property
    def name(self):
        return f"host{self.index}"

    @property
    def folder(self):
        return STATE / self.name

    @property
    def mac(self):
        return f"02:ba:5a:17:00:{self.index:02x}"

    @property
    def config(self):
        return self.folder / "basalt.toml"

    @property
    def datapath(self):
        return "system" if os.path.exists("/sys/module/openvswitch") else "netdev"

    def fault_folder(self, program):
        return self.folder / "fault" / program

    def prepare(self, password):
        """Makes the folders and files; what is there already (uuid, password) is kept."""
        # Like /run at a boot: what an earlier run left there would be taken for guests that crashed.
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        for name in ("log", "pam.d", "plugins", "extensions", "etc", "run", "sr/local", "sr/iso", "boot", "xcp", "xapi"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        os.chown(self.folder / "xapi", XAPI_UID, XAPI_UID)
        for name in ("hostd", "xapi"):
            self.fault_folder(name).mkdir(parents=True, exist_ok=True)
        os.chown(self.fault_folder("xapi"), XAPI_UID, XAPI_UID)
        os.chmod(self.folder / "pam.d", 0o700)
        for plugin in PLUGINS.glob("*.py"):
            if not plugin.name.endswith("_test.py"):
                shutil.copy(plugin, self.folder / "plugins" / plugin.name)
        identity = self.folder / "uuid"
        if not identity.exists():
            identity.write_text(f"{uuid.uuid4()}\n")
        if self.in_pool:
            self.make_identity()
        secret = self.folder / "pam.d/passwd"
        if password is not None or not secret.exists():
            write_password(secret, password or "basalt")
        service = PAM_SERVICE.format(tool=TOOLS / "pam-password", file=secret)
        (self.folder / "pam.d/xapi").write_text(service)
        text = CONFIG + POOL_CONFIG if self.in_pool else CONFIG
        self.config.write_text(text.format(
            backend="sim" if self.simulated else "qemu",
            # Each run is a boot of the host: no guest of an earlier one can still be there.
            boot_id=uuid.uuid4(), boot_time=int(time.time()), uuid=self.uuid, name=self.name,
            machine=MACHINE, state=STATE, index=self.index,
            address=f"{net.address(self.index)}/24",
            folder=self.folder, datapath=self.datapath, uid=XAPI_UID, programs=PROGRAMS,
            manual=MANUAL, web=WEB if WEB.is_dir() else "",
            # Hosts share the kernel's processes here, so their guests' users must differ.
            guest_uids=GUEST_UIDS + 2000 * (self.index - 1)))

    def xapi_command(self):
        """A user of its own without any privilege; files are what that user may open."""
        return [PROGRAMS / "confine", "--uid", XAPI_UID, "--network", "--all-files",
                "--open-files", 65536, "--", PROGRAMS / "xapi", "--config", self.config]

    @property
    def uuid(self):
        return (self.folder / "uuid").read_text().strip()

    def make_identity(self):
        """The key by which the other hosts know this one."""
        file = self.folder / "xapi/pool.pem"
        if file.exists():
            return
        made = subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-days", "3650", "-subj", f"/CN={self.uuid}",
             "-addext", "basicConstraints=critical,CA:FALSE",
             "-addext", "extendedKeyUsage=serverAuth,clientAuth", "-keyout", "-"],
            capture_output=True, text=True, check=True).stdout
        write_private(file, made)

    @property
    def certificate(self):
        text = (self.folder / "xapi/pool.pem").read_text()
        return text[text.index("-----BEGIN CERTIFICATE"):]

    def join(self, hosts, secret):
        """What a host keeps of the pool that it is in."""
        leader = hosts[0]
        role = "master" if self is leader else f"slave:{net.address(leader.index)}"
        write_private(self.folder / "xapi/pool.conf", role + "\n")
        write_private(self.folder / "xapi/pool-certificates.pem",
                      "".join(host.certificate for host in hosts))
        write_private(self.folder / "xapi/ptoken", secret + "\n")

    def make_switch_database(self):
        database = self.folder / "ovs.db"
        if not database.exists():
            subprocess.run(["ovsdb-tool", "create", str(database), str(SCHEMA)], check=True)

    def ovsdb_command(self):
        run = self.folder / "run"
        return ["ovsdb-server", str(self.folder / "ovs.db"), f"--remote=punix:{run}/db.sock",
                f"--unixctl={run}/ovsdb.ctl", f"--pidfile={run}/ovsdb-server.pid",
                "--overwrite-pidfile", "--no-chdir", "-vfile:off", "-vsyslog:off",
                "-vconsole:warn"]

    def vswitchd_command(self):
        run = self.folder / "run"
        # Each bridge's own control sockets go to OVS_RUNDIR, whatever --unixctl says.
        return ["env", f"OVS_RUNDIR={run}", "ovs-vswitchd", f"unix:{run}/db.sock",
                f"--unixctl={run}/vswitchd.ctl",
                f"--pidfile={run}/ovs-vswitchd.pid", "--overwrite-pidfile", "--no-chdir",
                "-vfile:off", "-vsyslog:off", "-vconsole:warn"]

    def initialise_switch(self):
        """What ovs-ctl does once: the daemon makes no datapath before these columns are set."""
        subprocess.run(
            ["ovs-vsctl", f"--db=unix:{self.folder}/run/db.sock", "--no-wait", "--retry",
             "--timeout=20", "--", "init", "--", "set", "Open_vSwitch", ".",
             f"external-ids:system-id={self.uuid}",
             f"external-ids:hostname={self.name}"], check=True)


def make_pool(hosts):
    """The hosts' common secret is made once; a host that is new to the pool gets what it needs."""
    kept = STATE / "pool-secret"
    if not kept.exists():
        write_private(kept, "/".join(str(uuid.uuid4()) for _ in range(3)) + "\n", owner=0)
    for host in hosts:
        host.join(hosts, kept.read_text().strip())


def write_private(path, text, owner=XAPI_UID):
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    os.chown(fresh, owner, owner)
    fresh.write_text(text)
    fresh.rename(path)


def write_password(path, password):
    hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password + "\n",
                            capture_output=True, text=True, check=True).stdout
    path.touch(mode=0o600)
    path.write_text(hashed)
