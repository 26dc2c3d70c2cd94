// The steering page: sends the form as JSON, shows both texts as they are written, can be stopped.
const form = document.getElementById("steer");
const go = document.getElementById("go");
const stop = document.getElementById("stop");
const texts = document.getElementById("texts");
const problem = document.getElementById("problem");
const progress = document.getElementById("progress");
const ENDINGS = {
  stop: "The model ended its text.",
  length: "",
  cancelled: "Stopped.",
  broken: "The model’s output is no longer finite under these strengths: use weaker ones.",
};
let running;

const held = () => [...form.querySelectorAll(".held-one")];
const nameOf = (one) => one.querySelector('input[name="f"]').value.replace(/:[^:/]*$/, "");
const strengthOf = (one) => one.querySelector('input[name="s"]').value.trim();
const isOff = (text) => text === "" || text.toLowerCase() === "off";
const titles = () => held().map((one) => one.querySelector(".label").textContent);
const maxima = () => held().map((one) => Number(one.dataset.max));

function request() {
  const features = held().map((one) => ({ feature: nameOf(one), strength: isOff(strengthOf(one)) ? null : Number(strengthOf(one)) }));
  const wrong = features.find((one) => Number.isNaN(one.strength));
  if (wrong) throw new Error("A strength is a number from -10 to 10, or off.");
  return {
    features,
    prompt: form.prompt.value,
    chat: form.chat.checked,
    temperature: form.temperature.valueAsNumber,
    top_p: form.top_p.valueAsNumber,
    max_new_tokens: form.new_tokens.valueAsNumber,
    seed: form.seed.valueAsNumber,
  };
}

function address() {
  const values = new URLSearchParams();
  for (const one of held()) values.append("f", `${nameOf(one)}:${isOff(strengthOf(one)) ? "off" : strengthOf(one)}`);
  for (const name of ["prompt", "temperature", "top_p", "new_tokens", "seed"]) values.set(name, form[name].value);
  if (form.chat.checked) values.set("chat", "1");
  return `/steer?${values}`;
}

function say(message) {
  problem.replaceChildren();
  if (!message) return;
  const notice = document.createElement("section");
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  const text = document.createElement("p");
  text.textContent = message;
  notice.append(text);
  problem.append(notice);
}

function clear() {
  say("");
  for (const place of texts.querySelectorAll(".given, .new, .ending")) place.replaceChildren();
  texts.hidden = false;
}

function level(row, activations) {
  if (row !== 0) return -1;
  const share = Math.max(0, ...activations.map((value, i) => value / maxima()[i]));
  return share > 0 ? Math.min(11, Math.floor(12 * share)) : -1;
}

function title(token) {
  const values = token.activations.map((value, i) => `${titles()[i]}: ${Number(value.toPrecision(3))}`).join(" · ");
  const start = token.probability === null ? "" : `p ${Number(token.probability.toPrecision(2))} · `;
  return start + (token.left_out ? "left out" : values);
}

const on = {
  queued({ ahead }) {
    progress.textContent = ahead > 0 ? `Waiting: ${ahead} before this one.` : "The model reads the prompt…";
  },
  token(token) {
    progress.textContent = "Writing…";
    const column = texts.querySelector(`[data-row="${token.row}"]`);
    const span = document.createElement("span");
    span.textContent = token.text;
    span.title = title(token);
    const step = level(token.row, token.activations);
    if (step >= 0) span.className = `a${step}`;
    column.querySelector(token.probability === null ? ".given" : ".new").append(span);
  },
  end({ row, reason }) {
    texts.children[row].querySelector(".ending").textContent = ENDINGS[reason];
  },
  done({ seconds, num_tokens: tokens }) {
    progress.textContent = `${tokens} tokens in ${seconds.toFixed(1)} seconds.`;
    return true;
  },
  error({ detail }) {
    say(detail);
    progress.textContent = "";
    return true;
  },
};

// Reads server-sent events; returns whether the stream came to its proper end.
async function listen(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const [, name, data] = block.match(/^event: (\w+)\ndata: (.*)$/) ?? [];
      if (name && on[name](JSON.parse(data))) return true;
    }
  }
}

async function write() {
  const body = JSON.stringify(request());
  running?.abort();
  const mine = (running = new AbortController());
  history.replaceState(null, "", address());
  const answer = await fetch("/api/v1/steer", {
    method: "POST", headers: { "content-type": "application/json" }, body, signal: mine.signal,
  });
  if (!answer.ok) {
    const { detail } = await answer.json().catch(() => ({ detail: `The server answered ${answer.status}.` }));
    throw new Error(detail);
  }
  clear();
  if (!(await listen(answer.body))) throw new Error("The connection broke off before the text was finished: steer again.");
}

async function steer() {
  go.disabled = true;
  stop.hidden = false;
  say("");
  progress.textContent = "Asking…";
  try {
    await write();
  } catch (error) {
    progress.textContent = error.name === "AbortError" ? "Stopped." : "";
    if (error.name !== "AbortError") say(error instanceof TypeError ? "The server cannot be reached: try again." : error.message);
  }
  go.disabled = false;
  stop.hidden = true;
}

function value(one) {
  const text = strengthOf(one);
  const absolute = Number(text) * Number(one.dataset.max);
  one.querySelector("output").textContent = isOff(text) ? "off" : Number.isNaN(absolute) ? "?" : `= ${absolute.toPrecision(3)}`;
}

for (const one of held()) {
  const range = one.querySelector('input[type="range"]');
  const text = one.querySelector('input[name="s"]');
  range.hidden = false;
  range.addEventListener("input", () => { text.value = range.value; value(one); });
  text.addEventListener("input", () => { range.value = Number(text.value) || 0; value(one); });
}
stop.addEventListener("click", () => running?.abort());
form.addEventListener("submit", (event) => {
  if (event.submitter !== go) return;
  event.preventDefault();
  steer();
});
// Enter in a field of a steered feature or of the options steers; in the field for another feature it adds that.
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.matches('textarea, button, input[type="text"][name="f"]')) return;
  event.preventDefault();
  if (!go.disabled) steer();
});
