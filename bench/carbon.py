#!/usr/bin/env python3
"""The carbon and planning figures that need no live server, each from the product's own C code.

    python3 bench/carbon.py --bin BUILD/src/sched/ebb-carbon --data DIR [--only NAME,...]

DIR holds hourly intensities, ZONE_YEAR.csv with `time,g_per_kwh`, for ES, NO, BR, US-CAL-CISO in
2021 and 2022. The forecaster is fitted on 2021 and frozen; 2022 is the test. Needs scipy (for the
linear programme only). Writes bench/results/carbon.json and carbon.svg.

  saved     share of the clairvoyant saving, 24 h slack, capacity unlimited, and the control: told a
            history whose days are shuffled, the forecast must lose its advantage over the profile
  capacity  the same with capacity 1.3 x mean load, against a linear programme that is solved anew
            every hour with the same forecasts
  xfaas     a day with 4.3 x peak to trough, 60 % of compute deferrable
  peaks     violations of peak predictions on synthetic months
  neighbour correlation of one tenant's visible figures with another's load (needs --tests)
  year      a year of 1,000 apps: seconds
  against   always-on, containers, microVMs and ebb over one trace
"""
import argparse
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import report  # noqa: E402

ZONES = {"ES": (80, 88), "NO": (65, 75), "BR": (92, 95), "US-CAL-CISO": (93, 96)}
SHUFFLES = (1, 2, 3)


def sim(args, *options):
    done = subprocess.run([args.bin, "sim", "--json", "-", *map(str, options)], check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def by_policy(result):
    return {p["policy"]: p for p in result["policies"]}


def grid(args, zone):
    return ["--fit", args.data / f"{zone}_2021.csv", "--intensity", args.data / f"{zone}_2022.csv",
            "--days", 366]


def saved(args, out, found):
    """Uniform arrivals, one CPU-second an hour; strict: the running hour is forecast as well."""
    out["saved"] = {}
    for zone, (must, aim) in ZONES.items():
        base = ["--load", "uniform", "--cpus", "inf", "--no-ledger", *grid(args, zone)]
        p = by_policy(sim(args, *base))
        row = {k: p[k]["share_of_clairvoyant_pct"] for k in ("yesterday", "profile", "ours")}
        row["clairvoyant_saves_pct"] = p["clairvoyant"]["saved_pct"]
        row["fit_error_pct"] = p["ours"]["fit_mape_pct"]
        row["mean_delay_h"] = p["ours"]["mean_delay_h"]
        row["advantage_over_profile"] = row["ours"] - row["profile"]
        shuffled, told = [], []
        for seed in SHUFFLES:
            q = by_policy(sim(args, *base, "--shuffle-history", seed))
            told.append(q["ours"]["share_of_clairvoyant_pct"])
            shuffled.append(q["ours"]["share_of_clairvoyant_pct"] -
                            q["profile"]["share_of_clairvoyant_pct"])
        row["ours_with_history_shuffled"] = told
        row["advantage_with_history_shuffled"] = shuffled
        out["saved"][zone] = row
        found.append((f"saved, {zone}, % of clairvoyant", row["ours"], must, aim))
        found.append((f"control, {zone}: advantage left with history shuffled", max(shuffled),
                      0.5, 0))


def linear_programme(args, zone, forecasts, capacity):
    """Rolls a year: every hour the optimum over 48 h for the accepted work and the expected work,
    by scipy; the first hour of it is run. Work is fungible and deadlines are in order of arrival,
    so cumulative bounds describe every feasible schedule exactly."""
    import numpy
    from scipy.optimize import linprog
    with open(args.data / f"{zone}_2022.csv") as f:
        really = [float(r["g_per_kwh"]) for r in csv.DictReader(f)]
    horizon, slack, hours = 48, 24, len(forecasts)
    lower = numpy.tril(numpy.ones((horizon, horizon)))
    both = numpy.vstack([lower, -lower])
    queue, saved_g = [], 0.0        # queue: [hour it must have run in at the latest, work]
    for t in range(hours):
        queue.append([t + slack - 1, 1.0])
        here = sum(w for _, w in queue)
        released = numpy.full(horizon, here)
        due = numpy.zeros(horizon)
        for last, work in queue:
            due[max(last - t, 0):] += work
        for i in range(1, horizon - slack + 1):     # expected: one an hour, whole slack in sight
            released[i:] += 1.0
            due[i + slack - 1:] += 1.0
        res = linprog(forecasts[t], A_ub=both, b_ub=numpy.concatenate([released, -due]),
                      bounds=(0, capacity), method="highs")
        if res.status:
            raise SystemExit(f"linear programme: {res.message}")
        run = min(res.x[0], here)
        while queue and run > 1e-12:
            take = min(run, queue[0][1])
            saved_g += take * (really[queue[0][0] - slack + 1] - really[t])
            queue[0][1] -= take
            run -= take
            if queue[0][1] <= 1e-12:
                queue.pop(0)
    return saved_g, sum(w for _, w in queue)        # what has not run counts for neither side


def capacity(args, out, found):
    """1.3 x mean load. Both sides get the same forecasts, and are paid in what really came."""
    out["capacity"] = {}
    path = pathlib.Path(args.work) / "forecasts.csv"
    cpus = 1.3 / 3600
    for zone in ZONES:
        if args.zones and zone not in args.zones:
            continue
        r = sim(args, "--load", "uniform", "--cpus", f"{cpus:.12g}", "--target", 1, "--headroom", 0,
                "--no-ledger", "--policy", "now,ours,clairvoyant", "--forecasts", path,
                *grid(args, zone))
        p = by_policy(r)
        with open(path) as f:
            rows = list(csv.reader(f))
        forecasts = [[float(v) for v in row[1:]] for row in rows]
        optimum, left = linear_programme(args, zone, forecasts, 1.3)
        joules_per_kwh = 3.6e6
        busy_j = 2.5
        ours = p["ours"]["saved_g"] / busy_j * joules_per_kwh
        share = 100 * ours / optimum
        out["capacity"][zone] = {
            "ours_of_linear_programme_pct": share,
            "ours_of_clairvoyant_pct": p["ours"]["share_of_clairvoyant_pct"],
            "late_cpu_s": p["ours"]["late_cpu_s"], "lp_left_cpu_s": left,
            "saved_pct": p["ours"]["saved_pct"]}
        found.append((f"capacity 1.3, {zone}, % of linear programme", share, 95, 98))
        late = p["ours"]["late_cpu_s"]
        found.append((f"capacity 1.3, {zone}: CPU-seconds late", late, 1e-9, 0))


def xfaas(args, out, found):
    """Capacity is 1.25 x the mean: what the flattened day needs, and some for what is missed."""
    r = sim(args, "--load", "xfaas", "--mean-cpus", 10, "--cpus", 12.5, "--days", 15, "--warm", 1,
            "--policy", "now,ours", "--queue")
    p, q = by_policy(r)["ours"], r["reserved_class"]
    out["xfaas"] = {k: p[k] for k in ("received_peak_to_trough", "executed_peak_to_trough",
                                      "utilisation_pct", "late_cpu_s", "mean_delay_h")}
    out["xfaas"]["reserved_class"] = q
    out["xfaas"]["p99_growth_pct"] = {}
    for call, tick in ((50, 1), (50, 10), (10, 1), (2, 1), (2, 10)):
        r = sim(args, "--load", "xfaas", "--mean-cpus", 10, "--cpus", 12.5, "--days", 4,
                "--warm", 1, "--policy", "ours", "--queue", "--call-ms", call, "--tick-ms", tick)
        out["xfaas"]["p99_growth_pct"][f"calls of {call} ms, tick {tick} ms"] = (
            r["reserved_class"]["p99_growth_pct"])
    found.append(("XFaaS: executed peak to trough", p["executed_peak_to_trough"], 1.4, 1.2))
    found.append(("XFaaS: daily mean utilisation, %", p["utilisation_pct"], 66, 75))
    found.append(("XFaaS: deadlines missed, CPU-seconds", p["late_cpu_s"], 1e-9, 0))
    found.append(("XFaaS: growth of the reserved class's p99, %", max(0.0, q["p99_growth_pct"]),
                  10, 2))


def peaks(args, out, found):
    """Two months each: a week to learn, the rest judged; 1,000 apps; three seeds."""
    out["peaks"] = {}
    for correlation in (0, 0.5, 1):
        rows = []
        for seed in (1, 2, 3):
            r = sim(args, "--load", "apps", "--days", 62, "--policy", "now", "--no-ledger",
                    "--seed", seed, "--correlation", correlation)
            rows.append(r["policies"][0]["peaks"])
        judged = sum(x["judged"] for x in rows)
        violations = 100 * sum(x["violations"] * x["judged"] for x in rows) / judged
        saving = 100 * (1 - sum(x["predicted"] for x in rows) / sum(x["limits"] for x in rows))
        out["peaks"][str(correlation)] = {
            "violations_pct": violations, "judged": judged, "capacity_saved_pct": saving,
            "factor": [x["factor"] for x in rows],
            "saved_by_method_pct": {m: 100 * (1 - sum(x["by_method"][m] for x in rows) /
                                              sum(x["limits"] for x in rows))
                                    for m in rows[0]["by_method"]},
            "gain": [x["gain"] for x in rows]}
        found.append((f"peaks, correlation {correlation}: violations at 99.9 %, %", violations,
                      0.1, 0.05))


def neighbour(args, out, found):
    """tests/unit/carbon_visible.c prints them: 10,000 windows, five seeds, both signs."""
    if not args.tests:
        print("neighbour: skipped, no --tests")
        return
    done = subprocess.run([args.tests / "test_carbon_visible"], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = [abs(float(v)) for line in done.stdout.splitlines() if "seed" in line
            for v in re.findall(r"(?:CPU-s|J) ([-+][.0-9]+)", line)]
    out["neighbour"] = {"largest_correlation": max(seen), "runs": len(seen)}
    found.append(("neighbour: largest correlation of 20", max(seen), 0.05, 0.05 / 1.5))


def year(args, out, found):
    best = None
    for _ in range(2):
        start, used = time.monotonic(), os.times().children_user
        r = sim(args, "--load", "apps", "--policy", "ours", *grid(args, "ES")[:4], "--days", 365)
        run = (time.monotonic() - start, os.times().children_user - used)
        best = min(best or run, run)
    best, cpu_s = best
    p = r["policies"][0]
    out["year"] = {"seconds": best, "cpu_s": cpu_s, "apps": p["apps"], "calls": p["calls"],
                   "conservation": p["conservation"], "late_cpu_s": p["late_cpu_s"],
                   "saved_pct": p["saved_pct"]}
    found.append(("a year of 1,000 apps, s", best, 60, 10))
    found.append(("  its books: largest gap of a day, relative", p["conservation"], 1e-6, 1e-9))


def against(args, out, found):
    out["against"] = {}
    for name, intensity in (("clean grid, 30 g/kWh", 30), ("mean grid, 300 g/kWh", 300)):
        out["against"][name] = sim(args, "--against", "always-on,container,microvm", "--days", 7,
                                   "--grid", intensity)


PARTS = {f.__name__: f for f in (saved, capacity, xfaas, peaks, neighbour, year, against)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--tests", type=pathlib.Path, help="folder of the built unit tests")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--zones", type=lambda s: s.split(","))
    parser.add_argument("--work", default="/tmp")
    args = parser.parse_args()
    path = report.RESULTS / "carbon.json"
    out = json.loads(path.read_text()) if path.exists() else {}
    missed = False
    for name in args.only.split(","):
        found = []
        PARTS[name](args, out, found)
        text = report.figures(found)
        missed |= "MISSED" in text
        print(f"{name}:\n{text}" if found else f"{name}: reported only", flush=True)
    picture = report.bars("Carbon saved, share of the clairvoyant saving, 2022", "%",
                          [(f"{'ebb' if k == 'ours' else k}, {zone}", row[k], "")
                           for zone, row in out.get("saved", {}).items()
                           for k in ("yesterday", "profile", "ours")]) if out.get("saved") else None
    report.save("carbon", out, picture)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
