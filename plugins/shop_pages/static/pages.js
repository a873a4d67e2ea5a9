// Draws and saves the charts of a page, and opens links to Airflow outside the frame of the page.
(function () {
  "use strict";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = () => ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8", "--c9", "--c10", "--c11", "--c12"].map(css);

  // As many of the names of an axis of time as fit, the last one among them; the year where it is another.
  function namesThatFit(axis, width) {
    if (!axis || axis.tickmode !== "array") return {};
    const step = Math.ceil(axis.tickvals.length / Math.max(2, Math.floor(width / 75)));
    const kept = axis.tickvals.map((_, n) => n).filter((n) => (axis.tickvals.length - 1 - n) % step === 0);
    let year = "";
    const texts = kept.map((n) => {
      const isNew = axis.tickvals[n].slice(0, 4) !== year;
      year = axis.tickvals[n].slice(0, 4);
      const text = axis.ticktext[n].replace("\n", "<br>");
      return isNew && !text.includes(year) ? `${text}<br>${year}` : text;
    });
    return { tickvals: kept.map((n) => axis.tickvals[n]), ticktext: texts };
  }

  // Each name has the same colour on all pages; names after the eleventh have a lighter shade of one.
  function colourOf(plot, name) {
    const [slot, shade] = (plot.colours || {})[name] || [0, 0];
    return slot ? mixed(css(`--c${slot}`), css("--card"), 0.4 * shade) : undefined;
  }

  function mixed(colour, other, share) {
    const parts = (hex) => [1, 3, 5].map((n) => parseInt(hex.slice(n, n + 2), 16));
    const [a, b] = [parts(colour), parts(other)];
    return `rgb(${a.map((value, n) => Math.round(value + (b[n] - value) * Math.min(share, 0.8))).join(", ")})`;
  }

  // Known incidents and the days up to which was published, on an axis of time.
  function markDays(plot) {
    const marks = plot.marks || [];
    const lines = { incident: "--warn", problem: "--bad", publication: "--good" };
    const shapes = marks.map((mark) => mark.kind === "publication"
      ? { type: "line", x0: mark.first, x1: mark.first, y0: 0, y1: 0.04, yref: "paper", line: { color: css(lines[mark.kind]), width: 2 } }
      : { type: "rect", x0: mark.first, x1: mark.end, y0: 0, y1: 1, yref: "paper", layer: "below", line: { width: 0 }, fillcolor: css(lines[mark.kind]), opacity: 0.18 });
    const annotations = marks.map((mark) => ({
      x: mark.first, y: mark.kind === "publication" ? 0 : 1, yref: "paper", showarrow: false, xanchor: "center",
      yanchor: mark.kind === "publication" ? "bottom" : "top", text: { incident: "⚑", problem: "!", publication: "▴" }[mark.kind],
      hovertext: mark.text, font: { size: 12, color: css(lines[mark.kind]) }, captureevents: true,
      hoverlabel: { bgcolor: css("--card"), font: { color: css("--text") } },
    }));
    return { shapes, annotations };
  }

  // The library has bars, and no waterfall and no funnel: a waterfall's bars begin where the one before ended, a
  // funnel's are centred.
  function asBars(trace) {
    if (trace.type === "waterfall") return waterfallBars(trace);
    if (trace.type !== "funnel") return trace;
    return {
      ...trace, type: "bar", orientation: "h", base: trace.x.map((value) => -value / 2), insidetextanchor: "middle",
      hovertemplate: "%{y}<br><b>%{text}</b><extra></extra>",
    };
  }

  function waterfallBars({ measure, ...trace }) {
    let level = 0;
    const bars = trace.y.map((value, n) => {
      const isChange = measure[n] === "relative";
      const base = isChange ? level : 0;
      level = measure[n] === "total" ? level : base + value;
      return { base, height: level - base, colour: css(!isChange ? "--c1" : value < 0 ? "--bad" : "--good") };
    });
    return {
      hovertemplate: "%{x}<br><b>%{customdata:,.2f}</b><extra></extra>", ...trace, type: "bar", textposition: "none",
      base: bars.map((bar) => bar.base), y: bars.map((bar) => bar.height), customdata: bars.map((bar) => bar.height),
      marker: { color: bars.map((bar) => bar.colour) },
    };
  }

  function applyTheme(plot, height, width) {
    const text = css("--text");
    const grid = css("--line");
    const axis = (options) => ({
      gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true, tickfont: { color: css("--quiet") },
      separatethousands: true, ticklabeloverflow: "allow", ...options,
      ...(options && options.title && { title: { standoff: 8, ...options.title, font: { size: 12, color: css("--quiet") } } }),
      ...namesThatFit(options, width),
    });
    const data = plot.data.map(asBars).map((trace) => {
      const styled = { ...trace };
      const colour = colourOf(plot, trace.name);
      if (colour && !["heatmap", "pie"].includes(trace.type) && !Array.isArray((trace.marker || {}).color)) {
        styled.marker = { ...trace.marker, color: colour };
        if (trace.type === "scatter") styled.line = { ...trace.line, color: colour };
      }
      if (trace.type === "heatmap") {
        styled.colorscale = trace.zmid === undefined
          ? [[0, css("--heat-0")], [1, css("--heat-1")]]
          : [[0, css("--cold")], [0.5, css("--heat-0")], [1, css("--heat-1")]];
        styled.hoverongaps = false;
        styled.colorbar = { ...trace.colorbar, thickness: 10, outlinewidth: 0, tickfont: { color: css("--quiet") } };
        if (trace.colorbar) styled.colorbar.title = { ...trace.colorbar.title, side: "right", font: { color: css("--quiet") } };
      } else if (trace.type === "pie") {
        styled.marker = { colors: trace.labels.map((label, n) => colourOf(plot, label) || palette()[n % 12]), line: { color: css("--card"), width: 2 } };
        styled.textinfo = "percent";
        styled.title = { ...trace.title, font: { color: text, size: 13 } };
      } else if (trace.meta === "quiet") {
        styled.marker = { ...trace.marker, color: css("--c12") };
        styled.error_x = { ...trace.error_x, color: css("--c12") };
      }
      return styled;
    });
    const layout = {
      autosize: true, height,
      margin: { l: 8, r: 24, t: 8, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font"), size: 12, color: text },
      colorway: palette(),
      hovermode: plot.data.some((t) => t.type === "scatter" || t.type === "bar" && t.orientation !== "h") ? "x unified" : "closest",
      hoverlabel: { bgcolor: css("--card"), bordercolor: grid, font: { color: text, family: css("--font") } },
      // Above the chart: below it are the names of the axis, which may be long and slanted.
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      separators: ".,",
      ...plot.layout,
      ...markDays(plot),
      xaxis: axis((plot.layout || {}).xaxis), yaxis: axis((plot.layout || {}).yaxis),
    };
    return { data, layout };
  }

  // Lines of the legend: one for each name on a phone, where two have no room beside each other.
  function legendLines(chart, width) {
    const names = chart.data.filter((trace) => trace.showlegend !== false).length;
    return (chart.layout || {}).showlegend === false ? 0 : Math.ceil(names / (width < 420 ? 1 : Math.max(1, Math.floor(width / 190))));
  }

  const charts = new Map();

  async function draw(name) {
    const chart = charts.get(name);
    const box = document.getElementById("plot-" + name);
    if (!chart || !box) return;
    const names = ((chart.layout || {}).yaxis || {}).categoryarray || [];
    const height = chart.data.some((t) => t.type === "heatmap")
      ? Math.min(Math.max(260, 60 + 24 * (chart.data[0].y || []).length), 640)
      : Math.max(320, 120 + 20 * names.length) + 19 * Math.max(0, legendLines(chart, box.clientWidth) - 2);
    const { data, layout } = applyTheme(chart, height, box.clientWidth);
    try {
      await Plotly.react(box, data, layout, { displayModeBar: false, responsive: true, doubleClick: "reset" });
      box.classList.remove("loading");
      box.dataset.drawn = document.documentElement.dataset.theme;
      box.dataset.width = box.clientWidth;
      box.removeAllListeners && box.removeAllListeners("plotly_click");
      box.on("plotly_click", (event) => openFacts(name, event.points[0]));
    } catch (error) {
      box.classList.remove("loading");
      box.classList.add("state", "error");
      box.textContent = "The chart could not be drawn. The table below has the figures.";
      console.error(error);
    }
  }

  // A click on a point opens what the chart says is behind it, or else what the only row of this day, month or name links
  // to: its facts, or its list. A point of several rows, such as a week, has no facts of its own.
  function openFacts(name, point) {
    const link_of_point = (charts.get(name).links || [])[point.pointNumber];
    if (link_of_point) {
      location.href = link_of_point;
      return;
    }
    if (!charts.get(name).is_row) return;
    // Texts of a chart are escaped.
    const label = String(point.data.orientation === "h" ? point.y : point.x).replaceAll("&lt;", "<").replaceAll("&amp;", "&");
    const rows = [...document.querySelectorAll(`#${CSS.escape(name)} tr[data-label]`)].filter((row) => row.dataset.label === label);
    const link = rows.length === 1 && (rows[0].querySelector("a[data-drill]") || rows[0].querySelector("a"));
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
    // Plotly makes the chart as wide as the page; the names that fit are ours.
    let waiting;
    addEventListener("resize", () => {
      clearTimeout(waiting);
      waiting = setTimeout(redrawOther, 150);
    });
    addEventListener("beforeprint", () => printed(true));
    addEventListener("afterprint", () => printed(false));
  }

  function redrawOther() {
    document.querySelectorAll(".plot[data-drawn]").forEach((box) => {
      if (Number(box.dataset.width) !== box.clientWidth) draw(box.id.slice("plot-".length));
    });
  }

  // Paper is white and narrow, and has every chart, also those that nobody has scrolled to.
  let shownTheme;
  function printed(begins) {
    const root = document.documentElement;
    if (begins) shownTheme = root.dataset.theme;
    root.dataset.theme = begins ? "light" : shownTheme;
    root.classList.toggle("printed", begins);
    document.querySelectorAll(".plot").forEach((box) => draw(box.id.slice("plot-".length)));
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
      layout.margin = { l: 60, r: 30, t: 110, b: 60 };
      layout.paper_bgcolor = layout.plot_bgcolor = css("--card");
      await Plotly.downloadImage({ data, layout }, {
        format: button.dataset.save, filename: document.title.split(" · ")[0].toLowerCase() + "-" + name, width: 1000, height: 500, scale: 2,
      });
    } finally {
      button.disabled = false;
    }
  }

  // One box for the details of whatever has some: a definition, an exact value, when something was. It opens for the
  // pointer and for the keyboard, and closes with Escape.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  let described = null;
  function showTip(event) {
    const owner = event.target.closest && event.target.closest("[data-tip]");
    if (owner === described) return;
    hideTip();
    if (!owner || !owner.dataset.tip) return;
    described = owner;
    tip.textContent = owner.dataset.tip;
    tip.hidden = false;
    owner.setAttribute("aria-describedby", "tip");
    const place = owner.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const room = document.documentElement.clientWidth - size.width - 8;
    const below = place.bottom + 6 + size.height < innerHeight;
    tip.style.setProperty("left", `${Math.max(8, Math.min(place.left, room))}px`);
    tip.style.setProperty("top", `${below ? place.bottom + 6 : Math.max(8, place.top - size.height - 6)}px`);
  }
  function hideTip() {
    if (described) described.removeAttribute("aria-describedby");
    described = null;
    tip.hidden = true;
  }
  document.addEventListener("mouseover", showTip);
  document.addEventListener("focusin", showTip);
  document.addEventListener("focusout", hideTip);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  document.addEventListener("scroll", hideTip, true);

  // The calendar is one stop of the Tab key, and so are the bars of a check: the arrow keys go from day to day, and from
  // source to source.
  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest && event.target.closest("[data-calendar] a[data-day], [data-bars] a");
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const bars = cell.closest("[data-bars]");
    const rows = bars ? [[...bars.children]] : [...cell.closest("tbody").rows].map((row) => [...row.querySelectorAll("a[data-day]")]);
    const row = rows.findIndex((cells) => cells.includes(cell));
    const column = rows[row].indexOf(cell);
    const last = rows[row].length - 1;
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -last], End: [0, last] }[event.key] || [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    const next = (rows[row + down] || rows[row])[Math.max(0, Math.min(last, column + right))];
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // The way back: the pages through which a reader came here from one of the menu, each with its filters.
  const TRAIL = "shop trail";
  function readTrail() {
    try {
      return JSON.parse(sessionStorage.getItem(TRAIL)) || [];
    } catch {
      return [];
    }
  }
  function keepTrail(trail) {
    try {
      sessionStorage.setItem(TRAIL, JSON.stringify(trail.slice(-8)));
    } catch {
      // No storage: the way back is the one that the page itself names.
    }
  }
  function followTrail() {
    const here = { path: location.pathname + location.search, hash: "", title: document.title.split(" · ")[0] };
    const crumbs = document.querySelector(".crumbs");
    let trail = readTrail();
    const seen = trail.findIndex((step) => step.path === here.path);
    const from = document.referrer && new URL(document.referrer);
    const isNext = trail.length && from && from.origin === location.origin && from.pathname + from.search === trail.at(-1).path;
    if (!crumbs) trail = [];
    else if (seen >= 0) trail = trail.slice(0, seen);
    else if (!isNext) trail = [];
    // The same table in another order is no step.
    trail = trail.filter((step) => step.path.split("?")[0] !== location.pathname);
    if (crumbs && trail.length) {
      crumbs.textContent = "";
      for (const step of trail) {
        const link = document.createElement("a");
        link.href = step.path + step.hash;
        link.textContent = step.title;
        crumbs.append(link, " → ");
      }
      crumbs.append(here.title);
    }
    keepTrail([...trail, here]);
  }
  document.addEventListener("click", (event) => {
    const part = event.target.closest("a") && event.target.closest("section[id]");
    const trail = readTrail();
    if (!part || !trail.length) return;
    trail.at(-1).hash = `#${part.id}`;
    keepTrail(trail);
  }, true);

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
  document.addEventListener("DOMContentLoaded", () => {
    document.body.append(tip);
    followTrail();
    start();
  });
})();
