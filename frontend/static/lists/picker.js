// "Add to a list": a link marked data-list-add="model/sae/index" opens a dialog with the lists that this browser may edit, and a form for
// a new one. Without a script it leads to the form's own page. The page loads lists/lists.css and this module.
import { known, change, create, editAddress, forget } from "./memory.js";

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const leadTo = (list) => element("a", { href: editAddress(list), textContent: "Open the list" });

/** Do something with a button switched off, and say how it went. */
async function attempt(button, status, work) {
  button.disabled = true;
  status.textContent = "Adding …";
  try {
    status.replaceChildren("Added. ", leadTo(await work()));
    return true;
  } catch (error) {
    status.textContent = error.message;
    return false;
  } finally {
    button.disabled = false;
  }
}

function row(list, feature, status) {
  const button = element("button", { type: "button", className: "button", textContent: list.name });
  const item = element("li", {}, button);
  button.addEventListener("click", () => attempt(button, status, async () => {
    try {
      await change(list, "POST", "/entries", { feature });
    } catch (error) {
      if (/no list/i.test(error.message)) {
        forget(list.id);
        item.remove();
      }
      throw error;
    }
    return list;
  }));
  return item;
}

/** The form for a new list. A name that is refused stays as it was typed. */
function makeForm(feature, status, rows) {
  const name = element("input", { type: "text", name: "name", maxLength: 200, autocomplete: "off", placeholder: "Untitled list" });
  const button = element("button", { className: "button primary", textContent: "Make the list" });
  const form = element("form", { className: "picker-new" }, element("label", { className: "field" }, "Name of a new list ", name), button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let made;
    const done = await attempt(button, status, async () => (made = await create(name.value, [feature])));
    if (!done) return;
    rows.prepend(row(made, feature, status));
    name.value = "";
  });
  return form;
}

function open(link, feature) {
  const status = element("p", { className: "small" });
  status.setAttribute("role", "status");
  const rows = element("ul", {}, ...known().map((list) => row(list, feature, status)));
  const close = element("form", { method: "dialog" }, element("button", { className: "button", textContent: "Close" }));
  const about = element("p", { className: "small soft", textContent: "A list has a link to share and a secret one to edit it, which this browser keeps." });
  const dialog = element("dialog", { className: "picker" }, element("h2", { textContent: "Add to a list" }), rows, makeForm(feature, status, rows), status, about, close);
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
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  open(link, link.dataset.listAdd);
});
