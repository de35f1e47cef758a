// What the session's user may call: the console offers nothing else.
import type { Records, Ref, RoleRecord, SubjectRecord } from "@basalt/xenapi"
import { messages, roleChain, type MessageName } from "@generated/messages"

export type RoleName = (typeof roleChain)[number]

export interface Rights {
  /** Mask over roleChain. */
  roles: number
  /** Root of the hosts, or the pool itself. */
  superuser: boolean
}

export const noRights: Rights = { roles: 0, superuser: false }
export const allRights: Rights = { roles: (1 << roleChain.length) - 1, superuser: true }

/** The rights of a session, by its subject's roles as the server reads them. */
export function rightsOf(
  session: Pick<Records["session"], "is_local_superuser" | "pool" | "subject">,
  subjects: ReadonlyMap<Ref<"subject">, SubjectRecord>,
  roles: ReadonlyMap<Ref<"role">, RoleRecord>,
): Rights {
  if (session.is_local_superuser || session.pool) return allRights
  let mask = 0
  for (const ref of subjects.get(session.subject)?.roles ?? []) {
    const at = roleChain.indexOf(roles.get(ref)?.name_label as RoleName)
    if (at >= 0) mask |= 1 << at
  }
  return { roles: mask, superuser: false }
}

/** Whether a message is there and the rights cover it. */
export function allows(rights: Rights, message: MessageName): boolean {
  const facts = messages[message]
  if (!facts.built) return false
  return rights.superuser || (rights.roles & facts.roles) !== 0
}

/** The most powerful role of the rights. */
export function highestRole(rights: Rights): RoleName | undefined {
  return roleChain.find((_, index) => (rights.roles & (1 << index)) !== 0)
}

/** Whether the rights hold for what a role, or a more powerful one, may do (HTTP paths). */
export function hasRole(rights: Rights, least: RoleName): boolean {
  const mask = (2 << roleChain.indexOf(least)) - 1
  return rights.superuser || (rights.roles & mask) !== 0
}
