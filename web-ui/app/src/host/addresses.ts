// How a port of a host gets its addresses, as a form, and the calls that bring it about.
import type { Api, PIFRecord, Ref } from "@basalt/xenapi"
import { isIpv4, isIpv6, isIpv6Cidr, isNetmask, serverList } from "@/lib/addresses.js"
import { allOrNothing, type Step } from "@/lib/steps.js"

export interface Addresses {
  mode: PIFRecord["ip_configuration_mode"]
  ip: string
  netmask: string
  gateway: string
  /** Name servers, with commas or spaces between them. */
  dns: string
  mode6: PIFRecord["ipv6_configuration_mode"]
  /** Address and prefix. */
  ip6: string
  gateway6: string
  /** Whether the card joins what it receives to large packets; undefined: nobody has said. */
  joins: "on" | "off" | undefined
}

export function addressesOf(pif: PIFRecord): Addresses {
  const { gro } = pif.properties
  return {
    mode: pif.ip_configuration_mode, ip: pif.IP, netmask: pif.netmask, gateway: pif.gateway, dns: pif.DNS,
    mode6: pif.ipv6_configuration_mode, ip6: pif.IPv6[0] ?? "", gateway6: pif.ipv6_gateway,
    joins: gro === "on" || gro === "off" ? gro : undefined,
  }
}

/** Whether it is a card, whose properties can be set. */
export function isCard(pif: PIFRecord): boolean {
  return pif.physical && pif.managed && pif.VLAN < 0 && pif.bond_slave_of === "OpaqueRef:NULL"
}

export type AddressProblem = "ip" | "netmask" | "gateway" | "dns" | "ip6" | "gateway6" | "reach"

/** The first that is wrong. */
export function addressProblem(form: Addresses, pif: PIFRecord): AddressProblem | undefined {
  if (form.mode === "Static") {
    if (!isIpv4(form.ip)) return "ip"
    if (!isNetmask(form.netmask)) return "netmask"
    if (form.gateway && !isIpv4(form.gateway)) return "gateway"
    if (serverList(form.dns) === undefined) return "dns"
  }
  if (form.mode6 === "Static") {
    if (!isIpv6Cidr(form.ip6)) return "ip6"
    if (form.gateway6 && !isIpv6(form.gateway6)) return "gateway6"
  }
  const left = pif.primary_address_type === "IPv6" ? form.mode6 : form.mode
  return pif.management && left === "None" ? "reach" : undefined
}

type Family = (api: Api, pif: Ref<"PIF">, form: Addresses) => Promise<unknown>

const ipv4: Family = (api, pif, { mode, ip, netmask, gateway, dns }) =>
  mode === "Static"
    ? api.PIF.reconfigure_ip(pif, mode, ip, netmask, gateway, serverList(dns) ?? "")
    : api.PIF.reconfigure_ip(pif, mode, "", "", "", "")
// Name servers are the interface's, and go with IPv4.
const ipv6: Family = (api, pif, { mode6, ip6, gateway6 }) =>
  mode6 === "Static"
    ? api.PIF.reconfigure_ipv6(pif, mode6, ip6, gateway6, "")
    : api.PIF.reconfigure_ipv6(pif, mode6, "", "", "")

function differs(before: Addresses, wanted: Addresses, mode: "mode" | "mode6", rest: readonly (keyof Addresses)[]): boolean {
  return before[mode] !== wanted[mode] || (wanted[mode] === "Static" && rest.some((key) => before[key] !== wanted[key]))
}

/** What the calls would change. */
export function changedParts(before: Addresses, wanted: Addresses): ("ipv4" | "ipv6" | "joins")[] {
  const parts: ("ipv4" | "ipv6" | "joins")[] = []
  if (wanted.joins !== before.joins) parts.push("joins")
  if (differs(before, wanted, "mode6", ["ip6", "gateway6"])) parts.push("ipv6")
  if (differs(before, wanted, "mode", ["ip", "netmask", "gateway", "dns"])) parts.push("ipv4")
  return parts
}

/** All of it or nothing. The one that may cost the connection, IPv4, comes last. */
export function changeAddresses(api: Api, pif: Ref<"PIF">, before: Addresses, wanted: Addresses): Promise<void> {
  const step = (family: Family): Step => ({ act: () => family(api, pif, wanted), back: () => family(api, pif, before) })
  const joins: Step = {
    act: () => api.PIF.set_property(pif, "gro", wanted.joins ?? "off"),
    // Nobody can unsay it: off is what a card without the property has in a switch that is a program.
    back: () => api.PIF.set_property(pif, "gro", before.joins ?? "off"),
  }
  const all = { joins, ipv6: step(ipv6), ipv4: step(ipv4) }
  return allOrNothing(changedParts(before, wanted).map((part) => all[part]))
}
