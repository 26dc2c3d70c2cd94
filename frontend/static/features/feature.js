// A feature's page: reads a text in place. Without JavaScript the same form leads to the prompt page.
import { watchTokens } from "../base/tokens.js";
import "../lists/picker.js";

const form = document.getElementById("try");
const result = document.getElementById("try-result");
let running;

function line(reading) {
  const text = document.createElement("p");
  text.className = "tokens";
  text.dir = reading.direction;
  for (const token of reading.tokens) {
    const span = document.createElement("span");
    const classes = [token.level >= 0 ? `a${token.level}` : "", token.mark, token.left_out ? "left-out" : ""];
    span.className = classes.filter(Boolean).join(" ");
    const value = token.left_out ? "not counted" : token.level >= 0 ? Number(token.value.toPrecision(4)).toString() : "";
    const title = [value, token.about].filter(Boolean).join(": ");
    if (title) span.title = title;
    span.textContent = token.text;
    text.append(span);
  }
  return text;
}

function message(text, className) {
  const p = document.createElement("p");
  p.className = className;
  p.textContent = text;
  return p;
}

async function read(event) {
  event.preventDefault();
  running?.abort();
  const mine = (running = new AbortController());
  result.replaceChildren(message("Reading…", "soft small"));
  try {
    const answer = await fetch(form.dataset.api, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ text: form.text.value }),
      signal: mine.signal,
    });
    const tried = await answer.json();
    if (!answer.ok) throw new Error(tried.detail);
    const summary = tried.highest > 0 ? `Highest ${Number(tried.highest.toPrecision(3))}, ${Math.round(100 * tried.share)}% of its maximum.` : "It is not active on this text.";
    result.replaceChildren(line(tried), message(summary, "soft small"));
    watchTokens(result);
  } catch (error) {
    if (error.name === "AbortError") return;
    result.replaceChildren(message(error instanceof TypeError ? "The server cannot be reached." : error.message, "problem small"));
  }
}

form?.addEventListener("submit", read);
form?.addEventListener("input", () => {
  if (form.text.value) return;
  running?.abort();
  result.replaceChildren();
});
form?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
