"""The medium, made from this tree and booted live under QEMU without hardware virtualisation: what
the host says of itself, and guests of Xen that are started through its API.

BASALT_ISO names a medium that is there already.
"""

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
import xapi_client

MAC = "02:00:00:ba:5a:01"
GUEST_ADDRESS = "10.0.2.77"
DISK_BYTES = 64 << 20


class Live:
    """One boot, shared by the cases of a class."""

    uefi = False

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="basalt-live-")
        cls.addClassCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        cls.port = machine.free_port()
        made = boot.Machine(medium.image(), folder, cls.uefi, forwarded={cls.port: 443},
                            disks=[medium.guest_disk(folder)])
        cls.machine = cls.enterClassContext(boot.Running(made))
        began = time.monotonic()
        cls.console = machine.Console(cls.machine)
        said = cls.console.wait(r"XenAPI at https://(\S+)\s+.*User: root  Password: (\w+)",
                                machine.BOOT_SECONDS)
        cls.address, cls.password = said[1], said[2]
        cls.api = machine.log_in_to_api(cls.port, cls.password)
        print(f"API ready {time.monotonic() - began:.0f} s after power-on", file=sys.stderr)


class LiveByBios(Live, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.console.log_in(cls.password)
        cls.console.run("mount -o ro /dev/vda /mnt && cp /mnt/vmlinuz /mnt/initrd.gz /boot/guest/"
                        " && umount /mnt")

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
        self.assertIn("policy drop", self.console.run("nft list chain inet host input"))

    def test_a_guest_of_xen_has_disks_and_a_nic_and_outlives_the_daemons(self):
        api = self.api
        vm = api.call("VM.create", machine.vm_record("pvh"))
        machine.add_disk(api, vm, machine.default_sr(api), DISK_BYTES, 0)
        machine.add_nic(api, vm, machine.management_network(api), 0, MAC)
        machine.act(api, "VM.start", vm, False, False)
        self.assertEqual(api.call("VM.get_power_state", vm), "Running")
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.wait(r"guest ready, (\w+)")[1], "PVH")
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
        served = self.console.run("ls /sys/block/nbd*/backend 2>/dev/null | wc -l")
        self.assertEqual(served.strip(), "0")


    def test_a_paravirtual_guest_gains_and_loses_devices_and_is_remembered(self):
        api = self.api
        vm = api.call("VM.create", machine.vm_record("pv", domain_type="pv"))
        sr = machine.default_sr(api)
        machine.add_disk(api, vm, sr, DISK_BYTES, 0)
        drive = machine.add_drive(api, vm, 4)
        machine.act(api, "VM.start", vm, False, False)
        guest = machine.GuestConsole(api, self.port, vm)
        self.assertEqual(guest.wait(r"guest ready, (\w+)")[1], "PV")

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


class LiveByUefi(Live, unittest.TestCase):
    uefi = True

    def test_the_api_knows_its_host(self):
        host = self.api.call("host.get_all")[0]
        self.assertEqual(self.api.call("host.get_address", host), self.address)


if __name__ == "__main__":
    unittest.main()
