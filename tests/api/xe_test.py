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

    def test_a_disk_goes_in_and_comes_out(self):
        sr = self.xe("sr-list", "name-label=Local storage", "--minimal")
        vdi = self.xe("vdi-create", f"sr-uuid={sr}", "name-label=xe disk", "virtual-size=2MiB")
        done = lab.host().inside("sh", "-ec", f"""
            cd $(mktemp -d); xe=/opt/basalt/bin/xe
            head -c 2097152 /dev/urandom > in
            $xe vdi-import uuid={vdi} filename=in
            $xe vdi-export uuid={vdi} filename=out
            cmp in out""", capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.xe("vdi-destroy", f"uuid={vdi}")

    def test_fields_are_read_and_changed(self):
        pool = self.xe("pool-list", "--minimal")
        self.xe("pool-param-set", f"uuid={pool}", "name-description=a pool", "other-config:xe=yes")
        self.assertEqual(self.xe("pool-param-get", f"uuid={pool}", "param-name=name-description"),
                         "a pool")
        self.assertEqual(self.xe("pool-list", "other-config:xe=yes", "--minimal"), pool)
        self.xe("pool-param-remove", f"uuid={pool}", "param-name=other-config", "param-key=xe")
        self.assertEqual(self.xe("pool-list", "other-config:xe=yes", "--minimal"), "")

    def test_errors_say_what_and_end_with_1(self):
        done = lab.host().xe("vm-start", "vm=nobody")
        self.assertEqual((done.returncode, done.stderr), (1, "Error: No matching VMs found\n"))
        done = lab.host().xe("vdi-destroy", "uuid=none")
        self.assertEqual(done.returncode, 1)
        self.assertIn("type: VDI\nuuid: none", done.stderr)
        done = lab.host().xe("vm-fly")
        self.assertEqual((done.returncode, done.stderr.splitlines()[0]),
                         (1, "Unknown command: vm-fly"))

    def test_a_list_of_every_object_answers(self):
        names = self.xe("help", "--all")
        words = [word.strip(",") for word in names.split()]
        lists = [word for word in words
                 if word.endswith("-list") and not word.endswith("-param-list")]
        self.assertGreater(len(lists), 55)
        for name in lists:
            if name in ("vm-cd-list", "vm-disk-list", "vm-vif-list", "snapshot-disk-list",
                        "vm-crashdump-list", "session-subject-identifier-list") or \
                    "data-source" in name or name.startswith("pool-"):
                continue
            self.xe(name, "params=all")

    def state_of(self, uuid):
        return self.xe("vm-param-get", f"uuid={uuid}", "param-name=power-state")

    def test_what_is_not_there_is_an_error(self):
        done = lab.host().xe("vm-start", "uuid=00000000-0000-0000-0000-000000000000")
        self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()
