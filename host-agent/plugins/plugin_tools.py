"""Common to the plug-ins of this folder."""

import shutil
import subprocess

from XenAPIPlugin import Failure

TOOL_SECONDS = 60


def require(tool, plugin):
    """A host that lacks what a plug-in asks has no such plug-in."""
    if not shutil.which(tool):
        raise Failure("XENAPI_MISSING_PLUGIN", [plugin])


def output(*command, good=(0,)):
    """What the command prints; its error is the plug-in's."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=TOOL_SECONDS, check=False)
    if done.returncode not in good:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
