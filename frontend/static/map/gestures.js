// What mouse, finger and keyboard do on the map.
import { plotly } from "../base/plots.js";
import { cellAt } from "./data.js";
import { hideHover, showCell, showFeature } from "./hover.js";
import { shapeText } from "./shape.js";
import { current, figure, map, unit } from "./state.js";

const REACH_PIXELS = 4;  // a cell may be smaller than the pointer
const STILL_PIXELS = 4;  // a click may move a little

/** Show another rectangle. */
export async function goTo(wanted) {
  return (await plotly()).relayout(current.target, { "xaxis.range": wanted.slice(0, 2), "yaxis.range": wanted.slice(2) });
}

function zoom(factor, place) {
  const { view } = current;
  const [x, y] = place ?? [(view[0] + view[1]) / 2, (view[2] + view[3]) / 2];
  const [width, height] = [(view[1] - view[0]) / factor, (view[3] - view[2]) / factor];
  return goTo([x - width / 2, x + width / 2, y - height / 2, y + height / 2]);
}

function move(across, up) {
  const { view } = current;
  const [width, height] = [0.2 * (view[1] - view[0]), 0.2 * (view[3] - view[2])];
  return goTo([view[0] + across * width, view[1] + across * width, view[2] + up * height, view[3] + up * height]);
}

const KEYS = {
  ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, 1), ArrowDown: () => move(0, -1),
  "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => goTo(figure.world),
};

/** The place on the map of a mouse event. */
function place(event) {
  const { xaxis, yaxis } = current.target._fullLayout;
  const box = current.target.getBoundingClientRect();
  return [xaxis.p2c(event.clientX - box.left - xaxis._offset), yaxis.p2c(event.clientY - box.top - yaxis._offset)];
}

const cellsAt = (event) => (current.answer?.kind === "cells" ? cellAt(current.answer, ...place(event), REACH_PIXELS * unit()) : []);

/** The feature that an event of Plotly's is about, or undefined. */
function pointed(event) {
  const { curveNumber, pointNumber } = event.points[0];
  const part = current.answer?.kind === "points" ? current.answer.parts[curveNumber] : undefined;
  return part && `${part.sae}/${current.answer.arrays.index[part.start + pointNumber]}`;
}

/** Where on the screen the point of an event of Plotly's lies. */
function pixel({ points: [{ x, y }] }) {
  const { xaxis, yaxis } = current.target._fullLayout;
  const box = current.target.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)];
}

function listenToPoints(target) {
  const showPoint = (event) => { const name = pointed(event); if (name) showFeature(`${figure.features}/${name}`, pixel(event)); return name; };
  let touched = false, tapped;
  target.addEventListener("pointerdown", (event) => { touched = event.pointerType === "touch"; }, true);
  target.on("plotly_hover", showPoint);
  target.on("plotly_unhover", () => { if (!touched) hideHover(); });
  // Touch has no hover: the first tap shows the feature, the second opens it.
  target.on("plotly_click", (event) => {
    const name = showPoint(event);
    if (!name) return;
    if (!touched || tapped === name) location.href = `${figure.pages}/${name}`;
    tapped = name;
  });
}

function listenToCells(target) {
  let pressed;
  target.addEventListener("mousedown", (event) => { pressed = [event.clientX, event.clientY]; }, true);
  addEventListener("mouseup", (event) => {
    const still = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < STILL_PIXELS;
    pressed = undefined;
    if (still && current.tool === "pan" && cellsAt(event).length) zoom(3, place(event));
  }, true);
  target.addEventListener("mousemove", (event) => {
    if (current.answer?.kind !== "cells" || event.buttons) return;
    const counts = cellsAt(event);
    if (counts.length) showCell(counts, [event.clientX, event.clientY]); else hideHover();
  });
  target.addEventListener("mouseleave", hideHover);
}

function listenToKeys() {
  map.addEventListener("keydown", (event) => {
    const action = KEYS[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });
}

/** `onView()` is called when another rectangle is shown, `onShape(text)` when a shape was drawn. */
export function listenToMap({ onView, onShape }) {
  const { target } = current;
  target.on("plotly_relayout", (change) => { if (Object.keys(change).some((name) => name.includes("axis"))) onView(); });
  target.on("plotly_selected", (event) => {
    const text = shapeText(event, unit());
    if (text) onShape(text);
  });
  listenToPoints(target);
  listenToCells(target);
  listenToKeys();
}
