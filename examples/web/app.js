import { call, follow, forget, register, signIn, tokens } from "./api.js";
import { language, word } from "./words.js";

const $ = (selector) => document.querySelector(selector);
const time = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
let registering = false;
let session = new AbortController();
let cursor = null;

/** Make an element. What people wrote goes in as text, never as HTML. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Do something that may fail; say what went wrong in the alert of this form or section. */
async function attempt(where, action) {
  const alert = where.querySelector("[role=alert]");
  const buttons = where.querySelectorAll("button");
  alert.textContent = "";
  for (const button of buttons) button.disabled = true; // a second press would add a second todo
  try {
    await action();
  } catch (problem) {
    if (problem.code === undefined) throw problem; // a mistake in this page
    if (problem.status === 401 && tokens() === null) return show(word("signedOut"));
    const label = (field) => where.elements?.[field]?.labels[0].innerText.trim() ?? field;
    const lines = problem.errors.map(({ field, detail }) => `${label(field)}: ${detail}`);
    alert.textContent = lines.join("\n") || word(problem.code) || problem.message;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function todoItem(todo) {
  const box = make("input", { type: "checkbox", checked: todo.completed });
  const due = todo.due_at && make("time", { dateTime: todo.due_at }, time.format(new Date(todo.due_at)));
  box.onchange = () =>
    attempt($("#list"), async () => {
      const action = box.checked ? "complete" : "reopen";
      box.checked = !box.checked; // until the API has done it
      box.checked = (await (await call("POST", `/todos/${todo.id}/${action}`)).json()).completed;
    });
  return make("li", {}, make("label", {}, box, make("span", {}, todo.title), due ?? ""));
}

async function loadTodos() {
  const query = new URLSearchParams({ completed: false, sort: "due_at", ...(cursor && { cursor }) });
  const page = await (await call("GET", `/todos/?${query}`)).json();
  if (!cursor) $("#todos").replaceChildren();
  $("#todos").append(...page.items.map(todoItem));
  cursor = page.next_cursor;
  $("#more").hidden = !cursor;
}

function showReminder(notification) {
  const read = make("button", { className: "quiet" }, word("read"));
  const item = make("li", {}, make("strong", {}, notification.title), read);
  read.onclick = () =>
    attempt($("#list"), async () => {
      await call("POST", `/notifications/${notification.id}/read`);
      item.remove();
    });
  $("#reminders").prepend(item);
}

/** Show who is signed in what is theirs, and everybody else the way in. */
async function show(message = "") {
  session.abort();
  session = new AbortController();
  cursor = null;
  const inside = tokens() !== null;
  $("#enter").hidden = inside;
  $("#signed-in").hidden = $("#leave").hidden = !inside;
  $("#enter [role=alert]").textContent = message;
  if (!inside) return;
  const { signal } = session;
  await attempt($("#list"), async () => {
    await loadTodos();
    // The stream begins after the newest of the inbox, so none is missed and none comes twice.
    const inbox = await (await call("GET", "/notifications/")).json();
    $("#reminders").replaceChildren();
    inbox.items.filter(({ read_at }) => !read_at).reverse().forEach(showReminder);
    follow(inbox.items[0]?.seq ?? 0, signal, showReminder).catch(() => show(word("signedOut")));
  });
}

function chooseWay(register) {
  registering = register;
  $("#email").hidden = !register;
  $("#email input").required = register;
  $("#enter [name=password]").autocomplete = register ? "new-password" : "current-password";
  $("#enter button").textContent = word(register ? "register" : "signIn");
  $("#other").textContent = word(register ? "hasAccount" : "noAccount");
}

$("#other").onclick = () => chooseWay(!registering);
$("#leave").onclick = () => (forget(), show());
$("#more").onclick = () => attempt($("#list"), loadTodos);
$("#soon").onclick = () => {
  const soon = new Date(Date.now() + 10_000);
  $("#add [name=due_at]").value = new Date(soon - soon.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
};
$("#enter").onsubmit = (event) => {
  event.preventDefault();
  const { username, email, password } = Object.fromEntries(new FormData(event.target));
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  attempt(event.target, async () => {
    if (registering) await register({ username, email, password, timezone: timeZone, locale: language });
    chooseWay(false);
    await signIn(username, password);
    event.target.reset();
    await show();
  });
};
$("#add").onsubmit = (event) => {
  event.preventDefault();
  const { title, due_at } = Object.fromEntries(new FormData(event.target));
  attempt(event.target, async () => {
    // The field has local time; the API wants an offset, such as the Z of UTC.
    await call("POST", "/todos/", { body: { title, due_at: due_at ? new Date(due_at).toISOString() : null } });
    event.target.reset();
    cursor = null;
    await loadTodos();
  });
};

document.documentElement.lang = language;
for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
chooseWay(false);
show();
