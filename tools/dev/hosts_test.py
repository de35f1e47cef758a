"""What a host of a pool is given: a role, an identity of its own, and the certificates of all."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
import hosts


@unittest.skipUnless(shutil.which("openssl"), "this machine has no openssl")
@unittest.skipUnless(os.geteuid() == 0, "files are given to another user: needs root")
class Pool(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patched = mock.patch.object(hosts, "STATE", Path(folder.name))
        patched.start()
        self.addCleanup(patched.stop)

    def prepared(self, count):
        made = [hosts.Host(number + 1, in_pool=count > 1) for number in range(count)]
        for host in made:
            host.prepare("secret")
        if count > 1:
            hosts.make_pool(made)
        return made

    def read(self, host, name):
        return (host.folder / "xapi" / name).read_text()

    def test_the_first_leads_and_the_others_follow_its_address(self):
        one, two, three = self.prepared(3)
        self.assertEqual(self.read(one, "pool.conf"), "master\n")
        self.assertEqual(self.read(two, "pool.conf"), "slave:10.71.0.2\n")
        self.assertEqual(self.read(two, "pool.conf"), self.read(three, "pool.conf"))
        self.assertEqual(self.read(one, "ptoken"), self.read(three, "ptoken"))
        self.assertIn('backend = "qemu"', one.config.read_text())
        self.assertIn('backend = "sim"', two.config.read_text())

    def test_each_proves_itself_by_its_uuid_and_knows_all(self):
        one, two = self.prepared(2)
        bundle = two.folder / "xapi/pool-certificates.pem"
        self.assertEqual(bundle.read_text(), one.certificate + two.certificate)
        identity = one.folder / "xapi/pool.pem"
        self.assertEqual(identity.stat().st_mode & 0o777, 0o600)
        self.assertEqual(identity.stat().st_uid, hosts.XAPI_UID)
        done = subprocess.run(["openssl", "verify", "-CAfile", str(bundle), "-purpose", "sslclient",
                               str(identity)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        named = subprocess.run(["openssl", "x509", "-in", str(identity), "-noout", "-subject"],
                               capture_output=True, text=True, check=True).stdout
        self.assertIn(one.uuid, named)

    def test_a_second_start_keeps_identities_and_a_third_host_joins(self):
        before = self.prepared(2)
        identity, secret = self.read(before[1], "pool.pem"), self.read(before[0], "ptoken")
        after = self.prepared(3)
        self.assertEqual(self.read(after[1], "pool.pem"), identity)
        self.assertEqual(self.read(after[2], "ptoken"), secret)
        self.assertIn(after[2].certificate, self.read(after[0], "pool-certificates.pem"))

    def test_a_host_alone_has_no_pool(self):
        (one,) = self.prepared(1)
        self.assertNotIn("[pool]", one.config.read_text())
        self.assertFalse((one.folder / "xapi/pool.pem").exists())


if __name__ == "__main__":
    unittest.main()
