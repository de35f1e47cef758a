"""A booted machine as a test sees it: its serial console, the API behind its port, its guests."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tools/dev"))

import xapi_client

# Emulated, so patient: a boot takes two minutes on an idle machine with two cores, and many more on
# a busy one.
BOOT_SECONDS = 1800
ACT_SECONDS = 900
PICTURE_SECONDS = 60
# A firmware's screen is drawn letter by letter.
STILL_SECONDS = 1
# On a busy machine a menu is drawn for some time, and hears no key meanwhile.
MENU_STILL_SECONDS = 3
KEY_HEARD_SECONDS = 15
# Of an empty screen of this size the PNG has about a kilobyte.
PICTURE_BYTES_MIN = 2500
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Xen and the kernel write to the serial line too, in the middle of what somebody else is writing.
# Such a line is left out, whole or not; one that stands by itself stays. The end of the text is
# held back as long as it may become the beginning of one.
STRAY = re.compile(r"(?<=[^\n])(?<!\(XEN\) )(?:(?:\(XEN\) |\[ *\d+\.\d{6}\] )[^\n]*(?:\n|$))+"
                   r"|\((?:X(?:E(?:N\)?)?)?)?$|\[[ .\d]*\]?$")
MIB = 1 << 20


def tell(text):
    """How long things took belongs to what these tests are for."""
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(machine):
    """The serial line of a machine that was switched on a moment ago."""
    deadline = time.monotonic() + ACT_SECONDS
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(machine.input))
            return line
        except OSError as error:
            line.close()
            if machine.ended() or time.monotonic() > deadline:
                said = (machine.machine.folder / "qemu.log").read_text(errors="replace")
                raise AssertionError(f"QEMU does not start ({error}): {said}") from error
        time.sleep(0.1)


def without_strays(text):
    """What a console says, without lines that came in the middle of others. Of a text that goes
    on, this goes on, too: places in it stay."""
    return STRAY.sub("", text)


class Console:
    """The serial line of a machine: what it says from now on, and what is typed."""

    def __init__(self, machine):
        self.machine = machine
        self.line = connect(machine)
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self):
        """The machine's log has it all; but whoever is connected and does not read holds the serial
        line up after a few hundred characters."""
        with contextlib.suppress(OSError):
            while self.line.recv(65536):
                pass

    def text(self):
        """All that was said, without what came in the middle of it: where `start` is a place."""
        return without_strays(self.machine.text())

    def wait(self, pattern, seconds=ACT_SECONDS, start=0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.text()[start:]
            if found := re.search(pattern, text):
                return found
            if self.machine.ended():
                raise AssertionError(f"QEMU ended before {pattern!r}:\n{text[-3000:]}")
            time.sleep(0.5)
        raise AssertionError(f"no {pattern!r} within {seconds} s:\n{text[-3000:]}")

    def type(self, text):
        # Slowly: an emulated serial port has sixteen bytes of room.
        for at in range(0, len(text), 8):
            self.line.sendall(text[at:at + 8].encode())
            time.sleep(0.1)

    def log_in(self, password):
        start = len(self.text())
        self.type("\n")
        self.wait("login: ", start=start)
        self.type("root\n")
        self.wait("Password: ", start=start)
        self.type(password + "\n")
        self.wait(r"root@\S*:~#", start=start)
        # Its own editing of lines would break long ones in what the line shows.
        start = len(self.text())
        self.type("exec bash --noediting\n")
        self.wait(r"root@\S*:~#", start=start)

    def run(self, command, seconds=ACT_SECONDS):
        """What a command says at the console's shell; fails when the command does."""
        start = len(self.text())
        self.type(f"{command}; echo \"status=\"$?\n")
        found = self.wait(r"(?s)status=\"\$\?\r?\n(.*?)status=(\d+)\r?\n", seconds, start)
        if found[2] != "0":
            raise AssertionError(f"{command} ended with {found[2]}:\n{found[1]}")
        return COLOURS.sub("", found[1].replace("\r", ""))


def unverified():
    """A context for hosts whose certificates are their own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def screen(running):
    """The bytes of a PNG; empty when there is nothing to be seen on it."""
    path = running.machine.folder / "screen.png"
    running.picture(path)
    data = path.read_bytes()
    return data if data.startswith(b"\x89PNG") and len(data) > PICTURE_BYTES_MIN else b""


def keep_picture(name, data):
    """In the folder BASALT_PICTURES, for people to look at."""
    if folder := os.environ.get("BASALT_PICTURES"):
        Path(folder, f"{name}.png").write_bytes(data)


def picture(running, name):
    """Keeps a screen, as soon as it shows something and nothing is added to it any more."""
    deadline = time.monotonic() + PICTURE_SECONDS
    before, data = b"", screen(running)
    while not data or len(data) > len(before):
        if time.monotonic() > deadline:
            raise AssertionError(f"{name}: nothing is to be seen, or it never stands still")
        time.sleep(STILL_SECONDS)
        before, data = data, screen(running)
    keep_picture(name, data)


def wait_for_menu(running, console, name):
    """The medium's menu of a machine with boot.MENU_WORDS, as it waits for a key."""
    console.wait("run from this medium", BOOT_SECONDS)
    picture(running, name)
    said = -1
    while said != len(running.text()):
        said = len(running.text())
        time.sleep(MENU_STILL_SECONDS)


def until_heard(running, press):
    """`press` until the menu that waits does something, which shows on the serial line too."""
    deadline = time.monotonic() + ACT_SECONDS
    said = len(running.text())
    while True:
        press()
        again = time.monotonic() + KEY_HEARD_SECONDS
        while time.monotonic() < again:
            if len(running.text()) > said:
                return
            time.sleep(0.2)
        if running.ended() or time.monotonic() > deadline:
            raise AssertionError("the menu hears no key")


def log_in_to_api(port, password, seconds=ACT_SECONDS):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return xapi_client.Session(f"https://127.0.0.1:{port}", "root", password)
        except (OSError, xapi_client.Unexpected, xapi_client.Failure):
            if time.monotonic() > deadline:
                raise
            time.sleep(2)


def wait_for_end(running, seconds=ACT_SECONDS):
    """Of a machine that was told to switch itself off."""
    deadline = time.monotonic() + seconds
    while not running.ended():
        if time.monotonic() > deadline:
            raise AssertionError(f"it is not off within {seconds} s:\n{running.text()[-2000:]}")
        time.sleep(1)


def wait_task(api, task, seconds=ACT_SECONDS):
    """The result of a call that was made as Async."""
    deadline = time.monotonic() + seconds
    while api.call("task.get_status", task) == "pending":
        if time.monotonic() > deadline:
            raise AssertionError(f"not done within {seconds} s: "
                                 f"{api.call('task.get_record', task)}")
        time.sleep(1)
    if api.call("task.get_status", task) != "success":
        raise xapi_client.Failure(*api.call("task.get_error_info", task))
    result = api.call("task.get_result", task)
    api.call("task.destroy", task)
    return result


def act(api, message, *params):
    """A call that takes longer than a connection may be silent."""
    return wait_task(api, api.call(f"Async.{message}", *params))


class GuestConsole:
    """The serial console of a VM, by the address that its record tells."""

    def __init__(self, api, port, vm):
        console = [one for one in api.call("VM.get_consoles", vm)
                   if api.call("console.get_protocol", one) == "vt100"][0]
        where = urllib.parse.urlsplit(api.call("console.get_location", console))
        self.stream = unverified().wrap_socket(socket.create_connection(("127.0.0.1", port)))
        self.stream.sendall(f"CONNECT {where.path}?{where.query}&session_id={api.ref} "
                            "HTTP/1.0\r\n\r\n".encode())
        self.text = ""
        self.wait("\r\n\r\n")

    def wait(self, pattern, seconds=ACT_SECONDS, start=0):
        self.stream.settimeout(1)
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text[start:])):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} within {seconds} s:\n{self.text[-2000:]}")
            try:
                piece = self.stream.recv(4096)
            except TimeoutError:
                continue
            if not piece:
                raise AssertionError(f"the console ended before {pattern!r}:\n{self.text[-2000:]}")
            self.text += piece.decode(errors="replace")
        return found

    def ask(self, line, pattern):
        """The guest's answer to a line of the test guest's little language."""
        start = len(self.text)
        self.stream.sendall(line.encode() + b"\n")
        return self.wait(pattern, start=start)[1]

    def until(self, line, pattern, seconds=120):
        """Asks again until the answer is like that: a guest takes its time with devices."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, answer := self.ask(line, rf"({line}:.*?\.)\r")):
            if time.monotonic() > deadline:
                raise AssertionError(f"{line} answers {answer!r}, not {pattern!r}")
            time.sleep(1)

    def close(self):
        self.stream.close()


def vm_record(name, **changes):
    """A guest that boots the test kernel: PVH on Xen."""
    memory = str(160 * MIB)
    record = {
        "name_label": name, "name_description": "", "domain_type": "pvh", "user_version": "1",
        "is_a_template": False,
        "affinity": "OpaqueRef:NULL", "memory_static_max": memory, "memory_dynamic_max": memory,
        "memory_dynamic_min": memory, "memory_static_min": memory, "VCPUs_params": {},
        "VCPUs_max": "1", "VCPUs_at_startup": "1", "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart", "actions_after_crash": "restart", "PV_bootloader": "",
        "PV_kernel": "/boot/guest/vmlinuz", "PV_ramdisk": "/boot/guest/initrd.gz",
        "PV_args": "console=hvc0 quiet mitigations=off", "PV_bootloader_args": "",
        "PV_legacy_args": "", "HVM_boot_policy": "", "HVM_boot_params": {}, "platform": {},
        "PCI_bus": "", "other_config": {}, "recommendations": "", "xenstore_data": {}}
    return {**record, **changes}


def firmware_record(name, **changes):
    """A guest that boots its first disk by a BIOS."""
    return vm_record(name, **{
        "domain_type": "hvm", "PV_kernel": "", "PV_ramdisk": "", "PV_args": "",
        "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "c"}, **changes})


def default_sr(api):
    return api.call("pool.get_default_SR", api.call("pool.get_all")[0])


def management_network(api):
    pif = [one for one in api.call("PIF.get_all") if api.call("PIF.get_management", one)][0]
    return api.call("PIF.get_network", pif)


def make_disk(api, sr, size_bytes, name):
    return api.call("VDI.create", {
        "name_label": name, "name_description": "", "SR": sr,
        "virtual_size": str(size_bytes), "type": "user", "sharable": False, "read_only": False,
        "other_config": {}, "xenstore_data": {}, "sm_config": {}, "tags": []})


def give_disk(api, vm, vdi, position, bootable=False):
    return api.call("VBD.create", {
        "VM": vm, "VDI": vdi, "userdevice": str(position), "bootable": bootable, "mode": "RW",
        "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
        "qos_algorithm_type": "", "qos_algorithm_params": {}})


def add_disk(api, vm, sr, size_bytes, position):
    vdi = make_disk(api, sr, size_bytes, f"disk {position}")
    give_disk(api, vm, vdi, position)
    return vdi


def import_raw(api, port, vdi, path):
    """The bytes of a file into a disk, from its beginning."""
    task = api.call("task.create", "import", "")
    query = urllib.parse.urlencode({"session_id": api.ref, "task_id": task, "vdi": vdi})
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=ACT_SECONDS,
                                             context=unverified())
    with contextlib.closing(connection), open(path, "rb") as file:
        connection.request("PUT", f"/import_raw_vdi?{query}", file,
                           {"Content-Length": str(path.stat().st_size)})
        status = connection.getresponse().status
    if status != 200:
        raise AssertionError(f"/import_raw_vdi answers {status}")
    wait_task(api, task)


def add_drive(api, vm, position):
    """An empty CD drive."""
    return api.call("VBD.create", {
        "VM": vm, "VDI": "OpaqueRef:NULL", "userdevice": str(position), "bootable": False,
        "mode": "RO", "type": "CD", "unpluggable": False, "empty": True, "other_config": {},
        "qos_algorithm_type": "", "qos_algorithm_params": {}})


def add_nic(api, vm, network, device, mac):
    return api.call("VIF.create", {
        "device": str(device), "network": network, "VM": vm, "MAC": mac, "MTU": "1500",
        "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
