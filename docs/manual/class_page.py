"""The page of one class: what it is, its fields, its messages."""

import words
from parts import badge, life_badge, life_text, link, role_text, text, type_text

ACCESS = {"RW": "read and write", "StaticRO": "set when made", "DynamicRO": "read only"}


def is_built(site, cls, message) -> bool:
    """Whether this server has a custom message."""
    return f"{cls.name}.{message.name}" not in site.unbuilt


def class_page(site, cls) -> str:
    custom = [m for m in cls.messages if m.kind == "custom" and m.life.state != "removed"]
    built = [m for m in custom if is_built(site, cls, m)]
    rest = [m for m in custom if not is_built(site, cls, m)]
    implicit = [m for m in cls.messages if m.kind != "custom"]
    fields = [f for f in cls.fields if not f.internal]
    return "".join([
        f"<h1>{text(cls.name)}{life_badge(cls.life)}</h1>",
        f'<p class="lead">{text(cls.doc)}</p>',
        f'<p class="soft">{life_text(cls.life).capitalize()}. {nature(site.model, cls)}</p>',
        jumps(fields, built, rest, implicit),
        field_table(site, cls, fields),
        messages(site, cls, built),
        unbuilt_table(site, cls, rest),
        implicit_table(site, cls, implicit),
    ])


def nature(model, cls) -> str:
    """What can be done with the class as a whole, in a few words."""
    out = []
    if cls.in_database:
        out.append("Changes are reported by events." if cls.events else
                   "Changes are not reported by events.")
        if not cls.persist:
            out.append("Records do not outlive the server's process.")
    elif cls.fields:
        out.append("Records are parts of answers; none is kept.")
    create = next((m for m in cls.messages if m.kind == "create"), None)
    if create:
        out.append(f"Made by create and ended by destroy ({role_text(model, create.mask)}).")
    return " ".join(out)


def jumps(fields, built, rest, implicit) -> str:
    parts = [("fields", f"{len(fields)} fields", fields),
             ("messages", f"{len(built)} messages", built),
             ("unbuilt", f"{len(rest)} not built", rest),
             ("implicit", "Reading and writing", implicit)]
    links = "".join(f'<a href="#{anchor}">{label}</a>' for anchor, label, there in parts if there)
    return f'<p class="jump">{links}</p>' if links else ""


def field_table(site, cls, fields) -> str:
    if not fields:
        return ""
    return ('<h2 id="fields">Fields</h2><table class="fields"><thead><tr><th>field</th>'
            "<th>meaning</th><th>access</th></tr></thead><tbody>"
            + "".join(field_row(site, cls, f) for f in fields) + "</tbody></table>")


def field_row(site, cls, field) -> str:
    access = ACCESS[field.qualifier]
    if field.qualifier == "RW":
        access += f", {role_text(site.model, field.set_mask)}"
    elif any(m.kind == "custom" and m.name == f"set_{field.name}" and m.life.state != "removed"
             for m in cls.messages):
        access = f'{link(cls.name, f"set_{field.name}", f"set_{field.name}")}'
    default = ""
    if field.has_default and field.qualifier != "DynamicRO":
        default = f' <span class="soft">Default {default_text(field)}.</span>'
    return (f'<tr id="f.{text(field.name)}"><td><code>{text(field.name)}</code>'
            f'{life_badge(field.life)}<div class="type">{type_text(field.type_text)}</div></td>'
            f'<td>{text(field.doc)}{default}</td><td class="soft">{access}</td></tr>')


def default_text(field) -> str:
    value = field.default
    if value in ("", [], {}):
        return "empty" if field.type.kind != "ref" else "null"
    if value == "OpaqueRef:NULL":
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return text(", ".join(f"{k} = {v}" for k, v in value.items()))
    if isinstance(value, list):
        return text(", ".join(map(str, value)))
    return text(value)


def messages(site, cls, built) -> str:
    if not built:
        return ""
    return '<h2 id="messages">Messages</h2>' + "".join(
        message_section(site, cls, m) for m in sorted(built, key=lambda m: m.name.lower()))


def call_text(cls, message) -> str:
    session = [] if "no_session" in message.flags else ["session"]
    params = session + [f"{p.name}: {type_text(p.type_text)}" for p in message.params]
    return (f"{text(cls.name)}.{text(message.name)}({', '.join(params)}) → "
            f"{type_text(message.result_text)}")


def badges(message) -> str:
    out = life_badge(message.life)
    for flag, label in (("async", "async"), ("hidden", "hidden"), ("pool_internal", "hosts only"),
                        ("no_session", "no session")):
        if flag in message.flags:
            out += badge(label)
    return out


def message_section(site, cls, message) -> str:
    facts = [(text(p.name), param_text(cls, message, p)) for p in message.params]
    facts = [(name, said) for name, said in facts if said]
    facts.append(("Role", f'<a href="roles.html">{text(role_text(site.model, message.mask))}</a>'
                  + key_roles(site.model, message)))
    if message.errors:
        facts.append(("Errors", error_links(message)))
    if message.where != "coordinator":
        facts.append(("Where", "Any host answers." if message.where == "any" else
                      "Any host answers, even one that is cut off from its coordinator."))
    facts.append(("History", text(life_text(message.life).capitalize()) + "."))
    rows = "".join(f"<dt>{name}</dt><dd>{said}</dd>" for name, said in facts)
    return (f'<section class="message" id="{text(message.name)}">'
            f"<h3><code>{text(message.name)}</code>{badges(message)}</h3>"
            f"<p>{text(message.doc)}</p>"
            f'<div class="call"><code>{call_text(cls, message)}</code></div>'
            f"<dl>{rows}</dl></section>")


def error_links(message) -> str:
    return ", ".join(f'<a href="errors.html#{code}"><code>{code}</code></a>'
                     for code in message.errors)


def param_text(cls, message, param) -> str:
    said = text(words.of_param(cls, param)) if not words.is_plain(cls, message, param) else ""
    if param.has_default:
        said += f"{' ' if said else ''}May be left out: {default_text(param)}."
    return said


def key_roles(model, message) -> str:
    if not message.key_roles:
        return ""
    return "; " + ", ".join(f"key <code>{text(key)}</code>: {role_text(model, mask)}"
                            for key, mask in message.key_roles.items())


def unbuilt_table(site, cls, rest) -> str:
    if not rest:
        return ""
    rows = "".join(
        f'<tr id="{text(m.name)}"><td><code>{call_text(cls, m)}</code>{badges(m)}</td>'
        f'<td class="soft">{text(role_text(site.model, m.mask))}</td>'
        f'<td class="soft">{text(life_text(m.life))}</td></tr>'
        for m in sorted(rest, key=lambda m: m.name.lower()))
    return ('<h2 id="unbuilt">Not built</h2><p>This server knows these messages, checks session, '
            'role and parameters, and answers <a href="errors.html#NOT_IMPLEMENTED">'
            "<code>NOT_IMPLEMENTED</code></a>.</p>"
            '<div class="wide"><table><thead><tr><th>message</th><th>role</th><th>history</th></tr>'
            f"</thead><tbody>{rows}</tbody></table></div>")


def implicit_table(site, cls, implicit) -> str:
    """What follows from the fields, by kind, instead of a line for each of hundreds."""
    if not implicit:
        return ""
    by_kind = {}
    for message in implicit:
        by_kind.setdefault(message.kind, []).append(message)
    rows = []
    for kind, (pattern, said) in IMPLICIT.items():
        own = by_kind.get(kind)
        if not own:
            continue
        roles = sorted({role_text(site.model, m.mask) for m in own})
        names = pattern if len(own) > 1 or "FIELD" in pattern else own[0].name
        rows.append(f'<tr><td class="name"><code>{text(names)}</code></td><td>{text(said)}'
                    f"{which(kind, own)}</td><td class=\"soft\">{text(', '.join(roles))}</td></tr>")
    # Those that answer more than any call does have a row of their own.
    for message in (m for own in by_kind.values() for m in own if m.errors):
        rows.append(f'<tr id="{text(message.name)}"><td class="name"><code>{text(message.name)}'
                    f"</code></td><td>Errors: {error_links(message)}.</td><td class=\"soft\">"
                    f"{role_text(site.model, message.mask)}</td></tr>")
    return ('<h2 id="implicit">Reading and writing</h2><div class="wide"><table><thead><tr>'
            "<th>message</th><th>what it does</th><th>role</th></tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>")


IMPLICIT = {
    "get_all": ("get_all", "References of all objects."),
    "get_all_records": ("get_all_records", "All records by reference."),
    "get_all_where": ("get_all_where", "References of the objects for which an expression holds."),
    "get_all_records_where": ("get_all_records_where", "Records for which an expression holds."),
    "get_record": ("get_record", "The whole record of one object."),
    "get_by_uuid": ("get_by_uuid", "The object with a uuid; UUID_INVALID if there is none."),
    "get_by_name_label": ("get_by_name_label", "The objects with a name, maybe none or several."),
    "create": ("create", "Makes an object from a record and answers with its reference."),
    "destroy": ("destroy", "Ends the object."),
    "get": ("get_FIELD", "One field."),
    "set": ("set_FIELD", "Sets one field:"),
    "add": ("add_to_FIELD, add_FIELD", "Adds a key to a map, or an element to a set:"),
    "remove": ("remove_from_FIELD, remove_FIELD",
               "Removes a key or an element, if it is there:"),
}


def which(kind, own) -> str:
    if kind not in ("set", "add", "remove"):
        return ""
    return " " + ", ".join(f"<code>{text(m.field.name)}</code>" for m in own) + "."
