// From the answer of /rrd_updates to charts.
import { describe, expect, it } from "vitest"
import { hostCharts, parseFigures, parseLoads, vmCharts } from "@/lib/figures.js"

function answer(legend: string[], rows: [number, ...(string | number)[]][]) {
  return { meta: { legend }, data: rows.map(([t, ...values]) => ({ t: String(t), values })) }
}

describe("figures", () => {
  it("are turned oldest first, of one owner, with what is unknown left open", () => {
    const figures = parseFigures(
      answer(
        ["AVERAGE:vm:a:cpu0", "AVERAGE:vm:b:cpu0", "MAX:vm:a:cpu0", "AVERAGE:host:a:cpu0"],
        [[20, "0.5", "0.1", "0.9", "1"], [15, "NaN", "0.1", "0.9", "1"], [10, 0.25, "0.1", "0.9", "1"]],
      ),
      "vm:a",
    )
    expect(figures.times).toEqual([10, 15, 20])
    expect([...figures.columns]).toEqual([["cpu0", [0.25, null, 0.5]]])
  })

  it("tell how busy each is by the newest value that is known", () => {
    const loads = parseLoads(
      answer(
        ["AVERAGE:vm:a:cpu_usage", "AVERAGE:vm:b:cpu_usage", "AVERAGE:vm:a:cpu_usage_other", "MAX:vm:c:cpu_usage", "AVERAGE:host:h:cpu_avg", "AVERAGE:host:h:cpu0"],
        [[20, "NaN", "0", "1", "1", "0.5", "1"], [15, "0.25", "1", "1", "1", "0.75", "1"], [10, "1", "1", "1", "1", "1", "1"]],
      ),
    )
    expect([...loads.vms]).toEqual([["a", 0.25], ["b", 0]])
    expect([...loads.hosts]).toEqual([["h", 0.5]])
  })
})

describe("charts", () => {
  it("of a VM show what its guest uses of its memory", () => {
    const figures = parseFigures(
      answer(["AVERAGE:vm:a:memory", "AVERAGE:vm:a:memory_internal_free", "AVERAGE:vm:a:vif_0_rx"], [[10, "1048576", "256", "7"]]),
      "vm:a",
    )
    const charts = vmCharts(figures)
    expect(charts.map(({ key }) => key)).toEqual(["memory", "network"])
    expect(charts[0]!.lines).toEqual([
      { name: "memoryGiven", values: [1048576] },
      { name: "memoryUsed", values: [1048576 - 262144] },
    ])
    expect(charts[1]!.lines).toEqual([{ name: "received", of: "0", values: [7] }])
  })

  it("show the average of many processors, and the sum of many interfaces", () => {
    const cpus = Array.from({ length: 16 }, (_, cpu) => `AVERAGE:host:h:cpu${cpu}`)
    const nics = Array.from({ length: 5 }, (_, nic) => `AVERAGE:host:h:pif_eth${nic}_rx`)
    const row = [...cpus, "avg", ...nics, "aggr"].map((_, index) => String(index))
    const figures = parseFigures(
      answer([...cpus, "AVERAGE:host:h:cpu_avg", ...nics, "AVERAGE:host:h:pif_aggr_rx"], [[10, ...row]]),
      "host:h",
    )
    const [cpu, network] = hostCharts(figures)
    expect(cpu!.lines).toEqual([{ name: "cpus", values: [16] }])
    expect(network!.lines).toEqual([{ name: "received", values: [17 + 18 + 19 + 20 + 21] }])
  })
})
