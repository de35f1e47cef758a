"""VDI.copy into an existing disk, whole and as a difference to a base; what QEMU's own tool says of
the images afterwards counts."""

import http.client
import json
import os
import ssl
import unittest

import lab

MIB = 1 << 20
SIZE = 8 * MIB
NULL = "OpaqueRef:NULL"


class Copies(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        (self.sr,) = self.api.SR.get_by_name_label("Local storage")
        self.made = []
        self.addCleanup(self.clean)

    def clean(self):
        for vdi in reversed(self.made):
            self.api.VDI.destroy(vdi)
        self.session.xenapi.session.logout()

    def disk(self, size=SIZE, **more):
        return self.keep(self.api.VDI.create({
            "name_label": "copy test", "name_description": "", "SR": self.sr,
            "virtual_size": str(size), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}, **more}))

    def keep(self, vdi):
        self.made.append(vdi)
        return vdi

    def http(self, method, handler, vdi, body=None):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        connection.request(method, f"/{handler}?vdi={vdi}&session_id={self.session._session}", body)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        return answer.read()

    def fill(self, vdi, body):
        self.http("PUT", "import_raw_vdi", vdi, body)

    def content(self, vdi):
        return self.http("GET", "export_raw_vdi", vdi)

    def image(self, vdi):
        """Its file, as the host sees it."""
        uuid = self.api.VDI.get_uuid(vdi)
        known = json.loads((lab.host().state / f"host1/sr/local/{uuid}.vdi.json").read_text())
        return f"/var/lib/basalt/host1/sr/local/{known['image']}"

    def assert_same_for_qemu(self, one, other):
        done = lab.host().inside("qemu-img", "compare", self.image(one), self.image(other),
                                 capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def refused(self, *arguments):
        with self.assertRaises(lab.xenapi_module().Failure) as caught:
            self.api.VDI.copy(*arguments)
        return caught.exception.details

    def story(self):
        """A disk, its snapshot, and what was changed since: written at 1 MiB, zeroed at 3."""
        before = os.urandom(4 * MIB) + bytes(4 * MIB)
        disk = self.disk()
        self.fill(disk, before)
        base = self.keep(self.api.VDI.snapshot(disk))
        after = bytearray(before)
        after[MIB:MIB + 65536] = os.urandom(65536)
        after[3 * MIB:4 * MIB] = bytes(MIB)
        # Only these two ranges, so that the rest stays in the image they share.
        delta = self.keep(self.api.VDI.clone(base))
        self.fill(delta, bytes(after[:4 * MIB]))
        return base, before, delta, bytes(after)

    def test_the_whole_disk_goes_over_another_one(self):
        base, before, _, _ = self.story()
        target = self.disk()
        self.fill(target, os.urandom(SIZE))
        self.assertEqual(self.api.VDI.copy(base, NULL, NULL, target), target)
        self.assertTrue(self.content(target) == before)
        self.assert_same_for_qemu(base, target)
        self.assertEqual(self.api.VDI.get_current_operations(target), {})

    def test_only_the_difference_to_a_base_is_written(self):
        base, before, delta, after = self.story()
        target = self.keep(self.api.VDI.copy(base, self.sr))
        self.assert_same_for_qemu(base, target)
        # A mark where neither the base nor the disk holds anything shows that nothing was written.
        marked = before[:6 * MIB] + os.urandom(MIB) + before[7 * MIB:]
        self.fill(target, marked)
        self.assertEqual(self.api.VDI.copy(delta, NULL, base, target), target)
        self.assertTrue(self.content(target) == after[:6 * MIB] + marked[6 * MIB:])
        self.fill(target, before)
        self.api.VDI.copy(delta, NULL, base, target)
        self.assertTrue(self.content(target) == after)
        self.assert_same_for_qemu(delta, target)

    def test_a_new_disk_may_hold_the_difference_alone(self):
        base, _, delta, after = self.story()
        made = self.keep(self.api.VDI.copy(delta, self.sr, base))
        content = self.content(made)
        self.assertEqual(len(content), SIZE)
        self.assertTrue(content[MIB:MIB + 65536] == after[MIB:MIB + 65536])
        self.assertEqual(content[4 * MIB:], bytes(4 * MIB))

    def test_refusals_change_nothing(self):
        source = self.disk()
        small = self.disk(SIZE // 2)
        self.assertEqual(self.refused(source, NULL, NULL, small),
                         ["VDI_TOO_SMALL", small, str(SIZE)])
        target = self.disk()
        self.api.VDI.set_read_only(target, True)
        self.assertEqual(self.refused(source, NULL, NULL, target), ["VDI_READONLY", target])
        self.assertEqual(self.refused(source, NULL, NULL, "OpaqueRef:none")[0], "HANDLE_INVALID")
        for vdi in (source, small, target):
            self.assertEqual(self.api.VDI.get_current_operations(vdi), {})


if __name__ == "__main__":
    unittest.main()
