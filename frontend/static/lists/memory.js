// The lists that this browser may edit: id, secret and name of each, the one used last first. They are kept here and nowhere else.
import { root, rooted } from "../base/address.js";

const STORAGE_KEY = `lists${root}`;

/** The address at which a list is edited. */
export const editAddress = (list) => rooted(`/lists/${list.id}/edit?key=${encodeURIComponent(list.key)}`);

/** All of them. */
export function known() {
  try {
    const found = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((list) => list?.id && list?.key) : [];
  } catch {
    return [];
  }
}

function keep(lists) {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(lists));
  } catch {
    // A browser that stores nothing still has the address.
  }
}

/** Keep a list, or its new name, as the one used last. */
export const remember = (list) => keep([list, ...known().filter((other) => other.id !== list.id)]);

/** Forget a list that is gone. */
export const forget = (id) => keep(known().filter((other) => other.id !== id));

const UNEXPECTED = "The server gave an unexpected answer. Reload the page.";
const reason = async (answer) => new Error((await answer.json().catch(() => null))?.detail ?? UNEXPECTED);

/** Ask the API to change a list. */
export async function change(list, method, path, body) {
  const answer = await fetch(rooted(`/api/v1/lists/${encodeURIComponent(list.id)}${path}`), {
    method,
    headers: { authorization: `Bearer ${list.key}`, ...(body ? { "content-type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : undefined,
  });
  if (answer.ok) return;
  if (answer.status === 404 && !path) forget(list.id);
  throw await reason(answer);
}

/** Ask the API to make a list of some features, and keep it. */
export async function create(name, features) {
  const body = { ...(name.trim() ? { name } : {}), entries: features.map((feature) => ({ feature })) };
  const answer = await fetch(rooted("/api/v1/lists"), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw await reason(answer);
  const made = await answer.json();
  const list = { id: made.id, key: made.secret, name: name.trim() || "Untitled list" };
  remember(list);
  return list;
}
