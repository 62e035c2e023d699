"""Key-value end to end: every function of every interface, grants, durability, atomicity."""
import contextlib
import os
import signal
import sqlite3
import threading

import pytest

from backends import redis
from harness import Connection, ebb, fetch, guest, open_files, serving, wait_for, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "stored"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest('c-keyvalue')}"
key_value_stores = ["default"]
"""
DENIED = APP.replace('key_value_stores = ["default"]', "")
INTERFACES = ("v1", "v2", "wasi")


@pytest.fixture
def app(tmp_path):
    return write_app(tmp_path / "app", APP)


@pytest.fixture
def served(app, workers, tmp_path):
    with serving(app, tmp_path, workers=workers) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    with redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["file", "redis"])
def stored(request, app, workers, tmp_path):
    """Wherever keys are kept, interfaces behave the same."""
    options = []
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        (tmp_path / "rc.toml").write_text(
            f'[key_value_store.default]\ntype = "redis"\nurl = "{server.url}"\n')
        options = ["--runtime-config-file", tmp_path / "rc.toml"]
    with serving(app, tmp_path, *options, workers=workers) as server:
        yield server


def get(server, target, status=200):
    """Each request on a new connection, so that all workers have their turn."""
    r = fetch(server, target)
    assert r.status == status, (target, r.status, r.text, server.log()[-2000:])
    return r.text


def reload_store(server):
    """kill -9 of the store process, and a new one in its place."""
    (pid,) = server.children("store")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: server.children("store") not in ([], [pid]), "a new store")


@pytest.mark.parametrize("i", INTERFACES)
def test_functions(stored, i):
    assert get(stored, f"/{i}/exists?default&a") == "0"
    if i == "v1":
        assert get(stored, "/v1/get?default&a", 500) == "no-such-key "
    else:
        assert get(stored, f"/{i}/get?default&a", 404) == "none"
    assert get(stored, f"/{i}/keys?default") == ""
    assert get(stored, f"/{i}/set?default&a&one") == "ok"
    assert get(stored, f"/{i}/get?default&a") == "one"
    assert get(stored, f"/{i}/exists?default&a") == "1"
    assert get(stored, f"/{i}/set?default&a&three") == "ok"
    assert get(stored, f"/{i}/get?default&a") == "three"
    assert get(stored, f"/{i}/set?default&b&") == "ok"
    assert get(stored, f"/{i}/get?default&b") == ""
    assert sorted(get(stored, f"/{i}/keys?default").split()) == ["a", "b"]
    assert get(stored, f"/{i}/delete?default&a") == "ok"
    assert get(stored, f"/{i}/delete?default&a") == "ok"
    assert get(stored, f"/{i}/exists?default&a") == "0"
    assert get(stored, f"/{i}/keys?default") == "b\n"


@pytest.mark.parametrize("i", INTERFACES)
def test_denied(stored, i):
    for op in ("get", "set", "delete", "exists", "keys"):
        assert get(stored, f"/{i}/{op}?forbidden&a&v", 500) == "access-denied "


def test_interfaces_see_the_same(stored):
    for writer in INTERFACES:
        get(stored, f"/{writer}/set?default&shared&by-{writer}")
        for reader in INTERFACES:
            assert get(stored, f"/{reader}/get?default&shared") == f"by-{writer}"


def test_v1_handles(stored):
    get(stored, "/v1/set?default&k&v")
    assert get(stored, "/v1/closed?default&k", 500) == "invalid-store "


def test_open_stores_are_limited(stored):
    assert get(stored, "/open?default&256") == "1"  # one was dropped, so there is room for one
    assert get(stored, "/open?default&257", 500) == "store-table-full after 256"


def test_cursor_is_refused(stored):
    assert get(stored, "/wasi/keys?default&cursor", 500).startswith("other ")


def test_batch(stored):
    assert get(stored, "/set-many?default&a=1&b=&c=3") == "ok"
    assert get(stored, "/get-many?default&c&nowhere&b&a") == "c=3\nnowhere\nb=\na=1\n"
    assert get(stored, "/delete-many?default&a&nowhere&c") == "ok"
    assert get(stored, "/v2/keys?default") == "b\n"
    assert get(stored, "/get-many?default") == ""


def test_long_keys(stored):
    key = "k" * 10_000
    assert get(stored, f"/v2/set?default&{key}&v") == "ok"
    assert get(stored, f"/v2/get?default&{key}") == "v"
    assert get(stored, "/v2/keys?default") == key + "\n"


def test_atomics(stored):
    assert get(stored, "/increment?default&n&5") == "5"
    assert get(stored, "/increment?default&n&-7") == "-2"
    assert get(stored, "/increment?default&n&9223372036854775807") == "9223372036854775805"
    assert get(stored, "/increment?default&n&3", 500).startswith("other ")
    get(stored, "/v2/set?default&text&abc")
    assert get(stored, "/increment?default&text&1", 500).startswith("other ")
    assert get(stored, "/cas?default&c&first") == "ok"
    assert get(stored, "/cas?default&c&second") == "ok"
    assert get(stored, "/v2/get?default&c") == "second"
    assert get(stored, "/swap-late?default&c&third", 409) == "cas-failed between then ok"
    assert get(stored, "/v2/get?default&c") == "third"


def test_large_values(stored):
    for n in (16_000, 17_000, 3_000_000):
        assert get(stored, f"/v2/set?default&big&&{n}") == "ok"
        assert get(stored, "/v2/get?default&big") == "x" * n
    assert get(stored, "/v2/set?default&big&&140000000", 500).startswith("other ")
    assert get(stored, "/v2/get?default&big") == "x" * 3_000_000


def test_state_survives_a_restart_and_is_spins_file(app, workers, tmp_path):
    with serving(app, tmp_path, workers=workers) as server:
        get(server, "/v2/set?default&kept&yes")
    path = app / ".spin" / "sqlite_key_value.db"
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == [path.name]
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        rows = db.execute("select * from spin_key_value").fetchall()
        assert rows == [("default", "kept", b"yes")]
        db.execute("insert into spin_key_value values ('default', 'by', 'hand')")
    with serving(app, tmp_path, workers=workers) as server:
        assert get(server, "/v2/get?default&kept") == "yes"
        assert get(server, "/v2/get?default&by") == "hand"


def test_state_dir(app, tmp_path):
    with serving(app, tmp_path, "--state-dir", str(tmp_path / "state")) as server:
        get(server, "/v2/set?default&k&v")
    assert (tmp_path / "state" / "sqlite_key_value.db").exists()
    assert not (app / ".spin").exists()


def test_in_memory(app, workers, tmp_path):
    with serving(app, tmp_path, "--state-dir", "", workers=workers) as server:
        get(server, "/v2/set?default&k&v")
        for _ in range(8):  # one store, not one a worker
            assert get(server, "/v2/get?default&k") == "v"
    assert not (app / ".spin").exists()


def test_nothing_is_opened_without_a_grant(tmp_path, workers):
    app = write_app(tmp_path / "app", DENIED)
    with serving(app, tmp_path, workers=workers) as server:
        assert get(server, "/v2/get?default&k", 500) == "access-denied "
    assert not (app / ".spin" / "sqlite_key_value.db").exists()


def test_unknown_label(tmp_path):
    app = write_app(tmp_path / "app", APP.replace('["default"]', '["default", "other"]'))
    _, text = ebb("up", "-f", app, "--listen", "127.0.0.1:0", status=1)
    assert "unknown key_value_stores label 'other'" in text


def load(server, n, work):
    """n threads that do work(connection, thread number, step) until it returns False."""
    failures = []

    def run(number):
        step = 0
        try:
            with Connection(server) as c:
                while work(c, number, step):
                    step += 1
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    return threads, failures


def test_increments_of_many_connections_add_up(stored):
    def work(c, number, step):
        r = c.request("GET", "/increment?default&sum&1")
        assert r.status == 200, r.text
        return step < 24
    threads, failures = load(stored, 16, work)
    for t in threads:
        t.join()
    assert not failures
    assert get(stored, "/increment?default&sum&0") == str(16 * 25)


def test_swaps_of_many_connections_add_up(stored):
    def work(c, number, step):
        r = c.request("GET", "/add?default&count")
        assert r.status == 200, r.text
        return step < 4
    threads, failures = load(stored, 8, work)
    for t in threads:
        t.join()
    assert not failures
    assert get(stored, "/v2/get?default&count") == str(8 * 5)


def test_killed_store_loses_no_acknowledged_write(served):
    acknowledged, refused, stop = [], [], threading.Event()

    def work(c, number, step):
        key = f"{number}-{step}"
        r = c.request("GET", f"/v2/set?default&{key}&value-{key}")
        if r.status == 200:
            acknowledged.append(key)
        else:  # it was with the process that died: an error of the interface, not a cut
            assert r.status == 500 and r.text.startswith("other "), (r.status, r.text)
            refused.append(key)
        return not stop.is_set()
    threads, failures = load(served, 8, work)
    try:
        for _ in range(5):
            seen = len(acknowledged)
            wait_for(lambda: len(acknowledged) > seen + 20 or failures, "acknowledged writes")
            reload_store(served)
        seen = len(acknowledged)
        wait_for(lambda: len(acknowledged) > seen + 20 or failures, "writes after the last kill")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failures
    with Connection(served) as c:
        for key in acknowledged:
            assert c.request("GET", f"/v2/get?default&{key}").text == f"value-{key}"
    assert len(refused) <= 5 * len(threads)


def test_killed_worker_gets_a_channel_again(served, workers):
    get(served, "/v2/set?default&k&v")
    for pid in served.children("worker"):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: pid not in served.children("worker")
                 and len(served.children("worker")) == workers, "a new worker")
    for _ in range(4 * workers):
        assert get(served, "/v2/get?default&k") == "v"


def test_damaged_file(app, workers, tmp_path):
    path = app / ".spin" / "sqlite_key_value.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database\n" * 1000)
    with serving(app, tmp_path, workers=workers) as server:
        for _ in range(3):
            text = get(server, "/v2/get?default&k", 500)
            assert text.startswith("other ") and "not a database" in text
            assert str(path) not in text  # the guest need not know where
        server.wait_log("message")
        said = [r for r in server.log_lines("message") if str(path) in r["text"]]
        assert len(said) == 1, said  # once, not for every request
        path.unlink()
        assert get(server, "/v2/set?default&k&v") == "ok"  # over when the cause is gone
        assert get(server, "/v2/get?default&k") == "v"


def test_store_process_sees_only_the_state_folder(served):
    get(served, "/v2/set?default&k&v")
    (pid,) = served.children("store")
    names = set(open_files(pid))
    files = {n for n in names if n.startswith("/") and "/dev/" not in n and "memfd:" not in n}
    state = {n for n in files if "/.spin/sqlite_key_value.db" in n}
    assert state and all(n in state or n.endswith(".log") for n in files), files


def redis_config(tmp_path, url):
    (tmp_path / "rc.toml").write_text(
        f'[key_value_store.default]\ntype = "redis"\nurl = "{url}"\n')
    return ["--runtime-config-file", tmp_path / "rc.toml"]


def test_redis_holds_spins_keys(app, workers, tmp_path, redis_server):
    redis_server.ask("FLUSHALL")
    options = redis_config(tmp_path, redis_server.url + "/3")
    with serving(app, tmp_path, *options, workers=workers) as server:
        get(server, "/v2/set?default&name&value")
        get(server, "/increment?default&n&41")
        assert redis_server.ask("GET", "name", number=3) == "value"
        assert redis_server.ask("GET", "n", number=3) == "41"
        redis_server.ask("SET", "theirs", "x", number=3)
        assert get(server, "/v2/get?default&theirs") == "x"
        redis_server.ask("LPUSH", "list", "x", number=3)
        assert get(server, "/increment?default&list&1", 500).startswith("other WRONGTYPE ")
        assert get(server, "/v2/get?default&list", 404) == "none"
        for pid in server.children("store") + server.children("worker"):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                assert redis_server.password.encode() not in f.read()
        assert redis_server.password not in server.log()


def test_redis_goes_and_comes_again(app, workers, tmp_path):
    (tmp_path / "own").mkdir()
    with redis(tmp_path / "own") as own:
        options = redis_config(tmp_path, own.url)
        with serving(app, tmp_path, *options, workers=workers) as server:
            assert get(server, "/v2/set?default&k&v") == "ok"
            own.stop()
            wait_for(lambda: fetch(server, "/v2/get?default&k").status == 500, "a refusal")
            assert "cannot connect" in get(server, "/v2/get?default&k", 500)
            assert "key-value store in Redis at 127.0.0.1:" in server.log()
            own.start()
            wait_for(lambda: fetch(server, "/v2/set?default&k&v").status == 200, "it to work")
            assert get(server, "/v2/get?default&k") == "v"
            wait_for(lambda: "works again" in server.log(), "the log to say so")
            assert own.password not in server.log()


def test_redis_with_a_wrong_password(app, tmp_path, redis_server):
    options = redis_config(tmp_path, redis_server.url.replace(redis_server.password, "guessed"))
    with serving(app, tmp_path, *options) as server:
        assert get(server, "/v2/get?default&k", 500).startswith("other WRONGPASS ")


@pytest.mark.parametrize("line, said", [
    ('type = "redis"\nurl = "rediss://127.0.0.1"', "Redis over TLS (rediss://) is not served"),
    ('type = "redis"\nurl = "http://127.0.0.1"', "a Redis URL is redis://"),
    ('type = "redis"\nurl = "redis://127.0.0.1:port"', "a Redis URL is redis://"),
    ('type = "azure_cosmos"\naccount = "a"\ndatabase = "d"\ncontainer = "c"',
     'ebb does not serve stores of type "azure_cosmos"'),
    ('type = "aws_dynamo"\nregion = "r"\ntable = "t"',
     'ebb does not serve stores of type "aws_dynamo"'),
])
def test_stores_that_are_not_served(app, tmp_path, line, said):
    (tmp_path / "rc.toml").write_text("[key_value_store.default]\n" + line + "\n")
    _, stderr = ebb("up", "-f", app, "--runtime-config-file", tmp_path / "rc.toml", status=1)
    assert said in stderr and "key_value_store.default" in stderr
