import { TodoClient, type Tokens, unwrap } from "../src/index.js";
import { newcomer } from "./walk.js";

export { walk } from "./walk.js";

/** Two clients that share localStorage, as two tabs do, both refused at the same time. Returns the exchanges made. */
export async function twoTabs(baseUrl: string): Promise<number> {
  let exchanges = 0;
  const store = {
    load: () => JSON.parse(localStorage.getItem("tokens") ?? "null") as Tokens | undefined,
    save: (tokens: Tokens | undefined) => localStorage.setItem("tokens", JSON.stringify(tokens ?? null)),
  };
  const fetch = (request: Request) => {
    exchanges += Number(request.url.endsWith("/token"));
    return globalThis.fetch(request);
  };
  const one = await newcomer({ baseUrl, store, fetch });
  const other = new TodoClient({ baseUrl, store, fetch });
  store.save({ ...(store.load() as Tokens), access_token: "expired" });
  exchanges = 0;
  await Promise.all([one, other, one, other].map((client) => unwrap(client.api.GET("/todos/"))));
  return exchanges;
}
