"""The dashboard in Chromium, from a real `ebb serve` with three tenants, six apps, two days of
records and traffic: what it shows is what the API says, to whom it may, wherever one looks."""
import csv
import http.client
import io
import json
import math
import os
import re
import signal
import socket
import sqlite3
import time

import pytest

from browser import Page, chromium
from harness import ROOT, guest, wait_for, wakes, write_app
from node import node

APP = f"""
spin_manifest_version = 2
[application]
name = "{{0}}"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest('c-kitchen')}"
[component.c.tool.ebb]
defer = true
"""
APPS = {"acme": ("kelp", "dulse", "wrack"), "umbra": ("blog", "mail"), "calm": ("beacon",)}
DAY_S = 86400
# What waits until it is cleaner, some ten hours from now, and what can't.
DUE = [("umbra", "mail", 2)] * 2
WAITING = [("acme", "kelp", 70_000)] * 3 + [("umbra", "blog", 70_000)] * 2
PAGES = ("/", "/ui/icon.svg", "/ui/uplot.js",
         "/ui/carbon.js", "/ui/charts.js", "/ui/dashboard.js", "/ui/format.js", "/ui/node.js",
         "/ui/panels.js")
WIDTHS = (320, 360, 414, 768, 1024, 1366, 1920, 2560)


def grid(folder):
    """Forty days of an hourly grid; once a day it is clean, next in ten hours, so that what
    waits does wait, whenever this runs."""
    hour = int(time.time()) // 3600 * 3600
    rows = [f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(hour + h * 3600))},"
            f"{200 - 80 * math.cos((h - 10) / 24 * 2 * math.pi) + h % 7:.1f}"
            for h in range(-960, 1)]
    (folder / "grid.csv").write_text("datetime,carbon_intensity\n" + "\n".join(rows) + "\n")
    (folder / "carbon.toml").write_text('zone = "ES"\nprovider = "file"\nfile = "grid.csv"\n')
    return f'[node]\ncarbon = "{folder / "carbon.toml"}"\n'


def history(usage, ids):
    """What a keeper would have recorded in the two days before: more at noon, nothing alike."""
    now, rows = int(time.time()) // 10 * 10, []
    for t in range(now - 2 * DAY_S, now - 600, 10):
        noon = 1.2 - math.cos(t / DAY_S * 2 * math.pi)
        for i, app in enumerate(ids.values()):
            calls = int((i + 1) * noon * 4 + t // 10 % (i + 2))
            rows.append((t, f"{app}/0", calls, calls * (i + 2) * 1_000_000, calls * 9_000_000,
                         calls * 300, calls * 5000, 2 << 20))
        rows.append((t, "-", 0, int(2e8 * noon), 0, 0, 0, 0))
    with sqlite3.connect(usage) as db:
        db.executemany("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        hour = now // 3600 * 3600
        db.executemany("INSERT INTO deferred VALUES (?, ?, ?, ?, ?, ?)", [
            (hour - 8 * 3600, hour - 18 * 3600, f"{app}/0", 40 + i, 3000.0 * (i + 1), 1.5e6)
            for i, app in enumerate(ids.values())])
    db.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    settings, ids = grid(folder), {}
    with node(folder, settings=settings) as n:
        for tenant in APPS:
            n.tenant(tenant)
        readers = {tenant: n.token_of(tenant, "reader") for tenant in APPS}
        for tenant, names in APPS.items():
            for name in names:
                app = write_app(folder / f"{tenant}-{name}", APP.format(name))
                n.run("deploy", "-f", app, tenant=tenant)
                ids[tenant, name] = n.api("GET", f"/v1/tenants/{tenant}/apps/{name}")[1]["id"]
        token = n.token
    history(folder / "data" / "usage.db", ids)
    with node(folder, settings=settings, token=token, workers=2) as n:
        n.readers, n.ids = readers, ids
        for i, (tenant, name) in enumerate(ids):
            for _ in range(3 * (i + 1)):
                assert n.get(name, "/burn?500", tenant).status == 200
        for calls, state in ((DUE, "done"), (WAITING, "waiting")):
            for tenant, name, deadline in calls:
                fields = (("Prefer", "respond-async"), ("Ebb-Deadline", str(deadline)))
                r = n.get(name, "/burn?500", tenant, fields=fields)
                assert r.status == 202, (r.status, r.text)
            wait_for(lambda s=state, many=len(calls):
                     n.api("GET", "/v1/calls/plan")[1]["counts"][s] == many, f"calls: {state}")
        begun = time.time()
        wait_for(lambda: n.api("GET", "/v1/now")[1]["apps"] or None,
                 "the end of a window with calls")
        assert time.time() - begun < 15
        yield n


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as b:
        yield b


def log_in(page, n, token):
    """As somebody with a keyboard does."""
    page.open(f"http://{n.admin}/")
    page.wait("document.activeElement.id === 'token'")
    page.type(token)
    page.press("Enter", 13, text="\r")
    page.wait("document.body.dataset.state === 'live' && document.getElementById('main')"
              ".dataset.to && document.querySelector('#carbon-table').textContent")


@pytest.fixture
def look(browser, serve):
    """Opens the page with a token; closes what was opened."""
    opened = []

    def open_page(token=None, **how):
        page = Page(browser, **how)
        opened.append(page)
        log_in(page, serve, serve.token if token is None else token)
        return page
    yield open_page
    for page in opened:
        assert page.errors() == []
        page.close()


NUMBERS = """[...document.querySelectorAll('data[data-of]')].map((d) =>
  [d.dataset.of, d.value === '' ? null : Number(d.value), d.textContent])"""
UNITS = {"": 1, "/s": 1, "%": 1e-2, "% of a CPU": 1e-2, "CPU": 1, "CPUs": 1, "CPU s": 1, "W": 1,
         "g/kWh": 1, "×": 1, "h": 3600, "min": 60, "s": 1, "ms": 1e-3, "µs": 1e-6, "kg": 1e3,
         "g": 1, "mg": 1e-3, "µg": 1e-6, "ng": 1e-9, "g/h": 1, "mg/h": 1e-3, "µg/h": 1e-6,
         "MJ": 1e6, "kJ": 1e3, "J": 1, "mJ": 1e-3, "B": 1, "KiB": 2**10, "MiB": 2**20,
         "GiB": 2**30, "TiB": 2**40, "B/s": 1, "KiB/s": 2**10, "MiB/s": 2**20}


def as_read(of, text):
    """The number that a reader takes from "1,234 mg"."""
    number, unit = re.fullmatch(r"(-?[\d,.]+) ?(.*)", text).groups()
    scale = 1e3 if of.endswith("mean_ms") else 1  # shown in seconds, told in milliseconds
    return float(number.replace(",", "")) * UNITS[unit] * scale


def check_text(of, raw, text):
    """Shown as what it is, to three digits."""
    if raw is None:
        assert text == "–", of
    else:
        assert as_read(of, text) == pytest.approx(raw, rel=6e-3, abs=1e-12), (of, text)


def numbers(page):
    """{data-of: value}."""
    shown = page.js(NUMBERS)
    assert len(shown) > 20
    for of, raw, text in shown:
        check_text(of, raw, text)
    return {of: raw for of, raw, _ in shown}


def table_open(page, figure):
    page.js(f"document.querySelector('#{figure} details').open = true")
    page.wait(f"document.querySelector('#{figure} table')")


def table_of(page, figure):
    """{heading: values} of the table behind a chart, oldest first; "from" in seconds."""
    table_open(page, figure)
    heads, rows = page.js(f"""(() => {{
        const table = document.querySelector('#{figure} table');
        return [[...table.querySelectorAll('th')].map((x) => x.textContent),
            [...table.querySelectorAll('tbody tr')].map((row) => [
                Date.parse(row.querySelector('time').dateTime) / 1000,
                ...[...row.querySelectorAll('data')].map((d) =>
                    [d.value === '' ? null : Number(d.value), d.textContent])])];
        }})()""")
    rows.reverse()
    for row in rows:
        assert len(row) == len(heads)
        for raw, text in row[1:]:
            check_text(figure, raw, text)
    return {"from": [row[0] for row in rows]} | {
        head: [row[i][0] for row in rows] for i, head in enumerate(heads) if i}


def is_same(value, wanted):
    if isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(is_same, value, wanted))
    return value == (wanted and pytest.approx(wanted, rel=1e-9))


def traffic(view):
    step, calls = view["series"]["step_s"], view["series"]["calls_per_s"]
    return {"from": [stamp(view["from"]) + i * step for i in range(len(calls))], "requests": calls}


def use(day):
    return {"from": traffic(day)["from"], "apps": day["series"]["apps_cpus"],
            "ebb itself": day["series"]["platform_cpus"],
            "other processes": day["series"]["other_cpus"]}


def grid_hours(outlook, name, placed):
    """placed: (when, how much) of what waits."""
    past, coming = outlook["measured"], outlook["forecast"]["hours"]
    hours = [stamp(h["from"]) for h in past + coming]
    work = dict.fromkeys(hours, 0)
    for when, amount in placed:
        work[stamp(when) // 3600 * 3600] += amount
    assert past and coming
    return {"from": hours, name: list(work.values()),
            "measured": [h["g_per_kwh"] for h in past] + [None] * len(coming),
            "forecast": [None] * len(past) + [h["g_per_kwh"] for h in coming]}


def settled(page, n, token, ask, read):
    """What is read of the page, and what the API answers for the same spans before the page asks
    and after."""
    names = ("now", "day", "outlook", "calls")
    for _ in range(20):
        answers = [{name: ask(name) for name in names}]
        log_in(page, n, token)
        shown = read(page)
        answers.append({name: ask(name) for name in names})
        spans = {page.js("document.getElementById('main').dataset.to"),
                 page.js("document.querySelectorAll('#span time')[1].dateTime"),
                 *(x[name]["to"] for x in answers for name in ("now", "day"))}
        hours = {x["outlook"]["forecast"]["hours"][0]["from"] for x in answers}
        if len(spans) == len(hours) == 1:
            return shown, answers
    raise AssertionError("the page and the API never spoke of the same window")


def named(answer, of):
    """What a data-of means: members by dots, apps by their names."""
    at = answer
    parts = of.split(".")[1:]
    while parts:
        name = parts.pop(0)
        if isinstance(at, dict) and name not in at:
            at = next(at[x] for x in ("apps", "slots", "calls") if x in at)
        if isinstance(at, list):
            at = next(x for x in at if name in (f"{x.get('tenant')}/{x.get('app')}",
                                                x.get("app"), x.get("name"), x.get("from"),
                                                x.get("id")))
        else:
            at = at[name]
    return at


#: Numbers that are others a moment later, and how far out of what the API says before and after
#: one between may be: CPU time only grows, memory also goes back.
CHANGING = ((r"now\.processes\..*\.cpu_s", 1e-9),
            (r"resident_bytes|memory_available|room\.(fit|by_memory)", 0.25))


def slack_of(of):
    return next((slack for pattern, slack in CHANGING if re.search(pattern, of)), None)


def own_of_node(api):
    """What the page computes."""
    cpus, bill = api["now"]["cpus"], api["day"]["bill"]
    rows = [*bill["apps"], bill["platform"], bill["other"], bill["unallocated"]]
    used = sum(cpus[x] for x in ("apps", "platform", "other"))
    return own_of_all(api) | {
        "key.cpu_share": used / cpus["capacity"], "key.cpus": used,
        "density.exceeding": 1 - api["day"]["density"]["room"]["compliance"],
        **{f"day.bill.sum.{part}": sum(r[part] for r in rows)
           for part in ("dynamic_g", "idle_g", "embodied_g")}}


def own_of_all(api):
    forecast = api["outlook"]["forecast"]
    return {"key.apps_called": len(api["now"]["apps"]),
            "key.waiting": api["calls"]["counts"]["waiting"],
            "outlook.best": min(h["g_per_kwh"] for h in forecast["hours"][:24]),
            "outlook.fit_error": forecast["fit_error_pct"] / 100}


BARS = """[...document.querySelectorAll('.bar, .split')].map((bar) => [bar.ariaLabel,
  [...bar.children].map((x) => parseFloat(x.style.width || x.style.left)),
  Object.fromEntries([...bar.closest('tr, section').querySelectorAll('data[data-of]')].map((d) =>
    [d.dataset.of.split('.').pop(), [Number(d.value), d.textContent]]))])"""


def check_bars(page):
    """They are as long as the numbers beside them say, and are said aloud with those."""
    bars = page.js(BARS)
    assert len(bars) > 8
    for said, lengths, beside in bars:
        number = {name: raw for name, (raw, _) in beside.items()}
        if "capacity_cpus" in beside:
            mean, peak, whole = (beside[f"{x}_cpus"][1] for x in ("mean", "peak", "capacity"))
            assert said == f"mean {mean}, peak {peak} of {whole}"
            shares = [number[x] / number["capacity_cpus"]
                      for x in ("peak_cpus", "mean_cpus", "peak_cpus")]
        else:
            parts = [number[x] for x in ("dynamic_g", "idle_g", "embodied_g")]
            shares = [x / sum(parts) if sum(parts) else 0 for x in parts]
            words = [x.split(" ", 1) for x in said.split(", ")]
            assert [name for name, _ in words] == ["dynamic", "idle", "embodied"]
            for (_, text), share in zip(words, shares):
                check_text(said, share, text)
        assert lengths == pytest.approx([min(100, 100 * x) for x in shares], rel=1e-3, abs=1e-3)


def read_node(page):
    shown = numbers(page)
    check_bars(page)
    return shown, {figure: table_of(page, figure)
                   for figure in ("traffic-now", "traffic-day", "use-day", "grid-hours")}


def tables_of_node(api):
    work = [(s["from"], s["cpu_s"]) for s in api["calls"]["slots"]]
    return {"traffic-now": traffic(api["now"]), "traffic-day": traffic(api["day"]),
            "use-day": use(api["day"]),
            "grid-hours": grid_hours(api["outlook"], "CPU s of work", work)}


def check_tables(tables, wanted):
    """Each column is what the API says, before or after."""
    for figure, columns in tables.items():
        assert set(columns) == set(wanted[0][figure]), figure
        for head, values in columns.items():
            assert any(is_same(values, w[figure][head]) for w in wanted), (figure, head)


def test_each_number_of_the_node(serve, look):
    page = look()
    paths = {"calls": "/v1/calls/plan"}
    (shown, tables), answers = settled(
        page, serve, serve.token,
        lambda name: serve.api("GET", paths.get(name, f"/v1/{name}"))[1], read_node)
    check_tables(tables, [tables_of_node(api) for api in answers])
    assert sum(tables["grid-hours"]["CPU s of work"]) > 0
    owns = [own_of_node(api) for api in answers]
    for api in answers:
        api["plan"] = api["calls"]
    for of, value in shown.items():
        wanted = [own[of] if of in own else named(api[of.split(".")[0]], of)
                  for own, api in zip(owns, answers)]
        slack = slack_of(of)
        if slack:
            assert 0 < min(wanted) * (1 - slack) <= value <= max(wanted) * (1 + slack), (of, wanted)
        else:
            assert any(is_same(value, w) for w in wanted), (of, value, wanted)
    api, own = answers[1], owns[1]
    assert shown["plan.waiting.calls"] == 5 and shown["plan.counts.done"] == 2
    planned = [s for s in api["plan"]["slots"] if s["cpu_s"] > 0]
    assert planned and all(f"plan.{s['from']}.cpu_s" in shown for s in planned)
    assert shown["day.saving.calls"] >= 40 and shown["day.saving.saved_g"] != 0
    assert shown["day.density.room.like_apps"] == 6
    assert ("outlook.fit_error" in shown) == bool(own["outlook.fit_error"])
    pids = {shown[f"now.processes.{p['name']}.pid"] for p in api["now"]["processes"]}
    assert {p for role in ("worker", "store", "keeper") for p in serve.children(role)} <= pids
    for tenant, names in APPS.items():
        for name in names:
            called = [a for a in api["now"]["apps"] if (a["tenant"], a["app"]) == (tenant, name)]
            assert (f"now.apps.{tenant}/{name}.calls_per_s" in shown) == bool(called)
            assert shown[f"day.bill.{tenant}/{name}.calls"] > 0
    assert own["day.bill.sum.dynamic_g"] + own["day.bill.sum.idle_g"] == \
        pytest.approx(api["day"]["bill"]["operational_g"])


def test_the_views_are_the_records(serve):
    """/v1/now and /v1/day against what the keeper answers elsewhere, summed here."""
    for _ in range(20):  # both of the same window, with nothing told in between
        now, day = serve.api("GET", "/v1/now")[1], serve.api("GET", "/v1/day")[1]
        span = f"from={day['from']}&to={day['to']}"
        usage = serve.api("GET", f"/v1/usage?{span}")[1].decode()
        report = serve.api("GET", f"/v1/carbon/report?{span}")[1]
        if serve.api("GET", "/v1/day")[1]["to"] == day["to"] == now["to"]:
            break
    rows = list(csv.DictReader(io.StringIO(usage)))
    for (tenant, name), number in serve.ids.items():
        mine = [r for r in rows if r["app"] == f"{number}/0"]
        (billed,) = [r for r in day["bill"]["apps"] if (r["tenant"], r["app"]) == (tenant, name)]
        (told,) = [r for r in report["apps"] if r["app"] == f"{number}/0"]
        assert billed["calls"] == told["calls"] == sum(int(r["calls"]) for r in mine)
        assert billed["cpu_s"] == pytest.approx(sum(float(r["cpu_s"]) for r in mine))
        assert billed["dynamic_g"] + billed["idle_g"] == \
            pytest.approx(told["sci"]["operational_g"], rel=1e-6)
        assert billed["embodied_g"] == pytest.approx(told["sci"]["M_g"], rel=1e-6)
        assert billed["g_per_call"] == pytest.approx(told["sci"]["g_per_unit"], rel=1e-6)
    cpu = sum(float(r["cpu_s"]) for r in rows)
    seconds = (stamp(day["to"]) - stamp(day["from"]))
    step, series = day["series"]["step_s"], day["series"]
    lengths = [min(step, seconds - i * step) for i in range(len(series["apps_cpus"]))]
    total = sum(n * (a + p + o) for n, a, p, o in zip(
        lengths, series["apps_cpus"], series["platform_cpus"], series["other_cpus"]))
    assert total == pytest.approx(cpu, rel=1e-6)
    assert max(a + p + o for n, a, p, o in zip(
        lengths, series["apps_cpus"], series["platform_cpus"], series["other_cpus"])
        if n >= 60) == pytest.approx(day["used"]["peak_cpus"])
    last = [r for r in rows if stamp(now["to"]) - 60 <= stamp(r["time"]) < stamp(now["to"])]
    assert now["calls_per_s"] * 60 == pytest.approx(sum(int(r["calls"]) for r in last))
    power = now["power"]
    assert power["w"] > power["idle_w"] > 0
    assert now["g_per_h"] == pytest.approx(power["w"] * now["intensity"]["g_per_kwh"] / 1000)
    assert day["density"]["room"]["like_apps"] == 6 and day["density"]["room"]["fit"] > 0


def stamp(text):
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


def test_a_tenant_sees_its_own(serve, look):
    page = look(serve.readers["umbra"])
    base = "/v1/tenants/umbra"

    def ask(what):
        return serve.api("GET", f"{base}/{what}", token=serve.readers["umbra"])[1]

    def read(page):
        return numbers(page), {figure: table_of(page, figure)
                               for figure in ("traffic-now", "traffic-day", "grid-hours")}
    (shown, tables), answers = settled(page, serve, serve.readers["umbra"], ask, read)
    check_tables(tables, [{
        "traffic-now": traffic(api["now"]), "traffic-day": traffic(api["day"]),
        "grid-hours": grid_hours(api["outlook"], "calls", [
            (c["planned_start"], 1) for c in api["calls"]["calls"]
            if c.get("planned_start")])}
        for api in answers])
    assert sum(tables["grid-hours"]["calls"]) == 2
    api = answers[1]
    own, told = own_of_all(api), ask("carbon")
    day = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - DAY_S))
    carbon = ask(f"carbon?from={day}")
    mine = {d["app"].split("/")[0]: d for d in carbon["days"]}  # each has one component
    assert set(mine) == {"blog", "mail"}
    apps = {a["name"]: a for a in ask("apps")["apps"]}
    for of, value in shown.items():
        what, _, name = of.partition(".")
        if what == "carbon" and name.split(".")[0] in mine:
            app, member = name.split(".")
            d = mine[app]
            share = d["energy_j"] / (d["energy_j"] + d["idle_share_j"])
            wanted = {"calls": d["calls"], "dynamic_g": d["operational_g"] * share,
                      "idle_g": d["operational_g"] * (1 - share), "embodied_g": d["embodied_g"],
                      "g_per_call": (d["operational_g"] + d["embodied_g"]) / d["calls"]}[member]
        elif what == "carbon" and name in told:
            wanted = told[name]
        elif what == "carbon":
            wanted = sum(w[name] for a in told["apps"] for w in a["windows"])
        elif of.endswith(".revision"):
            wanted = apps[of.split(".")[2]]["revision"]
        elif of in own:
            wanted = own[of]
        elif of == "calls.not_done":
            wanted = api["calls"]["counts"]["failed"] + api["calls"]["counts"]["dead"]
        else:
            wanted = named(api[what], of)
        assert is_same(value, wanted), of
    assert {"carbon.j_per_cpu_s", "carbon.window_s_min", "carbon.window_calls_min"} <= set(shown)
    assert shown["calls.counts.waiting"] == shown["calls.counts.done"] == 2
    assert {c["app"] for c in api["calls"]["calls"]} == {"blog", "mail"}
    of_node = serve.api("GET", "/v1/day")[1]["saving"]
    saving = api["day"]["saving"]
    assert saving["method"] == of_node["method"] and "never subtracted" in saving["method"]
    others = [serve.api("GET", f"/v1/tenants/{x}/day")[1]["saving"] for x in ("acme", "calm")]
    for member in ("calls", "baseline_g", "actual_g", "saved_g"):
        of_all = [x[member] for x in (saving, *others)]
        assert all(of_all) and sum(of_all) == pytest.approx(of_node[member], rel=0.01), member
        assert shown[f"day.saving.{member}"] == saving[member]
    text = page.js("document.body.textContent") + json.dumps(api) + json.dumps(carbon)
    for foreign in ("acme", "kelp", "dulse", "wrack", "calm", "beacon", "worker 0"):
        assert foreign not in text, foreign
    for secret in ("power", "cpus", "cpu_s", "processes", "density", "bill"):
        assert secret not in api["now"] and secret not in api["day"], secret
    assert page.js("[...document.querySelectorAll('.of-node')].every((x) => !x.offsetParent)")
    for path in ("now", "day", "outlook"):
        assert serve.api("GET", f"/v1/tenants/acme/{path}", token=serve.readers["umbra"])[0] == 403
        assert serve.api("GET", f"/v1/{path}", token=serve.readers["umbra"])[0] == 403


@pytest.mark.parametrize("tenant", (None, "umbra"), ids=("node", "tenant"))
def test_every_width_light_and_dark(serve, look, tenant):
    page = look(tenant and serve.readers[tenant])
    for dark in (False, True):
        page.dark(dark)
        for width in WIDTHS:
            page.size(width, 900)
            page.wait("[...document.querySelectorAll('figure .chart')].every((c) => !c.clientWidth"
                      " || c.querySelector('.uplot').clientWidth === c.clientWidth)")
            assert page.js("document.documentElement.scrollWidth") <= width
            wide = page.js("""[...document.querySelectorAll('main *')].filter((x) => {
                const r = x.getBoundingClientRect();
                return r.width && r.right > innerWidth + 1 && !x.closest('caption, thead');
                }).map((x) => x.outerHTML.slice(0, 80))""")
            assert wide == [], width
        assert page.js(CONTRAST) == []


# WCAG 2.2, 1.4.3: text against what is behind it, 4.5 to 1.
CONTRAST = """(() => {
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => {
    v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (x) => { for (; x; x = x.parentElement) {
    const c = getComputedStyle(x).backgroundColor;
    if (!/, 0\\)$/.test(c) && c !== 'transparent') return c; } return 'rgb(255,255,255)'; };
  return [...document.querySelectorAll('body *')].filter((x) => x.offsetParent &&
    [...x.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((x) => {
    const [a, b] = [light(getComputedStyle(x).color), light(behind(x))].sort((m, n) => n - m);
    return [(a + 0.05) / (b + 0.05), x.outerHTML.slice(0, 90)];
  }).filter(([ratio]) => ratio < 4.5);
})()"""


def test_a_screen_reader_and_a_keyboard(serve, look):
    page = look()
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = [n["role"]["value"] for n in nodes if not n.get("ignored")]
    assert {"main", "banner", "contentinfo", "heading", "status"} <= set(roles)
    named_regions = {n["name"]["value"] for n in nodes if n["role"]["value"] == "region"}
    assert {"Traffic", "Utilisation", "Grid and planned work", "Deferred calls",
            "Carbon by app", "Density",
            "What runs"} <= named_regions
    assert page.js("document.activeElement.id") == "main"  # after the log-in
    assert page.js("document.querySelector('#state time').closest('[aria-live]').ariaLive") == "off"
    page.js("document.querySelector('.skip').focus()")  # what is not shown can't have the focus
    assert page.js("document.activeElement.className") == "skip"
    page.js("document.getElementById('main').focus()")
    names = page.js("[...document.querySelectorAll('summary')].map((s) => s.ariaLabel)")
    assert len(set(names)) == len(names) == 4 and all(n.startswith("Table: ") for n in names)
    assert page.js("[...document.querySelectorAll('canvas')].every("
                   "(c) => c.getAttribute('aria-hidden') === 'true')")
    # every chart opens its table with the keyboard, and the table has the API's series
    seen = set()
    for _ in range(40):
        page.press("Tab", 9)
        at = page.js("document.activeElement.closest('figure')?.id || document.activeElement.id")
        if at in seen or not at:
            break
        if page.js("document.activeElement.tagName") == "SUMMARY":
            page.press("Enter", 13, text="\r")
            page.wait("document.activeElement.parentElement.querySelector('table')")
            page.press("Tab", 9)  # the table itself can be scrolled
        seen.add(at)
    assert {"traffic-now", "traffic-day", "use-day", "grid-hours", "report", "records"} <= seen


def test_an_open_table_stays_where_one_reads_it(serve, look):
    page = look()
    table_open(page, "traffic-now")
    at = "document.querySelector('#traffic-now details div').scrollTop"
    page.js(f"void ({at} = 100)")
    shown = page.js("document.getElementById('main').dataset.to")
    page.wait(f"document.getElementById('main').dataset.to > '{shown}'")
    assert page.js(at) == 100


def test_weight_and_headers(serve):
    total = 0
    for path in PAGES:
        c = http.client.HTTPConnection(serve.admin, timeout=20)
        c.request("GET", path)
        r = c.getresponse()
        body = r.read()
        assert r.status == 200, path
        policy = r.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and r.headers["x-content-type-options"]
        assert r.headers["origin-agent-cluster"] == "?1"  # apps are on other ports of this host
        assert not re.search(rb"https?://(?!www\.w3\.org/)", body) or path == "/ui/uplot.js", path
        total += len(body) + sum(len(k) + len(v) + 4 for k, v in r.getheaders())
        c.request("GET", path, headers={"If-None-Match": r.headers["etag"]})
        r = c.getresponse()
        assert r.status == 304 and r.read() == b""
        c.close()
    assert total < 200_000
    assert serve.api("GET", "/ui/none.js", token="")[0] == 404
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert serve.api("GET", "/", token="", headers=headers)[0] in (403, 421)
    assert "<script>" not in (ROOT / "src/ui/dashboard.html").read_text()


def test_the_first_paint_waits_for_nothing_and_nothing_is_from_elsewhere(serve, browser):
    """How long it takes: ./dev bench paint."""
    page = Page(browser)
    page.open(f"http://{serve.admin}/")
    others = page.js("performance.getEntriesByType('resource').map((r) =>"
                     " [r.name, r.renderBlockingStatus])")
    assert others and {status for _, status in others} == {"non-blocking"}, others
    assert page.js("document.querySelectorAll('style').length") == 2
    assert not page.js("document.querySelectorAll('link[rel=stylesheet]').length")
    log_in(page, serve, serve.token)
    asked = {p["request"]["url"] for p in page.seen("Network.requestWillBeSent")}
    assert len(asked) > 10
    assert all(u.startswith(f"http://{serve.admin}/") for u in asked), asked
    assert page.errors() == []
    kept = page.js("[document.cookie, localStorage.length, sessionStorage.length, location.href]")
    assert kept == ["", 0, 0, f"http://{serve.admin}/"]
    page.open(f"http://{serve.admin}/?again")  # the token is gone with the page
    page.wait("document.body.dataset.state === 'login'")
    page.close()


def test_wrong_tokens_and_leaving(serve, browser):
    page = Page(browser)
    page.open(f"http://{serve.admin}/")
    page.wait("document.activeElement.id === 'token'")
    page.type("ebb_wrong")
    page.press("Enter", 13, text="\r")
    page.wait("document.getElementById('login-error').textContent.includes('token')")
    assert page.js("document.getElementById('login-error').offsetParent !== null")
    for dark in (False, True):
        page.dark(dark)
        for width in WIDTHS:
            page.size(width, 900)
            assert page.js("document.documentElement.scrollWidth") <= width
        assert page.js(CONTRAST) == []
    page.js("document.getElementById('token').value = ''")
    page.type(serve.readers["calm"])
    page.press("Enter", 13, text="\r")
    page.wait("document.getElementById('main').dataset.to")
    page.js("document.getElementById('leave').click()")
    page.wait("document.body.dataset.state === 'login' &&"
              " !document.getElementById('key').offsetParent")
    page.close()


def test_only_a_token_that_is_no_more_logs_out(serve, look):
    """What else the node answers passes: it is asked again."""
    page = look()
    page.js("""(() => {
        const real = window.fetch;
        let left = 3;
        window.answerAll = (status, error) => (...asked) => left-- > 0 || status === 401
            ? Promise.resolve(new Response(JSON.stringify({error}), {status})) : real(...asked);
        window.fetch = answerAll(429, 'too often');
    })()""")
    page.wait("document.getElementById('said').textContent.includes('too often')")
    shown = page.js("document.getElementById('main').dataset.to")
    page.wait(f"document.getElementById('main').dataset.to > '{shown}'")
    assert page.js("document.body.dataset.state") == "live"
    page.js("void (window.fetch = answerAll(401, 'no such token'))")
    page.wait("document.body.dataset.state === 'login'")
    assert page.js("document.getElementById('login-error').textContent") == "no such token"


def test_updates_are_pushed_and_a_hidden_page_is_silent(serve, look):
    page = look()
    first = page.js("document.getElementById('main').dataset.to")
    page.wait(f"document.getElementById('main').dataset.to > '{first}'")  # without being asked
    page.js("Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))")
    page.wait("document.getElementById('state').textContent.includes('paused')")
    asked = len(page.seen("Network.requestWillBeSent"))
    closed = page.js("document.getElementById('main').dataset.to")
    (keeper,) = serve.children("keeper")

    def silent():
        before = wakes(keeper)
        time.sleep(11)  # a window ends, of which somebody would be told; the connection is open
        return wakes(keeper) - before <= 3
    wait_for(silent, "the keeper to sleep")
    assert len(page.seen("Network.requestWillBeSent")) == asked
    assert page.js("document.getElementById('main').dataset.to") == closed
    page.js("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait(f"document.getElementById('main').dataset.to > '{closed}'")


def follow(n, token):
    s = socket.create_connection(n.admin.rsplit(":", 1), timeout=30)
    s.sendall(f"GET /v1/now?follow=1 HTTP/1.1\r\nHost: {n.admin}\r\n"
              f"Authorization: Bearer {token}\r\n\r\n".encode())
    return s


def test_followers_are_bounded(serve):
    """Past the bound one is told so; when others have gone there is room again."""
    held = []
    try:
        for _ in range(70):
            s = follow(serve, serve.token)
            held.append(s)
            answer = s.recv(4096)
            if b" 503 " in answer.split(b"\r\n")[0]:
                break
            while b"data: " not in answer:
                answer += s.recv(65536)
        else:
            raise AssertionError("seventy follow")
        assert 50 < len(held) <= 65
    finally:
        for s in held:
            s.close()

    def room():
        with follow(serve, serve.token) as s:
            return b"text/event-stream" in s.recv(4096)
    wait_for(room, "the keeper to see that they have gone")


def test_followers_that_wait_for_a_worker_count(serve):
    """Those that ask at once are bounded too, while nobody has been answered yet."""
    workers = serve.children("worker")
    held = []
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        held = [follow(serve, serve.token) for _ in range(70)]
        assert serve.api("GET", "/v1/whoami")[0] == 200  # the keeper has come so far
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        heads = [s.recv(4096).split(b"\r\n")[0] for s in held]
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        for s in held:
            s.close()
    refused = sum(b" 503 " in head for head in heads)
    assert refused >= 6 and refused + sum(b" 200 " in head for head in heads) == 70, heads
