"""The include graph is the one of rooms.txt."""

import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tree

# Generated headers that are included by their bare name.
BARE = {"agent_values.hpp": "host-agent/api", "agent_verbs.hpp": "host-agent/api"}


def rooms():
    table = {}
    for line in tree.listed("rooms.txt"):
        name, _, allowed = line.partition(":")
        table[name] = set(allowed.split())
    return table


def room_of(path, table):
    fitting = [name for name in table if path == name or path.startswith(name + "/")]
    return max(fitting, key=len, default=None)


class IncludeGraph(unittest.TestCase):
    def test_every_include_is_an_allowed_edge(self):
        table = rooms()
        wrong = []
        for name in tree.cpp_files():
            own = room_of(name, table)
            if Path(name).name == "main.cpp":
                continue  # the three main.cpp join what may not know each other
            if own is None:
                wrong.append(f"{name}: its folder is no room of rooms.txt")
                continue
            if "*" in table[own]:
                continue
            for included in re.findall(r'(?m)^#include "([^"]+)"', tree.text(name)):
                target = BARE.get(included) or room_of(included, table)
                if target is None:
                    wrong.append(f"{name}: {included}: include by the path from the root")
                elif not allowed(name, own, target, table):
                    wrong.append(f"{name}: {own} may not include {included}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_rooms_name_rooms(self):
        table = rooms()
        for name, others in table.items():
            self.assertEqual([other for other in others if other not in table and other != "*"], [],
                             f"unknown rooms in the line of {name}")

    def test_headers_are_included_once(self):
        wrong = [name for name in tree.cpp_files()
                 if name.endswith(".hpp") and "#pragma once" not in tree.text(name)]
        self.assertEqual(wrong, [])


def allowed(name, own, target, table):
    if target == own or target in table[own]:
        return True
    # A backend's tests may use the other backends' simulators, a room's tests its user's helpers.
    return name.endswith("_test.cpp")


if __name__ == "__main__":
    unittest.main()
