#!/usr/bin/env python3
"""Writes what the console takes from the data model into generated/.

    generate.py [--out DIR]

DIR/client is the TypeScript client (../client); DIR/messages.ts tells of each message that the
sources of the console name which roles may call it and whether it is built; DIR/errors.ts holds the
sentences and the parameters of error codes.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "client"))

import generate as client  # noqa: E402  (../client/generate.py)

# api.VM.start(...), async.VM.start(...) and "VM.start".
CALLED = re.compile(r"\b(?:api|async)\s*\.(\w+)\s*\.(\w+)\(|[\"'](\w+)\.(\w+)[\"']")


def called(texts):
    """Names that may be messages, as (class, message)."""
    return {(m[1] or m[3], m[2] or m[4]) for text in texts for m in CALLED.finditer(text)}


def emit_messages(model, names, unbuilt):
    rows = []
    for cls in model.classes:
        for message in client.offered(cls):
            if (cls.name, message.name) in names:
                name = f"{cls.name}.{message.name}"
                built = "false" if name in unbuilt else "true"
                rows.append(f'  "{name}": {{ roles: {message.mask}, built: {built} }},\n')
    chain = ", ".join(f'"{role}"' for role in model.chain)
    return ("// Generated from the data model (idl/). Do not edit.\n\n"
            "/** From most to least powerful; bit n of a mask stands for role n. */\n"
            f"export const roleChain = [{chain}] as const\n\n"
            "export interface MessageFacts {\n"
            "  /** Mask of the roles that may call it. */\n  roles: number\n"
            "  /** Whether this server has it. */\n  built: boolean\n}\n\n"
            "/** Of the messages that the console names. */\n"
            f"export const messages = {{\n{''.join(rows)}}} satisfies Record<string, MessageFacts>\n\n"
            "export type MessageName = keyof typeof messages\n")


def emit_errors(model):
    docs = {code: text for code, text in model.error_docs.items() if text}
    params = {code: [name.rstrip("?.") for name in names]
              for code, names in model.errors.items() if names and code in docs}
    return ("// Generated from the data model (idl/). Do not edit.\n\n"
            "/** What each code means, in English. */\n"
            "export const errorWords: Record<string, string> = "
            f"{json.dumps(docs, indent=1, sort_keys=True)}\n\n"
            "/** Names of the parameters of codes. */\n"
            "export const errorParams: Record<string, readonly string[]> = "
            f"{json.dumps(params, indent=1, sort_keys=True)}\n")


def sources():
    found = [*HERE.glob("src/**/*.ts"), *HERE.glob("src/**/*.vue")]
    return [path.read_text() for path in sorted(found)]


def outputs():
    """Every file beside the client by its path."""
    model = client.datamodel.load(client.SOURCE / "idl")
    unbuilt = set((client.SOURCE / "tests/golden/unbuilt.txt").read_text().split())
    return {"messages.ts": emit_messages(model, called(sources()), unbuilt),
            "errors.ts": emit_errors(model)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "generated")
    out = parser.parse_args().out
    subprocess.run([sys.executable, "-B", str(HERE.parent / "client/generate.py"),
                    "--out", str(out / "client")], check=True)
    for name, content in outputs().items():
        path = out / name
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
