"""Which blocks changed between two snapshots, as backup programs ask it."""

import base64
import http.client
import os
import ssl
import struct
import unittest

import lab

MIB = 1 << 20
BLOCK = 65536
SIZE = 10 * MIB


class Changes(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        (self.sr,) = self.api.SR.get_by_name_label("Local storage")
        self.disk = self.api.VDI.create({
            "name_label": "changes test", "name_description": "", "SR": self.sr,
            "virtual_size": str(SIZE), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}})
        self.made = [self.disk]
        self.addCleanup(self.clean)

    def clean(self):
        for vdi in reversed(self.made):
            self.api.VDI.destroy(vdi)
        self.session.xenapi.session.logout()

    def request(self, method, handler, body=None, **query):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        words = {"session_id": self.session._session, **query}
        connection.request(method, f"/{handler}?" + "&".join(f"{k}={v}" for k, v in words.items()),
                           body)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def change(self, *blocks):
        """Writes these blocks, and returns when they are on the disk."""
        body = b"".join(struct.pack("<qi", block * BLOCK, BLOCK) + os.urandom(BLOCK)
                        for block in blocks) + struct.pack("<qi", 0, 0)
        status, _ = self.request("PUT", "import_raw_vdi", body, vdi=self.disk, chunked="true")
        self.assertEqual(status, 200)
        lab.wait_until(lambda: not self.api.VDI.get_current_operations(self.disk), 30, "written")

    def snapshot(self):
        made = self.api.VDI.snapshot(self.disk)
        self.made.append(made)
        return made

    def blocks(self, since, now):
        bits = base64.b64decode(self.api.VDI.list_changed_blocks(since, now))
        self.assertEqual(len(bits), SIZE // BLOCK // 8)
        return [8 * byte + bit for byte, value in enumerate(bits) for bit in range(8)
                if value & 0x80 >> bit]

    def refused(self, code, call, *arguments):
        with self.assertRaises(lab.xenapi_module().Failure) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.details[0], code)

    def test_what_was_written_is_what_changed(self):
        self.change(*range(20))
        self.api.VDI.enable_cbt(self.disk)
        one = self.snapshot()
        self.assertTrue(self.api.VDI.get_cbt_enabled(one))
        self.change(0, 7, 8, 100)
        two = self.snapshot()
        self.change(5)
        three = self.snapshot()
        self.assertEqual(self.blocks(one, two), [0, 7, 8, 100])
        self.assertEqual(self.blocks(two, three), [5])
        self.assertEqual(self.blocks(one, three), [0, 5, 7, 8, 100])
        self.assertEqual(self.blocks(two, two), [])
        self.assertEqual(self.api.VDI.get_current_operations(one), {})

    def test_a_snapshot_without_its_data_can_still_be_compared(self):
        self.api.VDI.enable_cbt(self.disk)
        self.change(1, 2)
        one = self.snapshot()
        self.api.VDI.data_destroy(one)
        self.api.VDI.data_destroy(one)
        self.assertEqual(self.api.VDI.get_type(one), "cbt_metadata")
        self.change(2, 3)
        two = self.snapshot()
        self.assertEqual(self.blocks(one, two), [2, 3])
        self.refused("VDI_INCOMPATIBLE_TYPE", self.api.VDI.clone, one)
        self.refused("VDI_INCOMPATIBLE_TYPE", self.api.VDI.copy, one, self.sr)
        self.assertEqual(self.request("GET", "export_raw_vdi", vdi=one)[0], 500)
        self.assertNotIn("copy", self.api.VDI.get_allowed_operations(one))
        self.assertIn("destroy", self.api.VDI.get_allowed_operations(one))

    def test_who_may_be_asked(self):
        self.change(1)
        before = self.snapshot()
        self.assertFalse(self.api.VDI.get_cbt_enabled(before))
        self.api.VDI.enable_cbt(self.disk)
        after = self.snapshot()
        self.refused("VDI_NO_CBT_METADATA", self.api.VDI.list_changed_blocks, before, after)
        self.refused("OPERATION_NOT_ALLOWED", self.api.VDI.enable_cbt, after)
        self.refused("OPERATION_NOT_ALLOWED", self.api.VDI.data_destroy, self.disk)
        self.refused("VDI_NO_CBT_METADATA", self.api.VDI.data_destroy, before)
        self.api.VDI.disable_cbt(self.disk)
        self.assertFalse(self.api.VDI.get_cbt_enabled(self.disk))

    def test_what_is_listed_is_enough_for_a_backup(self):
        """The old content with the listed blocks of the new one is the new content."""
        self.change(*range(0, 150, 7))
        self.api.VDI.enable_cbt(self.disk)
        one = self.snapshot()
        self.change(*range(3, 150, 11))
        two = self.snapshot()
        copy = bytearray(self.request("GET", "export_raw_vdi", vdi=one)[1])
        new = self.request("GET", "export_raw_vdi", vdi=two)[1]
        for block in self.blocks(one, two):
            copy[block * BLOCK:(block + 1) * BLOCK] = new[block * BLOCK:(block + 1) * BLOCK]
        self.assertTrue(copy == new)


if __name__ == "__main__":
    unittest.main()
