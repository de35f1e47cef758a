#!/usr/bin/env python3
"""Writes the reference manual of the API, static pages without scripts, from idl/ and this folder.

    generate.py --out DIR
"""

import argparse
import pathlib
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
sys.path.insert(0, str(SOURCE / "idl/gen"))

import model as datamodel  # noqa: E402
from class_page import class_page, is_built  # noqa: E402
from parts import Site, link, page, role_text, text  # noqa: E402


def chapters(model):
    """The chapters of chapters.toml; every class is in exactly one."""
    rows = tomllib.loads((HERE / "chapters.toml").read_text())["chapter"]
    listed = [name for row in rows for name in row["classes"]]
    known = [cls.name for cls in model.classes]
    if sorted(listed) != sorted(known):
        wrong = set(listed) ^ set(known) or {n for n in listed if listed.count(n) > 1}
        raise SystemExit(f"chapters.toml: missing, unknown or twice: {sorted(wrong)}")
    return rows


def index_page(site):
    model = site.model
    custom = [(c, m) for c in model.classes for m in c.messages
              if m.kind == "custom" and m.life.state != "removed"]
    built = sum(is_built(site, cls, message) for cls, message in custom)
    out = ["<h1>XenAPI reference</h1>",
           f'<p class="lead">{len(model.classes)} classes, version {text(model.api_version)} of '
           f"the API. Of {len(custom)} messages beyond plain reading and writing of fields, this "
           f"server has {built}.</p>",
           '<p class="jump"><a href="guide.html">First steps</a>'
           '<a href="errors.html">Errors</a><a href="enums.html">Enumerations</a>'
           '<a href="roles.html">Roles</a></p>']
    for chapter in site.chapters:
        out.append(f"<h2>{text(chapter['title'])}</h2><p>{text(chapter['about'])}</p>"
                   '<div class="cards">')
        for name in chapter["classes"]:
            cls = model.by_name(name)
            own = [m for c, m in custom if c is cls]
            have = sum(is_built(site, cls, m) for m in own)
            fields = sum(not f.internal for f in cls.fields)
            out.append(f'<div class="card"><h3>{link(name)}</h3><p>{text(cls.doc)}</p>'
                       f'<p class="figures">{fields} fields'
                       f"{f', {have} of {len(own)} messages' if own else ''}</p></div>")
        out.append("</div>")
    return page(site, "index", "Reference", "".join(out))


def users_of_enums(model):
    """Enumeration -> links to the fields and messages that use it."""
    users = {name: [] for name in model.enums}
    for cls in model.classes:
        for field in cls.fields:
            for enum in () if field.internal else field.type.classes("enum"):
                users[enum].append(link(cls.name, f"{cls.name}.{field.name}", f"f.{field.name}"))
        for message in cls.messages:
            if message.kind != "custom" or message.life.state == "removed":
                continue
            types = [p.type for p in message.params] + ([message.result] if message.result else [])
            for enum in set().union(*(t.classes("enum") for t in types)) if types else ():
                users[enum].append(link(cls.name, f"{cls.name}.{message.name}", message.name))
    return users


def enums_page(site):
    model, users = site.model, users_of_enums(site.model)
    out = ["<h1>Enumerations</h1>",
           '<p class="lead">Values are written as they stand here and read in any case, except '
           f"those of {' and '.join(sorted(model.exact_enums))}.</p>"]
    for name, values in sorted(model.enums.items()):
        words = model.enum_docs.get(name, {})
        rows = "".join(f'<tr><td class="name"><code>{text(value)}</code></td>'
                       f"<td>{text(words.get(value, ''))}</td></tr>" for value in values)
        used = ", ".join(users[name]) or "nothing on the wire"
        out.append(f'<h2 id="{name}">{text(name)}</h2><p class="soft">Used by {used}.</p>'
                   f'<div class="wide"><table><tbody>{rows}</tbody></table></div>')
    return page(site, "enums", "Enumerations", "".join(out))


def errors_page(site):
    declared = {}
    for cls in site.model.classes:
        for message in cls.messages:
            for code in message.errors if message.life.state != "removed" else ():
                declared.setdefault(code, []).append(
                    link(cls.name, f"{cls.name}.{message.name}", message.name))
    codes = list(site.model.errors)
    known = [code for code in codes if code in site.model.error_docs]
    return page(site, "errors", "Errors", (
        '<h1>Errors</h1><p class="lead">Codes with their parameters in order, and the messages '
        "that declare them. HANDLE_INVALID, SESSION_INVALID, RBAC_PERMISSION_DENIED and their like "
        "belong to every call.</p>"
        '<p class="jump"><a href="#answered">Answered or declared</a>'
        '<a href="#others">Others</a></p>'
        '<h2 id="answered">Answered or declared</h2>' + errors_table(site, known, declared)
        + '<h2 id="others">Others</h2><p>Codes of the API that this server has no use for.</p>'
        + errors_table(site, [code for code in codes if code not in known], declared)))


def errors_table(site, codes, declared):
    rows = []
    for code in codes:
        names = site.model.errors[code]
        params = ", ".join(names) if names else "none" if names == [] else "not known"
        said = text(site.model.error_docs.get(code, ""))
        by = f'<div class="soft">{", ".join(declared[code])}</div>' if code in declared else ""
        rows.append(f'<tr id="{code}"><td><code>{code}</code></td>'
                    f'<td{"" if names else " class=soft"}>{text(params)}</td>'
                    f"<td>{said}{by}</td></tr>")
    return ('<table class="errors"><thead><tr><th>code</th><th>parameters</th>'
            "<th>meaning, and who declares it</th></tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>")


def roles_page(site):
    model = site.model
    least = {}
    for cls in model.classes:
        for message in cls.messages:
            if message.kind == "custom" and message.life.state != "removed":
                least.setdefault(role_text(model, message.mask), []).append((cls, message))
    order = [*model.chain, *sorted(set(least) - set(model.chain) - {"local root"}), "local root"]
    out = ["<h1>Roles</h1>",
           '<p class="lead">From most to least: a role may call whatever a role below it may '
           "call. Messages stand under the least role that may call them; reading and writing of "
           "fields is described with the class.</p>"]
    for role in order:
        own = least.get(role, [])
        words = model.role_docs.get(role, "")
        if role == "local root":
            words = "Root on the host's own socket, and the hosts of the pool among themselves."
        links = ", ".join(link(c.name, f"{c.name}.{m.name}", m.name) for c, m in own)
        out.append(f'<h2 id="{text(role)}">{text(role)}</h2><p>{text(words)}</p>'
                   f"<details><summary>{len(own)} messages</summary><p>{links}</p></details>")
    return page(site, "roles", "Roles", "".join(out))


def outputs(unbuilt):
    """Every file of the manual by its name."""
    model = datamodel.load(SOURCE / "idl")
    site = Site(model, chapters(model), unbuilt)
    out = {"style.css": (HERE / "style.css").read_text(),
           "index.html": index_page(site),
           "guide.html": page(site, "guide", "First steps", (HERE / "guide.html").read_text()),
           "enums.html": enums_page(site),
           "errors.html": errors_page(site),
           "roles.html": roles_page(site)}
    for cls in model.classes:
        out[f"{cls.name}.html"] = page(site, cls.name, cls.name, class_page(site, cls))
    return out


def unbuilt_messages():
    return set((SOURCE / "tests/golden/unbuilt.txt").read_text().split())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    files = outputs(unbuilt_messages())
    out.mkdir(parents=True, exist_ok=True)
    for stale in set(path.name for path in out.iterdir()) - set(files):
        (out / stale).unlink()
    for name, content in files.items():
        (out / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
