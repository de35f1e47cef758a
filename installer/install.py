"""Installs a host from the medium that this system was booted from. Runs on the console.

Who asks: the kernel's `answerfile=URL` or `answerfile_generator=URL`, or a file on a file system
with the label BASALT-ANSWERS (answers.toml, answerfile.xml), or a person.
"""

import getpass
import os
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import ask
import execute
import machine
import plan
import upgrade
from answer_files import parse
from answers import DHCP, NO_ADDRESS, THEN, UPGRADE, Refused, checked_network, checked_vlan
from fetch import BYTES_MAX, fetch, needs_network

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dhcp6
import prepare

LOG = plan.LOG
ANSWERS_LABEL = "BASALT-ANSWERS"
ANSWERS_NAMES = ("answers.toml", "answerfile.xml")
ANSWERS_PLACE = "/run/basalt-answers"
GENERATOR_SECONDS = 300


def say(text):
    """A terminal breaks what is too long for it in the middle of a word."""
    columns = shutil.get_terminal_size().columns - 1
    for line in text.split("\n"):
        indent = line[:len(line) - len(line.lstrip())]
        print(textwrap.fill(line, columns, subsequent_indent=indent, break_long_words=False,
                            break_on_hyphens=False), flush=True)


def hash_password(plain):
    return subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=plain, text=True,
                          capture_output=True, check=True).stdout.strip()


def load_keymap(name):
    """Of the screen at which a person sits; a serial line has a keyboard of its own."""
    if subprocess.run(["loadkeys", name], check=False, stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL).returncode:
        say("The keyboard stays as it is: this console has none of its own.")


# -- the kernel's command line --------------------------------------------------------------------------


def kernel_words(text):
    """NAME=VALUE words of the kernel's command line; a word alone is true."""
    return dict(word.split("=", 1) if "=" in word else (word, "true") for word in text.split())


def first_of(words, *names):
    """The value of the first that is there; None: there is none."""
    return next((words[name] for name in names if name in words), None)


# Of existing installers, and why nothing comes of them here.
IDLE_WORDS = {"extrarepo": "nothing is fetched from repositories",
              "bash-shell": "the medium's menu has a rescue shell",
              "device_mapper_multipath": "disks are taken by one path"}


def tell_of_idle_words(words):
    for word, why in IDLE_WORDS.items():
        if word in words:
            say(f"Note: {word} on the kernel's command line has no effect: {why}.")


def open_ssh(words, net):
    """`sshpassword=PASSWORD`: who watches from afar logs in as root."""
    if "sshpassword" not in words:
        return
    subprocess.run(["chpasswd"], input=f"root:{words['sshpassword']}\n", text=True, check=True)
    net.up()
    prepare.make_ssh_key(Path("/"))
    subprocess.run(["systemctl", "start", "ssh.service"], check=True)


def network_for_answers(words, cards):
    """How answers are fetched, by the kernel's parameters of existing installers:
    `network_device=NAME|MAC|all` and `network_config=dhcp[:vlan=N]` or
    `static:ip=ADDRESS;netmask=MASK;gateway=ADDRESS;dns=ADDRESS,...;vlan=N`; and, of our own,
    `dhcp6[:vlan=N]`, which is DHCPv6 alone. As `prepare.choose_address` takes it, with the tag as
    `vlan` and `ipv6`; `cards`: name -> MAC."""
    device = first_of(words, "network_device", "answerfile_device") or "all"
    kind, _, rest = words.get("network_config", "dhcp").partition(":")
    values = dict(pair.partition("=")[::2] for pair in rest.split(";") if pair)
    known = {"dhcp": {"vlan"}, "static": {"ip", "netmask", "gateway", "dns", "vlan"},
             "dhcp6": {"vlan"}}
    if kind not in known or set(values) - known[kind]:
        raise Refused("Answers are fetched with network_config=dhcp, dhcp6 or "
                      f"static:ip=...;netmask=..., not with {words['network_config']}.")
    vlan = checked_vlan(values.pop("vlan", ""))
    address = {"static": f"{values.get('ip', '')}/{values.get('netmask', '')}",
               "dhcp": "dhcp", "dhcp6": NO_ADDRESS}[kind]
    network = checked_network(
        device, address, values.get("gateway", ""), values.get("dns", "").replace(",", " ").split(),
        ipv6=DHCP if kind == "dhcp6" else "")
    return {"mac": "" if device == "all" else plan.choose_nic(device, cards), "vlan": vlan,
            "address": network.address, "gateway": network.gateway, "dns": network.dns,
            "ipv6": network.ipv6}


def card_names(text):
    """What `map_netdev=` words of the kernel's command line call the network devices, as
    Network.names has it: `map_netdev=[eth]NUMBER[:d|s]:MAC|PCI|LABEL`."""
    names = []
    for word in text.split():
        if not word.startswith("map_netdev="):
            continue
        name, _, what = word.removeprefix("map_netdev=").partition(":")
        # Whether a name came from a rule or from a person makes no difference here: both stay.
        if what[:2] in ("d:", "s:"):
            what = what[2:]
        name = f"eth{name}" if name.isdigit() else name
        if not what:
            raise Refused(f"{word} is not written as map_netdev=NUMBER:MAC.")
        names.append((name, what.lower()))
    checked_network("", "dhcp", "", [], names=tuple(names))
    return tuple(names)


# -- where answers come from ----------------------------------------------------------------------------


class Net:
    """The network of the installation itself, brought up once when somebody needs it."""

    def __init__(self, words, cards, called=None):
        """`cards`: name -> MAC as they are; `called`: as they are to be called."""
        self.words, self.cards, self.called = words, cards, called or cards
        self.is_up = False

    def up(self):
        if self.is_up:
            return
        wanted = network_for_answers(self.words, self.called)
        if wanted["ipv6"]:
            self.up_by_dhcpv6(wanted)
        else:
            lease = self.tagged(wanted) if wanted["vlan"] else \
                prepare.choose_address(Path("/"), wanted=wanted)
            prepare.apply_address(Path("/"), lease)
        self.is_up = True

    def devices(self, wanted):
        """Names of those that are meant, up: of cards, or of the kernel's own VLAN devices on them,
        of which there is only the one that is being looked at."""
        for name, mac in sorted(self.cards.items()):
            if wanted["mac"] not in ("", mac):
                continue
            prepare.run(["ip", "link", "set", name, "up"])
            if not wanted["vlan"]:
                yield name
                continue
            tagged = f"{name}.{wanted['vlan']}"
            prepare.run(["ip", "link", "add", "link", name, "name", tagged, "type", "vlan",
                         "id", str(wanted["vlan"])])
            prepare.run(["ip", "link", "set", tagged, "up"])
            yield tagged
            prepare.run(["ip", "link", "del", tagged])

    def tagged(self, wanted):
        """On the device that is meant, or on the first that brings a lease."""
        for tagged in self.devices(wanted):
            if wanted["address"]:
                return prepare.Lease(tagged, wanted["address"], wanted["gateway"],
                                     tuple(wanted["dns"]), dhcp=False)
            if lease := prepare.ask_for_lease(tagged):
                return lease
        raise Refused(f"No DHCP server answers on VLAN {wanted['vlan']}.")

    def up_by_dhcpv6(self, wanted):
        """Its address and name servers; routes are what routers announce."""
        for device in self.devices(wanted):
            if lease := dhcp6.ask(device):
                dhcp6.give(device, lease)
                prepare.write_name_servers(Path("/"), lease.dns)
                return
        raise Refused("No DHCPv6 server answers.")

    def fetch(self, url, what):
        if needs_network(url):
            self.up()
        return fetch(url, what)


def labelled_answers():
    """The bytes of an answer file on a disk, a stick or a CD beside the medium; None: there is
    none."""
    device = Path(f"/dev/disk/by-label/{ANSWERS_LABEL}")
    if not device.exists():
        return None
    Path(ANSWERS_PLACE).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "ro", device, ANSWERS_PLACE], check=True)
    try:
        for name in ANSWERS_NAMES:
            path = Path(ANSWERS_PLACE) / name
            if path.is_file():
                return path.read_bytes()[:BYTES_MAX]
    finally:
        subprocess.run(["umount", ANSWERS_PLACE], check=True)
    raise Refused(f"The file system {ANSWERS_LABEL} has none of {', '.join(ANSWERS_NAMES)}.")


def keep_script(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o700)


def generated(url, net):
    """What a script that answers this machine's questions prints."""
    path = Path(plan.WORK) / "generator"
    keep_script(path, net.fetch(url, "The script that makes the answer file"))
    try:
        done = subprocess.run([path], capture_output=True, check=False, timeout=GENERATOR_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"The script {url} cannot be run: {error}") from error
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()[-300:]
        raise Refused(f"The script {url} ended with {done.returncode}: {why}")
    return done.stdout


def answers_of(words, facts, net):
    if url := first_of(words, "answerfile", "rt_answerfile"):
        return parse(net.fetch(url, "The answer file"), hash_password)
    if url := first_of(words, "answerfile_generator"):
        return parse(generated(url, net), hash_password)
    data = labelled_answers()
    if data is not None:
        return parse(data, hash_password)
    return ask.ask(ask.Person(input, getpass.getpass, say, load_keymap), facts, hash_password)


def fetch_scripts(answers, net):
    """Before anything is written: what cannot be had must not be noticed later."""
    for number, script in enumerate(answers.scripts):
        data = net.fetch(script.url, "The script")
        if not data.startswith(b"#!"):
            raise Refused(f"The script {script.url} does not begin with #! and by what it is run.")
        keep_script(Path(plan.script_path(number)), data)


# -- all ------------------------------------------------------------------------------------------------


def install(text):
    """`text`: the kernel's command line. What follows: reboot, poweroff or shell."""
    words = kernel_words(text)
    facts = machine.read_machine()
    names = card_names(text)
    called = {name: mac for mac, name in plan.card_names(names, facts).items()}
    net = Net(words, facts.nics, called)
    tell_of_idle_words(words)
    open_ssh(words, net)
    answers = answers_of(words, facts, net)
    if names:
        if answers.network.names:
            raise Refused("Network devices are named by map_netdev and by the answer file.")
        answers = replace(answers, network=replace(answers.network, names=names))
    fetch_scripts(answers, net)
    made = (upgrade if answers.mode == UPGRADE else plan).plan(answers, facts)
    if answers.confirm and not ask.confirmed(input, say, made):
        raise Refused("Nothing was written.")
    started = time.monotonic()
    execute.execute(made, LOG, say)
    done = "upgraded" if answers.mode == UPGRADE else "installed"
    say(f"The host is {done}, after {time.monotonic() - started:.0f} s.")
    return made.then


def main():
    text = Path("/proc/cmdline").read_text()
    os.umask(0o022)
    try:
        then = install(text)
    except (Refused, execute.Failed, EOFError) as error:
        why = f"The host is not installed. {error or 'Nobody answers.'}"
        say(f"{why}\nThe log is {LOG}.")
        execute.note_in(LOG, why)
        return 1
    # The parameter of existing installers wins over the file.
    then = kernel_words(text).get("atexit", then)
    if then in THEN and then != "shell":
        say("The machine is about to " + ("restart." if then == "reboot" else "be switched off."))
        subprocess.run(["systemctl", "--no-block", then], check=True)
        time.sleep(600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
