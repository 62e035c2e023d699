"""What Spin does with a manifest and with its flags, where no other file of tests looks
(spin.md 1, 3.3, 4.2; behaviours.tsv says which test shows what)."""
import json
import socket
import subprocess

import pytest

from backends import Authority, Backend, NameServer
from harness import EBB, ebb, environment, fetch, guest, serving, write_app
from node import node
from test_dependencies import neighbour, tool

KITCHEN, CLIENT = guest("c-kitchen"), guest("c-client")
HEAD = 'spin_manifest_version = 2\n[application]\nname = "s"\n'
WEB = f"""[[trigger.http]]
route = "/..."
component = "web"
[component.web]
source = "{KITCHEN}"
"""


def app(folder, text, files=None):
    return write_app(folder / "app", text, files)


# --- what is refused, with what is said ---


REFUSED = {
    "version-3": ("spin_manifest_version = 3\n", "unknown manifest version"),
    "version-text-2": ('spin_manifest_version = "2"\n', "unknown manifest version"),
    "version-1-as-number": ("spin_manifest_version = 1\n", "unknown manifest version"),
    "unknown-at-top": (HEAD + "[compnent.x]\n", "did you mean 'component'?"),
    "unknown-in-application": (HEAD + 'author = "x"\n' + WEB, "did you mean 'authors'?"),
    "unknown-in-component": (HEAD + WEB + 'sauce = "x"\n', "did you mean 'source'?"),
    "unknown-in-build": (HEAD + WEB + 'build = { comand = "x" }\n', "did you mean 'command'?"),
    "unknown-in-variable": (HEAD + WEB + '[variables]\na = { defualt = "" }\n',
                            "did you mean 'default'?"),
    "unknown-in-profile": (HEAD + WEB + 'profile.p.sauce = "x"\n', "did you mean 'source'?"),
    "unknown-in-trigger": (HEAD + WEB.replace("route", "rout", 1), "did you mean 'route'?"),
    "unknown-in-http-settings": (HEAD + "[application.trigger.http]\nport = 1\n" + WEB,
                                 "unknown field 'port'"),
    "no-application": ("spin_manifest_version = 2\n" + WEB, "no [application]"),
    "no-name": ("spin_manifest_version = 2\n[application]\n" + WEB, "no 'name'"),
    "id-with-underscore": (HEAD + WEB.replace("web", "my_web"), "component id 'my_web'"),
    "id-with-mixed-case": (HEAD + WEB.replace("web", "Web"), "all lower case or all upper case"),
    "id-with-digit-first": (HEAD + WEB.replace("web", "1web"), "begin with an ASCII letter"),
    "variable-name": (HEAD + WEB + '[variables]\nmy-name = { default = "" }\n', "'my-name'"),
    "label": (HEAD + WEB + 'key_value_stores = ["a b"]\n', "label 'a b'"),
    "dependency-name": (HEAD + WEB + '[component.web.dependencies]\n"a b" = { path = "x" }\n',
                        "'a b'"),
    "variable-without-value": (HEAD + WEB + "[variables]\na = { secret = true }\n",
                               "must be required or have a default"),
    "variable-with-both": (HEAD + WEB + '[variables]\na = { required = true, default = "" }\n',
                           "both a default"),
    "variable-that-the-app-lacks": (HEAD + WEB + 'variables = { k = "{{ none }}" }\n',
                                    "no variable 'none'"),
    "braces-that-do-not-close": (HEAD + WEB + 'variables = { k = "{{ x" }\n', "no closing '}}'"),
    "private-false": (HEAD + WEB.replace('"/..."', "{ private = false }"), "{ private = true }"),
    "no-route": (HEAD + WEB.replace('route = "/..."\n', ""), "has no 'route'"),
    "component-and-static": (HEAD + WEB.replace('component = "web"',
                                                'component = "web"\nstatic_response = {}'),
                             "not both"),
    "neither-component-nor-static": (HEAD + WEB.replace('component = "web"\n', ""),
                                     "a component or a static_response"),
    "unknown-component": (HEAD + WEB.replace('component = "web"', 'component = "wbe"'),
                          "did you mean 'web'?"),
    "unknown-executor": (HEAD + WEB.replace('component = "web"', 'component = "web"\n'
                                            'executor = { type = "wasip3-unstable" }'),
                         "unknown executor"),
    "other-role": (HEAD + WEB.replace('component = "web"', 'component = "web"\n'
                                      'dependencies.filter = [{ component = "web" }]'), "filter"),
    "no-source": (HEAD + WEB.replace("source", "description"), "has no 'source'"),
    "redis-trigger-without-address": (HEAD + WEB + '[[trigger.redis]]\ncomponent = "web"\n'
                                      'channel = "c"\n', "no 'address'"),
    "absolute-workdir": (HEAD + WEB + 'build = { command = "x", workdir = "/x" }\n',
                         "must be relative"),
    "files-above": (HEAD + WEB + 'files = ["../up"]\n', "../up"),
    "files-dot": (HEAD + WEB + 'files = ["assets/."]\n', "can't end in '.' or '..'"),
    "hosts-star": (HEAD + WEB + 'allowed_outbound_hosts = ["*"]\n', "*://*:*"),
    "hosts-allow-all": (HEAD + WEB + 'allowed_outbound_hosts = ["insecure:allow-all"]\n',
                        "*://*:*"),
    "hosts-path": (HEAD + WEB + 'allowed_outbound_hosts = ["http://a/b"]\n', "a path"),
    "hosts-braces": (HEAD + WEB + 'allowed_outbound_hosts = ["http://{a,b}"]\n', "{a,b}"),
    "hosts-no-port": (HEAD + WEB + 'allowed_outbound_hosts = ["odd://a"]\n', "port"),
    "hosts-no-scheme": (HEAD + WEB + 'allowed_outbound_hosts = ["a.com"]\n', "no scheme"),
    "dependency-plain-without-package": (
        HEAD + WEB + '[component.web.dependencies]\n"a-b" = { version = "1" }\n', "package"),
    "dependency-export-of-package": (
        HEAD + WEB + '[component.web.dependencies]\n"a:b" = { path = "x", export = "y" }\n',
        "export"),
    "dependency-twice": (HEAD + WEB + '[component.web.dependencies]\n"a:b@1.0.0" = "1"\n'
                         '"a:b@1.1.0" = "1"\n', "a:b"),
    "dependency-with-capabilities": (
        HEAD + WEB + '[component.web.dependencies]\ndep = { component = "lib" }\n'
        f'[component.lib]\nsource = "{KITCHEN}"\nkey_value_stores = ["default"]\n',
        "used as a dependency"),
    "dependency-inherits-twice": (
        HEAD + WEB + 'dependencies_inherit_configuration = true\n[component.web.dependencies]\n'
        '"a:b/c" = { path = "x", inherit_configuration = true }\n', "can't be combined"),
    "dependency-inherits-unknown": (
        HEAD + WEB + '[component.web.dependencies]\n'
        '"a:b/c" = { path = "x", inherit_configuration = ["file"] }\n', "did you mean 'files'?"),
    "no-such-profile": (HEAD + WEB, "profile 'dev'", "--profile", "dev"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tmp_path, what):
    text, says, *args = REFUSED[what]
    _, err = ebb("up", "-f", app(tmp_path, text), "--listen", "127.0.0.1:0", *args, status=1)
    assert "spin.toml:" in err and says in err, err


# --- what is taken: one app with all of it ---


TAKEN = f"""spin_manifest_version = 2
[application]
name = "taken"
authors = ["one", "two"]
[application.trigger.http]
base = "/old"
[application.tool.anything]
goes = [1, 2, {{ here = true }}]

[variables]
first = {{ default = "one" }}
second = {{ default = "two", secret = true, description = "shown nowhere" }}

[[trigger.http]]
route = "bare"
component = "taken"
executor = {{ type = "http" }}
[[trigger.http]]
route = "/by-spin"
component = "taken"
executor = {{ type = "spin" }}
[[trigger.http]]
id = "named"
route = "/inline-named/..."
component = {{ source = "here.wasm", environment = {{ WHO = "named" }} }}
[[trigger.http]]
route = "/inline/..."
component = {{ source = "here.wasm" }}
[[trigger.http]]
id = "no identifier"
route = "/numbered/..."
component = {{ source = "here.wasm" }}
[[trigger.http]]
route = "/v/..."
component = "taken"
[[trigger.http]]
route = "/plain"
static_response = {{}}
[[trigger.http]]
route = "/upper/..."
component = "UPPER-lower2"
[[trigger.cron]]
component = "taken"
cron_expression = "* * * * * *"
anything = {{ of = ["the", "plugin"] }}
[[trigger.command]]
component = {{ source = "here.wasm" }}

[component.taken]
source = "here.wasm"
ai_models = ["llama2-chat"]
build = {{ command = "true", watch = ["src/*"] }}
targets = ["spin-up:4.0"]
files = ["one.txt", "folder", "globbed/*.txt", {{ source = "one.txt", destination = "/as/other" }}]
[component.taken.variables]
tight = "{{{{first}}}}-{{{{  second  }}}}"
[component.taken.tool.other]
thing = 1

[component.UPPER-lower2]
source = "here.wasm"
files = ["*"]

[component.unused]
source = "there/is/none.wasm"
"""
TAKEN_FILES = {"one.txt": "one", "folder/deep/two.txt": "two", "globbed/three.txt": "three",
               "globbed/four.md": "four"}


@pytest.fixture(scope="module")
def taken(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taken")
    at = app(folder, TAKEN, TAKEN_FILES | {"here.wasm": KITCHEN.read_bytes()})
    with serving(at, folder, workers=workers) as server:
        yield server


def test_base_is_ignored_with_a_warning(taken):
    assert "'base' is ignored" in taken.log()
    assert fetch(taken, "/old/bare").status == 404


def test_a_route_without_its_slash(taken):
    assert fetch(taken, "/bare").status == 404  # of the kitchen, which has no such path
    assert taken.wait_log("request", component="taken", path="/bare")


def test_executors_of_http(taken):
    for path in ("/bare", "/by-spin"):
        fetch(taken, path)
        assert taken.wait_log("request", component="taken", path=path)


def test_inline_components(taken):
    ids = {r["route"]: r["id"] for r in taken.ready["routes"]}
    assert ids["/inline-named"] == "named-component"
    assert ids["/inline"] == "http-trigger2-component"
    assert fetch(taken, "/inline-named/env?WHO").text == "named"
    assert fetch(taken, "/inline/env?WHO").status == 404
    assert ids["/numbered"] == "inline-component1"


def test_a_static_response_is_200_and_empty(taken):
    r = fetch(taken, "/plain")
    assert (r.status, r.body, r.get("content-length")) == (200, b"", "0")


def test_ids_may_be_upper_case_by_word(taken):
    assert fetch(taken, "/upper/hello").status == 200


def test_triggers_have_ids(taken):
    assert "'taken-cron-trigger' is not run" in taken.log()
    assert "'command-trigger1' is not run" in taken.log()


def test_a_component_sees_only_its_variables(taken):
    assert fetch(taken, "/v/variable?tight").text == "one-two"
    assert fetch(taken, "/v/variable?first").status == 404


def test_files_by_name_folder_and_pattern(taken):
    for path, content in (("one.txt", "one"), ("folder/deep/two.txt", "two"), ("as/other", "one"),
                          ("globbed/three.txt", "three")):
        assert fetch(taken, f"/v/file?/{path}").text == content, path
    assert fetch(taken, "/v/file?/globbed/four.md").status == 404


def test_a_pattern_for_everything_warns(taken):
    assert any("'*'" in x or '"*"' in x for x in taken.log().splitlines() if "warning" in x)


def test_what_is_not_used_is_not_loaded(taken):
    assert fetch(taken, "/v/hello").status == 200
    assert "none.wasm" not in taken.log()


def test_the_app_of_nothing_but_a_name(tmp_path, workers):
    """No version, no description: what is told of it leaves them out."""
    with serving(app(tmp_path, HEAD + WEB), tmp_path, workers=workers) as server:
        assert fetch(server, "/.well-known/spin/info").json() == {"name": "s"}
        assert "description" not in server.ready["routes"][0]


def test_labels_are_kebab_or_snake(tmp_path, workers):
    (tmp_path / "config.toml").write_text("".join(
        f'[key_value_store.{x}]\ntype = "spin"\n' for x in ("my-store", "my_store")))
    text = (HEAD + WEB.replace(str(KITCHEN), str(guest("c-keyvalue")))
            + 'key_value_stores = ["my-store", "my_store"]\n')
    with serving(app(tmp_path, text), tmp_path, "--runtime-config-file",
                 str(tmp_path / "config.toml"), workers=workers) as server:
        assert server.ready
    _, err = ebb("up", "-f", tmp_path / "app", "--listen", "127.0.0.1:0", status=1)
    assert "my-store" in err


# --- profiles ---


def test_a_profile_changes_source_and_environment(tmp_path, workers):
    text = HEAD + WEB.replace(str(KITCHEN), "absent.wasm")
    text += f"""environment = {{ A = "a", B = "b" }}
[component.web.profile.dev]
source = "{KITCHEN}"
environment = {{ B = "other", C = "c" }}
"""
    with serving(app(tmp_path, text), tmp_path, "--profile", "dev", workers=workers) as server:
        assert [fetch(server, f"/env?{x}").text for x in "ABC"] == ["a", "other", "c"]


# --- version 1 ---


def test_version_1_under_its_old_name_and_hosts(tmp_path, workers):
    def here(peer):
        while peer.head():
            peer.answer(b"here")
    with Backend(here) as b, Backend(here) as other:
        def component(name, hosts):
            return f"""[[component]]
id = "{name}"
source = "{CLIENT}"
{hosts}
[component.trigger]
route = "/{name}/..."
"""
        text = 'spin_version = "1"\nname = "old"\nversion = "1"\ntrigger = { type = "http" }\n'
        text += component("one", f'allowed_http_hosts = ["127.0.0.1:{b.port}"]')
        text += component("own", 'allowed_http_hosts = ["self"]')
        text += component("all", 'allowed_http_hosts = ["insecure:allow-all"]')
        with serving(app(tmp_path, text), tmp_path, workers=workers) as server:
            def status(name, to):
                return fetch(server, f"/{name}/proxy?http://{to}").status
            first, second = f"127.0.0.1:{b.port}/", f"127.0.0.1:{other.port}/"
            assert [status("one", x) for x in (first, second)] == [200, 502]
            assert [status("own", x) for x in (first, second)] == [502, 502]
            assert [status("all", x) for x in (first, second)] == [200, 200]
            assert status("own", "self.alt/own/field?set%26a%26b") == 200
            assert status("all", "self.alt/own/field?set%26a%26b") == 200
            assert status("one", "self.alt/own/field?set%26a%26b") == 502


def test_allowed_http_hosts_of_version_2_warn_and_work(tmp_path, workers):
    def here(peer):
        while peer.head():
            peer.answer(b"here")
    with Backend(here) as b:
        text = HEAD + WEB.replace(str(KITCHEN), str(CLIENT))
        text += f'allowed_http_hosts = ["127.0.0.1:{b.port}"]\n'
        with serving(app(tmp_path, text), tmp_path, workers=workers) as server:
            assert fetch(server, f"/proxy?http://127.0.0.1:{b.port}/").text == "here"
            assert any("allowed_http_hosts" in x and "warning" in x
                       for x in server.log().splitlines())


# --- where a component may go ---


#: Rules (PORT is the back-end's), then what they let through and what they do not. named.test and
#: deep.er.named.test are this machine.
HOSTS = {
    "any": (["*://*:*"], ["127.0.0.1", "named.test"], []),
    "scheme": (["http://*:*"], ["127.0.0.1", "named.test"], []),
    "other-scheme": (["https://*:*", "tcp://*:*"], [], ["127.0.0.1", "named.test"]),
    "name": (["http://named.test:PORT"], ["named.test", "NAMED.TEST"],
             ["127.0.0.1", "deep.er.named.test"]),
    "below": (["http://*.named.test:PORT"], ["deep.er.named.test"], ["named.test", "127.0.0.1"]),
    "address": (["http://127.0.0.1:PORT/"], ["127.0.0.1"], ["named.test"]),
    "network": (["*://127.0.0.0/24:PORT"], ["127.0.0.1"], ["named.test"]),
    "other-network": (["*://127.0.1.0/24:PORT"], [], ["127.0.0.1"]),
    "ports": (["http://*:1024..65535"], ["127.0.0.1"], []),
    "ports-end": (["http://*:1..PORT"], [], ["127.0.0.1"]),
    "default-port": (["http://127.0.0.1", "http://named.test"], [], ["127.0.0.1", "named.test"]),
    "empty": (["{{ none }}", "http://{{ none }}", "http://127.0.0.1:PORT"], ["127.0.0.1"],
              ["named.test"]),
    "template": (["http://{{ host }}:PORT"], ["named.test"], ["127.0.0.1"]),
}


@pytest.fixture(scope="module")
def guarded(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")

    def here(peer):
        while peer.head():
            peer.answer(b"here")
    with Backend(here) as b, NameServer({x: "127.0.0.1" for x in (
            "named.test", "deep.er.named.test")}) as names:
        text = HEAD + '[variables]\nnone = { default = "" }\nhost = { default = "named.test" }\n'
        for name, (rules, _, _) in HOSTS.items():
            text += (f'[[trigger.http]]\nroute = "/{name}/..."\ncomponent = "{name}"\n'
                     f'[component.{name}]\nsource = "{CLIENT}"\nallowed_outbound_hosts = '
                     + json.dumps(rules).replace("PORT", str(b.port)) + "\n")
        with serving(app(folder, text), folder, "--name-server", names.address,
                     workers=workers) as server:
            server.backend = b
            yield server


@pytest.mark.parametrize("what", HOSTS)
def test_hosts(guarded, what):
    _, through, not_through = HOSTS[what]
    for host in [*through, *not_through]:
        r = fetch(guarded, f"/{what}/proxy?http://{host}:{guarded.backend.port}/")
        assert (r.status, r.text) == ((200, "here") if host in through else (502, "future 15")), \
            host


# --- imports ---


def importing(folder, interface, function="now"):
    """The kitchen with a dependency that calls a function of that interface, which gives a u64."""
    name, path = neighbour(folder)
    text = path.with_suffix(".wat").read_text()
    calls = f"""(component
  (import "{interface}" (instance $asked (export "{function}" (func (result u64)))))
  (core func $asked (canon lower (func $asked "{function}")))
  (core module $Asks
    (import "a" "f" (func $f (result i64)))
    (func $begin (drop (call $f)))
    (start $begin))
  (core instance (instantiate $Asks (with "a" (instance (export "f" (func $asked))))))
"""
    path.with_suffix(".wat").write_text(text.replace("(component\n", calls, 1))
    tool("parse", path.with_suffix(".wat"), "-o", path)
    return HEAD + WEB.replace(str(KITCHEN), str(guest("c-kitchen-plain"))) + (
        f'[component.web.dependencies]\n"{name}" = {{ path = "{path}" }}\n')


#: Interface and function, and what is said where that is not offered.
IMPORTS = {
    "track": ("wasi:clocks/monotonic-clock@0.2.99", "now", None),
    "older": ("wasi:random/random@0.2.0", "get-random-u64", None),
    "candidate": ("wasi:clocks/monotonic-clock@0.2.0-rc-2023-11-10", "now", None),
    "other-function": ("wasi:random/random@0.2.0", "now", "of this interface ebb offers"),
    "other-type": ("wasi:clocks/wall-clock@0.2.0", "now", "its type differs"),
    "old-candidate": ("wasi:clocks/monotonic-clock@0.2.0-rc-2023-10-18", "now", "another version"),
    "p3": ("wasi:clocks/monotonic-clock@0.3.0", "now", "another version"),
    "p3-candidate": ("wasi:random/random@0.3.0-rc-2026-03-15", "get-random-u64",
                     "another version"),
    "postgres": ("spin:postgres/postgres@4.0.0", "now", "not offered"),
    "mysql": ("fermyon:spin/mysql@2.0.0", "now", "not offered"),
    "redis": ("fermyon:spin/redis@2.0.0", "now", "not offered"),
    "mqtt": ("spin:mqtt/mqtt@3.0.0", "now", "not offered"),
    "llm": ("fermyon:spin/llm@2.0.0", "now", "not offered"),
    "otel": ("wasi:otel/tracing@0.2.0-rc.2", "now", "not offered"),
    "unknown": ("made:up/thing", "now", "not offered"),
}


@pytest.mark.parametrize("what", IMPORTS)
def test_imports(tmp_path, what):
    interface, function, says = IMPORTS[what]
    at = app(tmp_path, importing(tmp_path, interface, function))
    if says:
        _, err = ebb("up", "-f", at, "--listen", "127.0.0.1:0", status=1)
        assert interface in err and says in err, err
    else:
        with serving(at, tmp_path) as server:
            assert fetch(server, "/hello").status == 200


def test_a_component_without_a_handler_is_refused(tmp_path):
    _, path = neighbour(tmp_path)
    _, err = ebb("up", "-f", path, "--listen", "127.0.0.1:0", status=1)
    assert "wasi:http/incoming-handler" in err


def test_a_deploy_refuses_what_would_not_run(tmp_path):
    """By name, however often it is tried; what was live stays."""
    live = write_app(tmp_path / "live", HEAD + WEB)
    imports = write_app(tmp_path / "imports", importing(tmp_path, "made:up/thing"))
    (tmp_path / "other").mkdir()
    _, path = neighbour(tmp_path / "other")
    no_handler = write_app(tmp_path / "none", HEAD + WEB.replace(str(KITCHEN), str(path)))
    with node(tmp_path / "node") as n:
        n.run("deploy", "-f", live)
        made = sorted((n.data / "artifacts").iterdir())
        for _ in range(2):
            said = n.run("deploy", "-f", imports, status=1)
            assert "component 'web': import made:up/thing#now: not offered" in said, said
            said = n.run("deploy", "-f", no_handler, status=1)
            assert "component 'web': the component has no HTTP handler" in said, said
        assert sorted((n.data / "artifacts").iterdir()) == made
        status, app = n.api("GET", "/v1/tenants/default/apps/s")
        assert (status, app["revision"]) == (200, 1)
        assert n.get("s", "/hello").status == 200


# --- flags ---


def test_variables_of_the_command_line(tmp_path, workers):
    text = HEAD + '[variables]\n' + "".join(f'{x} = {{ default = "-" }}\n' for x in "abcde") + WEB
    text += "[component.web.variables]\n" + "".join(f'{x} = "{{{{ {x} }}}}"\n' for x in "abcde")
    (tmp_path / "whole.txt").write_text("from a file")
    (tmp_path / "some.json").write_text('{"b": "json", "c": 3}')
    (tmp_path / "some.toml").write_text('c = "later"\nd = true\n')
    with serving(app(tmp_path, text), tmp_path, "--variable", f"a=@{tmp_path}/whole.txt",
                 "--variable", f"@{tmp_path}/some.json", "--variable", f"@{tmp_path}/some.toml",
                 "--variable", "e=x=y", workers=workers) as server:
        said = [fetch(server, f"/variable?{x}").text for x in "abcde"]
    assert said == ["from a file", "json", "later", "true", "x=y"]


@pytest.mark.parametrize("how", ["flag", "environment", "configuration"])
def test_memory_of_an_instance(tmp_path, how):
    at = app(tmp_path, HEAD + WEB)
    (tmp_path / "config.toml").write_text("max_instance_memory = 65536\n")
    args, env = {"flag": (["--max-instance-memory", "65536"], {}),
                 "environment": ([], {"SPIN_MAX_INSTANCE_MEMORY": "65536"}),
                 "configuration": (["--runtime-config-file", tmp_path / "config.toml"], {})}[how]
    with serving(at, tmp_path, *map(str, args), env=env) as server:
        assert fetch(server, "/hello").status == 500


def test_the_runtime_configuration_from_the_environment(tmp_path):
    (tmp_path / "config.toml").write_text(f'log_dir = "{tmp_path}/logged"\n')
    with serving(app(tmp_path, HEAD + WEB), tmp_path,
                 env={"RUNTIME_CONFIG_FILE": str(tmp_path / "config.toml")}) as server:
        fetch(server, "/log?x")
        server.wait_log("guest", line="out: x")
    assert (tmp_path / "logged" / "web_stdout.txt").read_text() == "out: x\n"
    (tmp_path / "config.toml").write_text('log_dri = "x"\n')
    _, err = ebb("up", "-f", tmp_path / "app", "--listen", "127.0.0.1:0", status=1,
                 env={"RUNTIME_CONFIG_FILE": str(tmp_path / "config.toml")})
    assert "log_dri" in err


def test_values_are_there_from_the_start(tmp_path, workers):
    text = HEAD + WEB.replace(str(KITCHEN), str(guest("c-keyvalue")))
    with serving(app(tmp_path, text + 'key_value_stores = ["default"]\n'), tmp_path,
                 "--key-value", "k=before=all", workers=workers) as server:
        assert (f'Storing default key-value data to "{tmp_path}/app/.spin/sqlite_key_value.db"'
                in server.log())
        assert fetch(server, "/v2/get?default&k").text == "before=all"


def test_tls_from_the_environment(tmp_path):
    authority = Authority(tmp_path)
    env = {"SPIN_TLS_CERT": str(authority.cert), "SPIN_TLS_KEY": str(authority.key)}
    with serving(app(tmp_path, HEAD + WEB), tmp_path, env=env) as server:
        assert server.url.startswith("https://")


def test_the_default_address(tmp_path):
    """Somebody has it, or we take it: either way `ebb up` says that it is in use."""
    taken = socket.socket()
    try:
        taken.bind(("127.0.0.1", 3000))
        taken.listen()
    except OSError:
        pass
    with taken:
        _, err = ebb("up", "-f", app(tmp_path, HEAD + WEB), status=1)
    assert "127.0.0.1:3000" in err and "--listen" in err


def test_quiet_says_nothing_of_guests(tmp_path):
    p = subprocess.Popen([EBB, "up", "-f", app(tmp_path, HEAD + WEB), "--listen", "127.0.0.1:0",
                          "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=environment())
    said = [p.stdout.readline() for _ in range(2)]
    p.terminate()
    _, err = p.communicate(timeout=60)
    assert said[1].startswith("Serving http://127.0.0.1:") and p.returncode == 0, err
