// A search by prompts: there is always one more empty text to fill, and the page says that it waits.
const form = document.getElementById("search");
const status = document.getElementById("status");
const MAX_PROMPTS = 16; // as in backend/search/prompts_page.py

function more(list) {
  const texts = [...list.querySelectorAll("textarea")];
  if (texts.length >= MAX_PROMPTS || texts.some((text) => !text.value)) return;
  const item = texts.at(-1).parentElement.cloneNode(true);
  const text = item.querySelector("textarea");
  text.value = "";
  text.placeholder = "Another text";
  text.setAttribute("aria-label", text.getAttribute("aria-label").replace(/\d+$/, texts.length + 1));
  list.append(item);
}

form.addEventListener("input", (event) => {
  const list = event.target.closest(".texts");
  if (list) more(list);
});
form.addEventListener("submit", (event) => {
  const writes = event.submitter?.id === "write";
  status.textContent = status.dataset.loading || (writes ? "The model is writing…" : "The model is reading…");
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
});
// A page that the browser kept comes back as it was left.
addEventListener("pageshow", () => {
  status.textContent = "";
  for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
});
