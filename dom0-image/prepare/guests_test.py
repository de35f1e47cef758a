"""The guests at a machine's end, on an API that the test makes up."""

import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/dev"))

import guests
import xapi_client

HERE, ELSEWHERE = "OpaqueRef:here", "OpaqueRef:elsewhere"


def vm(state="Running", host=HERE, dom0=False):
    return {"power_state": state, "resident_on": host, "is_control_domain": dom0}


class Api:
    """`obeys`: which messages halt which VM; a task that nobody obeys is pending for ever."""

    ref = "OpaqueRef:session"

    def __init__(self, vms, obeys):
        self.vms = vms
        self.obeys = obeys
        self.said = []
        self.pending = set()

    def call(self, method, *params):
        self.said.append((method, *params))
        if method == "session.get_this_host":
            return HERE
        if method == "VM.get_all_records":
            return self.vms
        if method.startswith("Async."):
            return self.begin(method.removeprefix("Async."), params[0])
        if method == "task.get_status":
            return "pending" if params[0] in self.pending else "success"
        return ""

    def begin(self, message, ref):
        how = self.obeys.get((message, ref), "never")
        if how == "refuses":
            raise xapi_client.Failure("VM_LACKS_FEATURE", ref)
        task = f"{message} {ref}"
        if how == "never":
            self.pending.add(task)
        else:
            self.vms[ref] = vm("Halted", "OpaqueRef:NULL")
        return task


class GuestsTest(unittest.TestCase):
    def shut_down(self, api):
        now = 0

        def sleep(seconds):
            nonlocal now
            now += seconds

        with mock.patch.object(guests.wait, "__defaults__", (lambda: now, sleep)), \
                mock.patch("builtins.print"):
            return guests.shut_down(api), now

    def test_guests_are_asked_and_those_that_do_not_obey_are_ended(self):
        api = Api({"good": vm(), "deaf": vm(), "mute": vm("Paused"), "other": vm(host=ELSEWHERE),
                   "off": vm("Halted"), "dom0": vm(dom0=True)},
                  {("VM.clean_shutdown", "good"): "obeys",
                   ("VM.clean_shutdown", "mute"): "refuses",
                   ("VM.hard_shutdown", "deaf"): "obeys", ("VM.hard_shutdown", "mute"): "obeys"})
        result, seconds = self.shut_down(api)
        self.assertEqual(result, 0)
        self.assertGreaterEqual(seconds, guests.POLITE_SECONDS)
        asked = [(method, *params) for method, *params in api.said if method.startswith("Async.")]
        self.assertEqual(asked, [
            ("Async.VM.clean_shutdown", "good"), ("Async.VM.clean_shutdown", "deaf"),
            ("Async.VM.clean_shutdown", "mute"), ("Async.VM.hard_shutdown", "deaf"),
            ("Async.VM.hard_shutdown", "mute")])
        self.assertIn(("task.cancel", "VM.clean_shutdown deaf"), api.said)
        self.assertIn(("host.disable", HERE), api.said)

    def test_nobody_is_waited_for_when_all_obey(self):
        api = Api({"good": vm()}, {("VM.clean_shutdown", "good"): "obeys"})
        result, seconds = self.shut_down(api)
        self.assertEqual(result, 0)
        self.assertLess(seconds, 5)

    def test_a_guest_that_stays_is_told(self):
        result, seconds = self.shut_down(Api({"stuck": vm()}, {}))
        self.assertEqual(result, 1)
        self.assertLess(seconds, guests.POLITE_SECONDS + guests.HARD_SECONDS + 5)


if __name__ == "__main__":
    unittest.main()
