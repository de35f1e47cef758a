"""The web console: built with the machine's Node.js, served by xapi at `/`.

Node.js and npm are the machine's own. Where they are missing a host runs without the console, and
its tests are skipped with that reason.
"""

import hashlib
import json
import os
import shutil
import subprocess

from paths import SOURCE, DevError, alone, say

APP = SOURCE / "web-ui/app"
NODE_MIN = (20, 19)


def missing():
    """Why the console cannot be built here; empty when it can."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            return f"this machine has no {program}"
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    if version < NODE_MIN:
        return f"Node.js {said.strip()} is older than {'.'.join(map(str, NODE_MIN))}"
    return ""


def npm(*arguments, out=None):
    environment = dict(os.environ)
    if out:
        environment["WEB_OUT"] = str(out)
    done = subprocess.run(["nice", "-n", "5", "npm", "--silent", *arguments], cwd=APP, text=True,
                          env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        raise DevError(f"npm {' '.join(arguments)} failed in {APP}:\n"
                       f"{(done.stdout + done.stderr)[-3000:]}")


def fingerprint(paths):
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def ensure_packages():
    """node_modules as package-lock.json says."""
    stamp = APP / "node_modules/.basalt-lock"
    wanted = fingerprint([APP / "package-lock.json"])
    with alone(SOURCE / "build/web-packages.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            say("installing the web console's packages")
            npm("ci")
            stamp.write_text(wanted)


def inputs():
    listed = [path for folder in (APP / "src", APP / "public", SOURCE / "web-ui/client/src",
                                  SOURCE / "idl/classes", SOURCE / "idl/gen")
              for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    single = [*APP.glob("*.ts"), *APP.glob("*.json"), *APP.glob("*.py"), APP / "index.html",
              *(SOURCE / "idl").glob("*.toml"), SOURCE / "web-ui/client/generate.py",
              SOURCE / "tests/golden/unbuilt.txt"]
    return listed + single


def ensure(preset):
    """The folder of the built console, made anew when what it is made of has changed; None where it
    cannot be built."""
    if reason := missing():
        say(f"no web console: {reason}")
        return None
    try:
        ensure_packages()
    except DevError as error:
        say(f"no web console: {error}")
        return None
    share = SOURCE / "build" / preset / "share"
    out, stamp = share / "web", share / "web.json"
    wanted = {"inputs": fingerprint(inputs())}
    with alone(SOURCE / "build/web.lock"):
        if not stamp.exists() or json.loads(stamp.read_text()) != wanted or not out.is_dir():
            say("building the web console")
            share.mkdir(parents=True, exist_ok=True)
            stamp.unlink(missing_ok=True)
            npm("run", "build", out=out)
            stamp.write_text(json.dumps(wanted))
    return out
