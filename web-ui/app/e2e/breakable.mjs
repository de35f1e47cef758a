// A way to the host that can be made to fail, as networks do: it passes bytes on, whatever they are.
import { once } from "node:events"
import { connect, createServer } from "node:net"

/** Listens on a port of its own; `url` leads to the same host. */
export async function breakable(to) {
  const { hostname, port } = new URL(to)
  const pairs = new Set()
  const state = { breaks: 0, bytes: 0, most: Infinity, act: "break", away: false }
  const end = (pair) => {
    pairs.delete(pair)
    for (const one of pair) one.destroy()
  }
  const server = createServer((near) => {
    if (state.away) return void near.resetAndDestroy()
    const far = connect(Number(port), hostname)
    const pair = [near, far]
    pairs.add(pair)
    let seen = 0
    far.on("data", (bytes) => {
      seen += bytes.length
      state.bytes += bytes.length
      if (seen < state.most) return
      if (state.act === "hold") return void far.unpipe(near).pause()
      state.most = Infinity
      breakAll()
    })
    near.pipe(far)
    far.pipe(near)
    for (const one of pair) one.on("error", () => undefined).on("close", () => end(pair))
  })
  function breakAll() {
    state.breaks += 1
    for (const [near, far] of pairs) {
      near.resetAndDestroy()
      far.destroy()
    }
    pairs.clear()
  }
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `https://127.0.0.1:${server.address().port}`,
    state,
    /** All connections, when one of them has brought so many bytes from now on made. */
    breakAfter: (bytes) => Object.assign(state, { most: bytes, act: "break" }),
    /** Each connection brings so many bytes and then waits for ever. */
    holdAfter: (bytes) => Object.assign(state, { most: bytes, act: "hold" }),
    close: async () => {
      breakAll()
      server.close()
    },
  }
}
