"""The password tool of a run's PAM service."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TOOL = Path(__file__).parent / "pam-password"


@unittest.skipUnless(shutil.which("openssl"), "no openssl on this machine")
class Password(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.file = Path(self.folder.name) / "passwd"
        self.call("password", "first")

    def call(self, kind, password, user="root"):
        # As pam_exec hands it over: with its terminating zero.
        return subprocess.run([str(TOOL), str(self.file)], input=password.encode() + b"\0",
                              env={**os.environ, "PAM_TYPE": kind, "PAM_USER": user},
                              check=False).returncode

    def test_only_the_right_password_of_root_is_let_in(self):
        self.assertEqual(self.call("auth", "first"), 0)
        self.assertNotEqual(self.call("auth", "first", user="daemon"), 0)
        for wrong in ("", "First", "first ", "$6$"):
            self.assertNotEqual(self.call("auth", wrong), 0, wrong)

    def test_a_changed_password_is_the_only_one(self):
        self.assertEqual(self.call("password", "sécond $(id) 'x'"), 0)
        self.assertEqual(self.call("auth", "sécond $(id) 'x'"), 0)
        self.assertNotEqual(self.call("auth", "first"), 0)
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_an_empty_password_is_refused(self):
        self.assertNotEqual(self.call("password", ""), 0)
        self.assertEqual(self.call("auth", "first"), 0)

    def test_another_user_has_a_password_of_its_own_or_none(self):
        self.assertNotEqual(self.call("password", "other", user="reader"), 0)
        self.assertNotEqual(self.call("auth", "other", user="reader"), 0)
        shutil.copy(self.file, f"{self.file}.reader")
        self.assertEqual(self.call("password", "other", user="reader"), 0)
        self.assertEqual(self.call("auth", "other", user="reader"), 0)
        self.assertNotEqual(self.call("auth", "first", user="reader"), 0)
        self.assertEqual(self.call("auth", "first"), 0)


if __name__ == "__main__":
    unittest.main()
