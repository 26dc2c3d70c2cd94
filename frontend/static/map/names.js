// The names of places on the map: asked for, and laid over it so that none overlap.
import { snap } from "./data.js";
import { current, figure, toPixel, worldPixels } from "./state.js";

const AHEAD = 2; // names are asked for so much farther in than the map is
const LISTED = 24;
const GAP = 4;
let layer;
let known = { names: [], view: [0, 0, 0, 0], side: 0 };
let asking;

const inside = ([x0, x1, y0, y1], view) => x0 >= view[0] && x1 <= view[1] && y0 >= view[2] && y1 <= view[3];

/** The element of the names, above the map. */
export function nameLayer() {
  layer = Object.assign(document.createElement("div"), { className: "map-names" });
  layer.setAttribute("aria-hidden", "true"); // the same names are a list beside the map
  return layer;
}

const label = (name) => Object.assign(document.createElement("span"), { textContent: name, className: "place", hidden: true });

/** Ask for the names in view unless they are there. */
export async function lookForNames(done) {
  const side = worldPixels();
  if (inside(current.view, known.view) && side <= known.side && known.side <= 4 * AHEAD * side) return;
  const view = snap(current.view);
  asking?.abort();
  asking = new AbortController();
  const query = new URLSearchParams({ x0: view[0], x1: view[1], y0: view[2], y1: view[3], side: AHEAD * side });
  try {
    const answer = await fetch(`${figure.names}&${query}`, { signal: asking.signal });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const names = (await answer.json()).map((one) => ({ ...one, element: label(one.name) }));
    layer.replaceChildren(...names.map(({ element }) => element));
    known = { names, view, side: AHEAD * side };
    done();
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

const overlap = (one, other) => one[0] < other[1] && other[0] < one[1] && one[2] < other[3] && other[2] < one[3];

/** The box on the screen of a name, with a gap around it. */
function boxOf(one, [left, top]) {
  one.width ??= one.element.offsetWidth;
  one.height ??= one.element.offsetHeight;
  return [left - one.width / 2 - GAP, left + one.width / 2 + GAP, top - one.height / 2 - GAP, top + one.height / 2 + GAP];
}

/** Put every name that has room where it belongs; returns these. */
export function placeNames() {
  const [side, width, height] = [worldPixels(), layer.clientWidth, layer.clientHeight];
  const taken = [];
  for (const one of known.names) one.element.hidden = one.side > side;
  const shown = known.names.filter((one) => {
    if (one.element.hidden) return false;
    const at = toPixel(one.x, one.y);
    const box = boxOf(one, at);
    const fits = box[0] >= 0 && box[1] <= width && box[2] >= 0 && box[3] <= height && !taken.some((other) => overlap(box, other));
    one.element.hidden = !fits;
    if (fits) {
      taken.push(box);
      one.element.style.transform = `translate(${Math.round(at[0] - one.width / 2)}px, ${Math.round(at[1] - one.height / 2)}px)`;
    }
    return fits;
  });
  return shown;
}

/** Bring the list of places beside the map up to what is in view. */
export function listPlaces(shown) {
  const list = document.querySelector("[data-places]");
  if (!list) return;
  const state = new URLSearchParams(location.search);
  list.replaceChildren(...shown.slice(0, LISTED).map((one) => {
    state.set("view", one.view);
    const link = Object.assign(document.createElement("a"), { textContent: one.name, className: "chip", href: `?${state}` });
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
}
