"""Web hooks of deferred calls (docs/defer.md): who is told of an end, where that may be, and that
the signature is the one of Standard Webhooks."""
import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import threading
import time

from backends import Backend
from harness import guest, serving, wait_for, write_app
from node import node
from test_defer import ASYNC, Calls, marked, minute_missed

APP = """
spin_manifest_version = 2
[application]
name = "later"
[[trigger.http]]
route = "/k/..."
component = "k"
[component.k]
source = "{source}"
allowed_outbound_hosts = ["http://127.0.0.1:{port}"]
[component.k.tool.ebb]
defer = {{ attempts = 1{more} }}
{cron}
"""


class Receiver:
    """Keeps what it is told; answers with `statuses` in turn, then 200."""

    def __init__(self, statuses=(), hold=None):
        self.told, self.statuses, self.hold = [], list(statuses), hold
        self.lock = threading.Lock()

    def __call__(self, peer):
        while head := peer.head():
            method, target, fields = head
            body, _ = peer.body(fields)
            with self.lock:
                self.told.append((method, target, dict(fields), body))
                status = self.statuses.pop(0) if self.statuses else 200
            if self.hold:
                self.hold.wait()
            peer.answer(b"", f"{status} x")

    def await_told(self, n=1):
        return wait_for(lambda: len(self.told) >= n and self.told[:n], f"{n} hooks: {self.told}")


@contextlib.contextmanager
def receiving(*args, **more):
    receiver = Receiver(*args, **more)
    with Backend(receiver) as backend:
        receiver.url = f"http://127.0.0.1:{backend.port}/told?x=1"
        receiver.port = backend.port
        yield receiver


def write(tmp_path, port, more="", cron=""):
    return write_app(tmp_path / "app", APP.format(source=guest("c-kitchen"), port=port, more=more,
                                                  cron=cron))


def is_signed(fields, body, secret):
    """As https://www.standardwebhooks.com says it: what any library for it checks."""
    assert secret.startswith("whsec_")
    assert abs(int(fields["webhook-timestamp"]) - time.time()) < 300
    signed = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + body
    mac = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256)
    mine = "v1," + base64.b64encode(mac.digest()).decode()
    return mine in fields["webhook-signature"].split(" ")


def test_a_hook_of_the_call_is_told_and_signed(tmp_path, workers):
    with receiving() as receiver:
        folder = write(tmp_path, receiver.port)
        with serving(folder, tmp_path, workers=workers) as server:
            later = Calls(server)
            location = later.defer("/k/echo", "POST", (("Ebb-Hook", receiver.url),), b"x")
            call = later.ended(location)
            ((method, target, fields, body),) = receiver.await_told()
            assert method == "POST" and target == "/told?x=1"
            assert fields["host"] == f"127.0.0.1:{receiver.port}"
            assert fields["content-type"] == "application/json"
            secret = (folder / ".spin/ebb/hook-secret").read_text().strip()
            assert is_signed(fields, body, secret) and not is_signed(fields, body + b" ", secret)
            said = json.loads(body)
            assert said["type"] == "call.done" and said["timestamp"] == call["ended"]
            assert said["data"]["location"] == location
            assert said["data"]["id"] == call["id"] and said["data"]["state"] == "done"
            assert said["data"]["path"] == "/k/echo" and said["data"]["hook"] == receiver.url
            assert said["data"]["cpu_s"] == call["cpu_s"] and call["hook"] == receiver.url
            # The hook is a call itself, whose id it says, and nobody is told of its end.
            hook = later.ended("/.well-known/ebb/calls/" + fields["webhook-id"])
            assert hook["state"] == "done" and hook["trigger"] == "hook", hook
            assert hook["path"] == receiver.url and hook["result"]["status"] == 200
            assert later.ended(later.defer("/k/echo"))["state"] == "done"
            assert len(receiver.told) == 1


def test_every_end_is_told_to_the_hook_of_the_manifest(tmp_path):
    with receiving() as receiver:
        folder = write(tmp_path, receiver.port, f', hook = "{receiver.url}"')
        with serving(folder, tmp_path) as server:
            later = Calls(server)
            ends = {later.defer("/k/status?404"): "failed", later.defer("/k/trap"): "dead",
                    later.defer("/k/echo"): "done"}
            runs = later.defer("/k/sleep?60000")
            wait_for(lambda: later.show(runs)["state"] == "leased", "the lease")
            assert later.ask(runs, "DELETE").status == 200
            ends[runs] = "cancelled"
            said = [json.loads(body) for *_, body in receiver.await_told(4)]
            assert {x["data"]["location"]: x["data"]["state"] for x in said} == ends
            assert {x["type"] for x in said} == {f"call.{state}" for state in ends.values()}


def test_a_hook_that_fails_is_tried_again_under_its_id(tmp_path):
    with receiving((500, 302)) as receiver:
        with serving(write(tmp_path, receiver.port), tmp_path) as server:
            later = Calls(server)
            later.defer("/k/echo", "POST", (("Ebb-Hook", receiver.url),))
            told = receiver.await_told(3)
            assert len({fields["webhook-id"] for _, _, fields, _ in told}) == 1
            assert len({body for *_, body in told}) == 1
            hook = later.ended("/.well-known/ebb/calls/" + told[0][2]["webhook-id"])
            assert hook["state"] == "done" and hook["attempts"] == 3
            reasons = [(x["attempt"], x["status"]) for x in server.wait_log("hook", 3)]
            assert reasons == [(1, 500), (2, 302), (3, 200)]
    with receiving((410,)) as receiver:
        with serving(write(tmp_path, receiver.port), tmp_path) as server:
            later = Calls(server)
            later.defer("/k/echo", "POST", (("Ebb-Hook", receiver.url),))
            ((_, _, fields, _),) = receiver.await_told()
            hook = later.ended("/.well-known/ebb/calls/" + fields["webhook-id"])
            assert hook["state"] == "failed" and "410" in hook["note"]


def test_a_hook_survives_its_worker(tmp_path):
    """kill -9 while the receiver has not answered: it is told again."""
    hold = threading.Event()
    with receiving(hold=hold) as receiver:
        with serving(write(tmp_path, receiver.port), tmp_path) as server:
            later = Calls(server)
            location = later.defer("/k/echo", "POST", (("Ebb-Hook", receiver.url),))
            receiver.await_told()
            for pid in server.children("worker"):
                os.kill(pid, signal.SIGKILL)
            hold.set()
            told = receiver.await_told(2)
            assert told[0][2]["webhook-id"] == told[1][2]["webhook-id"]
            hook = later.ended("/.well-known/ebb/calls/" + told[0][2]["webhook-id"])
            assert hook["state"] == "done" and hook["attempts"] == 2
            assert json.loads(told[1][3])["data"]["location"] == location


def test_only_what_the_component_may_reach_is_told(tmp_path):
    """Whoever asks an app could else have the node ask anybody."""
    with receiving() as receiver:
        folder = write(tmp_path, receiver.port, ', hook = "http://127.0.0.1:9/elsewhere"')
        with serving(folder, tmp_path) as server:
            later = Calls(server)

            def refused(url):
                r = later.ask("/k/echo", "POST", ASYNC + (("Ebb-Hook", url),), b"")
                assert r.status == 400, (url, r.status)
                return r.json()["error"]
            for url in ("http://127.0.0.1:9/", f"http://localhost:{receiver.port}/",
                        f"https://127.0.0.1:{receiver.port}/", "http://169.254.169.254/"):
                assert "allowed_outbound_hosts" in refused(url)
            for url in ("nonsense", "ftp://127.0.0.1/", "http://", "http://u@127.0.0.1/",
                        "http://127.0.0.1:x/", "http://127.0.0.1/#a", "/told"):
                assert "no address of a hook" in refused(url)
            # Of the manifest's own it is seen when it is told.
            location = later.defer("/k/echo")
            assert later.ended(location)["state"] == "done"
            (line,) = server.wait_log("hook", status=0)
            assert "allowed_outbound_hosts" in line["reason"]
            assert later.ended("/.well-known/ebb/calls/" + line["call"])["state"] == "dead"
        assert not receiver.told


def test_hooks_of_a_tenant(tmp_path, workers):
    """The operator's egress rules hold for the address; the secret is the app's alone."""
    with receiving() as receiver, node(tmp_path, workers=workers) as n:
        folder = write(tmp_path, receiver.port, f', hook = "{receiver.url}"')
        token, reader = n.tenant("acme"), n.token_of("acme", "reader")
        foreign = n.tenant("umbra")
        n.run("deploy", "-f", folder, token=token, tenant="acme")
        n.run("deploy", "-f", folder, token=foreign, tenant="umbra")
        later = Calls(n, f"later-acme.localhost:{n.port}")

        def hooks():
            status, listed = n.api("GET", "/v1/tenants/acme/calls", token=token)
            assert status == 200
            return [c for c in listed["calls"] if c["trigger"] == "hook"]
        later.defer("/k/echo")
        (hook,) = wait_for(lambda: [c for c in hooks() if c["state"] == "dead"], "a dead hook")
        assert "closed to apps" in hook["note"] and hook["attempts"] == 1 and not receiver.told
        n.run("egress", "127.0.0.1/32", tenant="acme")
        later.defer("/k/echo")
        ((_, _, fields, body),) = receiver.await_told()
        secret = n.run("calls", "secret", "later", token=token, tenant="acme").strip()
        assert is_signed(fields, body, secret)
        other = n.run("calls", "secret", "later", token=foreign, tenant="umbra").strip()
        assert other != secret and not is_signed(fields, body, other)
        path = "/v1/tenants/acme/apps/later/hook-secret"
        assert n.api("GET", path, token=token) == (200, {"secret": secret})
        assert n.api("GET", path, token=reader)[0] == 403
        assert n.api("GET", path, token=foreign)[0] in (403, 404)
        assert n.api("GET", "/v1/tenants/acme/apps/none/hook-secret", token=token)[0] == 404
        # What has died can be told again.
        n.run("calls", "retry", hook["id"], token=token, tenant="acme")
        assert receiver.await_told(2)[1][2]["webhook-id"] == hook["id"]
        # A new secret: it and the one before sign, until the next.
        assert n.api("POST", path, {}, token=reader)[0] == 403
        secrets = [secret]
        for told in (3, 4):
            secrets.append(n.run("calls", "rotate", "later", token=token, tenant="acme").strip())
            later.defer("/k/echo")
            _, _, fields, body = receiver.await_told(told)[-1]
            assert len(fields["webhook-signature"].split(" ")) == 2
            assert [is_signed(fields, body, x) for x in secrets[-3:]] == \
                [False, True, True][-len(secrets):]
        assert len(set(secrets)) == 3
        assert n.api("GET", path, token=token) == (200, {"secret": secrets[-1]})


def test_receivers_that_do_not_answer_hold_up_nobody_else(tmp_path, workers):
    """One app has more to tell than a worker has places, and nobody there answers."""
    hold = threading.Event()
    with receiving(hold=hold) as silent, receiving() as good, \
            node(tmp_path, workers=workers, settings='[egress]\nallow = "127.0.0.0/8"\n') as n:
        for name, receiver in (("silent", silent), ("good", good)):
            folder = write(tmp_path / name, receiver.port, f', hook = "{receiver.url}"')
            manifest = (folder / "spin.toml").read_text().replace('"later"', f'"{name}"')
            (folder / "spin.toml").write_text(manifest)
            n.run("deploy", "-f", folder)
        try:
            later = Calls(n, f"silent-default.localhost:{n.port}")
            for _ in range(70 * workers):
                later.defer("/k/hello", "GET")
            silent.await_told(16)
            Calls(n, f"good-default.localhost:{n.port}").defer("/k/hello", "GET")
            good.await_told()
            assert len(silent.told) <= 32 * workers  # 16 at once in each, and what timed out
        finally:
            hold.set()


def test_calls_of_the_clock_are_told_too(tmp_path):
    cron = 'cron = [{ schedule = "* * * * *", path = "/k/hello", method = "GET" }]'
    with receiving() as receiver:
        folder = write(tmp_path, receiver.port, f', hook = "{receiver.url}"', cron)
        usage = folder / ".spin/ebb/usage.db"
        with serving(folder, tmp_path):
            wait_for(lambda: marked(usage, 1), "the records")
        minute_missed(usage)
        with serving(folder, tmp_path):
            said = json.loads(receiver.await_told()[0][3])
            assert said["data"]["trigger"] == "cron" and said["type"] == "call.done"
