// A login and what can be done with it.
import { bind, type AsyncApi } from "./api.js"
import { XenApiError, isError } from "./errors.js"
import { httpTransport, type Fetch, type Transport } from "./transport.js"
import type { Ref } from "./values.js"
import type { Api } from "./xenapi.js"

export interface LoginOptions {
  /** Address of a host, such as https://10.0.0.2. */
  url: string
  user: string
  password: string
  /** Name of the program, by which the server tells its sessions from others. */
  originator?: string
  fetch?: Fetch
}

export interface ResumeOptions {
  url: string
  /** Reference of a session that is still open, such as one kept by a page that was loaded anew. */
  session: string
  fetch?: Fetch
}

export class Client {
  /** Every message: `client.api.VM.get_all()`. */
  readonly api: Api
  /** Those that can be tasks: `client.async.VM.start(...)`. */
  readonly async: AsyncApi

  private constructor(
    /** Address of the host that answers: of the coordinator, when a member was asked to log in. */
    readonly url: string,
    readonly session: Ref<"session">,
    readonly transport: Transport,
  ) {
    this.api = bind<Api>(transport, session, "")
    this.async = bind<AsyncApi>(transport, session, "Async.")
  }

  /** Logs in; a member of a pool is left for its coordinator. */
  static async login(options: LoginOptions): Promise<Client> {
    try {
      return await Client.loginAt(options.url, options)
    } catch (error) {
      if (!isError(error, "HOST_IS_SLAVE")) throw error
      return await Client.loginAt(withHost(options.url, error.params[0]), options)
    }
  }

  /** Goes on with a session; SESSION_INVALID if it has ended. */
  static async resume(options: ResumeOptions): Promise<Client> {
    const transport = httpTransport(options.url, options.fetch)
    const client = new Client(options.url, options.session as Ref<"session">, transport)
    await client.api.session.get_uuid(client.session)
    return client
  }

  /** Ends the session; one that has ended is no error. */
  async logout(): Promise<void> {
    try {
      await this.api.session.logout()
    } catch (error) {
      if (!(error instanceof XenApiError) || error.code !== "SESSION_INVALID") throw error
    }
  }

  private static async loginAt(url: string, options: LoginOptions): Promise<Client> {
    const transport = httpTransport(url, options.fetch)
    const params = [options.user, options.password, "1.0", options.originator ?? "basalt-client"]
    const session = (await transport("session.login_with_password", params)) as Ref<"session">
    return new Client(url, session, transport)
  }
}

/** The URL with another host; the port stays, an IPv6 address gets its brackets. */
function withHost(url: string, host: string): string {
  const changed = new URL(url)
  changed.hostname = host.includes(":") ? `[${host}]` : host
  return changed.href
}
