// The steering page: asks for the texts, shows them as they are written, can be stopped, and says what went wrong.
import { address, held, prepareForm, request } from "./form.js";
import { forget, keep, kept } from "./memory.js";
import { cancel, Failure, follow, join, open } from "./stream.js";
import { Texts } from "./texts.js";

const form = document.getElementById("steer");
const go = document.getElementById("go");
const stop = document.getElementById("stop");
const problem = document.getElementById("problem");
const line = document.getElementById("run-line");
const progress = document.getElementById("progress");
const openings = document.getElementById("openings");
const texts = new Texts(document.getElementById("texts"), document.getElementById("column"));
const able = !go.disabled;
let running;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const reveal = (element, block) => element.scrollIntoView({ behavior: still.matches ? "auto" : "smooth", block });

// Show a message, with a button where another try may help.
function say(message, again = false) {
  problem.replaceChildren();
  if (!message) return;
  const notice = document.createElement("section");
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  const text = document.createElement("p");
  text.textContent = message;
  notice.append(text);
  if (again) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = "Try again";
    button.addEventListener("click", steer);
    notice.append(button);
  }
  problem.append(notice);
  reveal(notice, "nearest");
}

function finished({ seconds, num_tokens: tokens, result, stored, note }) {
  const link = document.createElement(result ? "a" : "span");
  if (result) link.href = result;
  link.textContent = result ? "Link to this result" : note;
  const what = stored ? "Written before, with the same settings." : `${tokens} tokens in ${seconds.toFixed(1)} seconds.`;
  progress.replaceChildren(`${what} `, link);
}

function begin({ id, rows, result }) {
  running.begun = true;
  keep(location.search, { runs: [id, result.replace("/r/", "")] });
  texts.begin(rows);
  if (texts.section.getBoundingClientRect().bottom > innerHeight) reveal(line, "start");
}

// Handlers of events; those of last events return true.
const on = {
  run: begin,
  queued({ ahead }) { progress.textContent = ahead > 0 ? `Waiting: ${ahead} before this one.` : "Starting…"; },
  started() {
    progress.dataset.loading = "";
    progress.textContent = "The model reads the prompt…";
  },
  token(token) {
    progress.textContent = "Writing…";
    texts.add(token);
  },
  end({ row, note }) { texts.end(row, note); },
  done(event) { finished(event); return true; },
  error({ status, detail }) { throw new Failure(detail, status); },
  cancelled({ detail }) { throw new Failure(detail, 503); },
};

function fail(error, begun) {
  const stopped = error.name === "AbortError";
  progress.textContent = stopped ? "Stopped." : "";
  if (!stopped) say(error.message, error.again);
  if (begun) texts.close(stopped ? "Stopped." : "Not finished.");
  else texts.clear();
  if (!error.lost) forget();
}

// Show a run, which `start` asks for.
async function show(start) {
  running?.abort();
  const mine = (running = new AbortController());
  go.disabled = true;
  stop.hidden = false;
  openings.classList.add("away");
  texts.wait();
  say("");
  progress.textContent = progress.dataset.loading || "Sending…";
  reveal(line, "nearest");
  try {
    mine.run = await start(mine.signal);
    texts.describe(held(form));
    await follow(mine.run, mine.signal, (name, data) => on[name]?.(data), () => { progress.textContent = "The connection was lost. Connecting again…"; });
  } catch (error) {
    if (mine !== running) return;
    fail(error, mine.begun);
  }
  go.disabled = !able;
  stop.hidden = true;
  openings.classList.remove("away");
}

const steer = () => show(async (signal) => {
  const body = request(form);
  history.replaceState(null, "", address(form));
  return open(body, signal);
});

// After a reload the run goes on; the run of a form that was left is cancelled.
function resume() {
  const before = kept();
  if (!before) return;
  if (before.current && before.start) {
    forget();
    if (able) steer();
  } else if (before.current) {
    show((signal) => join(before.runs, signal));
  } else {
    forget();
    if (before.runs.length) cancel({ address: `/api/v1/runs/${before.runs[0]}` });
  }
}

stop.addEventListener("click", () => {
  cancel(running?.run);
  running?.abort();
});
// An example is written at one click here; its address alone only fills the form.
openings.addEventListener("click", (event) => {
  const card = event.target.closest("a.card");
  if (card && !event.ctrlKey && !event.metaKey && !event.shiftKey) keep(new URL(card.href).search, { start: true });
});
prepareForm(form, go, steer);
resume();
