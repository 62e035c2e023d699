"""Work that waits (docs/defer.md): over plain HTTP, against `ebb up` and `ebb serve`."""
import json
import os
import signal
import sqlite3
import time
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from backends import postgres
from harness import PATIENCE_S, Connection, fetch, guest, serving, wait_for, wakes, write_app
from node import node

MANIFEST = """
spin_manifest_version = 2
[application]
name = "later"
[[trigger.http]]
route = "/k/..."
component = "k"
[[trigger.http]]
route = "/never/..."
component = "k"
[component.k]
source = "{source}"
[component.k.tool.ebb]
defer = {{ routes = ["/k/..."], slack_max = "2d", attempts = 3, body_max = 1000 }}
{more}
"""

ENDED = ("done", "failed", "dead", "cancelled")
ASYNC = (("Prefer", "respond-async"),)
SOON = ("Ebb-Deadline", "120")


def app(tmp_path, more="", name="app", called="later"):
    text = MANIFEST.replace('"later"', f'"{called}"')
    return write_app(tmp_path / name, text.format(source=guest("c-kitchen"), more=more))


class Calls:
    """Requests to one app, wherever it is served."""

    def __init__(self, server, host="example.test"):
        self.server, self.host = server, host

    def ask(self, target, method="GET", fields=(), body=None):
        return fetch(self.server, target, method, fields, body, self.host)

    def defer(self, target, method="POST", fields=(), body=b""):
        """Due soon if the test does not say when: then how busy the machine is delays nothing."""
        if not any(name == "Ebb-Deadline" for name, _ in fields):
            fields = (*fields, SOON)
        r = self.ask(target, method, ASYNC + tuple(fields), body)
        assert r.status == 202, (r.status, r.text)
        return r.get("location")

    def show(self, location):
        """How it stands; a store process that has just died is waited for."""
        r = wait_for(lambda: (r := self.ask(location)).status != 503 and r, "the store process")
        assert r.status == 200, (r.status, r.text)
        return r.json()

    def ended(self, location, patience=PATIENCE_S):
        def look():
            c = self.show(location)
            return c if c["state"] in ENDED else None
        return wait_for(look, f"the end of {location}: {self.show(location)}\n"
                              f"{self.server.log()[-3000:]}", patience)


@pytest.fixture(params=("up", "serve"))
def later(request, tmp_path, workers):
    """The app under `ebb up` and as a tenant's under `ebb serve`."""
    if request.param == "up":
        with serving(app(tmp_path), tmp_path, workers=workers) as server:
            yield Calls(server)
    else:
        with node(tmp_path, workers=workers) as n:
            n.tenant("default")
            n.run("deploy", "-f", app(tmp_path), tenant="default")
            yield Calls(n, f"later-default.localhost:{n.port}")


def test_a_call_waits_and_its_result_can_be_fetched(later):
    r = later.ask("/k/echo?x", "POST", ASYNC + (("Content-Type", "text/plain"),), b"for later")
    assert r.status == 202, r.text
    assert r.get("preference-applied") == "respond-async"
    said = r.json()
    assert r.get("location") == said["location"] == f"/.well-known/ebb/calls/{said['id']}"
    assert len(said["id"]) == 32
    call = later.ended(said["location"])
    assert call["state"] == "done", call
    assert call["attempts"] == 1 and not call["late"]
    assert call["method"] == "POST" and call["path"] == "/k/echo" and call["component"] == "k"
    assert call["result"]["status"] == 200 and call["result"]["body"] == "for later"
    assert call["cpu_s"] > 0
    got = later.ask(said["location"] + "/result")
    assert got.status == 200 and got.body == b"for later"
    # The log line of the request has the call's id.
    wait_for(lambda: said["id"] in "".join(x for x in later.server.log().splitlines()
                                           if "request" in x and "/k/echo" in x), "the log line")


def test_who_does_not_ask_for_it_is_answered_as_ever(later):
    assert later.ask("/k/echo", "POST", (), b"now").body == b"now"
    assert later.ask("/k/echo", "POST", (("Prefer", "wait=5"),), b"now").body == b"now"
    r = later.ask("/never/echo", "POST", ASYNC, b"now")
    assert r.status == 200 and r.body == b"now" and not r.get("preference-applied")


def test_caches_are_told_what_answers_depend_on(later):
    """On routes where it matters, whether it was said or not (RFC 7240, 2)."""
    refused = ASYNC + (("Ebb-Deadline", "x"),)
    for fields, status in ((), 200), (ASYNC + (SOON,), 202), (refused, 400):
        r = later.ask("/k/echo", "POST", fields, b"")
        assert r.status == status and r.all("vary") == ["prefer"], (r.status, r.fields)
    assert not later.ask("/never/echo", "POST", ASYNC, b"").get("vary")


def test_wait_answers_directly_if_it_is_done_in_time(later):
    r = later.ask("/k/status?207", "GET", (("Prefer", "respond-async, wait=30"), SOON))
    assert r.status == 207 and r.get("x-kitchen") == "yes", r.text
    assert r.get("preference-applied") == "wait=30"
    result = r.get("content-location")
    call = later.ended(result.removesuffix("/result"))
    assert call["state"] == "done" and call["result"]["status"] == 207
    assert later.ask(result).status == 207
    r = later.ask("/k/status?207", "HEAD", (("Prefer", "respond-async, wait=1000"), SOON))
    assert r.status == 207 and r.get("content-length") == str(len("status 207"))
    assert r.get("preference-applied") == "wait=300"
    r = later.ask("/k/sleep?2500", "GET", (("Prefer", "respond-async, wait=1"), SOON))
    assert r.status == 202 and r.get("preference-applied") == "respond-async, wait=1"
    assert later.ended(r.get("location"))["result"]["body"] == "slept"


def test_the_component_sees_the_request_and_which_attempt_it_is(later):
    location = later.defer("/k/request", "PUT", (("X-Own", "1"), SOON,
                                                 ("Idempotency-Key", "k1")))
    seen = json.loads(later.ended(location)["result"]["body"])
    headers = dict(seen["headers"])
    assert seen["method"] == "PUT" and headers["x-own"] == "1"
    assert headers["ebb-call"] == location.rsplit("/", 1)[1] and headers["ebb-attempt"] == "1"
    assert headers["idempotency-key"] == "k1"
    assert "prefer" not in headers and "ebb-deadline" not in headers


def test_what_fails_is_tried_again_and_then_dead(later):
    location = later.defer("/k/status?503")
    call = later.ended(location)
    assert call["state"] == "dead" and call["attempts"] == 3, call
    assert call["result"]["status"] == 503 and "503" in call["note"]
    assert later.ask(location + "/result").text == "status 503"
    location = later.defer("/k/status?404")
    call = later.ended(location)
    assert call["state"] == "failed" and call["attempts"] == 1
    assert call["log"] == [] and not call["log_cut"]
    r = later.ask(location + "/result")
    assert r.status == 404 and r.text == "status 404" and r.get("x-kitchen") == "yes", r.text
    r = later.ask(location + "/result", "HEAD")
    assert r.status == 404 and r.get("content-length") == str(len("status 404"))


def test_what_a_call_has_printed_is_shown(later):
    call = later.ended(later.defer("/k/log?words", "GET"))
    assert call["state"] == "done" and call["result"]["body"] == "logged" and not call["log_cut"]
    assert sorted((x["stream"], x["text"]) for x in call["log"]) == [("stderr", "err: words"),
                                                                     ("stdout", "out: words")]


def test_a_deadline_is_checked(later):
    def refused(value):
        r = later.ask("/k/echo", "POST", ASYNC + (("Ebb-Deadline", value),), b"")
        assert r.status == 400, (value, r.status)
        return r.json()["error"]
    assert "neither seconds nor a time" in refused("soon")
    assert "in the past" in refused("2001-01-01T00:00:00Z")
    assert "a second at least" in refused("0")
    assert "slack_max" in refused(str(3 * 86400))
    assert "more than 7 days" in refused(str(8 * 86400))
    assert "more than 7 days" in refused("2999-01-01T00:00:00Z")
    at = datetime.fromtimestamp(time.time() + 3600, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    r = later.ask("/k/echo", "POST", ASYNC + (("Ebb-Deadline", at),), b"")
    assert r.status == 202 and r.json()["deadline"] == at


def test_an_idempotency_key_makes_one_call(later):
    fields = (("Idempotency-Key", '"order-7"'),)
    first = later.defer("/k/echo", "POST", fields, b"a")
    assert later.defer("/k/echo", "POST", fields, b"a") == first
    r = later.ask("/k/echo", "POST", ASYNC + fields, b"another body")
    assert r.status == 422, r.text
    assert later.defer("/k/echo", "POST", (("Idempotency-Key", "order-8"),), b"a") != first


def test_a_repeated_key_is_answered_with_the_result(later):
    """If there is one, and its client would have waited for it."""
    fields = (("Prefer", "respond-async, wait=30"), SOON, ("Idempotency-Key", "w"))
    first = later.ask("/k/status?207", "GET", fields)
    result = first.get("content-location")
    assert first.status == 207 and later.ended(result.removesuffix("/result"))["state"] == "done"
    again = later.ask("/k/status?207", "GET", fields)
    assert again.status == 207 and again.body == first.body == b"status 207", again.text
    assert again.get("content-location") == result and len(again.all("date")) == 1
    assert again.get("preference-applied") == "wait=30"
    assert again.all("set-cookie") == ["a=1", "b=2"]
    r = later.ask("/k/status?207", "GET", ASYNC + fields[1:])
    assert r.status == 202 and r.get("preference-applied") == "respond-async"
    assert r.json()["state"] == "done" and r.get("location") + "/result" == result


def test_a_deadline_that_is_too_near_is_refused(tmp_path):
    """By what such calls have taken; but not to who repeats what was accepted before."""
    with serving(app(tmp_path), tmp_path) as server:
        later = Calls(server)
        key, near = ("Idempotency-Key", "k"), ("Ebb-Deadline", "1")
        first = later.defer("/k/work?1500000", "GET", (key,))
        assert later.ended(first)["state"] == "done"
        for fields in (near,), (near, ("Idempotency-Key", "another")):
            r = later.ask("/k/work?1500000", "GET", ASYNC + fields)
            assert r.status == 422 and "CPU time" in r.json()["error"], r.text
        for deadline in "1", "2001-01-01T00:00:00Z", "soon":
            again = later.defer("/k/work?1500000", "GET", (key, ("Ebb-Deadline", deadline)))
            assert again == first
        r = later.ask("/k/work?1", "GET", ASYNC + (key, near))
        assert r.status == 422 and "another request" in r.json()["error"], r.text


def test_what_is_said_twice_is_refused(later):
    for name, values in ("Ebb-Deadline", ("60", "120")), ("Ebb-Hook", ("http://a/", "http://b/")):
        r = later.ask("/k/echo", "POST", ASYNC + tuple((name, v) for v in values), b"")
        assert r.status == 400, r.text
        assert f"{name}: it was sent more than once" in r.json()["error"]


def test_a_body_that_is_too_long_is_refused(later):
    r = later.ask("/k/echo", "POST", ASYNC, b"x" * 1001)
    assert r.status == 413 and "body_max" in r.json()["error"]
    with Connection(later.server) as c:
        c.send(f"POST /k/echo HTTP/1.1\r\nHost: {later.host}\r\nPrefer: respond-async\r\n"
               "Transfer-Encoding: chunked\r\n\r\n".encode() + b"3e9\r\n" + b"x" * 1001 +
               b"\r\n0\r\n\r\n")
        assert c.response().status == 413


def test_the_longest_body_and_answer_are_kept(tmp_path):
    text = MANIFEST.format(source=guest("c-kitchen"), more="").replace(
        "body_max = 1000", 'body_max = "16 MiB", result_max = "16 MiB"')
    with serving(write_app(tmp_path / "app", text), tmp_path) as server:
        later = Calls(server)
        body = b"x" * (16 << 20)
        location = later.defer("/k/echo", "POST", (), body)
        call = later.ended(location)
        assert call["state"] == "done" and not call["result"]["body_cut"], call["state"]
        got = later.ask(location + "/result")
        assert got.status == 200 and not got.get("ebb-body-cut") and got.body == body


def test_unknown_calls_are_not_found(later):
    for path in ("x", "0" * 32, "0" * 31, "0" * 32 + "/other", ""):
        assert later.ask("/.well-known/ebb/calls/" + path).status == 404, path
    location = later.defer("/k/echo")
    r = later.ask(location, "POST")
    assert r.status == 405 and r.get("allow") == "GET, HEAD, DELETE"
    r = later.ask(location + "/result", "DELETE")
    assert r.status == 405 and r.get("allow") == "GET, HEAD"


def test_a_running_call_can_be_cancelled(later):
    location = later.defer("/k/sleep?60000")
    wait_for(lambda: later.show(location)["state"] == "leased", "the lease")
    r = later.ask(location, "DELETE")
    assert r.status == 200 and r.json()["state"] == "cancelled", r.text
    assert later.ended(location)["state"] == "cancelled"
    assert later.ask(location, "DELETE").status == 409


def test_what_a_cancelled_call_took_says_nothing_of_others(tmp_path):
    """It is ended when it is cancelled, and is no measure of what such calls take."""
    with serving(app(tmp_path), tmp_path) as server:
        later = Calls(server)
        (worker,) = server.children("worker")

        def cpu_s():
            fields = Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before = cpu_s()
        location = later.defer("/k/spin")
        wait_for(lambda: cpu_s() > before + 2, "two seconds of work")
        assert later.ask(location, "DELETE").status == 200
        (line,) = server.wait_log("request", call=location.rsplit("/", 1)[1])
        assert line["status"] == 499 and line["cpu_us"] > 1e6
        # Such calls can be done in a second, for all that is known.
        quick = later.ended(later.defer("/k/echo", "POST", (("Ebb-Deadline", "1"),)))
        assert quick["state"] == "done" and quick["attempts"] == 1


def test_more_than_the_plan_has_room_for_is_refused(tmp_path):
    """Whether a client would wait or not, unless its call runs at once."""
    grid(tmp_path, 60)  # the work waits for a minute
    with serving(app(tmp_path), tmp_path, "--carbon", str(tmp_path / "carbon.toml")) as server:
        later = Calls(server)
        key = ("Idempotency-Key", "before")
        first = later.defer("/k/burn?200000", "GET", (("Ebb-Deadline", "5"), key))
        one = later.ended(first)
        wait_for(lambda: "forecast" in later.show(later.defer(
            "/k/burn?200000", "GET", (("Ebb-Deadline", "100"),))).get("why", ""), "a plan")

        def ask(prefer, *more):
            return later.ask("/k/burn?200000", "GET",
                             (("Prefer", prefer), ("Ebb-Deadline", "100"), *more))
        for prefer in ("respond-async", "respond-async, wait=0"):
            for _ in range(int(120 / one["cpu_s"])):  # a second later is room for more
                if (r := ask(prefer)).status != 202:
                    break
            assert r.status == 503 and "as much work" in r.json()["error"], r.text
            r = ask(prefer, key)  # was accepted before
            assert r.status == 202 and r.get("location") == first, r.text
        assert ask("respond-async, wait=60").status == 200


def test_a_call_that_was_accepted_survives_all_processes(tmp_path, workers):
    """kill -9 of worker, keeper and store, and a restart of everything, while calls wait or run."""
    folder = app(tmp_path)
    with serving(folder, tmp_path, workers=workers) as server:
        later = Calls(server)
        running = later.defer("/k/sleep?2000")
        wait_for(lambda: later.show(running)["state"] == "leased", "the lease")
        for pid in server.children("worker"):
            os.kill(pid, signal.SIGKILL)
        call = later.ended(running)  # given back at once: not after the lease of a minute
        assert call["state"] == "done" and call["attempts"] >= 2, call
        for role in ("keeper", "store"):
            running, quick = later.defer("/k/sleep?1500"), later.defer("/k/echo", "POST", (), b"q")
            for pid in server.children(role):
                os.kill(pid, signal.SIGKILL)
            # What was leased to a worker that never heard of it waits for the lease of a minute.
            assert later.ended(quick, 60 + PATIENCE_S)["state"] == "done", role
            assert later.ended(running)["state"] == "done", role
        left = later.defer("/k/sleep?700", "GET")
    with serving(folder, tmp_path, workers=workers) as server:
        assert Calls(server).ended(left)["state"] == "done"


def grid(tmp_path, dirty_s):
    """Settings of a node whose grid is dirty for so long and then clean, by slots of 5 s."""
    now = int(time.time()) // 5 * 5
    lines = [f"{datetime.fromtimestamp(t, timezone.utc):%Y-%m-%dT%H:%M:%SZ},"
             f"{900 if t < now + dirty_s else 50}" for t in range(now - 60, now + 900, 5)]
    (tmp_path / "grid.csv").write_text("time,g_per_kwh\n" + "\n".join(lines) + "\n")
    (tmp_path / "carbon.toml").write_text('zone = "X"\nprovider = "file"\nfile = "grid.csv"\n'
                                          "slot_s = 5\n")
    return now + dirty_s


def test_work_waits_for_clean_power(tmp_path, workers):
    clean_from = grid(tmp_path, 25)
    with serving(app(tmp_path), tmp_path, "--carbon", str(tmp_path / "carbon.toml"),
                 workers=workers) as server:
        later = Calls(server)
        # The plan is known once there was a call to plan.
        def planned():
            location = later.defer("/k/burn?100", "GET", (("Ebb-Deadline", "40"),))
            call = later.show(location)
            return (location, call) if "forecast" in call.get("why", "") else None
        location, call = wait_for(planned, "a plan")
        assert call["planned_start"] >= f"{datetime.fromtimestamp(clean_from, timezone.utc):%FT%TZ}"
        urgent = later.ended(later.defer("/k/burn?1", "GET", (("Ebb-Deadline", "5"),)))
        assert urgent["state"] == "done" and not urgent["late"], urgent
        call = later.ended(location)
        started = datetime.fromisoformat(call["started"]).timestamp()
        assert started >= clean_from and not call["late"], call
        assert call["energy_j"] > 0
        carbon = call["carbon"]
        assert carbon["at_acceptance_g_per_kwh"] == 900 and carbon["g_per_kwh"] == 50
        assert carbon["saved_g"] == pytest.approx(call["energy_j"] / 3.6e6 * 850, rel=1e-5)


def test_nothing_wakes_up_before_the_planned_start(tmp_path):
    grid(tmp_path, 200)  # slots of 5 s: a plan sees four minutes
    with serving(app(tmp_path), tmp_path, "--carbon", str(tmp_path / "carbon.toml")) as server:
        later = Calls(server)
        location = later.defer("/k/echo", "POST", (("Ebb-Deadline", "3600"),))
        wait_for(lambda: "forecast" in later.show(location).get("why", ""), "a plan")

        pids = [p for role in ("worker", "keeper", "store") for p in server.children(role)]

        def sleeps():  # the meter's window and the store's file close first
            before = [wakes(p) for p in pids]
            time.sleep(11)  # longer than a window of ten seconds
            return [wakes(p) for p in pids] == before
        wait_for(sleeps, "all to sleep")


CRON = """cron = [{ schedule = "* * * * *", window = "10m", path = "/k/hello", method = "GET" }]"""


def marked(usage, triggers):
    """Are so many triggers in these records?"""
    if not usage.exists():
        return False
    with sqlite3.connect(usage) as db:
        tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'mark'")
        return tables.fetchone()[0] and db.execute(
            "SELECT count(*) FROM mark").fetchone()[0] == triggers


def minute_missed(usage):
    """As if the triggers in these records had fired last before the minute before this one: this
    one may have begun, and been fired for, since they were made."""
    with sqlite3.connect(usage) as db:
        db.execute("UPDATE mark SET t_s = t_s / 60 * 60 - 61")
    db.close()


def test_cron_fires_what_was_missed_once(tmp_path):
    folder = app(tmp_path, CRON)
    usage = folder / ".spin/ebb/usage.db"
    with serving(folder, tmp_path) as server:
        wait_for(usage.exists, "the records")
    with sqlite3.connect(usage) as db:
        (last,) = db.execute("SELECT t_s FROM mark").fetchone()
        missed = last // 60 * 60 - 180
        db.execute("UPDATE mark SET t_s = ?", (missed - 1,))
    db.close()

    def fired(server):
        return [x for x in server.log_lines("request") if x.get("call") and x["path"] == "/k/hello"]
    with serving(folder, tmp_path) as server:
        wait_for(lambda: len(fired(server)) >= 4, "the missed minutes")
        assert {x["status"] for x in fired(server)} == {200}
    with sqlite3.connect(usage) as db:  # as if the clock had been set back, or the record was lost
        db.execute("UPDATE mark SET t_s = ?", (missed - 1,))
    db.close()
    with serving(folder, tmp_path) as server:
        later = Calls(server)
        assert later.ended(later.defer("/k/echo"))["state"] == "done"

        def caught_up():
            with sqlite3.connect(usage) as db:
                (t,) = db.execute("SELECT t_s FROM mark").fetchone()
            return t >= last // 60 * 60
        wait_for(caught_up, "the trigger to be where it was")
        assert len(fired(server)) <= 2  # minutes that have begun meanwhile


def test_a_trigger_that_was_taken_away_begins_anew(tmp_path):
    """What it fired last is forgotten, whether its app still defers or does not."""
    usage = tmp_path / "app/.spin/ebb/usage.db"
    for away in (app(tmp_path).joinpath("spin.toml").read_text(),
                 MANIFEST.split("[component.k.tool.ebb]", maxsplit=1)[0].format(
                     source=guest("c-kitchen"))):
        with serving(app(tmp_path, CRON), tmp_path):
            wait_for(lambda: marked(usage, 1), "the trigger")
        (tmp_path / "app/spin.toml").write_text(away)
        with serving(tmp_path / "app", tmp_path):
            wait_for(lambda: marked(usage, 0), "the trigger to be forgotten")


def test_a_trigger_waits_within_its_window_for_clean_power(tmp_path):
    folder = app(tmp_path, CRON)
    usage = folder / ".spin/ebb/usage.db"
    with serving(folder, tmp_path):
        wait_for(lambda: marked(usage, 1), "the record")
    minute_missed(usage)
    clean_from = grid(tmp_path, 20)
    with serving(folder, tmp_path, "--carbon", str(tmp_path / "carbon.toml")) as server:
        line = server.wait_log("request", path="/k/hello")[0]
        call = Calls(server).ended(f"/.well-known/ebb/calls/{line['call']}")
        assert call["state"] == "done" and not call["late"], call
        assert datetime.fromisoformat(call["started"]).timestamp() >= clean_from, call
        assert call["carbon"]["g_per_kwh"] == 50, call


def test_a_trigger_keeps_the_time_of_its_zone(tmp_path):
    """Which the keeper reads within its sandbox. By UTC it would not be its hour."""
    hour = datetime.now(ZoneInfo("Europe/Berlin")).hour
    folder = app(tmp_path, CRON.replace(
        "* * * * *", f"* {hour},{(hour + 1) % 24} * * *").replace(
        "window", 'zone = "Europe/Berlin", window'))
    usage = folder / ".spin/ebb/usage.db"
    with serving(folder, tmp_path):
        wait_for(lambda: marked(usage, 1), "the record")
    minute_missed(usage)
    with serving(folder, tmp_path) as server:
        server.wait_log("request", path="/k/hello", status=200)


def test_triggers_with_long_names_are_told_apart(tmp_path):
    """They differ in what comes last, far behind what an idempotency key has room for."""
    paths = [f"/k/{'x' * 300}/{name}" for name in ("hello", "echo")]
    crons = ", ".join(f'{{ schedule = "* * * * *", path = "{p}", method = "GET" }}' for p in paths)
    folder = app(tmp_path, f"cron = [{crons}]")
    usage = folder / ".spin/ebb/usage.db"

    with serving(folder, tmp_path):
        wait_for(lambda: marked(usage, 2), "the records")
    minute_missed(usage)
    with serving(folder, tmp_path) as server:
        for path in paths:
            server.wait_log("request", path=path, status=200)


def test_calls_of_a_tenant(tmp_path):
    """The admin API and `ebb calls`; another tenant sees nothing of them."""
    with node(tmp_path) as n:
        token, foreign = n.tenant("acme"), n.tenant("umbra")
        n.run("deploy", "-f", app(tmp_path), token=token, tenant="acme")
        n.run("deploy", "-f", app(tmp_path), token=foreign, tenant="umbra")
        n.run("deploy", "-f", app(tmp_path, called="own"), token=token, tenant="acme")
        later = Calls(n, f"later-acme.localhost:{n.port}")
        waits = later.defer("/k/sleep?60000")
        own = Calls(n, f"own-acme.localhost:{n.port}")  # another app, of the same tenant
        assert own.ask(waits).status == 404 and own.ask(waits, "DELETE").status == 404
        assert later.show(waits)["state"] in ("waiting", "leased")
        assert later.ask(waits, "DELETE").status == 200
        waits = waits.rsplit("/", 1)[1]
        done = later.defer("/k/echo", "POST", (), b"hello")
        dead = later.defer("/k/status?404")
        assert later.ended(done)["state"] == "done" and later.ended(dead)["state"] == "failed"
        other = Calls(n, f"later-umbra.localhost:{n.port}")
        assert other.ask(done).status == 404 and other.ask(done, "DELETE").status == 404
        done, dead = done.rsplit("/", 1)[1], dead.rsplit("/", 1)[1]

        status, listed = n.api("GET", "/v1/tenants/acme/calls", token=token)
        assert status == 200 and [c["id"] for c in listed["calls"]] == [dead, done, waits]
        assert listed["counts"]["done"] == 1 and listed["counts"]["failed"] == 1
        assert listed["calls"][0]["app"] == "later" and listed["next"] is None
        status, listed = n.api("GET", "/v1/tenants/acme/calls?state=done&limit=1&app=later",
                               token=token)
        assert [c["id"] for c in listed["calls"]] == [done]
        assert n.api("GET", "/v1/tenants/acme/calls?state=odd", token=token)[0] == 400
        assert n.api("GET", f"/v1/tenants/umbra/calls/{done}", token=foreign)[0] == 404
        assert n.api("GET", "/v1/tenants/umbra/calls", token=foreign)[1]["calls"] == []
        status, call = n.api("GET", f"/v1/tenants/acme/calls/{done}", token=token)
        assert status == 200 and call["result"]["body"] == "hello"
        status, plan = n.api("GET", "/v1/calls/plan")
        assert status == 200 and len(plan["slots"]) == 48 and plan["counts"]["done"] == 1

        def run(*args, **more):
            return n.run("calls", *args, token=token, tenant="acme", **more)
        assert done in run() and "1 done" in run("list")
        assert dead not in run("list", "--state", "done")
        assert "status 404" in run("show", dead)
        assert json.loads(run("show", done, "--json"))["state"] == "done"
        assert "ended" in run("cancel", done, status=1)
        assert "waiting" in run("retry", dead)
        call = wait_for(lambda: (c := later.show("/.well-known/ebb/calls/" + dead))["state"] ==
                        "failed" and c, "the second failure")
        assert call["attempts"] == 1  # of those that it has anew
        events = n.api("GET", "/v1/tenants/acme/audit", token=token)[1]["events"]
        assert [e["action"] for e in events if "call" in e["action"]] == ["retry call",
                                                                              "cancel call"]


def test_a_tenant_has_a_quota_of_calls(tmp_path):
    """Of those that wait or run; who repeats one of them is not refused."""
    with node(tmp_path) as n:
        n.tenant("default")
        n.run("quota", "deferred_calls=1", tenant="default")
        n.run("deploy", "-f", app(tmp_path), tenant="default")
        later = Calls(n, f"later-default.localhost:{n.port}")
        key = ("Idempotency-Key", "k")
        first = later.defer("/k/sleep?60000", "GET", (key,))
        r = later.ask("/k/echo", "POST", ASYNC + (SOON,), b"")
        assert r.status == 429 and "as many calls" in r.json()["error"], r.text
        assert int(r.get("retry-after")) > 0
        assert later.defer("/k/sleep?60000", "GET", (key,)) == first
        assert later.ask(first, "DELETE").status == 200
        assert later.ended(later.defer("/k/echo"))["state"] == "done"


def test_the_accepting_revision_runs_the_call_and_a_deleted_app_ends_it(tmp_path):
    """A call waits for clean power while a new revision is deployed; another while the app goes."""
    text = MANIFEST.format(source=guest("c-kitchen"), more="")
    first, second = (write_app(tmp_path / who, text.replace(
        "[component.k]\n", f'[component.k]\nenvironment = {{ WHO = "{who}" }}\n'))
        for who in ("first", "second"))
    grid(tmp_path, 15)
    with node(tmp_path, settings='[node]\ncarbon = "../carbon.toml"\n') as n:
        n.tenant("default")
        n.run("deploy", "-f", first, tenant="default")
        later = Calls(n, f"later-default.localhost:{n.port}")
        waits = later.defer("/k/env?WHO", "GET", (("Ebb-Deadline", "30"),))
        n.run("deploy", "-f", second, tenant="default")
        assert later.ask("/k/env?WHO").text == "second"
        call = later.ended(waits)
        assert call["result"]["body"] == "first" and call["revision"] == 1, call
        last = later.defer("/k/sleep?60000", "GET", (("Ebb-Deadline", "20"),))
        wait_for(lambda: later.show(last)["state"] == "leased", "the lease")
        n.run("delete", "later", tenant="default")
        assert later.ask(last).status == 404  # its host has gone

        def ended():
            status, shown = n.api("GET", f"/v1/tenants/default/calls/{last.rsplit('/', 1)[1]}")
            return status == 200 and shown["state"] == "dead" and shown
        assert "deleted" in wait_for(ended, "the end of the call")["note"]


def test_a_deleted_app_takes_all_its_calls_along(tmp_path):
    """More than the store ends in one sweep (500), and deletes in one, once their time is over."""
    grid(tmp_path, 200)  # within the plan: they wait for it
    settings = '[node]\ncarbon = "../carbon.toml"\n'
    text = MANIFEST.format(source=guest("c-kitchen"), more="").replace(
        "body_max = 1000", 'body_max = 1000, keep = "1s"')

    def counts(n):
        status, listed = n.api("GET", "/v1/tenants/default/calls?limit=1")
        return listed["counts"] if status == 200 else {}
    with node(tmp_path, settings=settings) as n:
        token = n.token
        n.tenant("default")
        n.run("deploy", "-f", write_app(tmp_path / "app", text), tenant="default")
        with Connection(n) as c:
            for _ in range(600):  # 30 CPU-seconds by their estimate: what fits into clean slots
                r = c.request("POST", "/k/echo", ASYNC + (("Ebb-Deadline", "3600"),), b"",
                              f"later-default.localhost:{n.port}")
                assert r.status == 202, r.text
        waiting = counts(n)["waiting"]
        assert waiting > 500, counts(n)
        n.run("delete", "later", tenant="default")
        wait_for(lambda: counts(n).get("waiting") == 0, "the end of all calls")
        notes, after = [], ""
        while after is not None:
            status, listed = n.api("GET", f"/v1/tenants/default/calls?state=dead{after}")
            assert status == 200, listed
            notes += [c["note"] for c in listed["calls"]]
            after = listed["next"] and f"&after={listed['next']}"
        assert len(notes) >= waiting and set(notes) == {"its app was deleted"}
        over = time.time() + 1
    wait_for(lambda: time.time() > over, "the end of their time")
    with node(tmp_path, settings=settings, token=token) as n:  # what is over is deleted at once
        wait_for(lambda: counts(n).get("dead") == 0, "the calls to go")


def test_the_queue_of_a_node_may_be_postgresql(tmp_path, workers):
    with postgres() as database:
        with node(tmp_path, settings=f'[queue]\nurl = "{database.url}"\n', workers=workers) as n:
            n.tenant("default")
            n.run("deploy", "-f", app(tmp_path), tenant="default")
            calls = Calls(n, f"later-default.localhost:{n.port}")
            waits = calls.defer("/k/echo", fields=(("Ebb-Deadline", "90000"),), body=b"waits")
            at_once = calls.defer("/k/echo", fields=(("Ebb-Deadline", "1"),), body=b"now")
            assert calls.ended(at_once)["state"] == "done"
            keyed = (("Ebb-Deadline", "90000"), ("Idempotency-Key", "order-7"))
            first = calls.defer("/k/echo", "POST", keyed, b"a")
            assert calls.defer("/k/echo", "POST", keyed, b"a") == first
            assert calls.ask("/k/echo", "POST", ASYNC + keyed, b"another body").status == 422
            assert calls.show(waits)["state"] in ("waiting", "leased", "done")
            assert database.ask("select count(*) from ebb_call") == "3"
            assert not (n.data / "queue" / "queue.db").exists()
            assert database.password not in n.log()
