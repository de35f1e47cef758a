"""Runs the *_test.py files of a folder and writes what became of them as JSON."""

import json
import sys
import unittest
from pathlib import Path


class Result(unittest.TextTestResult):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main(folder, report):
    source = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(source / "tools/dev"))
    suite = unittest.defaultTestLoader.discover(str(source / folder), pattern="*_test.py")
    runner = unittest.TextTestRunner(stream=sys.stderr, verbosity=2, resultclass=Result)
    result = runner.run(suite)
    broken = result.failures + result.errors
    Path(report).write_text(json.dumps({
        "passed": result.passed,
        "failed": [str(test) for test, _ in broken] + [str(t) for t in result.unexpectedSuccesses],
        "skipped": [[str(test), reason] for test, reason in result.skipped],
    }))
    return 0 if not broken else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
