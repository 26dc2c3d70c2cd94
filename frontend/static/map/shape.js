// Shapes drawn on the map, as they are in the address: x,y,x,y,...
import { colour } from "../base/plots.js";

const MAX_CORNERS = 60;

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

/** The corners of a box or lasso drawn in Plotly, as text; "" when it encloses nothing. `unit` is the width of a pixel. */
export function shapeText(event, unit) {
  let corners;
  if (event?.lassoPoints) corners = event.lassoPoints.x.map((x, place) => [x, event.lassoPoints.y[place]]);
  else if (event?.range) {
    const [[x0, x1], [y0, y1]] = [event.range.x, event.range.y];
    corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  } else return "";
  let tolerance = unit;
  if (event.lassoPoints) for (; corners.length > MAX_CORNERS; tolerance *= 1.5) corners = simplify(corners, tolerance);
  if (corners.length < 3) return "";
  const digits = Math.max(0, Math.ceil(-Math.log10(unit)));
  return corners.flat().map((value) => String(Number(value.toFixed(digits)))).join(",");
}

/** The shape of a text, drawn in the layout. */
export function shapeLayout(text) {
  const numbers = text.split(",").map(Number);
  if (numbers.length < 6 || !numbers.every(Number.isFinite)) return [];
  const path = numbers.map((value, place) => (place % 2 ? `,${value}` : `${place ? "L" : "M"}${value}`)).join("");
  const shape = { type: "path", path: `${path}Z` };
  return [
    { ...shape, line: { width: 0 }, fillcolor: colour("accent"), opacity: 0.12 },
    { ...shape, line: { color: colour("accent"), width: 2 }, fillcolor: "rgba(0,0,0,0)" },
  ];
}
