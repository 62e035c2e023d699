"""Where tenants' apps may connect to, whatever their manifests, names and back-ends say; and that
what one tenant keeps open is nobody else's."""
import contextlib

import pytest

from backends import Authority, Backend, NameServer
from harness import fetch, guest, serving_many, wait_for, write_app
from node import node

CLIENT = f"""
spin_manifest_version = 2
[application]
name = "client"
[[trigger.http]]
route = "/..."
component = "client"
[component.client]
source = "{guest('c-client')}"
allowed_outbound_hosts = ["*://*:*"]
"""
OPEN, CLOSED = "127.0.0.2", "127.0.0.1"  # the one that the operator opens stands for the Internet
PROHIBITED = "future 4"


def answering(text, fields=(), status="200 OK"):
    def serve(peer):
        while peer.head():
            peer.answer(text, status, fields=[("Connection", "close"), *fields])
            return
    return serve


@contextlib.contextmanager
def two_backends(serve=answering(b"open")):
    """The same port on an address that is open and on one that is closed."""
    with Backend(serve, address=OPEN) as there:
        with Backend(answering(b"secret"), address=CLOSED, port=there.port) as secret:
            yield there, secret


@contextlib.contextmanager
def client(tmp_path, workers, table):
    app = write_app(tmp_path / "client", CLIENT)
    with NameServer(table) as names:
        with serving_many(tmp_path, [f"acme:client:{app}"], "--egress-allow", f"{OPEN}/32",
                          "--name-server", names.address, workers=workers) as server:
            yield lambda target: fetch(server, target, host="client-acme.localhost")


def test_a_name_that_is_bound_to_another_address(tmp_path, workers):
    """First it has an address that is open, then one of this machine."""
    table = {"rebind.test": [OPEN]}
    with two_backends() as (there, secret), client(tmp_path, workers, table) as get:
        target = f"/proxy?http://rebind.test:{there.port}/"
        assert get(target).text == "open"
        table["rebind.test"] = [CLOSED]
        wait_for(lambda: all(get(target).text == PROHIBITED for _ in range(6)),
                 "the name to be looked up again by all workers")
        assert secret.connections == 0 and there.connections > 0


def test_a_name_with_both_addresses(tmp_path, workers):
    table = {"both.test": [CLOSED, OPEN], "closed.test": [CLOSED]}
    with two_backends() as (there, secret), client(tmp_path, workers, table) as get:
        for _ in range(4):
            assert get(f"/proxy?http://both.test:{there.port}/").text in ("open", PROHIBITED)
        assert get(f"/proxy?http://closed.test:{there.port}/").text == PROHIBITED
        assert secret.connections == 0


def test_a_redirect_is_the_guests(tmp_path, workers):
    """Nothing follows one; and what it points to is as closed as before."""
    with two_backends() as (_, secret):
        where = f"http://{CLOSED}:{secret.port}/"
        moved = answering(b"moved", [("Location", where)], "302 Found")
        with Backend(moved, address=OPEN) as there, client(tmp_path, workers, {}) as get:
            r = get(f"/proxy?http://{OPEN}:{there.port}/")
            assert r.status == 302 and r.get("location") == where
            assert get(f"/proxy?{where}").text == PROHIBITED
        assert secret.connections == 0


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_sockets_do_not_reach_this_machine(tmp_path, workers, kind):
    with two_backends(lambda peer: peer.send(b"open")) as (there, secret):
        with client(tmp_path, workers, {}) as get:
            r = get(f"/{kind}?{CLOSED}&{there.port}&x")
            assert r.status == 502 and r.text == f"{kind} 1", r.text  # access-denied
            if kind == "tcp":
                assert get(f"/tcp?{OPEN}&{there.port}&x").text == "open"
        assert secret.connections == 0


def test_the_operator_opens_networks_for_one_tenant(tmp_path, workers):
    app = write_app(tmp_path / "app", CLIENT)
    with Backend(answering(b"open"), address=OPEN) as there, node(tmp_path, workers=workers) as n:
        target = f"/proxy?http://{OPEN}:{there.port}/"
        tokens = {x: n.tenant(x) for x in ("acme", "umbra")}
        for tenant, token in tokens.items():
            n.run("deploy", "-f", app, token=token, tenant=tenant)
            assert n.get("client", target, tenant=tenant).text == PROHIBITED
        assert n.run("egress", "127.0.0.2/32", "10.1.0.0/16", tenant="acme",
                     token=tokens["acme"], status=1)  # not the owner's to say
        n.run("egress", "127.0.0.2/32", "10.1.0.0/16", tenant="acme")
        assert n.run("egress", tenant="acme", token=tokens["acme"]) == "127.0.0.2/32, 10.1.0.0/16\n"
        assert n.get("client", target, tenant="acme").text == "open"
        assert n.get("client", target, tenant="umbra").text == PROHIBITED
        assert "egress changed" in str(n.api("GET", "/v1/tenants/acme/audit", token=tokens["acme"]))
        assert "no network" in n.run("egress", "nonsense", tenant="acme", status=1)
        n.run("egress", "none", tenant="acme")
        assert n.get("client", target, tenant="acme").text == PROHIBITED


@pytest.mark.parametrize("tls", [False, True])
def test_kept_connections_stay_with_their_tenant(tmp_path, tls):
    """Apps of a tenant use kept connections again, others get some of their own; with TLS none goes
    on with another's session."""
    authority, sessions, numbers = Authority(tmp_path), [], iter(range(1000))

    def serve(peer):
        number = str(next(numbers)).encode()
        if tls:
            sessions.append(peer.socket.session_reused)
        while peer.head():
            peer.answer(number)
    config = tmp_path / "runtime.toml"
    config.write_text(f"""
[[client_tls]]
component_ids = ["client"]
hosts = ["127.0.0.1"]
ca_roots_file = "{authority.ca}"
""")
    app = write_app(tmp_path / "client", CLIENT)
    apps = [f"acme:one:{app}", f"acme:two:{app}", f"umbra:one:{app}"]
    with Backend(serve, authority.context() if tls else None) as b:
        with serving_many(tmp_path, apps, "--egress-allow", "127.0.0.0/8", "--runtime-config",
                          str(config), workers=1) as server:
            def number(host):
                scheme = "https" if tls else "http"
                r = fetch(server, f"/proxy?{scheme}://127.0.0.1:{b.port}/", host=host)
                assert r.text.isdigit(), (r.text, server.log()[-2000:])
                return r.text
            seen = {}
            for _ in range(8):
                for app in ("one-acme", "two-acme", "one-umbra"):
                    seen.setdefault(app, set()).add(number(f"{app}.localhost"))
    assert not (seen["one-acme"] | seen["two-acme"]) & seen["one-umbra"], seen
    assert seen["one-acme"] & seen["two-acme"], seen
    assert len(seen["one-umbra"]) < 8, seen
    assert not any(sessions), sessions
