// What the map shows, and what of it the address remembers.
import { figureIn } from "../base/plots.js";

export const map = document.getElementById("map");
export const figure = figureIn(map);
export let state = new URLSearchParams(location.search);

/** On the screen now: the element that is drawn on, the rectangle in view, the last answer, the places marked, the tool at hand. */
export const current = { target: undefined, view: undefined, answer: undefined, marks: [], tool: "pan" };

export const hidden = () => new Set((state.get("hide") ?? "").split(",").filter(Boolean));
export const visible = () => figure.saes.filter((name) => !hidden().has(name));

/** The width of a pixel on the map. */
export const unit = () => (current.view[1] - current.view[0]) / current.target.clientWidth;

/** Pixels of the world's side. */
export const worldPixels = () => (figure.world[1] - figure.world[0]) / unit();

/** The pixel, from the map's upper left corner, of a place. */
export const toPixel = (x, y) => [(x - current.view[0]) / unit(), (current.view[3] - y) / unit()];

/** The place of a pixel. */
export const toPlace = (left, top) => [current.view[0] + left * unit(), current.view[3] - top * unit()];

/** The smallest rectangle of the map's shape on the screen that holds another. */
export function fit([x0, x1, y0, y1]) {
  const { clientWidth: width, clientHeight: height } = current.target;
  const pixel = Math.max((x1 - x0) / width, (y1 - y0) / height);
  const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
  return [x - (pixel * width) / 2, x + (pixel * width) / 2, y - (pixel * height) / 2, y + (pixel * height) / 2];
}

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

export function rememberView() {
  const { view } = current;
  const digits = Math.max(2, Math.ceil(-Math.log10((view[1] - view[0]) / 1000)));
  remember("view", view.map((value) => value.toFixed(digits)).join(","));
}
