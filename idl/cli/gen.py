#!/usr/bin/env python3
"""Writes the tables of xe as C++: gen.py OUT.cpp, from the TOML files here and ../errors.toml."""

import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent
TAGS = ["RO", "RW", "SRO", "SRW", "MRO", "MRW"]
FLAGS = ["vm_selectors", "host_selectors", "sr_selectors", "standard", "neverforward", "hidden",
         "deprecated", "local_session"]
ABILITIES = ["set", "add", "remove", "set_in_map", "set_map", "clear", "expensive", "hidden",
             "deprecated", "case_insensitive"]


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def bits(space: str, words: list[str], names: list[str], where: str) -> str:
    unknown = [w for w in words if w not in names]
    if unknown:
        sys.exit(f"{where}: unknown {unknown}")
    return " | ".join(f"{space}::{w}" for w in words) or "0"


class Lists:
    """Constant arrays of words, each written once."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, ...], str] = {}

    def span(self, words: list[str]) -> str:
        if not words:
            return "{}"
        return self.names.setdefault(tuple(words), f"words_{len(self.names)}")

    def text(self) -> list[str]:
        return [f"constexpr std::string_view {name}[] = {{{', '.join(map(quote, words))}}};"
                for words, name in self.names.items()]


def records(data: dict, lists: Lists) -> tuple[list[str], list[str]]:
    fields_of = {r["cli"]: r.get("fields") for r in data["record"]}
    arrays, rows = [], []
    for i, record in enumerate(data["record"]):
        fields = record.get("fields") or fields_of[record["same_fields_as"]]
        arrays.append(f"constexpr Field fields_{i}[] = {{")
        for name, tag, source, *abilities in fields:
            where = f"{record['cli']} {name}"
            able = bits("able", abilities, ABILITIES, where)
            arrays.append(f"    {{{quote(name)}, Tag::{tag.lower()}, {quote(source)}, {able}}},")
        arrays.append("};")
        wanted = [f"{k}={v}" for k, v in record.get("filter", {}).items()]
        rows.append(f"    {{{quote(record['cli'])}, {quote(record['class'])}, "
                    f"{lists.span(wanted)}, {lists.span(record['default'])}, fields_{i}}},")
    return arrays, rows


def commands(data: dict, lists: Lists) -> list[str]:
    rows = []
    for name, c in sorted(data["commands"].items()):
        method, *args = c.get("call", [""])
        rows.append(f"    {{{quote(name)}, {lists.span(c.get('reqd', []))}, "
                    f"{lists.span(c.get('optn', []))}, {bits('flag', c.get('flags', []), FLAGS, name)}, "
                    f"{quote(c.get('instead', ''))}, {quote(method)}, {lists.span(args)}}},")
    return rows


def main() -> None:
    def load(name: str) -> dict:
        return tomllib.loads((ROOT / name).read_text())

    lists = Lists()
    arrays, record_rows = records(load("records.toml"), lists)
    command_rows = commands(load("commands.toml"), lists)
    error_rows = [f"    {{{quote(code)}, {quote(text)}}},"
                  for code, text in sorted(load("errors.toml")["errors"].items())]
    known = tomllib.loads((ROOT.parent / "errors.toml").read_text())
    names = {code: [] for code in known["unseen"]["codes"]} | known["errors"]
    parameter_rows = [f"    {{{quote(code)}, {lists.span([n.rstrip('.?') for n in params])}}},"
                      for code, params in sorted(names.items())]
    out = ['#include "idl/cli/tables.hpp"', "", "namespace basalt::cli {", "namespace {", ""]
    out += lists.text() + arrays
    for kind, name, rows in (("Object", "object", record_rows), ("Command", "command", command_rows),
                             ("ErrorText", "error_text", error_rows),
                             ("ErrorParameters", "error_parameter", parameter_rows)):
        out += [f"constexpr {kind} {name}_rows[] = {{", *rows, "};"]
    out += ["", "}  // namespace", "",
            "std::span<const Object> objects() { return object_rows; }", "",
            "std::span<const Command> commands() { return command_rows; }", "",
            "std::span<const ErrorText> error_texts() { return error_text_rows; }", "",
            "std::span<const ErrorParameters> error_parameters() { return error_parameter_rows; }", "",
            "}  // namespace basalt::cli", ""]
    path = pathlib.Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(out))


if __name__ == "__main__":
    main()
