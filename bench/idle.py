"""The group 'idle': wake-ups with nothing to do."""
import time

import measure
from common import GUESTS, say
from servers import Ebb

SECONDS = 10


def bench(facts, scratch, only, steps):
    """Waits until what was kept for later requests is gone, then counts context switches."""
    server = Ebb("ebb", GUESTS / "hello.wasm", scratch)
    try:
        server.start()
        for _ in measure.responses(server.port, 1000):
            pass
        say("served 1,000 requests; waiting for its instances to go")
        before, deadline = server.context_switches(), time.monotonic() + 120
        while True:
            time.sleep(SECONDS)
            after = server.context_switches()
            woken = {k: (name, n - before.get(k, ("", 0))[1]) for k, (name, n) in after.items()}
            total = sum(n for _, n in woken.values())
            if total == 0 or time.monotonic() > deadline:
                break
            before = after
    finally:
        server.stop()
    for (pid, tid), (name, n) in sorted(woken.items()):
        print(f"  {pid:>8} {tid:>8}  {name:<16} {n:>6}")
    print(f"context switches over {SECONDS} s, idle: {total} (must 0)")
    return {"switches": total, "seconds": SECONDS,
            "threads": [[p, t, name, n] for (p, t), (name, n) in woken.items()]}, None
