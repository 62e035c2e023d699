// Charts over time, drawn by uPlot, each with what it shows as a table below. A chart takes its
// colours from the page, so that they change with it, and its width from its figure. Nothing is
// animated; nothing is drawn that was not asked for.
/* global uPlot */
import { dayText, element, hourText, table, time, value, words } from "./format.js";

const charts = new Map();
const dark = matchMedia("(prefers-color-scheme: dark)");

const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function axes(o) {
  const font = "12px system-ui, sans-serif";
  const grid = { stroke: colour("grid"), width: 1 };
  const stroke = colour("dim");
  const list = [{
    stroke, font, grid: { show: false }, ticks: { show: false }, size: 22, gap: 4, space: 60,
    values: (u, at) => at.map((t) => hourText(t * 1000)),
  }, {
    stroke, font, grid, ticks: { show: false }, size: 46, gap: 6, space: 28,
    values: (u, at) => at.map(short),
  }];
  if (o.right)
    list.push({ ...list[1], scale: "right", side: 1, grid: { show: false } });
  return list;
}

function short(v) {
  if (Math.abs(v) >= 1e6) return `${v / 1e6} M`;
  if (Math.abs(v) >= 1e4) return `${v / 1e3} k`;
  return String(Math.round(v * 1e6) / 1e6);
}

function line(s) {
  const bars = s.bars && uPlot.paths.bars({ size: [0.8, 40], align: 1 });
  const steps = s.steps && uPlot.paths.stepped({ align: 1 });
  return {
    label: s.label,
    scale: s.scale || "y",
    stroke: colour(s.colour),
    width: s.area || s.bars ? 0 : 1.5,
    dash: s.dash,
    fill: s.area || s.bars ? colour(s.colour) + (s.soft ? "55" : "") : undefined,
    paths: bars || steps || undefined,
    points: { show: false },
    spanGaps: false,
  };
}

// Horizontal lines with their words, and a vertical one for "now".
function marksDraw(u, o) {
  const c = u.ctx;
  const { left, top, width, height } = u.bbox;
  c.save();
  c.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  for (const m of o.marks || []) {
    const y = Math.round(u.valToPos(m.y, "y", true));
    c.strokeStyle = c.fillStyle = colour(m.colour);
    c.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    c.lineWidth = devicePixelRatio;
    c.beginPath();
    c.moveTo(left, y);
    c.lineTo(left + width, y);
    c.stroke();
    c.textAlign = "left";
    c.fillText(m.text, left + 4 * devicePixelRatio, y - 4 * devicePixelRatio);
  }
  if (o.now) {
    const x = Math.round(u.valToPos(o.now, "x", true));
    c.strokeStyle = c.fillStyle = colour("dim");
    c.setLineDash([]);
    c.lineWidth = devicePixelRatio;
    c.beginPath();
    c.moveTo(x, top);
    c.lineTo(x, top + height);
    c.stroke();
    c.textAlign = "left";
    c.fillText("now", x + 4 * devicePixelRatio, top + 11 * devicePixelRatio);
  }
  c.restore();
}

function readout(chart, at) {
  const { o } = chart;
  if (at === null || at === undefined) {
    chart.readout.textContent = "";
    return;
  }
  const shown = o.series.filter((s) => s.data[at] !== null && s.data[at] !== undefined)
    .map((s) => `${o.series.length > 1 ? `${s.label} ` : ""}${words(s.kind, s.data[at])}`);
  chart.readout.textContent = `${o.when(o.x[at] * 1000)}  ${shown.join(" · ") || "no data"}`;
}

// Areas on top of each other: each line is the sum of those below; the tallest is drawn first.
function stacked(o) {
  if (!o.stack) return o.series.map((s) => s.data);
  let below = o.x.map(() => 0);
  return o.series.map((s) => (below = s.data.map((v, i) => v + below[i])));
}

function draw(chart) {
  const { o, box } = chart;
  if (chart.plot) chart.plot.destroy();
  const data = stacked(o);
  const order = o.series.map((s, i) => i);
  if (o.stack) order.reverse();
  const top = Math.max(o.least || 0, ...(o.marks || []).map((m) => m.y * 1.12));
  chart.plot = new uPlot({
    width: box.clientWidth,
    height: box.clientHeight,
    padding: [10, o.right ? 0 : 17, 0, 0],
    legend: { show: false },
    cursor: { points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: o.range && (() => o.range) },
      y: { range: (u, min, max) => [0, Math.max(top, (max || 0) * 1.08) || 1] },
      right: { range: (u, min, max) => [0, Math.max((max || 0) * 1.6, 1e-9)] },
    },
    axes: axes(o),
    series: [{}, ...order.map((i) => line(o.series[i]))],
    hooks: {
      draw: [(u) => marksDraw(u, o)],
      setCursor: [(u) => readout(chart, u.cursor.idx)],
    },
  }, [o.x, ...order.map((i) => data[i])], box);
  box.querySelector("canvas").setAttribute("aria-hidden", "true");
}

function tableFill(chart) {
  if (!chart.details.open) return;
  const { o } = chart, at = chart.table.scrollTop;
  table(chart.table, o.title, [{ label: "from", className: "text" },
    ...o.series.map((s) => ({ label: s.label }))],
  o.x.map((t, i) => ({
    cells: [time(new Date(t * 1000).toISOString(), dayText),
      ...o.series.map((s) => value(s.kind, s.data[i]))],
  })).reverse(), "no data");
  chart.table.scrollTop = at;
}

const sizes = new ResizeObserver((all) => {
  for (const { target } of all) {
    const chart = charts.get(target.closest("figure").id);
    if (chart.plot && target.clientWidth && chart.plot.width !== target.clientWidth)
      chart.plot.setSize({ width: target.clientWidth, height: target.clientHeight });
  }
});
dark.addEventListener("change", () => charts.forEach((c) => c.plot && draw(c)));

function make(id) {
  const figure = document.getElementById(id), what = figure.getAttribute("aria-label");
  const summary = element("summary", "", "Table");
  const chart = {
    box: element("div", "chart"),
    key: element("span", "key"),
    readout: element("span", "readout"),
    details: element("details", "", summary),
    table: element("div", ""),
  };
  chart.readout.setAttribute("aria-hidden", "true");
  summary.setAttribute("aria-label", `Table: ${what}`);
  chart.table.tabIndex = 0;
  chart.table.setAttribute("role", "region");
  chart.table.setAttribute("aria-label", what);
  chart.details.append(chart.table);
  chart.details.addEventListener("toggle", () => tableFill(chart));
  figure.replaceChildren(element("figcaption", "", chart.key, chart.readout), chart.box,
    chart.details);
  sizes.observe(chart.box);
  charts.set(id, chart);
  return chart;
}

// o: title, x (seconds), series [{label, kind, colour, data, area, steps, bars, dash, scale}],
// stack, marks [{y, colour, text}], now, right, least. Series with null are gaps.
export function show(id, o) {
  const chart = charts.get(id) || make(id);
  chart.o = { when: hourText, ...o };
  chart.key.replaceChildren(o.title, ...(o.series.length > 1 ? o.series : []).flatMap((s) =>
    [element("span", "", " ", element("i", `c-${s.mark || s.colour}`), s.label)]));
  draw(chart);
  tableFill(chart);
}
