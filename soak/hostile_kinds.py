"""The stage `hostile`: requests of every hostile kind (tests/integration/hostile.py), 100,000 of
each."""
import hostile
from harness import Connection, serving, wait_for, write_app

REPETITIONS = 100_000


def hostile_kinds(state, work, arguments):
    """100,000 hostile requests of each kind: workers stay and serve others meanwhile, memory and
    descriptors are level."""
    app = write_app(work / "app", hostile.MANIFEST, hostile.FILES)
    done = state.setdefault("kinds", {})
    with serving(app, work, workers=2) as server, \
            open(server.log_path, "r+b", buffering=0) as file:
        pids = server.children("worker")
        goods = [Connection(server) for _ in range(4)]
        log = hostile.Log(file)  # four lines a request: not kept
        for kind in hostile.KINDS:
            base, n = None, done.get(kind, {}).get("requests", 0)
            peak = done.get(kind, {}).get("memory_grown_bytes", 0)
            while n < REPETITIONS:
                for _ in range(20):
                    hostile.batch(server, kind, hostile.BATCH, goods)
                n += 20 * hostile.BATCH
                if base is None and n < 2_000:
                    continue
                wait_for(lambda: base is None or hostile.resources(pids)[1] <= base[1] + 8,
                         "descriptors to be closed")
                now = hostile.resources(pids)
                base = base or now
                peak = max(peak, now[0] - base[0])
                assert peak < 16 << 20, f"{kind}: memory {base} -> {now} after {n}"
                assert server.children("worker") == pids, f"{kind}: a worker was replaced"
                done[kind] = {"requests": n, "memory_grown_bytes": peak}
                log.read()
                log.forget()
                yield f"{kind}: {n} of {REPETITIONS}"
        for good in goods:
            good.close()
    state["result"] = {"kinds": done, "workers": 2}
    yield "done"
