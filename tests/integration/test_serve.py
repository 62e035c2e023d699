"""The data plane of `ebb serve`: workers that learn of apps when a request for them comes, and let
go of them again. The catalogue is made of folders by ebb-serve-kit (tests/kit)."""
import os
import signal
import threading
from pathlib import Path

import pytest

from harness import (SANITIZED, Connection, fetch, guest, resident_bytes, serving_many, wait_for,
                     write_app)

SAYS = """
spin_manifest_version = 2
[application]
name = "says"
[[trigger.http]]
route = "/"
static_response = {{ body = "{0}" }}
[[trigger.http]]
route = "/hello"
component = "hello"
[component.hello]
source = "{1}"
"""


def says(tmp_path, name):
    return write_app(tmp_path / name, SAYS.format(name, guest("hello")))


def maps(pid):
    return len(Path(f"/proc/{pid}/maps").read_text().splitlines())


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_apps_are_found_by_host(tmp_path, workers):
    apps = [f"acme:one:{says(tmp_path, 'one')}:one.test", f"acme:two:{says(tmp_path, 'two')}",
            f"umbra:one:{says(tmp_path, 'other')}:*.wild.test"]
    with serving_many(tmp_path, apps, workers=workers) as server:
        hosts = {"one.test": "one", "ONE.test:81": "one", "one-acme.localhost": "one",
                 "two-acme.localhost:3000": "two", "one-umbra.localhost": "other",
                 "a.wild.test": "other", "b.wild.test": "other"}
        for _ in range(3):
            for host, body in hosts.items():
                assert fetch(server, "/", host=host).text == body
                assert fetch(server, "/hello", host=host).text.startswith("Hello from C!")
        for host in ("two.test", "one-nobody.localhost", "wild.test", "a.b.wild.test", "x" * 300):
            r = fetch(server, "/", host=host)
            assert r.status == 404 and r.get("ebb-request-id"), host


def test_many_apps_fit_a_small_budget(tmp_path, workers):
    """200 apps over workers that may hold ten: nothing grows with the apps that were called."""
    with serving_many(tmp_path, [f"acme:app:{says(tmp_path, 'app')}"], "--clones", "200",
                      "--apps-max", "10", "--instances", "20", workers=workers) as server:
        def call(numbers):
            for _ in range(8 * workers):  # connections, so that every worker gets some
                with Connection(server) as c:
                    for n in numbers:
                        r = c.request("GET", "/hello", host=f"app-{n}-acme.localhost")
                        assert r.status == 200 and r.text.startswith("Hello from C!"), n

        def round_of(numbers):
            call(numbers)
            # What an instance keeps goes after five seconds, and a round may take longer: the last
            # ten of it are fresh in each worker.
            call(numbers[-10:])

        def size():
            pids = server.children("worker")
            return (sum(map(maps, pids)), sum(map(descriptors, pids)),
                    sum(map(resident_bytes, pids)))
        round_of(range(100))
        before = size()
        round_of(range(100, 200))
        after = size()
        assert after[0] <= before[0] + 20 * workers
        assert after[1] <= before[1] + 10 * workers
        if not SANITIZED:  # a sanitizer keeps what was freed
            assert after[2] <= before[2] + 4 * 2**20 * workers
        # Ten apps of one module each are at most 30 mappings and 10 descriptors of a worker.
        assert after[1] < 100 * workers


def test_an_idle_app_goes(tmp_path, workers):
    with serving_many(tmp_path, [f"acme:app:{says(tmp_path, 'app')}"], "--clones", "20",
                      "--idle-ms", "50", workers=workers) as server:
        pids = server.children("worker")

        def mapped():
            return sum(Path(f"/proc/{p}/maps").read_text().count(".cwasm") for p in pids)
        for n in range(20):
            assert fetch(server, "/hello", host=f"app-{n}-acme.localhost").status == 200
        wait_for(lambda: mapped() == 0, "idle apps to be unmapped")
        assert fetch(server, "/hello", host="app-3-acme.localhost").status == 200


class Traffic:
    """Clients that ask for apps in turn, each request on the connection of the one before; what
    does not answer as it should is kept in `wrong`."""

    def __init__(self, server, hosts, clients=4):
        self.server, self.hosts = server, hosts
        self.wrong, self.count, self.over = [], 0, threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]

    def run(self, first):
        n, c = first, None
        while not self.over.is_set():
            host = self.hosts[n % len(self.hosts)]
            try:
                c = c or Connection(self.server)
                r = c.request("GET", "/hello", host=host)
                bad = None if r and r.status == 200 else (host, r and r.status)
                if r is None or r.get("connection") == "close":
                    c.close()
                    c = None
            except OSError as e:
                bad, c = (host, repr(e)), None
            with self.lock:
                self.count += 1
                if bad:
                    self.wrong.append(bad)
            n += 1
        if c:
            c.close()

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for t in self.threads:
            t.join()

    def more(self, n):
        goal = self.count + n
        wait_for(lambda: self.count >= goal, f"{n} more requests")


def test_killing_the_keeper_costs_no_request(tmp_path, workers):
    """Known apps go on, and those that nobody knows wait for the next keeper."""
    with serving_many(tmp_path, [f"acme:app:{says(tmp_path, 'app')}"], "--clones", "50",
                      "--apps-max", "20", workers=workers) as server:
        with Traffic(server, [f"app-{n}-acme.localhost" for n in range(50)]) as traffic:
            traffic.more(100)
            for _ in range(3):
                before = server.children("keeper")
                os.kill(before[0], signal.SIGKILL)
                wait_for(lambda: server.children("keeper") not in ([], before), "a new keeper")
                traffic.more(200)
        assert traffic.wrong == []


def test_killing_workers_and_the_store_costs_their_requests_only(tmp_path, workers):
    with serving_many(tmp_path, [f"acme:app:{says(tmp_path, 'app')}"], "--clones", "20",
                      workers=workers) as server:
        with Traffic(server, [f"app-{n}-acme.localhost" for n in range(20)]) as traffic:
            traffic.more(50)
            for role in ("worker", "store", "worker"):
                before = server.children(role)
                os.kill(before[0], signal.SIGKILL)
                wait_for(lambda r=role, b=before: len(server.children(r)) == len(b)
                         and server.children(r) != b, f"a new {role}")
                traffic.more(100)
        # At most what each client had under way when a worker died, and a connection to it.
        assert len(traffic.wrong) <= 2 * 2 * 4, traffic.wrong


CALLER = """
spin_manifest_version = 2
[application]
name = "caller"
[[trigger.http]]
route = "/..."
component = "caller"
[component.caller]
source = "{0}"
allowed_outbound_hosts = ["*://*:*"]
"""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_apps_do_not_reach_this_machine(tmp_path, workers, name, file_server):
    """Whatever a manifest allows, and whatever a name resolves to; unless the operator says so."""
    file_server.files["/secret"] = b"the metadata of this machine"
    port = file_server.host.rsplit(":", 1)[1]
    app = write_app(tmp_path / "app", CALLER.format(guest("c-chain")))
    with serving_many(tmp_path, [f"acme:a:{app}"], workers=workers) as server:
        r = fetch(server, f"/x?http://{name}:{port}/secret", host="a-acme.localhost")
        assert "metadata" not in r.text
    assert file_server.seen == []
    with serving_many(tmp_path, [f"acme:a:{app}"], "--egress-allow", "127.0.0.0/8, ::/0",
                      workers=workers) as server:
        r = fetch(server, f"/x?http://127.0.0.1:{port}/secret", host="a-acme.localhost")
        assert r.text == "the metadata of this machine", (r.status, r.text, server.log()[-2000:])


def test_a_quota_of_requests(tmp_path, workers):
    apps = [f"acme:one:{says(tmp_path, 'one')}", f"umbra:two:{says(tmp_path, 'two')}"]
    with serving_many(tmp_path, apps, "--quota", '{"requests_per_s": 20}',
                      workers=workers) as server:
        answers = [fetch(server, "/hello", host="one-acme.localhost") for _ in range(60)]
        over = [r for r in answers if r.status == 429]
        assert over and all(int(r.get("retry-after")) >= 1 for r in over)
        assert len(answers) - len(over) >= 10 and {r.status for r in answers} == {200, 429}
        assert fetch(server, "/hello", host="two-umbra.localhost").status == 200  # another tenant


STATEFUL = """
spin_manifest_version = 2
[application]
name = "stateful"
[[trigger.http]]
route = "/..."
component = "kv"
[[trigger.http]]
route = "/sql/..."
component = "sql"
[component.kv]
source = "{0}"
key_value_stores = ["default"]
[component.sql]
source = "{1}"
sqlite_databases = ["default"]
"""


def test_each_app_has_its_own_state(tmp_path, workers):
    """Apps of one manifest, with the same labels, in files of their own that idle ones close."""
    app = write_app(tmp_path / "app", STATEFUL.format(guest("c-keyvalue"), guest("c-sqlite")))
    apps = [f"acme:one:{app}", f"acme:two:{app}", f"umbra:one:{app}"]
    with serving_many(tmp_path, apps, "--apps-max", "1", workers=workers) as server:
        hosts = ["one-acme.localhost", "two-acme.localhost", "one-umbra.localhost"]

        def ask(host, target, body=None):
            r = fetch(server, target, "POST" if body else "GET", body=body, host=host)
            assert r.status == 200, (host, target, r.status, r.text, server.log()[-2000:])
            return r.text
        for n, host in enumerate(hosts):
            ask(host, f"/v2/set?default&who&{n}")
            ask(host, "/sql/v2/run?default", b"CREATE TABLE t (who)")
            ask(host, "/sql/v2/run?default", f"INSERT INTO t VALUES ({n})".encode())
        (store,) = server.children("store")
        os.kill(store, signal.SIGKILL)
        wait_for(lambda: server.children("store") not in ([], [store]), "a new store process")
        for n, host in enumerate(hosts):  # what the numbers mean is told to the new one
            assert ask(host, "/v2/get?default&who") == str(n)
            assert f"i{n}" in ask(host, "/sql/v2/run?default", b"SELECT who FROM t")
        folders = sorted(p.name for p in (tmp_path / "data" / "state").iterdir())
        assert len(folders) == 3 and all(x.isdigit() for x in folders)


CHAINS = """
spin_manifest_version = 2
[application]
name = "chains"
[[trigger.http]]
route = "/..."
component = "front"
[[trigger.http]]
route = {{ private = true }}
component = "{0}"
[component.front]
source = "{1}"
allowed_outbound_hosts = ["http://*.spin.internal"]
[component.{0}]
source = "{2}"
"""


@pytest.mark.parametrize("name", ["mine", "theirs"])
def test_a_chain_stays_in_its_app(tmp_path, workers, name):
    """`<id>.spin.internal` names components of the caller's own app, whoever else has that id."""
    mine = write_app(tmp_path / "mine", CHAINS.format("mine", guest("c-chain"), guest("hello")))
    theirs = write_app(tmp_path / "theirs", CHAINS.format("theirs", guest("c-chain"),
                                                          guest("hello")))
    apps = [f"acme:mine:{mine}:mine.test", f"umbra:theirs:{theirs}:theirs.test"]
    with serving_many(tmp_path, apps, workers=workers) as server:
        for app in ("mine", "theirs"):  # both work, and are loaded
            r = fetch(server, f"/x?http://{app}.spin.internal/", host=f"{app}.test")
            assert r.text.startswith("Hello from C!"), (r.status, r.text)
        r = fetch(server, f"/x?http://{name}.spin.internal/", host="mine.test")
        assert ("Hello from C!" in r.text) == (name == "mine"), (r.status, r.text)
