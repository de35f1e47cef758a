"""SIGKILL of xapi in the middle of 200 concurrent writes: what it acknowledged is there after it
has been started again, and nothing is there that was never asked for."""

import threading
import unittest

import lab

WRITERS = 20
EACH = 10


class Crash(unittest.TestCase):
    def test_no_acknowledged_write_is_lost_and_none_is_invented(self):
        session = lab.login()._session
        connections = [lab.Raw() for _ in range(WRITERS)]
        asked = {f"crash {writer} {number}" for writer in range(WRITERS) for number in range(EACH)}
        acknowledged, gate, lock = set(), threading.Barrier(WRITERS + 1), threading.Lock()
        enough = threading.Event()

        def write(writer):
            gate.wait()
            for number in range(EACH):
                name = f"crash {writer} {number}"
                try:
                    answer = connections[writer].call("network.create", session, {
                        "name_label": name, "name_description": "", "MTU": "1500",
                        "other_config": {}, "tags": [], "bridge": ""})
                except Exception:  # the server died: whatever was on its way is not acknowledged
                    return
                if answer["Status"] == "Success":
                    with lock:
                        acknowledged.add((name, answer["Value"]))
                        if len(acknowledged) >= WRITERS * EACH // 4:
                            enough.set()

        writers = [threading.Thread(target=write, args=[number]) for number in range(WRITERS)]
        for thread in writers:
            thread.start()
        pid = lab.host().status()["host1.xapi"]
        gate.wait()
        enough.wait(60)
        lab.host().kill_now("xapi", pid)
        for thread in writers:
            thread.join(60)
        session = lab.wait_until(self.login_again, 60, "xapi serves again")
        networks = session.xenapi.network.get_all_records()
        there = {(row["name_label"], ref) for ref, row in networks.items()
                 if row["name_label"].startswith("crash ")}
        lab.say(f"{len(acknowledged)} of {len(asked)} writes acknowledged before the kill, "
                f"{len(there)} there after it")
        self.assertLess(len(acknowledged), len(asked), "the kill came too late to prove anything")
        self.assertEqual(acknowledged - there, set())
        names = [name for name, _ in there]
        self.assertEqual(set(names) - asked, set())
        self.assertEqual(len(names), len(set(names)), "a write happened twice")
        for _, ref in there:
            session.xenapi.network.destroy(ref)

    def login_again(self):
        try:
            return lab.login()
        except Exception:  # refused or cut off while it starts: try again
            return None


if __name__ == "__main__":
    unittest.main()
