"use strict";
// Draws the charts of the page, keeps them in step with the colour scheme, hides runs in all of them.

const root = document.documentElement;
root.dataset.errors = "0";
window.addEventListener("error", () => { root.dataset.errors = String(+root.dataset.errors + 1); });

const page = JSON.parse(document.getElementById("page-data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = () => innerWidth <= 760;
const stored = JSON.parse(sessionStorage.getItem("report") || "{}");
const hidden = new Set(stored.hidden || []);
const zoom = stored.zoom || {};
let touched = 0;

function remember() {
  sessionStorage.setItem("report", JSON.stringify({ hidden: [...hidden], zoom }));
}

function theme(light) {
  const text = light ? "#1c2128" : "#e4e8ed";
  const grid = light ? "#dfe3e8" : "#343b45";
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
  return { text, grid, axis };
}

function layoutOf(chart, light) {
  const { text, grid, axis } = theme(light);
  const given = chart.layout;
  return {
    margin: { l: narrow() ? 46 : 56, r: 14, t: 12, b: 44 },
    hovermode: "closest",
    legend: { font: { size: 11 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: grid, activecolor: text },
    showlegend: false, // the chips above name and hide the runs
    ...given,
    height: chart.height,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: text, size: narrow() ? 10 : 12, family: getComputedStyle(document.body).fontFamily },
    xaxis: { ...axis, ...(given.xaxis || {}), ...(zoom[chart.id + ".x"] || {}) },
    yaxis: { ...axis, ...(given.yaxis || {}), ...(zoom[chart.id + ".y"] || {}) },
  };
}

function tracesOf(chart) {
  return chart.data.map((trace) => ({
    ...trace,
    visible: !(trace.meta && hidden.has(trace.meta.run)),
  }));
}

function draw(light) {
  const options = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // runs are the reader's: no button that uploads them
    plotlyServerURL: "",
    displayModeBar: narrow() ? false : "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d"],
  };
  return Promise.all(page.charts.map((chart) =>
    Plotly.react(chart.id, tracesOf(chart), layoutOf(chart, light), options)));
}

function drawn() {
  root.dataset.drawn = String(page.charts.filter((chart) =>
    document.querySelector(`#${CSS.escape(chart.id)} .main-svg`)).length);
  root.dataset.charts = String(page.charts.length);
}

// A zoom outlives the reload of a live page.
function keepZoom(chart) {
  document.getElementById(chart.id).on("plotly_relayout", (change) => {
    for (const name of ["x", "y"]) {
      const axis = name + "axis";
      if (axis + ".range[0]" in change) {
        zoom[`${chart.id}.${name}`] = {
          range: [change[axis + ".range[0]"], change[axis + ".range[1]"]], autorange: false,
        };
      } else if (axis + ".autorange" in change) {
        delete zoom[`${chart.id}.${name}`];
      }
    }
    touched = Date.now();
    remember();
  });
}

function chips() {
  const bar = document.querySelector(".chips");
  for (const run of page.runs) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = run.name;
    chip.style.setProperty("--run", run.colour);
    chip.setAttribute("aria-pressed", String(!hidden.has(run.name)));
    chip.addEventListener("click", () => {
      if (!hidden.delete(run.name)) hidden.add(run.name);
      chip.setAttribute("aria-pressed", String(!hidden.has(run.name)));
      touched = Date.now();
      remember();
      draw(!dark.matches);
    });
    bar.append(chip);
  }
}

chips();
draw(!dark.matches).then(() => {
  page.charts.forEach(keepZoom);
  drawn();
});
dark.addEventListener("change", () => draw(!dark.matches));
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  draw(true);
});
addEventListener("afterprint", () => draw(!dark.matches));

// While training runs, the page is written again; whoever is reading closely is not disturbed.
const live = Number(root.dataset.live);
if (live > 0) {
  setInterval(() => {
    if (document.visibilityState === "visible" && Date.now() - touched > 10000) location.reload();
  }, 1000 * live);
}
