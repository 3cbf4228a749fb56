// A client of the API: it keeps the tokens, refreshes them, and follows the stream of notifications.
const API = "http://127.0.0.1:8000"; // where `make run` answers

/** An error answer (RFC 9457). `code` is for programs; `detail` and `errors` are for people, in their language. */
export class Problem extends Error {
  constructor({ code, status, detail, errors = [] }, retryAfter = null) {
    super(detail ?? code);
    Object.assign(this, { code, status, errors, retryAfter });
  }
}

export const tokens = () => JSON.parse(localStorage.getItem("tokens"));
export const forget = () => localStorage.removeItem("tokens");

async function send(method, path, { body, headers, signal, token } = {}) {
  const form = body instanceof URLSearchParams;
  headers = { ...headers, ...(body && !form && { "Content-Type": "application/json" }) };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(API + path, { method, headers, body: form ? body : JSON.stringify(body), signal }).catch(() => {
    // The browser does not tell a page whether the API is away or refuses pages of this origin.
    throw new Problem({ code: "unreachable" });
  });
  if (answer.ok) return answer;
  throw new Problem(await answer.json().catch(() => ({ code: "unreachable" })), answer.headers.get("Retry-After"));
}

async function requestTokens(form) {
  const answer = await send("POST", "/token", { body: new URLSearchParams(form) });
  localStorage.setItem("tokens", JSON.stringify(await answer.json()));
}

export const register = (account) => send("POST", "/users/", { body: account });
export const signIn = (username, password) => requestTokens({ username, password });

// A refresh token is good for one exchange, and a second use ends the session. So one exchange runs at a time in all
// tabs, and whoever waited takes the new tokens.
const refresh = (used) =>
  navigator.locks.request("refresh", async () => {
    if (tokens()?.refresh_token !== used.refresh_token) return;
    await requestTokens({ grant_type: "refresh_token", refresh_token: used.refresh_token });
  });

/** Send a request as the signed-in person. An access token that has expired (401) is refreshed, once. */
export async function call(method, path, options) {
  const used = tokens();
  try {
    return await send(method, path, { ...options, token: used?.access_token });
  } catch (problem) {
    if (problem.status !== 401 || !used) throw problem;
    await refresh(used).catch((failure) => {
      if (failure.code === "invalid_grant") forget();
      throw failure.code === "invalid_grant" ? problem : failure;
    });
    return send(method, path, { ...options, token: tokens()?.access_token });
  }
}

/** Hand over every notification after `lastId`, until `signal` aborts. EventSource would not send the token. */
export async function follow(lastId, signal, onNotification) {
  while (!signal.aborted) {
    let seconds = 2, timer;
    const silence = new AbortController();
    const heard = () => (clearTimeout(timer), (timer = setTimeout(() => silence.abort(), 45_000)));
    heard(); // the server sends something every 15 seconds
    const either = AbortSignal.any([signal, silence.signal]);
    try {
      const answer = await call("GET", "/notifications/stream", { headers: { "Last-Event-ID": lastId }, signal: either });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = "", part; !(part = await reader.read()).done; ) {
        heard();
        const events = (text + part.value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/)));
          lastId = fields.id ?? lastId;
          if (fields.data) onNotification(JSON.parse(fields.data));
        }
      }
    } catch (problem) {
      if (problem.status === 401) throw problem;
      seconds = Number(problem.retryAfter) || seconds;
    }
    clearTimeout(timer);
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}
