"""Asks a person what an answer file would say. Reads lines and prints; a summary comes before
anything is written, and only the word it asks for goes on."""

import answers as answers_
from answers import UPGRADE, Answers, Refused
from plan import GIB


def choose(read, say, question, options):
    """The number that is typed; an empty line takes the first."""
    for number, option in enumerate(options, 1):
        say(f"  {number}. {option}")
    while True:
        word = read(f"{question} [1]: ").strip() or "1"
        if word.isdigit() and 1 <= int(word) <= len(options):
            return int(word) - 1
        say(f"That is not a number from 1 to {len(options)}.")


def until_right(read, say, question, parse):
    """Asks again until `parse` accepts it."""
    while True:
        try:
            return parse(read(question).strip())
        except Refused as refusal:
            say(str(refusal))


def ask_disk(read, say, machine):
    disks = [disk for disk in machine.disks if not disk.in_use and not disk.read_only]
    if not disks:
        raise Refused("There is no disk to install on.")
    say("Which disk shall the host be installed on? Everything on it is lost.")
    options = [f"{disk.path}  {disk.size_bytes / GIB:.1f} GiB  {disk.model}" for disk in disks]
    return disks[choose(read, say, "Disk", options)].path


def ask_network(read, say, machine):
    nics = sorted(machine.nics.items())
    if not nics:
        raise Refused("There is no network device that this system knows.")
    say("Which network device is the host managed through?")
    name, mac = nics[choose(read, say, "Device", [f"{name}  {mac}" for name, mac in nics])]

    def parse(word):
        if word in ("", "dhcp"):
            return answers_.checked_network(mac, "dhcp", "", [])
        gateway = read("Router (empty: none): ").strip()
        dns = read("Name servers, with spaces between them: ").split()
        return answers_.checked_network(mac, word, gateway, dns)

    say(f"An address with its prefix, as in 192.0.2.10/24, or nothing for DHCP on {name}.")
    return until_right(read, say, "Address: ", parse)


def ask_password(read_secret, say, hash_password):
    while True:
        first = read_secret("Password for root: ")
        if first != read_secret("The same once more: "):
            say("These are not the same.")
            continue
        try:
            return answers_.password(first, "", hash_password)
        except Refused as refusal:
            say(str(refusal))


def ask_mode(read, say, machine):
    """The disk whose host is to be upgraded; empty: a host is to be installed."""
    hosts = [disk.path for disk in machine.disks if disk.slot]
    if not hosts:
        return ""
    say("There is a host on this machine. What shall be done?")
    options = [*(f"Upgrade the host on {path}: its settings and VMs are kept" for path in hosts),
               "Install a host anew"]
    return [*hosts, ""][choose(read, say, "Choice", options)]


def ask(read, read_secret, say, machine, hash_password):
    """The answers, to be confirmed."""
    if host := ask_mode(read, say, machine):
        return Answers(mode=UPGRADE, disk=host, confirm=True)
    disk = ask_disk(read, say, machine)
    network = ask_network(read, say, machine)
    hostname = until_right(read, say, "Name of the host: ", answers_.checked_hostname)
    timezone = until_right(read, say, "Time zone, as in Europe/Berlin (empty: UTC): ",
                           lambda word: answers_.checked_timezone(word or Answers.timezone))
    return Answers(password_hash=ask_password(read_secret, say, hash_password), disk=disk,
                   network=network, hostname=hostname, timezone=timezone, confirm=True)


def confirmed(read, say, made):
    say(f"\n{made.what} {len(made.steps)} steps:")
    for step in made.steps:
        say(f"  {step.name}")
    for note in made.notes:
        say(f"Note: {note}")
    return read(f"Type the word {made.word} to begin: ").strip() == made.word
