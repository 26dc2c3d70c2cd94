// The prompt page reads while the user types: it fetches its own page and puts the new reading in the old one's place.
const form = document.getElementById("prompt");
const text = document.getElementById("text");
const reading = document.getElementById("reading");
const status = document.getElementById("status");
const PAUSE = 250;
const SLOW = 400; // milliseconds after which the page says that it waits
const MAX_ADDRESS = 2000; // as in backend/prompts/store.py: beyond, the text is stored and its address is short
let timer;
let running;
let shown = location.href;

const isLong = () => encodeURIComponent(text.value).length > MAX_ADDRESS;

function fields() {
  const values = new URLSearchParams(new FormData(form));
  values.set("text", text.value);
  return values;
}

// The form as a request: a short text in the address, a long one in the body.
const asked = () => isLong()
  ? [form.getAttribute("action"), { method: "POST", body: fields() }]
  : [`${form.getAttribute("action")}?${fields()}`, {}];

function wait() {
  status.textContent = status.dataset.loading || "The model is reading…";
}

// Put the answer to a request in place. step: whether it is one that the Back button should undo. focusOn, goTo: ids of what is then focused,
// and of what is moved into view as well.
async function load([address, options], { step = false, focusOn = "", goTo = "", history: keep = true } = {}) {
  clearTimeout(timer);
  running?.abort();
  const mine = (running = new AbortController());
  const slow = setTimeout(wait, SLOW);
  reading.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address, { ...options, signal: mine.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.getElementById("reading")) throw new Error(page.querySelector(".lede")?.textContent ?? `The server answered ${answer.status}.`);
    if (keep && answer.redirected) remember(answer.url, step);
    else if (keep && !options.method) remember(new URL(address, location.href).href, step);
    take(page, !keep);
    if (focusOn) document.getElementById(focusOn)?.focus();
    if (goTo) lead(document.getElementById(goTo));
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error instanceof TypeError ? "The server cannot be reached." : error.message, [address, options]);
  } finally {
    clearTimeout(slow);
  }
  if (running !== mine) return;
  status.textContent = "";
  reading.removeAttribute("aria-busy");
}

function lead(place) {
  place?.focus({ preventScroll: true });
  place?.scrollIntoView({ block: "start" });
}

function remember(address, step) {
  if (address === shown) return;
  history[step ? "pushState" : "replaceState"](null, "", address);
  shown = address;
}

// The reading and the options come from the answer; the text only when an earlier page is gone back to.
function take(page, withText) {
  const focused = document.activeElement?.closest("#options") ? document.activeElement.id : "";
  reading.replaceChildren(...page.getElementById("reading").childNodes);
  for (const id of ["options", "options-chosen"]) document.getElementById(id).replaceChildren(...page.getElementById(id).childNodes);
  if (focused) document.getElementById(focused)?.focus();
  if (withText) text.value = page.getElementById("text").value;
  status.dataset.loading = page.getElementById("status").dataset.loading;
  showCurrent();
}

// The box of tokens shows the chosen one: in a chat the template's own come first. The page itself stays where it is.
function showCurrent() {
  const strip = reading.querySelector(".strip");
  const current = strip?.querySelector(".cell[aria-current]");
  if (!current) return;
  const [box, cell] = [strip.getBoundingClientRect(), current.getBoundingClientRect()];
  if (cell.top < box.top || cell.bottom > box.bottom) strip.scrollTop += (cell.top + cell.bottom - box.top - box.bottom) / 2;
}

function fail(message, request) {
  const notice = document.createElement("section");
  notice.className = "notice prompt-notice";
  notice.setAttribute("role", "alert");
  const paragraph = document.createElement("p");
  paragraph.textContent = message;
  const again = document.createElement("button");
  again.type = "button";
  again.className = "button";
  again.textContent = "Try again";
  again.addEventListener("click", () => load(request));
  notice.append(paragraph, again);
  reading.replaceChildren(notice);
}

// At the next pause, and once what is read now has come: the server lets one wait at most.
function readSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => (reading.hasAttribute("aria-busy") ? readSoon() : load(asked())), PAUSE);
}

text.addEventListener("input", (event) => {
  clearTimeout(timer);
  // A long text is stored: not at every pause of someone who types.
  if (!isLong() || event.inputType === "insertFromPaste") readSoon();
  else status.textContent = "A text of this length is stored when it is read: press Read.";
});
form.addEventListener("change", (event) => {
  if (event.target === text) return;
  if (event.target.name === "sae" && !form.querySelector('input[name="sae"]:checked')) {
    event.target.checked = true;
    status.textContent = "One autoencoder must stay chosen: choose another one first.";
    return;
  }
  load(asked(), { step: true });
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(asked(), { step: true });
});
reading.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-swap]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  load([link.href, {}], { step: true, focusOn: link.id, goTo: link.hash.slice(1) });
});
// What is asked about an output is answered below its form, and that is where one is led.
reading.addEventListener("submit", (event) => {
  const address = new URL(event.target.action);
  if (address.pathname !== form.getAttribute("action")) return;
  event.preventDefault();
  address.search = new URLSearchParams(new FormData(event.target));
  load([address.href, {}], { step: true, goTo: address.hash.slice(1) });
});
reading.addEventListener("keydown", (event) => {
  const cell = event.target.closest(".cell");
  const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
  const next = cell && step && cell.parentElement[step]?.querySelector(".cell");
  if (!next) return;
  event.preventDefault();
  next.focus();
});
addEventListener("popstate", () => {
  shown = location.href;
  load([location.href, {}], { history: false });
});
showCurrent();
