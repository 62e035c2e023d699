"""Routing, precedence and the spin-* fields (spin.md 1.4, 4.3), end to end."""
import json

import pytest

from harness import Connection, fetch, guest, serving, write_app

ROUTES = {
    "/": "root", "/exact": "exact", "/exact/...": "exactwild", "/exact/deep": "deep",
    "/users/:id": "user", "/users/me": "me", "/users/:id/posts/...": "posts",
    "/files/...": "files", "/files/:name/meta": "meta", "/slash/": "slash", "/star/*": "star",
    "/dot/:name.json": "dot", "/request/...": "wild",
}


def manifest(routes):
    text = 'spin_manifest_version = 2\n[application]\nname = "routes"\n'
    for route, component in routes.items():
        text += f'[[trigger.http]]\nroute = "{route}"\ncomponent = "{component}"\n'
    for component in routes.values():
        text += (f'[component.{component}]\nsource = "{guest("c-kitchen")}"\n'
                 f'environment = {{ WHO = "{component}" }}\n')
    return text


@pytest.fixture(scope="module")
def routed(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("routes")
    with serving(write_app(folder / "app", manifest(ROUTES)), folder, workers=workers) as server:
        yield server


@pytest.mark.parametrize("path,component", [
    ("/", "root"),
    ("/exact", "exact"),
    ("/exact/", "exact"),
    ("/exact/deep", "deep"),
    ("/exact/other", "exactwild"),
    ("/exact/deep/er", "exactwild"),
    ("/users/7", "user"),
    ("/users/me", "me"),
    ("/users/me/posts/1", "posts"),
    ("/users/7/posts", "posts"),
    ("/users/7/posts/", "posts"),
    ("/files", "files"),
    ("/files/a/b/", "files"),
    ("/files/a/meta", "meta"),
    ("/slash", "slash"),
    ("/star/x", "star"),
    ("/dot/a.json", "dot"),
])
def test_which_component_answers(routed, path, component):
    # The kitchen answers 404 with a body to paths it does not know: the log says who was asked.
    with Connection(routed) as c:
        c.request("GET", path)
    assert routed.wait_log("request", component=component, path=path)


@pytest.mark.parametrize("path,info", [
    ("/users/request", ""), ("/request", ""), ("/request/request", "/request"),
    ("/request/a//request", "/a//request"), ("/users/7/posts/a/request", "/a/request"),
    ("/request/%2e%2E/request", "/%2e%2E/request")])
def test_path_info(routed, path, info):
    fields = fetch(routed, path).json()["headers"]
    assert [v for k, v in fields if k.lower() == "spin-path-info"] == [info]


@pytest.mark.parametrize("path", ["/nothing", "/users", "/users/7/x", "/exac", "/Exact",
                                  "/%65xact", "/dot/a.xml", "/exact%2Fother"])
def test_no_route_is_404_and_empty(routed, path):
    r = fetch(routed, path)
    assert (r.status, r.body, r.get("content-length")) == (404, b"", "0")


def test_spin_fields_once_and_not_the_clients(kitchens):
    forged = [("spin-path-info", "forged"), ("Spin-Client-Addr", "6.6.6.6:6"),
              ("spin-path-match-first", "forged"), ("spin-invented", "x")]
    with Connection(kitchens) as c:
        r = c.request("GET", "/named/one/mid/two/request?q=1", forged, host="a.example:8").json()
        port = c.socket.getsockname()[1]
    spin = [(k.lower(), v) for k, v in r["headers"] if k.lower().startswith("spin-")]
    assert sorted(spin) == sorted({
        "spin-full-url": "http://a.example:8/named/one/mid/two/request?q=1",
        "spin-path-info": "/request",
        "spin-matched-route": "/named/:first/mid/:second/...",
        "spin-base-path": "/",
        "spin-raw-component-route": "/named/:first/mid/:second/...",
        "spin-component-route": "/named/:first/mid/:second",
        "spin-client-addr": f"127.0.0.1:{port}",
        "spin-path-match-first": "one",
        "spin-path-match-second": "two",
    }.items())


def test_exact_beats_wildcard_across_components(kitchens):
    assert fetch(kitchens, "/exact/request").status == 200
    assert kitchens.wait_log("request", component="js", path="/exact/request")


def test_static_response(kitchens):
    r = fetch(kitchens, "/static")
    assert (r.status, r.get("x-kind"), r.text) == (418, "static", "short and stout")
    head = fetch(kitchens, "/static", "HEAD")
    assert (head.status, head.get("content-length"), head.body) == (418, "15", b"")
    logged = kitchens.wait_log("request", count=2, component="(static)")[-2:]
    assert [(r["method"], r["path"], r["status"]) for r in logged] == [
        ("GET", "/static", 418), ("HEAD", "/static", 418)]


def test_health_and_info(kitchens):
    r = fetch(kitchens, "/.well-known/spin/health")
    assert (r.status, r.text) == (200, "OK")
    info = fetch(kitchens, "/.well-known/spin/info")
    assert info.json() == {"name": "kitchens", "version": "1.2.3"}
    assert b"\n" in info.body
    assert fetch(kitchens, "/.well-known/spin/other").status == 404


def test_ready_line_lists_routes(kitchens, workers):
    ready = kitchens.ready
    assert ready["workers"] == workers
    routes = {(r["id"], r["route"], r["wildcard"]) for r in ready["routes"]}
    assert {("c", "/c", False), ("c", "/c", True), ("js", "/exact/request", False)} <= routes
    assert len(ready["routes"]) >= 8
    assert json.dumps(ready)
