// The menu of one host: its names and its power.
import type { HostRecord, Ref } from "@basalt/xenapi"
import { ArchiveRestore, Download, OctagonX, Pencil, Power, RefreshCcw, RotateCw } from "@lucide/vue"
import { awaited, perform, performTask } from "@/api/actions.js"
import { calls, may, mayAs, signedIn, tasks } from "@/api/session.js"
import { store } from "@/api/store.js"
import { downloadBackup } from "@/api/transfer.js"
import { confirm } from "@/lib/confirm.js"
import { fileName } from "@/lib/image.js"
import { coordinatorOf } from "@/lib/objects.js"
import { useWords } from "@/lib/use.js"
import type { MenuItem } from "@/ui/menu.js"
import { restartAgent, takeDown, type HostPower } from "./power.js"

export interface HostEntry {
  ref: Ref<"host">
  record: HostRecord
}

/** `ask` opens what a dialog of the page asks. */
export function useHostMenu(ask: { rename: () => void; restore: () => void }) {
  const { t } = useWords()

  function guestsOf({ record }: HostEntry) {
    return store.some("VM", record.resident_VMs).filter(([, vm]) => !vm.is_control_domain)
  }

  async function down(host: HostEntry, how: HostPower) {
    const name = host.record.name_label
    const guests = guestsOf(host)
    const yes = await confirm({
      title: t(`hostPower.${how}.ask`, { name }),
      text: t(`hostPower.${how}.text`, guests.length),
      losses: guests.map(([, vm]) => t("hostPower.guest", { name: vm.name_label })),
      yes: t(`hostPower.${how}.name`),
      danger: true,
    })
    if (!yes) return
    await perform(t(`hostPower.${how}.doing`, { name }), (action) =>
      takeDown(
        {
          api: signedIn().api,
          async: tasks(),
          wait: (task) => awaited({ ...action, progress: undefined }, task),
          step: (key, share) => {
            action.note = t(`hostPower.step.${key}`)
            action.progress = share
          },
        },
        host.ref,
        how,
        guests.map(([ref]) => ref),
      ),
    )
  }

  async function restart({ ref, record }: HostEntry) {
    const name = record.name_label
    const yes = await confirm({
      title: t("hostPower.agent.ask", { name }), text: t("hostPower.agent.text"), yes: t("hostPower.agent.name"),
    })
    if (yes) await perform(t("hostPower.agent.doing", { name }), () => restartAgent(calls(), ref))
  }

  return (host: HostEntry): MenuItem[] => {
    const { ref, record } = host
    const live = store.get("host_metrics", record.metrics)?.live ?? false
    const away = live ? undefined : t("host.away")
    const items: MenuItem[] = []
    if (may("host.set_name_label")) items.push({ key: "rename", label: t("vm.rename"), icon: Pencil, run: ask.rename })
    // The page can ask the host that it comes from, and that one leads the pool.
    if (mayAs("pool-admin") && ref === coordinatorOf(store)) {
      const name = record.name_label
      items.push({
        key: "backup", label: t("backup.save"), icon: Download, separated: true, why: away,
        run: () => void perform(t("backup.saving", { name }), (action) => downloadBackup(action, fileName(`${record.hostname || name}-backup`, "tar"))),
      })
      items.push({ key: "restore", label: t("backup.restore"), icon: ArchiveRestore, danger: true, why: away, run: ask.restore })
    }
    if (may("host.restart_agent"))
      items.push({ key: "agent", label: t("hostPower.agent.name"), icon: RefreshCcw, separated: true, why: away, run: () => void restart(host) })
    if (may("host.power_on") && !live)
      items.push({
        key: "on", label: t("hostPower.on.name"), icon: Power, separated: true,
        why: record.power_on_mode ? undefined : t("hostPower.on.unknown"),
        run: () => void performTask(t("hostPower.on.doing", { name: record.name_label }), () => tasks().host.power_on(ref)),
      })
    if (may("host.reboot"))
      items.push({ key: "reboot", label: t("hostPower.reboot.name"), icon: RotateCw, danger: true, separated: true, why: away, run: () => void down(host, "reboot") })
    if (may("host.shutdown"))
      items.push({ key: "shutdown", label: t("hostPower.shutdown.name"), icon: OctagonX, danger: true, why: away, run: () => void down(host, "shutdown") })
    return items
  }
}
