"""States that tests of this folder save, so that a run which finds one goes on from it: an installed
disk, or a booted host that is there in seconds instead of minutes.

A state is kept in the cache under its name and a digest of what it was made of; another medium or
another machine makes another one, which takes its place. Who removes the folder has them made anew.
"""

import hashlib
import json
import shutil
import subprocess

from paths import cache

FACTS = "facts.json"


class State:
    """`made_of`: texts on which its contents depend."""

    def __init__(self, name, *made_of):
        self.place = cache() / "appliance-test/states"
        self.name = name
        digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:12]
        self.folder = self.place / f"{name}-{digest}"

    def exists(self):
        return (self.folder / FACTS).exists()

    def take(self, folder):
        """Its files come into `folder`; returns what was noted with them."""
        facts = json.loads((self.folder / FACTS).read_text())
        for name in facts["files"]:
            copy(self.folder / name, folder / name)
        return facts

    def keep(self, paths, **facts):
        """Files that nobody writes any more, and words about them, instead of earlier ones."""
        for earlier in self.place.glob(f"{self.name}-????????????"):
            shutil.rmtree(earlier)
        self.folder.mkdir(parents=True)
        for path in paths:
            copy(path, self.folder / path.name)
        text = json.dumps({**facts, "files": [path.name for path in paths]})
        # Last: what has facts is whole.
        (self.folder / FACTS).write_text(text)


def copy(source, target):
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", source, target], check=True)
