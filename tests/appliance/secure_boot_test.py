"""What works where the firmware starts only what is signed (Secure Boot): the medium and an
installed host as far as Debian's signed kernel, and the words about what does not
(docs/decisions/0026).

That the same loaders start Xen where it is off shows every other test that boots by UEFI.
BASALT_ISO names a medium that is there already; pictures go to the folder BASALT_PICTURES.
"""

import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import boot
import install_test
import machine
import medium

EXPLAINED = "Secure Boot is on, so no host starts"
INSTALLER = "python3 -E -s -B /usr/lib/basalt/installer/install.py"
AGREED = "despite_secure_boot = true"


class SecureBoot(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="basalt-secure-")))
        self.disks = [install_test.empty_disk(self.folder)]

    def start(self, image, **changes):
        """A start with Secure Boot on, as far as the menu, which waits by itself."""
        made = boot.Machine(image, self.folder, secure_boot=True, bootindex=0, screen=True,
                            disks=self.disks, cache="writethrough", **changes)
        self.began = time.monotonic()
        running = self.enterContext(boot.Running(made))
        self.console = machine.Console(running)
        self.console.wait(EXPLAINED, machine.BOOT_SECONDS)
        return running

    def read_why(self, running, name):
        """The first entry explains; its text is all that it does."""
        machine.picture(running, f"secure-boot-{name}")
        machine.until_heard(running, lambda: self.console.type("\r"))
        self.console.wait("nobody has signed Xen")
        machine.picture(running, f"secure-boot-{name}-why")
        machine.until_heard(running, lambda: running.press("esc"))

    def rescue(self, running):
        """Root's shell, started by the kernel that the firmware vouches for."""
        machine.until_heard(running, lambda: self.console.type("r"))
        self.console.wait(r"root@\S*:~#|Press Enter for system maintenance", machine.BOOT_SECONDS)
        start = len(self.console.text())
        self.console.type("\nexec bash --noediting\n")
        self.console.wait(r"root@\S*:~#", start=start)
        machine.tell(f"rescue shell {time.monotonic() - self.began:.0f} s after power-on")
        # Looked for there: an emulated serial line may say a letter of a long text twice.
        for words in ("mokutil --sb-state | grep -qx 'SecureBoot enabled'",
                      "dmesg | grep -q 'secureboot: Secure boot enabled'",
                      "grep -q '\\[integrity]' /sys/kernel/security/lockdown"):
            self.console.run(words)

    def test_the_medium_explains_refuses_and_installs_when_told_to(self):
        self.disks.append(install_test.answers_disk(self.folder, install_test.INSTALL))
        running = self.start(medium.image())
        self.read_why(running, "medium")
        self.rescue(running)
        console = self.console
        said = console.run(f"{INSTALLER} || true")
        self.assertIn("The host is not installed. Secure Boot is on", said)
        self.assertNotIn("basalt-", console.run("lsblk -n -o PARTLABEL /dev/vda"))
        console.run("mount /dev/vdb /mnt && sed -i '/^hostname/a"
                    f" {AGREED}' /mnt/answers.toml && umount /mnt")
        console.type(f"{INSTALLER}\n")
        machine.tell(console.wait(install_test.INSTALLED, machine.BOOT_SECONDS)[0])
        machine.wait_for_end(running)
        self.disks.pop()
        running = self.start(None)
        self.read_why(running, "host")
        self.rescue(running)
        self.assertIn("basalt.slot=a", self.console.run("cat /proc/cmdline"))


if __name__ == "__main__":
    unittest.main()
