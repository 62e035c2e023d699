"""Stage `serve-calls`: 100,000 deferred calls accepted over HTTP by a real `ebb serve` and run in
guests, while 200 times a process of any kind is killed with kill -9 and 50 times the power is cut
(serving_node.py says what that is).

Every run of a call asks a server of ours, which counts it where no crash reaches it. A call that
was answered with 202 is lost if it is not done at the end, or never ran. A run more than the first
is a duplicate: it may only be where a worker, the store process or everything was killed while the
run before had its lease. Keepers and builders have no part in a run.
"""
import random
import shutil
import threading
import time
from collections import Counter, defaultdict

from backends import Backend
from durability import SHIM
from harness import Connection, guest, wait_for, write_app
from node import node
from serving_node import (KINDS, below_supervisor, kill_all, kill_these, life, pids_of, put_back,
                          remember_all, settled)

CLIENTS = 8
LEASE_S = 60
#: Whose death may end a run, or what is told of its end.
EXCUSES = ("worker", "store", "supervisor")
APP = """
spin_manifest_version = 2
[application]
name = "later"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{source}"
allowed_outbound_hosts = ["http://127.0.0.1:{port}"]
[component.c.tool.ebb]
defer = {{ attempts = 20, slack_max = "2d", keep = "2d" }}
"""
SETTINGS = """
[node]
log_json = true
[quota]
requests_per_s = 0
concurrency = 0
deferred_calls = 1000000
deferred_bytes = 10000000000
"""


class Ledger:
    """What was accepted, and when each call ran."""

    def __init__(self):
        self.lock = threading.Lock()
        self.accepted, self.refused = set(), 0
        self.runs = defaultdict(list)
        self.kills = []  # of EXCUSES: when each began, and when all was up again

    def __call__(self, peer):
        while head := peer.head():
            call = dict(head[2])["ebb-call"]
            with self.lock:
                self.runs[call].append(time.monotonic())
            peer.answer(b"counted")

    def duplicates(self):
        """How many there are, and those that no kill explains: a second is what a worker may
        need to find a new store process."""
        more, wrong = 0, []
        for call, times in self.runs.items():
            for before, then in zip(times, times[1:]):
                more += 1
                until = min(then, before + LEASE_S)
                if not any(begun < until and before < up + 1 for begun, up in self.kills):
                    wrong.append((call, before, then))
        return more, wrong


def begin(folder, port):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with node(folder, workers=2, settings=SETTINGS) as n:
        n.run("deploy", "-f", write_app(folder / "app", APP.format(source=guest("c-client"),
                                                                   port=port)))
        n.run("egress", "127.0.0.1/32", tenant="default")
        return n.token


def client(n, ledger, target, stop, failures):
    """Accepts that were not answered are asked for no more: nobody was told of them. What is due
    this soon has no slow start: a node that has just begun runs all that waits."""
    fields = [("Prefer", "respond-async"), ("Ebb-Deadline", "300")]
    host = f"later-default.localhost:{n.port}"
    c = None
    while not stop.is_set():
        try:
            c = c or Connection(n)
            r = c.request("GET", target, fields, host=host)
            if r is None:
                raise ValueError("closed")
        except (OSError, ValueError, AssertionError):
            c = None
            stop.wait(0.01)
            continue
        if r.status not in (202, 500, 503):
            failures.append(AssertionError(f"{r.status}: {r.text}"))
            return
        with ledger.lock:
            if r.status == 202:
                ledger.accepted.add(r.get("location").rsplit("/", 1)[1])
            else:
                ledger.refused += 1
        if r.status != 202:
            stop.wait(0.01)
        if r.get("connection") == "close":
            c.close()
            c = None


class Load:
    """Clients of one life of the node."""

    def __init__(self, n, ledger, target):
        self.stop, self.failures, self.ledger = threading.Event(), [], ledger
        self.threads = [threading.Thread(target=client, args=(n, ledger, target, self.stop,
                                                              self.failures))
                        for _ in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def until(self, count):
        wait_for(lambda: len(self.ledger.accepted) >= count or self.failures, f"{count} accepted")
        if self.failures:
            raise self.failures[0]

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()


def kill_one(n, ledger, kind, chance):
    """True if the node goes on; after its supervisor the rest is killed, too."""
    pids = wait_for(lambda: pids_of(n, kind), f"a {kind}")
    pid = chance.choice(pids)
    rest = below_supervisor(n)
    begun = time.monotonic()
    kill_these([pid])
    if kind == "builder":  # it comes back with the next keeper
        kill_these(n.children("keeper"))
    if kind == "supervisor":
        kill_these(rest)
    else:
        wait_for(lambda: [p for p in pids_of(n, kind) if p != pid], f"another {kind}")
        settled(n)
    if kind in EXCUSES:
        ledger.kills.append((begun, time.monotonic()))
    return kind != "supervisor"


def turn(folder, token, env, ledger, target, goal, kinds, chance):
    """Until so many are accepted, with these kinds of process killed on the way; then the power is
    cut."""
    first = len(ledger.accepted)
    goals = [first + (goal - first) * (i + 1) // (len(kinds) + 1) for i in range(len(kinds))]
    steps = list(zip(goals, kinds)) + [(goal, None)]
    while steps:
        with life(folder, token, env) as n:
            load = Load(n, ledger, target)
            try:
                on = True
                while steps and on:
                    count, kind = steps.pop(0)
                    load.until(count)
                    on = kind and kill_one(n, ledger, kind, chance)
            finally:
                load.end()
                begun = time.monotonic()
                kill_all(n)
                ledger.kills.append((begun, time.monotonic()))


def states(n):
    """The state of each call, by its id."""
    found, after = {}, ""
    while True:
        status, page = n.api("GET", f"/v1/tenants/default/calls?limit=1000&after={after}")
        assert status == 200, page
        found.update((c["id"], c["state"]) for c in page["calls"])
        after = page["next"]
        if not after:
            return found


def all_ended(n):
    """All calls, once none waits or runs. The last leases may have to end first."""
    until = time.monotonic() + 20 * LEASE_S
    while time.monotonic() < until:
        status, page = n.api("GET", "/v1/tenants/default/calls?limit=1")
        assert status == 200, page
        if not page["counts"].get("waiting") and not page["counts"].get("leased"):
            return states(n)
        time.sleep(1)
    raise AssertionError(f"calls go on waiting: {page['counts']}")


def calls(state, work, arguments):
    """Deferred calls of a node whose processes are killed and whose power is cut."""
    chance, ledger = random.Random(arguments.seed), Ledger()
    folder, put = work / "node", 0
    env = {"LD_PRELOAD": str(SHIM), "IO_SHIM_DURABLE": ".durable"}
    plan = [chance.choice(KINDS) for _ in range(arguments.call_kills)]
    cuts = arguments.call_cuts
    with Backend(ledger) as backend:
        token = begin(folder, backend.port)
        target = f"/proxy?http://127.0.0.1:{backend.port}/"
        for cut in range(cuts):
            kinds = plan[len(plan) * cut // cuts:len(plan) * (cut + 1) // cuts]
            remember_all(folder / "data")
            turn(folder, token, env, ledger, target, arguments.calls * (cut + 1) // cuts, kinds,
                 chance)
            put += put_back(folder / "data", chance)[0]
            yield f"{len(ledger.accepted)} accepted, {len(ledger.runs)} have run, {cut + 1} cuts"
        with life(folder, token) as n:
            settled(n)
            yield f"all {len(ledger.accepted)} are accepted; they end"
            found = all_ended(n)
    more, wrong = ledger.duplicates()
    lost = [c for c in ledger.accepted if found.get(c) != "done" or c not in ledger.runs]
    assert not lost, (len(lost), Counter(found.get(c) for c in lost), lost[:5])
    assert not wrong, (len(wrong), wrong[:5])
    state["result"] = {
        "accepted": len(ledger.accepted), "all": len(found), "lost": len(lost),
        "states": dict(Counter(found.values())), "runs": sum(map(len, ledger.runs.values())),
        "duplicates": more, "duplicates_not_excused": len(wrong), "power_cuts": cuts,
        "kills": dict(Counter(plan)), "files_put_back": put, "accepts_refused": ledger.refused,
        "workers": 2}
    yield "done"
