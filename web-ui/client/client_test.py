"""The generated half of the TypeScript client says what the data model says."""

import pathlib
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402


class Generated(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = generate.datamodel.load(generate.SOURCE / "idl")
        cls.files = generate.outputs()
        cls.text = cls.files["src/xenapi.ts"]

    def members(self, interface):
        """Lines of an interface without its comments."""
        body = re.search(rf"^export interface {interface} {{\n(.*?)^}}", self.text,
                         re.DOTALL | re.MULTILINE)
        self.assertIsNotNone(body, interface)
        return [line.strip() for line in body[1].splitlines()
                if not line.lstrip().startswith(("/**", "*"))]

    def test_every_record_has_every_field_of_the_wire(self):
        for cls in self.model.classes:
            fields = [f.name for f in cls.fields if not f.internal]
            if fields:
                lines = self.members(f"{generate.camel(cls.name)}Record")
                self.assertEqual([re.split(r"\??:", line)[0] for line in lines], fields)

    def test_every_message_that_clients_can_call_is_a_method_once(self):
        count = 0
        for cls in self.model.classes:
            names = [m.name for m in generate.offered(cls)]
            if not names:
                continue
            lines = self.members(f"{generate.camel(cls.name)}Api")
            self.assertEqual([line.split("(")[0] for line in lines], names)
            self.assertEqual(len(names), len(set(names)))
            count += len(names)
        self.assertGreater(count, 2000)

    def test_messages_of_the_hosts_among_themselves_are_left_out(self):
        self.assertNotIn("VM.atomic_set_resident_on",
                         [f"{c.name}.{m.name}" for c in self.model.classes
                          for m in generate.offered(c)])

    def test_types_of_the_wire_and_their_spelling(self):
        parse = generate.datamodel.wire_types.parse
        for wire, spelled in (
                ("string", "string"), ("int", "number"), ("datetime", "DateTime"),
                ("VM ref set", 'Ref<"VM">[]'), ("VM record", "VMRecord"),
                ("enum on_boot", "OnBoot"), ("sr_stat record option", "SrStatRecord | undefined"),
                ("(string -> string) map", "Record<string, string>"),
                ("(enum vm_operations -> string) map", "Partial<Record<VmOperations, string>>"),
                ("(VM ref -> VM record) map", 'Record<Ref<"VM">, VMRecord>')):
            with self.subTest(wire):
                self.assertEqual(generate.ts_type(parse(wire)), spelled)

    def test_parameters_of_errors(self):
        self.assertEqual(generate.error_params(None), "string[]")
        self.assertEqual(generate.error_params([]), "[]")
        self.assertEqual(generate.error_params(["SR type", "class", "2nd", "note?"]),
                         "[SR_type: string, class_: string, p2: string, note?: string]")
        self.assertEqual(generate.error_params(["host..."]), "[...host: string[]]")

    def test_a_name_that_would_clash_is_an_error(self):
        self.model.enums["VM"] = ["a"]
        self.addCleanup(self.model.enums.pop, "VM")
        with self.assertRaises(generate.ClientError):
            generate.emit(self.model, set())

    def test_the_same_again(self):
        self.assertEqual(self.files, generate.outputs())


if __name__ == "__main__":
    unittest.main()
