"""The source tree as the style tests see it: tracked and new files, C++ without comments."""

import re
import subprocess
from functools import lru_cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@lru_cache
def files():
    """Paths relative to the root; without git (a tarball), everything but build folders."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(SOURCE), "ls-files", "-co",
         "--exclude-standard", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        found = (path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file())
        names = [str(path) for path in found if path.parts[0] not in ("build", ".git")]
    return sorted(name for name in set(names) if (SOURCE / name).is_file())


def cpp_files():
    return [name for name in files() if name.endswith((".cpp", ".hpp"))]


@lru_cache
def text(name):
    return (SOURCE / name).read_text(errors="replace")


@lru_cache
def code(name):
    """The file without comments and string contents; line numbers are kept."""
    pattern = re.compile(
        r'R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/',
        re.DOTALL)

    def blank(match):
        found = match[0]
        if found.startswith('"') and "\n" not in found:
            return '""'
        return "\n" * found.count("\n")

    includes_kept = re.sub(r'(?m)^(#include )"([^"\n]+)"', r"\1<\2>", text(name))
    return pattern.sub(blank, includes_kept)


def listed(name):
    """The lines of a list beside this file, without comments."""
    lines = (line.split("#")[0].strip() for line in (HERE / name).read_text().splitlines())
    return [line for line in lines if line]
