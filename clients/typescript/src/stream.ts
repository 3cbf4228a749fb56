import { ProblemError } from "./problem.js";
import { sleep } from "./retries.js";
import type { components } from "./schema.js";
import type { Fetch } from "./session.js";

export type Notification = components["schemas"]["NotificationPublic"];

export interface StreamOptions {
  /** Ends the stream. */
  signal?: AbortSignal;
  /** Resume after this event; without it, the stream starts from now. */
  lastEventId?: string;
  /** Called with each new id, also before the first notification: whoever keeps it misses nothing while away. */
  onEventId?: (id: string) => void;
  /** Seconds without a byte after which the connection counts as dead; the API sends one every 15. */
  silence?: number;
}

interface Event {
  id?: string;
  event?: string;
  data?: string;
  retry?: number;
}

/**
 * Yields notifications as they come, and connects again, after the last one seen, until the signal is aborted.
 *
 * By fetch, as an EventSource cannot send `Authorization`.
 *
 * @throws ProblemError - the API refuses the stream for good.
 */
export async function* notifications(
  url: string,
  send: Fetch,
  options: StreamOptions = {},
): AsyncGenerator<Notification, void, undefined> {
  const signal = options.signal ?? new AbortController().signal;
  let last = options.lastEventId;
  let wait = 2000;
  while (!signal.aborted) {
    const connection = new AbortController();
    const close = () => connection.abort();
    signal.addEventListener("abort", close, { once: true });
    let watchdog: ReturnType<typeof setTimeout> | undefined;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(close, (options.silence ?? 45) * 1000);
    };
    try {
      alive();
      const headers = { Accept: "text/event-stream", ...(last === undefined ? {} : { "Last-Event-ID": last }) };
      const response = await send(new Request(url, { headers, cache: "no-store", signal: connection.signal }));
      if (!response.ok || !response.body) {
        throw await ProblemError.from(response);
      }
      for await (const event of events(response.body, alive)) {
        wait = event.retry ?? wait;
        if (event.id !== undefined) {
          last = event.id;
          options.onEventId?.(last);
        }
        if (event.event === "notification" && event.data !== undefined) {
          yield JSON.parse(event.data) as Notification;
        }
      }
    } catch (error) {
      const passes =
        error instanceof ProblemError ? error.status >= 500 || error.retryAfter !== undefined : error instanceof TypeError;
      if (!connection.signal.aborted && !passes) {
        throw error;
      }
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", close);
      close();
    }
    await sleep(wait, signal).catch(() => undefined);
  }
}

/**
 * Reads Server-Sent Events from a body.
 *
 * Unlike an EventSource and the parsers that follow it, this one also gives events without data: the first event of
 * the API has an id alone.
 */
export async function* events(body: ReadableStream<Uint8Array>, alive: () => void): AsyncGenerator<Event> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let event: Event = {};
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      alive();
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const [, name, value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
        if (line === "") {
          yield event;
          event = {};
        } else if (name === "id" || name === "event") {
          event[name] = value;
        } else if (name === "data") {
          event.data = event.data === undefined ? value : `${event.data}\n${value}`;
        } else if (name === "retry") {
          event.retry = Number(value);
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
