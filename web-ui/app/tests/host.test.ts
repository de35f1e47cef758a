// A host that goes down, its settings, logs, certificates, and who may sign in.
import { TransportError } from "@basalt/xenapi"
import { describe, expect, it } from "vitest"
import { addSubject, isGroup, setRole, subjectName } from "@/access/subjects.js"
import { restartAgent, takeDown, type HostPowerCalls } from "@/host/power.js"
import { changesOf, formOf, hostnameProblem } from "@/host/settings.js"
import { hypervisorOf } from "@/lib/objects.js"
import { filterLog, linesKept, parseLog } from "@/lib/logs.js"
import { pemProblem } from "@/lib/pem.js"
import { recorder } from "./fixtures.js"

function down(answers: Record<string, unknown> = {}, failing: Record<string, unknown> = {}) {
  const { api, log } = recorder({ "host.get_enabled": true, ...answers }, failing)
  const calls: HostPowerCalls = { api, async: api, wait: (task) => task, step: () => undefined }
  return { log, run: (how: "reboot" | "shutdown") => takeDown(calls, "h" as never, how, ["a", "b"] as never[]) }
}

describe("the hypervisor of a host", () => {
  it("is the one that tells its version", () => {
    expect(hypervisorOf({ xen: "", qemu: "10.0.2", linux: "6.12" })).toBe("QEMU 10.0.2")
    expect(hypervisorOf({ xen: "4.20.1" })).toBe("Xen 4.20.1")
    expect(hypervisorOf({ xen: "" })).toBe("")
  })
})

describe("a host that goes down", () => {
  it("is disabled, emptied, then booted", async () => {
    const { log, run } = down()
    await run("reboot")
    expect(log).toEqual(["host.disable h", "VM.clean_shutdown a", "VM.clean_shutdown b", "host.reboot h"])
  })
  it("is as it was when a guest does not stop: those that stopped run again", async () => {
    const { log, run } = down({}, { "VM.clean_shutdown b": new Error("no") })
    await expect(run("shutdown")).rejects.toThrow("no")
    expect(log).toEqual(["host.disable h", "VM.clean_shutdown a", "VM.clean_shutdown b", "host.enable h", "VM.start a false false"])
  })
  it("stays disabled if it was before", async () => {
    const { log, run } = down({ "host.get_enabled": false }, { "host.reboot": new Error("no") })
    await expect(run("reboot")).rejects.toThrow("no")
    expect(log).toEqual(["VM.clean_shutdown a", "VM.clean_shutdown b", "host.reboot h", "VM.start a false false", "VM.start b false false"])
  })
  it("may break the connection before it has answered", async () => {
    const gone = new TransportError("host.reboot", "gone")
    const { log, run } = down({}, { "host.reboot": gone })
    await run("reboot")
    expect(log.at(-1)).toBe("host.reboot h")
    await restartAgent(recorder({}, { "host.restart_agent": gone }).api, "h" as never)
    await expect(restartAgent(recorder({}, { "host.restart_agent": new Error("no") }).api, "h" as never)).rejects.toThrow("no")
  })
})

const record = {
  hostname: "lion", timezone: "Etc/UTC", ntp_mode: "Factory", ntp_custom_servers: ["a", "b"], ssh_enabled: true, https_only: false,
  logging: { other: "1", syslog_destination: "old" }, iscsi_iqn: "iqn.x",
} as never

describe("a host's settings", () => {
  it("call for what was changed only, servers before the mode that uses them", async () => {
    const form = formOf(record)
    expect(changesOf(form, { ...form })).toEqual([])
    const wanted = { ...form, ntpMode: "Custom" as const, ntpServers: "c, d", ssh: false, hostname: "tiger" }
    const { api, log } = recorder()
    for (const change of changesOf(form, wanted)) await change(api, "h" as never, record, wanted)
    expect(log).toEqual(["host.set_hostname_live h tiger", 'host.set_ntp_custom_servers h ["c","d"]', "host.set_ntp_mode h Custom", "host.disable_ssh h"])
  })
  it("keep the old log target when the new one is refused", async () => {
    const form = formOf(record)
    const wanted = { ...form, syslog: "new" }
    const { api, log } = recorder({}, { "host.syslog_reconfigure": new Error("no") })
    const [change] = changesOf(form, wanted)
    await expect(change!(api, "h" as never, record, wanted)).rejects.toThrow("no")
    expect(log.at(-1)).toBe('host.set_logging h {"other":"1","syslog_destination":"old"}')
  })
  it("know names that a host can have", () => {
    expect(["lion", "a", "host-1", "1a"].filter(hostnameProblem)).toEqual([])
    const wrong = ["", "12", "-a", "a-", "a b", "a.b", "x".repeat(64), "ä", "<b>"]
    expect(wrong.filter((name) => !hostnameProblem(name))).toEqual([])
  })
})

describe("logs", () => {
  it("of several daemons are told in the order of time", () => {
    const text = "2026-01-01T10:00:02.000Z info b x=1\n2026-01-01T10:00:01.000Z error a\n\n2026-01-01T10:00:01.000Z warning c\n"
    expect(parseLog(text)).toEqual([
      { text: "2026-01-01T10:00:01.000Z error a", level: "error" },
      { text: "2026-01-01T10:00:01.000Z warning c", level: "warn" },
      { text: "2026-01-01T10:00:02.000Z info b x=1", level: "" },
    ])
  })
  it("stay as they come where a line has no time", () => {
    expect(parseLog("[ 2.0] b\n[ 1.0] Kernel panic").map(({ text, level }) => text + level)).toEqual(["[ 2.0] b", "[ 1.0] Kernel panicerror"])
  })
  it("keep the newest of very many, and what the filter asks for", () => {
    const lines = parseLog(Array.from({ length: linesKept + 10 }, (_, index) => `line ${index}`).join("\n"))
    expect([lines.length, lines[0]!.text]).toEqual([linesKept, "line 10"])
    expect(filterLog(lines, "LINE 2009").map(({ text }) => text)).toEqual(["line 2009"])
    expect(filterLog(lines, " ")).toEqual(lines)
  })
  it("call nothing bad because of a word far behind", () => {
    expect(parseLog(`${"x".repeat(100)} error`)[0]!.level).toBe("")
  })
})

describe("certificates", () => {
  const pem = (label: string) => `-----BEGIN ${label}-----\nAAAA\n-----END ${label}-----\n`
  it("are told apart from keys, and keys with a password from those without", () => {
    expect(pemProblem(` ${pem("CERTIFICATE")}${pem("CERTIFICATE")}`, "certificate")).toBeUndefined()
    expect(["PRIVATE KEY", "RSA PRIVATE KEY"].map((label) => pemProblem(pem(label), "key"))).toEqual([undefined, undefined])
    expect(pemProblem(pem("PRIVATE KEY"), "certificate")).toBe("noCertificate")
    expect(pemProblem(pem("CERTIFICATE"), "key")).toBe("noKey")
    expect(pemProblem(pem("ENCRYPTED PRIVATE KEY"), "key")).toBe("encrypted")
    expect(pemProblem("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END RSA PRIVATE KEY-----", "key")).toBe("encrypted")
    expect(pemProblem("-----BEGIN CERTIFICATE-----\nAAAA", "certificate")).toBe("noCertificate")
    expect(pemProblem(" \n", "key")).toBe("empty")
  })
})

describe("who may sign in", () => {
  const known = { "auth.get_subject_identifier": "u7", "auth.get_subject_information_from_identifier": { "subject-name": "eve" }, "subject.create": "new" }
  it("has the chosen role and no other", async () => {
    const { api, log } = recorder({ ...known, "subject.get_roles": ["admin"] })
    await addSubject(api, "eve", "reader" as never)
    expect(log).toEqual([
      'subject.create {"subject_identifier":"u7","other_config":{"subject-name":"eve"}}', "subject.add_to_roles new reader", "subject.remove_from_roles new admin",
    ])
  })
  it("is not there when the role cannot be set", async () => {
    const { api, log } = recorder({ ...known, "subject.get_roles": ["admin"] }, { "subject.remove_from_roles new admin": new Error("no") })
    await expect(addSubject(api, "eve", "reader" as never)).rejects.toThrow("no")
    expect(log.slice(-2)).toEqual(["subject.remove_from_roles new reader", "subject.destroy new"])
  })
  it("keeps the old roles when one of them cannot be taken away", async () => {
    const { api, log } = recorder({ "subject.get_roles": ["a", "b"] }, { "subject.remove_from_roles s b": new Error("no") })
    await expect(setRole(api, "s" as never, "c" as never)).rejects.toThrow("no")
    expect(log).toEqual([
      "subject.add_to_roles s c", "subject.remove_from_roles s a", "subject.remove_from_roles s b", "subject.add_to_roles s a", "subject.remove_from_roles s c",
    ])
  })
  it("is called by the name that the machine has", () => {
    const subject = (config: object) => ({ subject_identifier: "u7", other_config: config }) as never
    expect([subjectName(subject({ "subject-name": "eve" })), subjectName(subject({}))]).toEqual(["eve", "u7"])
    expect([isGroup(subject({ "subject-is-group": "true" })), isGroup(subject({}))]).toEqual([true, false])
  })
})
