"""The descriptions: their shape, and that nothing new comes without one."""

import pathlib
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
sys.path.insert(0, str(HERE))

import model as datamodel  # noqa: E402
import names  # noqa: E402
import words  # noqa: E402

UNBUILT = SOURCE / "tests/golden/unbuilt.txt"


ROOMS = ("base", "hypervisor", "storage-manager", "network-manager", "host-agent", "xapi")


def raised_codes(model):
    """Codes whose generated constructor the daemons' sources name."""
    by_name = {names.identifier(code): code for code in model.errors}
    found = set()
    for room in ROOMS:
        for path in (SOURCE / room).rglob("*.cpp"):
            if not path.name.endswith(("_test.cpp", "_testing.cpp")):
                found.update(re.findall(r"\berr::([a-z0-9_]+)\(", path.read_text()))
    return {by_name[name] for name in found if name in by_name}


class Words(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = datamodel.load(SOURCE / "idl")
        cls.unbuilt = set(UNBUILT.read_text().split())

    def test_every_description_is_a_plain_sentence(self):
        wrong = [f"{name} {fault}: {text!r}" for name, text in words.every(self.model)
                 if text for fault in words.faults(text)]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_no_description_is_said_of_two_different_things(self):
        """A text under two names is a copy that says nothing of the second, unless the two are
        fields of one name (uuid, other_config) or the same act on two classes."""
        seen = {}
        wrong = []
        for name, text in words.every(self.model):
            last = name.split(".")[-1]
            if text and seen.setdefault(text, last) != last:
                wrong.append(f"{name}: {text!r} also of {seen[text]}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_what_is_built_is_described(self):
        """Every class, every field, every built message with its parameters and errors. Whoever
        builds a message takes its line out of unbuilt.txt, and is asked for its words here."""
        raised = raised_codes(self.model)
        self.assertGreater(len(raised), 50)
        needed = list(words.needed(self.model, self.unbuilt, raised))
        lacking = [name for name, text in needed if not text]
        print(f"described: {len(needed) - len(lacking)} of {len(needed)}", file=sys.stderr)
        self.assertEqual(lacking, [],
                         "describe these under [words] of their class file or errors.toml")

    def test_a_message_that_is_built_without_words_is_seen(self):
        needed = dict(words.needed(self.model, self.unbuilt - {"VGPU.create"}))
        self.assertEqual([name for name, text in needed.items() if not text][:1], ["VGPU.create()"])

    def test_unbuilt_names_messages(self):
        names = {f"{c.name}.{m.name}" for c in self.model.classes for m in c.messages}
        self.assertEqual(self.unbuilt - names, set())


class Shape(unittest.TestCase):
    def test_faults_are_seen(self):
        self.assertEqual(words.faults("Memory in bytes, at least 4 MiB."), [])
        self.assertEqual(words.faults("power_state is Running."), [])
        for text in ("", "No stop", "Two  blanks.", "x" * 300 + ".", "Says `code`.", "A *star*.",
                     "See [this](that).", "A <b>tag</b>.", "lower case.", " Blank."):
            with self.subTest(text):
                self.assertNotEqual(words.faults(text), [])

    def test_words_for_what_is_not_there_are_refused(self):
        cls = datamodel.Class("X", datamodel.Life("rio"), "durable", True, True, True, False, [],
                              [])
        for row in ({"fields": {"y": "A."}}, {"messages": {"y": "A."}}, {"params": {"y": {}}},
                    {"text": "A."}):
            with self.subTest(row), self.assertRaises(words.WordsError):
                words.give(cls, row, {}, "x.toml")


if __name__ == "__main__":
    unittest.main()
