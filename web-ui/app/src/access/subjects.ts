// Users and groups of the host's machine that may sign in, and the one role that each has here.
import type { Api, Ref, SubjectRecord } from "@basalt/xenapi"

/** The only directory that the server looks users up in: those of the host's own machine. */
export const localUsers = "PAM"

export function subjectName(subject: SubjectRecord): string {
  return subject.other_config["subject-name"] || subject.subject_identifier
}

export function isGroup(subject: SubjectRecord): boolean {
  return subject.other_config["subject-is-group"] === "true"
}

/** Lets somebody sign in with a role; nobody new is left behind when that fails. */
export async function addSubject(api: Api, name: string, role: Ref<"role">): Promise<void> {
  const identifier = await api.auth.get_subject_identifier(name)
  const facts = await api.auth.get_subject_information_from_identifier(identifier)
  const subject = await api.subject.create({ subject_identifier: identifier, other_config: facts })
  try {
    await setRole(api, subject, role)
  } catch (error) {
    await api.subject.destroy(subject).catch(() => undefined)
    throw error
  }
}

/**
 * Roles are a chain, so one of them says everything: the others go. A new subject has been given one
 * by the server.
 */
export async function setRole(api: Api, subject: Ref<"subject">, role: Ref<"role">): Promise<void> {
  const held = await api.subject.get_roles(subject)
  const isNew = !held.includes(role)
  if (isNew) await api.subject.add_to_roles(subject, role)
  const gone: Ref<"role">[] = []
  try {
    for (const other of held) {
      if (other === role) continue
      await api.subject.remove_from_roles(subject, other)
      gone.push(other)
    }
  } catch (error) {
    for (const other of gone) await api.subject.add_to_roles(subject, other).catch(() => undefined)
    if (isNew) await api.subject.remove_from_roles(subject, role).catch(() => undefined)
    throw error
  }
}
