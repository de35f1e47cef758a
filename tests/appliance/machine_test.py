"""What a test reads from a serial line to which Xen and the kernel write in between."""

import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools/dev")]

import machine

SPLIT = ("root@host:~# exec bash --noed(XEN) [   93.106219] uart interrupt taking more than 4ms\r\n"
         "(XEN) [   93.106300] and another\r\niting\r\n"
         "root@host:~# [   94.000001] a word of the kernel\r\necho [1] (a)\r\n")
BY_THEMSELVES = "xl dmesg\r\n(XEN) [    0.000000] Xen version\r\n[    1.250000] Linux version\r\n"


class Strays(unittest.TestCase):
    def test_lines_that_came_in_the_middle_of_others_are_left_out(self):
        self.assertEqual(machine.without_strays(SPLIT),
                         "root@host:~# exec bash --noediting\r\nroot@host:~# echo [1] (a)\r\n")

    def test_lines_by_themselves_stay(self):
        self.assertEqual(machine.without_strays(BY_THEMSELVES), BY_THEMSELVES)

    def test_what_was_read_once_is_not_taken_back(self):
        text, before = SPLIT + BY_THEMSELVES, ""
        for end in range(len(text) + 1):
            now = machine.without_strays(text[:end])
            self.assertTrue(now.startswith(before), (before, now))
            before = now


if __name__ == "__main__":
    unittest.main()
