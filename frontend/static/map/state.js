// What the map shows, and what of it the address remembers.
import { figureIn } from "../base/plots.js";

export const map = document.getElementById("map");
export const figure = figureIn(map);
export let state = new URLSearchParams(location.search);

/** On the screen now: Plotly's element, the rectangle in view, the last answer, the places marked, the tool at hand. */
export const current = { target: undefined, view: undefined, answer: undefined, marks: [], tool: "pan" };

export const hidden = () => new Set((state.get("hide") ?? "").split(",").filter(Boolean));
export const visible = () => figure.saes.filter((name) => !hidden().has(name));

/** The width of a pixel on the map. */
export const unit = () => (current.view[1] - current.view[0]) / current.target.clientWidth;

/** Keep part of the state in the address; a deliberate step gets its own entry in the history. */
export function remember(name, value, step = false) {
  if (value) state.set(name, value); else state.delete(name);
  const query = state.toString();
  history[step ? "pushState" : "replaceState"](null, "", query ? `?${query}` : location.pathname);
}

/** The address has changed. */
export function readAddress() {
  state = new URLSearchParams(location.search);
}

/** The rectangle of the address, or the one to begin with. */
export function wantedView() {
  const given = (state.get("view") ?? "").split(",").map(Number);
  return given.length === 4 && given.every(Number.isFinite) && given[0] < given[1] && given[2] < given[3] ? given : figure.view;
}

/** Take the rectangle that Plotly shows, which fits the wanted one to its element. */
export function readView() {
  const { xaxis, yaxis } = current.target._fullLayout;
  current.view = [...xaxis.range, ...yaxis.range];
}

export function rememberView() {
  const { view } = current;
  const digits = Math.max(2, Math.ceil(-Math.log10((view[1] - view[0]) / 1000)));
  remember("view", view.map((value) => value.toFixed(digits)).join(","));
}
