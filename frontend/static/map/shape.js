// Shapes drawn on the map, as they are in the address: x,y,x,y,...
import { toPixel } from "./state.js";

const MAX_CORNERS = 60;
const SVG = "http://www.w3.org/2000/svg";

function distance([x, y], [ax, ay], [bx, by]) {
  const length = Math.hypot(bx - ax, by - ay);
  return length ? Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length : Math.hypot(x - ax, y - ay);
}

/** Douglas and Peucker: the corners that keep a line within a tolerance. */
function simplify(corners, tolerance) {
  if (corners.length < 3) return corners;
  const [first, last] = [corners[0], corners[corners.length - 1]];
  let far = 0, farthest = 0;
  corners.forEach((corner, place) => {
    const away = distance(corner, first, last);
    if (place && place < corners.length - 1 && away > farthest) [far, farthest] = [place, away];
  });
  if (farthest <= tolerance) return [first, last];
  return [...simplify(corners.slice(0, far + 1), tolerance).slice(0, -1), ...simplify(corners.slice(far), tolerance)];
}

/** The corners of the rectangle between two. */
export const boxOf = ([x0, y0], [x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];

/** The corners of a shape as text; "" when it encloses nothing. `unit` is the width of a pixel. */
export function shapeText(corners, unit) {
  let kept = corners;
  for (let tolerance = unit; kept.length > MAX_CORNERS; tolerance *= 1.5) kept = simplify(kept, tolerance);
  if (kept.length < 3) return "";
  const digits = Math.max(0, Math.ceil(-Math.log10(unit)));
  return kept.flat().map((value) => String(Number(value.toFixed(digits)))).join(",");
}

/** The corners that a text names; none when it is no shape. */
export function cornersOf(text) {
  const numbers = text.split(",").map(Number);
  if (numbers.length < 6 || !numbers.every(Number.isFinite)) return [];
  return numbers.flatMap((value, place) => (place % 2 ? [] : [[value, numbers[place + 1]]]));
}

/** An element to draw shapes in. */
export function shapeLayer() {
  const layer = document.createElementNS(SVG, "svg");
  layer.setAttribute("class", "map-shapes");
  layer.setAttribute("aria-hidden", "true");
  return layer;
}

/** Draw shapes, each of corners on the map, in place of those before. */
export function drawShapes(layer, shapes) {
  layer.replaceChildren(...shapes.filter((corners) => corners.length > 1).map((corners) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${corners.map((corner) => toPixel(...corner).join(" ")).join("L")}Z`);
    return path;
  }));
}
