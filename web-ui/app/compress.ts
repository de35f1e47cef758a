// Puts a compressed copy beside every file of the build: the server sends it as it lies there.
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { brotliCompressSync, constants, gzipSync } from "node:zlib"
import type { Plugin } from "vite"

const worthwhile = /\.(js|css|html|svg|json|txt)$/
const smallest = 1024 // bytes; below that the head of the answer outweighs the rest

export function compressed(): Plugin {
  let folder = ""
  return {
    name: "compressed-copies",
    apply: "build",
    configResolved: (config) => {
      folder = join(config.root, config.build.outDir)
      if (config.build.outDir.startsWith("/")) folder = config.build.outDir
    },
    closeBundle: () => {
      for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name)
        if (!entry.isFile() || !worthwhile.test(path)) continue
        const plain = readFileSync(path)
        if (plain.length < smallest) continue
        const quality = { [constants.BROTLI_PARAM_QUALITY]: 11 }
        writeFileSync(`${path}.br`, brotliCompressSync(plain, { params: quality }))
        writeFileSync(`${path}.gz`, gzipSync(plain, { level: 9 }))
      }
    },
  }
}
