import type { components } from "./schema.js";

/** The body of an error answer (RFC 9457). */
export type Problem = components["schemas"]["ProblemDocument"];
/** One field that breaks one rule. */
export type FieldProblem = components["schemas"]["FieldProblem"];

/** An answer of the API with an error status. Decide by `code`; `message` is for people. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly status: number;
  /** Undefined where the answer came from something before the API, such as a proxy. */
  readonly code: Problem["code"] | undefined;
  readonly errors: readonly FieldProblem[];
  /** Seconds until another try makes sense. */
  readonly retryAfter: number | undefined;

  constructor(response: Response, body: unknown) {
    const problem = (typeof body === "object" ? (body ?? {}) : {}) as Partial<Problem>;
    super(problem.detail ?? `The answer was ${response.status} ${response.statusText}`);
    this.status = response.status;
    this.code = problem.code;
    this.errors = problem.errors ?? [];
    this.retryAfter = retryAfter(response);
  }

  /** Reads the body of an error answer. */
  static async from(response: Response): Promise<ProblemError> {
    return new ProblemError(response, await response.json().catch(() => undefined));
  }
}

/** Returns the seconds of `Retry-After`; the API never sends a date. */
export function retryAfter(response: Response): number | undefined {
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return Number.isNaN(seconds) ? undefined : seconds;
}

/** Returns the data of an answer of `client.api`, or throws a `ProblemError`. */
export async function unwrap<T>(
  answer: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await answer;
  if (!response.ok) {
    throw new ProblemError(response, error);
  }
  return data as T;
}
