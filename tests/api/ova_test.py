"""VMs of other makers: an OVA, with a description in OVF and images as VMware writes them."""

import base64
import hashlib
import io
import os
import tarfile
import unittest

import lab
import xva_test

MIB = 1 << 20
FOLDER = "/tmp/ova-test"
OVF = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
 <References><File ovf:id="file1" ovf:href="box-disk1.vmdk" ovf:size="1"/></References>
 <DiskSection><Info/><Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="4"
   ovf:capacityAllocationUnits="byte * 2^20"
   ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  <Disk ovf:diskId="empty" ovf:capacity="2097152"/></DiskSection>
 <NetworkSection><Info/><Network ovf:name="ova test network"/></NetworkSection>
 <VirtualSystem ovf:id="box"><Info/><Name>box from elsewhere</Name>
  <VirtualHardwareSection><Info/>
   <Item><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
   <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:ResourceType>4</rasd:ResourceType>
    <rasd:VirtualQuantity>256</rasd:VirtualQuantity></Item>
   <Item><rasd:HostResource>ovf:/disk/disk1</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></Item>
   <Item><rasd:HostResource>ovf:/disk/empty</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></Item>
   <Item><rasd:Connection>ova test network</rasd:Connection><rasd:ResourceType>10</rasd:ResourceType></Item>
   <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
  </VirtualHardwareSection>
 </VirtualSystem>
</Envelope>
"""


class Ova(xva_test.Requests):
    def vmdk(self, content, kind):
        """The content as VMware would have it on a disk of its own."""
        self.assertEqual(lab.host().inside(
            "sh", "-c", f"mkdir -p {FOLDER} && base64 -d > {FOLDER}/raw",
            input=base64.b64encode(content).decode(), capture_output=True).returncode, 0)
        done = lab.host().inside(
            "sh", "-c", f"rm -f {FOLDER}/*.vmdk; qemu-img convert -O vmdk -o subformat={kind} "
                        f"{FOLDER}/raw {FOLDER}/box.vmdk && base64 {FOLDER}/box.vmdk",
            capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return base64.b64decode(done.stdout)

    @staticmethod
    def ova(*files):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in files:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    def test_a_vm_of_another_maker_comes_in(self):
        content = os.urandom(MIB) + bytes(2 * MIB) + os.urandom(MIB)
        image = self.vmdk(content, "streamOptimized")
        manifest = f"SHA256(box-disk1.vmdk)= {hashlib.sha256(image).hexdigest()}\n".encode()
        vm = self.imported(self.ova(("box.ovf", OVF.encode()), ("box.mf", manifest),
                                    ("box-disk1.vmdk", image)), sr_id=self.sr)
        row = self.api.VM.get_record(vm)
        self.assertEqual((row["name_label"], row["memory_static_max"], row["VCPUs_max"]),
                         ("box from elsewhere", str(256 * MIB), "2"))
        self.assertEqual(row["HVM_boot_params"]["firmware"], "uefi")
        drives = {self.api.VBD.get_userdevice(vbd): self.api.VBD.get_VDI(vbd)
                  for vbd in row["VBDs"]}
        self.assertEqual(set(drives), {"0", "1"})
        self.assertTrue(self.content(drives["0"]) == content)
        self.assertTrue(self.content(drives["1"]) == bytes(2 * MIB))
        (vif,) = row["VIFs"]
        self.assertEqual(self.api.network.get_name_label(self.api.VIF.get_network(vif)),
                         "ova test network")

    def test_xe_takes_one_in(self):
        content = os.urandom(MIB) + bytes(3 * MIB)
        archive = lab.host().state / "box.ova"
        self.addCleanup(archive.unlink, missing_ok=True)
        archive.write_bytes(self.ova(
            ("box.ovf", OVF.encode()), ("box-disk1.vmdk", self.vmdk(content, "streamOptimized"))))
        done = lab.host().xe("vm-import", f"filename=/var/lib/basalt/{archive.name}")
        self.assertEqual(done.returncode, 0, done.stderr)
        uuid = done.stdout.strip()
        vm = self.api.VM.get_by_uuid(uuid)
        self.addCleanup(lab.host().xe, "vm-uninstall", f"uuid={uuid}", "force=true")
        drives = {self.api.VBD.get_userdevice(vbd): self.api.VBD.get_VDI(vbd)
                  for vbd in self.api.VM.get_VBDs(vm)}
        self.assertTrue(self.content(drives["0"]) == content)
        self.assertEqual(self.api.VDI.get_virtual_size(drives["1"]), str(2 * MIB))

    def test_what_is_broken_leaves_nothing(self):
        image = self.vmdk(os.urandom(MIB), "streamOptimized")
        whole = OVF.encode()
        self.refused(self.ova(("box.ovf", b"<Envelope")), "IMPORT_ERROR", sr_id=self.sr)
        self.refused(self.ova(("box.ovf", whole)), "IMPORT_ERROR_PREMATURE_EOF", sr_id=self.sr)
        self.refused(self.ova(("box.ovf", whole.replace(b"ovf:/disk/empty", b"ovf:/disk/none"))),
                     "IMPORT_ERROR_FAILED_TO_FIND_OBJECT", sr_id=self.sr)
        self.refused(self.ova(("box.ovf", whole), ("box-disk1.vmdk", b"nothing" * 1000)),
                     sr_id=self.sr)
        # A text that names files of the host instead of an image.
        spy = (b'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n'
               b'createType="monolithicFlat"\nRW 64 FLAT "/etc/passwd" 0\n')
        self.refused(self.ova(("box.ovf", whole), ("box-disk1.vmdk", spy)), sr_id=self.sr)
        self.refused(self.ova(("box.ovf", whole.replace(b'capacity="4"', b'capacity="x"')),
                              ("box-disk1.vmdk", image)), "IMPORT_ERROR", sr_id=self.sr)


if __name__ == "__main__":
    unittest.main()
