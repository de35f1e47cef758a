"""The machine's own apt: its Debian mirrors, its proxy, the installing of a missing tool."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlparse

from paths import DevError, say

SUITE = "trixie"
DEBIAN_SUITES = re.compile(
    r"^(bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)"
    r"(-updates|-security|/updates)?$"
)
# What of the machine's apt settings holds for its mirrors elsewhere too.
CARRIED = re.compile(r'^(Acquire::(https?::Proxy|Check-Valid-Until|Check-Date)) "(.+)";$')


def one_line_entries(text):
    """Yields (options, uri, suite, components) of a sources.list."""
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        match = re.match(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>.+)$", line)
        if match:
            uri, suite, *components = match["rest"].split() + [""]
            yield match["options"] or "", uri, suite, components


def deb822_entries(text):
    """Yields (options, uri, suite, components) of a *.sources file."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and name:
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield (
                    f"signed-by={fields.get('signed-by', '')}",
                    uri,
                    suite,
                    fields.get("components", "").split(),
                )


def resolve_mirror_list(uri):
    """mirror+file:///list (cloud images): the first mirror of the list."""
    if not uri.startswith("mirror+file:"):
        return uri
    try:
        lines = Path(urlparse(uri[len("mirror+"):]).path).read_text().split("\n")
    except OSError:
        return ""
    return next((line.split()[0] for line in lines if line.strip()[:4] == "http"), "")


def debian_mirrors(entries):
    """(main, security) mirrors among `entries`; either may be None. Foreign archives are left out."""
    main = security = None
    for options, uri, suite, components in entries:
        uri = resolve_mirror_list(uri)
        signed_by = re.search(r"signed-by=(\S+)", options, re.IGNORECASE)
        foreign_key = signed_by and "debian-archive" not in signed_by[1] and "BEGIN" not in signed_by[1]
        if (
            not DEBIAN_SUITES.match(suite)
            or "main" not in components
            or foreign_key
            or "debian" not in uri
            or not re.match(r"^(https?|file|copy):", uri)
        ):
            continue
        if suite.endswith(("-security", "/updates")):
            security = security or uri
        else:
            main = main or uri
    return main, security


def machine_entries(etc=Path("/etc/apt")):
    entries = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".sources":
            entries += deb822_entries(text)
        elif path.suffix == ".list":
            entries += one_line_entries(text)
    return entries


def sources(components="main"):
    """One-line entries for Debian 13 at the mirrors this machine uses (or DEBIAN_MIRROR)."""
    main, security = debian_mirrors(machine_entries())
    main = os.environ.get("DEBIAN_MIRROR", main)
    security = os.environ.get("DEBIAN_SECURITY_MIRROR", security)
    if not main:
        raise DevError(
            "this machine's apt sources are not Debian's: set DEBIAN_MIRROR to a Debian mirror "
            "(and DEBIAN_SECURITY_MIRROR to one of its security archive)"
        )
    lines = [f"deb {main} {SUITE} {components}", f"deb {main} {SUITE}-updates {components}"]
    if security:
        lines.append(f"deb {security} {SUITE}-security {components}")
    return "\n".join(lines) + "\n"


def carried_options():
    """apt.conf text: proxies and date checks as this machine's apt has them."""
    if not shutil.which("apt-config"):
        return ""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return "".join(line + "\n" for line in dump.stdout.splitlines() if CARRIED.match(line))


def ensure_tools(tools):
    """Installs the packages of the missing programs; `tools` maps program to package."""
    missing = sorted({package for program, package in tools.items() if not shutil.which(program)})
    if missing:
        install(missing)


def install(packages):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise DevError(f"missing: {' '.join(packages)}; install them, or run ./dev as root once")
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], check=True, env=environment, stdout=2)
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, check=True, env=environment, stdout=2)
