import { ProblemError } from "./problem.js";
import type { components } from "./schema.js";

export type Tokens = Pick<components["schemas"]["TokenAnswer"], "access_token" | "refresh_token">;
export type Fetch = (request: Request) => Promise<Response>;

/** Where the tokens are kept. Tabs that share a store also share the session. */
export interface TokenStore {
  load(): Tokens | undefined;
  save(tokens: Tokens | undefined): void;
}

/** Keeps the tokens in memory: a reload of the page signs out. */
export function memoryStore(): TokenStore {
  let kept: Tokens | undefined;
  return {
    load: () => kept,
    save: (tokens) => {
      kept = tokens;
    },
  };
}

/** Holds the tokens of one account, and exchanges the refresh token once for all who wait for it. */
export class Session {
  readonly #url: string;
  #refreshing: Promise<string | undefined> | undefined;

  constructor(
    baseUrl: string,
    private readonly fetch: Fetch,
    private readonly store: TokenStore,
  ) {
    this.#url = `${baseUrl}/token`;
  }

  get accessToken(): string | undefined {
    return this.store.load()?.access_token;
  }

  async signIn(username: string, password: string): Promise<void> {
    this.store.save(await this.#ask({ grant_type: "password", username, password }));
  }

  /** Forgets the tokens. */
  signOut(): void {
    this.store.save(undefined);
  }

  /**
   * Returns an access token newer than the refused one, or undefined if the session is over.
   *
   * A refresh token is good for one exchange, and one that comes twice ends the session. So callers of this object
   * share one exchange, and a lock of the browser orders those of other tabs, which then find the new tokens.
   */
  refresh(refused: string): Promise<string | undefined> {
    this.#refreshing ??= this.#alone(() => this.#exchange(refused)).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    // Absent in Node.js before 24, and on pages that came by http from another machine.
    const locks = (globalThis.navigator as Partial<Navigator> | undefined)?.locks;
    return locks ? Promise.resolve(locks.request(`todo-client ${this.#url}`, work)) : work();
  }

  async #exchange(refused: string): Promise<string | undefined> {
    const tokens = this.store.load();
    if (!tokens || tokens.access_token !== refused) {
      return tokens?.access_token;
    }
    try {
      const next = await this.#ask({ grant_type: "refresh_token", refresh_token: tokens.refresh_token });
      this.store.save(next);
      return next.access_token;
    } catch (error) {
      if (error instanceof ProblemError && error.status === 400) {
        this.store.save(undefined);
        return undefined;
      }
      throw error; // the token may still be good
    }
  }

  // Without the signal of a caller: one who gives up must not lose the new tokens of all.
  async #ask(form: Record<string, string>): Promise<Tokens> {
    const body = new URLSearchParams(form);
    const response = await this.fetch(new Request(this.#url, { method: "POST", body }));
    if (!response.ok) {
      throw await ProblemError.from(response);
    }
    const { access_token, refresh_token } = (await response.json()) as Tokens;
    return { access_token, refresh_token };
  }
}
