// The slider of the home page: the stored texts of one feature at several strengths; the strength is in the address.
const panel = document.getElementById("panel");
const slider = panel.querySelector('input[type="range"]');
const stops = [...panel.querySelectorAll(".stops a")];
const texts = [...panel.querySelectorAll(".layers > *")];

function show(place) {
  slider.value = place;
  slider.setAttribute("aria-valuetext", stops[place].textContent.trim());
  texts.forEach((text, i) => text.toggleAttribute("data-off", i !== place));
  stops.forEach((stop, i) => (i === place ? stop.setAttribute("aria-current", "true") : stop.removeAttribute("aria-current")));
  document.getElementById("strength").textContent = stops[place].dataset.name;
  document.getElementById("go-on").href = stops[place].dataset.steer;
}

function choose(place) {
  show(place);
  history.replaceState(null, "", stops[place].href);
}

slider.hidden = false;
show(Number(slider.value));
slider.addEventListener("input", () => choose(Number(slider.value)));
stops.forEach((stop, place) => stop.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose(place);
}));
