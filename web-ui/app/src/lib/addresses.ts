// Addresses as a person writes them, checked as the server does.

export function isIpv4(text: string): boolean {
  return /^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/.test(text)
}

/** Ones, then zeros; 0.0.0.0 is none. */
export function isNetmask(text: string): boolean {
  if (!isIpv4(text)) return false
  const bits = text.split(".").map((one) => Number(one).toString(2).padStart(8, "0")).join("")
  return /^1+0*$/.test(bits)
}

export function isIpv6(text: string): boolean {
  const halves = text.split("::")
  if (halves.length > 2 || !/^[0-9a-f:.]+$/i.test(text)) return false
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")))
  const last = groups.at(-1) ?? ""
  const four = last.includes(".")
  if (four && !isIpv4(last)) return false
  const plain = four ? groups.slice(0, -1) : groups
  const count = plain.length + (four ? 2 : 0)
  return plain.every((group) => /^[0-9a-f]{1,4}$/i.test(group)) && (halves.length === 2 ? count < 8 : count === 8)
}

/** With the length of its prefix, such as fd00::2/64. */
export function isIpv6Cidr(text: string): boolean {
  const [address = "", prefix = "", ...more] = text.split("/")
  return more.length === 0 && isIpv6(address) && /^\d{1,3}$/.test(prefix) && Number(prefix) <= 128
}

/** A list as the server takes it; undefined where something is no address. */
export function serverList(text: string): string | undefined {
  const words = text.split(/[\s,]+/).filter(Boolean)
  return words.every((one) => isIpv4(one) || isIpv6(one)) ? words.join(",") : undefined
}
