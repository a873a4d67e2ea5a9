// Draws and saves the charts of a page, and opens links to Airflow outside the frame of the page.
(function () {
  "use strict";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = () => ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8", "--c9", "--c10", "--c11", "--c12"].map(css);

  function applyTheme(plot, height, width) {
    const text = css("--text");
    const grid = css("--line");
    const axis = (options) => ({
      gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true, tickfont: { color: css("--quiet") },
      separatethousands: true, ...options,
      // No more names than there are periods, and than fit.
      ...(options && options.nticks && { nticks: Math.min(options.nticks, Math.max(5, Math.floor(width / 80))) }),
    });
    const data = plot.data.map((trace) => {
      const styled = { ...trace };
      if (trace.type === "heatmap") {
        styled.colorscale = trace.zmid === undefined
          ? [[0, css("--heat-0")], [1, css("--heat-1")]]
          : [[0, css("--cold")], [0.5, css("--heat-0")], [1, css("--heat-1")]];
        styled.hoverongaps = false;
        styled.colorbar = { thickness: 10, outlinewidth: 0, tickfont: { color: css("--quiet") } };
      } else if (trace.type === "waterfall") {
        styled.increasing = { marker: { color: css("--good") } };
        styled.decreasing = { marker: { color: css("--bad") } };
        styled.totals = { marker: { color: css("--c1") } };
        styled.connector = { line: { color: grid, width: 1 } };
      } else if (trace.type === "pie") {
        styled.marker = { colors: palette(), line: { color: css("--card"), width: 2 } };
        styled.textinfo = "percent";
        styled.title = { ...trace.title, font: { color: text, size: 13 } };
      } else if (trace.type === "funnel") {
        styled.marker = { color: palette().slice(0, 3) };
        styled.textfont = { color: "#fff" };
        styled.connector = { fillcolor: css("--hover") };
      } else if (trace.meta === "quiet") {
        styled.marker = { ...trace.marker, color: css("--c12") };
        styled.error_x = { ...trace.error_x, color: css("--c12") };
      }
      return styled;
    });
    const layout = {
      autosize: true, height,
      margin: { l: 8, r: 8, t: 8, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font"), size: 12, color: text },
      colorway: palette(),
      hovermode: plot.data.some((t) => t.type === "scatter" || t.type === "bar" && t.orientation !== "h") ? "x unified" : "closest",
      hoverlabel: { bgcolor: css("--card"), bordercolor: grid, font: { color: text, family: css("--font") } },
      // Lower where the axis has category names, which are long and slanted.
      legend: { orientation: "h", y: ((plot.layout || {}).xaxis || {}).type === "category" ? -0.35 : -0.15, x: 0 },
      separators: ".,",
      ...plot.layout,
      xaxis: axis((plot.layout || {}).xaxis), yaxis: axis((plot.layout || {}).yaxis),
    };
    return { data, layout };
  }

  const charts = new Map();

  async function draw(name) {
    const chart = charts.get(name);
    const box = document.getElementById("plot-" + name);
    if (!chart || !box) return;
    const names = ((chart.layout || {}).yaxis || {}).categoryarray || [];
    const height = chart.data.some((t) => t.type === "heatmap")
      ? Math.min(Math.max(260, 60 + 24 * (chart.data[0].y || []).length), 640)
      : Math.max(320, 120 + 20 * names.length);
    const { data, layout } = applyTheme(chart, height, box.clientWidth);
    try {
      await Plotly.react(box, data, layout, { displayModeBar: false, responsive: true, doubleClick: "reset" });
      box.classList.remove("loading");
      box.dataset.drawn = document.documentElement.dataset.theme;
      box.removeAllListeners && box.removeAllListeners("plotly_click");
      box.on("plotly_click", (event) => openFacts(name, event.points[0]));
    } catch (error) {
      box.classList.remove("loading");
      box.classList.add("state", "error");
      box.textContent = "The chart could not be drawn. The table below has the figures.";
      console.error(error);
    }
  }

  // A click on a point opens the facts of its row, if only one row has this day, month or name. A point of several rows,
  // such as a week, has no facts of its own.
  function openFacts(name, point) {
    if (!charts.get(name).is_row) return;
    // Texts of a chart are escaped.
    const label = String(point.data.orientation === "h" ? point.y : point.x).replaceAll("&lt;", "<").replaceAll("&amp;", "&");
    const rows = [...document.querySelectorAll(`#${CSS.escape(name)} tr[data-label]`)].filter((row) => row.dataset.label === label);
    const link = rows.length === 1 && rows[0].querySelector("a[data-drill]");
    if (link) link.click();
  }

  function start() {
    for (const block of document.querySelectorAll("script[data-plot]")) {
      charts.set(block.dataset.plot, JSON.parse(block.textContent));
    }
    if (!charts.size) return;
    // Draw charts when they come into view, so that a long page can be used at once.
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          observer.unobserve(entry.target);
          draw(entry.target.id.slice("plot-".length));
        }
      }
    }, { rootMargin: "400px" });
    document.querySelectorAll(".plot").forEach((box) => observer.observe(box));
    document.addEventListener("themechange", () => {
      document.querySelectorAll(".plot[data-drawn]").forEach((box) => draw(box.id.slice("plot-".length)));
    });
    document.addEventListener("click", save);
  }

  async function save(event) {
    const button = event.target.closest("button[data-save]");
    if (!button) return;
    const name = button.dataset.figure;
    const box = document.getElementById("plot-" + name);
    button.disabled = true;
    try {
      if (!box.dataset.drawn) await draw(name);
      const { data, layout } = applyTheme(charts.get(name), 500, 1000);
      // With the line below the chart, so that the picture also says what it has added up or left out.
      const parts = document.querySelector(`#${CSS.escape(name)} .chart-parts`);
      const title = [document.getElementById(name + "-title").textContent, ...(parts ? [parts.textContent] : [])];
      const escaped = title.map((text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"));
      layout.title = { text: escaped.join("<br><sub>") + (parts ? "</sub>" : ""), font: { color: css("--text") } };
      layout.margin = { l: 60, r: 30, t: 80, b: 60 };
      layout.paper_bgcolor = layout.plot_bgcolor = css("--card");
      await Plotly.downloadImage({ data, layout }, {
        format: button.dataset.save, filename: document.title.split(" · ")[0].toLowerCase() + "-" + name, width: 1000, height: 500, scale: 2,
      });
    } finally {
      button.disabled = false;
    }
  }

  // A page in a frame must not navigate Airflow's window; a link that is added to that window may.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || window.parent === window || event.defaultPrevented) return;
    event.preventDefault();
    const topLink = window.parent.document.createElement("a");
    topLink.href = link.href;
    window.parent.document.body.append(topLink);
    topLink.click();
    topLink.remove();
  });

  // Shift-click on two days of the calendar fills in the range of the form below.
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
    document.querySelectorAll("[data-calendar] a[data-day]").forEach((day) => {
      day.classList.toggle("in-range", day.dataset.day >= first && day.dataset.day <= last);
    });
  });

  // After all deferred scripts, so that the chart library is there.
  document.addEventListener("DOMContentLoaded", start);
})();
