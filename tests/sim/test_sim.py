"""`ebb sim`, `ebb carbon` and `ebb capacity` as their users run them: options, files, every output.

What the numbers must be is mostly the unit tests' (tests/unit/sched_*.c, carbon_*.c); here it is
that they arrive, that files of every shape are read, and that mistakes are named. EBB_CARBON_BIN
may name the binary of the carbon rooms alone (ninja src/sched/ebb-carbon); else it is ebb.
"""
import datetime
import html.parser
import json
import math
import os
import re
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = os.environ.get("EBB_CARBON_BIN") or os.environ.get("EBB_BIN", str(ROOT / "build" / "ebb"))
START = datetime.datetime(2023, 1, 1, tzinfo=datetime.timezone.utc)


def run(*args, fail=False):
    done = subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, check=False,
                          timeout=120)
    assert (done.returncode != 0) == fail, done.stderr
    return done.stderr if fail else done.stdout


def stamp(hour):
    return (START + datetime.timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")


def solar(hour):
    """A grid that is clean at noon, a little more so every week."""
    return 200 - 90 * math.cos((hour % 24 - 1) * math.pi / 12 - math.pi) - hour / 24 / 10


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    with open(folder / "fit.csv", "w") as f:
        f.write("time,g_per_kwh\n")
        f.writelines(f"{stamp(h)},{solar(h):.3f}\n" for h in range(60 * 24))
    with open(folder / "test.csv", "w") as f:
        f.write("time,g_per_kwh\n")
        f.writelines(f"{stamp(h)},{solar(h):.3f}\n" for h in range(60 * 24, 75 * 24))
    return folder


def policies(text):
    return {p["policy"]: p for p in json.loads(text)["policies"]}


def test_policies_and_bound(grid):
    p = policies(run("sim", "--load", "uniform", "--cpus", "inf", "--no-ledger", "--days", 15,
                     "--fit", grid / "fit.csv", "--intensity", grid / "test.csv", "--json", "-"))
    assert list(p) == ["now", "yesterday", "profile", "ours", "clairvoyant"]
    assert p["now"]["saved_g"] == 0 and p["now"]["mean_delay_h"] == 0
    assert p["ours"]["share_of_clairvoyant_pct"] > 98       # nothing here is uncertain
    assert p["clairvoyant"]["share_of_clairvoyant_pct"] == pytest.approx(100)
    for row in p.values():
        assert row["late_cpu_s"] == 0
        assert row["deferrable_cpu_s"] == 15 * 24


def test_gaps_and_other_shapes(grid, tmp_path):
    """The same fortnight with holes, and from the UK API's shape in half hours."""
    slots = []
    for half in range(60 * 48, 75 * 48):
        at = START + datetime.timedelta(minutes=30 * half)
        end = at + datetime.timedelta(minutes=30)
        g = None if half % 97 == 0 else round(solar(half / 2))
        slots.append({"from": at.strftime("%Y-%m-%dT%H:%MZ"), "to": end.strftime("%Y-%m-%dT%H:%MZ"),
                      "intensity": {"forecast": g, "actual": g, "index": "low"}})
    (tmp_path / "uk.json").write_text(json.dumps({"data": slots}))
    p = policies(run("sim", "--load", "uniform", "--cpus", "inf", "--no-ledger", "--days", 15,
                     "--fit", grid / "fit.csv", "--intensity", tmp_path / "uk.json", "--json", "-"))
    assert p["ours"]["share_of_clairvoyant_pct"] > 90


def test_seed_and_pictures(tmp_path):
    args = ("sim", "--apps", 60, "--days", 9, "--policy", "now,ours", "--json", "-")
    first = run(*args, "--seed", 5, "--svg", tmp_path / "a.svg")
    assert run(*args, "--seed", 5) == first
    assert run(*args, "--seed", 6) != first
    row = policies(first)["ours"]
    assert row["conservation"] < 1e-9 and row["calls"] > 0
    picture = xml.parse(tmp_path / "a.svg").getroot()
    assert picture.tag.endswith("svg") and len(picture) >= 6
    assert "NaN" not in (tmp_path / "a.svg").read_text().replace("aria", "")
    table = run("sim", "--apps", 60, "--days", 3, "--policy", "now")
    assert re.search(r"^now +0 ", table, re.M)


def test_xfaas_day():
    result = json.loads(run("sim", "--load", "xfaas", "--mean-cpus", 10, "--cpus", 12.5, "--days",
                            8, "--warm", 1, "--policy", "ours", "--queue", "--json", "-"))
    row = result["policies"][0]
    assert 4 < row["received_peak_to_trough"] < 4.4
    assert row["executed_peak_to_trough"] <= 1.2
    assert row["utilisation_pct"] >= 75
    assert row["late_cpu_s"] == 0
    assert result["reserved_class"]["p99_growth_pct"] <= 2


def test_trace(tmp_path):
    """Two apps by CSV: what the web app uses stays, the batch moves to noon of a solar grid."""
    lines = ["time,app,calls,cpu_s,deferrable"]
    for day in range(6):
        for hour in range(24):
            at = f"2020-02-{day + 3:02}T{hour:02}:15:00Z"
            lines.append(f"{at},web,10,{1 + hour % 3},0")
            lines.append(f"{at},batch,1,20,1")
    (tmp_path / "trace.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "grid.csv").write_text("time,g_per_kwh\n" + "".join(
        f"{stamp(h)},{solar(h):.2f}\n" for h in range(40 * 24)))
    args = ("sim", "--load", tmp_path / "trace.csv", "--intensity", tmp_path / "grid.csv", "--days",
            6, "--cpus", 4, "--json", "-")
    p = policies(run(*args))
    for row in p.values():
        assert row["apps"] == 2
        assert row["calls"] == 6 * 24 * 11
        assert row["cpu_s"] + row["left_cpu_s"] == pytest.approx(6 * 24 * 22, rel=1e-9)
        assert row["deferrable_cpu_s"] == 6 * 24 * 20
        assert row["late_cpu_s"] == 0
    assert p["clairvoyant"]["saved_g"] > 0.1 * p["clairvoyant"]["baseline_g"]
    (tmp_path / "trace.csv").write_text("time,app,calls,cpu_s,deferrable\n2020-02-03T00:00Z,x,1\n")
    assert "trace.csv:2" in run(*args, fail=True)


def test_azure_trace(tmp_path):
    """The public data set's shape: a row a function, a column a minute, durations beside."""
    head = "HashOwner,HashApp,HashFunction,Trigger," + ",".join(map(str, range(1, 1441)))
    web = "o,a,f1,http," + ",".join("2" if m % 2 else "0" for m in range(1440))
    batch = "o,a,f2,queue," + ",".join("60" if m == 100 else "0" for m in range(1440))
    (tmp_path / "d.csv").write_text("\n".join([head, web, batch]) + "\n")
    (tmp_path / "t.csv").write_text("HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum\n"
                                    "o,a,f2,500,60,1,2\n")
    p = policies(run("sim", "--load", tmp_path / "d.csv", "--durations", tmp_path / "t.csv",
                     "--call-ms", 10, "--days", 2, "--policy", "now,ours", "--json", "-"))
    for row in p.values():
        assert row["apps"] == 2 and row["calls"] == 1440 + 60
        assert row["deferrable_cpu_s"] == pytest.approx(30)
        assert row["cpu_s"] == pytest.approx(30 + 14.4)
    (tmp_path / "d.csv").write_text(f"{head}\n{web}\no,a,f3,http,x\n")
    assert "d.csv:3: minute 1" in run("sim", "--load", tmp_path / "d.csv", fail=True)


def test_against():
    result = json.loads(run("sim", "--apps", 300, "--days", 2, "--against",
                            "always-on,container,microvm", "--json", "-"))
    hosts = {h["host"]: h for h in result["hosts"]}
    assert list(hosts) == ["always-on", "container", "microvm", "ebb"]
    assert len({h["calls"] for h in hosts.values()}) == 1
    # A share of a fleet: fewer servers, fewer grams. Alone on one whole machine that any of them
    # would need, ebb's slower code makes it lose, and the figures say so.
    assert hosts["ebb"]["fleet_g"] < 0.5 * hosts["always-on"]["fleet_g"]
    assert hosts["ebb"]["need"] < hosts["container"]["need"] < hosts["always-on"]["need"]
    assert hosts["ebb"]["machines"] == hosts["always-on"]["machines"] == 1
    assert hosts["ebb"]["joules"] > hosts["always-on"]["joules"]
    assert hosts["container"]["cold_apps"] > hosts["always-on"]["cold_apps"] == 0
    assert 0.1 < result["break_even_utilisation"] < 1
    assert "'vm'" in run("sim", "--against", "vm", fail=True)


def test_capacity(tmp_path):
    args = ("capacity", "--cpus", 16, "--mean", 0.05, "--deviation", 0.2, "--limit", 1,
            "--memory-mb", 64, "--json")
    strict = json.loads(run(*args, "--compliance", 0.9999))
    loose = json.loads(run(*args, "--compliance", 0.99))
    together = json.loads(run(*args, "--compliance", 0.99, "--correlation", 0.3))
    assert 0 < strict["fit"] < loose["fit"]
    assert together["fit"] < loose["fit"] / 2
    assert strict["risk"] <= 1e-4 and loose["risk"] <= 1e-2
    assert json.loads(run(*args, "--memory-gb", 1))["fit"] == 15
    (tmp_path / "use.csv").write_text("t,cpus\n1,0.1\n2,0.3\n3,0.2\n")
    by_file = json.loads(run("capacity", "--use", tmp_path / "use.csv", "--json"))
    assert by_file["mean"] == pytest.approx(0.2) and by_file["deviation"] == pytest.approx(0.1)


@pytest.fixture(scope="module")
def usage(tmp_path_factory):
    path = tmp_path_factory.mktemp("use") / "use.csv"
    lines = ["time,app,calls,cpu_s,wall_s,bytes_in,bytes_out,memory_bytes"]
    for hour in range(60 * 24, 63 * 24):
        if hour % 24 >= 8:
            lines.append(f"{stamp(hour)},shop,100,{40 if hour % 24 == 12 else 4},9,10,20,1000000")
        lines.append(f"{stamp(hour)},\"<b>&night\",1,3")
        lines.append(f"{stamp(hour)},-,0,0.5")
    path.write_text("\n".join(lines).replace('"', "") + "\n")
    return path


def test_report_adds_up(grid, usage):
    args = ("carbon", "report", "--use", usage, "--intensity", grid / "test.csv", "--zone", "ES",
            "--threads", 8, "--pue", 1.2)
    r = json.loads(run(*args))
    rows = [*r["apps"], r["platform"], r["other"]]
    total = r["total"]
    assert [a["app"] for a in r["apps"]] == ["<b>&night", "shop"]
    joules = sum(x["dynamic_j"] + x["idle_share_j"] for x in rows) + total["idle_unallocated_j"]
    assert joules == pytest.approx(total["node_j"], rel=1e-8)
    grams = sum(x["sci"]["operational_g"] for x in rows) + total["operational_unallocated_g"]
    assert grams == pytest.approx(total["operational_g"], rel=1e-8)
    grams = sum(x["sci"]["M_g"] for x in rows) + total["embodied_unallocated_g"]
    assert grams == pytest.approx(total["embodied_g"], rel=1e-8)
    cpu_s = sum(x["cpu_s"] for x in rows)
    assert total["node_j"] == pytest.approx(1.2 * (8 * 0.65 * 3 * 86400 + 2.5 * cpu_s), rel=1e-8)
    assert total["embodied_g"] == pytest.approx(1215e3 * 3 / 4 / 365, rel=1e-8)
    shop = r["apps"][1]
    assert shop["sci"]["g_per_unit"] == pytest.approx(
        (shop["sci"]["operational_g"] + shop["sci"]["M_g"]) / shop["calls"], rel=1e-8)
    assert r["boundary"] and "No offsets" in r["method"]
    assert r["intensity"]["hours"]["measured"] == 72


def test_report_forms(grid, usage):
    args = ("carbon", "report", "--use", usage, "--intensity", grid / "test.csv", "--format")
    page = run(*args, "html")
    html.parser.HTMLParser().feed(page)
    assert "&lt;b&gt;&amp;night" in page and "<b>&night" not in page
    assert "Boundary" in page and "unallocated" in page
    for line in run(*args, "prometheus").splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"\n]*",?)+\})? [-+.e\d]+', line)
    manifest = run(*args, "manifest")
    for word in ("initialize:", "tree:", "functional-unit: requests", "timestamp:", "duration:"):
        assert word in manifest
    assert "format 'pdf'" in run(*args, "pdf", fail=True)


def test_now_and_forecast(grid, tmp_path):
    now = json.loads(run("carbon", "now", "--json", "--intensity", grid / "fit.csv", "--at",
                         stamp(100)))
    assert now["quality"] == "measured"
    assert now["g_per_kwh"] == pytest.approx(solar(100), abs=0.01)
    later = json.loads(run("carbon", "now", "--json", "--intensity", grid / "fit.csv", "--at",
                           stamp(60 * 24 + 5)))
    assert later["quality"] == "filled"
    table = tmp_path / "table.js"
    table.write_text('const data = { "SWE": 35.89, "WORLD": 472.94 };\nexport { data };\n')
    yearly = json.loads(run("carbon", "now", "--json", "--table", table, "--zone", "SWE"))
    assert (yearly["g_per_kwh"], yearly["quality"]) == (35.89, "yearly")
    f = json.loads(run("carbon", "forecast", "--json", "--intensity", grid / "fit.csv", "--hours",
                       48))
    assert f["method"] == "regression" and len(f["forecastData"]) == 48
    for i, point in enumerate(f["forecastData"]):
        assert point["timestamp"] == stamp(60 * 24 + i)
        assert point["value"] == pytest.approx(solar(60 * 24 + i), rel=0.05)
    ahead = {"zone": "X", "forecast": [{"carbonIntensity": 7, "datetime": stamp(60 * 24 + 3)}]}
    (tmp_path / "ahead.json").write_text(json.dumps(ahead))
    with_it = json.loads(run("carbon", "forecast", "--json", "--intensity", grid / "fit.csv",
                             "--published", tmp_path / "ahead.json"))
    assert with_it["published_hours"] == 1 and with_it["forecastData"][3]["value"] == 7
    early = json.loads(run("carbon", "forecast", "--json", "--intensity", grid / "fit.csv", "--at",
                           stamp(72)))
    assert early["method"] == "profile"
    assert "less than a day" in run("carbon", "forecast", "--intensity", grid / "fit.csv", "--at",
                                    stamp(3), fail=True)


@pytest.mark.parametrize("args, word", [
    (("sim", "--dayz", "3"), "--dayz"),
    (("sim", "--days", "x"), "--days"),
    (("sim", "--load", "/nowhere.csv"), "/nowhere.csv"),
    (("sim", "--policy", "best"), "best"),
    (("sim", "--intensity", "/dev/null"), "empty"),
    (("carbon", "later"), "later"),
    (("carbon", "report", "--admin", "/nowhere/ebb.sock"), "no node answers"),
    (("carbon", "now", "--zone", "SWE", "--intensity", "/nowhere.csv"), "/nowhere.csv"),
    (("carbon", "now", "--at", "noon"), "noon"),
    (("capacity", "--mean", "-1"), "--mean"),
])
def test_mistakes_are_named(args, word):
    assert word in run(*args, fail=True)
