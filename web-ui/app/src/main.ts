import { createApp } from "vue"
import App from "./App.vue"
import { i18n, startLanguage } from "./i18n/index.js"
import { startTheme } from "./lib/theme.js"
import { router } from "./router.js"
import "./ui/base.css"

startTheme()
await startLanguage()
createApp(App).use(i18n).use(router).mount("#app")
