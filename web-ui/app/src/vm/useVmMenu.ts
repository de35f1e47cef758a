// The menu of one VM, the same in lists and on its page.
import { Settings2 } from "@lucide/vue"
import { useRouter } from "vue-router"
import { perform } from "@/api/actions.js"
import { calls, may, mayAs } from "@/api/session.js"
import { downloadVm } from "@/api/transfer.js"
import { confirm } from "@/lib/confirm.js"
import { fileName } from "@/lib/image.js"
import type { VmEntry } from "@/lib/objects.js"
import { useWords } from "@/lib/use.js"
import type { MenuItem } from "@/ui/menu.js"
import { allowsNow, destroyVms, offered, otherIcons, run, takeSnapshot, type Translate } from "./actions.js"
import { askCopy } from "./copying.js"

export function useVmMenu() {
  const { t, time } = useWords()
  const words = t as Translate
  const router = useRouter()

  function power(vm: VmEntry): MenuItem[] {
    return offered()
      .filter((action) => allowsNow(vm.record, action))
      .map((action) => ({
        key: action.key,
        label: words(`vmAction.${action.key}.name`),
        icon: action.icon,
        danger: action.danger ?? false,
        run: () => void run(words, action, [vm]),
      }))
  }

  function others(vm: VmEntry): MenuItem[] {
    const { record } = vm
    const items: MenuItem[] = []
    const busy = Object.keys(record.current_operations).length > 0
    const not = (operation: "snapshot" | "clone" | "destroy" | "export") =>
      record.allowed_operations.includes(operation)
        ? undefined
        : busy ? t("why.busy") : t("why.state", { state: t(`power.${record.power_state}`) })
    if (may("VM.snapshot"))
      items.push({
        key: "snapshot", label: t("snapshot.take"), icon: otherIcons.snapshot, separated: true, why: not("snapshot"),
        run: () => void takeSnapshot(words, vm, t("snapshot.defaultName", { time: time(new Date().toISOString()) })),
      })
    if (may("VM.clone"))
      items.push({
        key: "clone", label: t("vmAction.copy.name"), icon: otherIcons.copy, why: not("clone"),
        run: () => askCopy(vm),
      })
    if (mayAs("vm-admin"))
      items.push({
        key: "export", label: t("vmAction.export.name"), icon: otherIcons.export, why: not("export"),
        run: () => void perform(t("vmAction.export.doing", { name: record.name_label }), (action) => downloadVm(action, vm.ref, fileName(record.name_label, "xva"))),
      })
    if (may("VM.set_is_a_template"))
      items.push({
        key: "template", label: t("vmAction.template.name"), icon: otherIcons.template,
        why: record.power_state === "Halted" ? undefined : t("why.halted"),
        run: () => void makeTemplate(vm),
      })
    items.push({ key: "open", label: t("common.properties"), icon: Settings2, run: () => void router.push(`/vm/${record.uuid}/advanced`) })
    if (may("VM.destroy"))
      items.push({
        key: "destroy", label: t("vmAction.destroy.name"), icon: otherIcons.destroy, danger: true, separated: true, why: not("destroy"),
        run: () => void destroyVms(words, [vm]).then((gone) => {
          if (gone && router.currentRoute.value.path.includes(record.uuid)) return router.push("/vms")
          return undefined
        }),
      })
    return items
  }

  async function makeTemplate(vm: VmEntry) {
    const name = vm.record.name_label
    const yes = await confirm({
      title: t("vmAction.template.ask", { name }), text: t("vmAction.template.loss"), yes: t("vmAction.template.name"),
    })
    if (yes) await perform(t("vmAction.template.doing", { name }), () => calls().VM.set_is_a_template(vm.ref, true))
  }

  return { power, others, all: (vm: VmEntry) => [...power(vm), ...others(vm)] }
}
