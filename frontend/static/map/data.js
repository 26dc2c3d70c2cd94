// Views of the map as the server answers them: asked for, decoded, and looked up.
const ARRAYS = { float32: Float32Array, int32: Int32Array, uint16: Uint16Array };

/** The arrays of an answer, whose layout /docs describes; `parts` has where each SAE's begin and end. */
export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const total = header.saes.reduce((sum, sae) => sum + sae.count, 0);
  let offset = 4 + length;
  const arrays = {};
  for (const [name, type] of header.arrays) {
    arrays[name] = new ARRAYS[type](buffer, offset, total);
    offset += arrays[name].byteLength;
  }
  let first = 0;
  const parts = header.saes.map(({ sae, count }) => ({ sae, start: first, stop: (first += count) }));
  return { ...header, arrays, parts, total };
}

/** A rectangle around what is seen, its edges on a grid, so that small moves ask for nothing new. */
export function snap([x0, x1, y0, y1]) {
  const step = 2 ** Math.ceil(Math.log2(Math.max(x1 - x0, y1 - y0) / 8));
  return [Math.floor(x0 / step) * step, Math.ceil(x1 / step) * step, Math.floor(y0 / step) * step, Math.ceil(y1 / step) * step];
}

const inside = (view, [x0, x1, y0, y1]) => view[0] >= x0 && view[1] <= x1 && view[2] >= y0 && view[3] <= y1;

/** Whether an answer shows all that a view can show. */
export function covers(answer, view) {
  if (!inside(view, answer.view)) return false;
  const side = (rectangle) => Math.max(rectangle[1] - rectangle[0], rectangle[3] - rectangle[2]);
  return answer.kind === "points" ? side(answer.view) < 16 * side(view) : side(answer.view) < 2.6 * side(view);
}

/** How many features an answer has within a view. */
export function countIn(answer, [x0, x1, y0, y1]) {
  const { arrays, total, world } = answer;
  if (answer.kind === "points") {
    let count = 0;
    for (let i = 0; i < total; i++) count += arrays.x[i] >= x0 && arrays.x[i] <= x1 && arrays.y[i] >= y0 && arrays.y[i] <= y1;
    return count;
  }
  const cell = world.size / 2 ** answer.level;
  const [c0, c1, r0, r1] = [(x0 - world.x0) / cell - 0.5, (x1 - world.x0) / cell - 0.5, (y0 - world.y0) / cell - 0.5, (y1 - world.y0) / cell - 0.5];
  let count = 0;
  for (let i = 0; i < total; i++) if (arrays.column[i] >= c0 && arrays.column[i] <= c1 && arrays.row[i] >= r0 && arrays.row[i] <= r1) count += arrays.count[i];
  return count;
}

/** How many features of each SAE stand in the cell at a place, or in the nearest one that is no farther than `reach`. */
export function cellAt({ arrays, parts, total, world, level }, x, y, reach) {
  const size = world.size / 2 ** level;
  const outside = (value, low) => Math.max(low - value, 0, value - low - size);
  const away = (i) => Math.hypot(outside(x, world.x0 + arrays.column[i] * size), outside(y, world.y0 + arrays.row[i] * size));
  let nearest = -1, least = reach;
  for (let i = 0; i < total; i++) if (away(i) < least || (nearest < 0 && away(i) <= least)) [nearest, least] = [i, away(i)];
  if (nearest < 0) return [];
  const [column, row] = [arrays.column[nearest], arrays.row[nearest]];
  return parts.flatMap(({ sae, start, stop }) => {
    for (let i = start; i < stop; i++) if (arrays.column[i] === column && arrays.row[i] === row) return [{ sae, count: arrays.count[i] }];
    return [];
  });
}

/** The number of the point nearest to a place, no farther than `reach`; undefined where there is none. */
export function pointAt({ arrays, total }, x, y, reach) {
  let nearest, least = reach ** 2;
  for (let i = 0; i < total; i++) {
    const away = (arrays.x[i] - x) ** 2 + (arrays.y[i] - y) ** 2;
    if (away <= least) [nearest, least] = [i, away];
  }
  return nearest;
}

let controller;

/** Abort the request that is under way. */
export const abortFetch = () => controller?.abort();

/** The answer to an address; a later call aborts it. */
export async function fetchView(address) {
  abortFetch();
  controller = new AbortController();
  const answer = await fetch(address, { signal: controller.signal });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return decode(await answer.arrayBuffer());
}
