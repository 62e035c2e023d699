"""Stages that compare ebb with Wasmtime: the tests of tests/integration, for longer."""
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import test_flatten
import test_values

CASES = 100_000


def many(work, run, groups):
    """The results of run(group, folder) in order, some at a time; the folders go at once."""
    def one(numbered):
        number, group = numbered
        folder = work / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        result = run(group, folder)
        shutil.rmtree(folder)
        return result

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, enumerate(groups)))


def flatten(state, work, arguments):
    """100,000 random modules and groups of modules, flattened and not."""
    size = test_flatten.BATCH
    counts = state.setdefault("counts", {})
    while sum(counts.values()) < CASES:
        begin = state.setdefault("next", arguments.seed)
        groups = [range(k, k + size) for k in range(begin, begin + 20 * size, size)]
        for verdicts in many(work, test_flatten.batch, groups):
            for verdict, n in test_flatten.judge(verdicts).items():
                counts[verdict] = counts.get(verdict, 0) + n
        state["next"] = begin + 20 * size
        yield f"{sum(counts.values())} of {CASES} cases: {counts}"
    assert counts["same"] + counts["same-trap"] >= CASES * 0.6, counts
    state["result"] = {"cases": sum(counts.values()), "seeds": state["next"] - arguments.seed,
                       **counts}
    yield "done"


def values(state, work, arguments):
    """100,000 values of random types, lifted and lowered."""
    size = test_values.BATCH
    counts = state.setdefault("counts", {"returned": 0, "trapped": 0, "worded_otherwise": 0})
    while counts["returned"] + counts["trapped"] < CASES:
        begin = state.setdefault("next", arguments.seed)
        firsts = range(begin, begin + 20 * size, size)
        for found in many(work, test_values.batch, firsts):
            for key, n in zip(counts, found):
                counts[key] += n
        state["next"] = begin + 20 * size
        yield f"{counts['returned'] + counts['trapped']} of {CASES} cases: {counts}"
    assert counts["worded_otherwise"] <= counts["trapped"] * 0.1, counts
    state["result"] = {"cases": counts["returned"] + counts["trapped"],
                       "components": state["next"] - arguments.seed, **counts}
    yield "done"
