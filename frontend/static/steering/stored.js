// Texts that are stored with the page: one feature after one message, at several strengths.
import { held, isOff } from "./form.js";

/** The stored text that a form asks for, if there is one. said: the message, and the turns before it. */
export function storedText(form, stored, { message, history }) {
  const [one, another] = held(form);
  if (!stored || !one || another || isOff(one.text) || history.length) return undefined;
  const isSame = one.name === stored.feature && message === stored.prompt && form.chat.checked === stored.chat
    && !form.sweep.checked && form.mode.value === "clamp" && form.scope.value === "all"
    && Number(form.temperature.value) === 0 && Number(form.new_tokens.value) === stored.new_tokens;
  return isSame ? stored.texts[String(Number(one.text))] : undefined;
}
