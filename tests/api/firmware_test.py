"""A VM with UEFI: its firmware runs, and remembers what was written into it."""

import base64
import io
import struct
import tarfile
import unittest

import lab

BOOT_SECONDS = 120
# `kept` in UTF-16, as the firmware's shell prints it.
KEPT = "6B 00 65 00 70 00 74 00"
NAME = "basalt -guid 11111111-2222-3333-4444-555555555555"
PLATFORM_KEY = "PK -guid 8BE4DF61-93CA-11D2-AA0D-00E098032B8C"
X509_LIST = bytes.fromhex("a159c0a5e494a74a")  # how a list of certificates begins
SHA256_LIST = bytes.fromhex("2616c4c14c509240aca941f936934328")


def hex_of(data):
    """As the firmware's shell prints bytes of one line."""
    return " ".join(f"{byte:02X}" for byte in data)


def mark_of(mark, name):
    return (mark + name).encode().ljust(8, b".")


def signed_keys(mark):
    """A tar archive in base64 as administrators give it to the pool: a list of one hash each."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("PK", "KEK", "db", "dbx"):
            # The shell prints lines of 16 bytes in two halves: the mark stands in one of them.
            hash_of_it = b"...." + mark_of(mark, name) + b"." * 20
            lists = SHA256_LIST + struct.pack("<III", 28 + 48, 0, 48) + b"o" * 16 + hash_of_it
            time = struct.pack("<HBBBBBBIHBB", 2026, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
            certificate = struct.pack("<IHH", 24, 0x200, 0xEF1) + b"g" * 16
            data = time + certificate + lists
            member = tarfile.TarInfo(name + ".auth")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return base64.b64encode(archive.getvalue()).decode()


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
        console = self.boot()
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
        console = self.boot()
        self.assertIn(KEPT, self.shell(console, f"setvar {NAME}"))
        console.close()

        # The records have it: what is made of the VM does too, on whatever host.
        self.api.VM.hard_shutdown(self.vm)
        self.assertEqual(self.api.VM.get_NVRAM(self.vm)["EFI-variables-backend"], "edk2")
        first = self.vm
        self.addCleanup(self.api.VM.destroy, first)
        self.vm = self.api.VM.clone(first, "uefi copy")
        console = self.boot()
        self.assertIn(KEPT, self.shell(console, f"setvar {NAME}"))
        console.close()

    def boot(self):
        self.api.VM.start(self.vm, False, False)
        console = lab.Console(self.session, self.vm)
        # Seen once, on a busy machine: the shell ended within its first escape sequence ("Device
        # Error"), as OVMF does when its serial port stands still for a second. Once only.
        console.wait("Shell> |No bootable option", BOOT_SECONDS)
        if "No bootable option" in console.text:
            console.close()
            self.api.VM.hard_reboot(self.vm)
            console = lab.Console(self.session, self.vm)
            console.wait("Shell> ", BOOT_SECONDS)
        return console

    def test_keys_of_secure_boot_are_put_and_taken_between_two_starts(self):
        pool = self.api.pool.get_all()[0]
        self.assertEqual(self.api.pool.get_guest_secureboot_readiness(pool), "ready_no_dbx")
        console = self.boot()
        self.assertIn(hex_of(X509_LIST), self.shell(console, f"setvar {PLATFORM_KEY}"))
        self.shell(console, f'setvar {NAME} -bs -rt -nv =L"kept"')
        console.close()
        self.api.VM.hard_shutdown(self.vm)

        # The firmware takes the variables that were written for it, and keeps its own.
        self.api.VM.set_uefi_mode(self.vm, "setup")
        console = self.boot()
        self.assertIn("Unable to get", self.shell(console, f"setvar {PLATFORM_KEY}"))
        self.assertIn(KEPT, self.shell(console, f"setvar {NAME}"))
        console.close()
        self.api.VM.hard_shutdown(self.vm)

        self.addCleanup(self.api.pool.set_custom_uefi_certificates, pool, "")
        self.api.pool.set_custom_uefi_certificates(pool, signed_keys("our "))
        self.assertEqual(self.api.pool.get_guest_secureboot_readiness(pool), "ready")
        self.assertEqual(self.api.VM.get_secureboot_certificates_state(self.vm),
                         "update_available")
        self.api.VM.set_uefi_mode(self.vm, "user")
        console = self.boot()
        self.assertIn(hex_of(mark_of("our ", "PK")), self.shell(console, f"setvar {PLATFORM_KEY}"))
        self.assertIn(KEPT, self.shell(console, f"setvar {NAME}"))
        console.close()
        self.assertEqual(self.api.VM.get_secureboot_certificates_state(self.vm), "ok")


if __name__ == "__main__":
    unittest.main()
