// The explorer: asks for what is in view, draws it, and keeps the lists beside it up to date.
import { plotly, themed } from "../base/plots.js";
import { countIn, covers, fetchView, snap, abortFetch } from "./data.js";
import { goTo, listenToMap } from "./gestures.js";
import { cellImage, legend, markTraces, pointTraces } from "./paint.js";
import { shapeLayout, shapeText } from "./shape.js";
import { current, figure, hidden, map, readAddress, readView, remember, rememberView, state, unit, visible, wantedView } from "./state.js";

const note = map.querySelector("[data-note]");
const find = document.querySelector(".map-find input");
const colourBy = document.querySelector(".map-colour select");
const chips = [...document.querySelectorAll("[data-series]")];
const tools = [...document.querySelectorAll("[data-tool]")];
const PAUSE = 180;
const LOOK = { displayModeBar: false, responsive: true, scrollZoom: true, doubleClick: false };
let Plotly;

const wait = (action) => { let timer; return (...given) => { clearTimeout(timer); timer = setTimeout(() => action(...given), PAUSE); }; };

function layout() {
  const { answer, marks, tool, view } = current;
  const axis = { visible: false, fixedrange: false, autorange: false };
  return {
    ...themed({}),
    xaxis: { ...axis, range: view.slice(0, 2) },
    yaxis: { ...axis, range: view.slice(2), scaleanchor: "x" },
    margin: { l: 0, r: 0, t: 0, b: 0 },
    dragmode: tool,
    hovermode: "closest",
    showlegend: false,
    images: answer?.kind === "cells" && answer.total ? [cellImage(answer, colourBy.value, figure.saes, marks.length > 0)] : [],
    shapes: shapeLayout(state.get("sel") ?? ""),
    selections: [],
    selectionrevision: String(Math.random()),
  };
}

function traces() {
  const { answer, marks } = current;
  const points = answer?.kind === "points" ? pointTraces(answer, colourBy.value, figure.saes, marks.length > 0) : [];
  return [...points, ...markTraces(marks, figure.place)];
}

async function draw() {
  await Plotly.react(current.target, traces(), layout(), LOOK);
  showCounts();
}

const number = (value) => value.toLocaleString("en");

/** Show the number of features in view, and the legend. */
function showCounts() {
  const { answer, view } = current;
  const count = answer ? countIn(answer, view) : 0;
  const cells = answer?.kind === "cells";
  document.querySelector(".map-count").textContent = `${cells ? "About " : ""}${number(count)} ${count === 1 ? "feature" : "features"} in view${cells ? ", drawn as density: zoom in for points" : ""}`;
  document.querySelector('[data-map="list"]').hidden = cells || !count;
  const ends = legend(colourBy.value);
  const scale = document.querySelector(".map-legend");
  scale.hidden = !ends;
  if (ends) [scale.querySelector("[data-low]").textContent, scale.querySelector("[data-high]").textContent] = ends;
  map.dataset.kind = answer?.kind ?? "";
  map.dataset.drawn = "";
}

/** Ask for what the view shows unless it is there already; what is drawn stays until the answer comes. */
async function look() {
  const { answer, view } = current;
  const shape = `${colourBy.value}|${visible()}`;
  if (answer?.shape === shape && covers(answer, view)) {
    abortFetch();
    delete map.dataset.asking;
    return showCounts();
  }
  const [x0, x1, y0, y1] = snap(view);
  const query = new URLSearchParams({ x0, x1, y0, y1, colour: colourBy.value, saes: visible().join(",") });
  map.dataset.asking = "";
  try {
    current.answer = visible().length ? { ...(await fetchView(`${figure.views}&${query}`)), shape } : undefined;
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

/** Bring the lists beside the map, which the server makes, up to the state; an outdated answer is dropped. */
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
  current.marks = found ? JSON.parse(found.textContent) : [];
}

/** Another rectangle is seen. */
function keepView() {
  readView();
  rememberView();
  look();
}

/** Select all that is in view, and go on to its list. */
async function listView() {
  const [x0, x1, y0, y1] = current.view;
  const [dx, dy] = [0.01 * (x1 - x0), 0.01 * (y1 - y0)];
  remember("sel", shapeText({ range: { x: [x0 + dx, x1 - dx], y: [y0 + dy, y1 - dy] } }, unit()), true);
  await refreshBeside();
  document.querySelector("#beside a")?.focus();
}

function choose(text) {
  remember("sel", text, true);
  refreshBeside().catch(fail);
}

function use(name) {
  current.tool = name;
  for (const button of tools) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  Plotly.relayout(current.target, { dragmode: name });
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
  colourBy.addEventListener("change", () => { remember("colour", colourBy.value === "sae" ? "" : colourBy.value); look(); });
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
  colourBy.value = state.get("colour") ?? "sae";
  if (!colourBy.value) colourBy.value = "sae";
  for (const chip of chips) chip.setAttribute("aria-pressed", String(!hidden().has(figure.saes[chip.dataset.series])));
}

async function back() {
  readAddress();
  restore();
  current.view = wantedView();
  await refreshBeside().catch(fail);
  readView();
  look();
}

function hasWebGL() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl2") ?? canvas.getContext("webgl"));
}

async function start() {
  if (!hasWebGL()) {
    note.textContent = "This browser does not support WebGL, which the map needs. The lists beside it, search and neighbours, work without it.";
    return;
  }
  note.textContent = "Loading the map …";
  try {
    Plotly = await plotly();
    current.target = map.appendChild(Object.assign(document.createElement("div"), { className: "map-target" }));
    restore();
    readMarks();
    current.view = wantedView();
    await Plotly.newPlot(current.target, traces(), layout(), LOOK);
    readView();
    listenToMap({ onView: keepView, onShape: choose });
    listenToControls();
    for (const control of document.querySelectorAll(".map-bar :disabled")) control.disabled = false;
    await look();
    if (current.answer || !visible().length) note.parentElement.hidden = true;
    document.querySelector("[data-how]").hidden = false;
  } catch (error) {
    fail(error);
  }
}

start();
