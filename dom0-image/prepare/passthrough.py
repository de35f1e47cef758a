"""PCI devices that the control domain leaves alone, so that guests can have them: those that the
kernel's command line names (xen-pciback.hide, see slots.py) go from their drivers to Xen's.

The parameter alone does it only for a driver that is there before the devices' own are; the one of
this kernel is a module, and disks and networks are found early."""

import re
import subprocess
from pathlib import Path

WORD = "xen-pciback.hide="
ADDRESS = re.compile(r"\(([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\)")
DEVICES = "sys/bus/pci/devices"
KEEPER = "sys/bus/pci/drivers/pciback"


def hidden(words):
    """Addresses; the last word of several counts, as for the kernel."""
    found = [word for word in words if word.startswith(WORD)]
    return ADDRESS.findall(found[-1]) if found else []


def tell(path, text):
    path.write_text(text, encoding="ascii")


def keep(root, address):
    device = root / DEVICES / address
    if not device.exists():
        print(f"{address} is to be left to guests and is not there")
        return
    driver = device / "driver"
    if driver.exists() and driver.resolve() == (root / KEEPER).resolve():
        return
    if driver.exists():
        tell(driver / "unbind", address)
    tell(root / KEEPER / "new_slot", address)
    tell(root / KEEPER / "bind", address)
    print(f"{address} is left to guests")


def settle(root, words, run=subprocess.run):
    """One device that cannot be had keeps no host from starting."""
    addresses = hidden(words)
    if not addresses:
        return
    run(["modprobe", "xen-pciback"], check=False)
    for address in addresses:
        try:
            keep(Path(root), address)
        except OSError as error:
            print(f"{address} cannot be left to guests: {error}")
