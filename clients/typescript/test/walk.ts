import { memoryStore, TodoClient, unwrap } from "../src/index.js";

export const PASSWORD = "correct horse battery staple";

/** Opens an account and returns its client, signed in. */
export async function newcomer(options: ConstructorParameters<typeof TodoClient>[0]): Promise<TodoClient> {
  const client = new TodoClient(options);
  const username = `lin-${crypto.randomUUID().slice(0, 8)}`;
  const account = { username, email: `${username}@example.com`, password: PASSWORD };
  await unwrap(client.api.POST("/users/", { body: account }));
  await client.session.signIn(username, PASSWORD);
  return client;
}

export function soon(seconds: number): string {
  return new Date(Date.now() + seconds * 1000).toISOString();
}

/** Registers, signs in, refreshes, creates, lists, completes, and is told of a todo by the stream. */
export async function walk(baseUrl: string): Promise<string> {
  const store = memoryStore();
  const client = await newcomer({ baseUrl, store });
  const first = store.load();
  await client.session.refresh(first?.access_token ?? "");
  if (store.load()?.refresh_token === first?.refresh_token) {
    throw new Error("the token was not exchanged");
  }
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const stream = client.notifications({ signal: AbortSignal.timeout(60_000), onEventId: open });
  const told = stream.next();
  await Promise.race([opened, told]);
  const milk = await unwrap(client.api.POST("/todos/", { body: { title: "Buy milk" } }));
  const at = soon(2);
  await unwrap(client.api.POST("/todos/", { body: { title: "买牛奶", due_at: at, reminders: [{ at }] } }));
  const path = { todo_id: milk.id };
  const done = await unwrap(client.api.POST("/todos/{todo_id}/complete", { params: { path } }));
  const page = await unwrap(client.api.GET("/todos/", { params: { query: { completed: true } } }));
  if (!done.completed || page.items.map((todo) => todo.id).join() !== milk.id) {
    throw new Error(`listed ${JSON.stringify(page)}`);
  }
  const { value } = await told;
  await stream.return();
  await unwrap(client.api.DELETE("/users/me/", { body: { password: PASSWORD } }));
  return value?.title ?? "nothing within a minute";
}
