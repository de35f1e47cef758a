"""What the code never says, each with the reason; exceptions stand in allowed.txt."""

import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tree

# Tests may catch anything to look at it, and read whole files.
TESTS = r"(_test\.cpp$|^tests/|/contract/|/testing/|_testing\.)"

# Benchmarks drive daemons from outside, with threads and clients that are not ours.
OUTSIDE = r"^(base/real_|tests/bench/)"

# rule -> (pattern, what to do instead, the files in which it is the implementation itself)
BANS = {
    "timer": (r"\b(steady_timer|system_timer|deadline_timer|high_resolution_timer)\b",
              "time is injected: use the Loop's sleep", r"^base/real_"),
    "blocking-sleep": (r"\b(std::this_thread::sleep_(for|until)|usleep|nanosleep)\b|\b::sleep\s*\(",
                       "the loop must not block: co_await its sleep", OUTSIDE),
    "resolver": (r"\btcp::resolver\b", "names are resolved by the Loop", r"^base/real_"),
    "signals": (r"\bsignal_set\b", "signals come from the real Loop", r"^base/real_"),
    "threads": (r"\b(asio::thread_pool|std::async)\b", "use blocking()", r"^base/real_"),
    "ssl-stream": (r"\bssl::stream\b", "TLS is a filter over memory BIOs", OUTSIDE),
    "randomness": (r"\brandom_device\b", "randomness is injected, or a test cannot repeat",
                   r"^base/real_"),
    "catch-all": (r"\bcatch\s*\(\s*\.\.\.\s*\)", "let it reach the dispatcher, task runner or undo",
                  TESTS),
    "stream-io": (r"#include <(iostream|sstream)>", "use base/log or std::format", TESTS),
    "using-std": (r"\busing namespace std\s*;", "name what you use", r"^$"),
}
# Spelled in pieces so that this file may be searched too.
MARKERS = [r"deb\.debian" + r"\.org", r"archive\.ubuntu" + r"\.com", r"registry\.npmjs" + r"\.org",
           r"pypi" + r"\.org", r"files\.pythonhosted" + r"\.org"]


class Bans(unittest.TestCase):
    def test_banned_words(self):
        exceptions = {tuple(line.split()) for line in tree.listed("allowed.txt")}
        wrong = []
        used = set()
        for name in tree.cpp_files():
            body = tree.code(name)
            for rule, (pattern, advice, home) in BANS.items():
                if re.search(home, name):
                    continue
                for match in re.finditer(pattern, body):
                    if (rule, name) in exceptions:
                        used.add((rule, name))
                        continue
                    line = body.count("\n", 0, match.start()) + 1
                    wrong.append(f"{name}:{line}: {rule}: {advice}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))
        self.assertEqual(exceptions - used, set(), "exceptions that are no longer needed")

    def test_no_archive_or_registry_is_named(self):
        """Packages come from the mirrors and registries that the machine has configured."""
        pattern = re.compile("|".join(MARKERS))
        wrong = [name for name in tree.files() if pattern.search(tree.text(name))]
        self.assertEqual(wrong, [])


class Ratchet(unittest.TestCase):
    def figures(self):
        long_files = [name for name in tree.files()
                      if name.endswith((".cpp", ".hpp", ".py")) and tree.text(name).count("\n") > 600]
        long_lines = [f"{name}:{number}" for name in tree.cpp_files()
                      for number, line in enumerate(tree.text(name).splitlines(), 1)
                      if len(line) > 100 and "http" not in line and 'R"' not in line]
        return {"long_files": long_files, "long_lines": long_lines}

    def test_figures_only_fall(self):
        limits = {name: int(limit) for name, limit in map(str.split, tree.listed("ratchet.txt"))}
        for name, found in self.figures().items():
            with self.subTest(name):
                self.assertLessEqual(len(found), limits[name], "\n" + "\n".join(found[:50]))
                self.assertGreaterEqual(len(found), limits[name],
                                        f"fewer than in ratchet.txt: lower {name} to {len(found)}")


if __name__ == "__main__":
    unittest.main()
