"""Stage `waiting`: a million deferred calls wait. What the store process takes for them, and how
long it takes to plan anew: the sums by deadline are asked for and the plan of two days is made, as
the keeper does. Calls are due within a day, of 100 tenants, and say 360 bytes each."""
import json
import subprocess

from harness import ROOT

KIT = ROOT / "build" / "ebb-queue-kit"
CALLS, STEP = 1_000_000, 50_000
IN_FLIGHT, SPREAD_S = 64, 86_400
MEMORY_MUST_KB, PLAN_MUST_S = 50 * 1024, 2.0


def kit(*arguments):
    done = subprocess.run([KIT, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def waiting(state, work, arguments):
    file = work / "queue.db"
    if "accepted" not in state:
        for old in work.glob("queue.db*"):
            old.unlink()
        state.update(accepted=0, wall_s=0.0, cpu_s=0.0, store_peak_kb=0)
        state["plan_of_none"] = kit("plan", file, 3)
    while state["accepted"] < CALLS:
        r = kit("accept", file, STEP, IN_FLIGHT, SPREAD_S)
        state["accepted"] += r["calls"]
        state["wall_s"] += r["wall_s"]
        state["cpu_s"] += (r["store_cpu_us"] + r["client_cpu_us"]) * r["calls"] / 1e6
        state["store_peak_kb"] = max(state["store_peak_kb"], r["store_rss_kb"])
        state["last_step_per_s"] = r["calls_per_s"]
        yield f"{state['accepted']} accepted, {r['calls_per_s']} a second"
    plan, none = kit("plan", file, 10), state["plan_of_none"]
    assert plan["waiting"] == CALLS, plan
    assert plan["worst_s"] <= PLAN_MUST_S, plan
    assert plan["store_rss_kb"] <= MEMORY_MUST_KB, plan
    run = kit("run", file, 5000)
    state["result"] = {
        "calls": CALLS, "tenants": 100, "due_within_s": SPREAD_S,
        "file_bytes": file.stat().st_size,
        "plan_first_s": plan["first_s"], "plan_worst_s": plan["worst_s"],
        "store_anonymous_kb": plan["store_anonymous_kb"], "store_pss_kb": plan["store_pss_kb"],
        "store_rss_kb": plan["store_rss_kb"],
        "store_anonymous_kb_with_none": none["store_anonymous_kb"],
        "store_peak_rss_kb_while_accepting": state["store_peak_kb"],
        "in_flight": IN_FLIGHT, "accepted_per_s": round(CALLS / state["wall_s"]),
        "accepted_per_s_at_the_end": state["last_step_per_s"],
        "accept_cpu_us": round(state["cpu_s"] / CALLS * 1e6, 1),
        "lease_and_end_cpu_us": run["store_cpu_us"]}
    for old in work.glob("queue.db*"):
        old.unlink()
    yield "done"
