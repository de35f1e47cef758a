"""Installs a host from the medium that this system was booted from. Runs on the console.

Who asks: the kernel's `answerfile=URL` (http, https, file), or a file on a file system with the
label BASALT-ANSWERS (answers.toml, answerfile.xml), or a person.
"""

import getpass
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import ask
import execute
import machine
import plan
import upgrade
from answers import THEN, UPGRADE, Refused, checked_network, parse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import prepare

LOG = "/var/log/basalt-install.log"
ANSWERS_LABEL = "BASALT-ANSWERS"
ANSWERS_NAMES = ("answers.toml", "answerfile.xml")
ANSWERS_BYTES_MAX = 1 << 20
ANSWERS_PLACE = "/run/basalt-answers"
FETCH_SECONDS = 60


def say(text):
    print(text, flush=True)


def hash_password(plain):
    return subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=plain, text=True,
                          capture_output=True, check=True).stdout.strip()


def kernel_words(text):
    """NAME=VALUE words of the kernel's command line; a word alone is true."""
    return dict(word.split("=", 1) if "=" in word else (word, "true") for word in text.split())


def labelled_answers():
    """The bytes of an answer file on a disk, a stick or a CD beside the medium; None: there is none."""
    device = Path(f"/dev/disk/by-label/{ANSWERS_LABEL}")
    if not device.exists():
        return None
    Path(ANSWERS_PLACE).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "ro", device, ANSWERS_PLACE], check=True)
    try:
        for name in ANSWERS_NAMES:
            path = Path(ANSWERS_PLACE) / name
            if path.is_file():
                return path.read_bytes()[:ANSWERS_BYTES_MAX]
    finally:
        subprocess.run(["umount", ANSWERS_PLACE], check=True)
    raise Refused(f"The file system {ANSWERS_LABEL} has none of {', '.join(ANSWERS_NAMES)}.")


def network_for_answers(words, nics):
    """How answers are fetched, as `prepare.choose_address` takes it: by the kernel's parameters of
    existing installers, `network_device=NAME|MAC|all` and `network_config=dhcp` or
    `static:ip=ADDRESS;netmask=MASK;gateway=ADDRESS;dns=ADDRESS,...`."""
    device = words.get("network_device", "all")
    kind, _, rest = words.get("network_config", "dhcp").partition(":")
    values = dict(pair.partition("=")[::2] for pair in rest.split(";") if pair)
    known = {"dhcp": set(), "static": {"ip", "netmask", "gateway", "dns"}}
    if kind not in known or set(values) - known[kind]:
        raise Refused("Answers are fetched with network_config=dhcp or static:ip=...;netmask=..., "
                      f"not with {words['network_config']}.")
    network = checked_network(
        device, f"{values.get('ip', '')}/{values.get('netmask', '')}" if values else kind,
        values.get("gateway", ""), values.get("dns", "").replace(",", " ").split())
    return {"mac": "" if device == "all" else plan.choose_nic(device, nics),
            "address": network.address, "gateway": network.gateway, "dns": network.dns}


def fetch(url, words, nics):
    if url.startswith(("http://", "https://")):
        wanted = network_for_answers(words, nics)
        prepare.apply_address(Path("/"), prepare.choose_address(Path("/"), wanted=wanted))
    elif not url.startswith("file:///"):
        raise Refused(f"Answers are fetched by http, https or file, not from {url}.")
    try:
        with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as answer:
            return answer.read(ANSWERS_BYTES_MAX)
    except (urllib.error.URLError, OSError) as error:
        raise Refused(f"The answer file cannot be had from {url}: {error}") from error


def answers_of(words, facts):
    if "answerfile" in words:
        return parse(fetch(words["answerfile"], words, facts.nics), hash_password)
    data = labelled_answers()
    if data is not None:
        return parse(data, hash_password)
    return ask.ask(input, getpass.getpass, say, facts, hash_password)


def install(words):
    """What follows: reboot, poweroff or shell."""
    facts = machine.read_machine()
    answers = answers_of(words, facts)
    made = (upgrade if answers.mode == UPGRADE else plan).plan(answers, facts)
    if answers.confirm and not ask.confirmed(input, say, made):
        raise Refused("Nothing was written.")
    started = time.monotonic()
    execute.execute(made, LOG, say)
    done = "upgraded" if answers.mode == UPGRADE else "installed"
    say(f"The host is {done}, after {time.monotonic() - started:.0f} s.")
    return made.then


def main():
    words = kernel_words(Path("/proc/cmdline").read_text())
    try:
        then = install(words)
    except (Refused, execute.Failed, EOFError) as error:
        say(f"The host is not installed. {error or 'Nobody answers.'}\nThe log is {LOG}.")
        return 1
    # The parameter of existing installers wins over the file.
    then = words.get("atexit", then)
    if then in THEN and then != "shell":
        say("The machine is about to " + ("restart." if then == "reboot" else "be switched off."))
        subprocess.run(["systemctl", "--no-block", then], check=True)
        time.sleep(600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
