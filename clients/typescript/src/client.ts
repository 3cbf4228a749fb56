import createClient, { type Client } from "openapi-fetch";

import { repeating, type RetryOptions } from "./retries.js";
import type { paths } from "./schema.js";
import { type Fetch, memoryStore, Session, type TokenStore } from "./session.js";
import { type Notification, notifications, type StreamOptions } from "./stream.js";

export interface ClientOptions extends Partial<RetryOptions> {
  /** Such as `https://todo.example.com`. */
  baseUrl: string;
  store?: TokenStore;
  fetch?: Fetch;
}

/** Calls the API for one account. */
export class TodoClient {
  /** Every operation, typed by the API's own description: `client.api.GET("/todos/")`. */
  readonly api: Client<paths>;
  readonly session: Session;
  readonly #baseUrl: string;
  readonly #send: Fetch;

  constructor(options: ClientOptions) {
    this.#baseUrl = options.baseUrl.replace(/\/+$/, "");
    const fetch = options.fetch ?? ((request) => globalThis.fetch(request));
    const retries = { attempts: options.attempts ?? 3, patience: options.patience ?? 10 };
    this.session = new Session(this.#baseUrl, fetch, options.store ?? memoryStore());
    this.#send = repeating(authorised(this.session, fetch), retries);
    this.api = createClient<paths>({ baseUrl: this.#baseUrl, fetch: this.#send });
  }

  /** Yields notifications as they come, until the signal is aborted. */
  notifications(options?: StreamOptions): AsyncGenerator<Notification, void, undefined> {
    return notifications(`${this.#baseUrl}/notifications/stream`, this.#send, options);
  }
}

/** Sends the access token with each request, and once more with a new one after a 401. */
function authorised(session: Session, fetch: Fetch): Fetch {
  return async (request) => {
    const token = session.accessToken;
    if (token === undefined) {
      return fetch(request);
    }
    const answer = await fetch(withToken(request.clone(), token));
    const next = answer.status === 401 ? await session.refresh(token) : undefined;
    if (next === undefined) {
      return answer;
    }
    await answer.body?.cancel();
    return fetch(withToken(request, next));
  };
}

function withToken(request: Request, token: string): Request {
  request.headers.set("Authorization", `Bearer ${token}`);
  return request;
}
