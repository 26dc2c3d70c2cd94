// What mouse, finger and keyboard do on the map.
import { cellAt, pointAt } from "./data.js";
import { hideHover, showCell, showFeature } from "./hover.js";
import { boxOf, shapeText } from "./shape.js";
import { current, figure, fit, map, toPixel, toPlace, unit } from "./state.js";

const REACH_PIXELS = 4; // a cell may be smaller than the pointer
const POINT_PIXELS = 12;
const STILL_PIXELS = 4; // a click may move a little
const NEAREST = 1e-7; // of the world's side
const FARTHEST = 8;
let told; // onView, onShape, onDraft

/** Show another rectangle, or what comes nearest to it. */
export function goTo(wanted) {
  const [side, world] = [wanted[1] - wanted[0], figure.world[1] - figure.world[0]];
  if (side < NEAREST * world || side > FARTHEST * world) return;
  current.view = fit(wanted);
  told.onView();
}

function zoom(factor, place) {
  const { view } = current;
  const [x, y] = place ?? [(view[0] + view[1]) / 2, (view[2] + view[3]) / 2];
  goTo([x - (x - view[0]) / factor, x + (view[1] - x) / factor, y - (y - view[2]) / factor, y + (view[3] - y) / factor]);
}

/** Zoom in on a place, which comes to the middle. */
function zoomTo(factor, [x, y]) {
  const { view } = current;
  const [width, height] = [(view[1] - view[0]) / factor, (view[3] - view[2]) / factor];
  goTo([x - width / 2, x + width / 2, y - height / 2, y + height / 2]);
}

const shift = (x, y) => goTo([current.view[0] + x, current.view[1] + x, current.view[2] + y, current.view[3] + y]);
const move = (across, up) => shift(0.2 * across * (current.view[1] - current.view[0]), 0.2 * up * (current.view[3] - current.view[2]));

const KEYS = {
  ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, 1), ArrowDown: () => move(0, -1),
  "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => goTo(figure.world),
};

/** The pixel of an event on the map, and the place on it. */
function pixel(event) {
  const box = current.target.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}
const place = (event) => toPlace(...pixel(event));

const cellsAt = (event) => (current.answer?.kind === "cells" ? cellAt(current.answer, ...place(event), REACH_PIXELS * unit()) : []);

/** The feature that an event is on, and its pixel on the screen; undefined where there is none. */
function featureAt(event) {
  if (current.answer?.kind !== "points") return undefined;
  const { arrays, parts } = current.answer;
  const number = pointAt(current.answer, ...place(event), POINT_PIXELS * unit());
  if (number === undefined) return undefined;
  const { sae } = parts.find(({ start, stop }) => start <= number && number < stop);
  const box = current.target.getBoundingClientRect();
  const [left, top] = toPixel(arrays.x[number], arrays.y[number]);
  return { name: `${sae}/${arrays.index[number]}`, at: [box.left + left, box.top + top] };
}

function point(event) {
  const [feature, counts] = [featureAt(event), cellsAt(event)];
  if (feature) showFeature(`${figure.features}/${feature.name}`, feature.at);
  else if (counts.length) showCell(counts, [event.clientX, event.clientY]);
  else hideHover();
  current.target.classList.toggle("on-feature", Boolean(feature || counts.length) && current.tool === "pan");
  return feature;
}

let tapped;

/** Touch has no hover: the first tap shows the feature, the second opens it. */
function click(event) {
  if (cellsAt(event).length) return zoomTo(3, place(event));
  const feature = point(event);
  if (!feature) return undefined;
  if (event.pointerType !== "touch" || tapped === feature.name) location.href = `${figure.pages}/${feature.name}`;
  tapped = feature.name;
  return undefined;
}

const pressed = new Map(); // pointers that are down: where each was last
let start, corners;

function press(event) {
  if (event.button) return;
  current.target.setPointerCapture(event.pointerId);
  pressed.set(event.pointerId, pixel(event));
  start = pressed.size === 1 ? pixel(event) : undefined;
  corners = current.tool === "pan" || !start ? undefined : [place(event)];
  map.focus({ preventScroll: true });
}

const middle = (points) => [0, 1].map((axis) => points.reduce((sum, one) => sum + one[axis], 0) / points.length);
const spread = (points) => (points.length < 2 ? 1 : Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]));

function drag(event) {
  if (!pressed.has(event.pointerId)) return event.pointerType === "touch" ? undefined : point(event);
  const [before, now] = [[...pressed.values()], pixel(event)];
  if (start && Math.hypot(now[0] - start[0], now[1] - start[1]) < STILL_PIXELS) return undefined;
  pressed.set(event.pointerId, now);
  start = undefined;
  hideHover();
  if (corners) {
    corners = current.tool === "select" ? [corners[0], place(event)] : [...corners, place(event)];
    return told.onDraft(current.tool === "select" ? boxOf(...corners) : corners);
  }
  const after = [...pressed.values()];
  const [from, to] = [middle(before), middle(after)];
  shift((from[0] - to[0]) * unit(), (to[1] - from[1]) * unit());
  if (after.length > 1) zoom(spread(after) / Math.max(1, spread(before)), toPlace(...to));
  return undefined;
}

function release(event) {
  if (!pressed.delete(event.pointerId) || event.type === "pointercancel") return;
  if (start && current.tool === "pan") click(event);
  else if (corners?.length > 1) {
    const text = shapeText(current.tool === "select" ? boxOf(...corners) : corners, unit());
    told.onDraft([]);
    if (text) told.onShape(text);
  }
  start = corners = undefined;
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

/** `onView()`: another rectangle is shown; `onShape(text)`: a shape was drawn; `onDraft(corners)`: as it is drawn. */
export function listenToMap(listeners) {
  told = listeners;
  const { target } = current;
  target.addEventListener("pointerdown", press);
  target.addEventListener("pointermove", drag);
  for (const name of ["pointerup", "pointercancel"]) target.addEventListener(name, release);
  target.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hideHover(); });
  target.addEventListener("wheel", (event) => {
    event.preventDefault();
    hideHover();
    zoom(2 ** (-event.deltaY * (event.deltaMode ? 16 : 1) / 240), place(event));
  }, { passive: false });
  listenToKeys();
}
