"""Databases at a libSQL server: the same functions as over a file, streams, and failures."""
import threading

import pytest

from harness import ebb, fetch, guest, serving, wait_for, write_app
from hrana import TOKEN, hrana

APP = f"""
spin_manifest_version = 2
[application]
name = "remote"
[[trigger.http]]
route = "/..."
component = "s"
[component.s]
source = "{guest('c-sqlite')}"
sqlite_databases = ["default"]
"""
VERSIONS = ("v1", "v2", "v3")
TABLE = "create table t (id integer primary key, v text)"


@pytest.fixture
def remote(tmp_path):
    with hrana(tmp_path / "remote.db") as server:
        yield server


def config(tmp_path, url, token=TOKEN):
    path = tmp_path / "rc.toml"
    path.write_text(f'[sqlite_database.default]\ntype = "libsql"\nurl = "{url}"\n'
                    f'token = "{token}"\n')
    return ["--runtime-config-file", path]


@pytest.fixture
def served(remote, workers, tmp_path):
    app = write_app(tmp_path / "app", APP)
    with serving(app, tmp_path, *config(tmp_path, remote.url), workers=workers) as server:
        yield server


def run(server, *lines, version="v2", status=200):
    """Statements on one connection of the guest; the answer's lines."""
    r = fetch(server, f"/{version}/run?default", method="POST", body="\n".join(lines).encode())
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
    assert run(served, "select ? n\ti9223372036854775807", version=v) == \
        ["n", "i9223372036854775807"]


@pytest.mark.parametrize("v", VERSIONS)
def test_errors(served, v):
    assert run(served, "selec 1", version=v, status=500) == ['io near "selec": syntax error']
    # The stream goes on after a statement that failed.
    assert run(served, TABLE, "insert into t values (1, 'a')", version=v) == ["", ""]
    assert run(served, "insert into t values (1, 'b')", version=v, status=500) == \
        ["io UNIQUE constraint failed: t.id"]


def test_rowid_and_changes(served):
    assert run(served, TABLE, "insert into t values (7, 'x'), (8, 'y')", "rowid", "changes",
               version="v3") == ["", "", "8", "2"]


def test_transactions_and_streams(served, remote):
    run(served, TABLE)
    assert run(served, "begin", "insert into t values (1, 'a')", "select count(*) n from t",
               "rollback", "select count(*) n from t") == ["", "", "n", "i1", "", "n", "i0"]
    # Left open: the server is told that the stream is over, and rolls it back.
    run(served, "begin", "insert into t values (2, 'b')")
    wait_for(lambda: not remote.streams, "the end of all streams")
    assert run(served, "select count(*) n from t") == ["n", "i0"]


def test_a_stream_may_move(served, remote):
    """What comes after an answer with a base_url goes there."""
    run(served, TABLE)
    wait_for(lambda: not remote.streams, "the end of the first")
    remote.moves_to = f"{remote.url}/there"
    assert run(served, "begin", "insert into t values (1, 'a')", "select count(*) n from t",
               "commit") == ["", "", "n", "i1", ""]
    wait_for(lambda: not remote.streams, "the end of all streams")


def test_a_stream_that_the_server_forgot(served, remote):
    """Its transaction is gone, so nothing more may be done in it."""
    run(served, TABLE)
    real = remote.execute

    def execute(db, statement):
        if "forget" in statement["sql"]:
            remote.broken = 400, {"error": "Received an invalid baton"}
        return real(db, statement)
    remote.execute = execute
    assert run(served, "begin", "select 'forget' x", "select 1", status=500)[-1] == \
        "io the libSQL server answered with status 400"
    remote.broken = None
    assert run(served, "select 1 one") == ["one", "i1"]


@pytest.mark.parametrize("answer, said", [
    ((500, {"error": "x"}), "io the libSQL server answered with status 500"),
    ((200, b"not json"), "io the database's server gave an answer of another shape"),
    ((200, {"results": []}), "io the database's server gave an answer of another shape"),
    ((200, {"baton": None, "results": [{"type": "ok", "response": {"type": "execute", "result": {
        "cols": [{"name": "a"}], "rows": [[]], "affected_row_count": 0}}}]}),
     "io the database's server gave an answer of another shape"),
], ids=["status", "text", "empty", "row"])
def test_a_server_that_fails(served, remote, answer, said):
    assert run(served, "select 1 one") == ["one", "i1"]
    remote.broken = answer
    assert run(served, "select 1", status=500) == [said]
    assert run(served, "select 1", status=500) == [said]
    remote.broken = None
    assert run(served, "select 1 one") == ["one", "i1"]
    log = served.log()
    assert log.count("at its libSQL server: ") == 1  # once, and once more when it is over
    assert "works again" in log and TOKEN not in log


def test_a_wrong_token(remote, tmp_path):
    app = write_app(tmp_path / "app", APP)
    with serving(app, tmp_path, *config(tmp_path, remote.url, "wrong-secret")) as server:
        assert run(server, "select 1", status=500) == \
            ["io the libSQL server refuses the token (status 401)"]
        assert "wrong-secret" not in server.log()


def test_nobody_there(tmp_path):
    app = write_app(tmp_path / "app", APP)
    with serving(app, tmp_path, *config(tmp_path, "http://127.0.0.1:1")) as server:
        (said,) = run(server, "select 1", status=500)
        assert said.startswith("io the libSQL server cannot be asked: ")


def test_more_at_once_than_threads(served, remote):
    """Statements that wait for the server hold up nobody but those behind them."""
    run(served, TABLE)
    remote.hold.clear()
    answers = []
    before = len(remote.requests)
    threads = [threading.Thread(target=lambda k=k: answers.append(
        run(served, f"insert into t values ({k}, 'x')"))) for k in range(1, 13)]
    for t in threads:
        t.start()
    wait_for(lambda: len(remote.requests) >= before + 4, "four requests")
    assert not answers
    remote.hold.set()
    for t in threads:
        t.join()
    assert answers == [[""]] * 12
    assert run(served, "select count(*) n from t") == ["n", "i12"]


def test_scripts_are_refused(remote, tmp_path):
    app = write_app(tmp_path / "app", APP)
    _, said = ebb("up", "-f", app, "--listen", "127.0.0.1:0", *config(tmp_path, remote.url),
                  "--sqlite", TABLE, status=1)
    assert '--sqlite: "default" is at a libSQL server' in said
