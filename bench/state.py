"""The group 'state': key-value, SQL and service chaining, as parts of what a hello reaches."""
import http.client

import common
import measure
import report
from common import GUESTS, say
from servers import ROOT, Ebb

RUN_S = 2
GROUP_S_MAX = 300
SET_CONNECTIONS, SET_RUNS, SLOW_US = 64, 5, 5000
SHIM = ROOT / "build" / "ebb-io-shim.so"
HEAD = 'spin_manifest_version = 2\n[application]\nname = "bench"\n'
ROUTE = '[[trigger.http]]\nroute = "/..."\ncomponent = "c"\n[component.c]\nsource = "{}"\n'
CHAIN = ('allowed_outbound_hosts = ["http://back.spin.internal"]\n[[trigger.http]]\n'
         'route = {{ private = true }}\ncomponent = "back"\n[component.back]\nsource = "{}"\n')


def app(scratch, name, wasm, more=""):
    folder = scratch / f"{name.replace(' ', '-')}.app"
    folder.mkdir(exist_ok=True)
    (folder / "spin.toml").write_text(HEAD + ROUTE.format(GUESTS / f"{wasm}.wasm") + more)
    return folder


def make(scratch, name, wasm, *options, more="", expect=None, **settings):
    server = Ebb(name, app(scratch, name, wasm, more), scratch, *options, **settings)
    server.said = more.replace("\n", "; ").replace(str(ROOT), ".")
    server.expect = expect
    return server


def all_servers(scratch):
    kv, sql = 'key_value_stores = ["default"]\n', 'sqlite_databases = ["default"]\n'
    yield make(scratch, "hello", "hello")
    yield make(scratch, "get 100 B", "c-keyvalue", "--key-value", "k=" + "v" * 100, more=kv,
               path="/v2/get?default&k", expect=b"v" * 100)
    yield make(scratch, "select by key", "c-sqlite", "--sqlite",
               "create table if not exists t (id integer primary key, v text)", "--sqlite",
               "insert or replace into t values (7, 'the row')", more=sql,
               path="/v2/key?default&7", expect=b"'the row'")
    for name, way in (("front to back", "plain"), ("front to back, headers", "short")):
        yield make(scratch, name, "c-chain", more=CHAIN.format(GUESTS / "hello.wasm"),
                   path=f"/{way}?http://back.spin.internal/")


def set_servers(scratch):
    """Each set another value: SQLite writes nothing where the value is the one that is there."""
    script, kv = scratch / "set.lua", 'key_value_stores = ["default"]\n'
    script.write_text('local n, run = 0, os.time()\nfunction request()\n  n = n + 1\n'
                      '  return wrk.format("GET", "/v2/set?default&k" .. n % 1000 .. "&value" .. '
                      'run .. "-" .. n)\nend\n')
    yield make(scratch, "hello, 64", "hello")
    yield make(scratch, "set, 64", "c-keyvalue", more=kv, path="/v2/set?default&k&v",
               script=script, expect=b"ok")
    for name in ("slow set, 64", "slow set, 1"):
        server = make(scratch, name, "c-keyvalue", more=kv, path="/v2/set?default&k&v",
                      script=script, expect=b"ok")
        server.command = ["env", f"LD_PRELOAD={SHIM}", f"IO_SHIM_SLOW_US={SLOW_US}",
                          *server.command]
        yield server


def check(server):
    """Answers are what they should be."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(200):
        c.request("GET", server.path)
        response = c.getresponse()
        text = response.read()
        right = text == server.expect if server.expect else len(text) == 51
        if response.status != 200 or not right:
            raise RuntimeError(f"{server.name}: {response.status} {text[:200]}")
    c.close()
    return []


def sets(scratch, steps):
    """Interleaved rounds with 64 clients (one for the last); the median of each."""
    servers, found = list(set_servers(scratch)), {}
    try:
        for server in servers:
            server.start()
            check(server)
            server.pause()
        for number in range(SET_RUNS):
            for server in servers:
                n = int(server.name.rsplit(" ", 1)[1])

                def run(s=server, n=n):
                    s.resume()
                    try:
                        return measure.wrk(s, RUN_S, n)
                    finally:
                        s.pause()
                found.setdefault(server.name, []).append(
                    steps.do(f"set {number} {server.name}", run))
    finally:
        for server in servers:
            server.stop()
    return [{"name": name, **measure.median(runs)} for name, runs in found.items()]


def bench(facts, scratch, only, steps):
    facts["run_s"], facts["set_connections"], facts["slow_us"] = RUN_S, SET_CONNECTIONS, SLOW_US
    rows = common.measured(common.chosen(all_servers(scratch), only), steps, RUN_S, GROUP_S_MAX,
                           check)
    set_rows = [] if only else sets(scratch, steps)
    runs = common.runs_of(rows + set_rows)
    found = []
    for name, words, must, aim in (("get 100 B", "get of 100 B", 0.7, 0.85),
                                   ("select by key", "select by key", 0.5, 0.5),
                                   ("front to back", "front to back", 0.6, 0.75)):
        common.against(found, runs, words, name, [("part of hello", runs.get("hello"), must, aim)])
    common.against(found, runs, "durable set, 64 clients", "set, 64",
                   [("part of hello", runs.get("hello, 64"), 0.3, 0.5)])
    common.against(found, runs, "set, 64 clients, fsync 5 ms slower", "slow set, 64",
                   [("times one fsync a set", runs.get("slow set, 1"), 20, 45)])
    print(common.table(rows))
    for row in set_rows:
        say(f"{row['name']}: {row['rps']:,.0f}/s, spread {row['spread']:.0%}, "
            f"{row['cpu_us']:.1f} us of CPU")
    print(report.figures(found))
    if runs.get("hello") and runs.get("front to back, headers"):
        part = common.ratio(runs["front to back, headers"], runs["hello"])
        say("front to back where the front also reads its request's headers, for those to pass on: "
            f"{part:.2f} of hello")
    return {"rows": rows, "sets": set_rows, "figures": found}, common.picture("State", rows)
