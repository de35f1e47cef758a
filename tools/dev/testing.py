"""`./dev test`: every level of tests, and one summary of them all.

C++ tests are counted by case (GoogleTest writes a report for each program), Python tests by
method. A program that ended badly without reporting a failed case counts as one failure, so that
a crash is never taken for a pass.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import build
import build_root
from paths import SOURCE, DevError, say

LIMIT_SECONDS = 30 * 60  # beside the build
# Python suites, as (label, folder). These run beside the C++ programs, since all of them wait more than
# they compute: for guests, disks and clocks.
PYTHON_SUITES = [("unit", "tools/dev"), ("unit", "dom0-image/prepare"),
                 ("unit", "dom0-image/console"), ("unit", "installer"),
                 ("unit", "host-agent/machine"), ("unit", "host-agent/plugins"),
                 ("style", "tests/style"), ("api", "tests/api")]
# And these after those programs: a third row would be too much for two processors.
AFTER_PROGRAMS = [("web", "tests/web"), ("medium", "tests/appliance"),
                  ("appliance", "tests/appliance")]
# How many modules of a folder run at the same time, on hosts of their own; one unless said here.
LANES = {"tests/api": 2}
# Much emulation: run when they are asked for by name, within seconds of their own. They build what
# they need themselves.
ON_REQUEST = {"medium": 40 * 60, "appliance": 3 * 60 * 60}
# Of a label that is not a folder's every module: what of them it is, in this order.
SELECTED = {"medium": ["medium_test", "live_test.LiveByUefi",
                       "install_test.HostLife.test_0_the_medium_installs_without_a_person"]}


@dataclass
class Summary:
    passed: int = 0
    failed: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def line(self):
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def test(args):
    if args.seeds is not None:
        return run_seeds(args)
    start = time.monotonic()
    labels, also = args.labels, args.also or []
    programs_too = not labels or bool(set(labels) - set(ON_REQUEST))
    if programs_too:
        build.build(args.preset, ["all", "tests"])
    deadline = time.monotonic() + LIMIT_SECONDS
    with futures.ThreadPoolExecutor() as beside:
        row = beside.submit(run_python_suites, PYTHON_SUITES, args.preset, labels, deadline)
        summary = run_ctest(args.preset, labels, deadline) if programs_too else Summary()
        summary.add(run_python_suites(AFTER_PROGRAMS, args.preset, labels, deadline, also))
        summary.add(row.result())
    for name, reason in summary.skipped:
        print(f"skipped {name}: {reason}")
    for name in summary.failed:
        print(f"FAILED  {name}")
    known = summary.passed + len(summary.failed) + len(summary.skipped)
    if not known:
        print(f"no test has the label {' '.join(labels)}")
    print(f"in {time.monotonic() - start:.0f} s")
    print(summary.line(), flush=True)
    return 1 if summary.failed or not known else 0


def run_seeds(args):
    if args.labels != ["sim"]:
        raise DevError("--seeds is for ./dev test sim")
    build.build(args.preset, ["sim_seeds"])
    command = [str(build.folder(args.preset) / "tests/sim/sim_seeds"), "--seeds", str(args.seeds),
               "--hosts", str(args.hosts), "--steps", str(args.steps)]
    if args.first is not None:
        command += ["--first", str(args.first)]
    return build_root.run(command, check=False).returncode


def run_ctest(preset, labels, deadline):
    summary = Summary()
    folder = build.folder(preset)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="basalt-test-") as scratch:
        command = ["ctest", "--test-dir", str(folder), "--output-on-failure", "-j", str(build.JOBS),
                   "--output-junit", f"{scratch}/ctest.xml", "--no-tests=ignore", "-LE", "^bench$",
                   "--stop-time", time.strftime("%H:%M:%S", time.localtime(
                       time.time() + deadline - time.monotonic()))]
        if labels:
            command += ["-L", f"^({'|'.join(re.escape(label) for label in labels)})$"]
        reports = Path(scratch) / "cases"
        reports.mkdir()
        extra = ["--setenv", "GTEST_OUTPUT", f"xml:{reports}/"]
        argv = build_root.entered(build_root.ensure(), command, extra)
        subprocess.run(argv, check=False)
        programs = program_names(preset)
        report = Path(scratch) / "ctest.xml"
        if not report.exists():
            return summary
        for entry in ElementTree.parse(report).getroot().iter("testcase"):
            name = entry.get("name")
            cases = reports / f"{programs.get(name, name)}.xml"
            count_entry(name, entry, cases if cases.exists() else None, summary)
    return summary


def program_names(preset):
    """ctest name -> file name of its program, after which GoogleTest names its report."""
    listed = build_root.run(["ctest", "--test-dir", str(build.folder(preset)),
                             "--show-only=json-v1"], stdout=subprocess.PIPE, text=True).stdout
    tests = json.loads(listed or '{"tests": []}')["tests"]
    return {test["name"]: Path(test["command"][0]).name for test in tests if test.get("command")}


def count_entry(name, entry, cases, summary):
    failed_before = len(summary.failed)
    status = entry.get("status")
    if cases is not None:
        for case in ElementTree.parse(cases).getroot().iter("testcase"):
            count_case(f"{name}: {case.get('classname')}.{case.get('name')}", case, summary)
    elif status == "run":
        summary.passed += 1
    elif status in ("notrun", "disabled"):
        skipped = entry.find("skipped")
        reason = skipped.get("message", "") if skipped is not None else ""
        if "Unable to find" in reason or "Required Files" in reason:
            summary.failed.append(f"{name}: {reason}")
        else:
            summary.skipped.append((name, reason or "not run"))
    if status == "fail" and len(summary.failed) == failed_before:
        failure = entry.find("failure")
        summary.failed.append(f"{name}: {failure.get('message') if failure is not None else ''}")


def count_case(name, case, summary):
    if case.find("failure") is not None:
        summary.failed.append(name)
    elif case.get("status") == "notrun" or case.get("result") == "suppressed":
        pass  # a DISABLED_ case
    elif (skipped := case.find("skipped")) is not None or case.get("result") == "skipped":
        message = skipped.get("message", "") if skipped is not None else ""
        summary.skipped.append((name, " ".join(message.split())[-200:] or "no reason given"))
    else:
        summary.passed += 1


def run_python_suites(suites, preset, labels, deadline, also=()):
    """`also`: labels that are run whatever `labels` are."""
    summary = Summary()
    for label, folder in suites:
        wanted = label in (*labels, *also) or (not labels and label not in ON_REQUEST)
        if wanted and list((SOURCE / folder).glob("*_test.py")):
            limit = time.monotonic() + ON_REQUEST[label] if label in ON_REQUEST else deadline
            summary.add(run_python(label, folder, preset, limit))
    return summary


def modules_of(folder):
    """The largest first: they take longest, as a rule, and the last one keeps only its lane busy."""
    files = sorted((SOURCE / folder).glob("*_test.py"),
                   key=lambda path: (-path.stat().st_size, path))
    return [path.stem for path in files]


def run_python(label, folder, preset, deadline):
    say(f"Python tests of {folder}")
    summary = Summary()
    modules = SELECTED.get(label) or modules_of(folder)
    last = [module for module in modules if module.startswith("zz_")]
    lanes = LANES.get(folder, 1)
    environment = {**os.environ, "BASALT_PRESET": preset, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory(prefix="basalt-test-") as scratch:
        reports = [Path(scratch) / f"{lane}.json" for lane in range(lanes)]
        # Whole messages, so that each name goes to one lane: whichever is ready for more.
        names, taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for module in modules:
            if module not in last:
                names.send(module.encode())
        names.close()
        running = [subprocess.Popen(
            [sys.executable, str(SOURCE / "tools/dev/unittests.py"), folder, str(report),
             str(taken.fileno()), *last], env=environment, cwd=SOURCE, pass_fds=[taken.fileno()])
            for report in reports]
        taken.close()
        for process in running:
            try:
                process.wait(max(1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
        for process, report in zip(running, reports):
            count_lane(f"{label}: {folder}", process.returncode, report, summary)
    return summary


def count_lane(name, status, report, summary):
    outcome = json.loads(report.read_text()) if report.exists() else {}
    summary.passed += outcome.get("passed", 0)
    summary.failed += outcome.get("failed", [])
    summary.skipped += [tuple(pair) for pair in outcome.get("skipped", [])]
    if status or outcome.get("unfinished"):
        where = outcome.get("unfinished") or "a lane"
        summary.failed.append(f"{name}: {where} ended with {status}")


def golden(args):
    """Runs the golden tests so that they write what they would have compared."""
    build.build(args.preset, ["all", "tests"])
    command = ["ctest", "--test-dir", str(build.folder(args.preset)), "-L", "^golden$",
               "--no-tests=ignore"]
    extra = ["--setenv", "GOLDEN_UPDATE", "1"]
    argv = build_root.entered(build_root.ensure(), command, extra)
    subprocess.run(argv, check=False, stdout=subprocess.DEVNULL)
    if shutil.which("git"):
        subprocess.run(["git", "-C", str(SOURCE), "status", "--short", "--", "tests/golden"],
                       check=False)
    done = subprocess.run(build_root.entered(build_root.ensure(), command), check=False)
    if done.returncode:
        raise DevError("golden tests still fail after the update")
    return 0
