// "Add to a list": a link marked data-list-add="model/sae/index" leads to the form for a new list; a browser that may
// edit lists offers those first. The page loads lists/lists.css and this module.
import { known, change, forget } from "./memory.js";

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function add(list, feature, button, status) {
  button.disabled = true;
  status.textContent = "Adding …";
  try {
    await change(list, "POST", "/entries", { feature });
    status.replaceChildren("Added. ", element("a", { href: `/lists/${list.id}/edit?key=${encodeURIComponent(list.key)}`, textContent: "Open the list" }));
  } catch (error) {
    status.textContent = error.message;
    if (/no list/i.test(error.message)) {
      forget(list.id);
      button.closest("li").remove();
    }
  }
  button.disabled = false;
}

function open(link, feature) {
  const status = element("p", {});
  status.setAttribute("role", "status");
  const rows = known().map((list) => {
    const button = element("button", { type: "button", className: "button", textContent: list.name });
    button.addEventListener("click", () => add(list, feature, button, status));
    return element("li", {}, button);
  });
  const close = element("form", { method: "dialog" }, element("button", { className: "button", textContent: "Close" }));
  const fresh = element("a", { className: "button", href: link.href, textContent: "A new list" });
  const dialog = element("dialog", { className: "picker" }, element("h2", { textContent: "Add to a list" }), element("ul", {}, ...rows), status,
    element("div", { className: "actions" }, fresh, close));
  dialog.setAttribute("aria-label", "Add to a list");
  dialog.addEventListener("close", () => {
    dialog.remove();
    link.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-list-add]");
  if (!link || !known().length || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  open(link, link.dataset.listAdd);
});
