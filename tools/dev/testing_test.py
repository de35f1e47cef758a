"""How test results are counted: by case, and a crash is never a pass."""

import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import testing

CASES = """\
<testsuites><testsuite name="S">
<testcase name="good" status="run" result="completed" classname="S"/>
<testcase name="bad" status="run" result="completed" classname="S"><failure message="no"/></testcase>
<testcase name="later" status="run" result="skipped" classname="S">
<skipped message="file.cpp:3&#x0A;needs KVM"/></testcase>
<testcase name="DISABLED_x" status="notrun" result="suppressed" classname="S"/>
</testsuite></testsuites>"""


def counted(entry, cases=None):
    summary = testing.Summary()
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
        if cases:
            file.write(cases)
            file.flush()
        testing.count_entry("t", ElementTree.fromstring(entry), file.name if cases else None,
                            summary)
    return summary


class Counting(unittest.TestCase):
    def test_cases_are_counted_one_by_one(self):
        summary = counted('<testcase name="t" status="fail"><failure message=""/></testcase>', CASES)
        self.assertEqual(summary.line(), "1 passed, 1 failed, 1 skipped")
        self.assertEqual(summary.failed, ["t: S.bad"])
        self.assertIn("needs KVM", summary.skipped[0][1])

    def test_a_failed_program_without_failed_cases_is_a_failure(self):
        good = CASES.replace('<failure message="no"/>', "")
        summary = counted('<testcase name="t" status="fail"><failure message="leak"/></testcase>', good)
        self.assertEqual(summary.line(), "2 passed, 1 failed, 1 skipped")

    def test_a_program_without_report_counts_as_one(self):
        self.assertEqual(counted('<testcase status="run"/>').line(), "1 passed, 0 failed, 0 skipped")
        crash = '<testcase status="fail"><failure message="SEGFAULT"/></testcase>'
        self.assertEqual(counted(crash).line(), "0 passed, 1 failed, 0 skipped")

    def test_a_program_that_was_not_built_is_a_failure(self):
        entry = '<testcase status="notrun"><skipped message="Unable to find executable"/></testcase>'
        self.assertEqual(counted(entry).line(), "0 passed, 1 failed, 0 skipped")


if __name__ == "__main__":
    unittest.main()
