"""Measuring: the untimed check of what a server answers, runs of wrk, medians and spreads."""
import concurrent.futures
import os
import re
import socket
import statistics
import subprocess

from servers import CLIENT_CORE, CORES, SERVER_CORE

CONNECTIONS = 32
RUNS = 7
SPREAD_MAX = 0.15
RERUNS_MAX = 2
CHECKED = 20000
OWN_HEADERS = {"date", "server", "connection", "keep-alive"}  # what a server may add of its own
HEADERS = {"content-type": "text/plain", "content-length": "51"}


def responses(port, count, connections=4, batch=50):
    """Yields (status, headers, body) of `count` GET requests, in batches down kept connections."""
    request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    sockets = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(connections)]
    files = [s.makefile("rb") for s in sockets]
    done = 0
    while done < count:
        for s, f in zip(sockets, files):
            for _ in range(min(batch, count - done)):
                s.sendall(request)
                status = int(f.readline().split()[1])
                headers = {}
                for line in iter(f.readline, b"\r\n"):
                    name, _, value = line.decode().partition(":")
                    headers[name.strip().lower()] = value.strip()
                body = f.read(int(headers["content-length"]))
                done += 1
                yield status, headers, body
    for f, s in zip(files, sockets):
        f.close()
        s.close()


def check(server):
    """20,000 answers: all of one length, with the same headers, each with another number. Returns
    the headers that the server adds."""
    bodies, names = set(), None
    for status, headers, body in responses(server.port, CHECKED):
        own = set(headers) & OWN_HEADERS
        rest = {name: value for name, value in headers.items() if name not in OWN_HEADERS}
        names = names or own
        if status != 200 or rest != HEADERS or own != names:
            raise RuntimeError(f"{server.name}: unlike the others: {status} {headers}")
        if not re.fullmatch(rb"Hello from [A-Z]! Your number is \d{20}\.\n", body):
            raise RuntimeError(f"{server.name}: unlike the others: {body!r}")
        bodies.add(body)
    if len(bodies) != CHECKED:
        raise RuntimeError(f"{server.name}: {CHECKED - len(bodies)} of {CHECKED} answers repeat")
    return sorted(names)


def check_all(servers, steps, say, how=check):
    """The untimed pass over all of them; each core checks every other server meanwhile."""
    def one(server, core):
        server.resume()
        server.move(core)
        try:
            return how(server)
        finally:
            server.move(SERVER_CORE)
            server.pause()

    todo = [s for s in servers if not steps.is_done(f"check {s.name}")]
    while todo:
        pair, todo = todo[:len(CORES)], todo[len(CORES):]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            running = [(s, pool.submit(one, s, core)) for s, core in zip(pair, CORES)]
            for server, future in running:
                own = steps.do(f"check {server.name}", future.result)
                say(f"{server.name}: checked" + (f"; own headers: {' '.join(own)}" if own else ""))


def wrk(server, seconds, connections=CONNECTIONS):
    """One run: requests per second, latencies in us, CPU of the server per request in us."""
    ticks = server.cpu_ticks()
    script = ["-s", server.script] if server.script else []
    text = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
         "--latency", *script, f"http://127.0.0.1:{server.port}{server.path}"],
        capture_output=True, text=True, check=True).stdout
    cpu_us = (server.cpu_ticks() - ticks) * 1e6 / os.sysconf("SC_CLK_TCK")
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{server.name}: failed requests:\n{text}")
    units = {"us": 1, "ms": 1e3, "s": 1e6}
    quantiles = {q: float(v) * units[u] for q, v, u in
                 re.findall(r"^ +(50|99)% +([\d.]+)(us|ms|s) *$", text, re.M)}
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return {"rps": float(re.search(r"Requests/sec: +([\d.]+)", text)[1]), "p50_us": quantiles["50"],
            "p99_us": quantiles["99"], "cpu_us": cpu_us / requests, "requests": requests}


def spread(values):
    return (max(values) - min(values)) / statistics.median(values)


def interleaved(servers, steps, say, run_s, group_s_max):
    """RUNS rounds over all servers. Where one varies too much all are run again, at most twice, and
    only while the whole group stays within group_s_max seconds; the quietest attempt counts.
    Returns rows, whose runs_rps are of the same rounds."""
    def run(server, seconds=run_s):
        server.resume()
        try:
            return wrk(server, seconds)
        finally:
            server.pause()

    def attempt(name):
        results = {s.name: [] for s in servers}
        for number in range(RUNS):
            say(f"run {number + 1} of {RUNS}{name}")
            for server in servers:
                results[server.name].append(
                    steps.do(f"run {number} {server.name}{name}", lambda s=server: run(s)))
        return results

    def noise(results):
        return max((spread([r["rps"] for r in runs]) for runs in results.values()), default=0)

    for server in servers:  # a first second that does not count: caches, JIT; anew in each slice
        run(server, 1)
    attempts = [attempt("")]
    for again in range(1, RERUNS_MAX + 1):
        if noise(attempts[-1]) <= SPREAD_MAX:
            break
        name = f", again {again}"
        begun = servers and steps.is_done(f"run 0 {servers[0].name}{name}")
        if not begun and steps.spent_s + RUNS * len(servers) * (run_s + 1) > group_s_max:
            say(f"runs vary by more than {SPREAD_MAX:.0%}, and the time is used up")
            break
        say(f"runs vary by more than {SPREAD_MAX:.0%}: all again")
        attempts.append(attempt(name))
    results = min(attempts, key=noise)
    rows = [{"name": s.name, **median(results[s.name]), "reruns": len(attempts) - 1,
             "settings": s.settings()} for s in servers]
    return [row | {"noisy": row["spread"] > SPREAD_MAX} for row in rows]


def median(runs):
    """Of each figure of the runs, with the spread of requests per second and all of them."""
    rps = [r["rps"] for r in runs]
    return {**{key: statistics.median(r[key] for r in runs) for key in runs[0]},
            "spread": spread(rps), "runs_rps": rps}
