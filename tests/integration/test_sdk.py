"""Apps of the official SDKs for WASI 0.2 with key-value and SQL: Rust 5, JavaScript, Python 3.

Their interfaces and answers are those the SDKs document; routes in tests/guests/README.md.
"""
import json

import pytest

from harness import fetch, guest, serving, write_app

SDKS = ("rust", "js", "python-spin")
NAMES = {"rust": "Rust", "js": "JavaScript", "python-spin": "Python"}
#: The Python SDK imports all that Spin has, also what ebb does not offer: such functions trap.
OPTIONS = {"rust": (), "js": (), "python-spin": ("--test-stub-imports",)}
#: What each calls an error's case: by the SDK's debug text, the WIT name, the class.
DENIED = {"rust": "Error::AccessDenied", "js": "access-denied", "python-spin": "AccessDenied"}
FAILED = {"rust": "Error::Io(", "js": "io ", "python-spin": "Io "}


def manifest(sdk, grants):
    return f"""
spin_manifest_version = 2
[application]
name = "state"
[[trigger.http]]
route = "/..."
component = "app"
[component.app]
source = "{guest(f'{sdk}-state')}"
{grants}
"""


GRANTS = 'key_value_stores = ["default"]\nsqlite_databases = ["default"]'


@pytest.fixture(params=SDKS)
def sdk(request):
    return request.param


@pytest.fixture(params=(1, 4), ids=("one", "four"))
def served(request, sdk, tmp_path):
    app = write_app(tmp_path / "app", manifest(sdk, GRANTS))
    with serving(app, tmp_path, *OPTIONS[sdk], workers=request.param) as server:
        yield server


def answer(server, target, method="GET", body=None):
    r = fetch(server, target, method, body=body)
    return r.status, r.text


def select(server, sql, *parameters):
    body = json.dumps({"sql": sql, "parameters": parameters}).encode()
    r = fetch(server, "/sql", "POST", body=body)
    assert r.status == 200, r.text
    return r.json()


def test_answers_its_text(served, sdk):
    assert answer(served, "/hello") == (200, f"Hello from Spin in {NAMES[sdk]}!\n")


def test_key_value(served):
    assert answer(served, "/kv") == (200, "[]")
    assert answer(served, "/kv/tide") == (404, "")
    assert answer(served, "/kv/tide", "HEAD") == (404, "")
    assert answer(served, "/kv/tide", "POST", b"low") == (201, "")
    assert answer(served, "/kv/a/b", "POST", b"") == (201, "")
    for _ in range(8):  # each on a connection of its own, so on every worker
        assert answer(served, "/kv/tide") == (200, "low")
    assert answer(served, "/kv/tide", "HEAD") == (200, "")
    assert answer(served, "/kv/tide", "POST", b"high") == (201, "")
    assert answer(served, "/kv/tide") == (200, "high")
    assert json.loads(answer(served, "/kv")[1]) == ["a/b", "tide"]
    assert answer(served, "/kv/tide", "DELETE") == (204, "")
    assert answer(served, "/kv/tide", "DELETE") == (204, "")
    assert answer(served, "/kv/tide") == (404, "")


def test_key_value_holds_any_bytes(served):
    value = bytes(range(256)) * 400
    assert fetch(served, "/kv/bytes", "POST", body=value).status == 201
    assert fetch(served, "/kv/bytes").body == value


def test_sql_values(served):
    """Every type there and back; what answers no rows gives none."""
    nothing = {"columns": [], "rows": []}
    assert select(served, "create table t (id integer primary key, v)") == nothing
    values = [9007199254740991, -1, 1.5, "", "häfen", None, [], [0, 128, 255]]
    for value in values:
        assert select(served, "insert into t (v) values (?)", value) == nothing
    for _ in range(4):
        found = select(served, "select id, v, typeof(v) as kind from t order by id")
        assert found["columns"] == ["id", "v", "kind"]
        assert [row[1] for row in found["rows"]] == values
        assert [row[0] for row in found["rows"]] == list(range(1, 9))
        assert [row[2] for row in found["rows"]] == ["integer", "integer", "real", "text", "text",
                                                     "null", "blob", "blob"]
    assert select(served, "select count(*) from t where v = ?", "häfen")["rows"] == [[1]]


def test_sql_errors_are_the_interfaces_own(served, sdk):
    body = json.dumps({"sql": "select * from nowhere", "parameters": []}).encode()
    status, text = answer(served, "/sql", "POST", body)
    assert status == 500
    assert text.startswith(FAILED[sdk]), text
    assert "no such table: nowhere" in text
    assert select(served, "select 1")["rows"] == [[1]]


def test_denied_without_a_grant(sdk, workers, tmp_path):
    app = write_app(tmp_path / "app", manifest(sdk, ""))
    with serving(app, tmp_path, *OPTIONS[sdk], workers=workers) as server:
        body = json.dumps({"sql": "select 1", "parameters": []}).encode()
        for found in (answer(server, "/kv/tide"), answer(server, "/sql", "POST", body)):
            assert found[0] == 500
            assert found[1].strip() == DENIED[sdk]
