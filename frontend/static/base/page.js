// What every page has: the theme button, the search key, help, copying, values of tokens.
import { watchTokens } from "./tokens.js";
import { listen } from "./keyboard.js";
import { suggest } from "./suggest.js";

function toggleTheme() {
  const root = document.documentElement;
  const dark = getComputedStyle(root).colorScheme === "dark";
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  document.dispatchEvent(new CustomEvent("themechange"));
}

async function copy(button) {
  const text = button.dataset.copyText ?? new URL(button.dataset.copy || location.href, location.href).href;
  const label = button.querySelector("[data-label]") ?? button;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Copy failed";
  }
  setTimeout(() => { label.textContent = before; }, 1500);
}

const actions = { theme: toggleTheme, copy, help: () => listen.help(), lines: () => listen.breakLines() };

for (const button of document.querySelectorAll("button[data-action]")) button.hidden = false;
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) actions[button.dataset.action]?.(button);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("themechange")));

listen();
suggest(document.querySelector(".find"));
watchTokens(document);
