// The steering page: sends messages, shows the answers as they are written or as they are stored, and says what went
// wrong. Another strength shows its stored text, or has the last message answered again.
import { ownPath, rooted } from "../base/address.js";
import { suggest } from "../base/suggest.js";
import { address, held, prepareForm, request } from "./form.js";
import { forget, keep, kept } from "./memory.js";
import { storedText } from "./stored.js";
import { cancel, Failure, follow, join, open } from "./stream.js";
import { Texts, watchColours } from "./texts.js";

const PAUSE = 400; // milliseconds after the last move of a slider
const byId = (id) => document.getElementById(id);
const [form, go, again, stop, problem, progress, stored] = ["steer", "go", "again", "stop", "problem", "progress", "stored"].map(byId);
const state = JSON.parse(byId("state").textContent);
const texts = new Texts(byId("texts"));
const able = !go.disabled;
let turns = state.turns; // exact: what a next message goes on from
let last = turns.length ? { message: turns.at(-1).message, history: turns.slice(0, -1) } : null; // what was asked
let running;
let timer;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const reveal = (element, block) => element?.scrollIntoView({ behavior: still.matches ? "auto" : "smooth", block });

// Show a message, with a button where another try may help.
function say(message, mayWorkLater = false) {
  problem.replaceChildren();
  if (!message) return;
  const notice = document.createElement("section");
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  const text = document.createElement("p");
  text.textContent = message;
  notice.append(text);
  if (mayWorkLater) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = "Try again";
    button.addEventListener("click", () => ask(last));
    notice.append(button);
  }
  problem.append(notice);
  reveal(notice, "nearest");
}

function showState() {
  again.hidden = !able || !turns.length || !form.chat.checked;
  for (const button of form.querySelectorAll('[name="fresh"]')) button.hidden = !turns.length;
  const [{ text } = {}] = held(form);
  for (const chip of stored?.querySelectorAll("a") ?? []) chip.toggleAttribute("aria-current", Number(chip.textContent.replace("×", "").replace("−", "-")) === Number(text));
}

function titled(title) {
  const [one, another] = held(form);
  return title === "Steered" && !another && form.mode.value !== "ablate" ? `Steered, ${one.text.replace("-", "−")}×` : title;
}

const save = (prompt) => history.replaceState(null, "", address(form, prompt));

const idOf = (result) => result.split("/").at(-1);

// A pair of answers is what the next message goes on from.
function finish({ seconds, num_tokens: tokens, result, stored: before, note }) {
  const link = document.createElement(result ? "a" : "span");
  if (result) link.href = result;
  link.textContent = result ? "Link to this result" : note;
  progress.replaceChildren(before ? "Written before, with the same settings. " : `${tokens} tokens in ${seconds.toFixed(1)} seconds. `, link);
  if (form.chat.checked && texts.written.length === 2) {
    const [baseline, steered] = texts.written;
    turns = [...last.history, { message: last.message, baseline, steered }];
    form.after.value = result ? idOf(result) : "";
    save("");
  }
  if (result) forget();
}

function begin({ id, rows, result }) {
  running.begun = true;
  const { message, history } = last;
  keep(location.search, { runs: [id, idOf(result)], message, turns: history.length });
  texts.begin(form.chat.checked ? history.length : 0, form.chat.checked ? message : "", rows.map(titled));
  if (form.chat.checked && rows.length === 2 && form.prompt.value === message) form.prompt.value = "";
  reveal(texts.last, "nearest");
}

// Handlers of events; those of last events return true.
const on = {
  run: begin,
  chat({ system }) { texts.system(system); },
  queued({ ahead }) { progress.textContent = ahead > 0 ? `Waiting: ${ahead} before this one.` : "Starting…"; },
  started() {
    progress.dataset.loading = "";
    progress.textContent = "The model reads the prompt…";
  },
  token(token) {
    progress.textContent = "Writing…";
    texts.add(token, form.chat.checked, last.message);
  },
  end({ row, note }) { texts.end(row, note); },
  done(event) { finish(event); return true; },
  error({ status, detail }) { throw new Failure(detail, status); },
  cancelled({ detail }) { throw new Failure(detail, 503); },
};

function fail(error, { begun }) {
  const stopped = error.name === "AbortError";
  progress.textContent = stopped ? "Stopped." : "";
  if (!stopped) say(error.message, error.again);
  if (begun) texts.close(stopped ? "Stopped." : "Not finished.");
  else texts.keep(form.chat.checked ? turns.length : 0);
  if (begun) turns = last.history;
  if (form.prompt.value === "" && begun) form.prompt.value = last.message;
  if (!error.lost) forget();
}

function halt() {
  clearTimeout(timer);
  cancel(running?.run);
  running?.abort();
}

// Show a run, which `start` asks for.
async function show(start) {
  halt();
  const mine = (running = new AbortController());
  go.disabled = again.disabled = true;
  stop.hidden = false;
  texts.wait();
  say("");
  progress.textContent = progress.dataset.loading || "Sending…";
  try {
    mine.run = await start(mine.signal);
    texts.describe(held(form));
    await follow(mine.run, mine.signal, (name, data) => mine === running && on[name]?.(data), () => { progress.textContent = "The connection was lost. Connecting again…"; });
  } catch (error) {
    if (mine !== running) return;
    fail(error, mine);
  }
  if (mine !== running) return;
  running = undefined;
  go.disabled = again.disabled = !able;
  stop.hidden = true;
  showState();
}

// said: the message, and the turns before it. prompt: what the address says is to be sent.
function ask(said, prompt = said.message) {
  last = said;
  return show(async (signal) => {
    const body = request(form, said);
    save(prompt);
    return open(body, signal);
  });
}

const send = () => (form.chat.checked && !form.prompt.value && last ? ask(last, "") : ask({ message: form.prompt.value, history: form.chat.checked ? turns : [] }));

// The last message at other strengths: as it is stored, or written anew.
function atOtherStrengths() {
  clearTimeout(timer);
  showState();
  const said = form.chat.checked ? last : { message: form.prompt.value, history: [] };
  const found = said && storedText(form, state.stored, said);
  if (found) showStored(found, said);
  else if (able && said && !byId("texts").hidden) timer = setTimeout(() => ask(said, form.chat.checked ? "" : said.message), PAUSE);
  else if (!able) progress.textContent = "No text is stored at this strength.";
}

function showStored(found, { message }) {
  halt();
  running = undefined;
  go.disabled = again.disabled = !able;
  stop.hidden = true;
  const { baseline, feature, chat } = state.stored;
  const [{ text }] = held(form);
  texts.showStored(chat ? message : "", [{ title: "Plain", ...baseline }, { title: titled("Steered"), ...found }], chat ? "" : message);
  turns = chat ? [{ message, baseline: baseline.text, steered: found.text }] : [];
  form.after.value = chat ? `${feature}:${Number(text)}` : "";
  progress.textContent = "";
  say("");
  forget();
  save(chat ? "" : message);
  showState();
}

// A form with other features is loaded anew, and then asks again what was asked last.
function leave(values) {
  halt();
  running = undefined;
  if (!values.has("fresh") && able && !byId("texts").hidden) keep(`?${values}`, { start: true });
}

// After a reload the run goes on; the run of a form that was left is cancelled.
function resume() {
  const before = kept();
  if (!before) return;
  if (before.current && before.start) {
    forget();
    if (able && (last || form.prompt.value)) (last ? ask(last, "") : send());
  } else if (before.current) {
    last = { message: before.message, history: turns.slice(0, before.turns) };
    show((signal) => join(before.runs, signal));
  } else {
    forget();
    if (before.runs?.length) cancel({ address: rooted(`/api/v1/runs/${before.runs[0]}`) });
  }
}

stop.addEventListener("click", halt);
again.addEventListener("click", () => ask(last, ""));
stored?.addEventListener("click", (event) => {
  const chip = event.target.closest("a");
  if (!chip || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const range = form.querySelector('.held-one input[type="range"]');
  range.value = chip.textContent.replace("×", "");
  range.dispatchEvent(new Event("input"));
});
if (byId("add")) {
  suggest(byId("add"), (href) => {
    byId("add-feature").value = ownPath(href).slice(1);
    form.requestSubmit(byId("add-go"));
  });
}
prepareForm(form, go, { send, again: atOtherStrengths, leave });
watchColours(form);
showState();
resume();
