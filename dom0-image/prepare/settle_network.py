#!/usr/bin/python3 -I
"""Makes the management network what the installation was told, through the API, beside a host that
has begun to run; and asks for the lease of an address that lies on a bond or a VLAN, and for one by
DHCPv6, at each start.

Before hostd runs there are only cards. A bond, a VLAN, an IPv6 address, and that an address comes
from a DHCP server, are records of the API as if an administrator had made them, so that there is
one truth from the first day on. Done once; what was begun goes on after a restart, whatever it was
that ended it. Whoever changes the network at the console or by the API first has changed it.
"""

import ipaddress
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import dhcp6
import management
import prepare
import slots
import xapi_client

LOCAL_SOCKET = "/var/lib/xcp/xapi"
# Of the host and not of a system: an upgrade does not ask again.
JOURNAL = "var/lib/basalt/network-settled"
NEW_LEASE = "run/basalt/lease-new"
OFFERED_NAME = "run/basalt/hostname-offered"
# What keepers of leases read, below run/basalt; their services have these names, too.
LEASE, LEASE6 = "lease", "lease6"
# Which bridge has an address by DHCPv6. Of the host and not of a system: a member of a pool cannot
# look into its coordinator's records.
LEASED6 = "var/lib/basalt/leased-ipv6"
# Servers of time that were named, and those of a lease of DHCPv6, which are asked without such.
NAMED_TIME = "etc/chrony/sources.d/basalt.sources"
OFFERED_TIME6 = "run/chrony-dhcp/basalt6.sources"
BEGUN, DONE = "begun", "done"
MARK = "basalt_installation"
NOTHING = "OpaqueRef:NULL"
AGAIN_SECONDS = 10
TASK_SECONDS = 300
ROUTER_SECONDS = 30
LOOK_SECONDS = 0.5


class NotYet(Exception):
    """What has to be there first, and is not."""


def told_network(root, settings):
    """What the installation was told, or what a live system found; None: nothing has to be done."""
    state = prepare.read(root / JOURNAL)
    if state == DONE:
        return None
    if not state and management.kept_by_hostd(root) is not None:
        return None
    if (root / "var/lib/basalt/management.json").exists():
        return None
    whole = {"mac": "", "bond": [], "bond_mode": "active-backup", "vlan": 0, "address": "",
             "gateway": "", "dns": [], "ipv6": "", "gateway6": ""}
    if settings:
        return {**whole, **settings["network"]}
    return whole if (root / "run/basalt/lease").exists() else None


# -- through the API ------------------------------------------------------------------------------------


def act(api, message, *params):
    """A message with effects; its task, so that no limit on a connection ends it."""
    task = api.call(f"Async.{message}", *params)
    deadline = time.monotonic() + TASK_SECONDS
    while (status := api.call("task.get_status", task)) == "pending":
        if time.monotonic() > deadline:
            raise NotYet(f"{message} has not ended within {TASK_SECONDS} s")
        time.sleep(LOOK_SECONDS)
    if status != "success":
        raise xapi_client.Failure(*api.call("task.get_error_info", task))
    return api.call("task.get_result", task).removeprefix("<value>").removesuffix("</value>")


def made_network(api, what, name):
    """The network that was made for this, now or before it was interrupted."""
    for ref, row in api.call("network.get_all_records").items():
        if row["other_config"].get(MARK) == what:
            return ref
    return api.call("network.create", {
        "name_label": name, "name_description": "Made by the installation", "MTU": "1500",
        "other_config": {MARK: what}})


class Interfaces:
    """The host's, as the API has them."""

    def __init__(self, api):
        self.api = api
        self.host = api.call("session.get_this_host", api.ref)

    def all(self):
        return {ref: row for ref, row in self.api.call("PIF.get_all_records").items()
                if row["host"] == self.host}

    def get(self, ref):
        return self.api.call("PIF.get_record", ref)

    def management(self):
        return self.api.call("host.get_management_interface", self.host)

    def card(self, mac):
        """Empty: there is none; it was replaced, or nobody has said which."""
        return next((ref for ref, row in self.all().items()
                     if row["physical"] and row["MAC"].lower() == mac), "")

    def bond(self, macs, mode):
        """Its interface, which has the address of the card that had one."""
        cards = [self.card(mac) for mac in macs]
        if not all(cards):
            raise NotYet("a network card of the bond is not there")
        bonds = {self.get(card)["bond_slave_of"] for card in cards}
        if bonds == {NOTHING}:
            network = made_network(self.api, "bond", "Management bond")
            act(self.api, "Bond.create", network, cards, "", mode, {})
            bonds = {self.get(card)["bond_slave_of"] for card in cards}
        if len(bonds) != 1:
            raise NotYet("the cards of the bond are in different ones")
        return self.api.call("Bond.get_master", bonds.pop())

    def vlan(self, carrier, tag):
        for vlan in self.get(carrier)["VLAN_slave_of"]:
            if int(self.api.call("VLAN.get_tag", vlan)) == tag:
                return self.api.call("VLAN.get_untagged_PIF", vlan)
        network = made_network(self.api, "vlan", f"Management VLAN {tag}")
        act(self.api, "VLAN.create", carrier, str(tag), network)
        return self.vlan(carrier, tag)

    def told(self, told):
        """The interface that the host is to be managed by; made when it is not there."""
        if told["bond"]:
            carrier = self.bond(told["bond"], told["bond_mode"])
        else:
            carrier = self.card(told["mac"]) or self.management()
        return self.vlan(carrier, told["vlan"]) if told["vlan"] else carrier

    def bridge(self, ref):
        return self.api.call("network.get_bridge", self.get(ref)["network"])


def settle(root, api, told):
    """Each step looks whether it is done already. Returns what the host is managed by then."""
    interfaces = Interfaces(api)
    address = api.call("host.get_address", interfaces.host)
    begun = prepare.kept(root / JOURNAL, lambda: f"{BEGUN} {address}")
    chosen = interfaces.told(told)
    if told["address"] == "":
        lease_address(root, interfaces, chosen)
    elif told["address"] != prepare.NO_ADDRESS:
        fix_address(interfaces, chosen, told)
    if told["ipv6"]:
        settle_ipv6(interfaces, chosen, told)
    if told["address"] == prepare.NO_ADDRESS:
        manage_by_ipv6(root, interfaces, chosen)
    elif interfaces.management() != chosen:
        act(api, "host.management_reconfigure", chosen)
    forget_first_address(interfaces, chosen)
    lease = lease_of(interfaces, chosen, told)
    # The certificate was made for the address that the host began with.
    if begun.split()[1:] != [lease.address]:
        act(api, "host.reset_server_certificate", interfaces.host)
    return lease


def forget_first_address(interfaces, chosen):
    """The link-local one, by which only this machine knew itself."""
    for ref, row in interfaces.all().items():
        if ref != chosen and row["ip_configuration_mode"] == "Static" and \
                ipaddress.IPv4Address(row["IP"]).is_link_local:
            act(interfaces.api, "PIF.reconfigure_ip", ref, "None", "", "", "", "")


def of_family(servers, version):
    return ",".join(one for one in servers if ipaddress.ip_address(one).version == version)


def fix_address(interfaces, pif, told):
    address = ipaddress.IPv4Interface(told["address"])
    row = interfaces.get(pif)
    if (row["ip_configuration_mode"], row["IP"]) != ("Static", str(address.ip)):
        act(interfaces.api, "PIF.reconfigure_ip", pif, "Static", str(address.ip),
            str(address.netmask), told["gateway"], of_family(told["dns"], 4))


def lease_address(root, interfaces, pif):
    """hostd keeps what a bridge has by DHCP; the lease itself is got here."""
    if interfaces.get(pif)["ip_configuration_mode"] != "DHCP":
        act(interfaces.api, "PIF.reconfigure_ip", pif, "DHCP", "", "", "", "")
    address = interfaces.get(pif)["IP"]
    if address and not ipaddress.IPv4Address(address).is_link_local:
        return
    bridge = interfaces.bridge(pif)
    if not take_lease(root, interfaces.get(pif)["device"], bridge):
        raise NotYet(f"no DHCP server answers on {bridge}")
    # Told once more, it reads what it has now.
    act(interfaces.api, "PIF.reconfigure_ip", pif, "DHCP", "", "", "", "")


def take_lease(root, device, bridge):
    """Whether a server gave the bridge an address."""
    if not (root / "sys/class/net" / bridge).exists():
        return False
    lease = prepare.ask_for_lease(device, bridge)
    if lease is None:
        return False
    prepare.give_address(bridge, lease)
    if lease.gateway:
        prepare.run(["ip", "route", "replace", "default", "via", lease.gateway])
    prepare.note_address(root, replace(lease, bridge=bridge))
    prepare.replace_file(root / OFFERED_NAME, prepare.offered_hostname(
        root, prepare.read_settings(root), lease))
    if lease.ntp:
        reload_time_sources()
    return True


def reload_time_sources():
    subprocess.run(["chronyc", "reload", "sources"], check=False, stdout=subprocess.DEVNULL)


# As the installation's answers have them -> as the API has them.
LEARNT = {"autoconf": "Autoconf", "dhcp": "DHCP"}


def settle_ipv6(interfaces, pif, told):
    """The lease of DHCPv6 is asked for later: beside IPv4 nothing waits for it."""
    row = interfaces.get(pif)
    if mode := LEARNT.get(told["ipv6"]):
        if row["ipv6_configuration_mode"] != mode:
            act(interfaces.api, "PIF.reconfigure_ipv6", pif, mode, "", "", "")
    elif row["ipv6_configuration_mode"] != "Static":
        act(interfaces.api, "PIF.reconfigure_ipv6", pif, "Static", told["ipv6"], told["gateway6"],
            of_family(told["dns"], 6))


def manage_by_ipv6(root, interfaces, pif):
    """An address that routers announce takes them some seconds."""
    if interfaces.get(pif)["ipv6_configuration_mode"] == LEARNT["dhcp"]:
        land_ipv6_lease(root, interfaces, pif)
    deadline = time.monotonic() + ROUTER_SECONDS
    while not interfaces.get(pif)["IPv6"]:
        if time.monotonic() > deadline:
            raise NotYet("no IPv6 router has announced an address")
        time.sleep(LOOK_SECONDS)
        mode = interfaces.get(pif)["ipv6_configuration_mode"]
        if mode in LEARNT.values():
            # Told once more, it reads what it has now.
            act(interfaces.api, "PIF.reconfigure_ipv6", pif, mode, "", "", "")
    if interfaces.get(pif)["primary_address_type"] != "IPv6":
        act(interfaces.api, "PIF.set_primary_address_type", pif, "IPv6")
    if interfaces.management() != pif:
        act(interfaces.api, "host.management_reconfigure", pif)
    if interfaces.get(pif)["ip_configuration_mode"] != "None":
        act(interfaces.api, "PIF.reconfigure_ip", pif, "None", "", "", "", "")


def lease_of(interfaces, pif, told):
    row = interfaces.get(pif)
    address = row["IP"] or (row["IPv6"] or [""])[0].split("/")[0]
    return prepare.Lease(row["device"], address, row["gateway"], tuple(told["dns"]),
                         told["address"] == "", interfaces.bridge(pif))


def write_files(root, host, lease):
    """What prepare writes at each start, of an address that has moved since."""
    if lease.dhcp:
        prepare.note_lease(root, lease)
    else:
        prepare.note_address(root, lease)
    prepare.write_for_scripts(root, host, lease, prepare.read_release(root))
    if not prepare.is_live(root):
        prepare.write_issue(root, lease, "", slots.read_notice(root / "var/lib/basalt"))


# -- each start -----------------------------------------------------------------------------------------


def lease_later(root):
    """Of a bond or a VLAN, once hostd has made it. That it is new is noted until the API has it."""
    words = prepare.read(root / "run/basalt/lease-wanted").split()
    if words:
        prepare.write(root / NEW_LEASE, "")
        if not take_lease(root, *words):
            raise NotYet(f"no DHCP server answers on {words[1]}")


def is_coordinator(root):
    return prepare.read(root / "var/lib/basalt/xapi/pool.conf") == "master"


def land_lease(api):
    """A host that leads says itself what it has; of the others their coordinator is told."""
    interfaces = Interfaces(api)
    pif = interfaces.management()
    if interfaces.get(pif)["ip_configuration_mode"] == "DHCP":
        act(api, "PIF.reconfigure_ip", pif, "DHCP", "", "", "", "")


def lease_ipv6(root, session):
    """At each start, where the management interface has its address by DHCPv6. Throws as `work`."""
    if not is_coordinator(root):
        bridge = prepare.read(root / LEASED6)
        if bridge and management.learns_ipv6(root, bridge):
            take_ipv6_lease(root, bridge)
        return
    with session() as api:
        interfaces = Interfaces(api)
        for pif, row in interfaces.all().items():
            if row["management"] and row["ipv6_configuration_mode"] == LEARNT["dhcp"]:
                land_ipv6_lease(root, interfaces, pif)
                return
    (root / LEASED6).unlink(missing_ok=True)
    forget_ipv6_lease(root)


def forget_ipv6_lease(root):
    """Somebody has chosen another way to an address, under which this one would be kept."""
    noted = root / "run/basalt" / LEASE6
    words = dict(line.split("=", 1) for line in prepare.read(noted).splitlines())
    if words:
        subprocess.run(["systemctl", "stop", f"basalt-{LEASE6}.service"], check=False)
        dhcp6.take_away(words["BRIDGE"], words["ADDRESS"])
        noted.unlink()
        if (root / OFFERED_TIME6).exists():
            (root / OFFERED_TIME6).unlink()
            reload_time_sources()


def land_ipv6_lease(root, interfaces, pif):
    bridge = interfaces.bridge(pif)
    address = take_ipv6_lease(root, bridge)
    prepare.write(root / LEASED6, bridge + "\n")
    if address not in {one.split("/")[0] for one in interfaces.get(pif)["IPv6"]}:
        # Told once more, it reads what it has now.
        act(interfaces.api, "PIF.reconfigure_ipv6", pif, LEARNT["dhcp"], "", "", "")


def take_ipv6_lease(root, bridge):
    """The address that the bridge has from now on; its keeper extends its life."""
    lease = dhcp6.ask(bridge)
    if lease is None:
        raise NotYet(f"no DHCPv6 server answers on {bridge}")
    dhcp6.give(bridge, lease)
    # Beside IPv4 the servers are those that came with it.
    if lease.dns and not prepare.addresses_on(bridge):
        prepare.write_name_servers(root, lease.dns)
    if lease.ntp and not (root / NAMED_TIME).exists():
        prepare.replace_file(root / OFFERED_TIME6, "".join(f"server {one} iburst\n"
                                                           for one in lease.ntp))
        reload_time_sources()
    prepare.write(root / "run/basalt" / LEASE6, f"BRIDGE={bridge}\nADDRESS={lease.address}\n")
    return lease.address


def land_name(root, api):
    """Of a lease that came when the daemons ran already."""
    if name := prepare.read(root / OFFERED_NAME):
        act(api, "host.set_hostname_live", Interfaces(api).host, name)
        (root / OFFERED_NAME).unlink()


def work(root, session):
    """`session` gives one of the API. Throws NotYet, and what the API throws."""
    lease_later(root)
    told = told_network(root, prepare.read_settings(root)) if is_coordinator(root) else None
    if told is not None:
        with session() as api:
            lease = settle(root, api, told)
            land_name(root, api)
        write_files(root, prepare.read(root / "var/lib/basalt/uuid"), lease)
        print(f"the host is managed at {lease.address} on {lease.bridge}")
    elif (root / NEW_LEASE).exists() and is_coordinator(root):
        with session() as api:
            land_lease(api)
            land_name(root, api)
    (root / NEW_LEASE).unlink(missing_ok=True)
    if is_coordinator(root):
        prepare.write(root / JOURNAL, DONE + "\n")


def until_done(stage):
    """A server or a cable may come later."""
    said = ""
    while True:
        try:
            return stage()
        except (NotYet, OSError, xapi_client.Failure, xapi_client.Unexpected,
                subprocess.SubprocessError) as error:
            if str(error) != said:
                print(f"the management network is not settled yet: {error}", flush=True)
            said = str(error)
        time.sleep(AGAIN_SECONDS)


def start_keeper(root, name):
    if (root / "run/basalt" / name).exists():
        subprocess.run(["systemctl", "--no-block", "restart", f"basalt-{name}.service"],
                       check=False)


def main(root=Path("/")):
    def session():
        return xapi_client.Session(f"unix:{LOCAL_SOCKET}", "root", "")

    until_done(lambda: work(root, session))
    start_keeper(root, LEASE)
    until_done(lambda: lease_ipv6(root, session))
    start_keeper(root, LEASE6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
