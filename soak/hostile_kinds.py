"""The stage `hostile`: requests of every hostile kind (tests/integration/hostile.py), 100,000 of
each, and how they ended. A kind that was not finished is begun again."""
import hostile
from harness import Connection, serving, wait_for, write_app


def repeat(server, log, goods, kind, total):
    """One kind; returns its figures."""
    pids = server.children("worker")
    base, n, peak, tally = None, 0, 0, hostile.Tally()
    while n < total:
        for _ in range(20):
            hostile.batch(server, kind, hostile.BATCH, goods)
        n += 20 * hostile.BATCH
        log.read_all(tally, kind, n)
        log.forget()  # four lines a request: not kept
        assert server.children("worker") == pids, f"{kind}: a worker was replaced"
        if base is None and n < 2_000:
            continue
        wait_for(lambda: base is None or hostile.resources(pids)[1] <= base[1] + 8,
                 "descriptors to be closed")
        now = hostile.resources(pids)
        base = base or now
        peak = max(peak, now[0] - base[0])
        assert peak < 16 << 20, f"{kind}: memory {base} -> {now} after {n}"
        yield f"{kind}: {n} of {total}"
    assert 2 * tally.named(kind) > tally.requests, (kind, tally.statuses, tally.reasons)
    return {"requests": n, "statuses": dict(sorted(tally.statuses.items())),
            "reasons": dict(sorted(tally.reasons.items())),
            "memory_bytes_max": tally.memory_bytes_max, "at_memory_max": tally.at_memory_max,
            "memory_grown_bytes": peak}


def hostile_kinds(state, work, arguments):
    """100,000 hostile requests of each kind: workers stay and serve others meanwhile, memory and
    descriptors are level."""
    app = write_app(work / "app", hostile.MANIFEST, hostile.FILES)
    done, total = state.setdefault("kinds", {}), arguments.repetitions
    chosen = arguments.kinds.split(",") if arguments.kinds else list(hostile.KINDS)
    with serving(app, work, workers=2) as server, \
            open(server.log_path, "r+b", buffering=0) as file:
        goods, log = [Connection(server) for _ in range(4)], hostile.Log(file)
        for kind in chosen:
            if done.get(kind, {}).get("requests", 0) < total:
                done[kind] = yield from repeat(server, log, goods, kind, total)
                yield f"{kind}: {done[kind]}"
        for good in goods:
            good.close()
    state["result"] = {"kinds": {k: done[k] for k in chosen}, "workers": 2}
    yield "done"
