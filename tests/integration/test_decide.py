"""Routing (spin.md 1.4) and allowed_outbound_hosts (1.6) against second, naive implementations."""
import ipaddress
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness import EBB, SANITIZED

DECIDE = Path(EBB).parent / "ebb-app-decide"
SETTINGS = settings(max_examples=60 if SANITIZED else 400, deadline=None, derandomize=True,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def decide():
    p = subprocess.Popen([DECIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(*words):
        p.stdin.write("\t".join(words) + "\n")
        p.stdin.flush()
        return p.stdout.readline().rstrip("\n") if words[0] != "reset" else None
    yield say
    p.stdin.close()
    assert p.wait(60) == 0
    p.stdout.close()


# --- routes: every way a pattern can take a path, the best by precedence

def split(text):
    return [s for s in text.split("/") if s]


def takes(pattern, path):
    """The rank of each segment (literal 0, parameter 1) and what the wildcard got, or None."""
    want, have = split(pattern), split(path)
    wild = bool(want) and want[-1] in ("...", "*")
    if wild:
        want = want[:-1]
    if len(have) < len(want) or (not wild and len(have) > len(want)):
        return None
    for w, h in zip(want, have):
        if not w.startswith(":") and w != h:
            return None
    rank = [1 if w.startswith(":") else 0 for w in want] + ([2] if wild else [])
    return rank, "/".join(have[len(want):]) if wild else ""


def shape(pattern):
    return [":" if s.startswith(":") else "..." if s == "*" else s for s in split(pattern)]


def naive_route(patterns, path):
    best = None
    for i, pattern in enumerate(patterns):
        got = takes(pattern, path)
        if got is None or any(shape(p) == shape(pattern) for p in patterns[i + 1:]):
            continue  # the last of the same shape wins
        if best is None or got[0] < best[1]:
            best = (i, *got)
    return best and (best[0], best[2])


SEGMENT = st.sampled_from(["a", "b", "c", ":x", ":y", "ab"])
PATTERN = st.builds(lambda s, w: "/" + "/".join(s + w), st.lists(SEGMENT, max_size=3).filter(
    lambda s: len([x for x in s if x[0] == ":"]) == len({x for x in s if x[0] == ":"})),
    st.sampled_from([[], ["..."], ["*"]]))
PATH = st.builds(lambda s, end: "/" + "/".join(s) + end,
                 st.lists(st.sampled_from(["a", "b", "c", "ab", "z"]), max_size=4),
                 st.sampled_from(["", "/"]))


@SETTINGS
@given(st.lists(PATTERN, min_size=1, max_size=6), st.lists(PATH, min_size=1, max_size=6))
@example(["/...", "/a", "/a/:x", "/a/..."], ["/a", "/a/", "/a/b", "/", "/b"])
def test_routes(decide, patterns, paths):
    decide("reset")
    for p in patterns:
        assert decide("route", p) == "ok", p
    for path in paths:
        want = naive_route(patterns, path)
        got = decide("path", path)
        assert got == ("-" if want is None else f"{want[0]}\t{want[1]}"), (patterns, path)


# --- hosts

PORTS = {"http": 80, "https": 443, "postgres": 5432, "mysql": 3306, "redis": 6379, "mqtt": 1883}


def network_of(host):
    try:
        return ipaddress.ip_network(host.strip("[]") if "/" not in host else host, strict=False)
    except ValueError:
        return None


def naive_allows(rule, scheme, host, port):
    rule_scheme, _, rest = rule.partition("://")
    rest = rest.removesuffix("/")
    host_part, _, port_part = rest.rpartition(":") if ":" in rest.split("]")[-1] else (rest, "", "")
    if rule_scheme not in ("*", scheme):
        return False
    if port_part == "":
        ports = range(PORTS[rule_scheme], PORTS[rule_scheme] + 1)
    elif port_part == "*":
        ports = range(65536)
    elif ".." in port_part:
        ports = range(*map(int, port_part.split("..")))
    else:
        ports = range(int(port_part), int(port_part) + 1)
    if (port or PORTS.get(scheme, 0)) not in ports:
        return False
    if host_part == "*":
        return True
    net, address = network_of(host_part), network_of(host)
    if net is not None or address is not None:
        return net is not None and address is not None and net.version == address.version and \
            address.subnet_of(net)
    if host_part.startswith("*."):
        return host.lower().endswith(host_part[1:].lower())
    return host.lower() == host_part.lower()


HOST = st.sampled_from(["*", "*.example.com", "example.com", "Example.COM", "a.example.com",
                        "127.0.0.1", "10.0.0.0/8", "127.0.0.0/31", "[::1]", "other.test"])
PORT = st.sampled_from(["", ":*", ":80", ":443", ":1..81", ":8000..9000", ":65535"])
RULE = st.builds(lambda s, h, p, e: f"{s}://{h}{p}{e}",
                 st.sampled_from(["http", "https", "redis", "*"]), HOST, PORT,
                 st.sampled_from(["", "/"])).filter(
    lambda r: not (r.startswith("*") and ":" not in r.rstrip("/").split("://")[1].split("]")[-1])
    and not r.endswith(("/8/", "/31/")))
ASKED = st.tuples(st.sampled_from(["http", "https", "redis", "tcp"]),
                  st.sampled_from(["example.com", "EXAMPLE.com", "a.example.com", "b.a.example.com",
                                   "notexample.com", "127.0.0.1", "127.0.0.2", "10.1.2.3", "::1",
                                   "[::1]", "other.test"]),
                  st.sampled_from([80, 443, 81, 1, 8000, 8999, 9000, 6379, 65535]))


@SETTINGS
@given(st.lists(RULE, min_size=1, max_size=3), st.lists(ASKED, min_size=1, max_size=8))
@example(["*://*.example.com:*"], [("http", "example.com", 80), ("http", "a.example.com", 80)])
@example(["http://*:1..81"], [("http", "x.test", 80), ("http", "x.test", 81)])
def test_hosts(decide, rules, asked):
    decide("reset")
    for rule in rules:
        assert decide("rule", rule) == "ok", rule
    for scheme, host, port in asked:
        want = any(naive_allows(r, scheme, host, port) for r in rules)
        assert decide("ask", scheme, host, str(port)) == ("yes" if want else "no"), \
            (rules, scheme, host, port)


@pytest.mark.parametrize("text", ["*", "insecure:allow-all", "http://example.com/path", "x://a",
                                  "http://{a,b}:80", "example.com", "http://", "http://a:b",
                                  "http://a:9..9", "http://*.", "http://a b", "http://*.*:80"])
def test_what_is_no_rule(decide, text):
    decide("reset")
    assert decide("rule", text) == "bad"
