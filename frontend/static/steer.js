// The steering page: asks for the texts, shows them as they are written, can be stopped, and says what went wrong.
import { address, held, prepareForm, request } from "./steer_form.js";
import { cancel, follow, open } from "./steer_stream.js";
import { Texts } from "./steer_texts.js";

const form = document.getElementById("steer");
const go = document.getElementById("go");
const stop = document.getElementById("stop");
const problem = document.getElementById("problem");
const progress = document.getElementById("progress");
const texts = new Texts(document.getElementById("texts"), document.getElementById("column"));
let running;

// A message in place, with a way on.
function say(message) {
  problem.replaceChildren();
  if (!message) return;
  const notice = document.createElement("section");
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  const text = document.createElement("p");
  text.textContent = message;
  const again = document.createElement("button");
  again.type = "button";
  again.className = "button";
  again.textContent = "Try again";
  again.addEventListener("click", steer);
  notice.append(text, again);
  problem.append(notice);
}

function finished({ seconds, num_tokens: tokens, result, stored }) {
  const link = document.createElement("a");
  link.href = result;
  link.textContent = "Link to this result";
  const what = stored ? "Written before, with the same settings." : `${tokens} tokens in ${seconds.toFixed(1)} seconds.`;
  progress.replaceChildren(`${what} `, link);
}

// What each event does; the last ones return true.
const on = {
  run({ rows }) { texts.begin(rows); },
  queued({ ahead }) { progress.textContent = ahead > 0 ? `Waiting: ${ahead} before this one.` : "Starting…"; },
  started() { progress.textContent = "The model reads the prompt…"; },
  token(token) {
    progress.textContent = "Writing…";
    texts.add(token);
  },
  end({ row, note }) { texts.end(row, note); },
  done(event) { finished(event); return true; },
  error({ detail }) { throw new Error(detail); },
  cancelled({ detail }) { throw new Error(detail); },
};

async function write(mine) {
  const body = request(form);
  history.replaceState(null, "", address(form));
  mine.run = await open(body, mine.signal);
  texts.describe(held(form));
  await follow(mine.run, mine.signal, (name, data) => on[name]?.(data), () => { progress.textContent = "The connection was lost. Connecting again…"; });
}

async function steer() {
  running?.abort();
  const mine = (running = new AbortController());
  go.disabled = true;
  stop.hidden = false;
  say("");
  progress.textContent = "Asking…";
  try {
    await write(mine);
  } catch (error) {
    if (mine !== running) return;
    progress.textContent = error.name === "AbortError" ? "Stopped." : "";
    if (error.name !== "AbortError") say(error.message);
    texts.close(error.name === "AbortError" ? "Stopped." : "Not finished.");
  }
  go.disabled = false;
  stop.hidden = true;
}

stop.addEventListener("click", () => {
  cancel(running?.run);
  running?.abort();
});
addEventListener("pagehide", () => { cancel(running?.run); });
prepareForm(form, go, steer);
