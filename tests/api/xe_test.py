"""xe, inside the host as root, as administrators and scripts use it."""

import re
import tomllib
import unittest

import lab


# Commands that need no parameter and change the shared host for the tests behind this one.
DEEDS = {"host-emergency-disable-tls-verification", "host-emergency-reset-server-certificate",
         "host-management-disable", "host-shutdown-agent", "pool-disable-binary-storage",
         "pool-disable-ssh", "pool-enable-ssh",
         "pool-emergency-transition-to-master", "pool-recover-slaves", "pool-secret-rotate"}
NOT_BUILT = "The server does not do this yet."


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

    def test_the_server_tells_of_its_calls(self):
        self.assertRegex(self.xe("diagnostic-timing-stats"), r"xapi_call_seconds.*: 0\.\d+ \(\d+\)")
        self.assertRegex(self.xe("diagnostic-net-stats", "method=POST"), r"(?m)^POST, /cli, \d+$")

    def test_a_vm_is_told_how_its_firmware_is_to_start(self):
        self.assertEqual(self.xe("pool-get-guest-secureboot-readiness"), "ready_no_dbx")
        uuid = self.xe("vm-install", f"template={lab.TEMPLATE}", "new-name-label=xe uefi")
        self.addCleanup(self.xe, "vm-uninstall", f"uuid={uuid}", "force=true")
        done = lab.host().xe("vm-set-uefi-mode", f"uuid={uuid}", "mode=setup")
        self.assertIn("The VM does not boot by UEFI firmware", done.stderr)
        self.xe("vm-param-set", f"uuid={uuid}", "HVM-boot-params:firmware=uefi",
                "platform:secureboot=true")
        self.xe("vm-set-uefi-mode", f"uuid={uuid}", "mode=setup")
        self.assertEqual(self.xe("vm-get-secureboot-readiness", f"uuid={uuid}"), "setup_mode")
        self.xe("vm-update-secureboot-certificates-on-boot", f"uuid={uuid}", "mark=true")
        self.assertEqual(self.xe("vm-param-get", f"uuid={uuid}",
                                 "param-name=secureboot-certificates-state"), "update_on_boot")

    def test_a_controller_manages_the_switch(self):
        def managers():
            done = lab.host().inside("ovs-vsctl", "--db=unix:/var/lib/basalt/host1/run/db.sock",
                                     "get-manager", capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout.split()

        uuid = self.xe("sdn-controller-introduce", "protocol=pssl", "tcp-port=6641")
        self.assertEqual(managers(), ["pssl:6641"])
        self.assertEqual(self.xe("sdn-controller-list", "params=port", "--minimal"), "6641")
        self.xe("sdn-controller-forget", f"uuid={uuid}")
        self.assertEqual(managers(), [])

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

    def commands(self):
        text = (lab.SOURCE / "idl/cli/commands.toml").read_text()
        return tomllib.loads(text)["commands"]

    def run_all(self, lines):
        """The answers of many commands, in one shell: command -> (status, what it said)."""
        script = "".join(f"echo '== {name}'; /opt/basalt/bin/xe {name} {words} </dev/null 2>&1; "
                         f"echo \"=> $?\"\n" for name, words in lines.items())
        done = lab.host().inside("sh", "-c", script, capture_output=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        pattern = r"== ([\w-]+)\n(.*?)=> (\d+)\n"
        return {name: (int(status), said)
                for name, said, status in re.findall(pattern, done.stdout, re.DOTALL)}

    def test_features_of_processors_are_those_of_the_host(self):
        for name in ("host-get-cpu-features", "pool-get-cpu-features"):
            said = self.xe(name)
            self.assertRegex(said, r"features_hvm_host: +[0-9a-f]{8}-", name)
            self.assertIn("features_pv_host", said, name)

    def test_every_command_asks_for_what_it_needs(self):
        commands = self.commands()
        needy = {name: [word for word in facts.get("reqd", ()) if not word.endswith(":")]
                 for name, facts in commands.items()}
        lines = {name: "" for name, words in needy.items() if words}
        self.assertGreater(len(lines), 250)
        for name, (status, said) in self.run_all(lines).items():
            self.assertEqual(status, 1, name)
            self.assertIn(f"Required parameter not found: {needy[name][0]}\n", said, name)

    def test_every_command_is_served(self):
        lines = {}
        for name, facts in self.commands().items():
            words = facts.get("reqd", [])
            selects = any(flag.endswith("_selectors") for flag in facts.get("flags", ()))
            named = selects or any("uuid" in word or "file" in word for word in words)
            # What needs nothing acts at once; what makes an object of any name would make one.
            if name in DEEDS or (words and not named):
                continue
            given = [word for word in words if not word.endswith(":")]
            lines[name] = " ".join(f"{word}=none" for word in given)
            if selects and "uuid" not in given:
                lines[name] += " uuid=none"
        self.assertGreater(len(lines), 320)
        unbuilt = (lab.SOURCE / "tests/golden/unbuilt.txt").read_text().split()
        answers = self.run_all(lines)
        self.assertEqual(set(answers), set(lines))
        commands = self.commands()
        for name, (status, said) in answers.items():
            call = commands[name].get("call", [None])[0]
            built = call is not None and call not in unbuilt
            bad = ["Unknown command", "internal error", "INTERNAL_ERROR", "MESSAGE_"]
            with self.subTest(name, said=said):
                self.assertIn(status, (0, 1))
                for words in bad + [NOT_BUILT] * built:
                    self.assertNotIn(words, said)


if __name__ == "__main__":
    unittest.main()
