"""The medium, made from this tree and booted live under QEMU without hardware virtualisation: what
the host says of itself, and guests of Xen that are started through its API.

The host is booted once and saved; each run goes on from there, until the medium is another one.
BASALT_ISO names a medium that is there already; pictures go to the folder BASALT_PICTURES.
"""

import re
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import boot
import machine
import medium
import saved
import xapi_client

MAC = "02:00:00:ba:5a:01"
OTHER_MAC = "02:00:00:ba:5a:02"
GUEST_ADDRESS = "10.0.2.77"
OTHER_GUEST_ADDRESS = "10.0.2.78"
DISK_BYTES = 64 << 20
# Who may open the devices that guests' disks are, each once.
OWNERS_OF_NODES = "stat -c '%a %u %g' /dev/nbd* | sort -u"
BOOTED = "booted"
# Where a host has the UEFI of its guests.
OVMF = "/usr/share/basalt/OvmfXen.fd"
# Instead of QEMU's own network, which has no DHCPv6 server with addresses: one with dnsmasq, which
# is a router too. Features of the card are as they were when the machine was saved.
TAP = "tap,ifname=tap0,script=no,downscript=no,vnet_hdr=off"
SERVED = """\
ip link set lo up
ip tuntap add dev tap0 mode tap
ip link set tap0 up
ip address add 2001:db8::1/64 dev tap0 nodad
dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --port=0 --interface=tap0 \
    --bind-dynamic --dhcp-range=2001:db8::100,2001:db8::1ff,64,120 --leasefile-ro \
    --enable-ra --ra-param=tap0,10 \
    --dhcp-option=option6:dns-server,[2001:db8::53] \
    --dhcp-option=option6:ntp-server,[2001:db8::123] --log-facility=- --pid-file= &
exec "$@"
"""
ANSWER = r"XenAPI at https://(\S+)\s+.*User: root  Password: (\w+)\s"
# As administrators write them, for the host's own Python.
SCRIPT = """import XenAPI; session = XenAPI.xapi_local(); \
session.xenapi.login_with_password("root", "", "1.0", "script"); \
print(session.xenapi.host.get_uuid(session.xenapi.host.get_all()[0]))"""


class Live:
    """One boot, shared by the cases of a class."""

    uefi = False

    @classmethod
    def scratch(cls):
        made = tempfile.TemporaryDirectory(prefix="basalt-live-")
        cls.addClassCleanup(made.cleanup)
        return Path(made.name)

    @classmethod
    def switch_on(cls, folder, **hardware):
        """A machine as far as its API and root's shell at its console; returns it, the console, and
        what there is to know of it."""
        port = machine.free_port()
        made = boot.Machine(medium.image(), folder, cls.uefi, forwarded={port: 443}, **hardware)
        running = cls.enterClassContext(boot.Running(made))
        began = time.monotonic()
        console = machine.Console(running)
        if "screen" in hardware:
            machine.wait_for_menu(running, console, "live-menu-uefi" if cls.uefi else "live-menu")
            machine.until_heard(running, lambda: running.press("ret"))
        said = console.wait(ANSWER, machine.BOOT_SECONDS)
        cls.api = machine.log_in_to_api(port, said[2])
        seconds = time.monotonic() - began
        cls.api.call("session.logout")
        console.log_in(said[2])
        return running, console, {"address": said[1], "password": said[2], "seconds": seconds}

    @classmethod
    def take_state(cls, folder, disks):
        """What is known of the state that was saved; it is made first if need be."""
        hardware = boot.Machine(Path("medium"), Path("folder"), disks=disks).command()
        state = saved.State("live", medium.digest(), medium.guests_digest(),
                            *(word.replace(str(folder), "") for word in hardware))
        if not state.exists():
            disk = medium.guest_disk(folder)
            running, console, facts = cls.switch_on(folder, disks=[disk])
            console.run("mount -o ro /dev/vda /mnt && cp /mnt/vmlinuz /mnt/initrd.gz /boot/guest/"
                        " && umount /mnt")
            running.save(BOOTED)
            running.quit()
            state.keep(disks, **facts)
        return state.take(folder)

    @classmethod
    def start(cls, folder, disks):
        """From the state that was saved, as far as the API."""
        facts = cls.take_state(folder, disks)
        cls.port = machine.free_port()
        made = boot.Machine(medium.image(), folder, cls.uefi, forwarded={cls.port: 443},
                            disks=disks, loaded=BOOTED)
        began = time.monotonic()
        cls.machine = cls.enterClassContext(boot.Running(made))
        cls.console = machine.Console(cls.machine)
        cls.address, cls.password = facts["address"], facts["password"]
        cls.api = machine.log_in_to_api(cls.port, cls.password)
        machine.tell(f"live: API ready {facts['seconds']:.0f} s after power-on, "
                     f"{time.monotonic() - began:.0f} s from the saved state")


class LiveByBios(Live, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.scratch()
        cls.start(folder, [folder / "guest.qcow2"])

    def test_the_host_record_says_what_xen_says(self):
        host = self.api.call("host.get_all")[0]
        record = self.api.call("host.get_record", host)
        self.assertEqual(record["address"], self.address)
        self.assertTrue(record["enabled"])
        self.assertRegex(record["software_version"]["xen"], r"^4\.20\.")
        self.assertEqual(record["software_version"]["product_brand"], "Basalt")
        # QEMU was given two processors and 4 GiB; the control domain has one and a part.
        self.assertEqual(record["cpu_info"]["cpu_count"], "2")
        metrics = self.api.call("host_metrics.get_record", record["metrics"])
        self.assertGreater(int(metrics["memory_total"]), 3900 << 20)
        self.assertLess(int(metrics["memory_total"]), 4100 << 20)
        self.assertGreater(int(metrics["memory_free"]), 2000 << 20)
        lines = self.console.run("xl info").splitlines()
        told = {name.strip(): value.strip()
                for name, value in (line.split(":", 1) for line in lines if ":" in line)}
        self.assertEqual(told["xen_version"], record["software_version"]["xen"])
        self.assertEqual(told["nr_cpus"], record["cpu_info"]["cpu_count"])
        self.assertEqual(int(told["total_memory"]), int(metrics["memory_total"]) >> 20)
        self.assertIn("hvm", told["virt_caps"])
        # Debian's hypervisor has none; one of our own is there for it.
        self.assertEqual("shadow" in told["virt_caps"].split(), medium.has_own_xen())

    def test_what_xen_s_guests_cannot_have_is_refused_before_they_start(self):
        api = self.api
        restrictions = api.call("pool.get_restrictions", api.call("pool.get_all")[0])
        self.assertEqual(restrictions["restrict_vtpm"], "true")
        self.assertEqual(restrictions["restrict_usb_passthrough"], "true")
        self.assertEqual(restrictions["restrict_checkpoint"], "false")
        vm = api.call("VM.create", machine.firmware_record("wants more"))
        self.refuses("LICENCE_RESTRICTION", "VTPM.create", vm, False)
        self.assertEqual(api.call("VM.get_VTPMs", vm), [])
        api.call("VM.set_HVM_boot_params", vm, {"order": "c", "firmware": "uefi"})
        api.call("VM.set_platform", vm, {"secureboot": "true"})
        self.refuses("OPERATION_NOT_ALLOWED", "VM.start", vm, False, False)
        if not medium.has_own_ovmf():
            api.call("VM.set_platform", vm, {})
            self.refuses("OPERATION_NOT_ALLOWED", "VM.start", vm, False, False)
        self.assertEqual(api.call("VM.get_power_state", vm), "Halted")
        api.call("VM.destroy", vm)

    def test_a_guest_with_uefi_is_made_with_the_firmware_of_the_medium(self):
        """It stays paused: QEMU that emulates Xen's host ends when it runs (docs/TRAPS.md, 67)."""
        if not medium.has_own_ovmf():
            self.skipTest("the medium was made without it")
        listed = [line.split() for line in self.console.run("cat /run/basalt-live/medium/packages")
                  .splitlines() if line.startswith("own-ovmf ")]
        self.assertIn(listed[0][2], self.console.run(f"sha256sum {OVMF}"))
        api = self.api
        vm = api.call("VM.create", machine.firmware_record("by uefi"))
        api.call("VM.set_HVM_boot_params", vm, {"order": "c", "firmware": "uefi"})
        machine.add_disk(api, vm, machine.default_sr(api), DISK_BYTES, 0)
        machine.act(api, "VM.start", vm, True, False)
        self.assertEqual(api.call("VM.get_power_state", vm), "Paused")
        # What libxl was told, and what the domain has in its memory.
        told = self.console.run(f"xl list -l {api.call('VM.get_domid', vm)}")
        self.assertIn('"bios": "ovmf"', told)
        self.assertIn(f'"system_firmware": "{OVMF}"', told)
        machine.act(api, "VM.hard_shutdown", vm)
        self.assertEqual(self.served_disks(), 0)
        api.call("VM.destroy", vm)

    def test_another_password_does_not_open_the_api(self):
        with self.assertRaises(xapi_client.Failure) as refused:
            xapi_client.Session(f"https://127.0.0.1:{self.port}", "root", "wrong")
        self.assertEqual(refused.exception.args[0], "SESSION_AUTHENTICATION_FAILED")

    def test_at_the_console_the_daemons_run_confined_and_nothing_has_failed(self):
        self.assertIn("0 loaded units listed",
                      self.console.run("systemctl list-units --failed --no-pager"))
        status = self.console.run("cat /proc/$(systemctl show -P MainPID xapi)/status")
        self.assertRegex(status, r"CapBnd:\s+0{16}\n")
        self.assertRegex(status, r"CapEff:\s+0{16}\n")
        self.assertRegex(status, r"NoNewPrivs:\s+1\n")
        self.assertRegex(status, r"Seccomp:\s+2\n")
        uuid = self.api.call("host.get_uuid", self.api.call("host.get_all")[0])
        self.assertIn(f"INSTALLATION_UUID='{uuid}'",
                      self.console.run("cat /etc/xensource-inventory"))
        self.assertIn(uuid, self.console.run("xe host-list --minimal"))
        self.assertIn(uuid, self.console.run(f"python3 -c '{SCRIPT}'"))
        self.assertIn("policy drop", self.console.run("nft list chain inet host input"))
        self.assertIn('"name": "eth0"', self.console.run("cat /var/lib/basalt/nics.json"))

    def test_a_guest_of_xen_has_disks_and_a_nic_and_outlives_the_daemons(self):
        api = self.api
        vm = api.call("VM.create", machine.vm_record("pvh"))
        machine.add_disk(api, vm, machine.default_sr(api), DISK_BYTES, 0)
        machine.add_nic(api, vm, machine.management_network(api), 0, MAC)
        began = time.monotonic()
        machine.act(api, "VM.start", vm, False, False)
        started = time.monotonic() - began
        self.assertEqual(api.call("VM.get_power_state", vm), "Running")
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.wait(r"guest ready, (\w+)\s")[1], "PVH")
        machine.tell(f"PVH guest started in {started:.0f} s, ready after "
                     f"{time.monotonic() - began:.0f} s")
        self.assertEqual(guest.ask("disks", r"disks:(.*)\.\r"), f" xvda={DISK_BYTES}")
        self.assertEqual(guest.ask("nics", r"nics:(.*)\.\r"), f" {MAC}")
        self.assertEqual(guest.ask("write xvda basalt1", r"wrote: (\d+)\."), "0")
        self.assertEqual(guest.ask(f"address {GUEST_ADDRESS}/24", r"address: (\d+)\."), "0")
        self.assertEqual(guest.ask(f"ping {self.address}", r"ping: (\d+)\."), "0")
        domid = api.call("VM.get_domid", vm)
        pifs = len(api.call("PIF.get_all"))
        guest.close()

        self.console.run("kill -9 $(systemctl show -P MainPID hostd) "
                         "$(systemctl show -P MainPID xapi)")
        api = machine.log_in_to_api(self.port, self.password)
        type(self).api = api
        vm = api.call("VM.get_by_name_label", "pvh")[0]
        self.assertEqual(api.call("VM.get_power_state", vm), "Running")
        self.assertEqual(api.call("VM.get_domid", vm), domid)
        # The guest's interface is none of the host's.
        self.assertEqual(len(api.call("PIF.get_all")), pifs)
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.ask("read xvda", r"read: (\w*)\."), "basalt1")

        machine.act(api, "VM.suspend", vm)
        self.assertEqual(api.call("VM.get_power_state", vm), "Suspended")
        guest.close()
        machine.act(api, "VM.resume", vm, False, False)
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.ask("read xvda", r"read: (\w*)\."), "basalt1")
        self.assertEqual(guest.ask(f"ping {self.address}", r"ping: (\d+)\."), "0")

        machine.act(api, "VM.clean_shutdown", vm)
        self.assertEqual(api.call("VM.get_power_state", vm), "Halted")
        guest.close()
        self.assertEqual(self.served_disks(), 0)

    def served_disks(self):
        """Block devices of the control domain that storage daemons serve."""
        return int(self.console.run("ls /sys/block/nbd*/backend 2>/dev/null | wc -l"))

    def test_a_paravirtual_guest_gains_and_loses_devices_and_is_remembered(self):
        api = self.api
        vm = api.call("VM.create", machine.vm_record("pv", domain_type="pv"))
        sr = machine.default_sr(api)
        machine.add_disk(api, vm, sr, DISK_BYTES, 0)
        drive = machine.add_drive(api, vm, 4)
        machine.act(api, "VM.start", vm, False, False)
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.wait(r"guest ready, (\w+)\s")[1], "PV")

        more = machine.add_disk(api, vm, sr, DISK_BYTES // 2, 3)
        plugged = [one for one in api.call("VM.get_VBDs", vm)
                   if api.call("VBD.get_VDI", one) == more][0]
        for word in ("basalt2", "basalt3"):
            machine.act(api, "VBD.plug", plugged)
            guest.until("disks", rf"disks:.* xvdd={DISK_BYTES // 2}\b")
            self.assertEqual(guest.ask(f"write xvdd {word}", r"wrote: (\d+)\."), "0")
            machine.act(api, "VBD.unplug", plugged)
            guest.until("disks", rf"disks: xvda={DISK_BYTES}\.")
        nic = machine.add_nic(api, vm, machine.management_network(api), 1, MAC)
        machine.act(api, "VIF.plug", nic)
        guest.until("nics", rf"nics:.* {MAC}\.")
        machine.act(api, "VIF.unplug", nic)
        guest.until("nics", r"nics:\.")

        image = self.insert_an_image(vm, drive)
        guest.until("disks", rf"disks:.* xvde={image}\b")
        machine.act(api, "VBD.eject", drive)
        guest.until("disks", rf"disks: xvda={DISK_BYTES}\.")

        self.assertEqual(guest.ask("write xvda before", r"wrote: (\d+)\."), "0")
        machine.act(api, "VM.snapshot", vm, "as it was")
        machine.act(api, "VM.checkpoint", vm, "with its memory")
        states = {api.call("VM.get_name_label", one): api.call("VM.get_power_state", one)
                  for one in api.call("VM.get_snapshots", vm)}
        self.assertEqual(states, {"as it was": "Halted", "with its memory": "Suspended"})
        guest.close()
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.ask("read xvda", r"read: (\w*)\."), "before")
        guest.close()
        machine.act(api, "VM.hard_shutdown", vm)

    def insert_an_image(self, vm, drive):
        """Its size."""
        api = self.api
        isos = [ref for ref, sr in api.call("SR.get_all_records").items() if sr["type"] == "iso"][0]
        self.console.run("head -c 1M /boot/guest/initrd.gz > /var/lib/basalt/sr/iso/image.iso")
        machine.act(api, "SR.scan", isos)
        image = [ref for ref, vdi in api.call("VDI.get_all_records").items() if vdi["SR"] == isos][0]
        machine.act(api, "VBD.insert", drive, image)
        return int(api.call("VDI.get_virtual_size", image))

    def test_with_firmware_a_guest_boots_from_a_disk_that_was_imported(self):
        """On an SR and a network that were made a moment ago, as far as a boot loader that listens."""
        api = self.api
        sr = machine.act(api, "SR.create", api.call("host.get_all")[0],
                         {"location": "/var/lib/basalt/sr/more"}, "0", "more", "", "file", "user",
                         False, {})
        sr = re.search(r"OpaqueRef:[-0-9a-f]+", sr)[0]
        network = api.call("network.create", {
            "name_label": "inside", "name_description": "", "MTU": "1500", "other_config": {},
            "tags": []})
        vdi, _ = self.imported("hvm.img", sr)
        vm = api.call("VM.create", machine.firmware_record("hvm"))
        machine.give_disk(api, vm, vdi, 0, bootable=True)
        machine.add_nic(api, vm, network, 0, OTHER_MAC)
        began = time.monotonic()
        machine.act(api, "VM.start", vm, False, False)
        guest = machine.GuestConsole(api, self.port, vm)
        guest.wait("guest ready, firmware", machine.BOOT_SECONDS)
        machine.tell(f"HVM guest: its boot loader {time.monotonic() - began:.0f} s after VM.start")
        self.assertEqual(guest.ask("ls\r", r"\((hd\d)\)"), "hd0")
        self.assertEqual(guest.ask("echo said: basalt4\r", r"[\r\n]said: (\w+)[\r\n]"), "basalt4")
        self.assertIn(api.call("network.get_bridge", network),
                      self.console.run("ovs-vsctl list-br").split())
        guest.stream.sendall(b"halt\r")
        self.wait_until_halted(vm)
        guest.close()
        self.assertEqual(self.served_disks(), 0)

    def imported(self, name, sr):
        """A disk with the bytes of one of guest/make's, and its size."""
        image = medium.guests() / name
        size = image.stat().st_size
        began = time.monotonic()
        vdi = machine.make_disk(self.api, sr, size, name)
        machine.import_raw(self.api, self.port, vdi, image)
        machine.tell(f"{size >> 20} MiB are imported in {time.monotonic() - began:.0f} s")
        return vdi, size

    def test_with_firmware_a_guest_runs_its_own_kernel_and_drivers_for_xen(self):
        api = self.api
        vdi, size = self.imported("own.img", machine.default_sr(api))
        vm = api.call("VM.create", machine.firmware_record("pvhvm", platform={"hdtype": "ahci"}))
        machine.give_disk(api, vm, vdi, 0, bootable=True)
        machine.add_nic(api, vm, machine.management_network(api), 0, OTHER_MAC)
        began = time.monotonic()
        machine.act(api, "VM.start", vm, False, False)
        guest = machine.GuestConsole(api, self.port, vm)
        guest.wait("kernel read", machine.BOOT_SECONDS)
        read = time.monotonic() - began
        self.assertEqual(guest.wait(r"guest ready, (\w+)\s", machine.BOOT_SECONDS)[1], "HVM")
        machine.tell(f"HVM guest: its kernel is read {read:.0f} s after VM.start, ready after "
                     f"{time.monotonic() - began:.0f} s")
        self.assertEqual(guest.ask("disks", r"disks:(.*)\.\r"), f" xvda={size}")
        # Its own drivers have taken the emulated disk away, which would be the same one twice.
        held = self.console.run("ls -l /proc/$(pgrep -f '[a]hci0')/fd | grep -c /dev/nbd || true")
        self.assertEqual(held.strip(), "0")
        self.assertEqual(guest.ask("nics", r"nics:(.*)\.\r"), f" {OTHER_MAC}")
        self.assertEqual(guest.ask(f"address {OTHER_GUEST_ADDRESS}/24", r"address: (\d+)\."), "0")
        self.assertEqual(guest.ask(f"ping {self.address}", r"ping: (\d+)\."), "0")
        machine.act(api, "VM.clean_shutdown", vm)
        self.assertEqual(api.call("VM.get_power_state", vm), "Halted")
        guest.close()
        self.assertEqual(self.served_disks(), 0)

    def test_a_paravirtual_guest_boots_the_kernel_of_its_own_disk(self):
        api = self.api
        sr = machine.default_sr(api)
        nodes = self.console.run(OWNERS_OF_NODES)
        vm = api.call("VM.create", machine.vm_record(
            "own kernel", domain_type="pv", PV_kernel="", PV_ramdisk="", PV_bootloader="eliloader",
            PV_args="basalt=1"))
        empty = machine.make_disk(api, sr, DISK_BYTES, "empty")
        disk = machine.give_disk(api, vm, empty, 0, bootable=True)
        self.refuses("UNKNOWN_BOOTLOADER", "VM.start", vm, False, False)
        api.call("VM.set_PV_bootloader", vm, "pygrub")
        self.refuses("BOOTLOADER_FAILED", "VM.start", vm, False, False)
        self.assertEqual(api.call("VM.get_power_state", vm), "Halted")
        api.call("VBD.destroy", disk)
        vdi, size = self.imported("own.img", sr)
        machine.give_disk(api, vm, vdi, 0, bootable=True)
        machine.act(api, "VM.start", vm, False, False)
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.wait(r"guest ready, (\w+)\s")[1], "PV")
        self.assertEqual(guest.ask("disks", r"disks:(.*)\.\r"), f" xvda={size}")
        # What was found lies nowhere any more, and nobody may read disks who might not before.
        self.assertEqual(self.console.run("find /var/lib/basalt/boot -type f | wc -l").strip(), "0")
        self.assertEqual(self.console.run(OWNERS_OF_NODES), nodes)
        machine.act(api, "VM.clean_shutdown", vm)
        guest.close()

    def refuses(self, code, message, *params):
        with self.assertRaises(xapi_client.Failure) as refused:
            machine.act(self.api, message, *params)
        self.assertEqual(refused.exception.args[0], code)

    def test_a_guest_that_crashes_leaves_its_memory_and_can_be_ended_meanwhile(self):
        api = self.api
        memory = str(96 << 20)
        limits = {f"memory_{kind}": memory for kind in
                  ("static_max", "static_min", "dynamic_max", "dynamic_min")}
        vm = api.call("VM.create", machine.vm_record(
            "crashes", domain_type="pv", actions_after_crash="coredump_and_destroy", **limits))
        self.crash(vm, "PV")
        began = time.monotonic()
        self.wait_until_halted(vm)
        machine.tell(f"96 MiB of a PV guest are kept in {time.monotonic() - began:.0f} s")
        core = f"/var/lib/basalt/cores/{api.call('VM.get_uuid', vm)}.core"
        self.assertGreater(int(self.console.run(f"stat -c %s {core}")), 90 << 20)
        self.assertIn(".xen_pages", self.console.run(f"grep -ao .xen_pages {core} | head -n 1"))

        vm = api.call("VM.create", machine.vm_record(
            "long", actions_after_crash="coredump_and_restart", **limits))
        core = f"/var/lib/basalt/cores/{api.call('VM.get_uuid', vm)}.core"
        self.crash(vm, "PVH")
        self.console.run(f"until [ -e {core}.new ]; do sleep 1; done")
        # Meanwhile others live and die, and this one ends when it is told to.
        other = api.call("VM.create", machine.vm_record("other", domain_type="pv", **limits))
        machine.act(api, "VM.start", other, False, False)
        guest = machine.GuestConsole(api, self.port, other)
        guest.wait("guest ready")
        guest.stream.sendall(b"poweroff\n")
        self.wait_until_halted(other)
        guest.close()
        self.assertEqual(api.call("VM.get_power_state", vm), "Running")
        machine.act(api, "VM.hard_shutdown", vm)
        self.assertEqual(api.call("VM.get_power_state", vm), "Halted")
        self.console.run(f"[ ! -e {core} ] && [ ! -e {core}.new ]")

    def crash(self, vm, kind):
        machine.act(self.api, "VM.start", vm, False, False)
        guest = machine.GuestConsole(self.api, self.port, vm)
        self.assertEqual(guest.wait(r"guest ready, (\w+)\s")[1], kind)
        guest.stream.sendall(b"panic\n")
        guest.close()

    def wait_until_halted(self, vm):
        deadline = time.monotonic() + machine.ACT_SECONDS
        while self.api.call("VM.get_power_state", vm) != "Halted":
            self.assertLess(time.monotonic(), deadline, "the guest has not switched itself off")
            time.sleep(1)


class LiveByDhcpv6(Live, unittest.TestCase):
    """The host of LiveByBios, whose card finds itself in another network."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.scratch()
        disks = [folder / "guest.qcow2"]
        cls.take_state(folder, disks)
        # What was saved has the state of QEMU's own network in it, which is to be put somewhere.
        made = boot.Machine(medium.image(), folder, disks=disks, loaded=BOOTED, network=TAP,
                            around=["unshare", "--net", "sh", "-ec", SERVED, "sh"],
                            extra=["-netdev", "user,id=n1,restrict=on"])
        cls.console = machine.Console(cls.enterClassContext(boot.Running(made)))

    def six(self):
        """Addresses of the management bridge, in the kernel's words."""
        return self.console.run("ip -6 -o address show dev xenbr0 scope global").strip()

    def test_a_lease_is_asked_for_at_the_next_start_and_kept(self):
        self.assertEqual(self.six(), "")
        self.console.run("xe pif-reconfigure-ipv6 uuid=$(xe pif-list management=true --minimal) "
                         "mode=DHCP", machine.ACT_SECONDS)
        # Which asks at each start of the machine.
        self.console.run("systemctl restart basalt-network")
        self.console.run("until xe pif-list management=true params=IPv6 --minimal | "
                         "grep -q 2001:db8::1; do sleep 1; done", machine.ACT_SECONDS)
        address = self.console.run("xe pif-list management=true params=IPv6 --minimal").strip()
        self.assertRegex(address, r"^2001:db8::1[0-9a-f]{2}/128$")
        self.console.run("until systemctl is-active basalt-lease6; do sleep 1; done")
        self.console.run("until ip -6 route show default | grep -q 'proto ra'; do sleep 1; done")
        self.assertIn(address, self.six())
        # Longer than it is given for.
        self.console.run("sleep 130", machine.ACT_SECONDS)
        self.assertIn(address, self.six())
        self.assertIn("is leased",
                      self.console.run("journalctl --no-pager -u basalt-lease6 -o cat"))


class LiveByUefi(Live, unittest.TestCase):
    uefi = True

    def test_the_api_knows_its_host(self):
        running, console, facts = self.switch_on(self.scratch(), screen=True, words=boot.MENU_WORDS)
        machine.tell(f"live by UEFI: API ready {facts['seconds']:.0f} s after power-on")
        self.assertIn("/sys/firmware/efi", console.run("ls -d /sys/firmware/efi"))
        self.assertIn(facts["address"], console.run("xe host-list params=address --minimal"))


if __name__ == "__main__":
    unittest.main()
