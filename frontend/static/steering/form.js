// The form of the steering page: its features and strengths, as a request and as an address.
import { rooted } from "../base/address.js";

export const held = (form) => [...form.querySelectorAll(".held-one")].map((one) => ({
  name: one.querySelector('input[name="f"]').value.replace(/:[^:/]*$/, ""),
  title: one.querySelector(".label").textContent,
  max: Number(one.dataset.max),
  text: strengthOf(one),
  isHeld: !isOff(strengthOf(one)) && form.mode.value !== "add", // the same activation at every token
}));

const strengthOf = (one) => one.querySelector('input[name="s"]').value.trim();
const LIMIT = 10; // as in backend/steering/plan.py
export const isOff = (text) => text === "" || text.toLowerCase() === "off";
const NUMBERS = { temperature: "Temperature", top_p: "Top p", new_tokens: "New tokens", seed: "Seed" };
const RANGE = 4; // of a slider, unless the strength lies beyond
const isStrength = (strength) => Math.abs(strength) <= LIMIT; // false for what is no number

function number(form, name) {
  const text = form[name].value.trim();
  if (text === "" || Number.isNaN(Number(text))) throw new Error(`${NUMBERS[name]} is a number, not “${text}”: see Settings.`);
  return Number(text);
}

/** What is asked of the API. said: the message, and the turns before it. */
export function request(form, { message, history }) {
  const features = held(form).map(({ name, text }) => ({ feature: name, strength: isOff(text) ? null : Number(text) }));
  if (features.some(({ strength }) => strength !== null && !isStrength(strength))) throw new Error("A strength is a number from -10 to 10, or off.");
  const strengths = form.strengths.value.split(/[\s,]+/).filter(Boolean).map(Number);
  if (form.sweep.checked && !strengths.every(isStrength)) throw new Error("The strengths to compare are numbers from -10 to 10, with commas between them.");
  return {
    features,
    mode: form.mode.value,
    scope: form.scope.value,
    sweep: form.sweep.checked,
    ...(form.sweep.checked ? { strengths } : {}),
    prompt: message,
    chat: form.chat.checked,
    history,
    temperature: number(form, "temperature"),
    top_p: number(form, "top_p"),
    max_new_tokens: number(form, "new_tokens"),
    seed: number(form, "seed"),
  };
}

/** The address of the form with a prompt. */
export function address(form, prompt) {
  const values = new URLSearchParams();
  for (const { name, text } of held(form)) values.append("f", `${name}:${isOff(text) ? "off" : text}`);
  for (const name of ["mode", "scope", ...Object.keys(NUMBERS)]) values.set(name, form[name].value);
  if (form.after.value && form.chat.checked) values.set("after", form.after.value);
  for (const name of ["chat", "sweep"]) if (form[name].checked) values.set(name, "1");
  if (form.sweep.checked) values.set("strengths", form.strengths.value);
  values.set("prompt", prompt);
  const colour = new URLSearchParams(location.search).get("colour");
  if (colour) values.set("colour", colour);
  return rooted(`/steer?${values}`);
}

// A slider shows its strength also where that is negative or large.
function showStrength(range, strength) {
  range.min = Math.max(-LIMIT, Math.min(0, Math.floor(strength)));
  range.max = Math.min(LIMIT, Math.max(RANGE, Math.ceil(strength)));
  range.value = strength;
}

/** Set up the fields. on: `send` the message, `again` for other strengths, `leave` before the page is loaded anew. */
export function prepareForm(form, go, on) {
  for (const one of form.querySelectorAll(".held-one")) {
    const range = one.querySelector('input[type="range"]');
    if (!range) continue; // a dead feature
    const text = one.querySelector('input[name="s"]');
    const changed = () => { one.toggleAttribute("data-off", isOff(strengthOf(one))); on.again(); };
    showStrength(range, Number(text.value) || 0);
    range.hidden = false;
    range.addEventListener("input", () => { text.value = range.value; changed(); });
    text.addEventListener("input", () => showStrength(range, Number(text.value) || 0));
    text.addEventListener("change", changed);
  }
  form.chat.addEventListener("change", () => { go.textContent = form.chat.checked ? "Send" : "Write"; });
  form.addEventListener("submit", (event) => {
    if (event.submitter === go) {
      event.preventDefault();
      on.send();
    } else on.leave(new URLSearchParams(new FormData(form, event.submitter)));
  });
  // Enter sends a message, and adds a feature where one is being named.
  form.addEventListener("keydown", (event) => {
    const inText = event.target.matches("textarea");
    const isPlain = inText && !form.chat.checked && !event.ctrlKey && !event.metaKey;
    if (event.key !== "Enter" || event.isComposing || event.shiftKey || isPlain) return;
    if (event.target.matches('button, select, summary, a, input[type="text"][name="f"]')) return;
    event.preventDefault();
    if (!go.disabled) on.send();
  });
}
