// The one session of the page. It lives in memory only: a page that is loaded anew signs in anew.
import { Client, type Api, type AsyncApi, type Records, type Ref } from "@basalt/xenapi"
import type { MessageName } from "@generated/messages"
import { computed, ref, shallowRef } from "vue"
import { follow } from "./live.js"
import { allows, hasRole, noRights, rightsOf, type RoleName } from "./permissions.js"
import { followed, store } from "./store.js"

export type LinkState = "signed-out" | "loading" | "live" | "lost"

export const link = ref<LinkState>("signed-out")
/** Why the last session ended, when nobody asked for it. */
export const endReason = shallowRef<unknown>()
export const client = shallowRef<Client>()
export const me = shallowRef<Records["session"]>()

let following: AbortController | undefined

/** Rights follow the subject's roles, which are records like others. */
export const rights = computed(() =>
  me.value ? rightsOf(me.value, store.table("subject"), store.table("role")) : noRights,
)

/** Whether to offer what needs a message. */
export function may(message: MessageName): boolean {
  return allows(rights.value, message)
}

/** Whether to offer what needs an HTTP path of a role. */
export function mayAs(role: RoleName): boolean {
  return hasRole(rights.value, role)
}

/** The messages, for who is signed in. */
export function calls(): Api {
  return signedIn().api
}

/** The same as tasks. */
export function tasks(): AsyncApi {
  return signedIn().async
}

export function signedIn(): Client {
  if (!client.value) throw new Error("nobody is signed in")
  return client.value
}

export async function signIn(user: string, password: string): Promise<void> {
  const url = location.origin
  const fresh = await Client.login({ url, user, password, originator: "Basalt web console" })
  me.value = await fresh.api.session.get_record(fresh.session)
  client.value = fresh
  endReason.value = undefined
  link.value = "loading"
  following = new AbortController()
  void follow(
    fresh,
    // Messages are told of too, though the data model does not count them among what has events.
    [...followed, "message" as never],
    {
      reset: (batch) => store.reset(batch),
      apply: (batch) => store.apply(batch),
      live: () => (link.value = "live"),
      lost: () => (link.value = "lost"),
      ended: (error) => {
        endReason.value = error
        forget()
      },
    },
    { signal: following.signal },
  )
}

export async function signOut(): Promise<void> {
  const old = client.value
  forget()
  // The server ends an idle session by itself; a host that is away must not keep the person here.
  await old?.logout().catch(() => undefined)
}

function forget(): void {
  following?.abort()
  following = undefined
  client.value = undefined
  me.value = undefined
  link.value = "signed-out"
  store.clear()
}

/** Tasks that nobody would end when the page is gone: those of its uploads. One that is being made is not known yet. */
export const tasksOfPage = new Set<Ref<"task">>()

addEventListener("pagehide", (event) => {
  if (event.persisted || !client.value) return
  const { session } = client.value
  const say = (method: string, ...params: string[]) => {
    const body = { jsonrpc: "2.0", method, params: [session, ...params], id: 0 }
    navigator.sendBeacon("/jsonrpc", new Blob([JSON.stringify(body)], { type: "application/json" }))
  }
  for (const task of tasksOfPage) say("task.cancel", task)
  // What is said last may be heard first: a session by which a task must still end is left to its time limit.
  if (tasksOfPage.size === 0) say("session.logout")
})
