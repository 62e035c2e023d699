"""The stage `hostile`: requests of every hostile kind (tests/integration/hostile.py), 100,000 of
each, and how they ended. A kind that was not finished is begun again."""
import statistics

import hostile
from harness import Connection, serving, wait_for, write_app

SAMPLES, GROWN_MAX = 10, 4 << 20


def level(samples):
    """Of each process the median of its resident bytes, and the fewest descriptors it had: more are
    those of connections that are just being closed."""
    return {name: (round(statistics.median(s[name][0] for s in samples)),
                   min(s[name][1] for s in samples)) for name in samples[0]}


def repeat(server, log, goods, kind, total):
    """One kind; returns its figures. What each process holds after a tenth is compared with what it
    holds in the end, ten samples each."""
    pids, n, tally, samples = hostile.processes(server), 0, hostile.Tally(), []
    batches = max(1, total // 300 // hostile.BATCH)
    while n < total:
        for _ in range(batches):
            hostile.batch(server, kind, hostile.BATCH, goods)
        n += batches * hostile.BATCH
        log.read_all(tally, kind, n)
        log.forget()  # four lines a request: not kept
        assert hostile.processes(server) == pids, f"{kind}: a process was replaced"
        if n < total // 10:
            continue
        if len(samples) >= SAMPLES:
            few = level(samples[:SAMPLES])
            wait_for(lambda: all(now[1] <= few[name][1]
                                 for name, now in hostile.resources(pids).items()),
                     f"descriptors to be closed: {few}, {hostile.resources(pids)}")
        samples.append(hostile.resources(pids))
        yield f"{kind}: {n} of {total}"
    assert len(samples) >= 2 * SAMPLES, "give --repetitions 400 or more"
    early, late = level(samples[:SAMPLES]), level(samples[-SAMPLES:])
    grown = {name: late[name][0] - early[name][0] for name in late}
    assert max(grown.values()) <= GROWN_MAX, f"{kind}: memory {early} -> {late}"
    assert 2 * tally.named(kind) > tally.requests, (kind, tally.statuses, tally.reasons)
    return {"requests": n, "statuses": dict(sorted(tally.statuses.items())),
            "reasons": dict(sorted(tally.reasons.items())),
            "memory_bytes_max": tally.memory_bytes_max, "at_memory_max": tally.at_memory_max,
            "resident_bytes": {name: now[0] for name, now in late.items()},
            "resident_grown_bytes": grown,
            "descriptors": {name: now[1] for name, now in late.items()}}


def hostile_kinds(state, work, arguments):
    """100,000 hostile requests of each kind: processes stay and serve others meanwhile, their
    memory and descriptors are level."""
    app = write_app(work / "app", hostile.MANIFEST, hostile.FILES)
    done, total = state.setdefault("kinds", {}), arguments.repetitions
    chosen = arguments.kinds.split(",") if arguments.kinds else list(hostile.KINDS)
    with serving(app, work, workers=2) as server, \
            open(server.log_path, "r+b", buffering=0) as file:
        goods, log = [Connection(server) for _ in range(4)], hostile.Log(file)
        for kind in chosen:
            if done.get(kind, {}).get("requests", 0) < total:
                done[kind] = yield from repeat(server, log, goods, kind, total)
            whole = {k: done[k] for k in chosen if done.get(k, {}).get("requests", 0) >= total}
            state["result"] = {"kinds": whole, "workers": 2}
            state["unfinished"] = f"{len(whole)} of {len(chosen)} kinds"
            yield f"{kind}: {done[kind]}"
        for good in goods:
            good.close()
    del state["unfinished"]
    yield "done"
