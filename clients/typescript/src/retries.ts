import { retryAfter } from "./problem.js";
import type { Fetch } from "./session.js";

export interface RetryOptions {
  /** How often a request is sent at most; 3 unless told. */
  attempts: number;
  /** The longest `Retry-After` that is waited for, in seconds; 10 unless told. */
  patience: number;
}

const READS = new Set(["GET", "HEAD"]);
const DOWN = new Set([502, 503, 504]);

/**
 * Returns the milliseconds until a request may be sent again, or undefined if it may not.
 *
 * Reads are repeated after a lost connection and after 502, 503 and 504. PUT is repeated after a 503 with `Retry-After`.
 * 429 says that nothing was done, so every method is repeated. Anything else may have been carried out.
 */
export function pause(
  method: string,
  outcome: unknown,
  attempt: number,
  { attempts, patience }: RetryOptions,
): number | undefined {
  if (attempt >= attempts) {
    return undefined;
  }
  const backoff = 250 * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
  if (!(outcome instanceof Response)) {
    return READS.has(method) && outcome instanceof TypeError ? backoff : undefined; // fetch's error for a network's
  }
  const asked = retryAfter(outcome);
  const allowed =
    (outcome.status === 429 && asked !== undefined) ||
    (outcome.status === 503 && asked !== undefined && method === "PUT") ||
    (DOWN.has(outcome.status) && READS.has(method));
  return allowed && (asked ?? 0) <= patience ? Math.max((asked ?? 0) * 1000, backoff) : undefined;
}

/** Waits; rejects as soon as the signal is aborted. */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let stop = () => {};
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    stop = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", stop);
  }).finally(() => signal.removeEventListener("abort", stop));
}

/** Sends requests by `fetch`, and repeats them where `pause` allows. */
export function repeating(fetch: Fetch, options: RetryOptions): Fetch {
  return async (request) => {
    for (let attempt = 1; ; attempt++) {
      const outcome = await fetch(request.clone()).catch((error: unknown) => ({ error }));
      const wait = pause(request.method, outcome instanceof Response ? outcome : outcome.error, attempt, options);
      if (wait === undefined) {
        if (outcome instanceof Response) {
          return outcome;
        }
        throw outcome.error;
      }
      if (outcome instanceof Response) {
        await outcome.body?.cancel();
      }
      await sleep(wait, request.signal);
    }
  };
}
