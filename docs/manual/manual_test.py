"""The manual: every link leads somewhere, every tag is closed, and nothing runs."""

import html.parser
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

VOID = {"meta", "link", "br"}


class Reader(html.parser.HTMLParser):
    """Gathers ids, links and words of a page, and how its tags nest."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.open, self.ids, self.links, self.faults, self.said = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script" or any(key.startswith("on") for key in attributes):
            self.faults.append(f"{self.name}: runs a script")
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.links += [attributes[key] for key in ("href", "src") if key in attributes]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{self.name}: </{tag}> at line {self.getpos()[0]} closes nothing")

    def handle_data(self, data):
        self.said.append(data)


class Manual(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.unbuilt = generate.unbuilt_messages()
        cls.files = generate.outputs(cls.unbuilt)
        cls.model = generate.datamodel.load(generate.SOURCE / "idl")
        cls.pages = {}
        for name, content in cls.files.items():
            if name.endswith(".html"):
                cls.pages[name] = Reader(name)
                cls.pages[name].feed(content)

    def test_tags_nest_and_nothing_runs(self):
        for name, page in self.pages.items():
            with self.subTest(name):
                self.assertEqual(page.faults, [])
                self.assertEqual(page.open, [])
                self.assertEqual(len(page.ids), len(set(page.ids)), "an id twice")

    def test_every_link_leads_somewhere(self):
        wrong = []
        for name, page in self.pages.items():
            for target in page.links:
                if target == "data:,":
                    continue
                file, _, anchor = target.partition("#")
                file = file or name
                if file not in self.files or (anchor and anchor not in self.pages[file].ids):
                    wrong.append(f"{name}: {target}")
        self.assertEqual(wrong, [])

    def test_a_class_page_says_what_the_data_model_says(self):
        for cls in self.model.classes:
            page = self.pages[f"{cls.name}.html"]
            said = "".join(page.said)
            with self.subTest(cls.name):
                self.assertIn(cls.doc, said)
                for field in cls.fields:
                    if not field.internal:
                        self.assertIn(f"f.{field.name}", page.ids)
                        self.assertIn(field.doc, said)
                for message in cls.messages:
                    if message.kind == "custom" and message.life.state != "removed":
                        self.assertIn(message.name, page.ids)

    def test_a_message_that_is_built_moves_out_of_the_table_of_those_that_are_not(self):
        before = generate.outputs(self.unbuilt | {"Bond.create"})["Bond.html"]
        after = generate.outputs(self.unbuilt - {"Bond.create"})["Bond.html"]
        self.assertIn('<tr id="create">', before)
        self.assertIn('<section class="message" id="create">', after)

    def test_pages_are_small_enough_for_slow_lines(self):
        for name, content in self.files.items():
            self.assertLess(len(content), 400_000, name)

    def test_the_same_again(self):
        self.assertEqual(self.files, generate.outputs(self.unbuilt))


if __name__ == "__main__":
    unittest.main()
