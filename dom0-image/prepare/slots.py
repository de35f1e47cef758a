"""The two systems of an installed host, a and b: which one runs, which one starts next, and what
goes along when one takes the other's place.

An upgrade writes the slot that does not run and lets GRUB try it once. A system that is tried and
healthy is chosen (healthy.py); else the machine starts the one before, which takes back the records
as they were.

    slots.py carry STATE FROM TO    what is of the host and lies in the layer of a system
    slots.py keep STATE FROM TO     the records, for the case that FROM must go on
    slots.py try BOOT SLOT          once, at the next start
    slots.py choose BOOT SLOT       from the next start on

What the control domain leaves alone of the machine's PCI devices, so that guests can have them, is
the same for both systems. Exit 4: the machine starts from the device.

    slots.py hidden                 its addresses, a line each
    slots.py hide ADDRESS           from the next start on
    slots.py show ADDRESS           the control domain uses it again, from the next start on
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SLOTS = ("a", "b")
# Where the initramfs has mounted it.
STATE_PLACE = "/run/basalt-live/state"
BOOT_PLACE = Path("/run/basalt-boot")
# Source: installer/disks.py.
BOOT_NUMBER = 2
TRIAL_WORD = "basalt.trial"

# What administrators and the API change in a system, and the next one goes on with. A layer holds
# only what was changed, so that what nobody touched comes with the next system.
CARRIED = ("boot/guest/*", "etc/basalt/settings-applied", "etc/chrony/chrony.conf",
           "etc/chrony/sources.d/*", "etc/hostname", "etc/hosts", "etc/iscsi/*", "etc/localtime",
           "etc/machine-id", "etc/profile.d/*", "etc/resolv.conf", "etc/rsyslog.d/*",
           "etc/ssh/ssh_host_*", "etc/ssh/sshd_config.d/*", "etc/systemd/system/*", "etc/timezone",
           "etc/xapi.d/*", "etc/xensource/*", "root")

# What the daemons write in forms that another version may change, and what says how far the records
# are what the installation and the host's console were told (settle_network.py).
RECORDS = ("xapi", "hostd.db*", "storage.json", "users.json", "management.json", "network-settled")
KEPT = "before-upgrade"
PENDING = "upgrade.json"
NOTICE = "upgrade-notice"
SECTOR_BYTES = 512
# In grubenv, as the kernel's xen-pciback takes them: (0000:3b:00.0)(0000:3b:00.1)
HIDDEN_WORD = "hidden_pci"
PCI_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
STARTS_FROM_IT = 4


def other(slot):
    return SLOTS[1 - SLOTS.index(slot)]


def running(words):
    """The slot of the system with these words on its kernel's command line; empty: it is live."""
    for word in words:
        if word.startswith("basalt.slot=") and word.removeprefix("basalt.slot=") in SLOTS:
            return word.removeprefix("basalt.slot=")
    return ""


def write_durable(path, text, mode=0o600):
    fresh = path.with_name(path.name + ".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w",
              encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(path):
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# -- what GRUB starts ---------------------------------------------------------------------------------


def change_env(boot, *changes):
    """`changes`: words for grub-editenv. All of them or none, also when the power goes: the block
    is written over itself, as GRUB does, and all that is not padding is in its first sector. (A FAT
    does not rename in one step: after a power cut the name led to what was free already.)"""
    env = boot / "grub/grubenv"
    before = env.read_bytes()
    with tempfile.NamedTemporaryFile(prefix="grubenv-") as scratch:
        scratch.write(before)
        scratch.flush()
        for words in changes:
            subprocess.run(["grub-editenv", scratch.name, *words], check=True)
        after = Path(scratch.name).read_bytes()
    if len(after) != len(before) or after[SECTOR_BYTES:].strip(b"#"):
        raise OSError(f"{env} does not fit where it was")
    with open(env, "r+b", buffering=0) as file:
        file.write(after)
        os.fsync(file.fileno())


def try_once(boot, slot):
    change_env(boot, ("set", f"trial={slot}"))


def choose(boot, slot):
    change_env(boot, ("set", f"slot={slot}"), ("unset", "trial"))


def parse_disks(listed):
    """`listed`: what lies below a file system, as PATH TYPE lines of lsblk."""
    pairs = (line.split() for line in listed.splitlines())
    return sorted({pair[0] for pair in pairs if len(pair) == 2 and pair[1] == "disk"})


def boot_partitions():
    """Of this host: of each disk that its state lies on, one or the two of a mirror."""
    state = subprocess.run(["findmnt", "--noheadings", "--output", "SOURCE", STATE_PLACE],
                           capture_output=True, text=True, check=True).stdout.strip()
    # What is bound from a folder has that behind it.
    listed = subprocess.run(["lsblk", "--inverse", "--list", "--noheadings", "--output",
                             "PATH,TYPE", state.split("[")[0]],
                            capture_output=True, text=True, check=True).stdout
    return [f"{disk}p{BOOT_NUMBER}" if disk[-1].isdigit() else f"{disk}{BOOT_NUMBER}"
            for disk in parse_disks(listed)]


def on_each(partitions, act):
    """Calls `act` with the mounted boot partition of each disk; the answers."""
    BOOT_PLACE.mkdir(parents=True, exist_ok=True)
    answers = []
    for partition in partitions():
        subprocess.run(["mount", partition, str(BOOT_PLACE)], check=True)
        try:
            answers.append(act(BOOT_PLACE))
        finally:
            subprocess.run(["umount", str(BOOT_PLACE)], check=True)
    return answers


def choose_everywhere(slot, partitions=boot_partitions):
    """On the host that runs: whichever of its disks is started from next."""
    on_each(partitions, lambda boot: choose(boot, slot))


# -- devices that are left to guests ------------------------------------------------------------------


def hidden(boot):
    """Addresses, sorted."""
    for line in (boot / "grub/grubenv").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{HIDDEN_WORD}="):
            return sorted(PCI_ADDRESS.findall(line))
    return []


def write_hidden(boot, addresses):
    text = "".join(f"({address})" for address in sorted(addresses))
    change_env(boot, ("set", f"{HIDDEN_WORD}={text}") if text else ("unset", HIDDEN_WORD))


def starts_from(address, partitions=boot_partitions, blocks=Path("/sys/class/block")):
    """Whether a disk that the machine starts from is behind the device."""
    return any(address in (blocks / Path(partition).name).resolve().parts
               for partition in partitions())


def hide(address, away, partitions=boot_partitions):
    """All of a mirror's disks or none: what was changed before one failed is put back."""
    before = {address for found in on_each(partitions, hidden) for address in found}
    wanted = before | {address} if away else before - {address}
    try:
        on_each(partitions, lambda boot: write_hidden(boot, wanted))
    except (OSError, subprocess.CalledProcessError):
        on_each(partitions, lambda boot: write_hidden(boot, before))
        raise


# -- what goes along ----------------------------------------------------------------------------------


def carry(state, source, target):
    """Into the layer of `target`, which is made anew. Root's password goes by the answers, since
    the file that holds it also names the users of a system."""
    layer = state / "slots" / target
    shutil.rmtree(layer, ignore_errors=True)
    before, after = state / "slots" / source / "upper", layer / "upper"
    after.mkdir(parents=True, mode=0o755)
    names = [name for pattern in CARRIED for name in sorted(glob.glob(pattern, root_dir=before))]
    if names:
        # cp keeps what overlayfs needs: marks of what was deleted, in devices and attributes.
        subprocess.run(["cp", "--archive", "--parents", *names, str(after)], cwd=before, check=True)
    carry_password(before, state / "shared/install.json")


def carry_password(upper, answers):
    try:
        lines = (upper / "etc/shadow").read_text().splitlines()
    except OSError:
        return
    settings = json.loads(answers.read_text())
    for line in lines:
        name, hashed = line.split(":")[:2]
        if name == "root":
            settings["password_hash"] = hashed
    write_durable(answers, json.dumps(settings, indent=1) + "\n")


def keep(state, source, target):
    """Copies the records aside and notes what is going on. Nobody else may be writing them."""
    shared = state / "shared"
    fresh = shared / f"{KEPT}.new"
    for old in (fresh, shared / KEPT):
        shutil.rmtree(old, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    names = record_names(shared)
    if names:
        subprocess.run(["cp", "--archive", *names, str(fresh)], cwd=shared, check=True)
    subprocess.run(["sync", "--file-system", str(fresh)], check=True)
    fresh.rename(shared / KEPT)
    (shared / NOTICE).unlink(missing_ok=True)
    write_durable(shared / PENDING, json.dumps({"from": source, "to": target, "kept": names}) + "\n")


def record_names(shared):
    return [name for pattern in RECORDS for name in sorted(glob.glob(pattern, root_dir=shared))]


def settle(shared, words, choose_now=choose_everywhere):
    """At the start of a system with `words` on its kernel's command line. Returns a sentence for
    people when an upgrade was taken back, now or at an earlier start; else nothing."""
    try:
        pending = json.loads((shared / PENDING).read_text())
    except FileNotFoundError:
        return read_notice(shared)
    slot = running(words)
    if slot == pending["from"]:
        # A medium of an earlier version noted no names.
        take_back(shared, pending.get("kept", record_names(shared)))
        # GRUB has forgotten the trial on the disk that it started; the other of a mirror has not.
        try:
            choose_now(slot)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"the other disk of a mirror may still try the new system: {error}")
        write_durable(shared / NOTICE, "The last upgrade was taken back: the new system did not "
                                       "become healthy.\n", 0o644)
        forget(shared)
    elif slot == pending["to"] and TRIAL_WORD not in words:
        forget(shared)
    return read_notice(shared)


def read_notice(shared):
    try:
        return (shared / NOTICE).read_text().strip()
    except FileNotFoundError:
        return ""


def take_back(shared, names):
    """The records as they were kept, by these names; what the tried system wrote is gone, and with it
    what was not there before. May be interrupted."""
    kept = shared / KEPT
    for path in sorted(kept.iterdir()) if kept.is_dir() else []:
        place = shared / path.name
        tried = shared / f"{path.name}.tried"
        # A log beside a database must not meet another database.
        for beside in shared.glob(f"{path.name}-*") if path.suffix == ".db" else []:
            remove(beside)
        if place.exists():
            remove(tried)
            place.rename(tried)
        path.rename(place)
    sync_folder(shared)
    for tried in shared.glob("*.tried"):
        remove(tried)
    for name in set(record_names(shared)) - set(names):
        remove(shared / name)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def forget(shared):
    """The system that runs is the one to go on with."""
    (shared / PENDING).unlink(missing_ok=True)
    shutil.rmtree(shared / KEPT, ignore_errors=True)


def main(argv):
    match argv:
        case ["carry", state, source, target] if {source, target} == set(SLOTS):
            carry(Path(state), source, target)
        case ["keep", state, source, target] if {source, target} == set(SLOTS):
            keep(Path(state), source, target)
        case ["try", boot, slot] if slot in SLOTS:
            try_once(Path(boot), slot)
        case ["choose", boot, slot] if slot in SLOTS:
            choose(Path(boot), slot)
        case ["hidden"]:
            found = on_each(boot_partitions, hidden)
            print("".join(f"{address}\n" for address in found[0]), end="")
        case ["hide" | "show" as word, address] if PCI_ADDRESS.fullmatch(address):
            if word == "hide" and starts_from(address):
                print(address, file=sys.stderr)
                return STARTS_FROM_IT
            hide(address, word == "hide")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
