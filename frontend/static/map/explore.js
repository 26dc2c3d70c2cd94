// The explorer: keeps what is seen in the address, asks for the view, and draws it.
import { cellAt, countIn, covers, fetchView, snap, stopAsking } from "./data.js";
import { hideHover, showCell, showFeature } from "./hover.js";
import { cellImage, legend, markTraces, pointTraces } from "./paint.js";
import { shapeLayout, shapeText } from "./shape.js";
import { figureIn, plotly, themed } from "../base/plots.js";

const map = document.getElementById("map");
const note = map.querySelector("[data-note]");
const find = document.querySelector(".map-find input");
const tone = document.querySelector(".map-colour select");
const chips = [...document.querySelectorAll("[data-series]")];
const tools = [...document.querySelectorAll("[data-tool]")];
const figure = figureIn(map);
const PAUSE = 180;
const REACH_PIXELS = 4;  // a cell may be smaller than what one can point at
let state = new URLSearchParams(location.search);
let Plotly, target, view, shown, tool = "pan";
let marks = [];

const hidden = () => new Set((state.get("hide") ?? "").split(",").filter(Boolean));
const visible = () => figure.saes.filter((name) => !hidden().has(name));
const wait = (action) => { let timer; return (...given) => { clearTimeout(timer); timer = setTimeout(() => action(...given), PAUSE); }; };

/** Keep part of the state in the address; a deliberate step gets its own entry in the history. */
function remember(name, value, step = false) {
  if (value) state.set(name, value); else state.delete(name);
  const query = state.toString();
  history[step ? "pushState" : "replaceState"](null, "", query ? `?${query}` : location.pathname);
}

function wantedView() {
  const given = (state.get("view") ?? "").split(",").map(Number);
  return given.length === 4 && given.every(Number.isFinite) && given[0] < given[1] && given[2] < given[3] ? given : figure.view;
}

function layout() {
  const axis = { visible: false, fixedrange: false, autorange: false };
  return {
    ...themed({}),
    xaxis: { ...axis, range: view.slice(0, 2) },
    yaxis: { ...axis, range: view.slice(2), scaleanchor: "x" },
    margin: { l: 0, r: 0, t: 0, b: 0 },
    dragmode: tool,
    hovermode: "closest",
    showlegend: false,
    images: shown?.kind === "cells" && shown.total ? [cellImage(shown, tone.value, figure.saes, marks.length > 0)] : [],
    shapes: shapeLayout(state.get("sel") ?? ""),
    selections: [],
    selectionrevision: String(Math.random()),
  };
}

function traces() {
  const points = shown?.kind === "points" ? pointTraces(shown, tone.value, figure.saes, marks.length > 0) : [];
  return [...points, ...markTraces(marks, figure.place)];
}

async function draw() {
  await Plotly.react(target, traces(), layout(), { displayModeBar: false, responsive: true, scrollZoom: true, doubleClick: false });
  tell();
}

const number = (value) => value.toLocaleString("en");

/** Say how much is in view, and what colours mean. */
function tell() {
  const count = shown ? countIn(shown, view) : 0;
  const cells = shown?.kind === "cells";
  document.querySelector(".map-count").textContent = `${cells ? "About " : ""}${number(count)} ${count === 1 ? "feature" : "features"} in view${cells ? ", drawn as density: come nearer for points" : ""}`;
  document.querySelector('[data-map="list"]').hidden = cells || !count;
  const ends = legend(tone.value);
  const scale = document.querySelector(".map-legend");
  scale.hidden = !ends;
  if (ends) [scale.querySelector("[data-low]").textContent, scale.querySelector("[data-high]").textContent] = ends;
  map.dataset.kind = shown?.kind ?? "";
  map.dataset.drawn = "";
}

/** Ask for what the view shows unless it is there already; what is drawn stays until the answer comes. */
async function look() {
  const shape = `${tone.value}|${visible()}`;
  if (shown?.shape === shape && covers(shown, view)) {
    stopAsking();
    delete map.dataset.asking;
    return tell();
  }
  const [x0, x1, y0, y1] = snap(view);
  const query = new URLSearchParams({ x0, x1, y0, y1, colour: tone.value, saes: visible().join(",") });
  map.dataset.asking = "";
  try {
    shown = visible().length ? { ...(await fetchView(`${figure.views}&${query}`)), shape } : undefined;
    await draw();
    delete map.dataset.asking;
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  }
}

function fail(error) {
  note.textContent = `The map did not load: ${error.message} The lists beside it work without it.`;
  note.parentElement.hidden = false;
  delete map.dataset.asking;
}

let refreshing;

/** Bring the lists beside the map, which the server makes, up to the state; an answer that is overtaken is dropped. */
async function refreshBeside() {
  refreshing?.abort();
  const mine = (refreshing = new AbortController());
  let page;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, signal: mine.signal });
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch (error) {
    if (error.name === "AbortError") return;
    throw error;
  }
  const beside = page.getElementById("beside");
  if (beside) document.getElementById("beside").replaceChildren(...beside.childNodes);
  else document.getElementById("beside").replaceChildren(...page.querySelectorAll("main > *"));
  readMarks();
  await draw();
}

function readMarks() {
  const found = document.querySelector("#beside [data-marks]");
  marks = found ? JSON.parse(found.textContent) : [];
}

function seen() {
  const { xaxis, yaxis } = target._fullLayout;
  return [...xaxis.range, ...yaxis.range];
}

function keepView() {
  view = seen();
  const digits = Math.max(2, Math.ceil(-Math.log10((view[1] - view[0]) / 1000)));
  remember("view", view.map((value) => value.toFixed(digits)).join(","));
  look();
}

/** Show another rectangle. */
function goTo(wanted) {
  return Plotly.relayout(target, { "xaxis.range": wanted.slice(0, 2), "yaxis.range": wanted.slice(2) });
}

function zoom(factor, [x, y] = [(view[0] + view[1]) / 2, (view[2] + view[3]) / 2]) {
  const [width, height] = [(view[1] - view[0]) / factor, (view[3] - view[2]) / factor];
  return goTo([x - width / 2, x + width / 2, y - height / 2, y + height / 2]);
}

function move(across, up) {
  const [width, height] = [0.2 * (view[1] - view[0]), 0.2 * (view[3] - view[2])];
  return goTo([view[0] + across * width, view[1] + across * width, view[2] + up * height, view[3] + up * height]);
}

const KEYS = {
  ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, 1), ArrowDown: () => move(0, -1),
  "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => goTo(figure.world),
};

function place(event) {
  const { xaxis, yaxis } = target._fullLayout;
  const box = target.getBoundingClientRect();
  return [xaxis.p2c(event.clientX - box.left - xaxis._offset), yaxis.p2c(event.clientY - box.top - yaxis._offset)];
}

const reach = () => (REACH_PIXELS * (view[1] - view[0])) / target.clientWidth;
const cellsAt = (event) => (shown?.kind === "cells" ? cellAt(shown, ...place(event), reach()) : []);

function pointed(event) {
  const { curveNumber, pointNumber } = event.points[0];
  const part = shown?.kind === "points" ? shown.parts[curveNumber] : undefined;
  return part && `${part.sae}/${shown.arrays.index[part.start + pointNumber]}`;
}

/** Where on the screen the point of an event of Plotly's lies. */
function pixel({ points: [{ x, y }] }) {
  const { xaxis, yaxis } = target._fullLayout;
  const box = target.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)];
}

/** Select all that is in view, and go on to its list. */
async function listView() {
  const [x0, x1, y0, y1] = view;
  const [dx, dy] = [0.01 * (x1 - x0), 0.01 * (y1 - y0)];
  remember("sel", shapeText({ range: { x: [x0 + dx, x1 - dx], y: [y0 + dy, y1 - dy] } }, (x1 - x0) / target.clientWidth), true);
  await refreshBeside();
  document.querySelector("#beside a")?.focus();
}

function listenToMap() {
  target.on("plotly_relayout", (change) => { if (Object.keys(change).some((name) => name.includes("axis"))) keepView(); });
  const say = (event) => { const name = pointed(event); if (name) showFeature(`${figure.features}/${name}`, pixel(event)); return name; };
  let touched = false, tapped;
  target.addEventListener("pointerdown", (event) => { touched = event.pointerType === "touch"; }, true);
  target.on("plotly_hover", say);
  target.on("plotly_unhover", () => { if (!touched) hideHover(); });
  // With a finger nothing is pointed at before it is tapped: the first tap says what is there, the second opens it.
  target.on("plotly_click", (event) => {
    const name = say(event);
    if (!name) return;
    if (!touched || tapped === name) location.href = `${figure.pages}/${name}`;
    tapped = name;
  });
  target.on("plotly_selected", (event) => {
    const text = shapeText(event, (view[1] - view[0]) / target.clientWidth);
    if (text) choose(text);
  });
  let pressed;
  target.addEventListener("mousedown", (event) => { pressed = [event.clientX, event.clientY]; }, true);
  addEventListener("mouseup", (event) => {
    const still = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 4;
    pressed = undefined;
    if (still && tool === "pan" && cellsAt(event).length) zoom(3, place(event));
  }, true);
  target.addEventListener("mousemove", (event) => {
    if (shown?.kind !== "cells" || event.buttons) return;
    const counts = cellsAt(event);
    if (counts.length) showCell(counts, [event.clientX, event.clientY]); else hideHover();
  });
  target.addEventListener("mouseleave", hideHover);
  map.addEventListener("keydown", (event) => {
    const action = KEYS[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });
}

function choose(text) {
  remember("sel", text, true);
  refreshBeside().catch(fail);
}

function use(name) {
  tool = name;
  for (const button of tools) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  Plotly.relayout(target, { dragmode: name });
}

function toggle(chip) {
  const now = hidden();
  const name = figure.saes[chip.dataset.series];
  if (!now.delete(name)) now.add(name);
  remember("hide", [...now].join(","));
  chip.setAttribute("aria-pressed", String(!now.has(name)));
  look();
  if (state.get("q") || state.get("sel")) refreshBeside().catch(fail);
}

const search = wait(() => { remember("q", find.value.trim()); refreshBeside().catch(fail); });

function listenToControls() {
  find.addEventListener("input", search);
  find.form.addEventListener("submit", (event) => event.preventDefault());
  tone.addEventListener("change", () => { remember("colour", tone.value === "sae" ? "" : tone.value); look(); });
  for (const chip of chips) chip.addEventListener("click", () => toggle(chip));
  for (const button of tools) button.addEventListener("click", () => use(button.dataset.tool));
  document.querySelector('[data-map="list"]').addEventListener("click", () => listView().catch(fail));
  document.querySelector('[data-map="reset"]').addEventListener("click", () => goTo(figure.world));
  document.getElementById("beside").addEventListener("click", (event) => {
    const link = event.target.closest("[data-clear]");
    if (!link) return;
    event.preventDefault();
    if (link.dataset.clear === "q") find.value = "";
    remember(link.dataset.clear, "", true);
    refreshBeside().catch(fail);
  });
  addEventListener("popstate", back);
  document.addEventListener("themechange", draw);
}

/** The state of the address, put into the controls. */
function restore() {
  find.value = state.get("q") ?? "";
  tone.value = state.get("colour") ?? "sae";
  if (!tone.value) tone.value = "sae";
  for (const chip of chips) chip.setAttribute("aria-pressed", String(!hidden().has(figure.saes[chip.dataset.series])));
}

async function back() {
  state = new URLSearchParams(location.search);
  restore();
  view = wantedView();
  await refreshBeside().catch(fail);
  view = seen();
  look();
}

function hasWebGL() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl2") ?? canvas.getContext("webgl"));
}

async function start() {
  if (!hasWebGL()) {
    note.textContent = "This browser draws no WebGL, which the map needs. The lists beside it, search and neighbours, work without it.";
    return;
  }
  note.textContent = "Loading the map …";
  try {
    Plotly = await plotly();
    target = map.appendChild(document.createElement("div"));
    target.className = "map-target";
    restore();
    readMarks();
    view = wantedView();
    await Plotly.newPlot(target, traces(), layout(), { displayModeBar: false, responsive: true, scrollZoom: true, doubleClick: false });
    view = seen();
    listenToMap();
    listenToControls();
    for (const control of document.querySelectorAll(".map-bar :disabled")) control.disabled = false;
    await look();
    if (shown || !visible().length) note.parentElement.hidden = true;
    document.querySelector("[data-how]").hidden = false;
  } catch (error) {
    fail(error);
  }
}

start();
