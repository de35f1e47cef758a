"""The errors that the other tests of this folder met are ones that their messages declare. The name
puts it last, for each host that they ran on: it reads what that has logged so far."""

import re
import unittest

import lab

LISTED = lab.SOURCE / "tests/golden/undeclared.txt"
LINE = re.compile(r" undeclared_error message=(\S+) error=(\S+)")


class Declared(unittest.TestCase):
    def test_no_call_answered_an_undeclared_error(self):
        listed = {line.strip() for line in LISTED.read_text().splitlines()
                  if line.strip() and not line.startswith("#")}
        met = set()
        for log in lab.host().state.glob("host*/log/xapi.log*"):
            met |= {" ".join(found) for found in LINE.findall(log.read_text(errors="replace"))}
        self.assertEqual(met - listed, set(), "declare them in idl/raises.toml")

    def test_what_is_reported_is_found(self):
        """The pattern finds the line as the daemon writes it, so that silence means none."""
        line = ("2026-01-01T00:00:00.000Z warning undeclared_error message=VM.start error=SR_FULL "
                "trace=12345678\n")
        self.assertEqual(LINE.findall(line), [("VM.start", "SR_FULL")])


if __name__ == "__main__":
    unittest.main()
