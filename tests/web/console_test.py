"""The web console: its logic by Vitest, and the built pages in Chromium: with large simulated pools,
and against a running host.

`node web-ui/app/e2e/lists.mjs` measures what lists cost, `node web-ui/app/e2e/console.mjs` is the
visit; both print a line for each step. Pictures of every page go to BASALT_WEB_PICTURES, or to a
folder that is removed.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path += [str(SOURCE / "tests/api"), str(SOURCE / "tools/dev")]

import apt  # noqa: E402
import lab  # noqa: E402
import web  # noqa: E402

APP = SOURCE / "web-ui/app"
VISIT_SECONDS = 900
LISTS_SECONDS = 300


def installed_browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@functools.cache
def chromium():
    if found := installed_browser():
        return found
    try:
        apt.install(["chromium", "fonts-dejavu-core"])
    except (web.DevError, subprocess.CalledProcessError) as error:
        raise unittest.SkipTest(f"no Chromium: {str(error)[-200:]}") from None
    return installed_browser()


@functools.cache
def packages():
    if reason := web.missing():
        raise unittest.SkipTest(reason)
    try:
        web.ensure_packages()
    except web.DevError as error:
        raise unittest.SkipTest(f"no packages: {str(error)[-200:]}") from None


def user_of(host):
    """A user of the host's machine who has a password there, as `NAME:PASSWORD`."""
    name, password = "games", "e2e-games"  # every Debian has it
    made = host.inside("openssl", "passwd", "-6", password, capture_output=True)
    if made.returncode != 0:
        raise AssertionError(made.stderr)
    (host.state / f"host1/pam.d/passwd.{name}").write_text(made.stdout)
    return f"{name}:{password}"


def ports_of(host):
    """Two interfaces of the host's machine that nobody uses, with a link each."""
    names = ("eth1", "eth2")
    for name in names:
        if host.inside("ip", "link", "show", name, capture_output=True).returncode == 0:
            continue  # left by an earlier visit of the same host
        for command in (["add", name, "type", "veth", "peer", "name", f"{name}-peer"],
                        ["set", name, "up"], ["set", f"{name}-peer", "up"]):
            made = host.inside("ip", "link", *command, capture_output=True)
            if made.returncode != 0:
                raise AssertionError(made.stderr)
    return ",".join(names)


class Console(unittest.TestCase):
    def setUp(self):
        packages()

    def test_logic(self):
        done = subprocess.run(["npm", "--silent", "test"], cwd=APP, capture_output=True, text=True,
                              check=False, timeout=300)
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        self.assertEqual(done.returncode, 0, said[-4000:] + done.stderr[-1000:])
        self.assertRegex(said, r"Tests +\d+ passed")

    def steps(self, program, arguments, environment, least, seconds):
        """Runs a program of e2e/; every step of it must be well, and so many there."""
        done = subprocess.run(
            ["nice", "-n", "5", "node", f"e2e/{program}", *map(str, arguments)], cwd=APP,
            env={**os.environ, **environment}, capture_output=True, text=True, check=False,
            timeout=seconds)
        for line in done.stdout.splitlines():
            if line.startswith("figure "):
                lab.say(line.removeprefix("figure "))
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        self.assertEqual(failed, [], done.stderr[-2000:])
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
        self.assertGreaterEqual(len(re.findall(r"^ok ", done.stdout, re.MULTILINE)), least)

    def test_long_lists(self):
        browser = chromium()
        built = web.ensure(os.environ.get("BASALT_PRESET", "release"))
        self.steps("lists.mjs", [built, 1000, 5000], {"CHROMIUM": browser}, 14, LISTS_SECONDS)

    def test_a_visit(self):
        browser = chromium()
        host = lab.host()
        kept = os.environ.get("BASALT_WEB_PICTURES")
        pictures = kept or tempfile.mkdtemp(prefix="basalt-web-")
        if not kept:
            self.addCleanup(shutil.rmtree, pictures, ignore_errors=True)
        # The host made its certificate itself, a moment ago.
        environment = {"NODE_TLS_REJECT_UNAUTHORIZED": "0", "CHROMIUM": browser,
                       "READER": user_of(host), "PORTS": ports_of(host)}
        self.steps("console.mjs", [host.url, lab.PASSWORD, lab.TEMPLATE, pictures], environment, 49,
                   VISIT_SECONDS)


if __name__ == "__main__":
    unittest.main()
