"""Stage `calls`: 100,000 deferred calls, while 200 times a process is killed with kill -9 (the
store process or one of two workers) and 50 times the power is cut: everything is killed at one
moment and the folder is put back to what was fsynced (durability.py). Without HTTP and guests: the
programs are those of tests/kit/queue_storm.c, the store process is ebb's.

A call that was acknowledged is lost if at the end it is not done, or never ran. Every run is
counted where no crash reaches it; one more than the first is a duplicate, and may only be where the
lease before had expired, or was given back because its worker had died.
"""
import json
import random
import shutil
import subprocess

from durability import SHIM, put_back
from harness import ROOT

STORM = ROOT / "build" / "ebb-queue-storm"
CALLS, KILLS, CUTS = 100_000, 200, 50


def storm(*arguments, shim=False):
    env = {"LD_PRELOAD": str(SHIM), "IO_SHIM_DURABLE": ".durable"} if shim else {}
    done = subprocess.run([STORM, *map(str, arguments)], env=env, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def calls(state, work, arguments):
    folder, ledger = work / "queue", work / "ledger"
    file, durable = folder / "queue.db", folder / ".durable"
    if "cuts" not in state:
        shutil.rmtree(folder, ignore_errors=True)
        ledger.unlink(missing_ok=True)
        durable.mkdir(parents=True)
        (durable / "names").write_text("")
        state.update(cuts=0, put_back=0)
    while state["cuts"] < CUTS:
        cut = state["cuts"]
        goal = CALLS * (cut + 1) // CUTS
        kills = KILLS * (cut + 1) // CUTS - KILLS * cut // CUTS
        storm("live", file, ledger, goal, kills, arguments.seed + cut, shim=True)
        state["put_back"] += put_back(folder, durable, random.Random(arguments.seed + cut))[1]
        state["cuts"] += 1
        yield f"{goal} accepted, {state['cuts']} cuts"
    r = json.loads(storm("end", file, ledger))
    assert r["lost"] == 0 and r["done"] == r["all"] >= r["accepted"] >= CALLS, r
    assert r["duplicates_within_a_lease"] == r["runs_after_an_end"] == 0, r
    assert r["kills_of_workers"] + r["kills_of_the_store"] == KILLS, r
    state["result"] = {**r, "power_cuts": CUTS, "files_put_back": state["put_back"], "workers": 2}
    yield "done"
