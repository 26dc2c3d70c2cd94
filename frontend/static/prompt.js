// The prompt page reads as one types: it asks for its own page and puts the new reading in the old one's place.
const form = document.getElementById("prompt");
const reading = document.getElementById("reading");
const PAUSE = 250;
let timer;
let running;

function address() {
  return `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
}

async function load(href, focusOn) {
  clearTimeout(timer);
  running?.abort();
  const mine = (running = new AbortController());
  reading.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(href, { signal: mine.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("reading");
    if (!next) throw new Error(page.querySelector(".lede")?.textContent ?? `The server answered ${answer.status}.`);
    history.replaceState(null, "", href);
    follow(page);
    reading.replaceChildren(...next.childNodes);
    if (focusOn) document.getElementById(focusOn)?.focus();
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error instanceof TypeError ? "The server cannot be reached." : error.message, href);
  }
  if (running === mine) reading.removeAttribute("aria-busy");
}

// The feature that colours the tokens is part of what the form says next.
function follow(page) {
  form.querySelector('input[name="f"]')?.remove();
  const chosen = page.querySelector('#prompt input[name="f"]');
  if (chosen) form.append(document.importNode(chosen));
}

function fail(message, href) {
  const notice = document.createElement("section");
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  const text = document.createElement("p");
  text.textContent = `${message} `;
  const again = document.createElement("button");
  again.type = "button";
  again.className = "button";
  again.textContent = "Try again";
  again.addEventListener("click", () => load(href));
  text.append(again);
  notice.append(text);
  reading.replaceChildren(notice);
}

form.text.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => load(address()), PAUSE);
});
form.addEventListener("change", (event) => {
  if (event.target.name === "sae") form.querySelector('input[name="f"]')?.remove();
  if (event.target !== form.text) load(address());
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(address());
});
reading.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-swap]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  load(link.href, link.id);
});
reading.addEventListener("keydown", (event) => {
  const cell = event.target.closest(".cell");
  const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
  const next = cell && step && cell.parentElement[step]?.querySelector(".cell");
  if (!next) return;
  event.preventDefault();
  next.focus();
});
