// What the map looks like: points as WebGL traces, cells as an image under them.
import { colour } from "../base/plots.js";

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const SCALE = VIRIDIS.map((value, place) => [place / (VIRIDIS.length - 1), value]);
export const RANGES = { density: [-5, -1], score: [0, 1] };
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
export const series = (number) => colour(`series-${number % 6}`);

/** Legend of a colour: its two ends, or null where the names of the SAEs are the legend. */
export const legend = (tone) => LEGENDS[tone] ?? null;

/** One trace for each SAE of an answer. */
export function pointTraces(answer, tone, names, faint) {
  const [cmin, cmax] = RANGES[tone] ?? [];
  const size = answer.total > 15000 ? 3 : answer.total > 4000 ? 4 : answer.total > 800 ? 5.5 : 7;
  return answer.parts.map(({ sae, start, stop }) => {
    const one = (name) => answer.arrays[name].subarray(start, stop);
    const marker = { size, opacity: faint ? FAINT : 0.75, line: { width: 0 }, color: series(names.indexOf(sae)) };
    if (cmin !== undefined) Object.assign(marker, { color: one("value"), colorscale: SCALE, cmin, cmax, showscale: false });
    return { type: "scattergl", mode: "markers", name: sae, x: one("x"), y: one("y"), marker, hoverinfo: "none" };
  });
}

/** Places marked above everything: those found, and that in focus. */
export function markTraces(marks, place) {
  const trace = (x, y, marker) => ({ type: "scattergl", mode: "markers", x, y, marker, hoverinfo: "skip" });
  const found = trace(marks.map((mark) => mark[1]), marks.map((mark) => mark[2]), {
    size: marks.length > 100 ? 7 : 10, color: marks.map((mark) => series(mark[0])), line: { width: 1, color: colour("surface") },
  });
  const ring = trace(place ? [place[0]] : [], place ? [place[1]] : [], { size: 20, color: "rgba(0,0,0,0)", line: { width: 3, color: colour("ink") } });
  return [found, ring];
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

/** The cells of an answer as an image of the layout: the more features in a cell, the less it lets through. */
export function cellImage(answer, tone, names, faint) {
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
  return {
    source: canvas.toDataURL(), xref: "x", yref: "y", layer: "below", sizing: "stretch", opacity: faint ? 0.3 : 1,
    x: answer.world.x0 + first.column * size, y: answer.world.y0 + (first.row + 1) * size, sizex: width * size, sizey: height * size,
  };
}
