"""What xapi, which speaks with the network, may do to its host: next to nothing. And what xapi's
clients can make hostd do for them: nothing outside its folders."""

import unittest

import lab

XAPI_UID = 4210

# Connects to hostd's socket as another user and tells whether it is answered.
KNOCK = """
import os, socket, struct, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
door = socket.socket(socket.AF_UNIX); door.settimeout(20)
door.connect(sys.argv[2])
text = b'{"id": 1, "verb": "domains", "args": {}}'
try:
    door.sendall(struct.pack(">I", len(text)) + text)
    print("answered" if door.recv(4) else "refused")
except OSError:
    print("refused")
"""


class Confined(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab.host()
        cls.pid, _ = cls.lab.status()["host1.xapi"]

    def inside(self, *command):
        done = self.lab.inside(*command, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_xapi_runs_without_any_privilege(self):
        lines = self.inside("cat", f"/proc/{self.pid}/status").splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        self.assertEqual(status["Name"], "xapi")
        for kind in ("Uid", "Gid"):
            self.assertEqual(set(status[kind].split()), {str(XAPI_UID)})
        self.assertEqual(status["Groups"].strip(), "")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2")

    def test_hostd_answers_root_and_xapi_only(self):
        door = "/var/lib/basalt/host1/hostd.sock"
        for uid, answer in ((0, "answered"), (XAPI_UID, "answered"), (XAPI_UID + 1, "refused"),
                            (66000, "refused")):
            with self.subTest(uid=uid):
                said = self.inside("python3", "-I", "-c", KNOCK, str(uid), door)
                self.assertEqual(said.strip(), answer)

    def test_root_is_known_by_its_socket(self):
        """The unix socket trusts its peer's uid, which the kernel tells xapi without privileges."""
        done = self.lab.xe("host-list", "--minimal")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^[0-9a-f-]{36}\n$")

    def test_a_kernel_outside_the_boot_folder_is_refused(self):
        session = lab.login()
        api = session.xenapi
        vm = api.VM.clone(lab.template(session), "kernel thief")
        self.addCleanup(api.VM.destroy, vm)
        api.VM.provision(vm)
        api.VM.set_HVM_boot_policy(vm, "")
        for path in ("/etc/shadow", "/var/lib/basalt/host1/boot/../basalt.toml"):
            api.VM.set_PV_kernel(vm, path)
            with self.assertRaises(lab.xenapi_module().Failure) as caught:
                api.VM.start(vm, False, False)
            self.assertEqual(caught.exception.details[0], "INVALID_VALUE")
            self.assertEqual(api.VM.get_power_state(vm), "Halted")

    def test_a_locked_vif_starts(self):
        session = lab.login()
        api = session.xenapi
        vm = api.VM.clone(lab.template(session), "locked")
        api.VM.provision(vm)
        self.addCleanup(api.VM.destroy, vm)
        record = api.VIF.get_record(api.VM.get_VIFs(vm)[0])
        api.VIF.destroy(api.VM.get_VIFs(vm)[0])
        vif = api.VIF.create({**record, "locking_mode": "locked", "ipv4_allowed": ["10.71.0.77"]})
        mac = api.VIF.get_MAC(vif)
        api.VM.start(vm, True, False)
        self.addCleanup(api.VM.hard_shutdown, vm)
        bridge = api.network.get_bridge(api.VIF.get_network(vif))
        rules = self.inside("env", "OVS_RUNDIR=/var/lib/basalt/host1/run", "ovs-ofctl",
                            "dump-flows", bridge)
        self.assertIn(f"dl_src={mac},nw_src=10.71.0.77", rules)
        self.assertRegex(rules, r"in_port=\S+ actions=drop")


if __name__ == "__main__":
    unittest.main()
