"""How test results are counted: by case, and a crash is never a pass."""

import contextlib
import os
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from unittest import mock

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


@contextlib.contextmanager
def unheard():
    """What lanes say of made-up failures is no news of this run, nor of who reads its output."""
    with tempfile.TemporaryFile() as nowhere:
        heard = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(heard, 2)
            os.close(heard)


class Lanes(unittest.TestCase):
    def outcome(self, **modules):
        """Of modules with these bodies, in two lanes; and how often each was run."""
        with tempfile.TemporaryDirectory() as folder:
            for name, body in modules.items():
                head = f"import os, unittest\nopen('{folder}/{name}.runs', 'a').write('x')\n"
                case = f"class T(unittest.TestCase):\n    def test(self):\n        {body}\n"
                (Path(folder) / f"{name}_test.py").write_text(head + case)
            with mock.patch.dict(testing.LANES, {folder: 2}), unheard():
                summary = testing.run_python("unit", folder, "release", time.monotonic() + 60)
            runs = {name: len((Path(folder) / f"{name}.runs").read_text()) for name in modules}
            return summary, runs

    def test_each_module_runs_once_and_the_last_ones_in_each_lane(self):
        summary, runs = self.outcome(a="pass", b="pass", c="self.fail()", zz_d="pass")
        self.assertEqual(summary.line(), "4 passed, 1 failed, 0 skipped")
        self.assertEqual(runs, {"a": 1, "b": 1, "c": 1, "zz_d": 2})

    def test_a_lane_that_dies_is_a_failure_that_names_the_module(self):
        summary, _ = self.outcome(a="os._exit(3)", b="pass")
        self.assertEqual(summary.passed, 1)
        self.assertRegex(summary.failed[0], "a_test ended with 3")


class OnRequest(unittest.TestCase):
    def run_with(self, *labels, also=None):
        """The labels of the Python suites that ran, seconds that each was given, what was built."""
        ran, built = {}, []

        def run_python(label, folder, preset, deadline):
            ran[label] = deadline - time.monotonic()
            return testing.Summary(passed=1)

        args = mock.Mock(seeds=None, labels=list(labels), also=also, preset="release")
        with mock.patch.object(testing, "run_python", run_python), \
                mock.patch.object(testing.build, "build", lambda *what: built.append(what)), \
                mock.patch.object(testing, "run_ctest", return_value=testing.Summary()), \
                mock.patch("builtins.print"):
            self.assertEqual(testing.test(args), 0)
        return ran, built

    def test_a_run_of_everything_leaves_out_what_takes_hours(self):
        ran, built = self.run_with()
        self.assertFalse(set(testing.ON_REQUEST) & set(ran))
        self.assertLessEqual(max(ran.values()), testing.LIMIT_SECONDS)
        self.assertEqual(built, [("release", ["all", "tests"])])

    def test_what_is_asked_for_by_name_has_its_time_and_builds_for_itself(self):
        ran, built = self.run_with("appliance")
        self.assertEqual(list(ran), ["appliance"])
        self.assertGreater(ran["appliance"], testing.LIMIT_SECONDS)
        self.assertEqual(built, [])

    def test_what_is_run_as_well_comes_beside_everything_else(self):
        ran, built = self.run_with(also=["medium"])
        self.assertIn("web", ran)
        self.assertGreater(ran["medium"], testing.LIMIT_SECONDS)
        self.assertNotIn("appliance", ran)
        self.assertEqual(built, [("release", ["all", "tests"])])

    def test_the_tests_of_the_medium_are_a_part_of_the_appliance_s_by_names_that_lead_somewhere(self):
        folder = testing.SOURCE / "tests/appliance"
        with mock.patch.object(sys, "path", [str(folder), *sys.path]):
            for name in testing.SELECTED["medium"]:
                found = unittest.defaultTestLoader.loadTestsFromName(name)
                self.assertGreater(found.countTestCases(), 0, name)
                self.assertNotIn("_FailedTest", str(found), name)


if __name__ == "__main__":
    unittest.main()
