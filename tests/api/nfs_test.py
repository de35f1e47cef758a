"""CDs of an NFS server: probed, listed, put into a running guest; and a server that stops answering.

The server is nfs-ganesha in the host's own network namespace.
"""

import time
import unittest

import lab

FOLDER = "/tmp/nfs-test"
SHARE = "/var/lib/basalt/nfs-test"  # ganesha exports folders on disks only
CONFIG = f"""
NFS_CORE_PARAM {{ Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false;
                  allow_set_io_flusher_fail = true; }}
EXPORT {{ Export_Id = 1; Path = {SHARE}; Pseudo = /iso; Protocols = 3; Transports = TCP;
          Access_Type = RO; Squash = Root_Squash; SecType = sys; FSAL {{ Name = VFS; }} }}
"""
START = f"""
mkdir -p {FOLDER} {SHARE} /run/rpcbind /run/ganesha /var/lib/nfs/ganesha
chmod 755 {FOLDER} {SHARE}
head -c 1048576 /dev/urandom > {SHARE}/first.iso
head -c 2097152 /dev/urandom > {SHARE}/second.iso
cat > {FOLDER}/ganesha.conf
setsid rpcbind -f > {FOLDER}/rpcbind.log 2>&1 < /dev/null & echo $! > {FOLDER}/rpcbind.pid
setsid ganesha.nfsd -F -f {FOLDER}/ganesha.conf -L {FOLDER}/log -p {FOLDER}/own.pid \\
    > {FOLDER}/out 2>&1 < /dev/null & echo $! > {FOLDER}/ganesha.pid
for i in $(seq 150); do rpcinfo -p 127.0.0.1 | grep -q mountd && exit 0; sleep 0.2; done
exit 1
"""


class Nfs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.session = lab.login()
        cls.api = cls.session.xenapi
        cls.addClassCleanup(cls.session.xenapi.session.logout)
        if lab.host().inside("test", "-x", "/usr/bin/ganesha.nfsd").returncode != 0:
            raise unittest.SkipTest("there is no nfs-ganesha")
        started = lab.host().inside("sh", "-c", START, input=CONFIG, capture_output=True)
        cls.addClassCleanup(cls.end_server)
        if started.returncode != 0:
            raise AssertionError(started.stdout + started.stderr)

    @classmethod
    def end_server(cls):
        cls.signal("KILL")
        lab.host().inside("sh", "-c", f"kill $(cat {FOLDER}/rpcbind.pid); rm -rf {FOLDER} {SHARE}")

    @classmethod
    def signal(cls, name):
        lab.host().inside("sh", "-c", f"kill -{name} $(cat {FOLDER}/ganesha.pid)")

    def config(self):
        return {"location": f"127.0.0.1:{SHARE}", "type": "nfs_iso"}

    def create(self, config):
        (host,) = self.api.host.get_all()
        return self.api.SR.create(host, config, "0", "discs", "", "iso", "iso", True, {})

    def refusal(self, act, *arguments):
        with self.assertRaises(lab.xenapi_module().Failure) as refused:
            act(*arguments)
        return refused.exception.details[0]

    def discs(self, sr):
        return {self.api.VDI.get_location(vdi): vdi for vdi in self.api.SR.get_VDIs(sr)}

    def test_discs_are_listed_and_read_and_a_dead_server_harms_nobody(self):
        (host,) = self.api.host.get_all()
        self.assertIn(SHARE, self.api.SR.probe(host, self.config(), "iso", {}))
        self.assertEqual(self.refusal(self.create, {"location": "127.0.0.1:/nowhere"}),
                         "SR_BACKEND_FAILURE_222")
        sr = self.create(self.config())
        self.addCleanup(self.forget, sr)
        self.assertEqual(set(self.discs(sr)), {"first.iso", "second.iso"})
        self.assertEqual(self.api.VDI.get_virtual_size(self.discs(sr)["second.iso"]), "2097152")
        self.api.SR.scan(sr)
        self.assertEqual(len(self.discs(sr)), 2)

        vm = self.api.VM.clone(lab.template(self.session), "nfs guest")
        self.addCleanup(self.api.VM.destroy, vm)
        self.api.VM.provision(vm)
        drive = self.api.VBD.create({
            "VM": vm, "VDI": self.discs(sr)["first.iso"], "userdevice": "3", "bootable": False,
            "mode": "RO", "type": "CD", "unpluggable": True, "empty": False, "other_config": {},
            "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.api.VM.start(vm, False, False)
        self.addCleanup(self.api.VM.hard_shutdown, vm)
        self.api.VBD.eject(drive)
        self.api.VBD.insert(drive, self.discs(sr)["second.iso"])

        self.signal("STOP")
        try:
            began = time.monotonic()
            self.assertRegex(self.refusal(self.api.SR.scan, sr), r"^SR_BACKEND_FAILURE_(222|40)$")
            lab.say(f"SR.scan of a dead server answered after {time.monotonic() - began:.1f} s")
            self.assertLess(time.monotonic() - began, 60)
            began = time.monotonic()
            other = self.api.SR.get_by_name_label("Local storage")[0]
            self.api.SR.scan(other)
            self.assertLess(time.monotonic() - began, 10)
        finally:
            self.signal("CONT")
        self.api.SR.scan(sr)
        self.api.VBD.eject(drive)

    def forget(self, sr):
        for pbd in self.api.SR.get_PBDs(sr):
            self.api.PBD.unplug(pbd)
        self.api.SR.forget(sr)


if __name__ == "__main__":
    unittest.main()
