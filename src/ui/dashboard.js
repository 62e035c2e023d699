// The page: who looks, what is asked when, and in which order panels are filled.
//
// One stream (/now?follow=1) is the clock of everything: the node sends how it is at the end of
// each 10-second window, and what is older than a minute is then asked again. There is no timer
// here but the one before a new attempt after a failure. When nobody can see the page, the stream
// is closed and the node is left alone.
import { fill, secondText, time, zone } from "./format.js";
import { ApiNode, Refused } from "./node.js";
import * as carbon from "./carbon.js";
import * as panels from "./panels.js";

const DAY_EVERY_MS = 60_000, OUTLOOK_EVERY_MS = 900_000, RETRY_MS = [1000, 2000, 5000, 15_000];
const page = document.body.dataset;

let node, who, base, stream, retry, failures = 0;
const seen = {};

const byId = (id) => document.getElementById(id);

// What is said is read aloud; of how late it is nobody wants to hear every ten seconds.
function state(...text) {
  fill("as-of");
  fill("said", ...text);
}

// --- what is shown ---------------------------------------------------------------------------

function tenantDays() {
  const from = new Date(Math.floor(Date.now() / 86_400_000 - 3) * 86_400_000);
  return node.get(`${base}/carbon?from=${from.toISOString().slice(0, 19)}Z`);
}

async function showDay() {
  const isNode = who.scope === "node";
  const [day, bill, today, apps] = await Promise.all([node.get(`${base}/day`),
    isNode ? null : tenantDays(), isNode ? null : node.get(`${base}/carbon`),
    isNode ? null : node.get(`${base}/apps`)]);
  seen.day = day;
  seen.apps = apps && apps.apps;
  panels.trafficDay(day);
  if (isNode) {
    panels.use(day);
    panels.density(day);
    carbon.carbonNode(day);
  } else {
    panels.useTenant(today);
    carbon.carbonTenant({ ...today, days: bill.days });
  }
  carbon.saved(day.saving);
  fill("span", "Figures of 24 hours: ", time(day.from, secondText), " to ",
    time(day.to, secondText), `, ${zone}.`);
}

async function showOutlook() {
  seen.outlook = await node.get(`${base}/outlook`);
  seen.placed = null;
}

// The calls that wait, and where they lie on the forecast.
async function showCalls() {
  const isNode = who.scope === "node";
  const said = await node.get(`${base}/${isNode ? "calls/plan" : "calls?limit=100"}`);
  const of = isNode ? said.slots.map((s) => ({ from: s.from, amount: s.cpu_s }))
    : said.calls.filter((c) => c.planned_start).map((c) => ({ from: c.planned_start, amount: 1 }));
  const placed = JSON.stringify(of);
  (isNode ? carbon.plan : carbon.calls)(said);
  if (placed !== seen.placed) carbon.grid(seen.outlook, of, isNode ? "cpu_s" : "count");
  seen.placed = placed;
  seen.counts = said.counts;
}

// Asks again for what is older than its time, by the node's clock.
async function refresh(name, at, every, show) {
  if (seen[`${name}_at`] && at - seen[`${name}_at`] < every) return;
  seen[`${name}_at`] = at;
  try {
    await show();
  } catch (e) {
    delete seen[`${name}_at`];
    throw e;
  }
}

async function onNow(now) {
  const at = Date.parse(now.to);
  seen.now = now;
  await Promise.all([refresh("day", at, DAY_EVERY_MS, showDay),
    refresh("outlook", at, OUTLOOK_EVERY_MS, showOutlook)]);
  await showCalls();
  if (seen.now !== now) return;
  panels.key(now, seen.counts);
  panels.trafficNow(now);
  panels.runs(now, seen.apps);
  if (now.processes) panels.processes(now);
  fill("said");
  fill("as-of", "as of ", time(now.to, secondText));
  byId("main").dataset.to = now.to;
}

// --- the stream ------------------------------------------------------------------------------

function problem(e) {
  if (e instanceof Refused) {
    leave(e.message);
    return;
  }
  state(`no figures now (${e.message}); trying again`);
  stop();
  retry = setTimeout(start, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
}

function stop() {
  clearTimeout(retry);
  if (stream) stream.abort();
  stream = null;
}

async function start() {
  stop();
  if (document.hidden || !node) return;
  const mine = stream = new AbortController();
  try {
    while (stream === mine)
      await node.follow(`${base}/now?follow=1`, (now) => {
        failures = 0;
        onNow(now).catch((e) => stream === mine && problem(e));
      }, mine.signal);
  } catch (e) {
    if (stream === mine) problem(e);
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stop();
    state("paused: nobody looks");
  } else {
    start();
  }
});

// --- who looks -------------------------------------------------------------------------------

async function enter(token) {
  const asked = new ApiNode(token);
  const answer = await asked.get("/v1/whoami");
  node = asked;
  who = { ...answer, scope: answer.tenant ? "tenant" : "node" };
  base = answer.tenant ? `/v1/tenants/${encodeURIComponent(answer.tenant)}` : "/v1";
  for (const name of Object.keys(seen)) delete seen[name];
  page.scope = who.scope;
  page.state = "live";
  byId("leave").hidden = !token;
  fill("who", answer.tenant ? `${answer.tenant} on ${answer.node}` : answer.node);
  document.title = `ebb · ${answer.tenant || answer.node}`;
  byId("main").focus();
  state("asking the node");
  start();
}

function leave(why) {
  stop();
  node = null;
  page.state = "login";
  delete page.scope;
  fill("who");
  state("");
  document.title = "ebb";
  fill("login-error", why || "");
  byId("token").focus();
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("token"), token = field.value.trim();
  fill("login-error");
  try {
    await enter(token);
    field.value = "";
  } catch (e) {
    fill("login-error", e.message);
    field.select();
  }
});
byId("leave").addEventListener("click", () => leave());

// Documents of the API that a link could not ask for, because it carries no token.
function opens(id, path, name) {
  byId(id).addEventListener("click", async () => {
    const span = `from=${seen.day.from}&to=${seen.day.to}`;
    try {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await node.blob(`${path}${span}`));
      link.download = name;
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (e) {
      problem(e);
    }
  });
}
opens("report", "/v1/carbon/report?format=html&", "carbon-report.html");
opens("records", "/v1/usage?", "usage.csv");

// A node that asks for no token shows itself at once.
enter("").catch(() => byId("token").focus());
