// The texts of the steering page, a column for each row, filled token by token.
import { watchTokens } from "../base/tokens.js";

const level = (share) => (share > 0 ? Math.min(11, Math.floor(12 * share)) : -1);
const short = (value, digits) => String(Number(value.toPrecision(digits)));

/** What the colours of written texts say is part of the address. */
export function watchColours(section) {
  section.addEventListener("change", (event) => {
    if (event.target.name !== "colour") return;
    const address = new URL(location.href);
    address.searchParams.set("colour", event.target.value);
    history.replaceState(null, "", address);
  });
}

export class Texts {
  constructor(section, template) {
    this.section = section;
    this.template = template;
    this.place = section.querySelector(".texts");
    this.features = [];
    watchColours(section);
  }

  // Features in the order of each token's activations: title and max.
  describe(features) { this.features = features; }

  // What stands there is of an earlier request.
  wait() { this.section.setAttribute("aria-busy", "true"); }

  clear() {
    this.section.removeAttribute("aria-busy");
    this.section.hidden = true;
    this.place.replaceChildren();
  }

  begin(titles) {
    this.section.removeAttribute("aria-busy");
    this.place.replaceChildren(...titles.map((title, row) => {
      const column = this.template.content.cloneNode(true).querySelector(".text");
      column.dataset.row = row;
      column.classList.toggle("steered", row > 0);
      column.querySelector("h2").textContent = title;
      column.querySelector(".ending").textContent = "Waiting for the model…";
      return column;
    }));
    this.place.dataset.rows = titles.length;
    this.section.hidden = false;
    this.begun = new Set();
  }

  add(token) {
    const column = this.place.children[token.row];
    column.querySelector(".ending").textContent = "";
    if (!this.begun.has(token.row)) {
      this.begun.add(token.row); // the opening token is not shown
      return;
    }
    const span = document.createElement("span");
    span.textContent = token.shown;
    span.title = this.title(token);
    const activation = level(Math.max(0, ...token.activations.map((value, i) => (value ?? 0) / this.features[i].max)));
    if (activation >= 0) span.dataset.a = activation;
    if (token.probability !== null) span.dataset.p = Math.max(0, level(token.probability));
    span.className = token.probability === null ? "given" : "new";
    column.querySelector(".tokens").append(span);
  }

  end(row, note) {
    const column = this.place.children[row];
    column.querySelector(".ending").textContent = note;
    watchTokens(column);
  }

  // Columns that never came to their end say so.
  close(note) {
    for (const column of this.place.children) {
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
