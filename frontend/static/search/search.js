// The search page searches while the user types: it fetches its own page and puts the new results in the old ones' place.
import { ownPath } from "../base/address.js";

const form = document.getElementById("search");
const results = document.getElementById("results");
const status = document.getElementById("search-status");
const PAUSE = 150;
const READING_PAUSE = 500; // the model is asked once nobody types any more
const DEFAULTS = { kind: "live" };
let timer;
let running;
let reading;

function address() {
  const given = [...new FormData(form)].filter(([name, value]) => value !== "" && value !== DEFAULTS[name]);
  const query = new URLSearchParams(given).toString();
  return query ? `${form.getAttribute("action")}?${query}` : form.getAttribute("action");
}

async function fetchPage(href, signal) {
  const answer = await fetch(href, { signal });
  return { answer, page: new DOMParser().parseFromString(await answer.text(), "text/html") };
}

/** What was to be read is no longer on the page. */
function leaveReading() {
  clearTimeout(reading?.timer);
  reading?.abort();
}

/** What the model reads comes behind what has the words: the page shows those at once. */
function readSoon(pause) {
  leaveReading();
  const link = document.getElementById("read-it");
  if (!link) return;
  const mine = (reading = new AbortController());
  mine.timer = setTimeout(() => readNow(link, mine.signal), pause);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    clearTimeout(mine.timer);
    readNow(link, mine.signal);
  });
}

async function readNow(link, signal) {
  const place = document.getElementById("reading");
  place.setAttribute("aria-busy", "true");
  place.querySelector('[role="status"]').textContent = link.dataset.waits;
  link.parentElement.hidden = true;
  try {
    const next = (await fetchPage(link.href, signal)).page.getElementById("reading");
    if (!next) throw new TypeError("no answer");
    place.replaceChildren(...next.childNodes);
  } catch (error) {
    if (error.name === "AbortError") return;
    place.querySelector('[role="status"]').textContent = "The server cannot be reached.";
    link.parentElement.hidden = false;
  }
  place.removeAttribute("aria-busy");
}

async function load(href) {
  clearTimeout(timer);
  running?.abort();
  const mine = (running = new AbortController());
  results.setAttribute("aria-busy", "true");
  try {
    const { answer, page } = await fetchPage(href, mine.signal);
    if (answer.redirected) return name(answer.url);
    const next = page.getElementById("results");
    if (!next) throw new Error(page.querySelector(".lede")?.textContent ?? `The server answered ${answer.status}.`);
    history.replaceState(null, "", href);
    document.title = page.title;
    results.replaceChildren(...next.childNodes);
    readSoon(READING_PAUSE);
    status.textContent = next.dataset.summary || results.querySelector(".empty :is(h2, p)")?.textContent || "";
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error instanceof TypeError ? "The server cannot be reached." : error.message, href);
  }
  if (running === mine) results.removeAttribute("aria-busy");
}

/** What is typed names a feature: Enter leads there. */
function name(address) {
  leaveReading();
  const link = document.createElement("a");
  [link.href, link.textContent] = [address, ownPath(new URL(address).pathname).slice(1)];
  const found = document.createElement("p");
  found.className = "empty";
  found.append("This names a feature: ", link);
  results.replaceChildren(found);
  results.removeAttribute("aria-busy");
  status.textContent = found.textContent;
}

function fail(message, href) {
  leaveReading();
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
  results.replaceChildren(notice);
}

form.addEventListener("input", (event) => {
  clearTimeout(timer);
  timer = setTimeout(() => load(address()), event.target.type === "search" ? PAUSE : 2 * PAUSE);
});
form.addEventListener("submit", (event) => {
  if (form.elements.q.value.includes("/")) return; // a feature's name leads away from here
  event.preventDefault();
  load(address());
});
readSoon(0);
