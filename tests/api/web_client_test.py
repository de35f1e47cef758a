"""The generated TypeScript client: it compiles strictly, stops what is wrong, and works."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import lab

CLIENT = lab.SOURCE / "web-ui/client"


def readme_example():
    """The program of the README, so that it compiles for ever."""
    (program,) = re.findall(r"```ts\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    return program.replace('"@basalt/xenapi"\n',
                           '"../src/index.js"\n\ndeclare const password: string\n')


class WebClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        compiler = lab.typescript()
        scratch = tempfile.TemporaryDirectory(prefix="basalt-client-")
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        subprocess.run([sys.executable, "-B", str(CLIENT / "generate.py"), "--out", scratch.name],
                       check=True)
        (cls.folder / "test/readme.ts").write_text(readme_example())
        cls.compiled = subprocess.run(
            [str(compiler), "-p", str(cls.folder / "tsconfig.test.json")], capture_output=True,
            text=True, check=False, timeout=300)

    def node(self, program, *arguments, **environment):
        self.assertEqual(self.compiled.returncode, 0, self.compiled.stdout[-3000:])
        done = subprocess.run(
            ["node", str(self.folder / f"dist-test/test/{program}.js"), *arguments],
            capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, **environment})
        self.assertEqual(done.returncode, 0, done.stdout[-1000:] + done.stderr[-3000:])
        return done.stdout

    def test_it_compiles_and_its_types_stop_what_is_wrong(self):
        """test/types.ts holds the wrong calls, each under ts-expect-error."""
        self.assertEqual(self.compiled.returncode, 0, self.compiled.stdout[-3000:])

    def test_a_wrong_call_fails_to_compile(self):
        """The same without the marks: the compiler sees every one of them."""
        types = self.folder / "test/types.ts"
        text = types.read_text()
        self.addCleanup(types.write_text, text)
        types.write_text(text.replace("// @ts-expect-error", "//"))
        done = subprocess.run(
            [str(lab.typescript()), "--noEmit", "-p", str(self.folder / "tsconfig.test.json")],
            capture_output=True, text=True, check=False, timeout=300)
        lines = {line.split("(")[1].split(",")[0] for line in done.stdout.splitlines()
                 if "types.ts(" in line}
        self.assertEqual(len(lines), text.count("@ts-expect-error"), done.stdout[-3000:])

    def test_the_hand_written_part_without_a_server(self):
        self.assertRegex(self.node("offline"), r"^\d+ checks passed\n$")

    def test_a_visit_to_a_running_host(self):
        host = lab.host()
        # The host made its certificate itself, a moment ago.
        said = self.node("live", host.url, lab.PASSWORD, lab.TEMPLATE,
                         NODE_TLS_REJECT_UNAUTHORIZED="0")
        seen = json.loads(said.splitlines()[-1])
        self.assertEqual(seen["names"], ["host1"])
        self.assertEqual(seen["shares"][-1], 1)
        self.assertEqual(seen["seen"], "Halted")
        self.assertEqual(seen["refusal"][0], "VM_BAD_POWER_STATE")
        self.assertEqual(seen["refusal"][2:], ["running", "halted"])
        self.assertRegex(seen["mac"], r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")
        self.assertEqual(seen["ending"], "SESSION_INVALID")
        session = lab.login()
        self.assertEqual(session.xenapi.VM.get_by_name_label("seen by live.ts"), [])
        session.xenapi.session.logout()


if __name__ == "__main__":
    unittest.main()
