"""The flags and output of `ebb up` (spin.md 4.2)."""
import json
import signal
import socket
import subprocess

import pytest

from harness import EBB, ebb, environment, fetch, guest, serving, wait_for, write_app

HEAD = 'spin_manifest_version = 2\n[application]\nname = "u"\n'


def component(name, extra="", source="c-kitchen", route=None):
    return (f'[[trigger.http]]\nroute = "{route or f"/{name}/..."}"\ncomponent = "{name}"\n'
            f'[component.{name}]\nsource = "{guest(source)}"\ndescription = "it is {name}"\n'
            f'{extra}')


TWO = HEAD + component("one") + component("two", route="/two")


def run_text(args, env=None, until="Available Routes:", lines=4):
    """Starts with plain output; returns (process, lines of stdout up to `lines` after `until`)."""
    p = subprocess.Popen([EBB, "up", "--workers", "1", *map(str, args)], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment() | (env or {}))
    said = []
    while not said or not said[-1].startswith(until):
        line = p.stdout.readline()
        assert line, p.stderr.read()
        said.append(line.rstrip("\n"))
    said += [p.stdout.readline().rstrip("\n") for _ in range(lines)]
    return p, said


def stop(p):
    p.send_signal(signal.SIGTERM)
    out = p.communicate(timeout=60)
    assert p.returncode == 0, out
    return out


def test_plain_output_is_spins(tmp_path):
    app = write_app(tmp_path / "app", TWO)
    p, said = run_text(["-f", app, "--listen", "127.0.0.1:0"])
    _, err = stop(p)
    assert said[0] == ""
    address = said[1].split()[1]
    assert said[1].startswith("Serving http://127.0.0.1:")
    assert said[2] == "Available Routes:"
    assert said[3:] == [f"  one: {address}/one (wildcard)", "    it is one",
                        f"  two: {address}/two", "    it is two"]
    assert f'Logging component stdio to "{app}/.spin/logs/"' in err


def test_json_output_is_spins(tmp_path):
    app = write_app(tmp_path / "app", TWO)
    p = subprocess.Popen([EBB, "up", "-f", app, "--listen", "127.0.0.1:0", "--format", "json"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=environment())
    j = json.loads(p.stdout.readline())
    stop(p)
    assert j["base_url"].startswith("http://127.0.0.1:")
    assert j["routes"] == [
        {"id": "one", "route": "/one", "wildcard": True, "description": "it is one"},
        {"id": "two", "route": "/two", "wildcard": False, "description": "it is two"}]


@pytest.mark.parametrize("how", [["-f"], ["--from"], ["--from-file"], ["--file"], []])
def test_where_the_app_is(tmp_path, how):
    app = write_app(tmp_path / "app", TWO)
    for place in (app, app / "spin.toml"):
        p, _ = run_text([*how, place, "--listen", "127.0.0.1:0"])
        stop(p)
    p = subprocess.Popen([EBB, "up", "--listen", "127.0.0.1:0", "--json"], cwd=app, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert json.loads(p.stdout.readline())["routes"]
    stop(p)


def test_listen_comes_from_the_environment(tmp_path):
    app = write_app(tmp_path / "app", TWO)
    p, said = run_text(["-f", app], env={"SPIN_HTTP_LISTEN_ADDR": "[::1]:0"})
    stop(p)
    assert said[1].startswith("Serving http://[::1]:")


def test_an_address_in_use_teaches_and_a_free_one_is_found(tmp_path):
    app = write_app(tmp_path / "app", TWO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _, err = ebb("up", "-f", app, "--listen", f"127.0.0.1:{port}", status=1)
        assert "--listen" in err and "--find-free-port" in err
        p, said = run_text(["-f", app, "--listen", f"127.0.0.1:{port}", "--find-free-port"])
        stop(p)
        found = int(said[1].split(":")[2].split()[0])
        assert port < found < port + 10


# --- logs

def test_what_guests_print_is_kept_by_component(tmp_path, workers):
    app = write_app(tmp_path / "app", HEAD + component("one") + component("two"))
    with serving(app, tmp_path, workers=workers) as server:
        fetch(server, "/one/log?first")
        fetch(server, "/one/log?second")
        server.wait_log("guest", count=4)
    logs = app / ".spin" / "logs"
    assert (logs / "one_stdout.txt").read_text() == "out: first\nout: second\n"
    assert (logs / "one_stderr.txt").read_text() == "err: first\nerr: second\n"
    assert (logs / "two_stdout.txt").read_text() == ""
    with serving(app, tmp_path, workers=workers) as server:
        fetch(server, "/one/log?more")
    assert (logs / "one_stdout.txt").read_text() == "out: first\nout: second\nout: more\n"
    with serving(app, tmp_path, "--truncate-logs", workers=workers) as server:
        fetch(server, "/one/log?fresh")
    assert (logs / "one_stdout.txt").read_text() == "out: fresh\n"
    assert (logs / "two_stderr.txt").read_text() == ""


@pytest.mark.parametrize("how", ["flag", "letter", "environment"])
def test_log_dir(tmp_path, how):
    app = write_app(tmp_path / "app", TWO)
    logs = tmp_path / "elsewhere" / "deep"
    args = {"flag": ["--log-dir", str(logs)], "letter": ["-L", str(logs)], "environment": []}[how]
    env = {"SPIN_LOG_DIR": str(logs)} if how == "environment" else {}
    with serving(app, tmp_path, *args, env=env) as server:
        fetch(server, "/one/log?x")
        assert f'Logging component stdio to "{logs}/"' in server.log()
    assert (logs / "one_stdout.txt").read_text() == "out: x\n"
    assert not (app / ".spin" / "logs").exists()


def test_an_empty_log_dir_keeps_nothing(tmp_path):
    app = write_app(tmp_path / "app", TWO)
    with serving(app, tmp_path, "--log-dir", "") as server:
        fetch(server, "/one/log?x")
        server.wait_log("guest", line="out: x")
        assert "Logging component" not in server.log()
    assert not (app / ".spin" / "logs").exists()


def test_a_bare_component_leaves_nothing_beside_it(tmp_path):
    wasm = tmp_path / "app" / "k.wasm"
    wasm.parent.mkdir()
    wasm.write_bytes(guest("c-kitchen").read_bytes())
    with serving(wasm, tmp_path) as server:
        fetch(server, "/x/log?x")
        server.wait_log("guest", line="out: x")
    assert [p.name for p in wasm.parent.iterdir()] == ["k.wasm"]


def test_follow_and_quiet(tmp_path):
    app = write_app(tmp_path / "app", HEAD + component("one") + component("two"))
    for args, shown in ((["--follow", "two"], {"two"}), (["-q"], set()), (["--quiet"], set()),
                        (["--sh"], set()), (["--follow", "one", "--follow", "two"],
                                            {"one", "two"})):
        with serving(app, tmp_path, *args) as server:
            fetch(server, "/one/log?x")
            fetch(server, "/two/log?x")
            server.wait_log("request", count=2)
            assert {r["component"] for r in server.log_lines("guest")} == shown, args
    assert (app / ".spin/logs/one_stdout.txt").read_text() == "out: x\n" * 5, "files get all of it"
    _, err = ebb("up", "-f", app, "--follow", "three", status=1)
    assert "--follow three" in err
    _, err = ebb("up", "-f", app, "--follow", "one", "-q", status=1)
    assert "contradict" in err


# --- a part of the app

def test_only_some_components(tmp_path, workers):
    app = write_app(tmp_path / "app", TWO)
    with serving(app, tmp_path, "-c", "two", workers=workers) as server:
        assert [r["id"] for r in server.ready["routes"]] == ["two"]
        assert fetch(server, "/one/hello").status == 404
    _, err = ebb("up", "-f", app, "--component-id", "three", status=1)
    assert "three" in err


def test_a_kept_component_may_not_call_a_dropped_one(tmp_path):
    app = write_app(tmp_path / "app", HEAD + component(
        "one", 'allowed_outbound_hosts = ["http://two.spin.internal"]\n') + component("two"))
    _, err = ebb("up", "-f", app, "-c", "one", status=1)
    assert "two" in err and "--component-id" in err


# --- files

FILES = {"assets/a.txt": b"first", "assets/b/c.txt": b"deep"}
MOUNT = 'files = [{ source = "assets", destination = "/data" }]\n'


def test_direct_mounts_show_the_folder_itself(tmp_path, workers):
    app = write_app(tmp_path / "app", HEAD + component("one", MOUNT), FILES)
    with serving(app, tmp_path, workers=workers) as server:
        (app / "assets" / "a.txt").write_bytes(b"second")
        assert fetch(server, "/one/file?/data/a.txt").text == "first", "a copy"
    with serving(app, tmp_path, "--direct-mounts", workers=workers) as server:
        assert fetch(server, "/one/file?/data/a.txt").text == "second"
        (app / "assets" / "a.txt").write_bytes(b"third")
        assert fetch(server, "/one/file?/data/a.txt").text == "third"
        assert fetch(server, "/one/file?/data/b/c.txt").text == "deep"
        assert fetch(server, "/one/file?/data/../a.txt").status != 200


@pytest.mark.parametrize("extra,says", [
    ('files = ["assets/*"]\n', "cannot be mounted"),
    (MOUNT + 'exclude_files = ["assets/a.txt"]\n', "exclude_files"),
    ('files = [{ source = "assets/a.txt", destination = "/a.txt" }]\n', "is not one"),
    ('files = [{ source = "absent", destination = "/a" }]\n', "absent"),
])
def test_what_direct_mounts_cannot_do(tmp_path, extra, says):
    app = write_app(tmp_path / "app", HEAD + component("one", extra), FILES)
    _, err = ebb("up", "-f", app, "--direct-mounts", status=1)
    assert says in err and "component 'one'" in err


def test_temp_says_where_copies_go(tmp_path):
    app = write_app(tmp_path / "app", HEAD + component("one", MOUNT), FILES)
    temp = tmp_path / "temp"
    with serving(app, tmp_path, "--temp", str(temp)) as server:
        assert fetch(server, "/one/file?/data/a.txt").text == "first"
        assert list(temp.glob("ebb-*/one/data/a.txt"))
    assert list(temp.iterdir()) == []


# --- the rest

def test_request_timeout(tmp_path, workers):
    app = write_app(tmp_path / "app", TWO)
    with serving(app, tmp_path, "--request-timeout", "1ms..200ms", workers=workers) as server:
        assert fetch(server, "/one/sleep?60000").status == 504
    _, err = ebb("up", "-f", app, "--request-timeout", "soon", status=1)
    assert "--request-timeout 'soon'" in err


@pytest.mark.parametrize("args", [
    ["--disable-cache"], ["--cache", "x"], ["--disable-pooling"],
    ["--http1-max-buf-size", "8192"], ["--max-instance-reuse-count", "1..8"],
    ["--max-instance-concurrent-reuse-count", "2"], ["--idle-instance-timeout", "1s"]])
def test_flags_without_meaning_say_so(tmp_path, args):
    with serving(write_app(tmp_path / "app", TWO), tmp_path, *args) as server:
        assert f"{args[0]} is ignored: " in server.log()


@pytest.mark.parametrize("args", [["--debug-info"], ["--experimental-wasi-otel"]])
def test_flags_that_cannot_be_honoured_are_refused(tmp_path, args):
    _, err = ebb("up", "-f", write_app(tmp_path / "app", TWO), *args, status=1)
    assert f"{args[0]} is not there: " in err


@pytest.mark.parametrize("text,says", [
    (HEAD + f'[component.one]\nsource = "{guest("hello")}"\n', "the app has no triggers"),
    (HEAD + '[[trigger.cron]]\ncomponent = "one"\ncron_expression = "* * * * * *"\n'
     f'[component.one]\nsource = "{guest("hello")}"\n', "no http trigger"),
    (HEAD + component("one").replace('component = "one"', 'component = "one"\n'
                                     'executor = { type = "wagi" }', 1), "wagi"),
    (HEAD + component("one").replace(
        'component = "one"', 'component = "one"\n'
        'dependencies.middleware = [{ path = "m.wasm" }]', 1), "wasi:http/handler@0.3.0"),
    (HEAD + component("one", '[component.one.dependencies]\n"a:b/c" = { path = "d.wasm" }\n'),
     "dependency 'a:b/c'"),
])
def test_what_is_not_run_is_refused_by_name(tmp_path, text, says):
    _, err = ebb("up", "-f", write_app(tmp_path / "app", text), status=1)
    assert says in err


def test_triggers_of_other_types_are_named_beside_http(tmp_path):
    app = write_app(tmp_path / "app", TWO + '[[trigger.cron]]\nid = "tick"\ncomponent = "one"\n'
                                            'cron_expression = "* * * * * *"\n')
    with serving(app, tmp_path) as server:
        assert "'tick' is not run" in server.log()
        assert fetch(server, "/one/hello").status == 200


def test_the_first_404_hints_at_the_routes(tmp_path):
    with serving(write_app(tmp_path / "app", TWO), tmp_path) as server:
        for _ in range(2):
            assert fetch(server, "/").status == 404
        server.wait_log("request", count=2)
        assert server.log().count("no route for '/'") == 1
    app = write_app(tmp_path / "root", HEAD + component("one", route="/"))
    with serving(app, tmp_path) as server:
        assert fetch(server, "/other").status == 404
        server.wait_log("request")
        assert "no route for '/'" not in server.log()


def test_duplicate_routes_are_reported_and_the_last_wins(tmp_path, workers):
    app = write_app(tmp_path / "app", HEAD
                    + component("one", 'environment = { WHO = "one" }\n', route="/same/...")
                    + component("two", 'environment = { WHO = "two" }\n', route="/same/..."))
    with serving(app, tmp_path, workers=workers) as server:
        assert fetch(server, "/same/env?WHO").text == "two"
        assert "/same/..." in server.log() and "warning" in server.log()


def test_a_private_route_is_not_reached_from_outside(tmp_path, workers):
    app = write_app(tmp_path / "app", HEAD + component("one") + component("two").replace(
        'route = "/two/..."', "route = { private = true }"))
    with serving(app, tmp_path, workers=workers) as server:
        assert [r["id"] for r in server.ready["routes"]] == ["one"]
        assert fetch(server, "/two/hello").status == 404


def test_spin_s_own_paths(tmp_path, workers):
    app = write_app(tmp_path / "app", HEAD.replace('name = "u"', 'name = "u"\nversion = "1.2"')
                    + component("one", route="/..."))
    with serving(app, tmp_path, workers=workers) as server:
        r = fetch(server, "/.well-known/spin/health")
        assert (r.status, r.text) == (200, "OK")
        assert fetch(server, "/.well-known/spin/info").json() == {"name": "u", "version": "1.2"}
        assert fetch(server, "/.well-known/spin/other").status == 404


def test_version_1_is_converted(tmp_path, workers):
    text = f"""spin_manifest_version = "1"
name = "old"
version = "0.1.0"
trigger = {{ type = "http", base = "/" }}
[variables]
word = {{ default = "tide" }}
[[component]]
id = "Old_One"
source = "{guest("c-kitchen")}"
environment = {{ A = "b" }}
[component.trigger]
route = "/old/..."
[component.config]
word = "{{{{ word }}}}s"
"""
    with serving(write_app(tmp_path / "app", text), tmp_path, workers=workers) as server:
        assert fetch(server, "/old/env?A").text == "b"
        assert fetch(server, "/old/variable?word").text == "tides"
        assert server.ready["routes"][0]["id"] == "old-one"


def test_excluded_files_are_not_there(tmp_path):
    app = write_app(tmp_path / "app", HEAD + component(
        "one", 'files = ["assets/**/*"]\nexclude_files = ["assets/b/*"]\n'), FILES)
    with serving(app, tmp_path) as server:
        assert fetch(server, "/one/file?/assets/a.txt").text == "first"
        assert fetch(server, "/one/file?/assets/b/c.txt").status != 200


def test_a_signal_ends_it_with_status_0(tmp_path):
    app = write_app(tmp_path / "app", TWO)
    for sig in (signal.SIGINT, signal.SIGTERM):
        p, _ = run_text(["-f", app, "--listen", "127.0.0.1:0"])
        p.send_signal(sig)
        wait_for(lambda: p.poll() is not None, "the end")
        assert p.returncode == 0
        p.communicate()
