"""What every page of the manual is made of: the frame, links, types, badges."""

import html
import re
from dataclasses import dataclass


@dataclass
class Site:
    model: object
    chapters: list
    unbuilt: set


def text(value) -> str:
    return html.escape(str(value))


def link(cls, label=None, anchor="") -> str:
    target = f"{cls}.html#{anchor}" if anchor else f"{cls}.html"
    return f'<a href="{text(target)}">{text(label or cls)}</a>'


def badge(label, warn=False) -> str:
    return f'<span class="badge{" warn" if warn else ""}">{text(label)}</span>'


def type_text(type_: str | None) -> str:
    """A type of the wire with links to its classes and enumerations."""
    if not type_:
        return "nothing"
    escaped = text(type_)
    escaped = re.sub(r"enum (\w+)", r'<a href="enums.html#\1">\1</a>', escaped)
    escaped = re.sub(r"(?<![\w;])(\w+) (ref|record)\b", r'<a href="\1.html">\1</a> \2', escaped)
    return escaped.replace("-&gt;", "→")


def role_text(model, mask: int) -> str:
    """The least role of a mask, or the list of roles when they are no prefix of the chain."""
    if mask == 0:
        return "local root"
    names = [role for i, role in enumerate(model.chain) if mask >> i & 1]
    is_prefix = mask == (2 << model.chain.index(names[-1])) - 1
    return names[-1] if is_prefix else ", ".join(names)


def life_text(life) -> str:
    """The history of releases: since when, and what became of it."""
    words = []
    for change, release in life.events:
        words.append(f"since {release}" if change == "published" else f"{change} in {release}")
    return ", ".join(words)


def life_badge(life) -> str:
    return "" if life.state == "published" else badge(life.state, warn=life.state != "prototyped")


def navigation(site, current: str) -> str:
    def entry(name, label):
        mark = ' aria-current="page"' if name == current else ""
        return f'<li><a href="{text(name)}.html"{mark}>{text(label)}</a></li>'

    out = ['<a class="home" href="index.html">XenAPI reference</a><ul>']
    out += [entry(*each) for each in (("guide", "First steps"), ("errors", "Errors"),
                                      ("enums", "Enumerations"), ("roles", "Roles"))]
    out.append("</ul>")
    for chapter in site.chapters:
        entries = "".join(entry(name, name) for name in chapter["classes"])
        out.append(f"<h2>{text(chapter['title'])}</h2><ul>{entries}</ul>")
    return "".join(out)


def page(site, name: str, title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)} · XenAPI reference</title>"
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="style.css"></head>'
        f'<body><div class="frame"><nav aria-label="Pages">{navigation(site, name)}</nav>'
        f"<main>{body}</main></div></body></html>\n"
    )
