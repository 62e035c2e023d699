// The grid, the bill of each app, what waiting saved, and the calls that wait.
import { show } from "./charts.js";
import { dayText, element, fill, pairs, table, time, value, words } from "./format.js";

const b = (...children) => element("b", "", ...children);

function split(parts) {
  const sum = parts.reduce((a, [, v]) => a + v, 0);
  const el = element("div", "split", ...parts.map(([name, v]) => {
    const s = element("span", `c-${name}`);
    s.style.width = `${sum > 0 ? v / sum * 100 : 0}%`;
    return s;
  }));
  el.setAttribute("role", "img");
  el.setAttribute("aria-label", parts.map(([name, v]) =>
    `${name} ${words("percent", sum > 0 ? v / sum : 0)}`).join(", "));
  return el;
}

const COLUMNS = [{ label: "app" }, { label: "requests" }, { label: "per request" },
  { label: "dynamic" }, { label: "idle share" }, { label: "embodied" },
  { label: "split", className: "bar-cell" }];

function row(name, r, of, className) {
  return {
    className,
    cells: [name, r.calls === undefined ? "" : value("count", r.calls, `${of}.calls`),
      r.calls === undefined ? "" : value("grams", r.g_per_call, `${of}.g_per_call`),
      value("grams", r.dynamic_g, `${of}.dynamic_g`), value("grams", r.idle_g, `${of}.idle_g`),
      value("grams", r.embodied_g, `${of}.embodied_g`),
      split([["dynamic", r.dynamic_g], ["idle", r.idle_g], ["embodied", r.embodied_g]])],
  };
}

const without = (r) => ({ ...r, calls: undefined });

export function carbonNode(day) {
  const { bill } = day;
  fill("carbon-lead", "The node emitted ",
    b(value("grams", bill.operational_g, "day.bill.operational_g")), " CO₂e by use and ",
    b(value("grams", bill.embodied_g, "day.bill.embodied_g")), " by manufacture, for ",
    value("joules", bill.node_j, "day.bill.node_j"), "; from ", time(day.from, dayText), " to ",
    time(day.to, dayText), ".");
  const all = [...bill.apps, bill.platform, bill.other, bill.unallocated];
  const sum = (name) => all.reduce((a, r) => a + r[name], 0);
  table("carbon-table", "CO₂e by app: all rows add up to the node", COLUMNS, [
    ...bill.apps.map((r) => row(r.tenant ? [r.app, element("small", "", ` ${r.tenant}`)] : r.app, r,
      `day.bill.${r.tenant ? `${r.tenant}/` : ""}${r.app}`, "")),
    row("ebb itself", without(bill.platform), "day.bill.platform", "rest"),
    row("other processes", without(bill.other), "day.bill.other", "rest"),
    row("unallocated: nobody needed it", without(bill.unallocated), "day.bill.unallocated", "rest"),
    row("node", { dynamic_g: sum("dynamic_g"), idle_g: sum("idle_g"),
      embodied_g: sum("embodied_g") }, "day.bill.sum", "sum"),
  ], "no records yet");
  fill("carbon-note", bill.method, ". Boundary: ", bill.boundary,
    ". Who bears idle and embodied shares is settled at each midnight (UTC).");
}

// The lines of a day are "app/component".
function byApp(lines) {
  const all = new Map();
  for (const d of lines) {
    const app = d.app.split("/")[0];
    const sum = all.get(app) || { app, calls: 0, energy_j: 0, idle_share_j: 0, operational_g: 0,
      embodied_g: 0 };
    for (const name of Object.keys(sum).slice(1)) sum[name] += d[name];
    all.set(app, sum);
  }
  return [...all.values()];
}

// A tenant is shown the shares of a day when it is over (docs/carbon.md).
export function carbonTenant(carbon) {
  const days = [...new Set(carbon.days.map((d) => d.day))].sort();
  const last = days[days.length - 1];
  const energy = carbon.apps.flatMap((a) => a.windows).reduce((s, w) => s + w.energy_j, 0);
  fill("carbon-lead", "Dynamic energy today: ", b(value("joules", energy, "carbon.energy_j")),
    last ? "; shares below are of " : ".", ...(last ? [time(last, (t) =>
      t.toISOString().slice(0, 10)), " (UTC)."] : []));
  table("carbon-table", "CO₂e by app, of the last day that is over", COLUMNS,
    byApp(carbon.days.filter((d) => d.day === last)).map((d) => {
      const joules = d.energy_j + d.idle_share_j;
      const dynamic = joules > 0 ? d.operational_g * d.energy_j / joules : 0;
      return row(d.app, { calls: d.calls, dynamic_g: dynamic, idle_g: d.operational_g - dynamic,
        embodied_g: d.embodied_g,
        g_per_call: d.calls ? (d.operational_g + d.embodied_g) / d.calls : null },
      `carbon.${d.app}`, "");
    }), "Idle and embodied shares of a day are shown when it is over.");
  fill("carbon-note", "Energy: CPU time × ",
    value("plain", carbon.j_per_cpu_s, "carbon.j_per_cpu_s"), " J per CPU second, a coefficient ",
    "that is frozen for a day. Three digits.");
}

// placed: [{from, amount}] of the work that waits, in `kind` ("cpu_s", or "count" of calls).
export function grid(outlook, placed, kind) {
  const hours = [...outlook.measured.map((h) => ({ ...h, measured: true })),
    ...outlook.forecast.hours];
  const at = hours.map((h) => Date.parse(h.from) / 1000);
  const work = new Map();
  for (const p of placed) {
    const hour = Math.floor(Date.parse(p.from) / 3_600_000) * 3600;
    work.set(hour, (work.get(hour) || 0) + p.amount);
  }
  const now = Date.parse(outlook.time) / 1000;
  const coming = outlook.forecast.hours.slice(0, 24);
  const best = coming.reduce((m, h) => (m && m.g_per_kwh <= h.g_per_kwh ? m : h), null);
  fill("grid-lead", "Now ", b(value("g_per_kwh", outlook.intensity.g_per_kwh,
    "outlook.intensity.g_per_kwh")), ` (${outlook.intensity.quality})`, ...(best ? [
    "; cleanest of the next 24 hours: ", time(best.from, dayText), " with ",
    b(value("g_per_kwh", best.g_per_kwh, "outlook.best"))] : []), ".");
  if (!hours.some((h) => h.g_per_kwh !== null)) {
    fill("grid-note", "Nothing is known of this grid’s hours: name a source under [node] carbon " +
      "(docs/carbon.md). Until then a yearly or the world’s mean stands in.");
    return;
  }
  const placedName = kind === "count" ? "calls" : "CPU s of work";
  const total = [...work.values()].reduce((a, v) => a + v, 0);
  show("grid-hours", {
    title: "g CO₂e/kWh (left)" + (total ? `, ${placedName} placed (right)` : ""),
    x: at,
    when: dayText,
    now,
    right: total > 0,
    least: 10,
    series: [
      ...(total ? [{ label: placedName, kind, colour: "peak", scale: "right", bars: true,
        data: at.map((t) => work.get(t) || 0) }] : []),
      { label: "measured", kind: "g_per_kwh", colour: "ink", steps: true, mark: "ink",
        data: hours.map((h) => (h.measured ? h.g_per_kwh : null)) },
      { label: "forecast", kind: "g_per_kwh", colour: "dim", steps: true, dash: [4, 3],
        mark: "dim", data: hours.map((h) => (h.measured ? null : h.g_per_kwh)) },
    ],
  });
  const f = outlook.forecast;
  fill("grid-note", `${outlook.zone || "zone not named"}, ${outlook.kind}, source ` +
    `${outlook.source}. Forecast: ${f.method || "none"}`,
  ...(f.fit_error_pct ? [", off by ",
    value("percent", f.fit_error_pct / 100, "outlook.fit_error"), " in the mean"] : []),
  ...(f.published_hours ? [", ",
    value("count", f.published_hours, "outlook.forecast.published_hours"),
    " hours of it published by the source"] : []), ".");
}

// What the node plans (an operator), by its slots.
export function plan(p) {
  const { counts } = p;
  fill("calls-lead", b(value("count", p.waiting.calls, "plan.waiting.calls")), " wait with ",
    value("cpu_s", p.waiting.cpu_s, "plan.waiting.cpu_s"), ", ",
    b(value("count", p.running, "plan.running")), " run; ",
    ...(p.next_start ? ["the next are planned from ", time(p.next_start, dayText), "."]
      : ["none is planned."]));
  table("calls-table", "Planned work", [{ label: "from" }, { label: "work" },
    { label: "room" }, { label: "grid" }], p.slots.filter((s) => s.cpu_s > 0).map((s) => ({
    cells: [time(s.from, dayText), value("cpu_s", s.cpu_s, `plan.${s.from}.cpu_s`),
      value("cpu_s", s.room_cpu_s, `plan.${s.from}.room_cpu_s`),
      value("g_per_kwh", s.g_per_kwh, `plan.${s.from}.g_per_kwh`)],
  })), "Nothing waits for a cleaner or quieter hour.");
  fill("calls-note", value("count", counts.done, "plan.counts.done"), " done, ",
    value("count", counts.failed, "plan.counts.failed"), " failed, ",
    value("count", counts.dead, "plan.counts.dead"), " dead, ",
    value("count", counts.cancelled, "plan.counts.cancelled"), " cancelled, as long as they are ",
    "kept. Work is the CPU time that calls are estimated to take",
    p.sourced ? "." : "; no source of carbon intensity is set, so load alone decides.",
    ...(p.unplaced_cpu_s > 0 ? [" More than fits before its deadlines: ",
      value("cpu_s", p.unplaced_cpu_s, "plan.unplaced_cpu_s"), "."] : []));
}

const CALLS_SHOWN = 10;

// A tenant’s own calls, the newest first.
export function calls({ calls: list, counts }) {
  fill("calls-lead", b(value("count", counts.waiting, "calls.counts.waiting")), " wait, ",
    b(value("count", counts.leased, "calls.counts.leased")), " run; done: ",
    value("count", counts.done, "calls.counts.done"), ", failed: ",
    value("count", counts.failed + counts.dead, "calls.not_done"), ".");
  table("calls-table", "Deferred calls, the newest first", [{ label: "call" },
    { label: "state", className: "text" }, { label: "accepted" }, { label: "starts or ended" },
    { label: "deadline" }, { label: "CPU" }], list.slice(0, CALLS_SHOWN).map((c) => ({
    cells: [[`${c.method || ""} ${c.path || c.component || ""}`.trim(),
      element("small", "", ` ${c.app}`)], c.state,
    ...[c.accepted, c.ended || c.started || c.planned_start, c.deadline].map((t) =>
      (t ? time(t, dayText) : "–")),
    c.ended ? value("seconds", c.cpu_s, `calls.${c.id}.cpu_s`) : "–"],
  })), "No call has been deferred.");
  const listed = list.filter((c) => c.state === "waiting").length;
  fill("calls-note", "Planned starts may move until they come: forecasts and load change. ",
    "Each call’s own status says what it saved.",
    ...(listed < counts.waiting ? [" The chart has the newest ",
      value("count", listed, "calls.listed"), " that wait."] : []));
}

export function saved(saving) {
  fill("saved-lead", b(value("grams", saving.saved_g, "day.saving.saved_g")),
    " CO₂e in the last 24 hours.");
  pairs("saved-figures", [
    ["Deferred calls counted", value("count", saving.calls, "day.saving.calls")],
    ["If run at once", value("grams", saving.baseline_g, "day.saving.baseline_g")],
    ["As run", value("grams", saving.actual_g, "day.saving.actual_g")],
    ["Dirtier than at once", value("count", saving.calls_worse, "day.saving.calls_worse")],
    ["Hour not measured", value("count", saving.calls_unknown, "day.saving.calls_unknown")],
    ["Mean wait", value("seconds", saving.mean_delay_s, "day.saving.mean_delay_s")],
  ]);
}
