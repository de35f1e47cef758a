"""Disks over the network block protocol, as programs that back up read them."""

import hashlib
import http.client
import os
import ssl
import unittest

import lab

MIB = 1 << 20
SIZE = 8 * MIB
FOLDER = "/tmp/nbd-test"


class Nbd(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        self.addCleanup(self.session.xenapi.session.logout)
        (sr,) = self.api.SR.get_by_name_label("Local storage")
        self.disk = self.api.VDI.create({
            "name_label": "nbd test", "name_description": "", "SR": sr, "virtual_size": str(SIZE),
            "type": "user", "sharable": False, "read_only": False, "other_config": {}})
        self.addCleanup(self.destroy)
        self.content = os.urandom(MIB) + bytes(SIZE - 2 * MIB) + os.urandom(MIB)
        self.fill()
        (self.network,) = {row["network"] for row in self.api.PIF.get_all_records().values()
                           if row["management"]}

    def destroy(self):
        # A reader that has just left may still be known to the disk's host.
        def gone():
            try:
                self.api.VDI.destroy(self.disk)
                return True
            except lab.xenapi_module().Failure as failure:
                if failure.details[0] != "VDI_IN_USE":
                    raise
        lab.wait_until(gone, 30, "nobody reads the disk")

    def fill(self):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        connection.request("PUT", f"/import_raw_vdi?vdi={self.disk}"
                                  f"&session_id={self.session._session}", self.content)
        self.assertEqual(connection.getresponse().status, 200)
        lab.wait_until(lambda: not self.api.VDI.get_current_operations(self.disk), 30, "written")

    def allow(self, purpose):
        self.api.network.add_purpose(self.network, purpose)
        self.addCleanup(self.api.network.remove_purpose, self.network, purpose)

    def info(self):
        infos = self.api.VDI.get_nbd_info(self.disk)
        self.assertTrue(infos)
        return infos[0]

    def where(self, info, **options):
        words = {"driver": "nbd", "host": info["address"], "port": info["port"],
                 "export": info["exportname"], **options}
        return ",".join(f"{name}={value}" for name, value in words.items())

    def qemu(self, *command):
        return lab.host().inside(*command, capture_output=True, timeout=120)

    def read(self, *options):
        """The SHA-256 of what qemu-img reads there."""
        self.qemu("mkdir", "-p", FOLDER)
        done = self.qemu("qemu-img", "convert", *options, "-O", "raw", f"{FOLDER}/disk")
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.qemu("sha256sum", f"{FOLDER}/disk").stdout.split()[0]

    def credentials(self, info):
        """As QEMU takes them: the server's certificate is the only one to be trusted."""
        lab.host().inside("sh", "-c", f"mkdir -p {FOLDER} && cat > {FOLDER}/ca-cert.pem",
                          input=info["cert"])
        return ("--object", f"tls-creds-x509,id=tls,dir={FOLDER},endpoint=client,"
                            "verify-peer=yes,sanity-check=no")

    def test_a_disk_is_read_over_tls_by_who_knows_the_server(self):
        self.allow("nbd")
        info = self.info()
        self.assertEqual(info["port"], "10809")
        self.assertEqual(info["exportname"],
                         f"/{self.api.VDI.get_uuid(self.disk)}?session_id={self.session._session}")
        self.assertIn("BEGIN CERTIFICATE", info["cert"])
        self.assertNotIn("PRIVATE", info["cert"])
        self.assertTrue(info["subject"])
        tls = self.credentials(info)
        where = self.where(info, **{"tls-creds": "tls", "tls-hostname": info["subject"]})
        self.assertEqual(self.read(*tls, "--image-opts", where),
                         hashlib.sha256(self.content).hexdigest())
        said = self.qemu("qemu-img", "info", *tls, "--image-opts", where)
        self.assertIn(f"({SIZE} bytes)", said.stdout)
        stranger = self.where(info, **{"tls-creds": "tls", "tls-hostname": "stranger.example"})
        self.assertNotEqual(self.qemu("qemu-img", "info", *tls, "--image-opts", stranger).returncode,
                            0)

    def test_nothing_is_read_in_the_clear_where_tls_is_wanted(self):
        self.allow("nbd")
        done = self.qemu("qemu-img", "info", "--image-opts", self.where(self.info()))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("TLS", done.stderr)

    def test_in_the_clear_where_that_is_allowed(self):
        self.allow("insecure_nbd")
        with self.assertRaises(lab.xenapi_module().Failure) as refused:
            self.api.network.add_purpose(self.network, "nbd")
        self.assertEqual(refused.exception.details,
                         ["NETWORK_INCOMPATIBLE_PURPOSES", "nbd", "insecure_nbd"])
        info = self.info()
        self.assertEqual(self.read("--image-opts", self.where(info)),
                         hashlib.sha256(self.content).hexdigest())
        # What is not there is told, not sent: the map has a hole in the middle.
        holes = self.qemu("qemu-img", "map", "--output=json", "--image-opts", self.where(info))
        self.assertIn('"zero": true', holes.stdout)
        written = self.qemu("qemu-io", "-c", "write 0 512", "--image-opts", self.where(info))
        self.assertNotEqual(written.returncode, 0)
        self.assertIn("permission denied", written.stderr.lower())

    def test_who_has_no_session_gets_nothing(self):
        self.allow("insecure_nbd")
        info = self.info()
        uuid = self.api.VDI.get_uuid(self.disk)
        for name, why in ((f"/{uuid}?session_id=OpaqueRef:nobody", "SESSION_INVALID"),
                          (f"/{uuid}", "INVALID_VALUE"), ("disk", "INVALID_VALUE"),
                          (info["exportname"].replace(uuid, uuid[::-1]), "UUID_INVALID")):
            with self.subTest(name):
                done = self.qemu("qemu-img", "info", "--image-opts",
                                 self.where({**info, "exportname": name}))
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(why, done.stderr)

    def test_where_no_network_says_so_nobody_is_answered(self):
        self.assertEqual(self.api.VDI.get_nbd_info(self.disk), [])
        address = self.api.host.get_address(self.api.host.get_all()[0])
        done = self.qemu("qemu-img", "info", f"nbd://{address}:10809/x")
        self.assertNotEqual(done.returncode, 0)

    def test_several_readers_at_once(self):
        self.allow("insecure_nbd")
        where = self.where(self.info())
        one = f"qemu-img compare --image-opts {where} {where}"
        done = self.qemu("sh", "-c", f"for i in 1 2 3 4; do {one} & all=\"$all $!\"; done; "
                                     "for one in $all; do wait $one || exit 1; done")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_sum_of_a_disk(self):
        self.assertEqual(self.api.VDI.checksum(self.disk), hashlib.md5(self.content).hexdigest())
        self.assertEqual(self.api.VDI.get_current_operations(self.disk), {})


if __name__ == "__main__":
    unittest.main()
