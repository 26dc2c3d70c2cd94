// Pages of lists: which lists this browser may edit, and editing without reloading. All of it works by forms too.
import { rooted } from "../base/address.js";
import { known, remember, forget, change, editAddress } from "./memory.js";

function showMine(card) {
  const lists = known();
  card.hidden = !lists.length;
  card.querySelector("ul").replaceChildren(...lists.map((list) => {
    const row = document.createElement("li");
    const name = Object.assign(document.createElement("a"), { href: rooted(`/lists/${list.id}`), textContent: list.name });
    const edit = Object.assign(document.createElement("a"), { href: editAddress(list), textContent: "Edit", className: "button" });
    edit.setAttribute("aria-label", `Edit ${list.name}`);
    const drop = Object.assign(document.createElement("button"), { type: "button", textContent: "Forget", className: "button", title: "The list stays; this browser forgets its secret link." });
    drop.setAttribute("aria-label", `Forget ${list.name}`);
    drop.addEventListener("click", () => {
      forget(list.id);
      showMine(card);
    });
    row.append(name, edit, drop);
    return row;
  }));
}

function offerEdit(link) {
  const list = known().find((other) => other.id === link.dataset.editLink);
  if (!list) return;
  link.href = editAddress(list);
  link.hidden = false;
}

const EDGE = 60; // pixels from the edge of the window at which dragging scrolls, by
const STEP = 12; // so many at once
const status = document.querySelector("[data-list-status]");
const say = (text) => { status.textContent = text; };
const path = (entry) => `/entries/${entry.dataset.feature}`;

/** Numbers, ids and disabled buttons of the entries as they stand now. */
function renumber(list) {
  const entries = [...list.children];
  const first = Number(list.dataset.first);
  entries.forEach((entry, place) => {
    entry.id = `e${first + place + 1}`;
    entry.querySelector(".entry-number").textContent = first + place + 1;
    // Past the ends of the page the form does it.
    entry.querySelector('[value="up"]').disabled = first + place === 0;
    entry.querySelector('[value="down"]').disabled = place === entries.length - 1 && !document.querySelector('.pages [rel="next"]');
  });
}

const placeOf = (entry) => Number(entry.parentElement.dataset.first) + [...entry.parentElement.children].indexOf(entry);

async function saveOrder(entry, now) {
  renumber(entry.parentElement);
  try {
    await change(now, "PATCH", path(entry), { place: placeOf(entry) });
    say(`${entry.dataset.feature} is number ${placeOf(entry) + 1} now.`);
  } catch (error) {
    say(`${error.message} The order shown is not saved.`);
  }
}

function move(entry, button, now) {
  const other = button.value === "up" ? entry.previousElementSibling : entry.nextElementSibling;
  if (!other) return false;
  if (button.value === "up") other.before(entry); else other.after(entry);
  saveOrder(entry, now);
  const target = button.disabled ? entry.querySelector(button.value === "up" ? '[value="down"]' : '[value="up"]') : button;
  target.focus();
  return true;
}

async function save(entry, now) {
  try {
    await change(now, "PATCH", path(entry), { note: entry.querySelector("textarea").value });
    say(`The note on ${entry.dataset.feature} is saved.`);
  } catch (error) {
    say(error.message);
  }
}

/** Save the list's own name and note. */
async function describe(form, now) {
  const [name, note] = [form.elements.name.value, form.elements.list_note.value];
  try {
    await change(now, "PATCH", "", { name, note });
    remember(Object.assign(now, { name }));
    say("The list's name and note are saved.");
  } catch (error) {
    say(error.message);
  }
}

async function remove(entry, now) {
  const list = entry.parentElement;
  const next = entry.nextElementSibling ?? entry.previousElementSibling;
  try {
    await change(now, "DELETE", path(entry));
  } catch (error) {
    say(error.message);
    return;
  }
  entry.remove();
  renumber(list);
  say(`${entry.dataset.feature} is removed.`);
  (next?.querySelector('[value="remove"]') ?? document.getElementById("add-features")).focus();
}

/** Dragging by a handle; the buttons do the same for keys. */
function drag(entry, now) {
  const handle = Object.assign(document.createElement("span"), { className: "entry-handle", textContent: "⠿", title: "Drag to reorder" });
  handle.setAttribute("aria-hidden", "true");
  entry.firstElementChild.after(handle);
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    entry.classList.add("dragged");
    const from = placeOf(entry);
    const follow = ({ clientY }) => {
      if (clientY < EDGE || clientY > innerHeight - EDGE) scrollBy(0, clientY < EDGE ? -STEP : STEP);
      const over = [...entry.parentElement.children].find((other) => {
        const box = other.getBoundingClientRect();
        return other !== entry && clientY > box.top && clientY < box.bottom;
      });
      if (!over) return;
      const box = over.getBoundingClientRect();
      if (clientY < box.top + box.height / 2) over.before(entry); else over.after(entry);
    };
    // At the document: an entry that is moved within it loses a captured pointer.
    const ended = new AbortController();
    const end = () => {
      ended.abort();
      entry.classList.remove("dragged");
      if (placeOf(entry) !== from) saveOrder(entry, now);
    };
    document.addEventListener("pointermove", follow, { signal: ended.signal });
    for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, end, { signal: ended.signal });
  });
}

function edit(form) {
  const now = { id: form.dataset.list, key: form.dataset.keyOfList, name: form.dataset.name };
  remember(now);
  // The message of the last form is not part of the address that one keeps.
  const address = new URL(location.href);
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
  for (const entry of document.querySelectorAll(".entry")) drag(entry, now);
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    const entry = event.target.closest(".entry");
    if (button?.value === "delete") forget(now.id);
    if (!entry || !button) return;
    const done = { up: move, down: move }[button.value]?.(entry, button, now);
    if (done === false) return;
    event.preventDefault();
    if (button.value === "save") save(entry, now);
    if (button.value === "remove") remove(entry, now);
  });
  form.addEventListener("change", () => describe(form, now));
  for (const note of document.querySelectorAll(".entry textarea")) note.addEventListener("change", () => save(note.closest(".entry"), now));
}

const mine = document.querySelector("[data-my-lists]");
if (mine) showMine(mine);
for (const link of document.querySelectorAll("[data-edit-link]")) offerEdit(link);
const form = document.querySelector("form[data-list]");
if (form) edit(form);
