// What the map looks like: points, or cells as an image, and above them what is marked.
import { colour } from "../base/plots.js";
import { current, toPixel, unit } from "./state.js";

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const RANGES = { density: [-5, -1], score: [0, 1] };
const LEGENDS = { density: ["0.001%", "10% of tokens"], score: ["0", "1"] };
const FAINT = 0.12;

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const RAMP = VIRIDIS.map(rgb);

function ramp(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const low = RAMP[Math.floor(at)], high = RAMP[Math.ceil(at)];
  return low.map((value, channel) => value + (high[channel] - value) * (at % 1));
}

/** The colour of an SAE by its place in the run. */
const series = (number) => colour(`series-${number % 6}`);

/** Legend of a colour: its two ends, or null where the names of the SAEs are the legend. */
export const legend = (tone) => LEGENDS[tone] ?? null;

const pointSize = (total) => (total > 15000 ? 3 : total > 4000 ? 4 : total > 800 ? 5.5 : 7);
const STEPS = 32;

/** The points of an answer by colour: a colour, and the numbers of those that have it. */
function groups(answer, tone, names) {
  const { arrays, parts, total } = answer;
  if (tone === "sae") return parts.map(({ sae, start, stop }) => [series(names.indexOf(sae)), Array.from({ length: stop - start }, (_, i) => start + i)]);
  const [low, high] = RANGES[tone];
  const found = Array.from({ length: STEPS + 1 }, (_, step) => [step < STEPS ? `rgb(${ramp(step / (STEPS - 1)).map(Math.round)})` : "rgb(128,128,128)", []]);
  for (let i = 0; i < total; i++) {
    const share = Math.min(Math.max((arrays.value[i] - low) / (high - low), 0), 1);
    found[Number.isNaN(share) ? STEPS : Math.round(share * (STEPS - 1))][1].push(i);
  }
  return found;
}

const dot = (context, x, y, radius) => { context.moveTo(x + radius, y); context.arc(x, y, radius, 0, 2 * Math.PI); };

function paintPoints(context, answer, coloured, faint, [width, height]) {
  const size = pointSize(answer.total), { x, y } = answer.arrays;
  const [pixel, x0, y1] = [1 / unit(), current.view[0], current.view[3]];
  context.globalAlpha = faint ? FAINT : 0.75;
  for (const [fill, numbers] of coloured) {
    context.fillStyle = fill;
    context.beginPath();
    for (const i of numbers) {
      const [left, top] = [(x[i] - x0) * pixel, (y1 - y[i]) * pixel];
      if (left < -size || top < -size || left > width + size || top > height + size) continue;
      if (size < 5) context.rect(left - size / 2, top - size / 2, size, size);
      else dot(context, left, top, size / 2);
    }
    context.fill();
  }
  context.globalAlpha = 1;
}

/** Places marked above everything: those found, and that in focus. */
function paintMarks(context, marks, place) {
  const radius = marks.length > 100 ? 3.5 : 5, tones = [0, 1, 2, 3, 4, 5].map(series);
  context.lineWidth = 1;
  context.strokeStyle = colour("surface");
  for (const [number, x, y] of marks) {
    context.fillStyle = tones[number % tones.length];
    context.beginPath();
    dot(context, ...toPixel(x, y), radius);
    context.fill();
    context.stroke();
  }
  if (!place) return;
  context.lineWidth = 3;
  context.strokeStyle = colour("ink");
  context.beginPath();
  dot(context, ...toPixel(...place), 10);
  context.stroke();
}

function paintCells(context, image, faint) {
  const [left, top] = toPixel(image.x, image.y);
  context.globalAlpha = faint ? 0.3 : 1;
  context.drawImage(image.canvas, left, top, image.width / unit(), image.height / unit());
  context.globalAlpha = 1;
}

let prepared = {};

/** What of an answer stays the same while the map moves. */
function prepare(answer, names) {
  const look = colour("surface");
  if (prepared.answer !== answer || prepared.look !== look) {
    const tone = answer?.colour; // what it was asked for with: values come with their colour alone
    const made = !answer?.total ? null : answer.kind === "cells" ? cellImage(answer, tone, names) : groups(answer, tone, names);
    prepared = { answer, look, made };
  }
  return prepared.made;
}

/** Draw the answer, in the colours it was asked for with, and what is marked. */
export function paintMap(canvas, names, place) {
  const { answer, marks } = current;
  const size = [canvas.clientWidth, canvas.clientHeight];
  const [width, height] = size.map((side) => Math.round(side * devicePixelRatio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  context.clearRect(0, 0, ...size);
  const made = prepare(answer, names), faint = marks.length > 0;
  if (made && answer.kind === "cells") paintCells(context, made, faint);
  else if (made) paintPoints(context, answer, made, faint, size);
  paintMarks(context, marks, place);
}

/** Weight, colour and value of each cell of an answer, SAEs together. */
function gather(answer, tone, names, width, first) {
  const { arrays, parts } = answer;
  const cells = new Map();
  for (const { sae, start, stop } of parts) {
    const own = rgb(series(names.indexOf(sae)));
    for (let i = start; i < stop; i++) {
      const at = (first.row - arrays.row[i]) * width + arrays.column[i] - first.column;
      let cell = cells.get(at);
      if (!cell) cells.set(at, (cell = { count: 0, known: 0, value: 0, red: 0, green: 0, blue: 0 }));
      const count = arrays.count[i];
      cell.count += count;
      cell.red += count * own[0];
      cell.green += count * own[1];
      cell.blue += count * own[2];
      if (tone !== "sae" && !Number.isNaN(arrays.value[i])) {
        cell.known += count;
        cell.value += count * arrays.value[i];
      }
    }
  }
  return cells;
}

function paintCell(cell, tone) {
  if (tone === "sae") return [cell.red / cell.count, cell.green / cell.count, cell.blue / cell.count];
  if (!cell.known) return [128, 128, 128];
  const [low, high] = RANGES[tone];
  return ramp((cell.value / cell.known - low) / (high - low));
}

function extent(numbers) {
  let low = Infinity, high = -Infinity;
  for (const number of numbers) {
    if (number < low) low = number;
    if (number > high) high = number;
  }
  return [low, high];
}

/** The cells of an answer as an image, and its place: the more features in a cell, the less it lets through. */
function cellImage(answer, tone, names) {
  const [left, right] = extent(answer.arrays.column);
  const [bottom, top] = extent(answer.arrays.row);
  // One empty cell around, so that smoothing fades out.
  const first = { column: left - 1, row: top + 1 };
  const width = right - left + 3, height = top - bottom + 3;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const cells = gather(answer, tone, names, width, first);
  let highest = 1;
  for (const cell of cells.values()) highest = Math.max(highest, cell.count);
  for (const [at, cell] of cells) {
    const share = Math.log1p(cell.count) / Math.log1p(highest);
    image.data.set([...paintCell(cell, tone), 255 * (0.15 + 0.85 * share ** 1.6)], 4 * at);
  }
  context.putImageData(image, 0, 0);
  const size = answer.world.size / 2 ** answer.level;
  const [x, y] = [answer.world.x0 + first.column * size, answer.world.y0 + (first.row + 1) * size];
  return { canvas, x, y, width: width * size, height: height * size };
}
