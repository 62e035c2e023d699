"""SQL end to end: every function of every version, grants, limits, sessions, durability."""
import contextlib
import os
import signal
import sqlite3
import threading
import time

import pytest

from harness import Connection, ebb, fetch, guest, open_files, serving, wait_for, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "tables"
[[trigger.http]]
route = "/..."
component = "s"
[component.s]
source = "{guest('c-sqlite')}"
sqlite_databases = ["default"]
"""
DENIED = APP.replace('sqlite_databases = ["default"]', "")
VERSIONS = ("v1", "v2", "v3")
TABLE = "create table t (id integer primary key, v text)"


@pytest.fixture
def app(tmp_path):
    return write_app(tmp_path / "app", APP)


@pytest.fixture
def served(app, workers, tmp_path):
    with serving(app, tmp_path, workers=workers) as server:
        yield server


def run(server, *lines, version="v2", database="default", status=200, connection=None):
    """Statements on one connection of the guest; the answer's lines."""
    target, body = f"/{version}/run?{database}", "\n".join(lines).encode()
    r = connection.request("POST", target, body=body) if connection else \
        fetch(server, target, method="POST", body=body)
    assert r.status == status, (lines, r.status, r.text, server.log()[-2000:])
    return r.text.splitlines()


@pytest.mark.parametrize("v", VERSIONS)
def test_functions(served, v):
    assert run(served, TABLE, version=v) == [""]
    assert run(served, "insert into t (v) values (?), (?)\ttone\tttwo", version=v) == [""]
    assert run(served, "select * from t order by id", version=v) == ["id|v", "i1|'one'", "i2|'two'"]
    assert run(served, "select v from t where id = ?\ti2", version=v) == ["v", "'two'"]
    assert run(served, "select v from t where id = 9", version=v) == ["v"]
    assert run(served, "select ? a, ? b, ? c, ? d, ? e\ti-5\tr0.5\ttx\tbyz\tn", version=v) == \
        ["a|b|c|d|e", "i-5|r0.5|'x'|b:yz|n"]
    assert run(served, "", "-- nothing", version=v) == ["", ""]
    # As Spin does: only the first statement of a text.
    assert run(served, "select 1 as one; select 2 as two", version=v) == ["one", "i1"]


@pytest.mark.parametrize("v", VERSIONS)
def test_errors(served, v):
    def error(*lines, **more):
        return run(served, *lines, version=v, status=500, **more)[-1]
    assert error("select 1", database="forbidden") == "access-denied "
    assert error("selec 1") == 'io near "selec": syntax error'
    assert error("select * from nowhere") == "io no such table: nowhere"
    assert error("select ?") == "io Wrong number of parameters passed to query. Got 0, needed 1"
    assert error("select 1\ti1") == "io Wrong number of parameters passed to query. Got 1, needed 0"
    run(served, TABLE, version=v)
    assert error("insert into t values (1, 'a'), (1, 'b')") == \
        "io UNIQUE constraint failed: t.id"
    assert run(served, "select count(*) n from t", version=v) == ["n", "i0"]
    assert error("select cast(x'ff' as text)") == "io the result has a text that is not UTF-8"


@pytest.mark.parametrize("v", VERSIONS)
def test_denied(tmp_path, workers, v):
    app = write_app(tmp_path / "app", DENIED)
    with serving(app, tmp_path, workers=workers) as server:
        assert run(server, "select 1", version=v, status=500) == ["access-denied "]
    assert not list((app / ".spin").glob("sqlite*"))


def test_rowid_and_changes(served):
    assert run(served, "rowid", "changes", TABLE, "changes", "insert into t values (7, 'x')",
               "rowid", "changes", "update t set v = 'y'", "insert into t (v) values ('z'), ('z')",
               "update t set v = 'w'", "changes", "rowid", "select 1 one", "changes",
               version="v3") == ["0", "0", "", "0", "", "7", "1", "", "", "", "3", "9", "one", "i1",
                                 "3"]
    # A connection that was used before tells nothing of it.
    for _ in range(4):
        assert run(served, "rowid", "changes", "select changes() c, total_changes() t", "rowid",
                   "changes", version="v3") == ["0", "0", "c|t", "i0|i0", "0", "0"]


def test_v1_handles(served):
    assert run(served, "select 1 one", "close", "select 1", version="v1", status=500) == \
        ["one", "i1", "invalid-connection "]


def test_open_connections_are_limited(served):
    def open_many(n, status):
        r = fetch(served, f"/v2/open?default&{n}", method="POST", body=b"")
        assert r.status == status, r.text
        return r.text
    assert open_many(256, 200) == ""
    assert open_many(257, 500) == "io too many connections opened"


def test_versions_and_files_are_the_same(served, app):
    run(served, TABLE, version="v1")
    run(served, "insert into t values (1, 'a')", version="v2")
    assert run(served, "select * from t", version="v3") == ["id|v", "i1|'a'"]
    with contextlib.closing(sqlite3.connect(app / ".spin" / "sqlite_db.db")) as db:
        assert db.execute("select * from t").fetchall() == [(1, "a")]


def test_transactions_are_the_sessions_own(served):
    run(served, TABLE)
    assert run(served, "begin", "insert into t values (1, 'a')", "select count(*) n from t",
               "rollback", "select count(*) n from t") == ["", "", "n", "i1", "", "n", "i0"]
    # Left open: what was not committed never happened, and nobody is in the way.
    run(served, "begin", "insert into t values (2, 'b')")
    assert run(served, "select count(*) n from t") == ["n", "i0"]
    run(served, "begin immediate", "insert into t values (3, 'c')", "commit")
    assert run(served, "select count(*) n from t") == ["n", "i1"]


def test_nothing_sticks_to_a_connection(served):
    run(served, "create temp table mine (x)", "insert into mine values (1)")
    run(served, "attach ':memory:' as other", "create table other.o (x)")
    run(served, "pragma foreign_keys = on")
    for _ in range(8):
        assert run(served, "select * from mine", status=500) == ["io no such table: mine"]
        assert run(served, "select * from other.o", status=500) == ["io no such table: other.o"]
        assert run(served, "pragma foreign_keys") == ["foreign_keys", "i0"]


def test_what_a_guest_may_not_do(served, app):
    outside = app / ".spin" / "other.db"
    assert run(served, f"attach '{outside}' as o", status=500) == ["io not authorized"]
    assert run(served, "attach ? as o\tt/tmp/x.db", status=500) == ["io not authorized"]
    assert run(served, "attach 'file:/default?vfs=memdb' as o", status=500) == ["io not authorized"]
    assert run(served, "vacuum into 'copy.db'", status=500)[0].startswith("io ")
    assert run(served, "select load_extension('x')", status=500)[0].startswith("io ")
    # Settings that are ours are left as they are, without an error.
    run(served, "pragma journal_mode = delete", "pragma synchronous = off",
        "pragma busy_timeout = 60000", "pragma locking_mode = exclusive", TABLE)
    assert run(served, "pragma journal_mode") == ["journal_mode", "'wal'"]
    assert run(served, "pragma main.synchronous") == ["synchronous", "i1"]
    assert not outside.exists()


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


def test_statements_are_stopped_and_others_go_on(app, tmp_path):
    """Four that never end: others are served meanwhile, and each ends after 10 s."""
    with serving(app, tmp_path) as server:
        check_stopped(server)


def check_stopped(served):
    run(served, TABLE)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(run(served, ENDLESS, status=500)))
               for _ in range(4)]
    for t in threads:
        t.start()
    for i in range(20):
        run(served, f"insert into t values ({i}, 'x')")
    assert not answers
    for t in threads:
        t.join()
    assert answers == [["io the statement ran for 10 s, which is the limit, and was stopped"]] * 4
    assert run(served, "select count(*) n from t") == ["n", "i20"]


def cpu_s(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_statement_ends_with_its_call(app, tmp_path):
    manifest = app / "spin.toml"
    manifest.write_text(manifest.read_text() + "[component.s.tool.ebb]\nwall_time_max = \"1s\"\n")
    with serving(app, tmp_path) as server:
        (pid,) = server.children("store")
        assert fetch(server, "/v2/run?default", method="POST", body=ENDLESS.encode()).status == 504

        def is_idle():
            before = cpu_s(pid)
            time.sleep(0.2)
            return cpu_s(pid) == before
        wait_for(is_idle, "an idle store", 5)


def test_memory_is_limited(served):
    huge = "with recursive n(i) as (select 1 union all select i + 1 from n limit 3000000) " \
           "select i from n order by hex(randomblob(50))"
    assert run(served, huge, status=500) == \
        ["io the statement needs more memory than a connection may have (64 MiB)"]
    assert run(served, "select 1 one") == ["one", "i1"]


def test_results_are_limited(served):
    assert run(served, "with recursive n(i) as (select 1 union all select i + 1 from n limit 3000) "
               "select zeroblob(100000) from n", status=500) == \
        ["io query result exceeds limit of 134217728 bytes"]
    assert run(served, "select length(zeroblob(50000000)) n") == ["n", "i50000000"]


def test_locks_wait_and_time_out(app, tmp_path):
    """Another process holds the write lock: readers go on, a writer waits, then gives up."""
    with serving(app, tmp_path) as server:
        check_locks(server, app)


def check_locks(served, app):
    run(served, TABLE)
    with contextlib.closing(sqlite3.connect(app / ".spin" / "sqlite_db.db",
                                            isolation_level=None)) as db:
        db.execute("begin immediate")
        answers = []
        writer = threading.Thread(
            target=lambda: answers.append(run(served, "insert into t values (1, 'a')")))
        writer.start()
        assert run(served, "select count(*) n from t") == ["n", "i0"]
        db.execute("rollback")
        writer.join()
        assert answers == [[""]]
        db.execute("begin immediate")
        assert run(served, "insert into t values (2, 'b')", status=500) == ["io database is locked"]
        db.execute("rollback")
    assert run(served, "select id from t") == ["id", "i1"]


def many(n, work):
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]


def test_what_was_acknowledged_is_seen_by_all(served):
    """Selects of one turn share a view of the file: never an older one than was told of."""
    run(served, TABLE, "insert into t values (1, '0')")
    told, over, wrong = [0], threading.Event(), []

    def look():
        with Connection(served) as c:
            while not over.is_set():
                least = told[0]
                got = int(run(served, "select v from t where id = 1", connection=c)[1].strip("'"))
                if got < least:
                    wrong.append((got, least))
    lookers = [threading.Thread(target=look) for _ in range(6)]
    for t in lookers:
        t.start()
    with Connection(served) as c:
        for n in range(1, 201):
            run(served, f"update t set v = '{n}' where id = 1", connection=c)
            told[0] = n
            assert run(served, "select v from t where id = 1") == ["v", f"'{n}'"]
    over.set()
    for t in lookers:
        t.join()
    assert not wrong


def test_many_writers_add_up(served):
    run(served, TABLE, "insert into t values (1, '0')")

    def work(number):
        with Connection(served) as c:
            for _ in range(20):
                run(served, "update t set v = v + 1 where id = 1", connection=c)
                run(served, "begin immediate", "update t set v = v + 1 where id = 1", "commit",
                    connection=c)
    many(16, work)
    assert run(served, "select cast(v as integer) v from t") == ["v", f"i{16 * 40}"]


def test_killed_store_loses_no_acknowledged_write(served):
    run(served, TABLE)
    acknowledged, stop = [], threading.Event()

    def work(number):
        step = 0
        with Connection(served) as c:
            while not stop.is_set():
                key = number * 1_000_000 + step
                statement = f"insert into t values ({key}, 'x')"
                r = c.request("POST", "/v2/run?default", body=statement.encode())
                assert r.status == 200 or (r.status == 500 and r.text.startswith("io ")), r.text
                if r.status == 200:
                    acknowledged.append(key)
                step += 1

    def kill():
        try:
            for _ in range(5):
                seen = len(acknowledged)
                wait_for(lambda: len(acknowledged) > seen + 20, "acknowledged writes")
                (pid,) = served.children("store")
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda: served.children("store") not in ([], [pid]), "a new store")
        finally:
            stop.set()
    many(9, lambda k: kill() if k == 8 else work(k))
    there = {int(x[1:]) for x in run(served, "select id from t")[1:]}
    assert set(acknowledged) <= there


def test_lost_sessions_say_so(app, tmp_path):
    """A transaction does not go on in another store process as if nothing had happened."""
    with serving(app, tmp_path) as server:
        (pid,) = server.children("store")
        run(server, TABLE)
        answers = []
        slow = "with recursive n(i) as (select 1 union all select i + 1 from n limit 20000000) " \
               "select count(*) from n"
        t = threading.Thread(target=lambda: answers.append(run(
            server, "begin", "insert into t values (1, 'a')", slow, "insert into t values (2, 'b')",
            status=500)))
        t.start()
        wait_for(lambda: cpu_s(pid) > 0.3, "a statement that runs")
        os.kill(pid, signal.SIGKILL)
        t.join()
        assert answers[0][-1].startswith("io the store process ended before it answered")
        wait_for(lambda: run(server, "select count(*) n from t") == ["n", "i0"], "the next store")


def test_in_memory(app, workers, tmp_path):
    with serving(app, tmp_path, "--state-dir", "", workers=workers) as server:
        run(server, TABLE, "insert into t values (1, 'a')")
        for _ in range(8):  # one database, not one a worker or a connection
            assert run(server, "select v from t") == ["v", "'a'"]
    assert not list((app / ".spin").glob("sqlite*"))


@pytest.mark.parametrize("state", ("--state-dir=", "--state-dir=files"))
def test_statements_of_the_command_line(app, tmp_path, workers, state):
    script = tmp_path / "init.sql"
    script.write_text("create table if not exists t (v text);\ninsert into t values ('from file');")
    option = state if state.endswith("=") else f"--state-dir={tmp_path / 'state'}"
    with serving(app, tmp_path, option, "--sqlite", f"@{script}:default", "--sqlite",
                 "insert into t values ('from line')", workers=workers) as server:
        assert run(server, "select v from t") == ["v", "'from file'", "'from line'"]
    _, text = ebb("up", "-f", app, "--listen", "127.0.0.1:0", option, "--sqlite", "creat table x",
                  status=1)
    assert "--sqlite" in text and 'near "creat": syntax error' in text


def test_idle_files_are_closed_and_opened_again(tmp_path):
    """Databases and key-value stores."""
    app = write_app(tmp_path / "app", APP.replace('"/..."', '"/:version/run"') + f"""
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest('c-keyvalue')}"
key_value_stores = ["default"]
""")
    with serving(app, tmp_path) as server:
        (pid,) = server.children("store")

        def open_stores():
            names = open_files(pid)
            return {x for x in ("sqlite_db", "sqlite_key_value") if any(x in n for n in names)}
        assert open_stores() == set()  # nothing was asked for yet
        run(server, TABLE)
        assert fetch(server, "/v2/set?default&k&v").text == "ok"
        assert open_stores() == {"sqlite_db", "sqlite_key_value"}
        wait_for(lambda: open_stores() == set(), "the store to close its files")
        assert {p.name for p in (app / ".spin").glob("sqlite*")} == {"sqlite_db.db",
                                                                   "sqlite_key_value.db"}
        assert run(server, "select count(*) n from t") == ["n", "i0"]
        assert fetch(server, "/v2/get?default&k").text == "v"


def test_damaged_and_replaced_files(app, workers, tmp_path):
    path = app / ".spin" / "sqlite_db.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database\n" * 1000)
    with serving(app, tmp_path, workers=workers) as server:
        for _ in range(3):
            text = run(server, "select 1", status=500)[0]
            assert text.startswith("io ") and "not a database" in text and str(path) not in text
        said = [r for r in server.log_lines("message") if str(path) in r["text"]]
        assert len(said) == 1, said
        path.unlink()
        run(server, TABLE, "insert into t values (1, 'a')")
        path.unlink()
        for name in ("sqlite_db.db-wal", "sqlite_db.db-shm"):
            (path.parent / name).unlink()
        assert run(server, "select * from t", status=500) == ["io no such table: t"]
