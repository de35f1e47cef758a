// The settings of a host's machine as a form, and the calls that bring them about.
import type { Api, HostRecord, Ref } from "@basalt/xenapi"

export interface HostForm {
  hostname: string
  timezone: string
  ntpMode: HostRecord["ntp_mode"]
  /** Separated by spaces or commas. */
  ntpServers: string
  ssh: boolean
  httpsOnly: boolean
  /** Where the log goes too; empty: nowhere. */
  syslog: string
  iqn: string
}

export function formOf(host: HostRecord): HostForm {
  return {
    hostname: host.hostname,
    timezone: host.timezone,
    ntpMode: host.ntp_mode,
    ntpServers: host.ntp_custom_servers.join(" "),
    ssh: host.ssh_enabled,
    httpsOnly: host.https_only,
    syslog: host.logging.syslog_destination ?? "",
    iqn: host.iscsi_iqn,
  }
}

/** As the host takes it: one label, not digits alone. */
export function hostnameProblem(name: string): boolean {
  return !/^(?!\d+$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(name)
}

type Change = (api: Api, host: Ref<"host">, record: HostRecord, wanted: HostForm) => Promise<unknown>

const changes: Record<keyof HostForm, Change> = {
  hostname: (api, host, _, { hostname }) => api.host.set_hostname_live(host, hostname),
  timezone: (api, host, _, { timezone }) => api.host.set_timezone(host, timezone),
  // Servers before the mode that uses them.
  ntpServers: (api, host, _, { ntpServers }) => api.host.set_ntp_custom_servers(host, ntpServers.split(/[\s,]+/).filter(Boolean)),
  ntpMode: (api, host, _, { ntpMode }) => api.host.set_ntp_mode(host, ntpMode),
  ssh: (api, host, _, { ssh }) => (ssh ? api.host.enable_ssh(host) : api.host.disable_ssh(host)),
  httpsOnly: (api, host, _, { httpsOnly }) => api.host.set_https_only(host, httpsOnly),
  syslog: async (api, host, record, { syslog }) => {
    await api.host.set_logging(host, { ...record.logging, syslog_destination: syslog.trim() })
    try {
      await api.host.syslog_reconfigure(host)
    } catch (error) {
      await api.host.set_logging(host, record.logging).catch(() => undefined)
      throw error
    }
  },
  iqn: (api, host, _, { iqn }) => api.host.set_iscsi_iqn(host, iqn.trim()),
}

/** What has to be called, in the order in which it has to be. */
export function changesOf(before: HostForm, wanted: HostForm): Change[] {
  return (Object.keys(changes) as (keyof HostForm)[])
    .filter((key) => before[key] !== wanted[key])
    .map((key) => changes[key])
}
