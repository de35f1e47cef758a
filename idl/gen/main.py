#!/usr/bin/env python3
"""Generates the C++ of the data model from idl/*.toml.

    main.py --out DIR [--stamp FILE]   writes DIR/idl/..., touching only what changed
    main.py --list                     prints the sources and headers it would write, relative to DIR
    main.py --surface FILE [--check]   writes (or compares) the readable list of the whole API
"""

import argparse
import difflib
import pathlib
import sys

import emit_api
import emit_tables
import emit_types
import model as datamodel
import surface

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE_UNITS, TYPE_UNITS, API_UNITS, FINISH_UNITS = 8, 8, 6, 3


def outputs(model) -> dict[str, str]:
    """Every generated file by its path below DIR."""
    out = {
        "idl/classes.hpp": emit_types.emit_classes(model),
        "idl/enums.hpp": emit_types.emit_enums(model),
        "idl/errors.hpp": emit_types.emit_errors_header(model),
        "idl/errors.cpp": emit_types.emit_errors_source(model),
        "idl/records.hpp": emit_types.emit_all_records(model),
        "idl/versions.hpp": emit_tables.emit_versions(model),
        "idl/tables.hpp": emit_tables.emit_declarations(model),
        "idl/tables_index.cpp": emit_tables.emit_index(model),
        "idl/apis.hpp": emit_api.emit_apis(model),
        "idl/apis.cpp": emit_api.emit_apis_source(model),
        "idl/thunks.hpp": emit_api.emit_thunk_header(model),
    }
    for cls in model.classes:
        low = cls.name.lower()
        out[f"idl/records/{low}.hpp"] = emit_types.emit_record(model, cls)
        out[f"idl/params/{low}.hpp"] = emit_types.emit_params(model, cls)
        if cls.served:
            out[f"idl/api/{low}_api.hpp"] = emit_api.emit_api_header(model, cls)
    for i, group in enumerate(emit_tables.groups(model, TABLE_UNITS)):
        out[f"idl/tables_{i}.cpp"] = emit_tables.Unit(model, group).emit()
    for i, text in enumerate(emit_tables.emit_type_units(model, TYPE_UNITS)):
        out[f"idl/types_{i}.cpp"] = text
    for i, group in enumerate(emit_api.api_groups(model, API_UNITS)):
        out[f"idl/api_{i}.cpp"] = emit_api.emit_api_unit(model, group)
        out[f"idl/thunks_{i}.cpp"] = emit_api.emit_thunk_unit(model, group)
    for i in range(FINISH_UNITS):
        out[f"idl/finish_{i}.cpp"] = emit_api.emit_finish_unit(model, i, FINISH_UNITS)
    return out


def write_changed(path: pathlib.Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def check_surface(path: pathlib.Path, text: str) -> int:
    old = path.read_text() if path.exists() else ""
    if old == text:
        return 0
    sys.stdout.writelines(difflib.unified_diff(
        old.splitlines(True), text.splitlines(True), "committed", "now", n=0))
    print(f"The API changed. If meant: python3 idl/gen/main.py --surface {path.name}")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--stamp", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--surface", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    model = datamodel.load(ROOT)
    if args.list:
        print("\n".join(outputs(model)))
    if args.out:
        for name, text in outputs(model).items():
            write_changed(args.out / name, text)
    if args.stamp:
        args.stamp.touch()
    if args.surface:
        text = surface.emit(model)
        if args.check:
            return check_surface(args.surface, text)
        write_changed(args.surface, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
