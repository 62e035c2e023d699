// Numbers as people read them: three digits that mean something, a unit, and the whole value beside
// for machines: <data value="0.0123456" data-of="now.calls_per_s">0.0123 <span>/s</span></data>.

const three = new Intl.NumberFormat("en",
  { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function digits(v) {
  return Math.abs(v) >= 1000 || Number.isInteger(v) ? whole.format(v) : three.format(v);
}

function scaled(v, steps) {
  const [factor, unit] = steps.find(([f]) => Math.abs(v) >= f) || steps[steps.length - 1];
  return [digits(v / factor), unit];
}

const GRAMS = [[1000, "kg"], [1, "g"], [1e-3, "mg"], [1e-6, "µg"], [1e-9, "ng"]];
const JOULES = [[1e9, "GJ"], [1e6, "MJ"], [1e3, "kJ"], [1, "J"], [1e-3, "mJ"], [1e-6, "µJ"]];
const BYTES = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];
const SECONDS = [[3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]];

const KINDS = {
  count: (v) => [whole.format(v), ""],
  name: (v) => [String(v), ""],
  plain: (v) => [digits(v), ""],
  per_s: (v) => [digits(v), "/s"],
  cpus: (v) => [digits(v), Math.abs(v) === 1 ? "CPU" : "CPUs"],
  cpu_s: (v) => [digits(v), "CPU s"],
  cpu_share: (v) => [digits(v * 100), "% of a CPU"],
  percent: (v) => [digits(v * 100), "%"],
  watts: (v) => [digits(v), "W"],
  g_per_kwh: (v) => [digits(v), "g/kWh"],
  times: (v) => [digits(v), "×"],
  seconds: (v) => scaled(v, SECONDS),
  ms: (v) => scaled(v / 1000, SECONDS),
  grams: (v) => (v === 0 ? ["0", "g"] : scaled(v, GRAMS)),
  grams_per_h: (v) => {
    const [n, unit] = v === 0 ? ["0", "g"] : scaled(v, GRAMS);
    return [n, `${unit}/h`];
  },
  joules: (v) => (v === 0 ? ["0", "J"] : scaled(v, JOULES)),
  bytes: (v) => scaled(v, BYTES),
  bytes_per_s: (v) => {
    const [n, unit] = scaled(v, BYTES);
    return [n, `${unit}/s`];
  },
};

export function words(kind, v) {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  return KINDS[kind](v).filter(Boolean).join(" ");
}

// An element that shows v. `of` names where it comes from, for tests.
export function value(kind, v, of) {
  const el = document.createElement("data");
  if (of) el.dataset.of = of;
  if (v === null || v === undefined || Number.isNaN(v)) {
    el.textContent = "–";
    return el;
  }
  const [n, unit] = KINDS[kind](v);
  el.value = String(v);
  el.textContent = n;
  if (unit) {
    const u = document.createElement("span");
    u.className = "unit";
    u.textContent = ` ${unit}`;
    el.append(u);
  }
  return el;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat("en-GB",
  { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayClock = new Intl.DateTimeFormat("en-GB",
  { weekday: "short", hour: "2-digit", minute: "2-digit" });

export const hourText = (t) => clock.format(t);
export const secondText = (t) => clockSeconds.format(t);
export const dayText = (t) => dayClock.format(t);
export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export function time(rfc3339, text) {
  const el = document.createElement("time");
  el.dateTime = rfc3339;
  el.textContent = text(new Date(rfc3339));
  return el;
}

// Children instead of those before: strings and elements.
export function fill(id, ...children) {
  const el = typeof id === "string" ? document.getElementById(id) : id;
  el.replaceChildren(...children.flat());
  return el;
}

export function element(name, className, ...children) {
  const el = document.createElement(name);
  if (className) el.className = className;
  el.append(...children);
  return el;
}

// Pairs of a definition list.
export function pairs(id, list) {
  fill(id, list.map(([name, ...shown]) =>
    element("div", "", element("dt", "", name), element("dd", "", ...shown))));
}

// columns: [{label, className}]; rows: [{className, cells}]. Roles are said aloud because the
// layout of phones takes them away from the elements.
export function table(id, caption, columns, rows, empty) {
  if (!rows.length) {
    fill(id, element("p", "empty", empty));
    return;
  }
  const role = (el, r) => {
    el.setAttribute("role", r);
    return el;
  };
  const head = columns.map((c) => {
    const th = element("th", c.className, c.label);
    th.scope = "col";
    return role(th, "columnheader");
  });
  const body = rows.map((r) => role(element("tr", r.className, ...r.cells.map((cell, i) => {
    const td = element("td", columns[i].className, ...[cell].flat());
    td.dataset.label = columns[i].label;
    return role(td, i ? "cell" : "rowheader");
  })), "row"));
  const t = element("table", "", element("caption", "", caption),
    role(element("thead", "", role(element("tr", "", ...head), "row")), "rowgroup"),
    role(element("tbody", "", ...body), "rowgroup"));
  fill(id, role(t, "table"));
}
