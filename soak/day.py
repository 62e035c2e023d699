"""Stage `day`: XFaaS's day on a real `ebb serve`, beside `ebb sim` on the same input.

A day of calls is made from the seed: load swings 4.3 x from peak to trough, 60 % of the CPU time
may wait for a day; calls take 50 ms of CPU time on average, exponentially, and come at random. The
node has one worker on a core of its own and `day_s` = 144 bins of --seconds-per-bin (25: a day in
an hour), so that an hour of its day is 6 bins long; client and all other processes have the other
core. Calls that may wait are sent with `Prefer: respond-async` and `Ebb-Deadline: day_s`, the
others are plain requests. The guest computes for the CPU time that the trace says, by its clock:
the core of a virtual machine may take half as long again for the same work from one hour to the
next, the simulator's never does, and the difference would be all that one sees. The grid's
intensity for all of the time (hourly, mildly cleaner when load is low) is known to both: the node
has it as a file, the simulator runs its policy `clairvoyant`.

Neither node nor simulator knows anything at first, so --warm-hours of the day pass before what is
compared begins. Then a day is measured:

- executed CPU time of apps by hour, from the node's usage records: peak to trough, utilisation of
  the worker's core, and grams (CPU-seconds x the node's joules for one x intensity of that hour):
  each within 10 % of what `ebb sim` says of the same trace;
- no call that has ended or waits is past its deadline, none has failed;
- reserved calls were charged the CPU time that they asked for, within 5 %: else the guest could not
  tell what it had, and the run says nothing;
- p99 of reserved calls (from the moment each was due to its answer) within 10 % of a second run, in
  which the calls that may wait are not sent at all (as `ebb sim --queue` compares), over the same
  calls: the --alone-hours about the peak of load.
"""
import collections
import csv
import datetime
import io
import json
import math
import os
import random
import select
import selectors
import shutil
import socket
import statistics
import subprocess
import time
import urllib.parse
from pathlib import Path

from harness import EBB, guest, write_app
from node import node

RATIO, WAITING_SHARE, MEAN_CPUS = 4.3, 0.6, 0.625
CALL_S, CALL_S_MIN = 0.05, 0.001
BINS, BINS_PER_HOUR = 144, 6
PEAK_HOUR = 6  # of the simulated day
GRID_MEAN, GRID_SWING = 250, 5  # XFaaS shapes load alone: mild, so that it does here too
WITHIN, CHARGED_WITHIN = 0.10, 0.05
WORKER_CORE, OTHER_CORE = 0, 1
HISTORY_HOURS, AHEAD_HOURS = 24, 60
STEP_S, HOUR_S = 300, 3600  # of the simulator
EPOCH = 1704153600  # a midnight: where the simulator's day begins
KINDS = ("web", "batch")

MANIFEST = """
spin_manifest_version = 2
[application]
name = "{name}"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{source}"
[component.c.tool.ebb]
{defer}
"""

Call = collections.namedtuple("Call", "at kind cpu_s")  # seconds after the start; of KINDS


class Plan:
    """What is sent, and the grid: the same for the node and the simulator."""

    def __init__(self, seed, seconds_per_bin, warm_hours, day_hours, alone_hours):
        self.hour_s = seconds_per_bin * BINS_PER_HOUR
        assert self.hour_s == int(self.hour_s) and 3600 % self.hour_s == 0, \
            "--seconds-per-bin: an hour of six of them must divide an hour (25, 20, 10, 5, 2.5)"
        self.hour_s = int(self.hour_s)
        self.day_s = 24 * self.hour_s
        self.scale = HOUR_S / self.hour_s
        self.warm, self.hours = warm_hours, warm_hours + day_hours
        self.random = random.Random(seed)
        self.calls = sorted(self.arrivals(), key=lambda c: c.at)
        self.grid = [GRID_MEAN - GRID_SWING * math.cos((h + 0.5 - PEAK_HOUR - 12) * math.pi / 12) +
                     self.random.gauss(0, 2)
                     for h in range(-HISTORY_HOURS, self.hours + AHEAD_HOURS)]
        peak = self.warm + (PEAK_HOUR - self.warm) % 24
        first = min(max(peak - alone_hours // 2, self.warm), self.hours - alone_hours)
        self.alone = (first, first + alone_hours) if alone_hours else (self.warm, self.hours)

    def level(self, at):
        swing = (RATIO - 1) / (RATIO + 1)
        return MEAN_CPUS * (1 + swing * math.cos((at / self.hour_s - PEAK_HOUR) * math.pi / 12))

    def arrivals(self):
        for kind, share in (("web", 1 - WAITING_SHARE), ("batch", WAITING_SHARE)):
            top, at = MEAN_CPUS * 2 * share / CALL_S, 0.0
            while (at := at + self.random.expovariate(top)) < self.hours * self.hour_s:
                if self.random.random() < self.level(at) / (MEAN_CPUS * 2):
                    yield Call(at, kind, max(self.random.expovariate(1 / CALL_S), CALL_S_MIN))

    def intensity(self, hour):
        return self.grid[HISTORY_HOURS + hour]


def when(s):
    return datetime.datetime.fromtimestamp(s, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the simulator -------------------------------------------------------------------------------


def simulate(plan, work):
    """Executed CPUs by hour, and what the simulator prints of itself."""
    steps = collections.defaultdict(lambda: [0, 0.0])
    for c in plan.calls:
        step = steps[int(c.at * plan.scale // STEP_S), c.kind]
        step[0] += 1
        step[1] += c.cpu_s * plan.scale
    lines = ["time,app,calls,cpu_s,deferrable"]
    for (step, kind), (n, cpu_s) in sorted(steps.items()):
        lines.append(f"{when(EPOCH + step * STEP_S)},{kind},{n},{cpu_s:.6f},{int(kind == 'batch')}")
    (work / "trace.csv").write_text("\n".join(lines) + "\n")
    grid_write(work / "grid-sim.csv", plan, EPOCH, HOUR_S)
    done = subprocess.run(
        [EBB, "sim", "--load", work / "trace.csv", "--intensity", work / "grid-sim.csv", "--days",
         str(math.ceil(plan.hours / 24)), "--cpus", "1", "--slack", "24", "--policy", "clairvoyant",
         "--steps", work / "steps.csv", "--json", work / "sim.json"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(work / "steps.csv") as f:
        rows = [float(r["reserved"]) + float(r["deferred"]) for r in csv.DictReader(f)]
    per = HOUR_S // STEP_S
    late = json.loads((work / "sim.json").read_text())["policies"][0]["late_cpu_s"]
    return [sum(rows[h * per:(h + 1) * per]) / per for h in range(plan.hours)], late


def grid_write(path, plan, start, hour_s):
    first = start - HISTORY_HOURS * hour_s
    rows = [f"{when(first + i * hour_s)},{g:.4f}" for i, g in enumerate(plan.grid)]
    path.write_text("time,g_per_kwh\n" + "\n".join(rows) + "\n")


# --- the client ----------------------------------------------------------------------------------


class Client:
    """Sends calls when they are due, over kept connections, and hears the answers."""

    def __init__(self, n, plan, charged_each):
        self.n, self.plan, self.charged_each = n, plan, charged_each
        self.waits, self.idle = selectors.DefaultSelector(), []
        self.took, self.refused = {}, []  # seconds by number of the call

    def request(self, c):
        later = f"Prefer: respond-async\r\nEbb-Deadline: {self.plan.day_s}\r\n"
        return (f"GET /work?{round(c.cpu_s / self.charged_each * 1e6)} HTTP/1.1\r\n"
                f"Host: {c.kind}-default.localhost:{self.n.port}\r\n"
                f"{later if c.kind == 'batch' else ''}\r\n").encode()

    def connection(self):
        """A kept one that the server has not closed meanwhile, or a new one."""
        while self.idle:
            s = self.idle.pop()
            if not select.select([s], [], [], 0)[0]:
                return s
            s.close()
        return socket.create_connection((self.n.host, self.n.port))

    def send(self, i, c, due):
        s = self.connection()
        s.sendall(self.request(c))
        self.waits.register(s, selectors.EVENT_READ, (i, c, due, bytearray()))

    def hear(self, key):
        i, c, due, got = key.data
        data = key.fileobj.recv(65536)
        got += data
        head, end, body = got.partition(b"\r\n\r\n")
        if data and not (end and len(body) >= length_of(head)):
            return
        self.waits.unregister(key.fileobj)
        if not got:  # it was closed while the request was on its way
            key.fileobj.close()
            self.send(i, c, due)
            return
        status = bytes(head[9:12])
        if status != (b"202" if c.kind == "batch" else b"200"):
            self.refused.append((i, c.kind, bytes(got[:300]).decode(errors="replace")))
        self.took[i] = time.time() - due
        if data:
            self.idle.append(key.fileobj)
        else:
            key.fileobj.close()

    def run(self, start, calls):
        """A generator: yields every few seconds with the time since the start."""
        sent, said = 0, time.time()
        while sent < len(calls) or self.waits.get_map():
            now = time.time()
            while sent < len(calls) and start + calls[sent][1].at <= now:
                i, c = calls[sent]
                self.send(i, c, start + c.at)
                sent += 1
            until = start + calls[sent][1].at - time.time() if sent < len(calls) else 1
            wait = min(max(until, 0), 1)
            if not self.waits.get_map():
                time.sleep(wait)
            for key, _ in self.waits.select(wait) if self.waits.get_map() else ():
                self.hear(key)
            if now - said > 5:
                said = now
                yield now - start
        for s in self.idle:
            s.close()


def length_of(head):
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


# --- the node ------------------------------------------------------------------------------------


def settings(plan):
    quota = {"requests_per_s": 0, "concurrency": 0, "deferred_calls": 10_000_000,
             "deferred_bytes": 1 << 36}
    return "[node]\nlog_json = true\ncarbon = \"carbon.toml\"\n[quota]\n" + "".join(
        f"{k} = {v}\n" for k, v in quota.items())


def pin(n):
    """The worker alone on its core; everything else of the node is where we are."""
    for pid in n.children("worker"):
        os.sched_setaffinity(pid, {WORKER_CORE})


def worker_cpu_s(n):
    """As the kernel accounts it: what the machine's other work takes from us is not in it."""
    (pid,) = n.children("worker")
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def worked(n, us, times):
    """CPU-seconds of the worker a request, of so many, one after the other."""
    before = worker_cpu_s(n)
    for _ in range(times):
        assert n.get("web", f"/work?{us}").status == 200
    return (worker_cpu_s(n) - before) / times


def calibrate(n):
    """CPU-seconds that a second of the guest's work takes: what it can't see comes on top, as its
    worker's turns between two slices."""
    worked(n, 1000, 20)
    few, many = worked(n, 10_000, 20), worked(n, 510_000, 10)
    return (many - few) / 0.5


def start_node(work, plan, start):
    """A fresh node; its grid's file begins with the day."""
    shutil.rmtree(work, ignore_errors=True)
    (work / "data").mkdir(parents=True)
    grid_write(work / "data" / "grid.csv", plan, start, plan.hour_s)
    (work / "data" / "carbon.toml").write_text(
        f'zone = "XF"\nprovider = "file"\nfile = "grid.csv"\nday_s = {plan.day_s}\n'
        "[node]\nthreads = 1\n")
    return node(work, workers=1, settings=settings(plan), env={"EBB_RESTORE": "auto"})


def deploy(n, work):
    later = 'defer = { slack_max = "2d", result_max = "1 KiB" }'
    for name, defer in (("web", ""), ("batch", later)):
        app = write_app(work / name, MANIFEST.format(name=name, source=guest("c-kitchen"),
                                                     defer=defer))
        n.run("deploy", "-f", app, tenant="default")
    path = "/v1/tenants/default/apps"
    return {name: f"{n.api('GET', f'{path}/{name}')[1]['id']}/0" for name in KINDS}


def live(state, work, plan, calls, what):
    """Runs calls (number, call) on a fresh node; fills state."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {OTHER_CORE})
    # The node is begun within the hour before: idle hours before the day would be its history.
    margin = min(60, plan.hour_s - 2)
    start = math.ceil((time.time() + margin) / plan.hour_s) * plan.hour_s
    while (wait := start - margin - time.time()) > 0:
        yield f"{what}: the node is begun in {wait:.0f} s"
        time.sleep(min(wait, 10))
    try:
        with start_node(work, plan, start) as n:
            n.tenant("default")
            apps = deploy(n, work)
            pin(n)
            state["charged_each"] = each = calibrate(n)
            assert time.time() < start, "the node took too long to start"
            client = Client(n, plan, each)
            for passed in client.run(start, calls):
                yield f"{what}: hour {passed / plan.hour_s:.1f} of {plan.hours}"
            assert not client.refused, client.refused[:5]
            state["took"] = {i: round(v, 6) for i, v in client.took.items()}
            end = start + plan.hours * plan.hour_s
            while time.time() < end + 15:  # the last window is reported by then
                time.sleep(1)
            state["start"], state["apps"] = start, apps
            state["used"] = usage(n, start, end)
            state["j_per_cpu_s"] = joules(n)
            if any(c.kind == "batch" for _, c in calls):
                state["calls"] = judged(n)
    finally:
        os.sched_setaffinity(0, before)


def usage(n, start, end):
    """[second after the start, app, CPU-seconds] of each window."""
    query = urllib.parse.urlencode({"from": when(start - 60), "to": when(end + 60)})
    status, text = n.api("GET", f"/v1/usage?{query}")
    assert status == 200, text
    rows = csv.DictReader(io.StringIO(text.decode()))
    return [[int(datetime.datetime.fromisoformat(r["time"]).timestamp()) - start, r["app"],
             float(r["cpu_s"])] for r in rows if r["app"] not in ("-", "*")]


def joules(n):
    status, answer = n.api("GET", "/v1/carbon/report")
    assert status == 200, answer
    return answer["power"]["busy_w_per_cpu"] * answer["power"]["pue"]


def judged(n):
    """How the deferred calls stand."""
    seen, after = collections.Counter(), ""
    while True:
        status, page = n.api("GET", f"/v1/tenants/default/calls?limit=1000&after={after}")
        assert status == 200, page
        for c in page["calls"]:
            seen[c["state"]] += 1
            seen["late"] += c["late"]
            seen["again"] += c["attempts"] > 1
        after = page["next"]
        if not after:
            return dict(seen)


# --- what is compared ----------------------------------------------------------------------------


def by_step(used, step_s, steps):
    """CPUs of each step: windows of ten seconds, the part of each that lies there."""
    sums = [0.0] * steps
    for at, _, cpu_s in used:
        for k in range(max(int(at // step_s), 0), min(int((at + 10) // step_s) + 1, steps)):
            part = min(at + 10, (k + 1) * step_s) - max(at, k * step_s)
            sums[k] += cpu_s * max(part, 0) / 10
    return [s / step_s for s in sums]


def figures(cpus, plan, j_per_cpu_s):
    """Of the measured hours."""
    day = cpus[plan.warm:plan.hours]
    grams = sum(c * plan.hour_s * j_per_cpu_s / 3.6e6 * plan.intensity(plan.warm + i)
                for i, c in enumerate(day))
    return {"peak_to_trough": max(day) / min(day), "utilisation_pct": 100 * statistics.mean(day),
            "carbon_g": grams}


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def p99_ms(took, plan):
    """Of reserved calls in the hours that both runs have."""
    first, last = (h * plan.hour_s for h in plan.alone)
    values = [v for i, v in took.items() if first <= plan.calls[int(i)].at < last and
              plan.calls[int(i)].kind == "web"]
    return 1000 * percentile(values, 0.99), len(values)


def compare(state, work, plan):
    cpus, late = simulate(plan, work)
    run = state["live"]
    hours = by_step(run["used"], plan.hour_s, plan.hours)
    sim = figures(cpus, plan, run["j_per_cpu_s"])
    real = figures(hours, plan, run["j_per_cpu_s"])
    asked = {kind: [0.0] * plan.hours for kind in KINDS}
    for c in plan.calls:
        asked[c.kind][int(c.at // plan.hour_s)] += c.cpu_s / plan.hour_s
    received = [sum(kinds) for kinds in zip(*asked.values())]
    web = [u for u in run["used"] if u[1] == run["apps"]["web"]]
    charged = by_step(web, plan.hour_s, plan.hours)
    with_ms, count = p99_ms(run["took"], plan)
    alone_ms, _ = p99_ms(state["alone"]["took"], plan) if "alone" in state else (math.nan, 0)
    off = {k: real[k] / sim[k] - 1 for k in sim}
    return {
        "received_peak_to_trough": figures(received, plan, 1)["peak_to_trough"],
        "charged_each": run["charged_each"],
        "charged_off_pct": 100 * (sum(charged) / sum(asked["web"]) - 1),
        **{f"{k}_live": v for k, v in real.items()}, **{f"{k}_sim": v for k, v in sim.items()},
        **{f"{k}_off_pct": 100 * v for k, v in off.items()},
        "sim_late_cpu_s": late, "deferred": run["calls"],
        "p99_with_ms": with_ms, "p99_alone_ms": alone_ms,
        "p99_growth_pct": 100 * (with_ms / alone_ms - 1), "p99_calls": count,
        "hours_received": received, "hours_live": hours, "hours_sim": cpus,
        "hours_reserved_asked": asked["web"], "hours_reserved_charged": charged,
        "bins_live": by_step(run["used"], plan.hour_s / BINS_PER_HOUR, plan.hours * BINS_PER_HOUR)}


def rounded(x):
    if isinstance(x, float):
        return round(x, 4)
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, list) else x


def day(state, work, arguments):
    """XFaaS's day on a real node is as `ebb sim` says, and reserved calls do not feel it."""
    plan = Plan(arguments.seed, arguments.seconds_per_bin, arguments.warm_hours,
                arguments.day_hours, arguments.alone_hours)
    asked = [arguments.seconds_per_bin, plan.warm, plan.hours, arguments.alone_hours]
    if state.get("asked") != asked:  # a run of other lengths is none of ours
        for run in ("live", "alone"):
            state.pop(run, None)
    state["asked"] = asked
    if "live" not in state:
        run = {}
        yield from live(run, work / "live", plan, list(enumerate(plan.calls)), "with deferral")
        state["live"] = run
        yield "with deferral: done"
    if "alone" not in state and arguments.alone_hours:
        run, (first, last) = {}, (h * plan.hour_s for h in plan.alone)
        calls = [(i, c._replace(at=c.at - first)) for i, c in enumerate(plan.calls)
                 if c.kind == "web" and first <= c.at < last]
        short = Plan(arguments.seed, arguments.seconds_per_bin, 0, plan.alone[1] - plan.alone[0], 0)
        yield from live(run, work / "alone", short, calls, "reserved calls alone")
        state["alone"] = {"took": run["took"]}
        yield "reserved calls alone: done"
    r = rounded(compare(state, work, plan))
    state["result"] = {"seconds_per_bin": arguments.seconds_per_bin, "warm_hours": plan.warm,
                       "measured_hours": plan.hours - plan.warm, "alone_hours": plan.alone,
                       "calls": len(plan.calls), "workers": 1, **r}
    (work / "result.json").write_text(json.dumps(state["result"], indent=2))
    gone = {k: v for k, v in r["deferred"].items() if k in ("late", "failed", "dead", "cancelled")}
    assert not any(gone.values()), (gone, state["result"])
    assert abs(r["charged_off_pct"]) <= 100 * CHARGED_WITHIN, ("charged", state["result"])
    for k in ("peak_to_trough", "utilisation_pct", "carbon_g"):
        assert abs(r[f"{k}_off_pct"]) <= 100 * WITHIN, (k, state["result"])
    assert not arguments.alone_hours or r["p99_growth_pct"] <= 100 * WITHIN, state["result"]
    yield "done"
