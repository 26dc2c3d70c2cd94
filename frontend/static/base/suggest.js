// Features that fit what is typed into a box, as a list under it (an ARIA combobox). One box is in use at a time.
import { rooted } from "./address.js";

const PAUSE = 120;
const MAX_HITS = 7;
let list;
let note;
let input;
let choose;
let timer;
let running;
let active = -1;

const options = () => [...list.querySelectorAll('[role="option"]')];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function marked(segments) {
  return segments.map(({ text, hit }) => (hit ? element("mark", { textContent: text }) : text));
}

function option(place, href, className, ...children) {
  const made = element("li", { id: `${list.id}-${place}`, className }, ...children);
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", "false");
  made.dataset.href = href;
  return made;
}

/** Where the words are, when they are not in the label. */
function why(hit) {
  if (hit.found_in.includes("label")) return [];
  if (!hit.found_in.some((field) => field !== "meaning")) return [element("small", { className: "why", textContent: "means nearly this" })];
  const promoted = hit.promoted.find((token) => token.some((segment) => segment.hit));
  const text = hit.found_in[0] === "promoted" && promoted ? ["promotes ", ...marked(promoted)] : ["… ", ...marked(hit.texts[0] ?? []), " …"];
  return [element("small", { className: "why" }, ...text)];
}

function close() {
  clearTimeout(timer);
  running?.abort();
  active = -1;
  list.hidden = note.hidden = true;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

function open(children) {
  active = -1;
  input.removeAttribute("aria-activedescendant");
  note.hidden = true;
  list.replaceChildren(...children);
  list.hidden = false;
  input.setAttribute("aria-expanded", "true");
}

function mark(place) {
  const all = options();
  active = (place + all.length + 1) % (all.length + 1);
  if (active === all.length) active = -1;
  all.forEach((one, i) => one.setAttribute("aria-selected", String(i === active)));
  if (active < 0) input.removeAttribute("aria-activedescendant");
  else {
    input.setAttribute("aria-activedescendant", all[active].id);
    all[active].scrollIntoView({ block: "nearest" });
  }
}

function show(result, words) {
  if (!result.hits.length) return say(/\/\d+/.test(words) ? "Enter looks for a feature of this name." : "No feature has these words, or means this.");
  const hits = result.hits.map((hit, i) => {
    const { model, sae, index } = hit.feature;
    const label = element("span", { className: "label" }, ...marked(hit.label));
    return option(i, rooted(`/${model}/${sae}/${index}`), "", label, element("small", { textContent: `${sae} / ${index}` }), ...why(hit));
  });
  const count = `${result.more ? "more than " : ""}${result.total.toLocaleString("en")}`;
  open([...hits, option(hits.length, rooted(`/search?q=${encodeURIComponent(words)}`), "all", `All results: ${count}`)]);
}

function say(text) {
  close();
  note.textContent = text;
  note.hidden = false;
}

async function ask() {
  const words = input.value.trim();
  if (!words) return close();
  running?.abort();
  const mine = (running = new AbortController());
  try {
    const answer = await fetch(rooted(`/api/v1/search?q=${encodeURIComponent(words)}&per_page=${MAX_HITS}`), { signal: mine.signal });
    const result = await answer.json();
    if (!answer.ok) say(result.detail);
    else show(result, words);
  } catch (error) {
    if (error.name !== "AbortError") say("The server cannot be reached.");
  }
}

function press(event) {
  if (event.isComposing) return;
  const opened = !list.hidden;
  if (event.key === "Escape" && !note.hidden) close();
  else if (event.key === "ArrowDown" && !opened) ask();
  else if (event.key === "ArrowDown") mark(active + 1);
  else if (event.key === "ArrowUp" && opened) mark(active < 0 ? options().length - 1 : active - 1);
  else if (event.key === "Escape" && opened) close();
  else if (event.key === "Escape") input.blur();
  else if (event.key === "Enter" && opened && active >= 0) pick(options()[active]);
  else return;
  event.preventDefault();
}

function pick({ classList, dataset }) {
  if (classList.contains("all")) location.assign(dataset.href);
  else choose(dataset.href);
}

/** Make the box in `form` suggest. chosen: called with the address of a feature that is chosen; opens it by default. */
export function suggest(form, chosen = (href) => location.assign(href)) {
  const box = {
    input: form.querySelector("input"),
    list: element("ul", { className: "suggestions", id: `${form.id}suggestions`, hidden: true }),
    note: element("p", { className: "suggestions note", hidden: true }),
    choose: chosen,
  };
  ({ input, list, note, choose } = box);
  input.addEventListener("focus", () => { ({ input, list, note, choose } = box); });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Features");
  for (const [name, value] of Object.entries({ role: "combobox", "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list" })) input.setAttribute(name, value);
  note.setAttribute("role", "status");
  form.append(list, note);
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  });
  input.addEventListener("keydown", press);
  input.addEventListener("blur", close);
  form.addEventListener("submit", close);
  list.addEventListener("pointerdown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const chosen = event.target.closest('[role="option"]');
    if (!chosen) return;
    if (event.ctrlKey || event.metaKey) window.open(chosen.dataset.href);
    else pick(chosen);
  });
  list.addEventListener("pointermove", (event) => {
    const place = options().indexOf(event.target.closest('[role="option"]'));
    if (place >= 0 && place !== active) mark(place);
  });
}
