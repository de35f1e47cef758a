"""USB devices of a host, as clients and xe see them. The kernel's folder of devices is made up: no
machine that runs this needs a bus."""

import shutil
import unittest

import lab

STICK = {"idVendor": "0781", "idProduct": "5591", "version": " 2.10", "speed": "480",
         "serial": "4C53", "manufacturer": "SanDisk", "product": "Ultra", "bDeviceClass": "00",
         "busnum": "250", "devnum": "7"}


class Usb(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.addCleanup(self.session.xenapi.session.logout)
        self.api = self.session.xenapi
        self.host = self.api.host.get_all()[0]
        self.devices = lab.host().state / "host1/usb"
        self.addCleanup(self.leave)

    def leave(self):
        shutil.rmtree(self.devices, ignore_errors=True)
        self.api.PUSB.scan(self.host)

    def plug(self, path, attributes):
        (self.devices / path).mkdir(parents=True)
        for name, value in attributes.items():
            (self.devices / path / name).write_text(value + "\n")
        self.api.PUSB.scan(self.host)

    def xe(self, *arguments):
        done = lab.host().xe(*arguments)
        self.assertEqual(done.returncode, 0, f"xe {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def test_a_device_is_found_and_given_by_xe(self):
        self.plug("1-2.3", STICK)
        pusb = self.xe("pusb-list", "vendor-id=0781", "--minimal")
        self.assertIn("SanDisk Ultra", self.xe("pusb-param-list", f"uuid={pusb}"))
        self.xe("pusb-param-set", f"uuid={pusb}", "passthrough-enabled=true")
        group = self.xe("usb-group-list", f"PUSB-uuids={pusb}", "--minimal")
        self.assertEqual(self.xe("usb-group-param-get", f"uuid={group}", "param-name=name-label"),
                         "Group of 0781 5591 USBs")
        vm = self.xe("vm-install", f"template={lab.TEMPLATE}", "new-name-label=usb guest")
        self.addCleanup(self.xe, "vm-uninstall", f"uuid={vm}", "force=true")
        vusb = self.xe("vusb-create", f"usb-group-uuid={group}", f"vm-uuid={vm}")
        self.assertEqual(self.xe("vusb-list", f"vm-uuid={vm}", "--minimal"), vusb)
        again = lab.host().xe("vusb-create", f"usb-group-uuid={group}", f"vm-uuid={vm}")
        self.assertIn("usb group conflict", again.stdout + again.stderr)
        self.xe("vusb-destroy", f"uuid={vusb}")
        shutil.rmtree(self.devices)
        self.xe("pusb-scan", f"host-uuid={self.api.host.get_uuid(self.host)}")
        self.assertEqual(self.xe("pusb-list", "--minimal"), "")
        self.assertEqual(self.xe("usb-group-list", "--minimal"), "")

    def test_a_guest_whose_device_cannot_be_opened_does_not_start(self):
        self.plug("1-4", STICK)
        pusb = self.api.PUSB.get_all()[0]
        self.api.PUSB.set_passthrough_enabled(pusb, True)
        vm = self.api.VM.clone(lab.template(self.session), "usb guest")
        self.addCleanup(self.api.VM.destroy, vm)
        self.api.VM.set_is_a_template(vm, False)
        vusb = self.api.VUSB.create(vm, self.api.PUSB.get_USB_group(pusb), {})
        with self.assertRaises(lab.xenapi_module().Failure) as refused:
            self.api.VM.start(vm, False, False)
        self.assertIn("/dev/bus/usb/250/007", str(refused.exception))
        self.assertEqual(self.api.VM.get_power_state(vm), "Halted")
        self.assertFalse(self.api.VUSB.get_currently_attached(vusb))


if __name__ == "__main__":
    unittest.main()
