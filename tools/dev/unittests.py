"""One lane of Python tests: runs the modules it is told of, until there are no more.

    unittests.py FOLDER REPORT DESCRIPTOR [LAST...]

Every message that comes by the descriptor (a socket of whole messages, which lanes share) is the
name of a module. Each lane ends with the modules LAST. REPORT gets what became of the tests as JSON, after every module.
"""

import json
import socket
import sys
import time
import unittest
from pathlib import Path


# A test that takes longer says how long it took.
SLOW_SECONDS = 30


class Result(unittest.TextTestResult):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passed = 0
        self.began = 0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        if (seconds := time.monotonic() - self.began) > SLOW_SECONDS:
            print(f"{test} took {seconds:.0f} s", file=sys.stderr)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


class WholeLines:
    """Of lanes that print at the same time, each line stays whole."""

    def __init__(self, stream):
        self.stream, self.held = stream, ""

    def write(self, text):
        lines, newline, self.held = (self.held + text).rpartition("\n")
        self.stream.write(lines + newline)

    def flush(self):
        self.stream.flush()


def run(module, outcome):
    began = time.monotonic()
    suite = unittest.defaultTestLoader.loadTestsFromName(module)
    runner = unittest.TextTestRunner(stream=WholeLines(sys.stderr), verbosity=2, resultclass=Result)
    result = runner.run(suite)
    print(f"{module} took {time.monotonic() - began:.1f} s", file=sys.stderr)
    outcome["passed"] += result.passed
    outcome["failed"] += [str(test) for test, _ in result.failures + result.errors]
    outcome["failed"] += [str(test) for test in result.unexpectedSuccesses]
    outcome["skipped"] += [[str(test), reason] for test, reason in result.skipped]


def names(descriptor, last):
    told = socket.socket(fileno=descriptor)
    while module := told.recv(4096).decode():
        yield module
    yield from last


def main(folder, report, descriptor, last):
    source = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(source / folder), str(source / "tools/dev")]
    outcome = {"passed": 0, "failed": [], "skipped": [], "unfinished": None}
    for module in names(descriptor, last):
        outcome["unfinished"] = module
        report.write_text(json.dumps(outcome))
        run(module, outcome)
        outcome["unfinished"] = None
        report.write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
