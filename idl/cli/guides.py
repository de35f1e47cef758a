#!/usr/bin/env python3
"""Writes what helps at the keyboard, from the tables of xe: guides.py OUTDIR makes xe.bash (for
bash's completion) and xe.1 (the manual page)."""

import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent
SELECTORS = {"vm_selectors": "vm", "host_selectors": "host", "sr_selectors": "sr"}
COLLECTIONS = ("SRO", "SRW", "MRO", "MRW")


def load(name: str) -> dict:
    return tomllib.loads((ROOT / name).read_text())


def object_commands(records: list[dict]) -> dict[str, list[str]]:
    """The commands that follow from objects, with their parameters; tables.cpp has the same rules."""
    fields_of = {record["cli"]: record.get("fields") for record in records}
    out = {}
    for record in records:
        name = record["cli"]
        fields = record.get("fields") or fields_of[record["same_fields_as"]]
        shown = [field for field in fields if "hidden" not in field[3:]]

        def having(*abilities: str, among: list = fields) -> list[str]:
            return [field[0] for field in among if set(abilities) & set(field[3:])]

        out[f"{name}-list"] = ["params=", *(f"{field[0]}=" for field in shown)]
        out[f"{name}-param-list"] = ["uuid="]
        out[f"{name}-param-get"] = ["uuid=", "param-name=", "param-key="]
        if settable := having("set", "add", "set_in_map", "set_map"):
            maps = {field[0] for field in fields if field[1] in ("MRO", "MRW")}
            out[f"{name}-param-set"] = ["uuid=", *(f"{field}:" if field in maps else f"{field}="
                                                   for field in settable)]
        if having("add"):
            out[f"{name}-param-add"] = ["uuid=", "param-name=", "param-key="]
        if having("remove"):
            out[f"{name}-param-remove"] = ["uuid=", "param-name=", "param-key="]
        if having("set") or any(field[1] in COLLECTIONS for field in fields):
            out[f"{name}-param-clear"] = ["uuid=", "param-name="]
    return out


def parameter(word: str) -> str:
    return word if word.endswith(":") else word + "="


def all_commands() -> dict[str, list[str]]:
    """Every command that is not hidden, with the words that may follow it."""
    out = {}
    for name, facts in load("commands.toml")["commands"].items():
        flags = facts.get("flags", [])
        if "hidden" in flags or "deprecated" in flags:
            continue
        words = [*facts.get("reqd", []), *facts.get("optn", [])]
        chosen = [SELECTORS[flag] for flag in flags if flag in SELECTORS]
        words += [word for word in chosen if word not in words]
        if chosen and "uuid" not in words:
            words.append("uuid")
        out[name] = [parameter(word) for word in words] + (["--multiple"] if chosen else [])
    return dict(sorted((out | object_commands(load("records.toml")["record"])).items()))


COMPLETION = """\
# Completion of xe for bash: commands, their parameters, and values that the server knows.
# Generated from the tables of xe.

declare -gA _xe_words=(
@WORDS@)

_xe_objects=' @OBJECTS@ '

# The object whose uuids a parameter takes: `vm-uuid` in any command, `uuid` in `vm-start`.
_xe_object() {
    local name=$1 command=$2
    name=${name%-uuid}
    name=${name%-uuids}
    if [[ $name == uuid || $name == uuids ]]; then
        name=$command
        while [[ $name == *-* && $_xe_objects != *" $name "* ]]; do name=${name%-*}; done
    fi
    [[ $_xe_objects == *" $name "* ]] && printf '%s' "$name"
}

_xe_values() {
    local name=$1 command=$2 object
    case $name in
        uuid | *-uuid | *-uuids)
            object=$(_xe_object "$name" "$command") || return
            "$_xe_program" "$object-list" --minimal 2>/dev/null </dev/null | tr ',' '\\n' ;;
        vm | host | sr)
            "$_xe_program" "$name-list" params=name-label --minimal 2>/dev/null </dev/null |
                tr ',' '\\n' ;;
        params) printf 'all\\n' ;;
        force | live | multiple | *enabled) printf 'true\\nfalse\\n' ;;
    esac
}

_xe() {
    local _xe_program=$1 line=${COMP_LINE:0:COMP_POINT} word command
    word=${line##* }
    local -a words
    read -ra words <<<"$line"
    command=${words[1]-}
    compopt -o nospace 2>/dev/null
    if [[ $line =~ ^[^\\ ]+\\ +[^\\ ]*$ ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${!_xe_words[*]} help" -- "$word")
        COMPREPLY=("${COMPREPLY[@]/%/ }")
    elif [[ $command == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${!_xe_words[*]}" -- "$word")
    elif [[ $word == file*=* || $word == *-file=* || $word == certificate=* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "${word#*=}")
    elif [[ $word == *=* ]]; then
        # Bash puts what it gets behind the last `=`.
        local IFS=$'\\n'
        mapfile -t COMPREPLY < <(
            compgen -W "$(_xe_values "${word%%=*}" "$command")" -- "${word#*=}")
        COMPREPLY=("${COMPREPLY[@]// /\\\\ }")
    else
        mapfile -t COMPREPLY < <(compgen -W "${_xe_words[$command]-}" -- "$word")
    fi
}

complete -F _xe xe
"""

PAGE = """\
.TH XE 1
.SH NAME
xe \\- asks a host or a pool by its XenAPI
.SH SYNOPSIS
.B xe
.I command
[\\fB\\-s\\fR \\fIserver\\fR] [\\fB\\-p\\fR \\fIport\\fR] [\\fB\\-u\\fR \\fIuser\\fR]
[\\fB\\-pw\\fR \\fIpassword\\fR] [\\fB\\-pwf\\fR \\fIfile\\fR]
[\\fIparameter\\fB=\\fIvalue\\fR ...] [\\fB\\-\\-minimal\\fR] [\\fB\\-\\-multiple\\fR]
.br
.B xe help
[\\fIcommand\\fR ... | \\fB\\-\\-all\\fR]
.SH DESCRIPTION
Sends the command to the server, which carries it out and tells xe what to print, to read and to
transfer. Without a server it is the host that xe runs on; root needs no password there.
.PP
A map's key is set by \\fIparameter\\fB:\\fIkey\\fB=\\fIvalue\\fR. Lists take any field as a filter,
\\fIset\\fB:contains=\\fIvalue\\fR and \\fImap\\fB:\\fIkey\\fB=\\fIvalue\\fR included, and show the fields
that \\fBparams=\\fR names; \\fBparams=all\\fR shows every one. Sizes may end in KiB, MiB, GiB or TiB.
.PP
Commands with the parameters \\fBvm=\\fR, \\fBhost=\\fR or \\fBsr=\\fR work on what these name by uuid
or name, or on what any field selects; on more than one object only with \\fB\\-\\-multiple\\fR.
.SH OPTIONS
.TP
.BR \\-s " server, " \\-h " server"
Address of the server. By TLS, unless \\fB\\-\\-nossl\\fR is given.
.TP
.BR \\-p " port"
Its port, when it is not the usual one.
.TP
.BR \\-u " user, " \\-pw " password"
Who asks. Anybody on the machine sees a password on the command line.
.TP
.BR \\-pwf " file"
A file with the user in its first line and the password in its second.
.TP
.B \\-\\-minimal
One line for scripts: values joined by commas, with a backslash before a comma that belongs to one.
.TP
.BR \\-\\-debug ", " \\-\\-trace
Tells more of what goes on, or went wrong.
.TP
.B \\-version
Prints the version of the protocol.
.SH COMMANDS
@COMMANDS@.SH EXIT STATUS
0, or 1 when anything failed.
.SH ENVIRONMENT
.TP
.B XE_EXTRA_ARGS
Arguments that are added to every command, joined by commas.
.SH FILES
.TP
.I ~/.xe
A line \\fIname\\fB=\\fIvalue\\fR each: server, port, username, password, passwordfile, nossl.
"""


def completion(commands: dict[str, list[str]], objects: list[str]) -> str:
    words = "".join(f"    [{name}]='{' '.join(words)}'\n" for name, words in commands.items())
    return COMPLETION.replace("@WORDS@", words).replace("@OBJECTS@", " ".join(objects))


def page(commands: dict[str, list[str]]) -> str:
    def escaped(text: str) -> str:
        return text.replace("-", "\\-")

    own = load("commands.toml")["commands"]
    out = ""
    for name, words in commands.items():
        needed = {parameter(word) for word in own.get(name, {}).get("reqd", [])}
        if name not in own:
            continue
        shown = " ".join(escaped(word) if word in needed else f"[{escaped(word)}]"
                         for word in words)
        out += f".TP\n.B {escaped(name)}\n{shown or 'No parameters.'}\n"
    return PAGE.replace("@COMMANDS@", out)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    commands = all_commands()
    objects = sorted(record["cli"] for record in load("records.toml")["record"])
    (folder / "xe.bash").write_text(completion(commands, objects))
    (folder / "xe.1").write_text(page(commands))


if __name__ == "__main__":
    main()
