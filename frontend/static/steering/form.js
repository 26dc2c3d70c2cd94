// The form of the steering page: its features and strengths, as a request and as an address.
export const held = (form) => [...form.querySelectorAll(".held-one")].map((one) => ({
  name: one.querySelector('input[name="f"]').value.replace(/:[^:/]*$/, ""),
  title: one.querySelector(".label").textContent,
  max: Number(one.dataset.max),
  text: strengthOf(one),
}));

const strengthOf = (one) => one.querySelector('input[name="s"]').value.trim();
const LIMIT = 10; // as in backend/steering/plan.py
const isOff = (text) => text === "" || text.toLowerCase() === "off";
const NUMBERS = ["temperature", "top_p", "new_tokens", "seed"];

export function request(form) {
  const features = held(form).map(({ name, text }) => ({ feature: name, strength: isOff(text) ? null : Number(text) }));
  if (features.some(({ strength }) => strength !== null && !(Math.abs(strength) <= LIMIT))) throw new Error("A strength is a number from -10 to 10, or off.");
  if (NUMBERS.some((name) => Number.isNaN(form[name].valueAsNumber))) throw new Error("Temperature, top p, new tokens and seed are numbers: fill them in.");
  return {
    features,
    mode: form.mode.value,
    scope: form.scope.value,
    sweep: form.sweep.checked,
    prompt: form.prompt.value,
    chat: form.chat.checked,
    temperature: form.temperature.valueAsNumber,
    top_p: form.top_p.valueAsNumber,
    max_new_tokens: form.new_tokens.valueAsNumber,
    seed: form.seed.valueAsNumber,
  };
}

export function address(form) {
  const values = new URLSearchParams();
  for (const { name, text } of held(form)) values.append("f", `${name}:${isOff(text) ? "off" : text}`);
  for (const name of ["mode", "scope", "prompt", ...NUMBERS]) values.set(name, form[name].value);
  for (const name of ["chat", "sweep"]) if (form[name].checked) values.set(name, "1");
  const colour = new URLSearchParams(location.search).get("colour");
  if (colour) values.set("colour", colour);
  return `/steer?${values}`;
}

function showValue(one) {
  const text = strengthOf(one);
  const absolute = Number(text) * Number(one.dataset.max);
  one.querySelector("output").textContent = isOff(text) ? "off" : Number.isFinite(absolute) ? `= ${absolute.toPrecision(3)}` : "?";
  one.toggleAttribute("data-off", isOff(text));
}

export function prepareForm(form, go, steer) {
  for (const one of form.querySelectorAll(".held-one")) {
    const range = one.querySelector('input[type="range"]');
    if (!range) continue; // a dead feature
    const text = one.querySelector('input[name="s"]');
    range.hidden = false;
    range.addEventListener("input", () => { text.value = range.value; showValue(one); });
    text.addEventListener("input", () => { range.value = Number(text.value) || 0; showValue(one); });
  }
  form.addEventListener("submit", (event) => {
    if (event.submitter !== go) return;
    event.preventDefault();
    steer();
  });
  // Enter in a field of a steered feature or of the options steers; in the field for another feature it adds that.
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.matches('textarea, button, select, input[type="text"][name="f"]')) return;
    event.preventDefault();
    if (!go.disabled) steer();
  });
}
