"""Registers the guest image as a template, the way clients expect to find templates."""

import http.client
from urllib.parse import urlencode

from xapi_client import Failure, Session, UnixConnection

IMAGE = "/opt/basalt/guest.qcow2"
NAME = "Debian 13 (guest)"
MEMORY_BYTES = 256 << 20
PIECE_BYTES = 1 << 20

RECOMMENDATIONS = (
    '<restrictions><restriction field="memory-static-max" max="17179869184"/>'
    '<restriction field="vcpus-max" max="16"/>'
    '<restriction property="number-of-vbds" max="255"/>'
    '<restriction property="number-of-vifs" max="7"/></restrictions>'
)


def ensure(host, virtual_bytes, progress):
    """Makes the template unless it is there. Half-made ones of an interrupted run are removed."""
    socket_path = f"{host.folder}/xcp/xapi"
    with Session(f"unix:{socket_path}", "root", "") as session:
        for ref in session.call("VM.get_by_name_label", NAME):
            if session.call("VM.get_is_a_template", ref):
                return
        progress(f"registering the template {NAME!r}")
        remove_leftovers(session)
        sr = session.call("SR.get_by_name_label", "Local storage")[0]
        vdi = session.call("VDI.create", {
            "name_label": f"{NAME} disk", "name_description": "System disk of the guest template",
            "SR": sr, "virtual_size": str(virtual_bytes), "type": "system", "sharable": False,
            "read_only": False, "other_config": {}, "xenstore_data": {}, "sm_config": {},
            "tags": []})
        upload(session, socket_path, vdi, progress)
        make_vm(session, vdi)


def remove_leftovers(session):
    for vdi in session.call("VDI.get_by_name_label", f"{NAME} disk"):
        try:
            session.call("VDI.destroy", vdi)
        except Failure:
            pass  # in use by a guest: then it is no leftover


def upload(session, socket_path, vdi, progress):
    """PUT /import_raw_vdi: the server answers 200 first, then the bytes go."""
    task = session.call("task.create", "upload", "guest image")
    query = urlencode({"session_id": session.ref, "task_id": task, "vdi": vdi, "format": "qcow2"})
    connection = UnixConnection(socket_path, timeout=300)
    connection.connect()
    with open(IMAGE, "rb") as image:
        total = image.seek(0, 2)
        image.seek(0)
        stream = connection.sock
        stream.sendall(f"PUT /import_raw_vdi?{query} HTTP/1.1\r\nHost: localhost\r\n"
                       f"Content-Length: {total}\r\nConnection: close\r\n\r\n".encode())
        status = read_head(stream)
        if " 200 " not in status + " ":
            raise http.client.HTTPException(f"/import_raw_vdi: {status}")
        sent = 0
        shown = -1
        while piece := image.read(PIECE_BYTES):
            stream.sendall(piece)
            sent += len(piece)
            if (percent := 100 * sent // total) // 25 > shown:
                shown = percent // 25
                progress(f"uploading the guest image: {percent} %")
    wait_task(session, task)
    connection.close()


def read_head(stream):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = stream.recv(1)
        if not piece:
            break
        head += piece
    return head.split(b"\r\n")[0].decode()


def wait_task(session, task):
    token = ""
    status = session.call("task.get_status", task)
    while status == "pending":
        batch = session.call("event.from", [f"task/{task}"], token, 30.0)
        token = batch["token"]
        status = session.call("task.get_status", task)
    if status != "success":
        raise Failure(*session.call("task.get_error_info", task))
    session.call("task.destroy", task)


def make_vm(session, vdi):
    """Made under another name and renamed last: a template with this name is a whole one."""
    vm = session.call("VM.create", {
        "name_label": f"{NAME} (being made)", "name_description":
            "A small Debian 13. Log in at its console as root, password basalt",
        "user_version": "1", "is_a_template": True, "affinity": "OpaqueRef:NULL",
        "memory_static_max": str(MEMORY_BYTES), "memory_dynamic_max": str(MEMORY_BYTES),
        "memory_dynamic_min": str(MEMORY_BYTES), "memory_static_min": str(MEMORY_BYTES // 2),
        "VCPUs_params": {}, "VCPUs_max": "1", "VCPUs_at_startup": "1",
        "actions_after_shutdown": "destroy", "actions_after_reboot": "restart",
        "actions_after_crash": "restart", "PV_bootloader": "", "PV_kernel": "", "PV_ramdisk": "",
        "PV_args": "", "PV_bootloader_args": "", "PV_legacy_args": "",
        "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "cdn"},
        "platform": {"acpi": "1", "apic": "true", "nx": "true", "pae": "true", "viridian": "false",
                     "device-model": "qemu-upstream-compat"},
        "PCI_bus": "", "other_config": {"base_template_name": NAME, "linux_template": "true",
                                        "install-methods": "", "hvm_serial": "pty"},
        "recommendations": RECOMMENDATIONS})
    session.call("VBD.create", {
        "VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk",
        "unpluggable": False, "empty": False, "other_config": {"owner": ""},
        "qos_algorithm_type": "", "qos_algorithm_params": {}})
    networks = session.call("network.get_by_name_label", "Pool-wide network associated with eth0")
    for network in networks[:1]:
        session.call("VIF.create", {
            "VM": vm, "network": network, "device": "0", "MAC": "", "MTU": "1500",
            "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    session.call("VM.set_name_label", vm, NAME)
