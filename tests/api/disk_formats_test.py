"""Disks as images over HTTP: VHD (also the difference to another disk, as backups need it), qcow2,
an archive, and pieces. What QEMU's own tool makes and reads counts."""

import hashlib
import http.client
import io
import os
import ssl
import struct
import tarfile
import unittest

import lab

MIB = 1 << 20
BLOCK = 2 * MIB
SIZE = 9 * MIB  # the last block of a VHD is cut
SECTOR = 512


def checksum(data):
    return ~sum(data) & 0xffffffff


class Vhd:
    """An image, taken apart by the format's specification."""

    def __init__(self, data):
        self.data = data
        footer = data[:512]
        assert footer == data[-512:], "the footer and its copy differ"
        assert footer[:8] == b"conectix"
        self.size, = struct.unpack(">Q", footer[48:56])
        self.kind, = struct.unpack(">I", footer[60:64])
        self.id = footer[68:84].hex()
        assert struct.unpack(">I", footer[64:68])[0] == checksum(footer[:64] + footer[68:])
        at, = struct.unpack(">Q", footer[16:24])
        header = data[at:at + 1024]
        assert header[:8] == b"cxsparse"
        table, _, entries, self.block = struct.unpack(">QIII", header[16:36])
        self.parent = header[40:56].hex()
        self.table = struct.unpack(f">{entries}I", data[table:table + 4 * entries])

    def over(self, base):
        """The disk, where `base` is what lies below."""
        out = bytearray(base.ljust(self.size, b"\0")[:self.size])
        for number, sector in enumerate(self.table):
            if sector == 0xffffffff:
                continue
            bitmap = self.data[sector * SECTOR:][:SECTOR]
            block = self.data[(sector + 1) * SECTOR:][:self.block]
            for one in range(self.block // SECTOR):
                at = number * self.block + one * SECTOR
                if bitmap[one // 8] & (0x80 >> one % 8) and at < self.size:
                    out[at:at + SECTOR] = block[one * SECTOR:][:SECTOR]
        return bytes(out)


class Formats(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        (self.sr,) = self.api.SR.get_by_name_label("Local storage")
        self.made = []
        self.files = []
        self.addCleanup(self.clean)

    def clean(self):
        for vdi in reversed(self.made):
            self.api.VDI.destroy(vdi)
        for file in self.files:
            file.unlink(missing_ok=True)
        self.session.xenapi.session.logout()

    def disk(self, content=None, size=SIZE):
        vdi = self.api.VDI.create({
            "name_label": "format test", "name_description": "", "SR": self.sr,
            "virtual_size": str(size), "type": "user", "sharable": False, "read_only": False,
            "other_config": {}})
        self.made.append(vdi)
        if content:
            self.put(vdi, content)
        return vdi

    def request(self, method, handler, body=None, **query):
        connection = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                                 context=ssl._create_unverified_context())
        self.addCleanup(connection.close)
        words = {"session_id": self.session._session, **query}
        connection.request(method, f"/{handler}?" + "&".join(f"{k}={v}" for k, v in words.items()),
                           body)
        answer = connection.getresponse()
        return answer, answer.read()

    def put(self, vdi, body, error=None, **query):
        """Sends; then the task ends well, or with that error."""
        task = self.api.task.create("upload", "")
        where = {"vdi": vdi} if vdi else {}
        try:
            self.request("PUT", "import_raw_vdi", body, task_id=task, **where, **query)
        except OSError:
            pass  # it has heard enough
        lab.wait_until(lambda: self.api.task.get_status(task) != "pending", 30, "the task's end")
        record = self.api.task.get_record(task)
        self.api.task.destroy(task)
        self.assertEqual(record["error_info"][:1], [error] if error else [])
        return record["result"]

    def get(self, vdi, **query):
        answer, body = self.request("GET", "export_raw_vdi", vdi=vdi, **query)
        self.assertEqual(answer.status, 200, body[:300])
        self.type = answer.getheader("content-type")
        self.name = answer.getheader("content-disposition")
        return body

    def qemu_img(self, *arguments):
        done = lab.host().inside("qemu-img", *map(str, arguments), capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def file(self, name, content=b""):
        """A file for QEMU's tool: where we see it, and where it does."""
        path = lab.host().state / "host1" / name
        path.write_bytes(content)
        self.files.append(path)
        return path, f"/var/lib/basalt/host1/{name}"

    def mixed(self):
        return (os.urandom(MIB) + bytes(3 * MIB) + os.urandom(4096)).ljust(SIZE, b"\0")[:-4096] \
            + os.urandom(4096)

    def test_vhd_out_is_what_qemu_reads(self):
        content = self.mixed()
        vdi = self.disk(content)
        image = self.get(vdi, format="vhd")
        self.assertEqual(self.type, "application/vhd")
        self.assertIn(self.api.VDI.get_uuid(vdi) + ".vhd", self.name)
        parts = Vhd(image)
        self.assertEqual((parts.kind, parts.size, parts.block), (3, SIZE, BLOCK))
        self.assertEqual(parts.id, self.api.VDI.get_uuid(vdi).replace("-", ""))
        self.assertEqual([sector == 0xffffffff for sector in parts.table],
                         [False, True, False, True, False])
        self.assertEqual(parts.over(b""), content)
        _, inside = self.file("out.vhd", image)
        raw, raw_inside = self.file("out.raw")
        self.qemu_img("convert", "-f", "vpc", "-O", "raw", inside, raw_inside)
        self.assertEqual(raw.read_bytes(), content)

    def test_vhd_of_qemu_comes_in(self):
        content = self.mixed()
        _, raw = self.file("in.raw", content)
        for kind in ("dynamic", "fixed"):
            with self.subTest(kind):
                image, inside = self.file(f"in-{kind}.vhd")
                self.qemu_img("convert", "-f", "raw", "-O", "vpc", "-o",
                              f"subformat={kind},force_size=on", raw, inside)
                # Something is there already, which the image knows nothing of.
                vdi = self.disk(os.urandom(SIZE))
                self.put(vdi, image.read_bytes(), format="vhd")
                self.assertEqual(self.get(vdi), content)

    def test_a_difference_goes_out_and_is_laid_over_its_base(self):
        before = self.mixed()
        vdi = self.disk(before)
        base = self.api.VDI.snapshot(vdi)
        self.made.append(base)
        after = bytearray(before)
        after[5 * MIB:5 * MIB + 65536] = os.urandom(65536)
        after[:65536] = bytes(65536)  # zeros are a change, too
        pieces = b"".join(struct.pack("<qi", at, 65536) + after[at:at + 65536]
                          for at in (0, 5 * MIB)) + struct.pack("<qi", 0, 0)
        self.put(vdi, pieces, chunked="true")
        self.assertEqual(self.get(vdi), after)
        changed = self.api.VDI.snapshot(vdi)
        self.made.append(changed)
        image = self.get(changed, format="vhd", base=base)
        parts = Vhd(image)
        self.assertEqual((parts.kind, parts.size), (4, SIZE))
        self.assertEqual(parts.parent, self.api.VDI.get_uuid(base).replace("-", ""))
        self.assertEqual([sector == 0xffffffff for sector in parts.table],
                         [False, True, False, True, True])
        self.assertEqual(parts.over(before), after)
        # By the uuid of the base as well, as Xen Orchestra names it.
        again = self.get(changed, format="vhd", base=self.api.VDI.get_uuid(base))
        self.assertEqual(len(again), len(image))
        target = self.disk(before)
        self.put(target, image, format="vhd")
        self.assertEqual(hashlib.sha256(self.get(target)).digest(),
                         hashlib.sha256(after).digest())

    def test_a_difference_to_nothing_in_common_is_all_that_differs(self):
        one, other = self.disk(os.urandom(MIB)), self.disk(b"\0" * 4 * MIB + os.urandom(MIB))
        below = self.get(other)
        self.assertEqual(Vhd(self.get(one, format="vhd", base=other)).over(below), self.get(one))

    def test_damaged_vhd_is_refused(self):
        image = self.get(self.disk(os.urandom(4 * MIB)), format="vhd")
        whole = bytearray(image)
        whole[1536:1540] = struct.pack(">I", 1)  # the first block lies in the header
        vdi = self.disk()
        self.put(vdi, bytes(whole), "VDI_IO_ERROR", format="vhd")
        self.put(vdi, b"conectix" + bytes(100000), "VDI_IO_ERROR", format="vhd")
        self.put(vdi, b"", None, format="vhd")  # an empty body only looks
        self.put(self.disk(size=MIB), image, "VDI_TOO_SMALL", format="vhd")

    def test_a_vhd_that_breaks_off_leaves_what_came(self):
        content = os.urandom(SIZE)
        image = self.get(self.disk(content), format="vhd")
        vdi = self.disk()
        self.put(vdi, image[:5 * MIB], "VDI_IO_ERROR", format="vhd")
        self.assertEqual(self.get(vdi)[:4 * MIB], content[:4 * MIB])

    def test_qcow2_both_ways(self):
        content = self.mixed()
        image = self.get(self.disk(content), format="qcow2")
        self.assertEqual(self.type, "application/x-qemu-disk")
        vdi = self.disk(os.urandom(SIZE))
        self.put(vdi, image, format="qcow2")
        self.assertEqual(self.get(vdi), content)

    def test_a_qcow2_difference_is_laid_over_its_base(self):
        before = self.mixed()
        vdi = self.disk(before)
        base = self.api.VDI.snapshot(vdi)
        self.made.append(base)
        after = bytearray(before)
        after[5 * MIB:5 * MIB + 65536] = os.urandom(65536)
        after[:65536] = bytes(65536)
        self.put(vdi, b"".join(struct.pack("<qi", at, 65536) + after[at:at + 65536]
                               for at in (0, 5 * MIB)) + struct.pack("<qi", 0, 0), chunked="true")
        changed = self.api.VDI.snapshot(vdi)
        self.made.append(changed)
        image = self.get(changed, format="qcow2", base=base)
        self.assertLess(len(image), MIB)
        path, inside = self.file("difference.qcow2", image)
        told = self.qemu_img("info", "-f", "qcow2", inside)
        self.assertIn(self.api.VDI.get_uuid(base), told)
        target = self.disk(before)
        self.put(target, image, format="qcow2")
        self.assertEqual(hashlib.sha256(self.get(target)).digest(),
                         hashlib.sha256(after).digest())

    def test_an_archive_both_ways(self):
        content = self.mixed()
        archive = self.get(self.disk(content), format="tar")
        self.assertEqual(self.type, "application/x-tar")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            names = tar.getnames()
        self.assertEqual(names[:2], ["vdi/00000000", "vdi/00000000.xxhash"])
        self.assertEqual(names[-2:], ["vdi/00000008", "vdi/00000008.xxhash"])
        self.assertLess(len(names), 2 * SIZE // MIB)
        vdi = self.disk(os.urandom(SIZE))
        self.put(vdi, archive, format="tar")
        self.assertEqual(self.get(vdi), content)

    def test_pieces(self):
        vdi = self.disk(b"\1" * MIB)
        body = struct.pack("<qi", 4096, 8) + b"changed!" + struct.pack("<qi", 0, 0)
        self.put(vdi, body, chunked="true")
        wanted = bytearray(b"\1" * MIB)
        wanted[4096:4104] = b"changed!"
        self.assertEqual(self.get(vdi)[:MIB], wanted)
        beyond = struct.pack("<qi", SIZE, 8) + b"changed!" + struct.pack("<qi", 0, 0)
        self.put(vdi, beyond, "VDI_IO_ERROR", chunked="true")
        self.put(vdi, body[:-14], "VDI_IO_ERROR", chunked="true")
        self.put(vdi, body, "INVALID_VALUE", chunked="true", format="vhd")

    def test_a_new_disk_for_a_stream(self):
        content = os.urandom(3 * MIB)
        result = self.put(None, content, sr_id=self.sr)
        vdi = result.removeprefix("<value>").removesuffix("</value>")
        self.made.append(vdi)
        self.assertEqual(self.api.VDI.get_name_label(vdi), "Imported VDI")
        self.assertEqual(self.get(vdi), content)
        self.put(None, content, "VDI_MISSING")

    def test_what_nobody_can(self):
        vdi = self.disk()
        answer, _ = self.request("GET", "export_raw_vdi", vdi=vdi, format="vmdk")
        self.assertEqual(answer.status, 404)
        self.put(vdi, bytes(MIB), "INTERNAL_ERROR", format="vmdk")
        answer, _ = self.request("GET", "export_raw_vdi", vdi=vdi, base=self.disk())
        self.assertEqual(answer.status, 500)


if __name__ == "__main__":
    unittest.main()
