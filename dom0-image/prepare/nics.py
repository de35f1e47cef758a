"""Which network card is eth0: names that stay when cards are added, taken out, or found in another
order by the kernel. What scripts, records and people know of a card is its name.

The map is made by the installation, or at the first start, and completed at each later one: the
address and the slot of each card, and its name. A card in the place of one that is gone gets its name.
"""

import json
import os
import re
import subprocess
from pathlib import Path

MAP = "var/lib/basalt/nics.json"
# Of this boot: cards in bonds have other addresses later.
SETTLED = "run/basalt/nics-settled"
SLOT = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def cards(root):
    """(name now, MAC, PCI slot or nothing) of the network devices with hardware below, in the order
    of the kernel. Virtual functions come and go, and are no cards."""
    found = {}
    for path in (root / "sys/class/net").glob("*"):
        device = path / "device"
        if not device.exists() or (device / "physfn").exists():
            continue
        slots = [part for part in Path(os.path.realpath(device)).parts if SLOT.fullmatch(part)]
        mac = (path / "address").read_text().strip().lower()
        index = path / "ifindex"
        order = int(index.read_text()) if index.exists() else 0
        card = (order, path.name, mac, slots[-1] if slots else "")
        # By their addresses they are told apart: of two with the same, the first is known.
        found[mac] = min(card, found.get(mac, card))
    return [card[1:] for card in sorted(found.values())]


def read_map(root):
    """A list of {mac, slot, name}."""
    try:
        return json.loads((root / MAP).read_text())
    except FileNotFoundError:
        return []


def assign(known, present):
    """The map with all that is `present` (as `cards` says) in it: a pure function."""
    known = [dict(entry) for entry in known]
    by_mac = {entry["mac"]: entry for entry in known}
    macs = {mac for _, mac, _ in present}
    slots = [slot for _, _, slot in present]
    for _, mac, slot in present:
        if mac in by_mac:
            by_mac[mac]["slot"] = slot
            continue
        gone = [entry for entry in known
                if slot and entry["slot"] == slot and entry["mac"] not in macs]
        # Ports of some cards share a slot: which of them was replaced, nobody can tell.
        if len(gone) == 1 and slots.count(slot) == 1:
            gone[0]["mac"] = mac
            by_mac[mac] = gone[0]
            continue
        taken = {entry["name"] for entry in known}
        number = next(number for number in range(len(taken) + 1) if f"eth{number}" not in taken)
        by_mac[mac] = {"mac": mac, "slot": slot, "name": f"eth{number}"}
        known.append(by_mac[mac])
    return known


def renames(known, present):
    """[(from, to)], to be done in this order: names may have to change places."""
    wanted = {entry["mac"]: entry["name"] for entry in known}
    wrong = [(name, wanted[mac]) for name, mac, _ in present if wanted[mac] != name]
    aside = [(name, f"aside{number}") for number, (name, _) in enumerate(wrong)]
    return aside + [(f"aside{number}", to) for number, (_, to) in enumerate(wrong)]


def settle(root, run, write):
    """Gives the cards their names; once a boot. `run` takes a command, `write` a path and a text."""
    if (root / SETTLED).exists():
        return
    present = cards(root)
    before = read_map(root)
    known = assign(before, present)
    if known != before:
        write(root / MAP, json.dumps(known, indent=1) + "\n")
    try:
        for name, to in renames(known, present):
            run(["ip", "link", "set", "dev", name, "down"])
            run(["ip", "link", "set", "dev", name, "name", to])
    except subprocess.CalledProcessError as error:
        # A host with a wrong name is better than none.
        print(f"network cards keep the kernel's names: {error}")
    write(root / SETTLED, "")
