import { createRouter, createWebHistory, type RouteRecordRaw } from "vue-router"
import AccessPage from "./pages/AccessPage.vue"
import CreateVmPage from "./pages/CreateVmPage.vue"
import DashboardPage from "./pages/DashboardPage.vue"
import EventsPage from "./pages/EventsPage.vue"
import HostPage from "./pages/HostPage.vue"
import NetworkPage from "./pages/NetworkPage.vue"
import NotFoundPage from "./pages/NotFoundPage.vue"
import SchedulesPage from "./pages/SchedulesPage.vue"
import SettingsPage from "./pages/SettingsPage.vue"
import SrPage from "./pages/SrPage.vue"
import StoragePage from "./pages/StoragePage.vue"
import TasksPage from "./pages/TasksPage.vue"
import VmPage from "./pages/VmPage.vue"
import VmsPage from "./pages/VmsPage.vue"

// Pages come with the first load: together they are smaller than what a round trip each costs. Only
// consoles and other languages are fetched when they are wanted.
declare module "vue-router" {
  interface RouteMeta {
    /** Key of the page's title. */
    title?: string
  }
}

const routes: RouteRecordRaw[] = [
  { path: "/", component: DashboardPage, meta: { title: "nav.dashboard" } },
  { path: "/host/:uuid/:tab?", component: HostPage, props: true, meta: { title: "nav.hosts" } },
  { path: "/vms", component: VmsPage, meta: { title: "nav.vms" } },
  { path: "/vms/new", component: CreateVmPage, meta: { title: "create.title" } },
  { path: "/vm/:uuid/:tab?", component: VmPage, props: true, meta: { title: "nav.vms" } },
  { path: "/storage", component: StoragePage, meta: { title: "nav.storage" } },
  { path: "/sr/:uuid", component: SrPage, props: true, meta: { title: "nav.storage" } },
  { path: "/network", component: NetworkPage, meta: { title: "nav.network" } },
  { path: "/schedules", component: SchedulesPage, meta: { title: "nav.schedules" } },
  { path: "/tasks", component: TasksPage, meta: { title: "nav.tasks" } },
  { path: "/events", component: EventsPage, meta: { title: "nav.events" } },
  { path: "/access", component: AccessPage, meta: { title: "nav.access" } },
  { path: "/settings", component: SettingsPage, meta: { title: "nav.settings" } },
  { path: "/:rest(.*)*", component: NotFoundPage, meta: { title: "notFound.title" } },
]

export const router = createRouter({ history: createWebHistory(), routes })
