// Keys. Pages say what a key does by marking links and buttons with data-key; texts with data-step are walked by j and k.
const names = {
  "/": "Search", j: "Next example", k: "Previous example", "[": "Previous feature", "]": "Next feature", c: "Next width of the context",
  n: "Break lines at newlines", p: "Try on a prompt", s: "Steer with this", y: "Copy link", m: "Show on the map", v: "Compare sizes", l: "Add to a list", r: "Random feature", "?": "This help",
};
let dialog;

const marked = (key) => document.querySelector(`[data-key="${CSS.escape(key)}"]`);

/** Whether a key does anything on this page. */
function works(key) {
  if (key === "?") return true;
  if (key === "/") return document.querySelector(".find input") !== null;
  if (key === "j" || key === "k") return document.querySelector("[data-step]") !== null;
  if (key === "n") return document.querySelector(".tokens") !== null;
  return marked(key) !== null;
}

function row(key) {
  const row = document.createElement("div");
  const dt = document.createElement("dt");
  const kbd = document.createElement("kbd");
  kbd.textContent = key;
  dt.append(kbd);
  const dd = document.createElement("dd");
  dd.textContent = marked(key)?.dataset.keyName ?? names[key];
  row.append(dt, dd);
  return row;
}

/** The keys that work on this page, as they are now. */
function help() {
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.className = "help";
    dialog.setAttribute("aria-label", "Keyboard");
    const heading = document.createElement("h2");
    heading.textContent = "Keyboard";
    const close = document.createElement("form");
    close.method = "dialog";
    close.innerHTML = '<button class="button">Close</button>';
    dialog.append(heading, document.createElement("dl"), close);
    document.body.append(dialog);
  }
  dialog.querySelector("dl").replaceChildren(...Object.keys(names).filter(works).map(row));
  dialog.showModal();
}

/** Break lines at newlines, or stop it. */
function breakLines() {
  const on = document.documentElement.classList.toggle("break-lines");
  for (const button of document.querySelectorAll('[data-action="lines"]')) button.setAttribute("aria-pressed", String(on));
}

function step(by) {
  const stops = [...document.querySelectorAll("[data-step]")];
  if (!stops.length) return;
  const now = stops.findIndex((stop) => stop.contains(document.activeElement));
  const next = stops[Math.min(Math.max(now + by, 0), stops.length - 1)];
  (next.querySelector('.tokens [tabindex="0"]') ?? next).focus({ preventScroll: true });
  next.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog[open]")) return;
  const { key } = event;
  if (key === "/") document.querySelector('.find input')?.focus();
  else if (key === "?") help();
  else if (key === "n") breakLines();
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else {
    const target = key in names ? marked(key) : null;
    if (!target) return;
    target.click();
  }
  event.preventDefault();
}

/** Listen to the keys of this page. */
export function listen() {
  document.addEventListener("keydown", press);
}
listen.help = help;
listen.breakLines = breakLines;
