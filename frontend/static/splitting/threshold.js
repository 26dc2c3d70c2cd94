// The threshold's slider: the same page is asked for anew and put in place, and the address follows without a new entry.
import { watchTokens } from "../base/tokens.js";

const WAIT = 120;
const form = document.querySelector("[data-threshold]");
const slider = form.elements.t;
const output = form.querySelector("output");
let waiting;
let asked = 0;

function address() {
  const query = new URLSearchParams(new FormData(form));
  return `${form.getAttribute("action")}?${query}`;
}

async function show() {
  const mine = ++asked;
  const place = document.getElementById("compared");
  place.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address());
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asked) return; // the slider has moved on
    place.replaceChildren(...page.getElementById("compared").childNodes);
    watchTokens(place);
    history.replaceState(null, "", address());
  } catch {
    if (mine === asked) form.submit(); // the server's own answer says what is wrong
  } finally {
    if (mine === asked) place.removeAttribute("aria-busy");
  }
}

form.querySelector("[data-apply]").hidden = true;
slider.addEventListener("input", () => {
  output.textContent = Number(slider.value).toFixed(2);
  clearTimeout(waiting);
  waiting = setTimeout(show, WAIT);
});
