// Every record that the console shows, kept as the host's events say.
import type { EventBatch, Records, Ref, TaskRecord } from "@basalt/xenapi"
import { shallowRef, triggerRef, type ShallowRef } from "vue"

/** Classes that the console follows. */
export const followed = [
  "Certificate", "console", "host", "host_cpu", "host_metrics", "network", "PBD", "PIF",
  "PIF_metrics", "pool", "role", "SM", "SR", "subject", "task", "VBD", "VDI", "VIF", "VLAN",
  "VM", "VM_guest_metrics", "VM_metrics", "VMSS", "VTPM",
] as const

export type Followed = (typeof followed)[number]
export type Table<C extends Followed> = ReadonlyMap<Ref<C>, Records[C]>

type AnyTable = Map<string, unknown>

/**
 * Tables of records. Reading one in a computed value or a template makes it depend on that class as
 * a whole: a batch of events wakes each dependant once, however many records it changes.
 */
export class Store {
  private readonly tables = new Map<string, ShallowRef<AnyTable>>()
  private readonly wireNames = new Map<string, Followed>()
  private readonly watchers = new Set<(changed: ReadonlySet<string>) => void>()

  constructor() {
    for (const cls of followed) {
      this.tables.set(cls, shallowRef<AnyTable>(new Map()))
      this.wireNames.set(cls.toLowerCase(), cls)
    }
  }

  table<C extends Followed>(cls: C): Table<C> {
    return this.shallow(cls).value as unknown as Table<C>
  }

  get<C extends Followed>(cls: C, ref: Ref<C> | undefined): Records[C] | undefined {
    return ref === undefined ? undefined : this.table(cls).get(ref)
  }

  /** The records of references, those that are gone left out. */
  some<C extends Followed>(cls: C, refs: readonly Ref<C>[]): [Ref<C>, Records[C]][] {
    const table = this.table(cls)
    const found: [Ref<C>, Records[C]][] = []
    for (const ref of refs) {
      const record = table.get(ref)
      if (record) found.push([ref, record])
    }
    return found
  }

  byUuid<C extends Followed>(cls: C, uuid: string): [Ref<C>, Records[C]] | undefined {
    for (const [ref, record] of this.table(cls))
      if ((record as { uuid: string }).uuid === uuid) return [ref, record]
    return undefined
  }

  /** The object behind a reference of unknown class, for sentences. */
  nameOf(ref: string): { cls: Followed; name: string } | undefined {
    for (const [cls, table] of this.tables) {
      const record = table.value.get(ref) as Record<string, unknown> | undefined
      if (!record) continue
      const name = record.name_label || record.device || record.uuid
      return { cls: cls as Followed, name: String(name) }
    }
    return undefined
  }

  reset(batch: EventBatch<Followed>): void {
    const changed = new Set<string>(followed)
    for (const table of this.tables.values()) table.value.clear()
    this.take(batch, changed)
  }

  apply(batch: EventBatch<Followed>): void {
    this.take(batch, new Set())
  }

  clear(): void {
    for (const table of this.tables.values()) table.value = new Map()
    this.tell(new Set(followed))
  }

  /** Waits for the end of a task. Undefined: its record is gone before its end was seen. */
  taskEnded(
    ref: Ref<"task">,
    onProgress: (task: TaskRecord) => void,
    signal?: AbortSignal,
  ): Promise<TaskRecord | undefined> {
    return new Promise((resolve, reject) => {
      let seen = false
      const look = () => {
        const task = this.shallow("task").value.get(ref) as TaskRecord | undefined
        if (!task) return seen ? settle(() => resolve(undefined)) : undefined
        seen = true
        onProgress(task)
        if (task.status !== "pending" && task.status !== "cancelling")
          settle(() => resolve(task))
      }
      const onChange = (changed: ReadonlySet<string>) => {
        if (changed.has("task")) look()
      }
      const settle = (end: () => void) => {
        this.watchers.delete(onChange)
        end()
      }
      signal?.addEventListener("abort", () => settle(() => reject(signal.reason as Error)))
      this.watchers.add(onChange)
      look()
    })
  }

  /** Called after each batch with the classes that it changed; returns what ends that. */
  onChange(watcher: (changed: ReadonlySet<string>) => void): () => void {
    this.watchers.add(watcher)
    return () => this.watchers.delete(watcher)
  }

  private shallow(cls: string): ShallowRef<AnyTable> {
    return this.tables.get(cls)!
  }

  private take(batch: EventBatch<Followed>, changed: Set<string>): void {
    for (const event of batch.events) {
      // No record of a table: who shows messages reads them again.
      if ((event.class as string) === "message") changed.add("message")
      const cls = this.wireNames.get(event.class)
      if (!cls) continue
      const table = this.shallow(cls).value
      if (event.operation === "del") table.delete(event.ref)
      else table.set(event.ref, event.snapshot)
      changed.add(cls)
    }
    this.tell(changed)
  }

  private tell(changed: ReadonlySet<string>): void {
    for (const cls of changed) {
      const table = this.tables.get(cls)
      if (table) triggerRef(table)
    }
    for (const watcher of [...this.watchers]) watcher(changed)
  }
}

export const store = new Store()
