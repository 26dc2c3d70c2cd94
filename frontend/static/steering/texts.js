// The conversation of the steering page: turns of a message and its answers, filled token by token.
import { watchTokens } from "../base/tokens.js";

const level = (share) => (share > 0 ? Math.min(11, Math.floor(12 * share)) : -1);
const short = (value, digits) => String(Number(value.toPrecision(digits)));

/** What the colours of written texts say is part of the address. */
export function watchColours(root) {
  root.addEventListener("change", (event) => {
    if (event.target.name !== "colour") return;
    const address = new URL(location.href);
    address.searchParams.set("colour", event.target.value);
    history.replaceState(null, "", address);
  });
}

function span(className, text) {
  const made = document.createElement("span");
  made.className = className;
  made.textContent = text;
  return made;
}

export class Texts {
  constructor(section) {
    this.section = section;
    this.turns = section.querySelector(".turns");
    this.features = [];
  }

  get last() { return this.turns.lastElementChild; }

  get columns() { return [...(this.last?.querySelectorAll(".text") ?? [])]; }

  // Features in the order of each token's activations: title, max, and whether they are held.
  describe(features) { this.features = features; }

  // What stands there is of an earlier request.
  wait() { this.section.setAttribute("aria-busy", "true"); }

  // Only the first turns stay.
  keep(count) {
    this.section.removeAttribute("aria-busy");
    while (this.turns.children.length > count) this.last.remove();
    this.section.hidden = !this.turns.children.length;
  }

  // A turn after the first `count`. message: "" for a text that is continued.
  begin(count, message, titles) {
    this.keep(count);
    const turn = document.getElementById("turn").content.cloneNode(true).firstElementChild;
    const said = turn.querySelector(".said");
    said.textContent = message;
    said.hidden = !message;
    const answers = turn.querySelector(".answers");
    answers.dataset.rows = titles.length;
    answers.append(...titles.map((title, row) => this.column(title, row)));
    this.turns.append(turn);
    this.section.hidden = false;
    this.begun = new Set();
    this.written = titles.map(() => "");
  }

  column(title, row) {
    const column = document.getElementById("answer").content.cloneNode(true).firstElementChild;
    column.dataset.row = row;
    column.classList.toggle("steered", row > 0);
    column.classList.toggle("plain", row === 0);
    column.querySelector(".answer-name").textContent = title;
    column.querySelector(".ending").textContent = "Waiting for the model…";
    return column;
  }

  system(text) {
    const fold = this.section.querySelector(".system");
    fold.hidden = !text;
    fold.querySelector("p").textContent = text;
  }

  // A token. Those of a chat's prompt are not shown, nor is BOS, with which no prompt begins.
  add(token, isChat, prompt) {
    const column = this.columns[token.row];
    const isGiven = token.probability === null;
    if (!isGiven) column.querySelector(".ending").textContent = "";
    const isFirst = !this.begun.has(token.row);
    this.begun.add(token.row);
    if (!isGiven) this.written[token.row] += token.text;
    const isBos = isFirst && !prompt.trimStart().startsWith(token.text.trimStart());
    if (isBos || (isGiven && isChat)) return;
    const made = span(isGiven ? "given" : "new", token.shown);
    made.title = this.title(token);
    if (!isGiven) this.colour(made, token);
    column.querySelector(".tokens").append(made);
  }

  colour(made, { row, activations, probability }) {
    const shares = activations.map((value, i) => (row > 0 && this.features[i].isHeld ? 0 : (value ?? 0) / this.features[i].max));
    const activation = level(Math.max(0, ...shares));
    if (activation >= 0) made.dataset.a = activation;
    made.dataset.p = Math.max(0, level(probability));
  }

  // Stored answers to the last message. answers: title, passages of text with whether each tells of the feature, and what
  // is said below.
  showStored(message, answers, given) {
    this.begin(0, message, answers.map(({ title }) => title));
    answers.forEach(({ passages, note = "" }, row) => {
      const column = this.columns[row];
      column.querySelector(".ending").textContent = note;
      const before = given ? [span("given", given)] : [];
      column.querySelector(".tokens").append(...before, ...passages.map(([text, told]) => span(told ? "new told" : "new", text)));
    });
  }

  end(row, note) {
    const column = this.columns[row];
    column.querySelector(".ending").textContent = note;
    watchTokens(column);
  }

  // Columns that never came to their end say so.
  close(note) {
    for (const column of this.columns) {
      const ending = column.querySelector(".ending");
      const empty = !column.querySelector(".new");
      if (empty || ending.textContent === "") ending.textContent = empty ? `Nothing was written. ${note}` : note;
    }
  }

  title({ activations, probability, left_out: leftOut }) {
    const values = activations.map((value, i) => `${this.features[i].title}: ${short(value ?? 0, 3)}`).join(" · ");
    return (probability === null ? "" : `p ${short(probability, 2)} · `) + (leftOut ? "left out" : values);
  }
}
