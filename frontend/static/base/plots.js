// Draws figures that the server describes; colours come from the stylesheet, so that plots follow the theme.
const script = document.querySelector("script[data-plotly]");
let loading;

/** Plotly, loaded once from our own server. */
export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    // Plotly adds a style sheet for maps, which we do not draw, unless elements of these ids are there.
    for (const id of script.dataset.styles.split(" ")) document.head.append(Object.assign(document.createElement("meta"), { id }));
    const tag = document.createElement("script");
    tag.src = script.dataset.plotly;
    tag.onload = () => resolve(window.Plotly);
    tag.onerror = () => reject(new Error("The plotting script could not be loaded."));
    document.head.append(tag);
  });
  return loading;
}

/** The value of a custom property. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** The figure that stands as JSON inside an element. */
export const figureIn = (element) => JSON.parse(element.querySelector('script[type="application/json"]').textContent);

/** Layout that every plot shares. */
export function themed(layout) {
  const axis = { gridcolor: colour("line"), linecolor: colour("line-strong"), zerolinecolor: colour("line"), automargin: true, fixedrange: true };
  return {
    ...layout,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("soft") },
    margin: { l: 8, r: 12, t: 8, b: 8 },
    hoverlabel: { bgcolor: colour("ink"), bordercolor: colour("ink"), font: { color: colour("paper") } },
    xaxis: { ...axis, showgrid: false, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
    ...(layout.yaxis2 && { yaxis2: { ...axis, ...layout.yaxis2 } }),
  };
}

const paint = (trace) => trace.type === "bar"
  ? { ...trace, marker: { color: colour(trace.meta) } }
  : {
    ...trace,
    line: { width: 2, ...trace.line, color: colour(trace.meta ?? "accent") },
    marker: { ...trace.marker, color: colour(trace.meta ?? "accent") },
    ...(trace.fill && { fillcolor: colour("accent-wash") }),
  };

async function draw(element) {
  const figure = figureIn(element);
  try {
    const Plotly = await plotly();
    const target = element.querySelector(".plot-target") ?? element.appendChild(Object.assign(document.createElement("div"), { className: "plot-target" }));
    await Plotly.react(target, figure.data.map(paint), themed(figure.layout), { displayModeBar: false, responsive: true });
    target.removeAllListeners("plotly_click");
    target.on("plotly_click", (event) => { if (event.points[0].customdata) location.assign(event.points[0].customdata); });
    element.dataset.drawn = "";
  } catch (error) {
    element.dataset.failed = error.message;
  }
}

const figures = [...document.querySelectorAll("[data-plot]")];
for (const curves of document.querySelectorAll(".curves, [data-needs-script]")) curves.hidden = false;
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((entry) => entry.isIntersecting)) {
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "300px" });
for (const element of figures) seen.observe(element);
document.addEventListener("themechange", () => figures.filter((element) => "drawn" in element.dataset).forEach(draw));
