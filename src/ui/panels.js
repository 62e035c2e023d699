// What runs, traffic, utilisation, density: from /now and /day of the API. Each function fills the
// panel of its name; every number keeps the name of what it came from in data-of.
import { show } from "./charts.js";
import { dayText, element, fill, hourText, pairs, secondText, table, time, value, words }
  from "./format.js";

const b = (...children) => element("b", "", ...children);
const small = (...children) => element("small", "", ...children);

// Moments of a series: seconds since 1970 of each step's begin.
export function moments(from, step, n) {
  const first = Date.parse(from) / 1000;
  return Array.from({ length: n }, (_, i) => first + i * step);
}

export function key(now, counts) {
  const cpus = now.cpus && now.cpus.apps + now.cpus.platform + now.cpus.other;
  const list = [
    ["Requests", value("per_s", now.calls_per_s, "now.calls_per_s"),
      small("mean time ", value("ms", now.mean_ms, "now.mean_ms"))],
  ];
  if (now.cpus)
    list.push(["CPU in use", value("percent", cpus / now.cpus.capacity, "key.cpu_share"),
      small(value("cpus", cpus, "key.cpus"), " of ",
        value("count", now.cpus.capacity, "now.cpus.capacity"))]);
  if (now.power)
    list.push(["Power", value("watts", now.power.w, "now.power.w"),
      small(now.power.source === "rapl" ? "by its counters’ fit" : "by model", " ± ",
        value("percent", now.power.uncertainty, "now.power.uncertainty"))]);
  list.push(["Grid", value("g_per_kwh", now.intensity.g_per_kwh, "now.intensity.g_per_kwh"),
    small(`${now.intensity.quality}, ${now.intensity.kind}`)]);
  if (now.g_per_h !== undefined)
    list.push(["Emitting", value("grams_per_h", now.g_per_h, "now.g_per_h"),
      small("CO₂e by use, without manufacture")]);
  list.push(["Apps", value("count", now.apps_deployed, "now.apps_deployed"),
    small(value("count", now.apps.length, "key.apps_called"), " called in the last minute")]);
  if (counts)
    list.push(["Waiting", value("count", counts.waiting, "key.waiting"),
      small("deferred calls")]);
  pairs("key", list);
}

export function trafficNow(now) {
  fill("traffic-lead", b(value("per_s", now.calls_per_s, "now.calls_per_s")), " requests, ",
    b(value("bytes_per_s", now.bytes_out_per_s, "now.bytes_out_per_s")), " out, ",
    value("bytes_per_s", now.bytes_in_per_s, "now.bytes_in_per_s"), " in, over the last minute.");
  show("traffic-now", {
    title: "10 minutes, by 10 s, requests/s",
    x: moments(now.from, now.series.step_s, now.series.calls_per_s.length),
    when: secondText,
    series: [{ label: "requests", kind: "per_s", colour: "use", area: true, steps: true, soft: true,
      data: now.series.calls_per_s }],
  });
}

export function trafficDay(day) {
  show("traffic-day", {
    title: "24 hours, by 5 min, requests/s",
    x: moments(day.from, day.series.step_s, day.series.calls_per_s.length),
    series: [{ label: "requests", kind: "per_s", colour: "use", area: true, steps: true, soft: true,
      data: day.series.calls_per_s }],
  });
}

function bar(used) {
  const part = (v) => `${Math.min(100, v / used.capacity_cpus * 100)}%`;
  const span = (className, style) => {
    const s = element("span", className);
    Object.assign(s.style, style);
    return s;
  };
  const el = element("div", "bar", span("gap", { width: part(used.peak_cpus) }),
    span("mean", { width: part(used.mean_cpus) }), span("mark", { left: part(used.peak_cpus) }));
  el.setAttribute("role", "img");
  el.setAttribute("aria-label", `mean ${words("cpus", used.mean_cpus)}, ` +
    `peak ${words("cpus", used.peak_cpus)} of ${words("cpus", used.capacity_cpus)}`);
  return [el, element("p", "", element("span", "", "green: mean, hatched: the gap to the peak"),
    element("span", "", "capacity ",
      value("cpus", used.capacity_cpus, "day.used.capacity_cpus")))];
}

export function use(day) {
  const { used, series } = day;
  fill("use-lead", "Mean ", b(value("cpus", used.mean_cpus, "day.used.mean_cpus")),
    " was used; the peak of ", b(value("cpus", used.peak_cpus, "day.used.peak_cpus")),
    " at ", time(used.peak_from, hourText), " is what the machine must be there for: ",
    b(value("times", used.peak_by_mean, "day.used.peak_by_mean")), " as much.");
  fill("use-bar", bar(used));
  show("use-day", {
    title: "24 hours, by 5 min, CPUs",
    x: moments(day.from, series.step_s, series.apps_cpus.length),
    stack: true,
    marks: [{ y: used.mean_cpus, colour: "use", text: "mean" },
      { y: used.peak_cpus, colour: "peak", text: "peak" }],
    series: [
      { label: "apps", kind: "cpus", colour: "use", area: true, steps: true,
        data: series.apps_cpus },
      { label: "ebb itself", kind: "cpus", colour: "use-soft", mark: "platform", area: true,
        steps: true, data: series.platform_cpus },
      { label: "other processes", kind: "cpus", colour: "idle", area: true, steps: true,
        data: series.other_cpus },
    ],
  });
  fill("use-note", "All CPUs of the machine, by the kernel’s accounting. Peak: the highest " +
    "mean of five minutes.");
}

// A tenant’s own CPU, in the windows in which it may be shown.
export function useTenant(carbon) {
  const windows = carbon.apps.flatMap((a) => a.windows);
  const from = Math.min(...windows.map((w) => Date.parse(w.from))) / 1000;
  const until = Date.parse(carbon.to) / 1000;
  const cpu = windows.reduce((sum, w) => sum + w.cpu_s, 0);
  fill("use-lead", "Your apps used ", b(value("cpu_s", cpu, "carbon.cpu_s")), " today (UTC).");
  const n = windows.length ? Math.ceil((until - from) / 300) : 0;
  const data = new Array(n).fill(0);
  for (const w of windows) {
    const [begin, end] = [Date.parse(w.from) / 1000, Date.parse(w.to) / 1000];
    for (let t = begin; t < end; t += 60)
      data[Math.floor((t - from) / 300)] += w.cpu_s * 60 / (end - begin) / 300;
  }
  show("use-day", {
    title: "today (UTC), by 5 min, CPUs",
    x: Array.from({ length: n }, (_, i) => from + i * 300),
    series: [{ label: "CPUs", kind: "cpus", colour: "use", area: true, steps: true, soft: true,
      data }],
  });
  fill("use-note", "CPU and energy are shown in windows of at least ",
    value("seconds", carbon.window_s_min, "carbon.window_s_min"), " and ",
    value("count", carbon.window_calls_min, "carbon.window_calls_min"),
    " calls, so that nobody learns from them what others compute.");
}

export function density(day) {
  const d = day.density, room = d.room;
  fill("density-lead", b(value("count", d.apps_deployed, "day.density.apps_deployed")),
    " apps on ", value("cpus", day.used.capacity_cpus, "day.used.capacity_cpus"), "; ",
    value("count", d.apps_called, "day.density.apps_called"), " were called in 24 hours.");
  const list = [
    ["Held by ebb", value("bytes", d.resident_bytes, "day.density.resident_bytes")],
    ["Memory free",
      value("bytes", d.memory_available_bytes, "day.density.memory_available_bytes"), " of ",
      value("bytes", d.memory_bytes, "day.density.memory_bytes")],
  ];
  if (room)
    list.push(["Room for more apps", value("count", room.fit, "day.density.room.fit")],
      ["by CPU", value("count", room.by_cpu, "day.density.room.by_cpu")],
      ["by memory", value("count", room.by_memory, "day.density.room.by_memory")],
      ["Such an app’s mean", value("cpu_share", room.mean_cpus, "day.density.room.mean_cpus")],
      ["Correlation of their use",
        value("percent", room.correlation, "day.density.room.correlation")]);
  pairs("density-figures", list);
  fill("density-note", ...(room ? ["Room: apps like the mean of the ",
    value("count", room.like_apps, "day.density.room.like_apps"), " that were called, so that at ",
    "most ", value("percent", 1 - room.compliance, "density.exceeding"), " of five-minute samples ",
    "exceed the CPUs; memory as each used at most. Resident memory counts shared pages in each ",
    "process."] : ["How much more fits is said after an hour of records with calls."]));
}

export function runs(now, apps) {
  const isNode = now.scope === "node";
  const rows = now.apps.map((a) => ({ ...a, called: true }));
  for (const a of apps || [])
    if (!rows.some((r) => r.app === a.name)) rows.push({ app: a.name, called: false });
  fill("runs-lead", value("count", now.apps.length, "key.apps_called"), " of ",
    value("count", now.apps_deployed, "now.apps_deployed"), " apps were called in the minute to ",
    time(now.to, secondText), ".");
  const columns = [{ label: "app" }, ...(isNode ? [{ label: "tenant", className: "text" }]
    : [{ label: "revision" }, { label: "deployed" }]),
  { label: "requests" }, { label: "mean time" }, ...(isNode ? [{ label: "CPU" }] : []),
  { label: "peak memory" }];
  table("runs-table", "Apps by use in the last minute", columns, rows.map((a) => {
    const own = (apps || []).find((x) => x.name === a.app);
    const of = `now.apps.${a.tenant ? `${a.tenant}/` : ""}${a.app}`;
    const shown = (kind, name) => (a.called ? value(kind, a[name], `${of}.${name}`) : "–");
    return {
      className: a.called ? "" : "rest",
      cells: [a.app, ...(isNode ? [a.tenant || "–"]
        : [own ? value("count", own.revision, `now.apps.${a.app}.revision`) : "–",
          own ? dayText(own.made_s * 1000) : "–"]),
      shown("per_s", "calls_per_s"), shown("ms", "mean_ms"),
      ...(isNode ? [shown("cpu_share", "cpus")] : []), shown("bytes", "memory_peak_bytes")],
    };
  }), "Nobody called anything in the last minute.");
}

export function processes(now) {
  table("processes-table", "CPU since each began, and resident memory",
    [{ label: "process" }, { label: "pid" }, { label: "CPU time" }, { label: "memory" }],
    now.processes.map((p) => ({
      cells: [p.name, value("name", p.pid, `now.processes.${p.name}.pid`),
        value("seconds", p.cpu_s, `now.processes.${p.name}.cpu_s`),
        value("bytes", p.resident_bytes, `now.processes.${p.name}.resident_bytes`)],
    })), "none");
}
