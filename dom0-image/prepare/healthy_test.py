"""Whether a tried system is kept, by a clock that the test moves."""

import subprocess
import sys
import time
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/dev"))

import healthy


class HealthyTest(unittest.TestCase):
    def watch(self, look, seconds=100):
        """`look`: what is seen at a time."""
        now = 0

        def sleep(length):
            nonlocal now
            now += length

        found = healthy.becomes_healthy(seconds, lambda: look(now), lambda: now, sleep)
        return found, now

    def test_daemons_that_answer_for_a_while_are_healthy(self):
        found, after = self.watch(lambda now: ["10", "11"] if now > 40 else None)
        self.assertTrue(found)
        self.assertGreaterEqual(after, 60)
        self.assertLess(after, 70)

    def test_daemons_that_never_answer_are_not(self):
        self.assertEqual(self.watch(lambda now: None)[0], False)

    def test_a_daemon_that_ends_again_and_again_is_not(self):
        self.assertFalse(self.watch(lambda now: ["10", str(now // 15)])[0])

    def test_a_moment_without_an_answer_begins_anew(self):
        found, after = self.watch(lambda now: None if now == 18 else ["10", "11"])
        self.assertTrue(found)
        self.assertGreaterEqual(after, 18 + healthy.STEADY_SECONDS)

    def test_an_answer_that_never_comes_is_not_waited_for(self):
        began = time.monotonic()
        self.assertFalse(healthy.becomes_healthy_in_time(0.2, lambda: time.sleep(60)))
        self.assertLess(time.monotonic() - began, 30)

    def test_a_systemd_that_does_not_answer_is_gone_around(self):
        said = []

        def run(argv, **options):
            said.append(argv[1:])
            if "--no-block" in argv:
                raise subprocess.TimeoutExpired(argv, options["timeout"])

        with mock.patch.object(healthy.subprocess, "run", run), mock.patch("builtins.print"):
            healthy.start_anew()
        self.assertEqual(said, [["--no-block", "reboot"], ["--force", "--force", "reboot"]])

    def test_the_kernel_may_say_how_long_it_waits(self):
        self.assertEqual(healthy.patience(["basalt.patience=60"]), 60)
        self.assertEqual(healthy.patience(["basalt.patience=x"]), healthy.PATIENCE_SECONDS)


if __name__ == "__main__":
    unittest.main()
