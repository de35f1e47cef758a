"""A VM with a trusted platform module: its guest sees a TPM 2.0, and what it puts there goes with
the VM."""

import base64
import http.client
import re
import unittest

import lab

BOOT_SECONDS = 180
# TPM 2.0 library, part 3, of an index of eight bytes that its owner's empty password opens:
# NV_DefineSpace, NV_Write of four characters, NV_Read of four.
INDEX = r"\001\120\000\001"
PASSWORD = r"\000\000\000\011\100\000\000\011\000\000\000\000\000"
DEFINE = (r"\200\002\000\000\000\055\000\000\001\052\100\000\000\001" + PASSWORD +
          r"\000\000\000\016" + INDEX + r"\000\013\002\006\000\006\000\000\000\010")
WRITE = (r"\200\002\000\000\000\047\000\000\001\067" + INDEX + INDEX + PASSWORD +
         r"\000\004kept\000\000")
READ = r"\200\002\000\000\000\043\000\000\001\116" + INDEX + INDEX + PASSWORD + r"\000\004\000\000"


class VtpmStory(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.addCleanup(self.session.xenapi.session.logout)
        self.api = self.session.xenapi

    def made(self, vm):
        self.addCleanup(self.destroy, vm)
        return vm

    def destroy(self, vm):
        if self.api.VM.get_power_state(vm) != "Halted":
            self.api.VM.hard_shutdown(vm)
        self.api.VM.destroy(vm)

    def contents(self, vm):
        """As the pool's own parts see them: nobody else may."""
        (vtpm,) = self.api.VM.get_VTPMs(vm)
        uuid = self.api.VTPM.get_uuid(vtpm)
        return lab.host().python(1, f"""
session = XenAPI.xapi_local()
session.login_with_password('root', '')
tell(session.xenapi.VTPM.get_contents(session.xenapi.VTPM.get_by_uuid('{uuid}')))
""")

    def at_shell(self, vm):
        console = lab.Console(self.session, vm)
        self.addCleanup(console.close)
        console.prompt(BOOT_SECONDS)
        console.command("stty -echo; dmesg -n 1; export TERM=dumb")
        return console

    def console_answers(self, vm):
        try:
            lab.Console(self.session, vm).close()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def ask(self, console, command):
        """The TPM's answer in hex."""
        said = console.command(f"exec 3<>/dev/tpm0; printf '{command}' >&3; "
                               "dd bs=256 count=1 <&3 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'; "
                               "exec 3>&-; echo")
        return re.search(r"[0-9a-f]{20,}", said)[0]

    def assert_done(self, answer):
        self.assertEqual(answer[12:20], "00000000", answer)

    def test_what_a_guest_seals_lasts_and_goes_with_copies(self):
        vm = self.made(self.api.VM.clone(lab.template(self.session), "sealed"))
        self.api.VM.provision(vm)
        uuid = self.api.VM.get_uuid(vm)
        made = lab.host().xe("vtpm-create", f"vm-uuid={uuid}")
        self.assertEqual(made.returncode, 0, made.stderr)
        vtpm = self.api.VTPM.get_by_uuid(made.stdout.strip())
        self.assertEqual(self.api.VM.get_VTPMs(vm), [vtpm])
        self.assertEqual(self.contents(vm), "")

        self.api.VM.start(vm, False, False)
        console = self.at_shell(vm)
        self.assertIn("2", console.command("cat /sys/class/tpm/tpm0/tpm_version_major"))
        self.assert_done(self.ask(console, DEFINE))
        self.assert_done(self.ask(console, WRITE))
        console.close()
        # The guest and its TPM run on without hostd, and the next one finds both.
        lab.host().kill("hostd")
        lab.wait_until(lambda: self.console_answers(vm), 60, "its console, after hostd is back")
        console = self.at_shell(vm)
        self.assertIn(b"kept".hex(), self.ask(console, READ))
        console.close()
        while_running = self.contents(vm)
        self.assertGreater(len(base64.b64decode(while_running)), 1000)
        self.api.VM.hard_shutdown(vm)

        clone = self.made(self.api.VM.clone(vm, "sealed too"))
        self.api.VM.start(clone, False, False)
        console = self.at_shell(clone)
        self.assertIn(b"kept".hex(), self.ask(console, READ))
        console.close()
        self.api.VM.hard_shutdown(clone)
        # Each is a TPM of its own by now.
        self.assertNotEqual(self.contents(clone), self.contents(vm))

    def test_an_archive_takes_it_along(self):
        vm = self.made(self.api.VM.clone(lab.template(self.session), "packed"))
        self.api.VM.set_is_a_template(vm, False)
        for vbd in self.api.VM.get_VBDs(vm):
            disk = self.api.VBD.get_VDI(vbd)
            self.api.VBD.destroy(vbd)
            if disk != "OpaqueRef:NULL":
                self.api.VDI.destroy(disk)
        vtpm = self.api.VTPM.create(vm, False)
        content = base64.b64encode(bytes(range(256)) * 40).decode()
        uuid = self.api.VTPM.get_uuid(vtpm)
        lab.host().python(1, f"""
session = XenAPI.xapi_local()
session.login_with_password('root', '')
session.xenapi.VTPM.set_contents(session.xenapi.VTPM.get_by_uuid('{uuid}'), '{content}')
tell(None)
""")
        archive = lab.host().state / "packed.xva"
        self.addCleanup(archive.unlink, missing_ok=True)
        exported = lab.host().xe("vm-export", f"uuid={self.api.VM.get_uuid(vm)}",
                                 f"filename=/var/lib/basalt/{archive.name}")
        self.assertEqual(exported.returncode, 0, exported.stderr)
        imported = lab.host().xe("vm-import", f"filename=/var/lib/basalt/{archive.name}")
        self.assertEqual(imported.returncode, 0, imported.stderr)
        back = self.made(self.api.VM.get_by_uuid(imported.stdout.strip()))
        (again,) = self.api.VM.get_VTPMs(back)
        self.assertNotEqual(again, vtpm)
        self.assertEqual(self.contents(back), content)


if __name__ == "__main__":
    unittest.main()
