// The explorer: asks for what is in view, draws it, and keeps the lists beside it up to date.
import { countIn, covers, fetchView, snap, abortFetch } from "./data.js";
import { goTo, listenToMap } from "./gestures.js";
import { listPlaces, lookForNames, nameLayer, placeNames } from "./names.js";
import { legend, paintMap } from "./paint.js";
import { boxOf, cornersOf, drawShapes, shapeLayer, shapeText } from "./shape.js";
import { current, figure, fit, hidden, map, readAddress, remember, rememberView, state, unit, visible, wantedView } from "./state.js";

const note = map.querySelector("[data-note]");
const find = document.querySelector(".map-find input");
const colourBy = document.querySelector(".map-colour select");
const chips = [...document.querySelectorAll("[data-series]")];
const tools = [...document.querySelectorAll("[data-tool]")];
const PAUSE = 180;
const canvas = document.createElement("canvas");
const shapes = shapeLayer();
let draft = [];

const wait = (action) => { let timer; return (...given) => { clearTimeout(timer); timer = setTimeout(() => action(...given), PAUSE); }; };

let planned;

function paint() {
  planned = undefined;
  paintMap(canvas, figure.saes, figure.place);
  drawShapes(shapes, [cornersOf(state.get("sel") ?? ""), draft]);
  const shown = placeNames();
  map.dataset.view = current.view.join(",");
  if (!("moving" in map.dataset)) listPlaces(shown);
  showCounts();
}

/** Draw once before the next picture, however often it is asked for; done when it is drawn. */
function draw() {
  planned ??= new Promise((done) => requestAnimationFrame(() => { paint(); done(); }));
  return planned;
}

const number = (value) => value.toLocaleString("en");

/** Show the number of features in view, and the legend. */
function showCounts() {
  const { answer, view } = current;
  const count = answer ? countIn(answer, view) : 0;
  const cells = answer?.kind === "cells";
  document.querySelector(".map-count").textContent = `${cells ? "About " : ""}${number(count)} ${count === 1 ? "feature" : "features"} in view${cells ? ", drawn as density: zoom in for points" : ""}`;
  document.querySelector('[data-map="list"]').hidden = cells || !count;
  const ends = legend(answer?.colour ?? colourBy.value);
  const scale = document.querySelector(".map-legend");
  scale.hidden = !ends;
  if (ends) [scale.querySelector("[data-low]").textContent, scale.querySelector("[data-high]").textContent] = ends;
  map.dataset.kind = answer?.kind ?? "";
  map.dataset.drawn = "";
}

/** Ask for what the view shows unless it is there already; what is drawn stays until the answer comes. */
async function look() {
  const { answer, view } = current;
  const colour = colourBy.value;
  const shape = `${colour}|${visible()}`;
  if (answer?.shape === shape && covers(answer, view)) {
    abortFetch();
    delete map.dataset.asking;
    return showCounts();
  }
  const [x0, x1, y0, y1] = snap(view);
  const query = new URLSearchParams({ x0, x1, y0, y1, colour, saes: visible().join(",") });
  map.dataset.asking = "";
  try {
    current.answer = visible().length ? { ...(await fetchView(`${figure.views}&${query}`)), shape, colour } : undefined;
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

const settle = wait(async () => {
  delete map.dataset.moving;
  rememberView();
  look();
  lookForNames(draw).catch(fail);
  await draw();
});

/** Another rectangle is seen. */
function keepView() {
  map.dataset.moving = "";
  draw();
  settle();
}

/** Select all that is in view, and go on to its list. */
async function listView() {
  const [x0, x1, y0, y1] = current.view;
  const [dx, dy] = [0.01 * (x1 - x0), 0.01 * (y1 - y0)];
  remember("sel", shapeText(boxOf([x0 + dx, y0 + dy], [x1 - dx, y1 - dy]), unit()), true);
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
  current.target.dataset.tool = name;
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
  current.view = fit(wantedView());
  await refreshBeside().catch(fail);
  look();
  lookForNames(draw).catch(fail);
}

async function start() {
  note.textContent = "Loading the map …";
  document.querySelector("[data-how]").hidden = false; // before anything is drawn: it may push the map down by a line
  try {
    current.target = map.appendChild(Object.assign(document.createElement("div"), { className: "map-target" }));
    current.target.append(canvas, shapes, nameLayer());
    restore();
    readMarks();
    current.view = fit(wantedView());
    listenToMap({ onView: keepView, onShape: choose, onDraft: (corners) => { draft = corners; draw(); } });
    listenToControls();
    new ResizeObserver(() => { current.view = fit(current.view); draw(); }).observe(current.target);
    for (const control of document.querySelectorAll(".map-bar :disabled")) control.disabled = false;
    await Promise.all([look(), lookForNames(draw)]);
    if (current.answer || !visible().length) note.parentElement.hidden = true;
  } catch (error) {
    document.querySelector("[data-how]").hidden = true;
    fail(error);
  }
}

start();
