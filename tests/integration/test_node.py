"""`ebb serve` from the first start on: log in, deploy, change, roll back, delete; what stays over
restarts and deaths of processes; what is secret."""
import contextlib
import hashlib
import os
import re
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import threading

import pytest

from harness import ROOT, ebb, fetch, guest, wait_for, write_app
from node import node

KITCHEN = f"""
spin_manifest_version = 2
[application]
name = "Kitchen_One"
version = "1.0"
[variables]
word = {{ default = "tide" }}
password = {{ required = true, secret = true }}
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest('c-kitchen')}"
files = ["data/*.txt", {{ source = "assets", destination = "/public" }}]
[component.c.variables]
word = "{{{{ word }}}}"
secret = "{{{{ password }}}}"
"""
FILES = {"data/hello.txt": "hello from a file\n", "assets/deep/er.bin": bytes(range(256))}


def static(folder, text, name="page"):
    """An app that needs no component of its own kind: a static answer beside hello."""
    return write_app(folder, f"""
spin_manifest_version = 2
[application]
name = "{name}"
[[trigger.http]]
route = "/"
static_response = {{ status_code = 200, body = "{text}" }}
[[trigger.http]]
route = "/hello"
component = "hello"
[component.hello]
source = "{guest('c-kitchen')}"
""")


def private(data):
    """The files of a node's data folder, which others may enter; they may read none of them."""
    files = [p for p in data.iterdir() if not p.is_dir()]
    assert [p.name for p in files if p.stat().st_mode & 0o077] == []
    return {p.name for p in files}


def test_the_first_start_and_the_second(tmp_path):
    with node(tmp_path) as n:
        token = n.ready["token"]
        assert re.fullmatch(r"ebb_[A-Za-z0-9_-]{43}", token)
        out = n.run("login", f"http://{n.admin}", "--token", token)
        assert "operator" in out
        kept = n.home / ".config/ebb/login.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        out = n.run("deploy", "-f", ROOT / "examples/hello")
        assert f"http://hello-default.localhost:{n.port}/" in out
        assert n.get("hello").text.startswith("Hello from C!")
        assert private(n.data) >= {"seal.key", "platform.db", "platform.db-wal", "usage.db",
                                   "usage.db-wal", "usage.db-shm", "ebb.toml", "admin.sock"}
    with node(tmp_path, token=token) as n:
        assert "token" not in n.ready
        assert n.get("hello").text.startswith("Hello from C!")
        assert "revision 1" in n.run("apps")
    assert token.encode() not in b"".join(
        p.read_bytes() for p in (tmp_path / "data").glob("*") if p.is_file())
    assert "# listen = " in (tmp_path / "data/ebb.toml").read_text()


def test_settings_are_checked(tmp_path):
    data = tmp_path / "data"
    data.mkdir()

    def says(text):
        (data / "ebb.toml").write_text(text)
        return ebb("serve", "--data", data, status=1)[1]
    assert "ebb.toml:2:1:" in (said := says("[http]\nlisen = 'x'\n")) and "'listen'" in said
    assert "ebb.toml:1:2:" in (said := says("[htp]\n")) and "'http'" in said
    assert "from 1 to 64" in says("[node]\njobs = 0\n")
    assert "ebb.toml:2:" in says("[quota]\napps = 'many'\n")


def test_another_node_of_the_same_folder_is_refused(tmp_path):
    with node(tmp_path) as n:
        said = ebb("serve", "--data", n.data, "--listen", "127.0.0.1:0", status=1)[1]
        assert "another ebb serves from this folder" in said
    (tmp_path / "data/seal.key").unlink()
    said = ebb("serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--admin", "",
               status=1)[1]
    assert "key is missing" in said


def test_an_app_with_files_and_variables(tmp_path, workers):
    app = write_app(tmp_path / "app", KITCHEN, FILES)
    with node(tmp_path, workers=workers) as n:
        assert "password" in n.run("deploy", "-f", app, status=1)
        assert n.run("apps") == ""
        out = n.run("deploy", "-f", app, "--variable", "password=opensesame")
        assert f"kitchen-one-default.localhost:{n.port}" in out
        assert n.get("kitchen-one", "/file?data/hello.txt").text == "hello from a file\n"
        assert n.get("kitchen-one", "/file?public/deep/er.bin").body == bytes(range(256))
        assert n.get("kitchen-one", "/file?../../seal.key").status == 404
        assert n.get("kitchen-one", "/variable?word").text == "tide"
        assert n.get("kitchen-one", "/variable?secret").text == "opensesame"
        # variables take effect at once, without a deploy
        assert n.run("variables", "Kitchen_One", "word=ebb").split() == ["password", "word"]
        assert n.get("kitchen-one", "/variable?word").text == "ebb"
        assert n.run("variables", "kitchen-one", "--remove", "word").split() == ["password"]
        assert n.get("kitchen-one", "/variable?word").text == "tide"
        assert "password" in n.run("variables", "kitchen-one", "--remove", "password", status=1)
        assert n.get("kitchen-one", "/variable?secret").text == "opensesame"
        # what is secret is in no file and no log
        found = [p for p in n.data.rglob("*") if p.is_file() and b"opensesame" in p.read_bytes()]
        assert found == []
        assert "opensesame" not in n.log()
        # nothing is sent twice
        n.run("deploy", "-f", app, "--json")
        blobs = len([p for p in (n.data / "blobs/sha256").rglob("*") if p.is_file()])
        assert blobs == 3


def test_revisions(tmp_path, workers):
    with node(tmp_path, workers=workers, settings="[apps]\nrevisions_kept = 3\n") as n:
        for i in range(1, 6):
            n.run("deploy", "-f", static(tmp_path / "app", f"number {i}"))
            assert n.get("page").text == f"number {i}"
        assert "back at revision 4" in n.run("rollback", "page")
        assert n.get("page").text == "number 4"
        assert "revision 3" in n.run("rollback", "page", "--to", "3")
        assert n.get("page").text == "number 3"
        assert "no revision 1" in n.run("rollback", "page", "--to", "1", status=1)
        n.run("deploy", "-f", static(tmp_path / "app", "number 6"))
        shown = n.run("status", "page")
        assert "revision   6" in shown and "revision   3" not in shown
        n.run("delete", "page")
        assert n.get("page").status == 404
        assert "no app 'page'" in n.run("status", "page", status=1)


def test_revisions_that_calls_may_wait_for_stay(tmp_path):
    """Of an app that calls itself by the clock more than `revisions_kept`; of another no more."""
    clock = static(tmp_path / "clock", "tick", "clock")
    with open(clock / "spin.toml", "a", encoding="utf-8") as f:
        f.write('[component.hello.tool.ebb]\ncron = [{ schedule = "0 0 1 1 *", path = "/x" }]\n')

    def kept(name):
        app = n.api("GET", f"/v1/tenants/default/apps/{name}")[1]
        return sorted(r["number"] for r in app["revisions"])
    with node(tmp_path, settings="[apps]\nrevisions_kept = 1\n") as n:
        for _ in range(3):
            n.run("deploy", "-f", clock)
            n.run("deploy", "-f", static(tmp_path / "app", "page"))
        assert kept("clock") == [1, 2, 3] and kept("page") == [3]


def test_no_request_fails_while_apps_change(tmp_path, workers):
    """Old or new, never neither: while deploys go on, every request has one of both answers, and
    what a deploy's answer promised is what the next request gets."""
    with node(tmp_path, workers=workers) as n:
        n.run("deploy", "-f", static(tmp_path / "app", "number 0"))
        bodies = {}
        for i in range(2):
            out = ebb_locked(n, tmp_path / "app", f"number {i}")
            bodies[i] = out
        stop, wrong, seen = threading.Event(), [], set()

        def ask():
            while not stop.is_set():
                r = n.get("page")
                seen.add(r.text)
                if r.status != 200 or not r.text.startswith("number "):
                    wrong.append((r.status, r.text))
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        for i in range(60):
            status, answer = n.api("PUT", "/v1/tenants/default/apps/page", bodies[i % 2])
            assert status == 200, answer
            assert n.get("page").text == f"number {i % 2}"
        stop.set()
        for t in threads:
            t.join()
        assert not wrong
        assert seen == {"number 0", "number 1"}


def ebb_locked(n, folder, text):
    """The body of a deploy of static(folder, text), as the node has it after one."""
    static(folder, text)
    digest = hashlib.sha256(guest("c-kitchen").read_bytes()).hexdigest()
    return {"app": {
        "spin_lock_version": 0,
        "metadata": {"name": "page", "triggers": {}},
        "triggers": [
            {"id": "a", "trigger_type": "http", "trigger_config":
             {"route": "/", "static_response": {"status_code": 200, "body": text}}},
            {"id": "b", "trigger_type": "http", "trigger_config":
             {"route": "/hello", "component": "hello"}}],
        "components": [{"id": "hello", "source": {"content_type": "application/wasm",
                                                  "digest": f"sha256:{digest}"},
                        "metadata": {"ebb": {"is_used": True}}}]}}


def test_apps_that_are_deployed_at_once_run_by_the_clock(tmp_path):
    """A trigger that is known has a mark in usage.db from then on, long before it fires."""
    with node(tmp_path) as n:
        n.run("deploy", "-f", static(tmp_path / "app", "page"))
        apps = []
        for name in ("first", "second"):
            one = ebb_locked(n, tmp_path / "app", name) | {"name": name}
            one["app"]["components"][0]["metadata"]["ebb"]["cron"] = [
                {"schedule": "0 0 1 1 *", "method": "GET", "path": f"/{name}", "window_s": 60}]
            apps.append(one)
        status, answer = n.api("POST", "/v1/bulk", {"tenant": "default", "apps": apps})
        assert status == 200, answer

        def marked():
            with contextlib.closing(sqlite3.connect(n.data / "usage.db")) as db:
                return [name.split()[:2] + [name.split()[-1]]
                        for (name,) in db.execute("SELECT name FROM mark ORDER BY name")]
        wanted = [[str(i), "hello", f"/{a['name']}"] for i, a in zip(answer["apps"], apps)]
        wait_for(lambda: marked() == wanted, "both triggers")


def test_the_keeper_is_killed(tmp_path, workers):
    """What was answered stays; apps answer on; the next keeper takes deploys again."""
    with node(tmp_path, workers=workers) as n:
        n.run("deploy", "-f", static(tmp_path / "one", "one", "one"))
        n.run("deploy", "-f", static(tmp_path / "two", "two", "two"))
        text = "one"
        assert n.get("one").text == text
        for _ in range(3):
            [keeper] = n.children("keeper")
            os.kill(keeper, signal.SIGKILL)
            assert n.get("one").text == text
            wait_for(lambda: n.children("keeper") not in ([], [keeper]), "another keeper")
            assert n.get("two").text == "two"
            text = f"after {keeper}"
            wait_for(lambda: api_is_up(n), "the admin API")
            n.run("deploy", "-f", static(tmp_path / "one", text, "one"))
            assert n.get("one").text == text
        assert len(n.run("apps").splitlines()) == 2


def api_is_up(n):
    try:
        return n.api("GET", "/healthz")[0] == 200
    except OSError:
        return False


def test_hosts_belong_to_the_first(tmp_path):
    with node(tmp_path) as n:
        app = static(tmp_path / "app", "acme's")
        other = static(tmp_path / "other", "rival's")
        acme, rival = n.tenant("acme", "deployer"), n.tenant("rival", "deployer")
        n.run("deploy", "-f", app, "--host", "www.shop.example", token=acme, tenant="acme")
        assert n.get("page", tenant="acme").text == "acme's"
        assert fetch_host(n, "www.shop.example").text == "acme's"
        said = n.run("deploy", "-f", other, "--host", "www.shop.example", token=rival,
                     tenant="rival", status=1)
        assert "is taken" in said
        assert n.get("page", tenant="rival").status == 404
        n.run("deploy", "-f", other, token=rival, tenant="rival")
        for host in ("*.shop.example", "page-acme.localhost", "localhost"):
            assert n.run("hosts", "page", host, token=rival, tenant="rival", status=1)
        n.run("hosts", "page", "*.shop.example", tenant="rival")  # the operator's token
        assert fetch_host(n, "x.shop.example").text == "rival's"
        assert fetch_host(n, "www.shop.example").text == "acme's"
        n.run("hosts", "page", token=acme, tenant="acme")
        assert fetch_host(n, "www.shop.example").text == "rival's"


def fetch_host(n, host):
    return fetch(n, "/", host=host)


def test_quotas(tmp_path):
    with node(tmp_path) as n:
        token = n.tenant("small", "deployer")
        assert "apps             1" in n.run("quota", "apps=1", "storage_bytes=100000000",
                                             tenant="small")
        n.run("deploy", "-f", static(tmp_path / "one", "one", "one"), token=token, tenant="small")
        said = n.run("deploy", "-f", static(tmp_path / "two", "two", "two"), token=token,
                     tenant="small", status=1)
        assert "quota is 1 apps" in said
        n.run("deploy", "-f", static(tmp_path / "one", "new", "one"), token=token, tenant="small")
        assert n.get("one", tenant="small").text == "new"
        n.run("quota", "storage_bytes=1", tenant="small")
        blob = b"x" * 1000
        path = f"/v1/tenants/small/blobs/sha256:{hashlib.sha256(blob).hexdigest()}"
        status, answer = n.api("PUT", path, blob, token=token, raw=True)
        assert status == 429 and "storage quota" in answer["error"]
        assert n.run("quota", "cpus=3", tenant="small", status=1).count("there is no quota 'cpus'")


def test_a_tenant_sees_what_its_own_apps_used(tmp_path, workers):
    """Not what others' did, and under the names that it gave them."""
    with node(tmp_path, workers=workers) as n:
        reader = {}
        for tenant in ("small", "large"):
            token = n.tenant(tenant, "deployer")
            n.run("deploy", "-f", static(tmp_path / tenant, "x", f"{tenant}-page"), token=token,
                  tenant=tenant)
            assert n.get(f"{tenant}-page", "/hello", tenant=tenant).status == 200
            reader[tenant] = n.token_of(tenant, "reader")

        def shown():  # a second that is not over is not shown yet
            status, seen = n.api("GET", "/v1/tenants/small/carbon", token=reader["small"])
            assert status == 200 and seen["j_per_cpu_s"] == 2.5
            return [a["app"] for a in seen["apps"]]

        wait_for(shown, "the use of the call")
        assert shown() == ["small-page/0"]
        assert n.api("GET", "/v1/tenants/small/carbon", token=reader["large"])[0] in (403, 404)
        status, seen = n.api("GET", "/v1/tenants/small/carbon?from=noon", token=reader["small"])
        assert status == 400 and "noon" in seen["error"]


def test_logs(tmp_path, workers):
    app = write_app(tmp_path / "app", KITCHEN, FILES)
    with node(tmp_path, workers=workers) as n:
        n.run("deploy", "-f", app, "--variable", "password=x")
        before = n.api_stream("/v1/tenants/default/apps/kitchen-one/logs?follow=1")
        assert before.status == 200  # the head comes before there is a line
        for i in range(5):
            assert n.get("kitchen-one", f"/log?line-{i}").status == 200
        wait_for(lambda: b"line-4" in before.readline(), "the first lines")
        before.close()
        out = n.run("logs", "kitchen-one", "--lines", "100")
        assert [x for x in re.findall(r"line-\d", out)][-1] == "line-4"
        assert all(line.startswith("c: ") for line in out.splitlines())
        follow = n.api_stream("/v1/tenants/default/apps/kitchen-one/logs?follow=1&lines=1")
        n.get("kitchen-one", "/log?followed")
        wait_for(lambda: b"followed" in follow.readline(), "the line")
        follow.close()


@pytest.mark.parametrize("lie", ("digest", "cut"))
def test_a_blob_that_lies_is_not_kept(tmp_path, lie):
    with node(tmp_path) as n:
        name = "sha256:" + "0" * 64
        status, answer = n.api("PUT", f"/v1/tenants/default/blobs/{name}", b"something", raw=True)
        assert status == 400 and "digest" in answer["error"]
        assert n.api("HEAD", f"/v1/tenants/default/blobs/{name}")[0] == 404
        assert [p for p in (n.data / "blobs").rglob("*") if p.is_file()] == []


def test_backup_while_writing_and_restore(tmp_path):
    with node(tmp_path) as n:
        app = write_app(tmp_path / "app", KITCHEN, FILES)
        n.run("deploy", "-f", app, "--variable", "password=kept")
        stop = threading.Event()

        def write():
            i = 0
            while not stop.is_set():
                n.run("variables", "kitchen-one", f"word=w{i}")
                i += 1
        writer = threading.Thread(target=write)
        writer.start()
        ebb("backup", "--data", n.data, tmp_path / "copy")
        stop.set()
        writer.join()
        token = n.token
    ebb("restore", tmp_path / "copy", "--data", tmp_path / "second" / "data")
    assert private(tmp_path / "second" / "data") >= {"seal.key", "platform.db", "usage.db"}
    with node(tmp_path / "second", token=token) as n:
        # compiled code is not in a backup: the first request has it made
        wait_for(lambda: n.get("kitchen-one").status != 503, "the app")
        assert n.get("kitchen-one", "/variable?secret").text == "kept"
        assert n.get("kitchen-one", "/file?data/hello.txt").text == "hello from a file\n"
        assert n.run("status", "kitchen-one")
    said = ebb("restore", tmp_path / "copy", "--data", tmp_path / "second" / "data", status=1)[1]
    assert "is not empty" in said
    [blob] = [p for p in (tmp_path / "copy/blobs").rglob("*") if p.is_file()][:1]
    os.chmod(blob, 0o600)
    blob.write_bytes(b"damaged")
    said = ebb("restore", tmp_path / "copy", "--data", tmp_path / "third", status=1)[1]
    assert "damaged" in said and not (tmp_path / "third/platform.db").exists()


def test_https(tmp_path, workers):
    """With [tls] the address of the apps speaks HTTPS, by name, and URLs say so."""
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=apps.example",
                    "-addext", "subjectAltName=DNS:*.apps.example", "-keyout",
                    certificates / "apps.key", "-out", certificates / "apps.crt"],
                   check=True, capture_output=True)
    settings = f'[http]\ndomain = "apps.example"\n[tls]\nfolder = "{certificates}"\n'
    with node(tmp_path, workers=workers, settings=settings) as n:
        out = n.run("deploy", "-f", static(tmp_path / "app", "in secret"))
        assert f"https://page-default.apps.example:{n.port}/" in out
        context = ssl.create_default_context(cafile=certificates / "apps.crt")
        with socket.create_connection((n.host, n.port)) as plain, \
                context.wrap_socket(plain, server_hostname="page-default.apps.example") as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: page-default.apps.example\r\n"
                      b"Connection: close\r\n\r\n")
            answer = b""
            while got := s.recv(65536):
                answer += got
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"in secret")
    (tmp_path / "data/ebb.toml").write_text('[tls]\nkey = "x"\n')
    assert "[tls] takes" in ebb("serve", "--data", tmp_path / "data", status=1)[1]


def stores(folder, name, guest_name, grant):
    return write_app(folder, f"""
spin_manifest_version = 2
[application]
name = "{name}"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest(guest_name)}"
{grant} = ["default"]
""")


def test_stores_are_seen_from_outside(tmp_path, workers):
    """`ebb kv` and `ebb sqlite`: what people write guests read, and the other way round; also from
    a new store process and a new keeper."""
    with node(tmp_path, workers=workers) as n:
        keys = stores(tmp_path / "keys", "stored", "c-keyvalue", "key_value_stores")
        n.run("deploy", "-f", keys)
        n.run("deploy", "-f", stores(tmp_path / "tables", "tables", "c-sqlite", "sqlite_databases"))
        assert n.get("stored", "/v2/set?default&theirs&one").status == 200
        assert n.run("kv", "stored", "get", "theirs") == "one"
        n.run("kv", "stored", "set", "a/b?c", "ours é")
        assert n.run("kv", "stored").split("\n") == ["a/b?c", "theirs", ""]
        assert n.run("kv", "stored", "get", "a/b?c") == "ours é"
        n.run("kv", "stored", "set", "plain", "two")
        assert n.get("stored", "/v2/get?default&plain").text == "two"
        n.run("kv", "stored", "delete", "theirs")
        assert "no such key" in n.run("kv", "stored", "get", "theirs", status=1)
        assert "no component" in n.run("kv", "stored", "--store", "other", status=1)
        n.run("sqlite", "tables", "create table t (id integer primary key, v)")
        n.run("sqlite", "tables", "insert into t (v) values ('x'), (2.5), (null), (x'00ff')")
        assert n.run("sqlite", "tables", "select * from t").splitlines() == \
            ["id|v", "1|x", "2|2.5", "3|NULL", "4|x'00ff'"]
        assert "syntax error" in n.run("sqlite", "tables", "selec 1", status=1)
        answer = n.get("tables", "/v2/run?default", method="POST", body=b"select count(*) c from t")
        assert answer.text.splitlines() == ["c", "i4"]
        for role in ("store", "keeper"):
            [pid] = n.children(role)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: n.children(role) not in ([], [pid]), f"another {role}")
            wait_for(lambda: api_is_up(n), "the admin API")
            assert wait_for(lambda: n.api("GET", "/v1/tenants/default/apps/stored/kv/default/plain")
                            == (200, b"two"), "the value")
        n.run("delete", "stored")
        n.run("deploy", "-f", keys)
        assert n.run("kv", "stored") == ""


def test_log_files_are_turned(tmp_path, workers):
    """A chatty app has files of bounded size, and what is read last is what was printed last."""
    app = write_app(tmp_path / "app", KITCHEN, FILES)
    with node(tmp_path, workers=workers) as n:
        n.run("deploy", "-f", app, "--variable", "password=x")
        n.run("quota", "log_bytes_per_s=0", tenant="default")
        logs = n.data / "logs" / "1"
        line = "x" * 15000
        older = logs / "c_stdout.txt.1"
        for i in range(1400):
            assert n.get("kitchen-one", f"/log?{i}-{line}").status == 200
            if i % 100 == 99 and older.exists():
                break
        assert older.exists()
        sizes = {p.name: p.stat().st_size for p in logs.iterdir()}
        assert all(size < 12 << 20 for size in sizes.values()), sizes
        n.get("kitchen-one", "/log?the-last")
        assert "the-last" in n.run("logs", "kitchen-one", "-n", "3")


def test_top_names_apps(tmp_path):
    with node(tmp_path) as n:
        n.run("deploy", "-f", static(tmp_path / "app", "busy"))
        for _ in range(5):
            assert n.get("page", "/hello").status == 200
        wait_for(lambda: b'app="1/0"' in n.api("GET", "/metrics")[1], "the meter")
        [app] = n.api("GET", "/v1/top")[1]["apps"]
        assert app["app"] == "default/page" and app["calls"] == 5
        assert "default/page" in n.run("top", "--once")
