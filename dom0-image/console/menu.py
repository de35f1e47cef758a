"""The items of the console's menu, as data: what each shows beside it, and what Enter does."""

from collections.abc import Callable
from dataclasses import dataclass

GIB = 1 << 30
# Of a fingerprint, which people compare: pairs on a line.
PAIRS = 8


@dataclass(frozen=True)
class Item:
    """`act`: the method of the console that Enter calls; empty: there is nothing to do.
    `guarded`: whether root's password opens it. `detail`: what of the facts only this item needs."""

    title: str
    lines: Callable
    act: str = ""
    hint: str = ""
    guarded: bool = True
    detail: str = ""


def gib(count):
    return f"{count / GIB:.1f} GiB"


def url(address):
    return f"https://[{address}]/" if ":" in address else f"https://{address}/"


def status(facts):
    state = "enabled" if facts.enabled else "disabled: it starts no VMs"
    lines = [
        ("Name", facts.hostname),
        ("Manage it at", url(facts.address.split("/")[0]) if facts.address else "-"),
        ("State", state if facts.known else "its services do not answer (yet)"),
    ]
    if facts.known:
        lines += [
            ("Pool", facts.pool or "none but this host"),
            ("Running VMs", str(facts.running)),
            ("Memory", f"{gib(facts.memory_bytes)}, {gib(facts.memory_free_bytes)} free"),
            ("Processors", f"{facts.processors} {facts.processor}"),
            ("Xen", facts.xen or "none"),
        ]
    if facts.live:
        lines.append(("", "This system runs from its medium: nothing is kept."))
    if facts.notice:
        lines.append(("", facts.notice))
    return [*lines, ("Host", facts.uuid), ("Certificate", in_groups(facts.fingerprint))]


def in_groups(fingerprint):
    pairs = fingerprint.split(":")
    return "\n".join(":".join(pairs[at:at + PAIRS]) for at in range(0, len(pairs), PAIRS))


def network(facts):
    return [("Address", facts.address and f"{facts.address}, {facts.how}"),
            ("Router", facts.gateway or "none"), ("Name servers", " ".join(facts.dns) or "none"),
            *network6(facts), ("Device", facts.device), ("MAC", facts.mac)]


def network6(facts):
    """What has no address says only why; nothing where the services have not said it."""
    if facts.ipv6_how in ("", "none"):
        return [("IPv6", "none")] if facts.ipv6_how else []
    addresses = ", ".join(facts.ipv6) or "no address yet"
    return [("IPv6", f"{addresses}, {facts.ipv6_how}"),
            ("IPv6 router", facts.gateway6 or "none known")]


def machines(facts):
    if facts.vms is None:
        return [("", "Reading ...")]
    return [(state, name) for name, state in facts.vms] or [("", "There are no VMs.")]


def storage(facts):
    if facts.srs is None:
        return [("", "Reading ...")]
    return [(name, f"{gib(used)} of {gib(size)} used") for name, used, size in facts.srs
            if size > 0] or [("", "Nothing is known of storage.")]


def text(*sentences):
    return lambda facts: [("", sentence) for sentence in sentences]


ITEMS = (
    Item("Status", status),
    Item("Management network", network, "change_network", "Change the address"),
    Item("Virtual machines", machines, detail="vms"),
    Item("Storage", storage, detail="srs"),
    Item("Log in or out", text("Changes need root's password, and ask for it once.",
                               "Who does nothing for five minutes is logged out."),
         "log_in_or_out", "Log in, or out again", False),
    Item("Logs", text("What the host's services, the kernel and all others said."),
         "show_logs", "Choose a log"),
    Item("Restart the services", text(
        "Ends the management services of this host and starts them again.",
        "Its VMs run on meanwhile."), "restart_toolstack", "Restart"),
    Item("Shell", text("A shell of root's in the control domain; `exit` comes back here."),
         "open_shell", "Open a shell"),
    Item("Restart the machine", text("VMs are shut down first."), "reboot", "Restart"),
    Item("Switch the machine off", text("VMs are shut down first."), "power_off", "Switch off"),
)
