"""A VM with UEFI: its firmware runs, and remembers what was written into it."""

import unittest

import lab

BOOT_SECONDS = 120
# `kept` in UTF-16, as the firmware's shell prints it.
KEPT = "6B 00 65 00 70 00 74 00"
NAME = "basalt -guid 11111111-2222-3333-4444-555555555555"


class Firmware(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.addCleanup(self.session.xenapi.session.logout)
        self.api = self.session.xenapi
        self.vm = self.api.VM.clone(lab.template(self.session), "uefi guest")
        self.addCleanup(self.destroy)
        self.api.VM.set_is_a_template(self.vm, False)
        for vbd in self.api.VM.get_VBDs(self.vm):  # nothing to boot from but its own shell
            disk = self.api.VBD.get_VDI(vbd)
            self.api.VBD.destroy(vbd)
            if disk != "OpaqueRef:NULL":
                self.api.VDI.destroy(disk)
        for vif in self.api.VM.get_VIFs(self.vm):
            self.api.VIF.destroy(vif)
        self.api.VM.set_HVM_boot_params(self.vm, {"firmware": "uefi", "order": "cd"})

    def destroy(self):
        if self.api.VM.get_power_state(self.vm) != "Halted":
            self.api.VM.hard_shutdown(self.vm)
        self.api.VM.destroy(self.vm)

    def shell(self, console, line):
        since = len(console.text)
        console.type(line + "\r")
        console.wait(r"Shell> \x1b", BOOT_SECONDS, since)
        return console.text[since:]

    def test_a_variable_lasts_over_reboot_suspend_and_restart(self):
        self.api.VM.start(self.vm, False, False)
        console = lab.Console(self.session, self.vm)
        console.wait("Shell> ", BOOT_SECONDS)
        self.assertNotIn(KEPT, self.shell(console, f"setvar {NAME}"))
        self.shell(console, f'setvar {NAME} -bs -rt -nv =L"kept"')
        console.close()

        self.api.VM.hard_reboot(self.vm)
        console = lab.Console(self.session, self.vm)
        console.wait("Shell> ", BOOT_SECONDS)
        self.assertIn(KEPT, self.shell(console, f"setvar {NAME}"))
        console.close()

        self.api.VM.suspend(self.vm)
        self.api.VM.resume(self.vm, False, False)
        console = lab.Console(self.session, self.vm)
        self.assertIn(KEPT, self.shell(console, f"setvar {NAME}"))
        console.close()

        self.api.VM.hard_shutdown(self.vm)
        self.api.VM.start(self.vm, False, False)
        console = lab.Console(self.session, self.vm)
        console.wait("Shell> ", BOOT_SECONDS)
        self.assertIn(KEPT, self.shell(console, f"setvar {NAME}"))
        console.close()


if __name__ == "__main__":
    unittest.main()
