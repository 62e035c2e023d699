"""The group 'deploys': apps of blobs that the node has already, each deployed durably."""
import hashlib
import http.client
import json
import statistics
import subprocess
import time

import admin
import measure
import report
from common import GUESTS, say
from servers import ROOT, Ebb

CLIENTS, RUNS, RUN_S, BULK_APPS, CALLED = 16, 7, 3, 10_000, 50
MUST, AIM = 200, 1000
#: Of wrk: names count up, or go round a thousand apps that are there already.
SCRIPT = """
wrk.headers["authorization"] = "Bearer {token}"
local n, body = 0, [==[{body}]==]
request = function()
  n = n + 1
  local name = "{prefix}-" .. ({around} > 0 and n % {around} or n)
  return wrk.format("PUT", "/v1/tenants/default/apps/" .. name, nil, (body:gsub("NAME", name)))
end
"""


class Serve(Ebb):
    """`ebb serve` on a folder of its own; `port` is that of its admin API."""

    def __init__(self, name, scratch):
        super().__init__(name, "", scratch)
        (scratch / "data").mkdir()
        (scratch / "data" / "ebb.toml").write_text("[quota]\napps = 0\n")
        self.apps_port, self.token, self.said = None, None, "[quota]; apps = 0"
        self.command = [str(a) for a in (
            ROOT / "build" / "ebb", "serve", "--data", scratch / "data", "--workers", "1",
            "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json")]

    def port_said(self):
        """Of the admin API; keeps the other one, and the operator's token."""
        self.apps_port = int(self.ready["address"].rpartition(":")[2])
        self.token = self.ready["token"]
        return int(self.ready["admin"].rpartition(":")[2])

    def ask(self, method, path, body=None):
        return admin.ask(f"127.0.0.1:{self.port}", self.token, method, path, body)

    def names(self):
        return admin.names(f"127.0.0.1:{self.port}", self.token)

    def answers(self, name):
        """The app answers under its host."""
        c = http.client.HTTPConnection("127.0.0.1", self.apps_port, timeout=60)
        c.request("GET", "/", headers={"Host": f"{name}-default.localhost"})
        answer = c.getresponse()
        text = answer.read()
        c.close()
        if answer.status != 200 or not text.startswith(b"Hello from C!"):
            raise RuntimeError(f"{name}: {answer.status} {text[:200]!r}")


def timed(server, scratch, body, prefix, around):
    server.script = scratch / "deploys.lua"
    server.script.write_text(SCRIPT.format(token=server.token, body=json.dumps({"app": body}),
                                           prefix=prefix, around=around))
    return measure.wrk(server, RUN_S, CLIENTS)


def bulk(server, scratch, body):
    """Apps a second of `ebb deploy --bulk`."""
    lines = scratch / "bulk.jsonl"
    lines.write_text("".join(json.dumps({"name": f"bulk-{n}", "app": body}).replace(
        "NAME", f"bulk-{n}") + "\n" for n in range(BULK_APPS)))
    begun = time.monotonic()
    subprocess.run([ROOT / "build" / "ebb", "deploy", "--bulk", lines, "--tenant", "default",
                    "--node", f"http://127.0.0.1:{server.port}", "--token", server.token],
                   check=True, stdout=subprocess.DEVNULL)
    return BULK_APPS / (time.monotonic() - begun)


def bench(facts, scratch, only, steps):
    facts.update(connections=CLIENTS, runs=RUNS, run_s=RUN_S, bulk_apps=BULK_APPS)
    content = (GUESTS / "hello.wasm").read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    body = admin.locked("NAME", digest)  # its name is put in for each
    server, found = Serve("deploys", scratch), {"new apps": [], "new revisions": []}
    try:
        server.start()
        server.ask("PUT", f"/v1/tenants/default/blobs/{digest}", content)
        for n in range(1000):
            name = f"old-{n}"
            server.ask("PUT", f"/v1/tenants/default/apps/{name}",
                       json.dumps({"app": body}).replace("NAME", name))
        before = server.names()
        for number in range(RUNS):
            found["new apps"].append(timed(server, scratch, body, f"new-{number}", 0))
            found["new revisions"].append(timed(server, scratch, body, "old", 1000))
        after, made = server.names(), sum(r["requests"] for r in found["new apps"])
        if not made <= len(after - before) <= made + RUNS * CLIENTS or before - after:
            raise RuntimeError(f"{made} apps were deployed, there are {len(after - before)} more")
        for name in sorted(after)[::len(after) // CALLED]:
            server.answers(name)
        bulk_rate = bulk(server, scratch, body)
        server.answers(f"bulk-{BULK_APPS - 1}")
    finally:
        server.stop()
    rows = [{"name": name, "settings": server.settings(),
             "rps": statistics.median(r["rps"] for r in runs),
             "spread": measure.spread([r["rps"] for r in runs]),
             "runs_rps": [r["rps"] for r in runs],
             **{k: statistics.median(r[k] for r in runs) for k in ("p50_us", "p99_us", "cpu_us")}}
            for name, runs in found.items()]
    for row in rows:
        say(f"{row['name']}: {row['rps']:,.0f}/s, spread {row['spread']:.0%}, median "
            f"{row['p50_us'] / 1e3:.1f} ms, p99 {row['p99_us'] / 1e3:.1f} ms, "
            f"{row['cpu_us']:.0f} us of CPU")
    figures = [("new apps of known blobs a second, 16 clients", rows[0]["rps"], MUST, AIM),
               ("new revisions of known blobs a second, 16 clients", rows[1]["rps"], MUST, AIM),
               ("apps a second by ebb deploy --bulk", bulk_rate, MUST, AIM)]
    print(report.figures(figures))
    return {"rows": rows, "figures": figures}, None
