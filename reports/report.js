"use strict";
(() => {
  const data = JSON.parse(document.getElementById("longbench-data").textContent);

  // Figures take the page's colours, and change with them.
  const look = () => {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const theme = {
      "font.color": color("--muted"),
      "legend.font.color": color("--ink"),
      "hoverlabel.bgcolor": color("--card"),
      "hoverlabel.bordercolor": color("--line"),
      "hoverlabel.font.color": color("--ink"),
    };
    for (const axis of ["xaxis", "yaxis"]) {
      theme[`${axis}.gridcolor`] = color("--grid");
      theme[`${axis}.tickcolor`] = color("--grid");
      theme[`${axis}.linecolor`] = color("--line");
    }
    return theme;
  };
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    showSendToCloud: false, // on by default: a report sends nothing anywhere
    plotlyServerURL: "",
  };
  const drawn = new Map();

  // One legend for all figures: a trace's meta says which series it belongs to.
  const hidden = new Set();
  const show = (place, series, visible) => {
    const traces = place.data.flatMap((trace, index) => (trace.meta === series ? [index] : []));
    return traces.length ? Plotly.restyle(place, { visible }, traces) : null;
  };
  for (const entry of document.querySelectorAll("[data-series]")) {
    entry.addEventListener("click", () => {
      const series = Number(entry.dataset.series);
      const visible = hidden.delete(series);
      if (!visible) hidden.add(series);
      for (const same of document.querySelectorAll(`[data-series="${series}"]`)) same.setAttribute("aria-pressed", String(visible));
      for (const place of drawn.values()) show(place, series, visible);
    });
  }

  const draw = async (name) => {
    const place = document.getElementById(`figure-${name}`);
    if (drawn.has(name) || place.hidden || place.closest("details:not([open])")) return;
    drawn.set(name, place);
    const figure = data.figures[name];
    await Plotly.newPlot(place, figure.data, { ...figure.layout, showlegend: false }, {
      ...config,
      toImageButtonOptions: { format: "svg", filename: `longbench-${name}` },
    });
    await Plotly.relayout(place, look());
    for (const series of hidden) await show(place, series, false);
  };
  const redraw = (more) => Promise.all([...drawn.values()].map((place) => Plotly.relayout(place, { ...look(), ...more })));
  for (const name of Object.keys(data.figures)) draw(name);
  for (const fold of document.querySelectorAll("details")) {
    fold.addEventListener("toggle", () => {
      for (const place of fold.querySelectorAll(".figure")) draw(place.id.slice("figure-".length));
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw({}));
  addEventListener("beforeprint", () => redraw({ autosize: false, width: 680 }));
  addEventListener("afterprint", () => redraw({ autosize: true, width: null }));

  const tabs = [...document.querySelectorAll('[role="tab"]')];
  for (const tab of tabs) {
    tab.addEventListener("click", () => {
      for (const other of tabs) {
        other.setAttribute("aria-selected", String(other === tab));
        document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
      }
      const place = drawn.get(tab.dataset.figure);
      if (place) Plotly.Plots.resize(place);
      else draw(tab.dataset.figure);
    });
  }

  // Sorting: numbers as numbers, an empty cell always last.
  const compare = (one, other) => {
    const [a, b] = [Number(one), Number(other)];
    return Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other) : a - b;
  };
  const cellAt = (row, column) => {
    let end = 0;
    return [...row.cells].find((cell) => (end += cell.colSpan) > column);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      header.firstElementChild.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        for (const other of headers) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const order = (row) => cellAt(row, column).dataset.order;
        const rows = [...table.tBodies[0].rows].sort((one, other) => {
          const [a, b] = [order(one), order(other)];
          if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
          return down ? compare(b, a) : compare(a, b);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Filtering: a row stays if it has every word.
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll("#points tbody tr")) {
      const cells = [...row.cells].map((cell) => cell.textContent.toLowerCase());
      row.hidden = !words.every((word) => cells.some((cell) => cell.startsWith(word)));
    }
  });

  for (const link of document.querySelectorAll("a.download")) {
    const blob = new Blob([data.files[Number(link.dataset.file)]], { type: link.dataset.type });
    link.href = URL.createObjectURL(blob);
  }
})();
