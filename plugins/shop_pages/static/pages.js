// Draws the charts of a page, saves them, and takes links to Airflow's own pages out of its frame.
(function () {
  "use strict";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = () => ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"].map(css);

  function themed(plot, height) {
    const text = css("--text");
    const grid = css("--line");
    const axis = (own) => ({
      gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true, tickfont: { color: css("--quiet") },
      separatethousands: true, ...own,
    });
    const data = plot.data.map((trace) => {
      const drawn = { ...trace };
      if (trace.type === "heatmap") {
        drawn.colorscale = trace.zmid === undefined
          ? [[0, css("--heat-0")], [1, css("--heat-1")]]
          : [[0, css("--cold")], [0.5, css("--heat-0")], [1, css("--heat-1")]];
        drawn.hoverongaps = false;
        drawn.colorbar = { thickness: 10, outlinewidth: 0, tickfont: { color: css("--quiet") } };
      } else if (trace.type === "waterfall") {
        drawn.increasing = { marker: { color: css("--good") } };
        drawn.decreasing = { marker: { color: css("--bad") } };
        drawn.totals = { marker: { color: css("--c1") } };
        drawn.connector = { line: { color: grid, width: 1 } };
      } else if (trace.type === "pie") {
        drawn.marker = { colors: palette(), line: { color: css("--card"), width: 2 } };
        drawn.textinfo = "percent";
        drawn.title = { ...trace.title, font: { color: text, size: 13 } };
      } else if (trace.type === "funnel") {
        drawn.marker = { color: palette().slice(0, 3) };
        drawn.textfont = { color: "#fff" };
        drawn.connector = { fillcolor: css("--hover") };
      }
      return drawn;
    });
    const layout = {
      autosize: true, height,
      margin: { l: 8, r: 8, t: 8, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font"), size: 12, color: text },
      colorway: palette(),
      hovermode: plot.data.some((t) => t.type === "scatter" || t.type === "bar" && t.orientation !== "h") ? "x unified" : "closest",
      hoverlabel: { bgcolor: css("--card"), bordercolor: grid, font: { color: text, family: css("--font") } },
      // Below the names of categories, which are long and stand aslant.
      legend: { orientation: "h", y: ((plot.layout || {}).xaxis || {}).type === "category" ? -0.35 : -0.15, x: 0 },
      separators: ".,",
      ...plot.layout,
      xaxis: axis((plot.layout || {}).xaxis), yaxis: axis((plot.layout || {}).yaxis),
    };
    return { data, layout };
  }

  const plots = new Map();

  async function draw(name) {
    const plot = plots.get(name);
    const at = document.getElementById("plot-" + name);
    if (!plot || !at) return;
    const tall = plot.data.some((t) => t.type === "heatmap") ? Math.max(260, 60 + 24 * (plot.data[0].y || []).length) : 320;
    const { data, layout } = themed(plot, Math.min(tall, 640));
    try {
      await Plotly.react(at, data, layout, { displayModeBar: false, responsive: true, doubleClick: "reset" });
      at.classList.remove("loading");
      at.dataset.drawn = document.documentElement.dataset.theme;
      at.removeAllListeners && at.removeAllListeners("plotly_click");
      at.on("plotly_click", (event) => follow(name, event.points[0]));
    } catch (error) {
      at.classList.remove("loading");
      at.classList.add("state", "error");
      at.textContent = "The chart could not be drawn; the table below has its figures.";
      console.error(error);
    }
  }

  // A point leads where its row leads, where its row is the only one of that day, month or name.
  function follow(name, point) {
    const label = point.data.orientation === "h" ? point.y : point.x;
    const rows = [...document.querySelectorAll(`#${CSS.escape(name)} tr[data-at]`)].filter((row) => row.dataset.at === String(label));
    const link = rows.length === 1 && rows[0].querySelector("a[data-behind]");
    if (link) link.click();
  }

  function start() {
    for (const block of document.querySelectorAll("script[data-plot]")) {
      plots.set(block.dataset.plot, JSON.parse(block.textContent));
    }
    if (!plots.size) return;
    // Those in sight first; the others when they come near, so that a long page is usable at once.
    const near = new IntersectionObserver((seen) => {
      for (const one of seen) {
        if (one.isIntersecting) {
          near.unobserve(one.target);
          draw(one.target.id.slice("plot-".length));
        }
      }
    }, { rootMargin: "400px" });
    document.querySelectorAll(".plot").forEach((at) => near.observe(at));
    document.addEventListener("themechange", () => {
      document.querySelectorAll(".plot[data-drawn]").forEach((at) => draw(at.id.slice("plot-".length)));
    });
    document.addEventListener("click", save);
  }

  async function save(event) {
    const button = event.target.closest("button[data-save]");
    if (!button) return;
    const name = button.dataset.figure;
    const at = document.getElementById("plot-" + name);
    button.disabled = true;
    try {
      if (!at.dataset.drawn) await draw(name);
      const { data, layout } = themed(plots.get(name), 500);
      layout.title = { text: document.getElementById(name + "-title").textContent, font: { color: css("--text") } };
      layout.margin = { l: 60, r: 30, t: 60, b: 60 };
      layout.paper_bgcolor = layout.plot_bgcolor = css("--card");
      await Plotly.downloadImage({ data, layout }, {
        format: button.dataset.save, filename: document.title.split(" · ")[0].toLowerCase() + "-" + name, width: 1000, height: 500, scale: 2,
      });
    } finally {
      button.disabled = false;
    }
  }

  // Airflow's frame may not steer the window it is in; a link that stands in that window may.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || window.parent === window || event.defaultPrevented) return;
    event.preventDefault();
    const outside = window.parent.document.createElement("a");
    outside.href = link.href;
    window.parent.document.body.append(outside);
    outside.click();
    outside.remove();
  });

  // In the calendar, two days chosen with Shift are the range of the form below it.
  let anchor = null;
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-calendar] a[data-day]");
    if (!cell || !event.shiftKey) return;
    event.preventDefault();
    anchor = anchor === null ? cell.dataset.day : anchor;
    const [first, last] = [anchor, cell.dataset.day].sort();
    if (anchor !== cell.dataset.day) anchor = null;
    document.querySelector("[data-range=first]").value = first;
    document.querySelector("[data-range=last]").value = last;
    document.querySelectorAll("[data-calendar] a[data-day]").forEach((one) => {
      one.classList.toggle("in-range", one.dataset.day >= first && one.dataset.day <= last);
    });
  });

  // After every deferred script, of which the chart library is one.
  document.addEventListener("DOMContentLoaded", start);
})();
