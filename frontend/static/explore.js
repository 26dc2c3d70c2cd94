// The map: mounts the figure, fills in the points, and keeps what a person sees in the address.
import { colour, figureIn, plotly, themed } from "./plots.js";

const map = document.getElementById("map");
const note = map.querySelector("[data-note]");
const hover = document.querySelector(".map-hover");
const find = document.querySelector(".map-find input");
const tone = document.querySelector(".map-colour select");
const buttons = [...document.querySelectorAll("[data-series]")];
const state = new URLSearchParams(location.search);
const figure = figureIn(map);
let points;
let target;
let Plotly;

function remember(name, value) {
  if (value) state.set(name, value); else state.delete(name);
  const query = state.toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
}

function hasWebGL() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl2") ?? canvas.getContext("webgl"));
}

const hidden = () => new Set((state.get("hide") ?? "").split(",").filter(Boolean));
const address = (sae, place) => `/${sae.model}/${sae.sae}/${sae.index[place]}`;

function colours(sae, number) {
  if (tone.value === "density") return sae.density.map((value) => Math.log10(value));
  return colour(`series-${number % 6}`);
}

function traces() {
  const query = find.value.trim().toLowerCase();
  return points.map((sae, number) => {
    const matches = query ? sae.label.map((label) => label.toLowerCase().includes(query)) : null;
    const marker = {
      size: matches ? matches.map((match) => (match ? 8 : 3)) : sae.index.length > 8000 ? 3.5 : 5,
      opacity: matches ? matches.map((match) => (match ? 0.95 : 0.12)) : 0.7,
      color: colours(sae, number),
      line: { width: 0 },
    };
    if (tone.value === "density") Object.assign(marker, { colorscale: "Viridis", cmin: -5, cmax: 0, showscale: number === 0, colorbar: bar() });
    return { ...figure.data[number], x: sae.x, y: sae.y, marker, visible: !hidden().has(sae.sae) };
  });
}

const bar = () => ({ title: { text: "Density" }, tickvals: [-5, -4, -3, -2, -1, 0], ticktext: ["0.001%", "0.01%", "0.1%", "1%", "10%", "100%"], thickness: 10, len: 0.5, outlinewidth: 0 });

function focusTrace() {
  const name = map.dataset.focus;
  for (const sae of points) {
    const place = sae.index.findIndex((index, i) => address(sae, i).slice(1) === name);
    if (place >= 0) {
      const marker = { size: 18, color: "rgba(0,0,0,0)", line: { width: 3, color: colour("ink") } };
      return [{ type: "scattergl", mode: "markers", x: [sae.x[place]], y: [sae.y[place]], marker, hoverinfo: "skip" }];
    }
  }
  return [];
}

function layout() {
  const made = themed(figure.layout);
  const view = (state.get("view") ?? "").split(",").map(Number);
  for (const axis of ["xaxis", "yaxis"]) made[axis].fixedrange = false;
  made.margin = { l: 0, r: 0, t: 0, b: 0 };
  if (view.length === 4 && view.every(Number.isFinite)) {
    made.xaxis.range = view.slice(0, 2);
    made.yaxis.range = view.slice(2);
  }
  return made;
}

async function draw() {
  await Plotly.react(target, [...traces(), ...focusTrace()], layout(), { displayModeBar: false, responsive: true, scrollZoom: true });
}

function showHover(event) {
  const { curveNumber, pointNumber } = event.points[0];
  const sae = points[curveNumber];
  if (!sae) return;
  const title = document.createElement("strong");
  title.textContent = sae.label[pointNumber] || `feature ${sae.index[pointNumber]}`;
  const line = document.createElement("p");
  line.textContent = `${sae.sae} / ${sae.index[pointNumber]}, active on ${(100 * sae.density[pointNumber]).toPrecision(2)}% of tokens`;
  hover.replaceChildren(title, line);
  hover.hidden = false;
}

function listenToMap() {
  target.on("plotly_hover", showHover);
  target.on("plotly_unhover", () => { hover.hidden = true; });
  target.on("plotly_click", (event) => {
    const { curveNumber, pointNumber } = event.points[0];
    if (points[curveNumber]) location.href = address(points[curveNumber], pointNumber);
  });
  target.on("plotly_relayout", (change) => {
    if (change["xaxis.autorange"]) return remember("view", "");
    const { xaxis, yaxis } = target._fullLayout;
    return remember("view", [...xaxis.range, ...yaxis.range].map((value) => value.toFixed(3)).join(","));
  });
}

function listenToControls() {
  let waiting;
  find.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { remember("q", find.value.trim()); draw(); }, 150);
  });
  find.form.addEventListener("submit", (event) => event.preventDefault());
  tone.addEventListener("change", () => { remember("colour", tone.value === "sae" ? "" : tone.value); draw(); });
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const now = hidden();
      const name = points[button.dataset.series].sae;
      if (!now.delete(name)) now.add(name);
      remember("hide", [...now].join(","));
      button.setAttribute("aria-pressed", String(!now.has(name)));
      draw();
    });
  }
  document.querySelector('[data-map="reset"]').addEventListener("click", () => {
    remember("view", "");
    Plotly.relayout(target, { "xaxis.autorange": true, "yaxis.autorange": true });
  });
}

function restore() {
  find.value = state.get("q") ?? "";
  tone.value = state.get("colour") === "density" ? "density" : "sae";
  const away = hidden();
  for (const button of buttons) button.setAttribute("aria-pressed", String(!away.has(points[button.dataset.series].sae)));
  for (const control of document.querySelectorAll(".map-bar :disabled")) control.disabled = false;
}

async function start() {
  if (!hasWebGL()) {
    note.textContent = "This browser draws no WebGL, which the map needs. The table of neighbours works without it.";
    return;
  }
  note.textContent = "Loading the map …";
  try {
    const [script, answer] = await Promise.all([plotly(), fetch(map.dataset.points)]);
    if (!answer.ok) throw new Error((await answer.json()).detail);
    Plotly = script;
    points = await answer.json();
    target = map.appendChild(document.createElement("div"));
    target.className = "map-target";
    restore();
    await draw();
    listenToMap();
    listenToControls();
    note.parentElement.hidden = true;
    map.dataset.drawn = "";
    document.addEventListener("themechange", draw);
  } catch (error) {
    note.textContent = `The map did not load: ${error.message} The table of neighbours works without it.`;
  }
}

start();
