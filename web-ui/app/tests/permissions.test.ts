import { messages, roleChain } from "@generated/messages"
import { describe, expect, it } from "vitest"
import { allows, allRights, hasRole, highestRole, noRights, rightsOf } from "@/api/permissions.js"

const roles = new Map(roleChain.map((name) => [`role-${name}` as never, { name_label: name } as never]))
const session = { is_local_superuser: false, pool: false, subject: "s" as never }
const subjects = (...names: string[]) => new Map([["s" as never, { roles: names.map((name) => `role-${name}`) } as never]])

describe("rights", () => {
  it("root has all, a stranger none", () => {
    expect(rightsOf({ ...session, is_local_superuser: true }, new Map(), roles)).toEqual(allRights)
    expect(rightsOf(session, new Map(), roles)).toEqual(noRights)
    expect(rightsOf(session, subjects("made-up"), roles)).toEqual(noRights)
  })

  it("a reader is offered nothing that changes anything", () => {
    const reader = rightsOf(session, subjects("read-only"), roles)
    expect(highestRole(reader)).toBe("read-only")
    // What a reader may: looking, leaving, and naming and stopping own tasks.
    const harmless = /\.(get_|logout$|probe$)|^(task\.(cancel|create|destroy|add_to_other_config)|session\.|message\.get|event\.from$)|assert_|compute_/
    const offered = Object.keys(messages).filter((name) => allows(reader, name as never))
    expect(offered.filter((name) => !harmless.test(name))).toEqual([])
    expect(hasRole(reader, "vm-operator")).toBe(false)
  })

  it("an operator starts VMs but neither makes nor destroys them", () => {
    const operator = rightsOf(session, subjects("vm-operator"), roles)
    expect(allows(operator, "VM.start")).toBe(true)
    expect(allows(operator, "VM.clone")).toBe(false)
    expect(allows(operator, "VM.destroy")).toBe(false)
    expect(allows(operator, "host.disable")).toBe(false)
    expect(hasRole(operator, "vm-operator")).toBe(true)
    expect(hasRole(operator, "vm-admin")).toBe(false)
  })

  it("what the server has not built is offered to nobody", () => {
    for (const [name, { built }] of Object.entries(messages))
      expect(allows(allRights, name as never), name).toBe(built)
  })

  it("several roles add up", () => {
    const both = rightsOf(session, subjects("read-only", "vm-admin"), roles)
    expect(highestRole(both)).toBe("vm-admin")
    expect(allows(both, "VM.clone")).toBe(true)
  })
})
