"""PCI devices of a host: a folder of a run stands for the kernel's, so that a device can be made up.
What a boot loader would keep, a developer's host refuses."""

import shutil
import unittest

import lab

ADDRESS = "0000:3b:00.0"


class PciDevices(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        self.addCleanup(self.session.logout)
        (self.host,) = self.api.host.get_all()
        self.bus = lab.host().state / "host1/pci"
        self.addCleanup(self.api.PIF.scan, self.host)
        self.addCleanup(shutil.rmtree, self.bus, True)
        self.plug_in(ADDRESS, "0x020000")
        self.plug_in("0000:00:1f.0", "0x060100")
        self.api.PIF.scan(self.host)
        (self.device,) = self.api.PCI.get_all()

    def plug_in(self, address, kind):
        folder = self.bus / address
        folder.mkdir(parents=True)
        for name, value in (("class", kind), ("vendor", "0x8086"), ("device", "0x1521"),
                            ("subsystem_vendor", "0x1028"), ("subsystem_device", "0x1f60"),
                            ("sriov_totalvfs", "7"), ("sriov_numvfs", "0")):
            (folder / name).write_text(value + "\n")

    def refused(self, call, *params):
        with self.assertRaises(lab.xenapi_module().Failure) as caught:
            call(*params)
        return caught.exception.details[0]

    def test_it_is_a_record_as_long_as_it_is_there(self):
        record = self.api.PCI.get_record(self.device)
        self.assertEqual(
            {name: record[name] for name in ("pci_id", "vendor_id", "device_id", "class_id",
                                             "subsystem_vendor_id", "host", "driver_name")},
            {"pci_id": ADDRESS, "vendor_id": "8086", "device_id": "1521", "class_id": "0200",
             "subsystem_vendor_id": "1028", "host": self.host, "driver_name": ""})
        self.assertEqual(self.api.host.get_PCIs(self.host), [self.device])
        self.api.PIF.scan(self.host)
        self.assertEqual(self.api.PCI.get_all(), [self.device])
        shutil.rmtree(self.bus / ADDRESS)
        self.api.PIF.scan(self.host)
        self.assertEqual(self.api.PCI.get_all(), [])

    def test_a_developers_host_says_that_it_hides_nothing(self):
        self.assertEqual(self.api.PCI.get_dom0_access_status(self.device), "enabled")
        self.assertEqual(self.refused(self.api.PCI.disable_dom0_access, self.device),
                         "OPERATION_NOT_ALLOWED")
        self.assertEqual(self.refused(self.api.PCI.enable_dom0_access, self.device),
                         "OPERATION_NOT_ALLOWED")
        self.assertEqual(self.refused(self.api.PCI.get_dom0_access_status, "OpaqueRef:NULL"),
                         "HANDLE_INVALID")
        done = lab.host().xe("pci-get-dom0-access-status",
                             f"uuid={self.api.PCI.get_uuid(self.device)}")
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "enabled"), done.stderr)

    def test_a_card_that_is_no_interface_is_not_divided(self):
        (network,) = self.api.network.get_by_name_label("Pool-wide network associated with eth0")
        (pif,) = [ref for ref in self.api.PIF.get_all() if self.api.PIF.get_physical(ref)]
        self.assertEqual(self.refused(self.api.network_sriov.create, pif, network),
                         "PIF_IS_NOT_SRIOV_CAPABLE")
        self.assertEqual(self.api.network_sriov.get_all(), [])


if __name__ == "__main__":
    unittest.main()
