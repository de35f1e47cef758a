"""The Python program of the README runs as it stands there."""

import re
import subprocess
import time
import unittest

import lab


def program():
    text = (lab.SOURCE / "README.md").read_text()
    (found,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return found


class Readme(unittest.TestCase):
    def test_the_program_has_ten_lines(self):
        self.assertEqual(len(program().strip().splitlines()), 10)

    def test_the_program_prints_the_console_up_to_the_login_prompt(self):
        source = program().replace("https://127.0.0.1:8443", lab.host().url).replace(
            '("127.0.0.1", 8443)', f'("127.0.0.1", {lab.host().port})')
        session = lab.login()
        self.addCleanup(self.remove_guests, session)
        began = time.monotonic()
        with subprocess.Popen([str(lab.python_with_xenapi()), "-u", "-c", source],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
            said = b""
            try:
                while b"login:" not in said:
                    piece = running.stdout.read1(4096)
                    self.assertTrue(piece, f"it ended: {said[-2000:]!r}")
                    said += piece
                    self.assertLess(time.monotonic() - began, 180, said[-500:])
            finally:
                running.kill()
        lab.say(f"the README's program read the login prompt after "
                f"{time.monotonic() - began:.1f} s")

    def remove_guests(self, session):
        for vm in session.xenapi.VM.get_by_name_label("hello"):
            if session.xenapi.VM.get_power_state(vm) != "Halted":
                session.xenapi.VM.hard_shutdown(vm)
            session.xenapi.VM.destroy(vm)


if __name__ == "__main__":
    unittest.main()
