import assert from "node:assert/strict";
import { test } from "node:test";

import { memoryStore, ProblemError, TodoClient, type Tokens, unwrap } from "../src/index.js";
import { pause } from "../src/retries.js";
import { newcomer, soon, walk } from "./walk.js";

const baseUrl = process.env["TODO_URL"] ?? "http://127.0.0.1:8000";

/** A fetch that counts, and that can lose an answer or cut a connection. The service behind it is real. */
function wire() {
  const wire = {
    sent: [] as string[],
    lose: 0,
    cut: new AbortController(),
    fetch: async (request: Request) => {
      wire.sent.push(`${request.method} ${new URL(request.url).pathname}`);
      const response = await fetch(request, { signal: AbortSignal.any([request.signal, wire.cut.signal]) });
      if (wire.lose > 0) {
        wire.lose -= 1;
        await response.body?.cancel();
        throw new TypeError("fetch failed");
      }
      return response;
    },
  };
  return wire;
}

test("the whole path, from opening an account to a reminder on the stream", async () => {
  assert.equal(await walk(baseUrl), "买牛奶");
});

test("twenty callers with an expired token share one exchange", async () => {
  const { sent, fetch } = wire();
  const store = memoryStore();
  const client = await newcomer({ baseUrl, store, fetch });
  store.save({ ...(store.load() as Tokens), access_token: "expired" });
  sent.length = 0;
  await Promise.all(Array.from({ length: 20 }, () => unwrap(client.api.GET("/todos/"))));
  assert.equal(sent.filter((each) => each === "POST /token").length, 1);
});

test("a session that has ended elsewhere is forgotten, and the caller is told by a problem", async () => {
  const store = memoryStore();
  const client = await newcomer({ baseUrl, store });
  const stolen = { ...(store.load() as Tokens), access_token: "expired" };
  await new TodoClient({ baseUrl, store: { load: () => stolen, save: () => {} } }).session.refresh("expired");
  store.save(stolen);
  await assert.rejects(unwrap(client.api.GET("/todos/")), { name: "ProblemError", code: "unauthenticated" });
  assert.equal(store.load(), undefined);
});

test("a lost answer is asked for again by GET, and never by POST", async () => {
  const lossy = wire();
  const client = await newcomer({ baseUrl, fetch: lossy.fetch });
  lossy.lose = 1;
  await assert.rejects(unwrap(client.api.POST("/todos/", { body: { title: "once" } })), TypeError);
  lossy.lose = 2;
  const { items } = await unwrap(client.api.GET("/todos/"));
  assert.deepEqual(items.map((todo) => todo.title), ["once"]);
});

test("what may be sent again, and when", () => {
  const options = { attempts: 3, patience: 10 };
  const answer = (status: number, wait?: string) =>
    new Response(null, { status, headers: wait === undefined ? {} : { "Retry-After": wait } });
  const again = (method: string, outcome: unknown, attempt = 1) => pause(method, outcome, attempt, options) !== undefined;
  assert.equal(pause("POST", answer(429, "2"), 1, options), 2000);
  assert.deepEqual([again("POST", answer(429)), again("POST", answer(429, "60"))], [false, false]);
  assert.deepEqual(["GET", "PUT", "POST", "PATCH", "DELETE"].map((method) => again(method, answer(503, "1"))), [true, true, false, false, false]);
  assert.deepEqual(["GET", "PUT", "POST"].map((method) => again(method, new TypeError())), [true, false, false]);
  assert.deepEqual([again("GET", answer(500)), again("GET", answer(502)), again("GET", answer(502), 3)], [false, true, false]);
});

test("a refused body names its field and the rule", async () => {
  const client = await newcomer({ baseUrl });
  const error = await unwrap(client.api.POST("/todos/", { body: { title: "x".repeat(201) } })).catch((e: unknown) => e);
  assert(error instanceof ProblemError);
  assert.deepEqual([error.status, error.code, error.errors.map((each) => [each.in, each.field, each.rule])], [
    422,
    "validation_failed",
    [["body", "title", "max_length"]],
  ]);
  await assert.rejects(client.session.signIn("nobody-at-all", "wrong"), { status: 400, code: "invalid_grant" });
});

test("a stream that is cut goes on after the last notification, without a gap or a repeat", async () => {
  const line = wire();
  const client = await newcomer({ baseUrl, fetch: line.fetch });
  const remind = (title: string) => {
    const at = soon(1);
    return unwrap(client.api.POST("/todos/", { body: { title, due_at: at, reminders: [{ at }] } }));
  };
  const titles: string[] = [];
  const end = new AbortController();
  let opened = false;
  const onEventId = () => {
    if (!opened) {
      opened = true;
      void remind("first");
    }
  };
  for await (const told of client.notifications({ signal: end.signal, onEventId })) {
    titles.push(told.title);
    if (titles.length === 1) {
      line.cut.abort(new TypeError("cut"));
      line.cut = new AbortController();
      await remind("second");
      for (let count = 1; count < 2; ) {
        count = (await unwrap(client.api.GET("/notifications/"))).items.length;
      }
    } else {
      end.abort();
    }
  }
  assert.deepEqual(titles, ["first", "second"]);
  assert.equal(line.sent.filter((each) => each.endsWith("/stream")).length, 2);
});

test("a stream without an account ends with a problem", async () => {
  const stream = new TodoClient({ baseUrl }).notifications();
  await assert.rejects(stream.next(), { name: "ProblemError", status: 401 });
});
