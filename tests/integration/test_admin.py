"""The admin API: its description, its origin, and who may do what."""
import contextlib
import http.client
import json
import re
import socket
import sqlite3
import time

import pytest

from harness import ROOT
from node import node

ROLES = ("nobody", "reader", "deployer", "owner", "operator")


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    with node(tmp_path_factory.mktemp("admin")) as n:
        n.tenant("mine")
        n.tenant("other")
        n.tokens = {role: n.token_of("mine", role) for role in ROLES[1:4]}
        n.tokens |= {"operator": n.token, "nobody": "", "wrong": "ebb_" + "x" * 43}
        yield n


def description():
    return json.loads((ROOT / "docs/openapi.json").read_text())


def operations():
    for path, methods in description()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_description_is_the_table(admin):
    """docs/openapi.json is what the node answers: curl http://127.0.0.1:3001/openapi.json."""
    status, answer = admin.api("GET", "/openapi.json", token="")
    assert status == 200
    assert answer == description(), "write the node's /openapi.json to docs/openapi.json"


def filled(path, tenant):
    """A path with its parameters; everything but the tenant names nothing that there is."""
    return re.sub(r"\{(\w+)\}", lambda m: {"tenant": tenant, "token": "999999", "app": "none",
                                           "store": "default", "key": "k",
                                           "database": "default", "file": "none", "call": "0" * 32,
                                           "digest": "sha256:" + "a" * 64}[m[1]], path)


def may(role, scope, least, own):
    if scope == "anybody":
        return True
    if role in ("nobody", "wrong"):
        return False
    if role == "operator":
        return True
    if scope == "tokens of the operator" or (scope == "tokens of the tenant" and not own):
        return False
    return ROLES.index(role) >= ROLES.index(least)


@pytest.mark.parametrize("role", ("nobody", "wrong", "reader", "deployer", "owner", "operator"))
@pytest.mark.parametrize("own", (True, False), ids=("own", "foreign"))
def test_every_endpoint_and_role(admin, role, own):
    """Refused with 401 or 403 (429 once there were too many wrong ones) exactly where the table
    says so. Bodies are wrong on purpose: who may act is looked at first."""
    for method, path, operation in operations():
        if method == "DELETE" and path == "/v1/tenants/{tenant}":
            continue  # below
        target = filled(path, "mine" if own else "other")
        status, _ = admin.api(method, target, {} if method in ("PUT", "POST") else None,
                              token=admin.tokens[role])
        allowed = may(role, operation["x-scope"], operation["x-least-role"], own)
        refused = status in (401, 403, 429)
        assert refused != allowed, f"{role} {method} {target}: {status}"


def test_tenants_are_removed_by_the_operator_alone(admin):
    admin.tenant("gone")
    for role in ("nobody", "reader", "deployer", "owner"):
        assert admin.api("DELETE", "/v1/tenants/gone", token=admin.tokens[role])[0] in (401, 403)
    assert admin.api("DELETE", "/v1/tenants/gone")[0] == 200
    assert admin.api("DELETE", "/v1/tenants/gone")[0] == 404


def test_a_foreign_tenant_looks_the_same_whether_it_exists(admin):
    answers = {admin.api("GET", f"/v1/tenants/{t}/apps", token=admin.tokens["owner"])[1]["error"]
               for t in ("other", "neverwas")}
    assert len(answers) == 1


def test_no_role_makes_more_of_itself(admin):
    for role in ("operator", "nobody", "", "admin"):
        status, _ = admin.api("POST", "/v1/tenants/mine/tokens", {"role": role},
                              token=admin.tokens["owner"])
        assert status == 400, role
    for role in ("reader", "deployer"):
        assert admin.api("POST", "/v1/tenants/mine/tokens", {"role": "owner"},
                         token=admin.tokens[role])[0] == 403


def test_tokens_expire_and_are_revoked(admin):
    short = admin.token_of("mine", "reader", expires_s=1)
    whoami = "/v1/whoami"
    end = time.monotonic() + 10
    while admin.api("GET", whoami, token=short)[0] == 200:
        assert time.monotonic() < end
    status, made = admin.api("POST", "/v1/tenants/mine/tokens", {"role": "reader"})
    assert admin.api("GET", whoami, token=made["token"])[0] == 200
    assert admin.api("DELETE", f"/v1/tenants/other/tokens/{made['id']}")[0] == 404
    assert admin.api("DELETE", f"/v1/tenants/mine/tokens/{made['id']}")[0] == 200
    assert admin.api("GET", whoami, token=made["token"])[0] in (401, 429)
    listed = admin.api("GET", "/v1/tenants/mine/tokens")[1]["tokens"]
    assert made["id"] not in [t["id"] for t in listed]
    assert not any("token" in t or "hash" in t for t in listed)


def test_wrong_tokens_are_limited_and_right_ones_are_not(admin):
    seen = [admin.api("GET", "/v1/whoami", token="ebb_wrong")[0] for _ in range(15)]
    assert seen[-1] == 429
    assert admin.api("GET", "/v1/whoami")[0] == 200


def test_other_hosts_and_origins_are_refused(admin):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3001", "x@y"):
        assert admin.api("GET", "/v1/tenants", headers={"Host": host})[0] in (400, 421), host
    for origin in ("http://evil.example", "null", "http://localhost:1", "file://",
                   f"http://{admin.admin}.evil.example"):
        assert admin.api("GET", "/v1/tenants", headers={"Origin": origin})[0] == 403, origin
    assert admin.api("GET", "/v1/tenants", headers={"Origin": f"http://{admin.admin}"})[0] == 200


def test_what_answers_carry(admin):
    c = http.client.HTTPConnection(admin.admin, timeout=20)
    c.request("GET", "/healthz")
    answer = c.getresponse()
    assert answer.read() == b"OK\n"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    c.close()


def test_the_socket_is_the_operators(admin):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(admin.socket))
        s.sendall(b"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while got := s.recv(65536):
            answer += got
    assert b'"role":"operator"' in answer
    assert admin.socket.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("path", ("/v1", "/v1/tenants/", "/v1/tenants/a/b/c/d/e/f/g/h/i/j/k/l/m",
                                  "/v1/tenants/%zz/apps", "//", "/v1/tenants/mine/apps/%2e%2e/x"))
def test_paths_that_there_are_not(admin, path):
    assert admin.api("GET", path)[0] == 404


def test_bodies(admin):
    def send(body):
        return admin.api("POST", "/v1/tenants", body, raw=True)
    assert send(b"{")[0] == 400
    assert send(b'{"name": "a", "name": "b"}')[0] == 400
    assert send(b'{"name": 3}')[0] == 400
    assert send(b'{"name": "Not-a-name"}')[0] == 400
    assert send(b'{"name": "q", "quota": {"apps": -1}}')[0] == 400
    assert send(b" " * (1 << 20) + b"{}")[0] == 413


def test_the_audit_log(admin):
    admin.tenant("audited")
    admin.api("PUT", "/v1/tenants/audited/quota", {"quota": {"apps": 7}})
    events = admin.api("GET", "/v1/tenants/audited/audit")[1]["events"]
    assert [e["action"] for e in events] == ["quota changed", "token made", "tenant made"]
    assert all(e["actor"].startswith("first") and e["tenant"] == "audited" for e in events)
    before = admin.api("GET", f"/v1/tenants/audited/audit?before={events[0]['id']}")[1]["events"]
    assert len(before) == 2
    assert admin.api("GET", "/v1/audit")[1]["events"][0]["id"] >= events[0]["id"]


@pytest.mark.parametrize("span", ("to=2999-01-01", "from=1980-01-01&to=2026-01-01"))
@pytest.mark.parametrize("what", ("carbon/report", "usage", "usage/check"))
def test_no_question_is_about_centuries(admin, what, span):
    status, answer = admin.api("GET", f"/v1/{what}?{span}")
    assert status == 400 and "more than 3660 days" in answer["error"]


def test_audit_command(admin):
    owner = admin.tenant("watched")
    admin.token_of("watched", "reader", name="\x1b[2J\x9b\x07 build")
    lines = admin.run("audit", tenant="watched", token=owner).splitlines()
    assert [line.split()[2] for line in lines] == ["watched"] * 3, lines
    assert "token made" in lines[0] and lines[0].endswith(" reader ?[2J??? build")
    assert "  ?[2J??? build\n" in admin.run("tokens", tenant="watched")
    assert lines[2].endswith("tenant made: watched")
    assert admin.run("audit", "-n", "1", tenant="watched", token=owner).splitlines() == lines[:1]
    first, *_ = admin.run("audit", "--json", tenant="watched", token=owner).splitlines()
    assert json.loads(first)["subject"].endswith("\x1b[2J\x9b\x07 build")
    assert lines[0] in admin.run("audit", "--all").splitlines()
    assert "may not" in admin.run("audit", "--all", token=owner, status=1)
    assert "may not" in admin.run("audit", tenant="mine", token=admin.tokens["deployer"], status=1)
    assert "not 'many'" in admin.run("audit", "-n", "many", status=1)


def test_audit_command_reads_every_page(admin):
    """A page has a thousand."""
    with contextlib.closing(sqlite3.connect(admin.data / "platform.db", timeout=60)) as db:
        db.executemany("INSERT INTO audit (t_s, tenant, actor, action, subject) "
                       "VALUES (0, 0, 'a', 'test', ?)", [(i,) for i in range(2500)])
        db.commit()
    lines = admin.run("audit", "--all", "--lines", "2400").splitlines()
    assert [int(line.split()[-1]) for line in lines] == list(range(2499, 99, -1))
    assert len(admin.run("audit", "--all", "--lines", "5000").splitlines()) > 2500


def test_metrics_and_carbon_are_the_operators(admin):
    status, text = admin.api("GET", "/metrics")
    assert status == 200 and b"ebb_" in text
    assert admin.api("GET", "/v1/carbon/report")[0] == 200
    assert admin.api("GET", "/v1/top")[1]["processes"]
