// The card with what the pointer is on. Everything is inserted as text: labels and tokens may be anything.
const card = document.querySelector(".map-hover");
const known = new Map();
const MAX_KNOWN = 500;
const EXAMPLES = 2;
const CONTEXT = 8; // tokens on either side
const AWAY = 28; // pixels between the card and what it is about
let current = "";
let at = [0, 0];

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

/** Beside the place on the screen that is pointed at: right or left of it, or where there is no room, above or below. */
function put() {
  card.hidden = false;
  const room = card.offsetParent.getBoundingClientRect();
  const [x, y] = [at[0] - room.left, at[1] - room.top];
  const [width, height] = [card.offsetWidth, card.offsetHeight];
  const right = x + AWAY + width <= room.width - 8;
  const beside = right || x - AWAY - width >= 8;
  const left = right ? x + AWAY : x - AWAY - width;
  const top = beside ? y - height / 2 : y > room.height / 2 ? y - AWAY - height : y + AWAY;
  card.style.left = `${beside ? left : 8}px`;
  card.style.top = `${Math.min(Math.max(top, 8), Math.max(8, room.height - height - 8))}px`;
}

async function ask(address) {
  if (!known.has(address)) {
    if (known.size > MAX_KNOWN) known.clear();
    known.set(address, fetch(address).then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.statusText)))));
    known.get(address).catch(() => known.delete(address));
  }
  return known.get(address);
}

/** A piece of the example that it is strongest on, the strongest token marked. */
function excerpt(example) {
  const line = element("p", "… ", "excerpt");
  line.dir = "auto";
  line.append(...example.tokens.map((token) => (token.centre ? element("mark", token.text) : token.text)), " …");
  return line;
}

function describe(feature, examples) {
  const share = (100 * feature.density).toPrecision(2);
  const tokens = element("p", "", "promoted");
  tokens.append(element("span", "Promotes "), ...feature.promoted.slice(0, 5).map((token) => element("span", token.text, "piece")));
  const title = feature.label || `feature ${feature.index}`;
  const about = element("p", `${feature.sae} / ${feature.index}, active on ${share}% of tokens${feature.rare ? ", rare" : ""}`);
  card.replaceChildren(element("strong", title), ...examples.map(excerpt), about, tokens);
  card.dataset.feature = `${feature.sae}/${feature.index}`;
  put();
}

/** Say what is known of a feature, beside `place` on the screen; `address` is that of its JSON, its last two parts SAE and index. */
export async function showFeature(address, place) {
  at = place;
  current = address;
  const [sae, index] = address.split("/").slice(-2);
  if (card.dataset.feature !== `${sae}/${index}`) {
    delete card.dataset.feature;
    card.replaceChildren(element("p", `${sae} / ${index} …`));
  }
  put();
  try {
    const both = await Promise.all([ask(address), ask(`${address}/examples?kind=top&limit=${EXAMPLES}&context=${CONTEXT}`)]);
    if (current === address) describe(...both);
  } catch (error) {
    if (current === address) card.replaceChildren(element("p", `${sae} / ${index}: ${error.message || "no answer"}`));
  }
}

/** Say how many features of each SAE a cell holds, beside `place` on the screen. */
export function showCell(counts, place) {
  at = place;
  current = "";
  delete card.dataset.feature;
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  const title = `${total.toLocaleString("en")} ${total === 1 ? "feature" : "features"} here`;
  const lines = counts.map(({ sae, count }) => element("p", `${sae}: ${count.toLocaleString("en")}`));
  card.replaceChildren(element("strong", title), ...lines, element("p", "Click to zoom in."));
  put();
}

/** Hide the card. */
export function hideHover() {
  current = "";
  card.hidden = true;
}
