// Keys. Pages say what a key does by marking links and buttons with data-key; texts with data-step are walked by j and k.
const names = {
  "/": "Search", "?": "This help", j: "Next example", k: "Previous example", "[": "Previous feature", "]": "Next feature",
  n: "Break lines at newlines", p: "Try on a prompt", s: "Steer with this", y: "Copy link", m: "Show on the map", r: "Random feature",
};
let dialog;

function help() {
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.className = "help";
    dialog.setAttribute("aria-label", "Keyboard");
    const list = document.createElement("dl");
    for (const [key, name] of Object.entries(names)) {
      const row = document.createElement("div");
      const dt = document.createElement("dt");
      const kbd = document.createElement("kbd");
      kbd.textContent = key;
      dt.append(kbd);
      const dd = document.createElement("dd");
      dd.textContent = name;
      row.append(dt, dd);
      list.append(row);
    }
    const heading = document.createElement("h2");
    heading.textContent = "Keyboard";
    const close = document.createElement("form");
    close.method = "dialog";
    close.innerHTML = '<button class="button">Close</button>';
    dialog.append(heading, list, close);
    document.body.append(dialog);
  }
  dialog.showModal();
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
  else if (key === "n") document.documentElement.classList.toggle("break-lines");
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else {
    const target = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
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
