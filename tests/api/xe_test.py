"""xe, inside the host as root, as administrators and scripts use it."""

import unittest

import lab


class Xe(unittest.TestCase):
    def xe(self, *arguments):
        done = lab.host().xe(*arguments)
        self.assertEqual(done.returncode, 0, f"xe {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def setUp(self):
        if lab.host().inside("test", "-x", "/opt/basalt/bin/xe").returncode != 0:
            self.skipTest("there is no bin/xe")

    def test_vm_list_shows_the_control_domain(self):
        listed = self.xe("vm-list", "is-control-domain=true")
        self.assertIn("power-state", listed)
        self.assertIn("running", listed)

    def test_a_vm_is_installed_started_stopped_and_removed(self):
        uuid = self.xe("vm-install", f"template={lab.TEMPLATE}", "new-name-label=xe guest")
        self.assertRegex(uuid, r"^[0-9a-f-]{36}$")
        self.xe("vm-start", f"uuid={uuid}")
        self.assertEqual(self.state_of(uuid), "running")
        self.xe("vm-shutdown", f"uuid={uuid}", "force=true")
        self.assertEqual(self.state_of(uuid), "halted")
        self.xe("vm-uninstall", f"uuid={uuid}", "force=true")
        self.assertEqual(self.xe("vm-list", f"uuid={uuid}", "--minimal"), "")

    def state_of(self, uuid):
        return self.xe("vm-param-get", f"uuid={uuid}", "param-name=power-state")

    def test_what_is_not_there_is_an_error(self):
        done = lab.host().xe("vm-start", "uuid=00000000-0000-0000-0000-000000000000")
        self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()
