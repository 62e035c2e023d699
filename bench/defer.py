"""The group 'defer': how fast calls that may wait are accepted, each fsynced before its 202."""
import datetime
import http.client
import re
import sqlite3
import statistics

import measure
import report
import state
from common import GUESTS, say
from servers import Ebb

CONNECTIONS, RUNS, RUN_S, BODY_BYTES = 64, 7, 3, 100
MUST, AIM = 5000, 15000
# 50 ms of CPU are expected of a call while none has run: until tomorrow the clean hours have room
# for one million, which a quick machine accepts. Once they are full the first calls run at once.
DEFERS = '[component.c.tool.ebb.defer]\nslack = "2d"\n'
SCRIPT = ('wrk.method = "POST"\nwrk.body = string.rep("x", {})\n'
          'wrk.headers["content-type"] = "text/plain"\nwrk.headers["prefer"] = "respond-async"\n')


def grid(scratch):
    """Settings of a grid that is dirty for ten hours and then clean: what is accepted waits."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0)
    hours = [now + datetime.timedelta(hours=n) for n in range(-2, 60)]
    lines = [f"{t:%Y-%m-%dT%H:%M:%SZ},{600 if t < hours[12] else 50}" for t in hours]
    (scratch / "grid.csv").write_text("time,g_per_kwh\n" + "\n".join(lines) + "\n")
    settings = scratch / "carbon.toml"
    settings.write_text('zone = "X"\nprovider = "file"\nfile = "grid.csv"\n')
    return settings


def make(scratch):
    script = scratch / "defer.lua"
    script.write_text(SCRIPT.format(BODY_BYTES))
    folder = state.app(scratch, "accept", "hello", DEFERS)
    server = Ebb("accept", folder, scratch, "--carbon", grid(scratch), script=script)
    server.said = "; ".join(DEFERS.splitlines())
    server.queue = folder / ".spin/ebb/queue/queue.db"
    yield server
    server = state.make(scratch, "hello, 64", "hello")
    yield server


def kept(server):
    """Calls by state as the queue's file has them."""
    with sqlite3.connect(f"file:{server.queue}?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*), sum(phase >= 5) FROM call").fetchone()


def check(server):
    """Each of 200 is accepted under a name of its own, waits, and can be asked for."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    names = set()

    def ask(method, path, **more):
        c.request(method, path, **more)
        response = c.getresponse()
        return response, response.read()
    for _ in range(200):
        response, text = ask("POST", "/", body="x" * BODY_BYTES,
                             headers={"prefer": "respond-async"})
        if response.status != 202:
            raise RuntimeError(f"{response.status} {text[:200]}")
        names.add(response.headers["location"])
    if len(names) != 200:
        raise RuntimeError("two calls have one name")
    response, text = ask("GET", max(names))
    if response.status != 200 or b'"state":"waiting"' not in text:
        raise RuntimeError(f"it does not wait: {response.status} {text[:500]}")
    c.close()


def bench(facts, scratch, only, steps):
    facts.update(connections=CONNECTIONS, runs=RUNS, run_s=RUN_S, body_bytes=BODY_BYTES)
    accept, hello = servers = list(make(scratch))
    found = {}
    try:
        for server in servers:
            server.start()
            (check if server is accept else state.check)(server)
            measure.wrk(server, 1, CONNECTIONS)
            server.pause()
        accept.resume()
        before = kept(accept)[0]
        for number in range(RUNS):
            for server in servers:
                server.resume()
                run = measure.wrk(server, RUN_S, CONNECTIONS)
                server.pause()
                found.setdefault(server.name, []).append(run)
                if server is accept:
                    now, ended = kept(accept)
                    more = now - before
                    # Clients that leave have asked once more each: in this run, and in the one
                    # before, whose last requests are read when the server goes on.
                    if not run["requests"] <= more <= run["requests"] + 2 * CONNECTIONS or ended:
                        raise RuntimeError(f"run {number}: {run['requests']} were accepted, the "
                                           f"queue has {more} more, {ended} have ended")
                    before = now
    finally:
        for server in servers:
            server.stop()
    rows = [{"name": s.name, "settings": s.settings(),
             "rps": statistics.median(r["rps"] for r in found[s.name]),
             "spread": measure.spread([r["rps"] for r in found[s.name]]),
             "runs_rps": [r["rps"] for r in found[s.name]],
             **{k: statistics.median(r[k] for r in found[s.name])
                for k in ("p50_us", "p99_us", "cpu_us")}} for s in servers]
    for row in rows:
        say(f"{row['name']}: {row['rps']:,.0f}/s, spread {row['spread']:.0%}, median "
            f"{row['p50_us'] / 1e3:.1f} ms, p99 {row['p99_us'] / 1e3:.1f} ms, "
            f"{row['cpu_us']:.1f} us of CPU")
    figures = [("accepted a second, durable, 64 clients, one core", rows[0]["rps"], MUST, AIM)]
    print(report.figures(figures))
    return {"rows": rows, "figures": figures, "calls_in_the_queue": before}, None
