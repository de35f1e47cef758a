"""Asks a person what an answer file would say. Reads lines and prints; a summary comes before
anything is written, and only the word it asks for goes on."""

from collections.abc import Callable
from dataclasses import dataclass

import answers as answers_
import disks as disks_
from answers import (AUTOCONF, BOND_MODES, DHCP, MISSING, NO_ADDRESS, SR_TYPES, UPGRADE, Answers,
                     Network, Refused, checked_whole)
from disks import GIB, SR_PART
from plan import UNSIGNED


@dataclass(frozen=True)
class Person:
    """Who sits at the console: `read` and `read_secret` take a question and give a line."""

    read: Callable
    read_secret: Callable
    say: Callable
    load_keymap: Callable = lambda name: None

    def choose(self, question, options):
        """The number that is typed; an empty line takes the first."""
        for number, option in enumerate(options, 1):
            self.say(f"  {number}. {option}")
        while True:
            word = self.read(f"{question} [1]: ").strip() or "1"
            if word.isdigit() and 1 <= int(word) <= len(options):
                return int(word) - 1
            self.say(f"That is not a number from 1 to {len(options)}.")

    def choose_several(self, question, options):
        """The numbers that are typed, with spaces between them; an empty line takes none."""
        for number, option in enumerate(options, 1):
            self.say(f"  {number}. {option}")
        while True:
            words = self.read(f"{question} [none]: ").replace(",", " ").split()
            if all(word.isdigit() and 1 <= int(word) <= len(options) for word in words):
                return sorted({int(word) - 1 for word in words})
            self.say(f"These are not numbers from 1 to {len(options)}.")

    def is_agreed(self, question):
        while True:
            word = self.read(f"{question} (y/n) [n]: ").strip().lower()
            if word in ("", "n", "no", "y", "yes"):
                return word in ("y", "yes")
            self.say("That is neither y nor n.")

    def until_right(self, question, parse):
        """Asks again until `parse` accepts it."""
        while True:
            try:
                return parse(self.read(question).strip())
            except Refused as refusal:
                self.say(str(refusal))


# -- the machine ----------------------------------------------------------------------------------------


def ask_keymap(person, machine):
    """First, since everything else is typed on it; it holds at once."""
    if not machine.keymaps:
        return Answers.keymap

    def parse(word):
        name = word or Answers.keymap
        if name not in machine.keymaps and name != Answers.keymap:
            alike = [one for one in machine.keymaps if one.startswith(name[:2])]
            raise Refused(f"There is no keyboard {name!r} here; there are: "
                          f"{', '.join(alike or machine.keymaps)}.")
        return name

    name = person.until_right("Keyboard, as in us, de, fr, uk (empty: us): ", parse)
    if name != Answers.keymap:
        person.load_keymap(name)
    return name


def ask_mode(person, machine):
    """The disk whose host is to be upgraded; empty: a host is to be installed."""
    hosts = {}
    for disk in machine.disks:
        if disk.slot:
            hosts.setdefault(disks_.layout_of(disk, machine.disks), disk.path)
    if not hosts:
        return ""
    person.say("There is a host on this machine. What shall be done?")
    options = [*(f"Upgrade the host on {' and '.join(layout.disks)}: its settings and VMs are kept"
                 for layout in hosts), "Install a host anew"]
    return [*hosts.values(), ""][person.choose("Choice", options)]


def describe(disk):
    """A line of a list to choose from."""
    holds = "  (holds a host)" if disk.slot else ""
    return f"{disk.path}  {disk.size_bytes / GIB:.1f} GiB  {disk.model}{holds}"


def ask_disks(person, machine):
    """The members of Answers that say what disks are for."""
    disks = [disk for disk in machine.disks if disks_.is_free(disk)]
    if not disks:
        raise Refused("There is no disk to install on.")
    person.say("Which disk shall the host be installed on?")
    disk = disks[person.choose("Disk", [describe(one) for one in disks])]
    if SR_PART in disk.parts and person.choose(
            "Choice", ["Erase all of it", "Use its partitions again: the local SR stays, with what "
                                          "is in it"]):
        return {"disk": disk.path, "reuse": True}
    given = {"disk": disk.path}
    others = [one for one in disks if one != disk]
    if others:
        person.say("Shall a second disk hold the same (RAID 1), so that either may fail?")
        choices = ["No", *(describe(one) for one in others), "Yes, but it is put in later"]
        number = person.choose("Mirror", choices)
        if number:
            given["mirror"] = [one.path for one in others][number - 1] \
                if number <= len(others) else MISSING
    others = [one for one in others if one.path != given.get("mirror")]
    given |= ask_local_sr(person, others)
    return given | ask_wipe(person, [one for one in others
                                     if one.slot and one.path not in given.get("guest_disks", ())])


def ask_local_sr(person, others):
    person.say("Shall there be a local SR, which holds virtual disks as files?")
    kinds = ["Yes, with all the room that is left", "Yes, of a size to be told", "No"]
    kind = person.choose("Local SR", kinds)
    given = {"local_sr": kind != 2}
    if kind == 1:
        given["sr_gib"] = person.until_right("Its size in GiB: ", parse_gib)
    if kind != 2:
        person.say("Which file system shall it have?")
        number = person.choose("File system", list(SR_TYPES.values()))
        given["sr_type"] = list(SR_TYPES)[number]
    if kind != 2 and others:
        person.say("Which other disks shall belong to it? Everything on them is lost.")
        chosen = person.choose_several("Disks, with spaces between them",
                                       [describe(one) for one in others])
        given["guest_disks"] = tuple(others[number].path for number in chosen)
    return given


def ask_wipe(person, others):
    """Two hosts in one machine: the plan refuses to leave to chance which one starts."""
    return {"wipe": tuple(disk.path for disk in others if person.is_agreed(
        f"There is a host on {disk.path} too, and only one can be started. Erase that disk?"))}


def parse_gib(word):
    if not word.isdigit() or int(word) < 1:
        raise Refused("That is not a number of GiB.")
    return int(word)


# -- the network ----------------------------------------------------------------------------------------


def ask_cards(person, machine):
    """(device, bond, its mode)"""
    nics = sorted(machine.nics.items())
    if not nics:
        raise Refused("There is no network device that this system knows.")
    person.say("Which network device is the host managed through?")
    options = [f"{name}  {mac}" for name, mac in nics]
    if len(nics) == 1:
        return nics[person.choose("Device", options)][1], (), Network.bond_mode
    number = person.choose("Device", [*options, "Several of them, as one (bond)"])
    if number < len(nics):
        return nics[number][1], (), Network.bond_mode
    while True:
        chosen = person.choose_several("Devices, with spaces between them", options)
        if answers_.BOND_CARDS_MIN <= len(chosen) <= answers_.BOND_CARDS_MAX:
            break
        person.say(f"A bond is made of {answers_.BOND_CARDS_MIN} to {answers_.BOND_CARDS_MAX} "
                   "devices.")
    mode = BOND_MODES[person.choose("Mode", BOND_MODES)]
    return "", tuple(nics[one][1] for one in chosen), mode


def ask_network(person, machine):
    device, bond, mode = ask_cards(person, machine)
    vlan = person.until_right("VLAN (empty: none): ", answers_.checked_vlan)
    person.say("An IPv4 address with its prefix, as in 192.0.2.10/24, nothing for DHCP, or none.")

    def parse(word):
        gateway, dns = "", []
        if word not in ("", "dhcp", NO_ADDRESS):
            # What is wrong with it is said before more is asked.
            answers_.interface(word, 4)
            gateway = person.read("Router (empty: none): ").strip()
            dns = person.read("Name servers, with spaces between them: ").split()
        return word or "dhcp", gateway, dns

    while True:
        address, gateway, dns = person.until_right("IPv4 address: ", parse)
        ipv6 = person.read(
            "IPv6 address with its prefix, auto, dhcp, or nothing for none: ").strip()
        gateway6 = ""
        if ipv6 in ("auto", AUTOCONF):
            ipv6 = AUTOCONF
        elif ipv6 not in ("", DHCP):
            gateway6 = person.read("Router of IPv6 (empty: none): ").strip()
        if ipv6 and not dns and address != "dhcp" and (ipv6, address) != (DHCP, NO_ADDRESS):
            dns = person.read("Name servers, with spaces between them: ").split()
        try:
            return answers_.checked_network(device, address, gateway, dns, bond=bond,
                                            bond_mode=mode, vlan=vlan, ipv6=ipv6,
                                            gateway6=gateway6)
        except Refused as refusal:
            person.say(str(refusal))


# -- the host -------------------------------------------------------------------------------------------


def ask_timezone(person, machine):
    def parse(word):
        zone = answers_.checked_timezone(word or Answers.timezone)
        if machine.zones and zone not in machine.zones:
            alike = [one for one in machine.zones if zone.split("/")[-1].lower() in one.lower()]
            raise Refused(f"There is no time zone {zone!r} here."
                          + (f" Is it one of {', '.join(alike[:8])}?" if alike else ""))
        return zone

    return person.until_right("Time zone, as in Europe/Berlin (empty: UTC): ", parse)


def ask_hostname(person, network):
    """Empty: what the DHCP server says."""
    if network.address:
        return person.until_right("Name of the host: ", answers_.checked_hostname)
    return person.until_right("Name of the host (empty: that of the DHCP server): ",
                              lambda word: word and answers_.checked_hostname(word))


def ask_ntp(person, network):
    """(source, servers)"""
    usual = "those of the DHCP server" if not network.address else "Debian's"

    def parse(word):
        if word in ("", NO_ADDRESS):
            return answers_.checked_ntp(word, [])
        return answers_.checked_ntp("", word.split())

    return person.until_right(f"Servers of time (empty: {usual}; none: none): ", parse)


def ask_password(person, hash_password):
    while True:
        first = person.read_secret("Password for root: ")
        if first != person.read_secret("The same once more: "):
            person.say("These are not the same.")
            continue
        try:
            return answers_.password(first, "", hash_password)
        except Refused as refusal:
            person.say(str(refusal))


def require_agreed(person):
    if not person.is_agreed("Shall a host be installed nevertheless?"):
        raise Refused("Nothing was written.")


def ask(person, machine, hash_password):
    """The answers, to be confirmed."""
    keymap = ask_keymap(person, machine)
    if host := ask_mode(person, machine):
        return Answers(mode=UPGRADE, disk=host, confirm=True)
    if machine.secure_boot:
        person.say(f"{UNSIGNED} Switch it off in the firmware's setup, now or afterwards.")
        require_agreed(person)
    if machine.lacks:
        person.say(f"{machine.lacks} Only PV guests could run here.")
        require_agreed(person)
    network = ask_network(person, machine)
    disks = ask_disks(person, machine)
    hostname = ask_hostname(person, network)
    timezone = ask_timezone(person, machine)
    source, servers = ask_ntp(person, network)
    return checked_whole(Answers(
        password_hash=ask_password(person, hash_password), **disks, network=network,
        hostname=hostname, timezone=timezone, keymap=keymap, ntp_source=source, ntp=servers,
        pv_only=bool(machine.lacks), despite_secure_boot=machine.secure_boot, confirm=True))


def confirmed(read, say, made):
    """What matters comes last: on a screen of 25 lines the steps scroll it away."""
    say(f"\n{len(made.steps)} steps:")
    for step in made.steps:
        say(f"  {step.name}")
    say(f"\n{made.what}")
    for what, how in made.summary:
        say(f"  {what + ':':<14} {how}")
    for note in made.notes:
        say(f"Note: {note}")
    return read(f"Type the word {made.word} to begin: ").strip() == made.word
