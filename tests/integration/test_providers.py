"""Variables: who gives their values, in which order, when; and that secrets stay secrets."""
import http.server
import json
import threading
from pathlib import Path

import pytest

from backends import Backend
from harness import ebb, fetch, guest, serving, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "variable"
[variables]
who = {{ default = "default" }}
secret = {{ required = true, secret = true }}
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest('c-kitchen')}"
variables = {{ who = "{{{{ who }}}}", greeting = "Hello {{{{ who }}}}, {{{{ secret }}}}!" }}
"""
TOKEN, SECRET = "token-that-nobody-sees", "secret-that-nobody-sees"


class Vault(http.server.BaseHTTPRequestHandler):
    """Answers as Vault's KV version 2 does."""

    values, broken, asked = {}, False, 0

    def do_GET(self):
        Vault.asked += 1
        status, body = 404, {"errors": []}
        if self.broken:
            status = 500
        elif self.headers["X-Vault-Token"] != TOKEN:
            status, body = 403, {"errors": ["permission denied"]}
        elif self.path in self.values:
            status, body = 200, {"data": {"data": {"value": self.values[self.path]},
                                          "metadata": {"version": 1}}}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


@pytest.fixture
def vault():
    Vault.values, Vault.broken = {"/v1/kv/data/shop/secret": SECRET}, False
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vault)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def app(tmp_path):
    return write_app(tmp_path / "app", APP)


def config(tmp_path, text):
    path = tmp_path / "runtime.toml"
    path.write_text(text)
    return ("--runtime-config-file", str(path))


def vault_config(tmp_path, port, token=TOKEN):
    return config(tmp_path, f'[[variables_provider]]\ntype = "vault"\n'
                  f'url = "http://127.0.0.1:{port}"\ntoken = "{token}"\nmount = "kv"\n'
                  'prefix = "shop"\n')


def get(server, name, status=200):
    r = fetch(server, f"/variable?{name}")
    assert r.status == status, (r.status, r.text)
    return r.text


def test_order(app, tmp_path, workers):
    env_file = tmp_path / "values.env"
    env_file.write_text("# comment\nexport SHOP_WHO='from the file'\n")
    static = '[[variables_provider]]\ntype = "static"\nvalues = { who = "static" }\n'
    env = f'[[variables_provider]]\ntype = "env"\nprefix = "SHOP"\ndotenv_path = "{env_file}"\n'
    secret = ("--variable", "secret=s")

    def who(text, *options, **environment):
        with serving(app, tmp_path, *config(tmp_path, text), *secret, *options, workers=workers,
                     env=environment) as server:
            return get(server, "who")
    assert who("") == "default"
    assert who("", SPIN_VARIABLE_WHO="env") == "env"
    assert who(env, SPIN_VARIABLE_WHO="env") == "from the file"
    assert who(env + static, SHOP_WHO="shop env") == "shop env"
    assert who(static + env, SHOP_WHO="shop env") == "static"
    assert who(static, "--variable", "who=line") == "line"


def test_vault_is_asked_at_each_get(app, tmp_path, workers, vault):
    options = vault_config(tmp_path, vault.server_port)
    with serving(app, tmp_path, *options, workers=workers) as server:
        assert get(server, "greeting") == f"Hello default, {SECRET}!"
        Vault.values["/v1/kv/data/shop/who"] = "you"
        assert get(server, "greeting") == f"Hello you, {SECRET}!"
        Vault.values["/v1/kv/data/shop/who"] = "us"
        assert get(server, "who") == "us"
        Vault.broken = True
        assert get(server, "who", 404).startswith("provider")
        Vault.broken = False
        assert get(server, "who") == "us"
        assert get(server, "nowhere", 404).startswith("undefined")
        vault.shutdown()
        vault.server_close()
        assert get(server, "who", 404).startswith("provider")
        assert fetch(server, "/hello").status == 200


def test_allowed_hosts_are_those_of_now(tmp_path, workers, vault):
    """Each instance has the rules of its first question, and one that asks none asks nobody."""
    app = write_app(tmp_path / "app", f"""
spin_manifest_version = 2
[application]
name = "reaching"
[variables]
port = {{ required = true }}
more = {{ default = "" }}
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest('c-client')}"
allowed_outbound_hosts = ["*://127.0.0.1:{{{{ port }}}}", "{{{{ more }}}}", "http://self"]
""")

    def simple(peer):
        while peer.head():
            peer.answer(b"here")

    with Backend(simple) as one, Backend(simple) as two:
        Vault.values["/v1/kv/data/shop/port"] = str(one.port)
        with serving(app, tmp_path, *vault_config(tmp_path, vault.server_port),
                     workers=workers) as server:
            def statuses():
                return [fetch(server, f"/proxy?http://127.0.0.1:{b.port}/").status
                        for b in (one, two)]
            asked = Vault.asked
            assert fetch(server, "/field?set&a&b").text == "ok"
            assert Vault.asked == asked
            assert statuses() == [200, 502]
            assert Vault.asked == asked + 2 * 2, "two variables, two instances"
            Vault.values["/v1/kv/data/shop/port"] = str(two.port)
            assert statuses() == [502, 200]
            assert fetch(server, f"/tcp?127.0.0.1&{one.port}&x").text == "tcp 1", "access-denied"
            assert "tcp" not in fetch(server, f"/tcp?127.0.0.1&{two.port}&x").text
            assert fetch(server, "/resolve?localhost").text == "names 1", "access-denied"
            Vault.values["/v1/kv/data/shop/more"] = "http://localhost"
            assert "names" not in fetch(server, "/resolve?localhost").text
            Vault.values["/v1/kv/data/shop/more"] = f"http://127.0.0.1:{one.port}"
            assert statuses() == [200, 200]
            assert fetch(server, "/proxy?http://self.alt/field?set%26a%26b").text == "ok"
            Vault.values["/v1/kv/data/shop/more"] = "no rule at all"
            assert statuses() == [502, 502]
            reason = server.wait_log("denied")[-1]["reason"]
            assert "no rule at all" in reason and "allowed_outbound_hosts" in reason
            del Vault.values["/v1/kv/data/shop/more"]
            Vault.broken = True
            assert statuses() == [502, 502]
            assert "Vault" in server.wait_log("denied")[-1]["reason"]
            Vault.broken = False
            assert statuses() == [502, 200]


def test_required_is_missed_at_start(app, tmp_path, vault):
    del Vault.values["/v1/kv/data/shop/secret"]
    _, text = ebb("up", "-f", app, "--listen", "127.0.0.1:0",
                  *vault_config(tmp_path, vault.server_port), status=1)
    assert "no value for the required variable secret" in text
    _, text = ebb("up", "-f", app, "--listen", "127.0.0.1:0",
                  *vault_config(tmp_path, vault.server_port, "wrong-token"), status=1)
    assert "Vault answered with status 403" in text and "wrong-token" not in text


def test_secrets_are_seen_nowhere(app, tmp_path, vault):
    options = vault_config(tmp_path, vault.server_port)
    with serving(app, tmp_path, *options) as server:
        assert SECRET in get(server, "greeting")
        fetch(server, "/trap")
        Vault.broken = True
        get(server, "greeting", 404)
        pids = [server.process.pid, *server.children("worker"), *server.children("store")]
        for pid in pids:
            for name in ("cmdline", "environ"):
                seen = Path(f"/proc/{pid}/{name}").read_bytes()
                assert TOKEN.encode() not in seen and SECRET.encode() not in seen
        assert TOKEN not in server.log() and SECRET not in server.log()


@pytest.mark.parametrize("text, said", (
    ('[[variables_provider]]\ntype = "static"\nvalue = {}\n', "'value'"),
    ('[key_value_stor.default]\ntype = "spin"\n', "'key_value_stor'"),
    ('[[variables_provider]]\ntype = "azure_key_vault"\nvault_url = "https://x"\n', "azure"),
    ('[key_value_store.default]\ntype = "aws_dynamo"\nregion = "r"\ntable = "t"\n', "default")))
def test_what_is_not_known_is_refused_by_name(tmp_path, text, said):
    stores = 'key_value_stores = ["default"]\nvariables = {'
    app = write_app(tmp_path / "app", APP.replace("variables = {", stores))
    _, out = ebb("up", "-f", app, "--listen", "127.0.0.1:0", "--variable", "secret=s",
                 *config(tmp_path, text), status=1)
    assert said in out, out


def test_stores_of_the_configuration(tmp_path, workers):
    """Labels of one's own, relative to the file; a store in memory."""
    app = write_app(tmp_path / "app", f"""
spin_manifest_version = 2
[application]
name = "stores"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest('c-keyvalue')}"
key_value_stores = ["default", "mine", "cache"]
""")
    text = '[key_value_store.mine]\ntype = "spin"\npath = "data/mine.db"\n' \
           '[key_value_store.cache]\ntype = "spin"\n'
    with serving(app, tmp_path, *config(tmp_path, text), "--key-value", "k=before",
                 workers=workers) as server:
        assert fetch(server, "/v2/get?default&k").text == "before"
        for label in ("mine", "cache"):
            assert fetch(server, f"/v2/get?{label}&k").status == 404
            assert fetch(server, f"/v2/set?{label}&k&{label}").text == "ok"
        for label in ("mine", "cache"):
            assert fetch(server, f"/v2/get?{label}&k").text == label
    assert (tmp_path / "data" / "mine.db").exists()
