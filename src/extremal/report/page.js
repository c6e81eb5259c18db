"use strict";
(() => {
  const page = JSON.parse(document.getElementById("figure-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plot = (k) => document.getElementById(`plot-${k}`);

  // ---------------------------------------------------------------- figures

  /* The bundle is compressed; it is evaluated in the page, and nothing is requested. */
  async function plotly() {
    const text = atob(document.getElementById("plotly-bundle").textContent.trim());
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    (0, eval)(await new Response(stream).text());
    return window.Plotly;
  }

  function template() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      gridcolor: colour("grid"), linecolor: colour("soft"), zerolinecolor: colour("line"), zerolinewidth: 1,
      automargin: true, title: { standoff: 8 },
    };
    const solid = { ...axis, backgroundcolor: "rgba(0,0,0,0)", showspikes: false };
    return {
      layout: {
        font: { color: colour("ink"), family: "system-ui, Segoe UI, Roboto, sans-serif", size: 13 },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        xaxis: axis, yaxis: axis, scene: { xaxis: solid, yaxis: solid, zaxis: solid },
        margin: { l: 8, r: 12, t: 30, b: 8 }, hovermode: "closest",
        legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, bgcolor: "rgba(0,0,0,0)" },
        hoverlabel: { bgcolor: colour("card"), font: { color: colour("ink") }, bordercolor: colour("soft") },
        modebar: { color: colour("soft"), activecolor: colour("link"), bgcolor: "rgba(0,0,0,0)" },
      },
    };
  }

  const config = (layout) => ({
    responsive: true, displaylogo: false, displayModeBar: true,
    modeBarButtons: [["toImage", ...(layout.scene ? ["resetCameraDefault3d"] : ["zoomIn2d", "zoomOut2d", "resetScale2d"])]],
  });
  const dressed = (layout) => ({ ...layout, template: template(), uirevision: "kept", autosize: true });

  /* Sets an attribute such as "marker.size". */
  function set(trace, name, value) {
    const parts = name.split(".");
    const last = parts.pop();
    let place = trace;
    for (const part of parts) place = place[part] = { ...place[part] };
    place[last] = value;
  }

  const isSeen = (div) => {
    const box = div.getBoundingClientRect();
    return box.bottom > -50 && box.top < innerHeight + 50;
  };

  const state = { moment: Math.max(page.moments.length - 1, 0), stale: new Set(), drawing: new Set() };

  /* The layout with the camera where it is: plotly keeps that of the end of a drag, and it swings on a little. */
  function seenFrom(div) {
    const camera = div._fullLayout.scene?._scene?.getCamera?.();
    return camera ? { ...div.layout, scene: { ...div.layout.scene, camera } } : div.layout;
  }

  /* Brings the traces that move to the present moment. */
  async function move(k) {
    const figure = page.figures[k], div = plot(k);
    if (state.drawing.has(k)) { state.stale.add(k); return; }
    state.drawing.add(k);
    state.stale.delete(k);
    const data = div.data.map((trace) => ({ ...trace }));
    for (const { trace, values } of figure.moving)
      for (const [name, over] of Object.entries(values)) set(data[trace], name, over[state.moment]);
    await window.Plotly.react(div, data, seenFrom(div));
    state.drawing.delete(k);
    if (state.stale.has(k) && isSeen(div)) move(k);
  }

  function moveSeen() {
    page.figures.forEach((figure, k) => {
      if (!figure.moving.length || !plot(k).data) return;
      if (isSeen(plot(k))) move(k); else state.stale.add(k);
    });
  }

  function goTo(moment) {
    state.moment = moment;
    const label = page.moments[moment];
    for (const slider of document.querySelectorAll("input.time")) {
      slider.value = moment;
      slider.setAttribute("aria-valuetext", label);
      slider.closest(".controls").querySelector("output").textContent = label;
    }
    moveSeen();
  }

  function play(button) {
    const last = page.moments.length - 1;
    if (state.timer) { stop(); return; }
    if (state.moment >= last) goTo(0);
    state.timer = setInterval(() => (state.moment < last ? goTo(state.moment + 1) : stop()), 90);
    button.textContent = "Pause";
  }

  function stop() {
    clearInterval(state.timer);
    state.timer = null;
    for (const button of document.querySelectorAll("button.play")) button.textContent = "Play";
  }

  for (const slider of document.querySelectorAll("input.time"))
    slider.addEventListener("input", () => { stop(); goTo(Number(slider.value)); });
  for (const button of document.querySelectorAll("button.play")) button.addEventListener("click", () => play(button));
  for (const menu of document.querySelectorAll("select.choice"))
    menu.addEventListener("change", () => {
      const k = Number(menu.dataset.figure), choice = page.figures[k].choices[menu.selectedIndex];
      window.Plotly.react(plot(k), choice.data, { ...dressed(choice.layout), uirevision: choice.name });
    });
  addEventListener("scroll", () => { for (const k of [...state.stale]) if (isSeen(plot(k))) move(k); }, { passive: true });

  async function draw() {
    const Plotly = await plotly();
    for (const [k, figure] of page.figures.entries()) {
      await Plotly.newPlot(plot(k), figure.data, dressed(figure.layout), config(figure.layout));
      await new Promise((done) => setTimeout(done));
    }
    dark.addEventListener("change", () => {
      page.figures.forEach((_, k) => Plotly.react(plot(k), plot(k).data, dressed(plot(k).layout)));
    });
    if (page.moments.length) goTo(state.moment);
    document.documentElement.dataset.drawn = "yes";
  }

  draw().catch((error) => {
    for (const div of document.querySelectorAll(".plot:empty"))
      div.textContent = "The figure could not be drawn; it needs a browser of 2023 or later.";
    console.error(error);
  });

  // ----------------------------------------------------------------- tables

  const valueOf = (cell) => (cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value));

  function sort(table, column) {
    const heads = [...table.tHead.rows[0].cells], head = heads[column];
    const order = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach((cell) => cell.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => order * compare(valueOf(a.cells[column]), valueOf(b.cells[column])));
    table.tBodies[0].append(...rows);
  }

  for (const table of document.querySelectorAll("table.data"))
    table.tHead.querySelectorAll("button").forEach((button, k) => button.addEventListener("click", () => sort(table, k)));

  for (const box of document.querySelectorAll("input[type=search]"))
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...document.getElementById(box.getAttribute("aria-controls")).tBodies[0].rows];
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden).length;
      box.closest(".controls").querySelector("output").textContent = `${left} of ${rows.length} rows`;
    });

  // ---------------------------------------------------------------- copying

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
      getSelection().removeAllRanges();
    }
    const said = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 1500);
  }

  for (const button of document.querySelectorAll("button[data-copy]")) button.addEventListener("click", () => copy(button));
})();
