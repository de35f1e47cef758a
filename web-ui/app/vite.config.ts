import { fileURLToPath } from "node:url"
import vue from "@vitejs/plugin-vue"
import { defineConfig } from "vitest/config"
import { compressed } from "./compress.js"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  plugins: [vue(), compressed()],
  resolve: {
    alias: {
      "@basalt/xenapi": here("./generated/client/src/index.ts"),
      "@generated": here("./generated"),
      "@": here("./src"),
    },
  },
  define: {
    __VUE_OPTIONS_API__: "false",
    __VUE_I18N_LEGACY_API__: "false",
    __VUE_I18N_FULL_INSTALL__: "false",
    __INTLIFY_PROD_DEVTOOLS__: "false",
  },
  build: {
    outDir: process.env.WEB_OUT ?? "dist",
    emptyOutDir: true,
    target: "es2022",
    // Nothing inline: the page's policy allows what is a file of its own only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ["/jsonrpc", "/import_raw_vdi", "/import", "/export_raw_vdi", "/export", "/console", "/docs", "/rrd_updates", "/audit_log", "/system-status", "/host_backup", "/host_restore"].map((path) => [
        path,
        { target: process.env.BASALT_HOST ?? "https://127.0.0.1:8443", secure: false, ws: true },
      ]),
    ),
  },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
})
