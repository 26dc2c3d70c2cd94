// The search page searches while the user types: it fetches its own page and puts the new results in the old ones' place.
const form = document.getElementById("search");
const results = document.getElementById("results");
const status = document.getElementById("search-status");
const PAUSE = 150;
const DEFAULTS = { alive: "true" };
let timer;
let running;

function address() {
  const given = [...new FormData(form)].filter(([name, value]) => value !== "" && value !== DEFAULTS[name]);
  const query = new URLSearchParams(given).toString();
  return query ? `${form.getAttribute("action")}?${query}` : form.getAttribute("action");
}

async function load(href) {
  clearTimeout(timer);
  running?.abort();
  const mine = (running = new AbortController());
  results.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(href, { signal: mine.signal });
    if (answer.redirected) return name(answer.url);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("results");
    if (!next) throw new Error(page.querySelector(".lede")?.textContent ?? `The server answered ${answer.status}.`);
    history.replaceState(null, "", href);
    document.title = page.title;
    results.replaceChildren(...next.childNodes);
    status.textContent = next.dataset.summary || results.querySelector(".empty :is(h2, p)")?.textContent || "";
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error instanceof TypeError ? "The server cannot be reached." : error.message, href);
  }
  if (running === mine) results.removeAttribute("aria-busy");
}

/** What is typed names a feature: Enter leads there. */
function name(address) {
  const link = document.createElement("a");
  [link.href, link.textContent] = [address, new URL(address).pathname.slice(1)];
  const found = document.createElement("p");
  found.className = "empty";
  found.append("This names a feature: ", link);
  results.replaceChildren(found);
  results.removeAttribute("aria-busy");
  status.textContent = found.textContent;
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
