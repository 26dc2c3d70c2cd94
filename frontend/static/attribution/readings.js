// Further readings of an example, shown below it. The link leads to the same page. The one that is open is in the address.
import { watchTokens } from "../base/tokens.js";

const HERE = "a[data-reading]";

function place(link) {
  const example = link.closest(".example").querySelector(".tokens").parentElement;
  let box = example.querySelector(".example-reading");
  if (!box) {
    box = document.createElement("div");
    box.className = "example-reading signed";
    box.setAttribute("role", "status");
    example.append(box);
  }
  return box;
}

function press(link, pressed) {
  for (const other of link.closest(".example").querySelectorAll(HERE)) other.removeAttribute("aria-current");
  if (pressed) link.setAttribute("aria-current", "true");
}

function say(box, text) {
  const line = document.createElement("p");
  line.className = "small";
  line.textContent = text;
  box.replaceChildren(line);
}

function keep(name) {
  history.replaceState(history.state, "", name ? `#${name}` : location.pathname + location.search);
}

async function read(link) {
  const box = place(link);
  box.running?.abort();
  const mine = (box.running = new AbortController());
  press(link, true);
  box.setAttribute("aria-busy", "true");
  say(box, "Reading this example…");
  try {
    const answer = await fetch(link.href, { signal: mine.signal });
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("signed");
    if (!found) throw new Error(`The server answered ${answer.status}.`);
    box.replaceChildren(...found.childNodes);
    watchTokens(box);
  } catch (error) {
    if (error.name === "AbortError") return;
    say(box, `${error instanceof TypeError ? "The server cannot be reached." : error.message} Choose it again to try once more.`);
    press(link, false);
  }
  box.removeAttribute("aria-busy");
}

function close(link) {
  const box = place(link);
  box.running?.abort();
  box.remove();
  press(link, false);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest(HERE);
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const open = !link.getAttribute("aria-current");
  keep(open ? link.dataset.reading : "");
  if (open) read(link);
  else close(link);
});

const asked = document.querySelector(`[data-reading="${CSS.escape(location.hash.slice(1))}"]`);
if (asked && location.hash) read(asked).then(() => asked.closest(".example").scrollIntoView({ block: "center" }));
