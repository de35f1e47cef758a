"""Every class, field and message that the facts name is there, with its wire form."""

import subprocess
import sys
import unittest
from pathlib import Path

import lab

HERE = Path(__file__).resolve().parent


class Coverage(unittest.TestCase):
    def test_every_check_of_the_facts_passes(self):
        done = subprocess.run(
            [sys.executable, str(HERE / "coverage.py"), "--url", lab.host().url,
             "--user", "root", "--password", lab.PASSWORD, "--min", "100",
             "--datamodel", str(HERE / "facts/datamodel.json")],
            capture_output=True, text=True, check=False, timeout=600)
        tail = [line for line in done.stdout.splitlines() if "checks passed" in line]
        lab.say("\n".join(tail))
        self.assertEqual(done.returncode, 0, f"{done.stdout[-4000:]}{done.stderr[-1000:]}")


if __name__ == "__main__":
    unittest.main()
