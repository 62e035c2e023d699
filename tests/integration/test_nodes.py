"""Two nodes, each a real `ebb serve`, share one queue of deferred calls (docs/operate.md)."""
import contextlib
import os
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from backends import Backend, postgres
from harness import guest, wait_for, wakes, write_app
from node import node
from test_defer import ASYNC, Calls, app

CALLER = """
spin_manifest_version = 2
[application]
name = "later"
{more}
[[trigger.http]]
route = "/c/..."
component = "c"
[component.c]
source = "{source}"
allowed_outbound_hosts = ["http://127.0.0.1:{port}"]
[component.c.tool.ebb]
defer = {{ attempts = 3, slack_max = "2d" }}
"""
LEASED = 4  # PHASE_LEASED of store/queue_rows.h


class Ledger:
    """What calls ask for while they run, by the call's id. The first who asks for /hold waits."""

    def __init__(self):
        self.runs, self.lock, self.over = Counter(), threading.Lock(), threading.Event()

    def __call__(self, peer):
        while head := peer.head():
            _, target, fields = head
            call = dict(fields)["ebb-call"]
            with self.lock:
                self.runs[call] += 1
                held = target == "/hold" and self.runs[call] == 1
            if held:
                self.over.wait()
            peer.answer(b"counted")


class Two:
    """Nodes a and b, the database, and what the calls of their app ask."""

    def __init__(self, tmp_path, workers, database, backend, ledger):
        self.tmp_path, self.workers = tmp_path, workers
        self.database, self.backend, self.ledger = database, backend, ledger

    def start(self, name, **more):
        settings = f'[queue]\nurl = "{self.database.url}"\n'
        data = self.tmp_path / name / "data"
        if name == "b":
            data.mkdir(parents=True)
            shutil.copy2(self.tmp_path / "a" / "data" / "seal.key", data)
        return node(self.tmp_path / name, settings=settings, workers=self.workers,
                    may_die=True, **more)

    def deploy(self, n, more=""):
        """From a folder of the node's own."""
        folder = write_app(self.tmp_path / n.data.parent.name / "app", CALLER.format(
            source=guest("c-client"), port=self.backend.port, more=more))
        n.tenant("default")
        n.run("deploy", "-f", folder, tenant="default")
        n.run("egress", "127.0.0.1/32", tenant="default")

    def target(self, path):
        return f"/c/proxy?http://127.0.0.1:{self.backend.port}{path}"


def calls(n):
    return Calls(n, f"later-default.localhost:{n.port}")


def call_id(location):
    return location.rsplit("/", 1)[1]


@contextlib.contextmanager
def nodes(tmp_path, workers):
    """The numbers of tenants and apps in their catalogues differ."""
    ledger = Ledger()
    with postgres() as database, Backend(ledger) as backend:
        t = Two(tmp_path, workers, database, backend, ledger)
        with t.start("a") as t.a, t.start("b") as t.b:
            t.b.tenant("other")
            t.b.run("deploy", "-f", app(tmp_path, name="other", called="other"), tenant="other")
            t.deploy(t.a)
            t.deploy(t.b)
            yield t
            ledger.over.set()


@pytest.fixture
def two(tmp_path, workers):
    with nodes(tmp_path, workers) as t:
        yield t


@pytest.fixture
def small(tmp_path):
    """With a worker each."""
    with nodes(tmp_path, 1) as t:
        yield t


def kill_all(n):
    """kill -9 of every process of a node, the supervisor first: nothing is started again."""
    def below(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    yield from below(int(child))
        yield pid
    os.kill(n.process.pid, signal.SIGSTOP)
    pids = list(below(n.process.pid))
    assert len(pids) >= 4, pids
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    n.process.wait()


def run_on(two, calls_of_one):
    """A call that runs on that node until it is killed: its location."""
    r = calls_of_one.ask(two.target("/hold"), "GET",
                         (("Prefer", "respond-async, wait=1"), ("Ebb-Deadline", "10")))
    assert r.status == 202, r.text
    wait_for(lambda: two.ledger.runs[call_id(r.get("location"))] == 1, "the call to run")
    return r.get("location")


def lease_over(two):
    """As if a minute had passed; nodes that know when it ends by the clock are told."""
    assert two.database.ask(f"update ebb_call set at_ms = 0 where phase = {LEASED} returning seq")
    two.database.ask("notify ebb_queue")


def test_each_call_runs_once_wherever_it_was_accepted(two):
    a, b = calls(two.a), calls(two.b)
    accepted = [(n, n.defer(two.target("/once"), "GET")) for _ in range(10) for n in (a, b)]
    for n, location in accepted:
        other = b if n is a else a
        call = other.ended(location)
        assert call["state"] == "done" and call["attempts"] == 1, call
        assert call["result"]["body"] == "counted" and call["revision"] is None
        assert other.ask(location + "/result").body == b"counted"
        assert n.show(location) == call
    ids = {call_id(location) for _, location in accepted}
    assert two.ledger.runs == {x: 1 for x in ids}
    for n in (two.a, two.b):
        status, listed = n.api("GET", "/v1/tenants/default/calls")
        assert status == 200 and {c["id"] for c in listed["calls"]} == ids
        assert {c["app"] for c in listed["calls"]} == {"later"}
        assert listed["counts"]["done"] == 20
    assert two.b.api("GET", "/v1/tenants/other/calls")[1]["calls"] == []
    secrets = [n.run("calls", "secret", "later", tenant="default") for n in (two.a, two.b)]
    assert secrets[0] == secrets[1]


def test_a_dead_nodes_calls_move(two):
    """One that it was running moves once its lease is over; while it lasts nobody has it."""
    a, b = calls(two.a), calls(two.b)
    held = run_on(two, a)
    waits = a.defer(two.target("/once"), "GET", (("Ebb-Deadline", "90000"),))
    kill_all(two.a)
    assert b.ended(b.defer(two.target("/once"), "GET"))["state"] == "done"
    assert b.show(held)["state"] == "leased" and two.ledger.runs[call_id(held)] == 1
    lease_over(two)
    call = b.ended(held)
    assert call["state"] == "done" and call["attempts"] == 2, call
    assert two.ledger.runs[call_id(held)] == 2
    assert b.show(waits)["state"] in ("waiting", "leased", "done")


def running(n):
    status, plan = n.api("GET", "/v1/calls/plan")
    assert status == 200, plan
    return plan["running"]


def test_a_node_sleeps_until_it_hears_of_anothers_calls(small):
    """Nothing looks from time to time: what another node changes is told."""
    assert calls(small.b).ended(calls(small.b).defer(small.target("/once"), "GET"))

    pids = [p for role in ("worker", "store", "keeper") for p in small.b.children(role)]

    def sleeps():
        before = [wakes(p) for p in pids]
        time.sleep(11)
        return all(wakes(p) - was <= 1 for p, was in zip(pids, before))
    wait_for(sleeps, "the other node to sleep")
    held = run_on(small, calls(small.a))
    wait_for(lambda: running(small.b) == 1, "the other node to hear of it")
    small.database.ask("select pg_terminate_backend(pid) from pg_stat_activity"
                       " where application_name = 'ebb'")
    wait_for(lambda: "not heard of now" in small.b.log(), "the other node to hear no more")
    small.ledger.over.set()
    calls(small.a).ended(held)
    wait_for(lambda: running(small.b) == 0, "the other node to hear of its end")
    wait_for(sleeps, "the other node to sleep again")


def test_only_a_node_with_the_revision_runs_a_call(small):
    """The other one leaves it; it waits for the first to come back. Any can cancel it."""
    small.deploy(small.a, 'description = "another revision"')
    a, b = calls(small.a), calls(small.b)
    location = run_on(small, a)
    kill_all(small.a)
    lease_over(small)
    wait_for(lambda: small.database.ask("select excused from ebb_call") == "1", "b to leave it")
    call = b.show(location)
    assert call["state"] == "waiting" and "has not the app's revision" in call["note"], call
    assert small.ledger.runs[call_id(location)] == 1
    with small.start("a", token=small.a.token) as again:
        call = calls(again).ended(location)
        assert call["state"] == "done" and b.show(location) == call, call
        assert small.ledger.runs[call_id(location)] == 2
        running = run_on(small, calls(again))
        assert b.ask(running, "DELETE").json()["state"] == "cancelled"
        assert calls(again).show(running)["state"] == "cancelled"
        small.ledger.over.set()


def test_a_deleted_app_ends_its_calls_on_all_nodes(small):
    a, b = calls(small.a), calls(small.b)
    running = run_on(small, b)
    small.a.run("delete", "later", tenant="default")
    call = b.ended(running)
    assert call["state"] == "dead" and call["note"] == "its app was deleted", call
    assert b.ended(b.defer(small.target("/once"), "GET"))["state"] == "done"  # b still has it
    assert a.ask(running).status == 404
    small.a.api("DELETE", "/v1/tenants/default")
    wait_for(lambda: small.database.ask("select count(*) from ebb_call") == "0", "its calls to go")


def test_a_node_with_another_key_has_no_part(tmp_path):
    with postgres() as database:
        settings = f'[queue]\nurl = "{database.url}"\n'
        with node(tmp_path / "a", settings=settings) as a:
            a.tenant("default")
            a.run("deploy", "-f", app(tmp_path), tenant="default")
            mine = calls(a).defer("/k/echo", body=b"mine")
            with node(tmp_path / "b", settings=settings) as b:
                b.tenant("default")
                b.run("deploy", "-f", app(tmp_path), tenant="default")
                r = calls(b).ask("/k/echo", "POST", ASYNC, b"no")
                assert r.status == 503
                assert "another key" in b.log() and "seal.key" in b.log()
            assert calls(a).ended(mine)["state"] == "done"
