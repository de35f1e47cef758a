"""The descriptions of the data model, in our own words: [words] at the end of each class file, and
of enums.toml, errors.toml and roles.toml; words.toml for what many classes share. Only the manual
and the clients read them; no C++ depends on them.
"""

import re

LENGTH_MAX = 300
KEYS = {"about", "fields", "messages", "params"}
# What would be markup: code ticks, stars, headings, list marks, links, tags, entities.
MARKUP = re.compile(r"[`*]|^[#>-] |\]\(|<[a-z/]|&[a-z]+;|\s_\w", re.IGNORECASE)


class WordsError(Exception):
    pass


def faults(text: str) -> list[str]:
    """What is wrong with the shape of a description; of a good one, nothing."""
    out = []
    if not text.strip():
        return ["is empty"]
    if text != " ".join(text.split()):
        out.append("has stray blanks")
    if not text.endswith("."):
        out.append("does not end with a full stop")
    if len(text) > LENGTH_MAX:
        out.append(f"is longer than {LENGTH_MAX} characters")
    if MARKUP.search(text):
        out.append("has markup")
    if not (text[0].isupper() or text[0].isdigit() or "_" in text.split()[0]):
        out.append("does not begin with a capital")
    return out


def give(cls, row: dict, common: dict, where: str) -> None:
    """Puts the words of a class file on the class, its fields, messages and parameters. A field
    that many classes have is described once, under its name in `common`; a parameter that fills a
    field of its class is described by that field."""
    unknown = set(row) - KEYS
    if unknown:
        raise WordsError(f"{where}: unknown keys {sorted(unknown)} in [words]")
    cls.doc = row.get("about", "")
    fields = {f.name: f for f in cls.fields}
    messages = {m.name: m for m in cls.messages if m.kind == "custom"}
    for name, text in common.items():
        if name in fields:
            fields[name].doc = text
    for name, text in row.get("fields", {}).items():
        find(fields, name, where).doc = text
    for name, text in row.get("messages", {}).items():
        find(messages, name, where).doc = text
    for name, texts in row.get("params", {}).items():
        params = {p.name: p for p in find(messages, name, where).params}
        for param, text in texts.items():
            find(params, param, f"{where}: {name}").doc = text


def of_param(cls, param) -> str:
    """The words of a parameter: its own, or those of the field of that name and type."""
    same = (f.doc for f in cls.fields if f.name == param.name and f.type_text == param.type_text)
    return param.doc or next(same, "")


def find(known: dict, name: str, where: str):
    if name not in known:
        raise WordsError(f"{where}: words for {name}, which there is not")
    return known[name]


def of_values(model_values: dict, row: dict, where: str) -> dict[str, dict[str, str]]:
    """The words of enumerations: enumeration -> value -> text."""
    for enum, texts in row.items():
        values = find(model_values, enum, where)
        for value in texts:
            if value not in values:
                raise WordsError(f"{where}: words for {enum} {value}, which there is not")
    return row


def is_plain(cls, message, param) -> bool:
    """Whether a parameter's name and type say all: the object itself, a reference named after its
    class, what a setter sets, the pair that goes into a map."""
    if param.name == "self":
        return True
    if message.name.startswith(("set_", "add_", "remove_")):
        return param.name in ("key", "value") or len(message.params) == 2
    kind = param.type_text.removesuffix(" ref")
    return kind != param.type_text and param.name.lower() in (kind.lower(), cls.name.lower())


def needed(model, unbuilt: set[str], raised: set[str] = frozenset()):
    """(name, text) of everything that must be described: every class, every field of the wire, and
    of what is built every message, every parameter that is not plain, and every error that is
    declared, or among the codes that somebody raises."""
    answered = set(raised)
    for cls in model.classes:
        yield cls.name, cls.doc
        for field in cls.fields:
            if not field.internal:
                yield f"{cls.name}.{field.name}", field.doc
        for message in cls.messages:
            name = f"{cls.name}.{message.name}"
            if message.kind != "custom" or message.life.state == "removed" or name in unbuilt:
                continue
            yield f"{name}()", message.doc
            answered.update(message.errors)
            for param in message.params:
                if not is_plain(cls, message, param):
                    yield f"{name}({param.name})", of_param(cls, param)
    for code in sorted(answered):
        yield f"error {code}", model.error_docs.get(code, "")


def every(model):
    """(name, text) of every description there is."""
    for cls in model.classes:
        yield cls.name, cls.doc
        for each in cls.fields:
            yield f"{cls.name}.{each.name}", each.doc
        for message in cls.messages:
            yield f"{cls.name}.{message.name}()", message.doc
            for param in message.params:
                yield f"{cls.name}.{message.name}({param.name})", param.doc
    for enum, texts in model.enum_docs.items():
        for value, text in texts.items():
            yield f"{enum} {value}", text
    for role, text in model.role_docs.items():
        yield f"role {role}", text
    for code, text in model.error_docs.items():
        yield f"error {code}", text
