"""The main job: an unmodified client makes a VM from the template, starts it, reads its login
prompt, and works with its disks, its network and its life. The tests are steps of one story."""

import re
import ssl
import threading
import time
import unittest
import urllib.parse

import lab

LOGIN_SECONDS = 120
AGENT_SECONDS = 120


class GuestStory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lab.host()
        cls.session = lab.login()
        cls.api = cls.session.xenapi
        cls.vm = None
        cls.console = None

    @classmethod
    def tearDownClass(cls):
        if cls.console:
            cls.console.close()
        if cls.vm:
            if cls.api.VM.get_power_state(cls.vm) != "Halted":
                cls.api.VM.hard_shutdown(cls.vm)
            cls.api.VM.destroy(cls.vm)

    def setUp(self):
        if self.vm is None and "test_01" not in self.id():
            self.skipTest("the guest did not start")

    def connect_console(self):
        if self.console:
            self.console.close()
        type(self).console = lab.Console(self.session, self.vm)
        return self.console

    def at_shell(self):
        """A console at a shell prompt, logged in if need be."""
        console = self.connect_console()
        console.prompt()
        console.command("stty -echo; dmesg -n 1; export TERM=dumb")
        return console

    def uptime(self):
        return float(re.search(r"\d+\.\d+", self.console.command("cat /proc/uptime"))[0])

    def test_01_the_login_prompt_comes_within_two_minutes(self):
        vm = self.api.VM.clone(lab.template(self.session), "api guest")
        self.api.VM.provision(vm)
        self.assertFalse(self.api.VM.get_is_a_template(vm))
        began = time.monotonic()
        self.api.VM.start(vm, False, False)
        started = time.monotonic()
        type(self).vm = vm
        self.connect_console().wait(r"login:", LOGIN_SECONDS - (time.monotonic() - began))
        lab.say(f"VM.start took {started - began:.1f} s; "
                f"login prompt {time.monotonic() - began:.1f} s after VM.start was called")
        self.assertEqual(self.api.VM.get_power_state(vm), "Running")
        self.assertIn("clean_shutdown", self.api.VM.get_allowed_operations(vm))

    def test_02_the_guest_takes_a_login(self):
        console = self.at_shell()
        self.assertIn("trixie", console.command("cat /etc/os-release"))
        self.assertGreater(self.uptime(), 1)

    def test_02b_its_serial_console_is_a_websocket_too(self):
        """The same shell: what is typed here is echoed there."""
        (console,) = [ref for ref in self.api.VM.get_consoles(self.vm)
                      if self.api.console.get_protocol(ref) == "vt100"]
        where = urllib.parse.urlsplit(self.api.console.get_location(console))
        self.console.close()
        socket = lab.websocket_module().create_connection(
            f"wss://127.0.0.1:{lab.host().port}{where.path}?{where.query}",
            timeout=60, cookie=f"session_id={self.session._session}", suppress_origin=True,
            subprotocols=["binary"], sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False})
        self.addCleanup(self.connect_console)
        self.addCleanup(socket.shutdown)
        socket.send("cat /etc/hostname; echo six times seven is $((6*7))\n")
        said = b""
        while b"is 42" not in said:
            said += socket.recv()
        self.assertIn(b"basalt-guest", said)

    def test_03_the_address_of_the_vif_is_in_the_guest_metrics(self):
        def networks():
            ref = self.api.VM.get_guest_metrics(self.vm)
            if ref == "OpaqueRef:NULL":
                return {}
            return self.api.VM_guest_metrics.get_networks(ref)

        found = lab.wait_until(lambda: networks() if "0/ip" in networks() else None,
                               AGENT_SECONDS, "VM_guest_metrics.networks has 0/ip")
        self.assertRegex(found["0/ip"], r"^10\.71\.0\.\d+$")
        self.assertIn(found["0/ip"], self.console.command("ip -4 -br address"))
        record = self.api.VM_guest_metrics.get_record(self.api.VM.get_guest_metrics(self.vm))
        self.assertIn("Debian", record["os_version"].get("name", ""))

    def test_04_a_disk_is_plugged_and_unplugged(self):
        (sr,) = self.api.SR.get_by_name_label("Local storage")
        vdi = self.api.VDI.create({
            "name_label": "api disk", "name_description": "", "SR": sr,
            "virtual_size": str(64 << 20), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}, "xenstore_data": {}, "sm_config": {}, "tags": []})
        self.assertEqual(self.api.VDI.get_virtual_size(vdi), str(64 << 20))
        vbd = self.api.VBD.create({
            "VM": self.vm, "VDI": vdi, "userdevice": "1", "bootable": False, "mode": "RW",
            "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
            "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.api.VBD.plug(vbd)
        self.assertTrue(self.api.VBD.get_currently_attached(vbd))
        size = lab.wait_until(
            lambda: "67108864" in self.console.command("lsblk -bdno SIZE"), 30, "a new disk")
        self.assertTrue(size)
        self.api.VDI.resize(vdi, str(80 << 20))
        lab.wait_until(lambda: "83886080" in self.console.command("lsblk -bdno SIZE"), 30,
                       "the guest sees the new size")
        self.api.VBD.unplug(vbd)
        self.assertFalse(self.api.VBD.get_currently_attached(vbd))
        self.api.VBD.destroy(vbd)
        self.api.VDI.resize(vdi, str(96 << 20))
        self.assertEqual(self.api.VDI.get_virtual_size(vdi), str(96 << 20))
        copy = self.api.VDI.clone(vdi)
        self.assertEqual(self.api.VDI.get_virtual_size(copy), str(96 << 20))
        full = self.api.VDI.copy(vdi, sr)
        self.assertEqual(self.api.VDI.get_virtual_size(full), str(96 << 20))
        for ref in (full, copy, vdi):
            self.api.VDI.destroy(ref)
        self.assertNotIn(vdi, self.api.VDI.get_all())

    def test_05_a_second_nic_is_plugged_and_unplugged(self):
        network = self.api.VIF.get_network(self.api.VM.get_VIFs(self.vm)[0])
        self.assertIn("1", self.api.VM.get_allowed_VIF_devices(self.vm))
        vif = self.api.VIF.create({
            "VM": self.vm, "network": network, "device": "1", "MAC": "", "MTU": "1500",
            "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        mac = self.api.VIF.get_MAC(vif)
        self.api.VIF.plug(vif)
        self.assertTrue(self.api.VIF.get_currently_attached(vif))
        lab.wait_until(lambda: mac in self.console.command("cat /sys/class/net/*/address"),
                       30, "the guest sees the NIC")
        self.api.VIF.unplug(vif)
        self.api.VIF.destroy(vif)
        self.assertEqual(len(self.api.VM.get_VIFs(self.vm)), 1)

    def test_05b_what_a_nic_may_send_changes_while_the_guest_runs(self):
        (vif,) = self.api.VM.get_VIFs(self.vm)
        bridge = self.api.network.get_bridge(self.api.VIF.get_network(vif))

        def rules():
            switch = f"unix:/var/lib/basalt/host1/run/{bridge}.mgmt"
            done = lab.host().inside("ovs-ofctl", "-O", "OpenFlow14", "dump-flows", switch,
                                     capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        before = rules()
        self.api.VIF.set_ipv4_allowed(vif, ["192.0.2.77"])
        self.assertNotIn("192.0.2.77", rules(), "the interface is not locked")
        self.api.VIF.set_locking_mode(vif, "locked")
        self.assertIn("nw_src=192.0.2.77", rules())
        self.api.VIF.add_ipv4_allowed(vif, "192.0.2.78")
        self.api.VIF.remove_ipv4_allowed(vif, "192.0.2.77")
        self.assertIn("nw_src=192.0.2.78", rules())
        self.assertNotIn("192.0.2.77", rules())
        self.assertEqual(self.api.VIF.get_ipv4_allowed(vif), ["192.0.2.78"])
        self.api.VIF.set_locking_mode(vif, "network_default")
        self.assertEqual(len(rules().splitlines()), len(before.splitlines()))
        self.api.VIF.set_ipv4_allowed(vif, [])
        self.assertGreater(self.uptime(), 1)

    def test_06_a_snapshot_is_a_vm_of_its_own(self):
        snapshot = self.api.VM.snapshot(self.vm, "before")
        self.assertTrue(self.api.VM.get_is_a_snapshot(snapshot))
        self.assertEqual(self.api.VM.get_snapshot_of(snapshot), self.vm)
        self.assertIn(snapshot, self.api.VM.get_snapshots(self.vm))
        self.assertGreater(self.uptime(), 1)
        disks = [self.api.VBD.get_VDI(vbd) for vbd in self.api.VM.get_VBDs(snapshot)]
        self.api.VM.destroy(snapshot)
        for disk in disks:
            if disk != "OpaqueRef:NULL":
                self.api.VDI.destroy(disk)
        self.assertEqual(self.console.command("echo alive > /root/f; sync; cat /root/f"), "alive")

    def test_07_events_tell_of_a_change(self):
        token = self.api.event_from(["vm"], "", 5.0)["token"]
        other = lab.login()
        change = threading.Timer(0.5, other.xenapi.VM.set_name_description,
                                 [self.vm, "changed by a test"])
        change.start()
        seen = []
        began = time.monotonic()
        while not seen and time.monotonic() - began < 20:
            batch = self.api.event_from(["vm"], token, 10.0)
            token = batch["token"]
            seen = [event for event in batch["events"] if event["ref"] == self.vm and
                    event["snapshot"]["name_description"] == "changed by a test"]
        change.join()
        self.assertTrue(seen)
        self.assertEqual((seen[0]["class"], seen[0]["operation"]), ("vm", "mod"))
        other.xenapi.session.logout()

    def test_08_suspend_and_resume_keep_the_guest_as_it_was(self):
        before = self.uptime()
        began = time.monotonic()
        self.api.VM.suspend(self.vm)
        suspended = time.monotonic()
        self.assertEqual(self.api.VM.get_power_state(self.vm), "Suspended")
        self.assertNotEqual(self.api.VM.get_suspend_VDI(self.vm), "OpaqueRef:NULL")
        self.api.VM.resume(self.vm, False, False)
        lab.say(f"suspend {suspended - began:.1f} s, resume {time.monotonic() - suspended:.1f} s")
        self.assertEqual(self.api.VM.get_power_state(self.vm), "Running")
        self.at_shell()
        self.assertGreater(self.uptime(), before)

    def test_09_pause_stops_the_clock_of_the_guest(self):
        self.api.VM.pause(self.vm)
        self.assertEqual(self.api.VM.get_power_state(self.vm), "Paused")
        self.api.VM.unpause(self.vm)
        self.assertGreater(self.uptime(), 1)

    def test_09b_a_checkpoint_brings_back_memory_and_disk(self):
        self.console.command("kept=remembered; echo old > /root/g; sync")
        began = time.monotonic()
        checkpoint = self.api.VM.checkpoint(self.vm, "with memory")
        lab.say(f"checkpoint {time.monotonic() - began:.1f} s")
        self.assertEqual(self.api.VM.get_power_state(self.vm), "Running")
        self.assertEqual(self.api.VM.get_power_state(checkpoint), "Suspended")
        self.at_shell()
        self.console.command("kept=forgotten; echo new > /root/g; sync")
        began = time.monotonic()
        self.api.VM.revert(checkpoint)
        reverted = time.monotonic()
        self.assertEqual(self.api.VM.get_power_state(self.vm), "Suspended")
        self.assertEqual(self.api.VM.get_parent(self.vm), checkpoint)
        self.api.VM.resume(self.vm, False, False)
        lab.say(f"revert {reverted - began:.1f} s, resume {time.monotonic() - reverted:.1f} s")
        self.at_shell()
        self.assertEqual(self.console.command("echo $kept; cat /root/g").split(),
                         ["remembered", "old"])
        disks = [self.api.VBD.get_VDI(vbd) for vbd in self.api.VM.get_VBDs(checkpoint)]
        self.api.VM.destroy(checkpoint)
        for disk in disks:
            if disk != "OpaqueRef:NULL":
                self.api.VDI.destroy(disk)
        self.assertGreater(self.uptime(), 1)

    def test_10_the_guest_outlives_a_killed_hostd(self):
        before = self.uptime()
        lab.host().kill("hostd")
        # The console went by way of hostd: a new connection, the same guest.
        lab.wait_until(self.console_again, 60, "the console answers after hostd is back")
        after = self.uptime()
        self.assertGreater(after, before)
        self.assertEqual(self.api.VM.get_power_state(self.vm), "Running")

    def console_again(self):
        import http.client

        try:
            self.at_shell()
            return True
        except (OSError, http.client.HTTPException, AssertionError):
            return False

    def test_11_a_task_carries_the_result_of_a_clean_shutdown(self):
        task = self.api.Async.VM.clean_shutdown(self.vm)
        lab.wait_until(lambda: self.api.task.get_status(task) != "pending", 120, "the task ends")
        record = self.api.task.get_record(task)
        self.assertEqual(record["status"], "success", record["error_info"])
        self.assertEqual(record["result"], "<value></value>")
        self.assertEqual(float(record["progress"]), 1.0)
        self.api.task.destroy(task)
        self.assertEqual(self.api.VM.get_power_state(self.vm), "Halted")

    def test_12_a_task_carries_the_reference_of_a_clone(self):
        task = self.api.Async.VM.clone(self.vm, "api clone")
        lab.wait_until(lambda: self.api.task.get_status(task) != "pending", 60, "the task ends")
        result = self.api.task.get_result(task)
        self.assertRegex(result, r"^<value>OpaqueRef:[0-9a-f-]+</value>$")
        clone = result[len("<value>"):-len("</value>")]
        self.assertEqual(self.api.VM.get_name_label(clone), "api clone")
        disks = [self.api.VBD.get_VDI(vbd) for vbd in self.api.VM.get_VBDs(clone)]
        self.api.VM.destroy(clone)
        for disk in disks:
            self.api.VDI.destroy(disk)

    def test_13_errors_are_those_of_the_interface(self):
        failure = lab.xenapi_module().Failure
        with self.assertRaises(failure) as caught:
            self.api.VM.clean_shutdown(self.vm)
        self.assertEqual(caught.exception.details,
                         ["VM_BAD_POWER_STATE", self.vm, "running", "halted"])
        with self.assertRaises(failure) as caught:
            self.api.VM.get_record("OpaqueRef:nothing")
        self.assertEqual(caught.exception.details, ["HANDLE_INVALID", "VM", "OpaqueRef:nothing"])


if __name__ == "__main__":
    unittest.main()
