// A feature's page: reads a text in place. Without JavaScript the same form leads to the prompt page.
import { watchTokens } from "../base/tokens.js";
import "../lists/picker.js";

const form = document.getElementById("try");
const result = document.getElementById("try-result");
const AS_SHOWN = { special_tokens: true, template_tokens: false }; // how the prompt page reads a text at first
let how = AS_SHOWN;
let running;

function line(reading) {
  const text = document.createElement("p");
  text.className = "tokens";
  text.dir = reading.direction;
  for (const token of reading.tokens) {
    const span = document.createElement("span");
    const quiet = token.whose ? "uncounted" : token.left_out ? "left-out" : "";
    const classes = [token.level >= 0 ? `a${token.level}` : "", token.mark, quiet];
    span.className = classes.filter(Boolean).join(" ");
    const value = token.why_out || (token.level >= 0 ? Number(token.value.toPrecision(4)).toString() : "");
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

function again(text, changes) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "link";
  button.textContent = text;
  button.addEventListener("click", async () => {
    how = { ...how, ...changes };
    await read();
    result.querySelector("button.link")?.focus();
  });
  return button;
}

// As on the prompt page: the chat template's tokens are faint and not counted, or counted where that is asked for.
function templateNote(template) {
  const note = message("", "soft small");
  if (!how.special_tokens) {
    note.append("The marks of the chat template were read as plain text. ", again("Read them as tokens", AS_SHOWN));
  } else if (template) {
    const counts = how.template_tokens ? "counted, too" : "shown faint, not counted";
    note.append(
      `${template.is_text ? "The text is a filled chat template. " : ""}${template.num} ${template.num === 1 ? "token is" : "tokens are"} the chat template’s and ${counts}. `,
      again(how.template_tokens ? "Leave them out" : "Count them", { template_tokens: !how.template_tokens }),
    );
    if (template.is_text) note.append(" · ", again("Read its marks as plain text", { special_tokens: false, template_tokens: false }));
  } else return [];
  return [note];
}

async function read(event) {
  event?.preventDefault();
  running?.abort();
  const mine = (running = new AbortController());
  result.replaceChildren(message("Reading…", "soft small"));
  try {
    const answer = await fetch(form.dataset.api, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ text: form.text.value, ...how }),
      signal: mine.signal,
    });
    const tried = await answer.json();
    if (!answer.ok) throw new Error(tried.detail);
    const summary = tried.highest > 0 ? `Highest ${Number(tried.highest.toPrecision(3))}, ${Math.round(100 * tried.share)}% of its maximum.` : "It is not active on this text.";
    result.replaceChildren(line(tried), message(summary, "soft small"), ...templateNote(tried.template));
    watchTokens(result);
  } catch (error) {
    if (error.name === "AbortError") return;
    result.replaceChildren(message(error instanceof TypeError ? "The server cannot be reached." : error.message, "problem small"));
  }
}

form?.addEventListener("submit", read);
form?.addEventListener("input", () => {
  how = AS_SHOWN;
  if (form.text.value) return;
  running?.abort();
  result.replaceChildren();
});
form?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
