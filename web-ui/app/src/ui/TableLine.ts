// One row of a table. A component of its own, so that it is drawn again only when something of it has
// changed: while a long table scrolls, all but the new rows are left alone.
import { Ellipsis } from "@lucide/vue"
import { createTextVNode, defineComponent, h, type PropType, type Slots, type VNodeChild } from "vue"
import type { Column } from "@/lib/table.js"
import type { MenuItem } from "./menu.js"
import UiMenu from "./UiMenu.vue"

const dots = () => h(Ellipsis, { size: 15, "aria-hidden": "true" })

export default defineComponent({
  props: {
    row: { type: null as unknown as PropType<unknown>, required: true },
    rowKey: { type: String, required: true },
    index: { type: Number, required: true },
    columns: { type: Array as PropType<readonly Column<unknown>[]>, required: true },
    /** Pixels from the top, where the table scrolls by itself. */
    top: { type: Number as PropType<number | undefined>, default: undefined },
    selectable: Boolean,
    selected: Boolean,
    /** For the box that selects it. */
    selectLabel: { type: String, default: "" },
    /** Of the button that opens its menu. */
    menuLabel: { type: String, default: "" },
    menu: { type: Function as PropType<((row: unknown) => readonly MenuItem[]) | undefined>, default: undefined },
    /** Whether its menu was asked for: before that there is only a button. */
    menuWanted: Boolean,
    /** What draws the cells of columns, as `cell-KEY`. The object of the table itself: it never changes. */
    cells: { type: Object as PropType<Slots>, required: true },
  },
  emits: {
    toggle: (_index: number, _event: MouseEvent) => true,
    menu: (_key: string) => true,
    follow: (_event: MouseEvent, _to: string) => true,
  },
  setup(props, { emit }) {
    function content(column: Column<unknown>): VNodeChild {
      const drawn = props.cells[`cell-${column.key}`]
      if (drawn) return drawn({ row: props.row })
      const text = column.text ? column.text(props.row) : String(column.value(props.row))
      if (!column.link) return text
      const to = column.link(props.row)
      return h("a", { href: to, onClick: (event: MouseEvent) => emit("follow", event, to) }, [createTextVNode(text)]) // as in TagList.ts
    }
    function menuCell(): VNodeChild {
      if (!props.menu) return undefined
      const label = props.menuLabel
      if (props.menuWanted) return h(UiMenu, { key: props.rowKey, items: () => props.menu!(props.row), label, square: true, atOnce: true }, dots)
      const want = () => emit("menu", props.rowKey)
      const onKeydown = (event: KeyboardEvent) => {
        if (event.key !== "ArrowDown") return
        event.preventDefault()
        want()
      }
      return h("button", { type: "button", class: "button quiet square", "aria-label": label, "aria-haspopup": "menu", "aria-expanded": "false", onClick: want, onKeydown }, dots())
    }
    return () =>
      h(
        "div",
        {
          role: "row",
          class: ["line", { selected: props.selected }],
          "aria-rowindex": props.index + 2,
          "data-key": props.rowKey,
          style: props.top === undefined ? undefined : { top: `${props.top}px` },
        },
        [
          props.selectable
            ? h("span", { role: "cell", class: "cell" }, h("input", { type: "checkbox", checked: props.selected, "aria-label": props.selectLabel, onClick: (event: MouseEvent) => emit("toggle", props.index, event) }))
            : undefined,
          ...props.columns.map((column) => h("span", { key: column.key, role: "cell", class: ["cell", { right: column.right, fixed: column.width?.endsWith("px") }] }, [content(column)])),
          h("span", { role: "cell", class: "cell end" }, [menuCell()]),
        ],
      )
  },
})
