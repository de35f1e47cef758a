"""The completion runs in a real bash, with an xe that answers from here; the page is well formed."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import guides  # noqa: E402

# Stands for the program: writes down what it is asked.
XE = """#!/bin/sh
case $1 in
    vm-list) [ "$2" = params=name-label ] && echo 'web,mail server' || echo 'aaaa,bbbb' ;;
    snapshot-list) echo cccc ;;
    *) exit 1 ;;
esac
"""


class Guides(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        subprocess.run([sys.executable, "-B", str(HERE / "guides.py"), str(cls.path)], check=True)
        (cls.path / "xe").write_text(XE)
        (cls.path / "xe").chmod(0o755)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def complete(self, line):
        """What bash would offer at the end of the line."""
        script = (f"source {self.path}/xe.bash; COMP_LINE=$1; COMP_POINT=${{#1}}; "
                  f"_xe {self.path}/xe; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        done = subprocess.run(["bash", "-c", script, "bash", line], text=True, check=True,
                              capture_output=True)
        self.assertEqual(done.stderr, "")
        return [text for text in done.stdout.split("\n") if text]

    def test_commands(self):
        self.assertEqual(self.complete("xe vm-cl"), ["vm-clone "])
        self.assertIn("vm-param-get ", self.complete("xe vm-param-"))
        self.assertGreater(len(self.complete("xe ")), 600)
        self.assertEqual(self.complete("xe help vm-cl"), ["vm-clone"])

    def test_parameters(self):
        self.assertEqual(self.complete("xe vm-clone new-name-l"), ["new-name-label="])
        self.assertIn("vm=", self.complete("xe vm-start "))
        self.assertIn("--multiple", self.complete("xe vm-start --m"))
        self.assertIn("other-config:", self.complete("xe vm-param-set uuid=x other"))
        self.assertEqual(self.complete("xe nothing "), [])

    def test_values_come_from_the_server(self):
        self.assertEqual(self.complete("xe vm-start uuid="), ["aaaa", "bbbb"])
        self.assertEqual(self.complete("xe vm-param-get uuid=b"), ["bbbb"])
        self.assertEqual(self.complete("xe vbd-create vm-uuid=a"), ["aaaa"])
        self.assertEqual(self.complete("xe snapshot-destroy snapshot-uuid="), ["cccc"])
        self.assertEqual(self.complete("xe vm-start vm="), ["web", "mail\\ server"])
        self.assertEqual(self.complete("xe vdi-destroy uuid="), [])

    def test_the_page_names_every_command(self):
        page = (self.path / "xe.1").read_text()
        commands = guides.load("commands.toml")["commands"]
        for name, facts in commands.items():
            hidden = {"hidden", "deprecated"} & set(facts.get("flags", []))
            named = f".B {name.replace('-', chr(92) + '-')}\n" in page
            self.assertEqual(named, not hidden, name)
        for line in page.splitlines():
            self.assertRegex(line, r"^(\.([A-Z]{1,2}|br)( .*)?|[^.'].*)$")


if __name__ == "__main__":
    unittest.main()
