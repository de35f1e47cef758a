#!/usr/bin/env python3
"""Writes the TypeScript client: src/xenapi.ts from the data model, and the hand-written rest.

    generate.py --out DIR

DIR becomes an npm package in source form: package.json, tsconfig.json, src/ and its test/.
"""

import argparse
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
sys.path.insert(0, str(SOURCE / "idl/gen"))

import model as datamodel  # noqa: E402
import words  # noqa: E402

PRIMITIVES = {"string": "string", "secretstring": "string", "int": "number", "float": "number",
              "bool": "boolean", "datetime": "DateTime"}
# Answers whose form on the wire is not that of the declared type.
REPLIES = {"EventBatch": "EventBatch", "std::vector<WireEvent>": "XenEvent[]"}
RESERVED = set(
    """arguments await break case catch class const continue debugger default delete do else enum
    eval export extends false finally for function if implements import in instanceof interface let
    new null package private protected public return static super switch this throw true try typeof
    var void while with yield""".split()
)


class ClientError(Exception):
    pass


def camel(name: str) -> str:
    """`VM_guest_metrics` -> `VMGuestMetrics`, `host` -> `Host`."""
    return "".join(part[0].upper() + part[1:] for part in re.split(r"[_-]", name) if part)


def key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"'


def parameter(name: str) -> str:
    return f"{name}_" if name in RESERVED else name


def ts_type(type_) -> str:
    match type_.kind:
        case "enum":
            return camel(type_.name)
        case "ref":
            return f'Ref<"{type_.name}">'
        case "record":
            return f"{camel(type_.name)}Record"
        case "set":
            return f"{grouped(ts_type(type_.item))}[]"
        case "option":
            return f"{ts_type(type_.item)} | undefined"
        case "map":
            return map_type(type_)
        case "any_record":
            return "unknown"
    return PRIMITIVES[type_.kind]


def grouped(text: str) -> str:
    return f"({text})" if "|" in text else text


def map_type(type_) -> str:
    pair = f"Record<{ts_type(type_.key)}, {ts_type(type_.item)}>"
    # Not every value of an enumeration has an entry.
    return f"Partial<{pair}>" if type_.key.kind == "enum" else pair


def comment(indent: str, text: str, tags: list[str] | None = None) -> str:
    if not tags:
        return f"{indent}/** {text} */\n" if text else ""
    lines = "".join(f"{indent} * {line}\n" for line in [text, *tags] if line)
    return f"{indent}/**\n{lines}{indent} */\n"


def emit_enums(model) -> str:
    rows, types = [], []
    for name, values in sorted(model.enums.items()):
        listed = ", ".join(f'"{value}"' for value in values)
        rows.append(f"  {name}: [{listed}],\n")
        types.append(f'export type {camel(name)} = (typeof enums)["{name}"][number]\n')
    return (comment("", "Every enumeration with its values in order, for menus and checks.")
            + f"export const enums = {{\n{''.join(rows)}}} as const\n\n{''.join(types)}\n")


def emit_record(cls) -> str:
    fields = [f for f in cls.fields if not f.internal]
    rows = [comment("  ", f.doc) + f"  {key(f.name)}{'?' if f.type.kind == 'option' else ''}: "
            f"{ts_type(f.type)}\n" for f in fields]
    out = (comment("", cls.doc)
           + f"export interface {camel(cls.name)}Record {{\n{''.join(rows)}}}\n\n")
    if cls.ctor_dtor:
        out += emit_creation(cls, fields)
    return out


def emit_creation(cls, fields) -> str:
    """What `create` takes: what clients can set; what has a default may be left out."""
    settable = [f for f in fields if f.qualifier != "DynamicRO"]
    name = camel(cls.name)
    needed = " | ".join(f'"{f.name}"' for f in settable if not f.has_default) or "never"
    rest = " | ".join(f'"{f.name}"' for f in settable if f.has_default) or "never"
    return (f"export type {name}Creation = Pick<{name}Record, {needed}> &\n"
            f"  Partial<Pick<{name}Record, {rest}>>\n\n")


def emit_message(model, cls, message, unbuilt) -> str:
    params, tags = [], []
    for param in message.params:
        if message.doc and not words.is_plain(cls, message, param):
            tags.append(f"@param {parameter(param.name)} {words.of_param(cls, param)}")
        optional = "?" if param.has_default else ""
        type_ = (f"{camel(cls.name)}Creation" if message.kind == "create"
                 else ts_type(param.type))
        params.append(f"{parameter(param.name)}{optional}: {type_}")
    result = REPLIES[message.reply] if message.reply else (
        ts_type(message.result) if message.result else "void")
    said = message.doc
    if f"{cls.name}.{message.name}" in unbuilt:
        said = f"Not built: answers NOT_IMPLEMENTED. {said}".strip()
    elif message.life.state == "deprecated" and message.kind == "custom":
        tags.append("@deprecated")
    return (comment("  ", said, tags)
            + f"  {key(message.name)}({', '.join(params)}): Promise<{result}>\n")


def offered(cls):
    """Messages that a client can call: not those of the hosts among themselves. What only root may
    call, whom no role stands for, is there unless it is hidden."""
    return [m for m in cls.messages if m.life.state != "removed"
            and (m.mask != 0 or "hidden" not in m.flags) and "pool_internal" not in m.flags]


def emit_apis(model, unbuilt) -> str:
    out, classes, async_names = [], [], []
    without_session = []
    for cls in model.classes:
        own = offered(cls)
        if not own:
            continue
        rows = "".join(emit_message(model, cls, m, unbuilt) for m in own)
        out.append(f"{comment('', cls.doc)}export interface {camel(cls.name)}Api {{\n{rows}}}\n\n")
        classes.append(f"  {key(cls.name)}: {camel(cls.name)}Api\n")
        names = " | ".join(f'"{m.name}"' for m in own if "async" in m.flags)
        async_names.append(f"  {key(cls.name)}: {names or 'never'}\n")
        without_session += [f"{cls.name}.{m.name}" for m in own if "no_session" in m.flags]
    listed = "".join(f'  "{name}",\n' for name in without_session)
    return ("".join(out)
            + comment("", "Every message of the API, by class.")
            + f"export interface Api {{\n{''.join(classes)}}}\n\n"
            + comment("", "The messages that can be called as tasks, by class.")
            + f"export interface AsyncMessages {{\n{''.join(async_names)}}}\n\n"
            + comment("", "Messages whose parameters do not begin with a session.")
            + f"export const withoutSession: ReadonlySet<string> = new Set([\n{listed}])\n\n")


def emit_errors(model) -> str:
    rows = []
    for code, names in model.errors.items():
        rows.append(comment("  ", model.error_docs.get(code, ""))
                    + f"  {code}: {error_params(names)}\n")
    rows.append(comment("  ", "Of storage drivers; the code ends in the number of the failure.")
                + "  [driver: `SR_BACKEND_FAILURE_${number}`]: "
                "[status: string, message: string, output: string]\n")
    return (comment("", "Error codes with their parameters, as far as they are known.")
            + f"export interface ErrorParams {{\n{''.join(rows)}}}\n\n"
            + "export type ErrorCode = keyof ErrorParams\n")


def error_params(names) -> str:
    if names is None:
        return "string[]"
    parts = []
    for index, name in enumerate(names):
        label = re.sub(r"\W+", "_", name.rstrip(".?")).strip("_")
        label = parameter(label) if re.match("[A-Za-z]", label) else f"p{index}"
        if name.endswith("..."):
            parts.append(f"...{label}: string[]")
        else:
            parts.append(f"{label}{'?' if name.endswith('?') else ''}: string")
    return f"[{', '.join(parts)}]"


def emit(model, unbuilt) -> str:
    names = [camel(c.name) for c in model.classes] + [camel(e) for e in model.enums]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise ClientError(f"names that would clash in TypeScript: {sorted(twice)}")
    records = "".join(f"  {key(c.name)}: {camel(c.name)}Record\n"
                      for c in model.classes if c.fields)
    evented = " | ".join(f'"{c.name}"' for c in model.classes
                         if c.in_database and c.events and c.fields)
    return ("// Generated from the data model (idl/). Do not edit.\n"
            'import type { DateTime, EventBatch, Ref, XenEvent } from "./values.js"\n\n'
            f'export const apiVersion = "{model.api_version}"\n\n'
            + emit_enums(model)
            + "".join(emit_record(c) for c in model.classes if c.fields)
            + comment("", "Every record by its class.")
            + f"export interface Records {{\n{records}}}\n\n"
            + "export type ClassName = keyof Records\n\n"
            + comment("", "Classes whose changes are events.")
            + f"export type EventClass = {evented}\n\n"
            + emit_apis(model, unbuilt) + emit_errors(model))


def outputs():
    """Every file of the package by its path."""
    model = datamodel.load(SOURCE / "idl")
    unbuilt = set((SOURCE / "tests/golden/unbuilt.txt").read_text().split())
    written = [*HERE.glob("*.json"), *HERE.glob("src/*.ts"), *HERE.glob("test/*.ts")]
    out = {str(path.relative_to(HERE)): path.read_text() for path in sorted(written)}
    out["src/xenapi.ts"] = emit(model, unbuilt)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    files = outputs()
    for folder in ("src", "test"):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for stale in {f"{folder}/{path.name}" for path in (out / folder).iterdir()} - set(files):
            (out / stale).unlink()
    for name, content in files.items():
        (out / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
