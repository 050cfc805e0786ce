"use strict";
// Draws the charts of the page, keeps them in step with the colour scheme, hides runs in all of them.

const root = document.documentElement;
root.dataset.errors = "0";
window.addEventListener("error", () => { root.dataset.errors = String(+root.dataset.errors + 1); });

let page = { charts: [], runs: [] };
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = () => innerWidth <= 760;
const stored = JSON.parse(sessionStorage.getItem("report") || "{}");
const hidden = new Set(stored.hidden || []);
const zoom = stored.zoom || {};
let filter = stored.filter || "";
let touched = 0;

const FEW = 8; // runs that need no finder
const GLYPHS = {
  circle: "\u25cf", square: "\u25a0", diamond: "\u25c6", "triangle-up": "\u25b2",
  star: "\u2605", hexagon: "\u2b22", cross: "\u271a", pentagon: "\u2b1f",
};

function remember() {
  sessionStorage.setItem("report", JSON.stringify({ hidden: [...hidden], zoom, filter }));
}

// The text of a script element that holds gzip as base64.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// Every word of the filter is in the name, and no -word.
function matches(name) {
  const text = name.toLowerCase();
  return filter.toLowerCase().split(/\s+/).filter(Boolean).every((word) =>
    word.length > 1 && word[0] === "-" ? !text.includes(word.slice(1)) : text.includes(word));
}

const isHidden = (name) => hidden.has(name) || !matches(name);

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
  return chart.data.map((trace) => {
    const shown = { ...trace, visible: !(trace.meta && isHidden(trace.meta.run)) };
    if (narrow() && trace.meta && trace.meta.narrow !== undefined) {
      // On a phone fewer names have room.
      shown.textposition = trace.meta.narrow || "top right";
      if (!trace.meta.narrow) shown.text = [""];
    }
    return shown;
  });
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

function update() {
  const members = new Map();
  for (const run of page.runs) {
    run.chip.setAttribute("aria-pressed", String(!hidden.has(run.name)));
    run.chip.hidden = !matches(run.name);
    for (const name of [run.name, ...run.members]) members.set(name, run.name);
  }
  for (const row of document.querySelectorAll("tr[data-run]")) {
    row.hidden = isHidden(members.get(row.dataset.run) || row.dataset.run);
  }
  touched = Date.now();
  remember();
  return draw(!dark.matches);
}

function chips() {
  const bar = document.querySelector(".chips");
  for (const run of page.runs) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = run.title;
    chip.dataset.glyph = GLYPHS[run.symbol] || GLYPHS.circle;
    chip.style.setProperty("--run", run.colour);
    chip.addEventListener("click", () => {
      if (!hidden.delete(run.name)) hidden.add(run.name);
      update();
    });
    run.chip = chip;
    bar.append(chip);
  }
  const finder = document.querySelector(".finder");
  finder.hidden = page.runs.length <= FEW;
  if (finder.hidden) filter = "";
  const input = finder.querySelector("input");
  input.value = filter;
  let wait = 0;
  input.addEventListener("input", () => {
    filter = input.value;
    clearTimeout(wait);
    wait = setTimeout(update, 200);
  });
  finder.querySelector(".all").addEventListener("click", () => { hidden.clear(); update(); });
  finder.querySelector(".none").addEventListener("click", () => {
    page.runs.filter((run) => matches(run.name)).forEach((run) => hidden.add(run.name));
    update();
  });
}

// A table that is wider than its place says that it scrolls.
function mark() {
  for (const box of document.querySelectorAll(".scroll")) {
    box.parentElement.classList.toggle("scrolls", box.scrollWidth > box.clientWidth + 2);
  }
}

async function start() {
  mark();
  if (typeof DecompressionStream === "undefined") {
    document.getElementById("too-old").hidden = false;
    return;
  }
  page = JSON.parse(await unpacked("page-data"));
  const library = document.createElement("script");
  library.textContent = await unpacked("plotly");
  document.head.append(library);
  chips();
  await update();
  page.charts.forEach(keepZoom);
  touched = 0;
  drawn();
}

window.addEventListener("unhandledrejection", () => { root.dataset.errors = String(+root.dataset.errors + 1); });
start();
addEventListener("resize", mark);
document.addEventListener("toggle", mark, true);
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
