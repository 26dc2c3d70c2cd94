// The value of a token on hover and on focus. Each text is one stop of the Tab key; arrows walk through its tokens.
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
let told; // the token that it tells of

function value(token) {
  if (token.title) {
    token.dataset.value = token.title;
    token.removeAttribute("title");
  }
  return token.dataset.value ?? token.closest("[data-rest]")?.dataset.rest ?? "0"; // data-rest: of what is not coloured
}

function show(token) {
  told = token;
  tip.textContent = value(token);
  tip.hidden = false;
  const box = token.getClientRects()[0] ?? token.getBoundingClientRect();
  const left = Math.min(Math.max(4, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 4);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 6}px`;
}

const tokenOf = (event) => event.target.closest?.(".tokens > span");

// Where nothing is pointed at: show the value of the focused token, wherever it has scrolled to, if any.
function rest() {
  const token = document.activeElement?.closest(".tokens > span");
  if (token) show(token); else tip.hidden = true;
}

// While the page scrolls: stay with the token that is told of, as long as it is pointed at or focused.
function follow() {
  if (told?.matches(":hover, :focus")) show(told); else rest();
}

function walk(event) {
  const token = tokenOf(event);
  const steps = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" };
  const next = token && steps[event.key] && token[steps[event.key]];
  if (!next) return;
  event.preventDefault();
  token.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function enter(line) {
  const first = line.querySelector(".centre") ?? line.querySelector("span");
  if (first) first.tabIndex = 0;
}

/** Show the values of tokens below `root`; call again for texts that are added later. */
export function watchTokens(root) {
  for (const line of root.querySelectorAll(".tokens")) enter(line);
}

document.body.append(tip);
document.addEventListener("pointerover", (event) => {
  const token = tokenOf(event);
  if (token) show(token); else rest();
});
document.addEventListener("focusin", rest);
document.addEventListener("keydown", walk);
document.addEventListener("scroll", follow, { passive: true });
