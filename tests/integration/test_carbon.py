"""The meter on a live node: what apps used, checked against the kernel, priced, and asked for."""
import http.server
import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import PATIENCE_S, ROOT, ebb, fetch, guest, serving, wait_for, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "metered"
[[trigger.http]]
route = "/busy/..."
component = "busy"
[[trigger.http]]
route = "/calm/..."
component = "calm"
[component.busy]
source = "{guest('c-kitchen')}"
[component.calm]
source = "{guest('c-kitchen')}"
"""


@pytest.fixture
def app(tmp_path):
    return write_app(tmp_path / "app", APP)


def report(app, *args):
    out, _ = ebb("carbon", "report", "--admin", app / ".spin" / "ebb" / "admin.sock", *args)
    return out


def rows(app):
    return {r["app"]: r for r in json.loads(report(app))["apps"]}


def cpu_of(pid):
    """Seconds of CPU that the kernel accounted to a process: all its threads, to the nanosecond."""
    fields = [t.read_text().split()[0]
              for t in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(map(int, fields)) / 1e9


def test_calls_are_booked_to_their_app(app, tmp_path, workers):
    with serving(app, tmp_path, workers=workers) as server:
        for _ in range(20):
            assert fetch(server, "/busy/burn?2000").status == 200
        assert fetch(server, "/calm/echo", "POST", body=b"x" * 1000).body == b"x" * 1000
        got = rows(app)
        assert got["busy"]["calls"] == 20 and got["calm"]["calls"] == 1
        assert got["calm"]["bytes_in"] == got["calm"]["bytes_out"] == 1000
        assert got["busy"]["cpu_s"] > 10 * got["calm"]["cpu_s"]
        assert got["busy"]["memory_peak_bytes"] > 0
        assert got["busy"]["sci"]["R"] == 20 and got["busy"]["sci"]["g_per_unit"] > 0


def test_sums_are_the_nodes(app, tmp_path, workers):
    with serving(app, tmp_path, workers=workers) as server:
        assert fetch(server, "/busy/burn?2000").status == 200
        r = json.loads(report(app))
        parts = [r["platform"], r["other"], *r["apps"]]
        joules = sum(p["dynamic_j"] + p["idle_share_j"] for p in parts)
        assert joules + r["total"]["idle_unallocated_j"] == pytest.approx(r["total"]["node_j"])
        grams = sum(p["sci"]["M_g"] for p in parts) + r["total"]["embodied_unallocated_g"]
        assert grams == pytest.approx(r["total"]["embodied_g"])
        assert r["platform"]["cpu_s"] > 0 and r["power"]["source"] in ("model", "rapl")


def ask(app, path):
    done = subprocess.run(["/usr/bin/curl", "-sS", "--fail", "--unix-socket",
                           str(app / ".spin" / "ebb" / "admin.sock"), "http://node" + path],
                          capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return done.stdout


def test_the_books_agree_with_the_kernel(app, tmp_path, workers):
    """Of every process: booked within 1 % of what the kernel accounts, read by ourselves."""
    with serving(app, tmp_path, workers=workers) as server:
        for _ in range(30):
            assert fetch(server, "/busy/burn?3000").status == 200
        checks = json.loads(ask(app, "/v1/usage/check"))
        now = {f"worker {i}": cpu_of(pid) for i, pid in enumerate(server.children("worker"))}
        busy = 0
        names = {c["process"] for c in checks}
        assert {"keeper", "store", "supervisor"} < names
        for name, cpu in now.items():
            booked = sum(c["booked_ns"] for c in checks if c["process"] == name) / 1e9
            if cpu > 0.05:  # there are a millisecond or two between the report and our reading
                busy += 1
                assert booked == pytest.approx(cpu, rel=0.01, abs=0.002), name
        assert busy >= 1
        for name in names:  # what ran between a report and the reading is the next window's
            booked, kernel = (sum(c[key] for c in checks if c["process"] == name)
                              for key in ("booked_ns", "kernel_ns"))
            assert booked == pytest.approx(kernel, rel=0.01, abs=2_000_000), (name, checks)
        assert all(c["agrees"] == (abs(c["booked_ns"] - c["kernel_ns"]) <= c["kernel_ns"] / 100)
                   for c in checks), checks
        usage = [line.split(",") for line in ask(app, "/v1/usage").splitlines()[1:]]
        booked = sum(float(u[3]) for u in usage if u[1] != "*")
        assert booked == pytest.approx(sum(c["booked_ns"] for c in checks) / 1e9, rel=0.02, abs=0.1)


def test_what_a_killed_worker_used_is_the_platforms(app, tmp_path):
    with serving(app, tmp_path) as server:
        assert fetch(server, "/busy/burn?3000").status == 200
        first = json.loads(report(app))
        (pid,) = server.children("worker")
        for _ in range(20):
            assert fetch(server, "/busy/burn?10000").status == 200
        used = cpu_of(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: pid not in server.children("worker") and server.children("worker"),
                 "a new worker")
        wait_for(lambda: "untold" in server.log(), "the keeper's word")
        second = json.loads(report(app))
        # the end of a window in between lets the worker tell a part as the app's
        before, after = (r["platform"]["cpu_s"] + sum(a["cpu_s"] for a in r["apps"])
                         for r in (first, second))
        grown = after - before
        told = first["apps"][0]["cpu_s"] + first["platform"]["cpu_s"]
        assert grown >= (used - told) * 0.9, (grown, used, told)


def test_records_outlive_the_node_and_a_killed_keeper(app, tmp_path):
    with serving(app, tmp_path) as server:
        assert fetch(server, "/busy/hello").status == 200
        assert rows(app)["busy"]["calls"] == 1
        (pid,) = server.children("keeper")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: server.children("keeper") not in ([], [pid]), "a new keeper")
        assert fetch(server, "/busy/hello").status == 200
        assert wait_for(lambda: rows(app)["busy"]["calls"] == 2 or None, "both calls")
        assert fetch(server, "/busy/hello").status == 200  # told when the worker ends
    with serving(app, tmp_path):
        assert rows(app)["busy"]["calls"] == 3


def test_intensity_from_a_file(app, tmp_path):
    hour = int(time.time()) // 3600 * 3600
    lines = [f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(hour + 3600 * h))},{100 + h % 24}"
             for h in range(-24 * 40, 2)]
    (tmp_path / "grid.csv").write_text("time,g_per_kwh\n" + "\n".join(lines) + "\n")
    (tmp_path / "carbon.toml").write_text('zone = "X"\nprovider = "file"\nfile = "grid.csv"\n'
                                          "[node]\nidle_w = 10\nmax_w = 30\nthreads = 2\n")
    socket = app / ".spin" / "ebb" / "admin.sock"
    with serving(app, tmp_path, "--carbon", str(tmp_path / "carbon.toml")) as server:
        assert fetch(server, "/busy/burn?1000").status == 200
        now = json.loads(ebb("carbon", "now", "--admin", socket)[0])
        assert (now["g_per_kwh"], now["quality"]) == (100, "measured")
        ahead = json.loads(ebb("carbon", "forecast", "--hours", "6", "--admin", socket)[0])
        assert ahead["method"] == "regression" and len(ahead["forecastData"]) == 6
        r = json.loads(report(app))
        assert r["zone"] == "X"
        assert (r["power"]["idle_w"], r["power"]["busy_w_per_cpu"]) == (10, 10)
        assert report(app, "--format", "html").startswith("<!doctype html>")
        assert "ebb_cpu_seconds_total" in ask(app, "/metrics")


def test_a_file_of_intensity_is_read_again_when_it_changes(app, tmp_path):
    """And only then: an answer that looks at it four times does not read it."""
    hour = int(time.time()) // 3600 * 3600
    path = tmp_path / "grid.csv"

    def content(g):
        lines = [f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(hour + 3600 * h))},{g}"
                 for h in range(-24 * 200, 3)]
        return "time,g_per_kwh\n" + "\n".join(lines) + "\n"

    def now():
        return json.loads(ask(app, "/v1/carbon/now"))["g_per_kwh"]
    path.write_text(content(100))
    options = carbon_settings(tmp_path, 'zone = "X"\nprovider = "file"\nfile = "grid.csv"\n')
    with serving(app, tmp_path, *options) as server:
        (keeper,) = server.children("keeper")

        def read():
            io = Path(f"/proc/{keeper}/io").read_text()
            return int(re.search(r"rchar: (\d+)", io)[1])
        assert now() == 100
        for g in range(101, 121):  # of one length, at once after one another
            path.write_text(content(g))
            assert now() == g
        wait_for(lambda: time.time() - path.stat().st_ctime > 5, "the file to be an old one")
        assert now() == 120
        before = read()
        outlook = json.loads(ask(app, "/v1/outlook"))
        assert outlook["intensity"]["g_per_kwh"] == 120
        assert read() - before < path.stat().st_size
        path.write_text(content(200))  # in its place
        assert now() == 200
        path.unlink()
        with pytest.raises(subprocess.CalledProcessError):  # curl's --fail
            now()


def test_the_socket_goes_with_the_node(app, tmp_path):
    with serving(app, tmp_path):
        assert (app / ".spin" / "ebb" / "admin.sock").is_socket()
    assert not (app / ".spin" / "ebb" / "admin.sock").exists()


@pytest.mark.parametrize("table, zone, low, high", [
    ("average-intensities.min.js", "SWE", 10, 60),
    ("average-intensities.min.js", "POL", 400, 900),
    ("yearly_2025.js", "SE", 10, 60),
    ("yearly_2025.js", "DE", 200, 500),
])
def test_the_yearly_tables_that_set_up_fetches(app, tmp_path, table, zone, low, high):
    path = ROOT / "build" / "carbon" / table
    out, _ = ebb("carbon", "now", "--json", "--table", path, "--zone", zone)
    from_file = json.loads(out)
    assert low < from_file["g_per_kwh"] < high and from_file["quality"] == "yearly"
    options = carbon_settings(tmp_path, f'zone = "{zone}"\nyearly_table = "{path}"\n')
    with serving(app, tmp_path, *options):
        assert json.loads(ask(app, "/v1/carbon/now"))["g_per_kwh"] == from_file["g_per_kwh"]
    assert (ROOT / "build" / "carbon" / "LICENSE").exists()


def test_mistakes(app, tmp_path):
    socket = app / ".spin" / "ebb" / "admin.sock"
    (tmp_path / "bad.toml").write_text("zones = 3\n")
    _, said = ebb("up", "-f", app, "--carbon", tmp_path / "bad.toml", status=1)
    assert "bad.toml:1:1" in said and "zones" in said
    with serving(app, tmp_path, "--state-dir", "") as server:
        assert fetch(server, "/busy/hello").status == 200
        assert not socket.exists()
        _, said = ebb("carbon", "report", "--admin", socket, status=1)
        assert "no node answers" in said
    with serving(app, tmp_path):
        _, said = ebb("carbon", "report", "--format", "pdf", "--admin", socket, status=1)
        assert "'pdf'" in said
        _, said = ebb("carbon", "report", "--from", "noon", "--admin", socket, status=1)
        assert "noon" in said
        with serving(app, tmp_path) as second:  # same folder: it serves, and says what it cannot
            assert "cannot ask this node" in second.log()


def test_an_idle_node_sleeps(app, tmp_path):
    with serving(app, tmp_path) as server:
        assert fetch(server, "/busy/hello").status == 200
        (pid,) = server.children("keeper")
        assert ask(app, "/healthz") == "OK\n"  # it has started

        def switches():
            text = open(f"/proc/{pid}/status").read().splitlines()
            return sum(int(x.split()[1]) for x in text if "ctxt_switches" in x)

        def sleeps():
            before = switches()
            time.sleep(1.5)
            return switches() == before
        wait_for(sleeps, "a keeper that has nothing left to do")


def test_remote_back_ends_are_reported_apart(app, tmp_path):
    options = carbon_settings(tmp_path, """
[[remote]]
app = "busy"
name = "gpu"
zone = "FR"
unit = "token"
units_per_call = 20
j_per_unit = 0.5
g_per_kwh = 44
heat_reused_share = 0.6
""")
    with serving(app, tmp_path, *options) as server:
        for _ in range(3):
            assert fetch(server, "/busy/hello").status == 200
        r = json.loads(report(app))
        (remote,) = r["remote"]
        assert (remote["app"], remote["name"], remote["units"]) == ("busy", "gpu", 60)
        assert remote["declared_j"] == pytest.approx(30)
        assert remote["declared_g"] == pytest.approx(30 / 3.6e6 * 44)
        parts = [r["platform"], r["other"], *r["apps"]]
        joules = sum(p["dynamic_j"] + p["idle_share_j"] for p in parts)
        assert joules + r["total"]["idle_unallocated_j"] == pytest.approx(r["total"]["node_j"])


RAPL_RANGE_UJ = 262143328850


def powercap(folder):
    """A machine's energy counters, as the kernel shows them; returns what sets them, in joules."""
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core")):
        (folder / zone).mkdir(parents=True)
        (folder / zone / "name").write_text(name + "\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{RAPL_RANGE_UJ}\n")
        (folder / zone / "energy_uj").write_text("0\n")

    def put(joules):
        (folder / "intel-rapl:0" / "energy_uj").write_text(
            f"{int(joules * 1e6) % RAPL_RANGE_UJ}\n")
    return put


def test_energy_counters_are_read_and_named(app, tmp_path):
    put = powercap(tmp_path / "powercap")
    begin = RAPL_RANGE_UJ / 1e6 - 500  # it wraps in between
    put(begin)
    options = carbon_settings(
        tmp_path, f'[node]\npowercap = "{tmp_path}/powercap"\nidle_w = 2\nmax_w = 30\n')

    def windows_go_by():  # a reading comes with the first report of a window
        window = time.time() // 10
        wait_for(lambda: time.time() // 10 > window, "the next window")
        assert fetch(server, "/busy/burn?100").status == 200
        return json.loads(report(app))
    with serving(app, tmp_path, *options) as server:
        windows_go_by()
        put(begin + 900)
        r = windows_go_by()
        assert r["power"]["source"] == "rapl" and r["power"]["fitted_to_samples"] == 0
        assert 900 < r["total"]["node_j"] < 1000  # and idle power of what no reading covers
        assert r["apps"][0]["dynamic_j"] > 0
        said = [x["text"] for x in server.log_lines("message")]
        assert any("1 energy counters; idle power is the settings' 2 W" in x for x in said)
        assert any("every user of this machine can read" in x for x in said)


def test_what_a_tenant_sees(app, tmp_path):
    """Own CPU time by a frozen figure, and nothing of another's app."""
    admin = app / ".spin" / "ebb" / "admin.sock"
    midnight = int(time.time()) // 86400 * 86400

    def tenant(*args, status=0):
        return ebb("carbon", "tenant", "--admin", admin, *args, status=status)
    with serving(app, tmp_path) as server:
        assert fetch(server, "/busy/hello").status == 200
        assert rows(app)["busy"]["calls"] == 1
    with sqlite3.connect(app / ".spin" / "ebb" / "usage.db") as db:  # as if it had run yesterday
        for second in range(midnight - 7200, midnight - 3600, 10):
            for name, cpu_ms in (("busy", 100), ("calm", 7)):
                db.execute("INSERT INTO usage VALUES (?, ?, 40, ?, 0, 0, 0, 0)",
                           (second, name, cpu_ms * 1_000_000))
    with serving(app, tmp_path):
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(midnight - 86400))
        out, _ = tenant("--apps", "busy,none", "--from", since)
        seen = json.loads(out)
        assert [a["app"] for a in seen["apps"]] == ["busy"] and "calm" not in out
        assert seen["j_per_cpu_s"] == 2.5
        windows = seen["apps"][0]["windows"]
        assert len(windows) == 60
        for w in windows:
            assert (w["calls"], w["cpu_s"], w["energy_j"]) == (240, 0.6, 1.5)
        (day,) = seen["days"]
        assert day["calls"] == 14400 and day["embodied_g"] > 0
        ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(midnight + 86400))
        late = json.loads(tenant("--apps", "busy", "--from", since, "--to", ahead)[0])
        assert late["to"] < ahead  # what is not over is not told
        _, said = tenant(status=1)
        assert "apps" in said


class Provider:
    """An intensity provider on this machine: answers what it was told, notes what it was asked."""

    def __init__(self, answer):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                status, body, *fields = answer(self.path, len(asked))
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in fields:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()


def iso(t, seconds=True):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ" if seconds else "%Y-%m-%dT%H:%MZ", time.gmtime(t))


def half_hours(value):
    """The UK API's shape: no seconds, nulls where nothing was measured yet."""
    now = int(time.time()) // 1800 * 1800
    return {"data": [{"from": iso(t, False), "to": iso(t + 1800, False),
                      "intensity": {"forecast": value + 1, "actual": value if t <= now else None,
                                    "index": "low"}}
                     for t in range(now - 86400, now + 86400, 1800)]}


def electricity_maps(path, n):
    now = int(time.time()) // 3600 * 3600
    if "forecast" in path:
        return 200, {"zone": "ES", "updatedAt": iso(now), "forecast": [
            {"carbonIntensity": 50 + h, "datetime": iso(now + 3600 * h)} for h in range(24)]}
    return 200, {"zone": "ES", "history": [
        {"zone": "ES", "carbonIntensity": 120, "datetime": iso(now - 3600 * h),
         "updatedAt": iso(now), "createdAt": iso(now), "emissionFactorType": "lifecycle",
         "isEstimated": False, "estimationMethod": None} for h in range(24)]}


def watttime(path, n):
    now = int(time.time()) // 300 * 300
    if "login" in path:
        return 200, {"token": "jwt-of-the-session"}
    ahead = "forecast" in path
    return 200, {"data": [{"point_time": iso(now + (300 if ahead else -300) * i), "value": 1000}
                          for i in range(288)],
                 "meta": {"region": "CAISO_NORTH", "signal_type": "co2_moer",
                          "units": "lbs_co2_per_mwh", "generated_at": iso(now)}}


def carbon_aware(path, n):
    """The Carbon Aware SDK's shapes; an hour is missing, another has no value."""
    now = int(time.time()) // 3600 * 3600
    if "forecasts" in path:
        return 200, [{"generatedAt": iso(now), "optimalDataPoints": [], "forecastData": [
            {"location": "eastus", "timestamp": iso(now + 3600 * h), "duration": 60, "value": 300}
            for h in range(24)]}]
    return 200, [{"location": "eastus", "time": iso(now - 3600 * h),
                  "rating": None if h == 5 else 250, "duration": "01:00:00"}
                 for h in range(24) if h != 3]


def carbon_settings(folder, text):
    path = folder / "carbon.toml"
    path.write_text(text)
    return "--carbon", str(path)


@pytest.mark.parametrize("name, answer, settings, value, kind", [
    ("uk", lambda path, n: (200, half_hours(88)), "", 88, "average"),
    ("electricity-maps", electricity_maps, 'zone = "ES"\ntoken = "tok-secret"\n', 120, "average"),
    ("watttime", watttime,
     'zone = "CAISO_NORTH"\nuser = "me"\npassword = "pass-secret"\naverage = false\n',
     1000 * 453.59237 / 1000, "marginal"),
    ("carbon-aware-sdk", carbon_aware, 'zone = "eastus"\n', 250, "average"),
])
def test_providers_are_asked(app, tmp_path, name, answer, settings, value, kind):
    with Provider(answer) as provider:
        options = carbon_settings(tmp_path, f'provider = "{name}"\nurl = "{provider.url}"\n'
                                  + settings)
        with serving(app, tmp_path, *options) as server:
            now = json.loads(ask(app, "/v1/carbon/now"))
            assert now["g_per_kwh"] == pytest.approx(value, abs=1), now
            assert (now["quality"], now["kind"]) == ("measured", kind)
            ahead = json.loads(ask(app, "/v1/carbon/forecast?hours=12"))
            assert ahead["published_hours"] > 0
            count = len(provider.asked)
            assert json.loads(ask(app, "/v1/carbon/now")) and len(provider.asked) == count
            for pid in server.children("keeper"):
                assert b"secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert "secret" not in server.log()
        if "tok-secret" in settings:
            assert all(h.get("auth-token") == "tok-secret" for _, h in provider.asked)
        if "password" in settings:
            assert any(h.get("authorization") == "Bearer jwt-of-the-session"
                       for _, h in provider.asked)


@pytest.mark.parametrize("answer, word", [
    (lambda path, n: (503, b"", ("Retry-After", "7200")), "status 503"),
    (lambda path, n: (200, b"<html>no"), "carbon intensity from uk"),
    (lambda path, n: (200, {"data": []}), "carbon intensity from uk"),
    (lambda path, n: (302, b"", ("Location", "http://127.0.0.1:1/")), "status 302"),
])
def test_a_provider_that_fails_is_named_and_the_fallback_holds(app, tmp_path, answer, word):
    with Provider(answer) as provider:
        options = carbon_settings(tmp_path, f'provider = "uk"\nurl = "{provider.url}"\n'
                                  "yearly_g_per_kwh = 215\n")
        with serving(app, tmp_path, *options) as server:
            for _ in range(3):
                now = json.loads(ask(app, "/v1/carbon/now"))
                assert (now["g_per_kwh"], now["quality"]) == (215, "yearly")
            assert len(provider.asked) == 1, "no second question before its time"
            said = [r for r in server.log_lines("message") if "carbon intensity" in r["text"]]
            assert len(said) == 1 and word in said[0]["text"]
            assert fetch(server, "/busy/hello").status == 200


def test_a_provider_that_never_answers(app, tmp_path):
    """Who asks the node gets an answer all the same, and the node serves meanwhile."""
    over = threading.Event()

    def hang(path, n):
        over.wait(PATIENCE_S)
        return 503, b""
    with Provider(hang) as provider:
        options = carbon_settings(tmp_path, f'provider = "uk"\nurl = "{provider.url}"\n'
                                  "yearly_g_per_kwh = 215\n")
        with serving(app, tmp_path, *options) as server:
            now = json.loads(ask(app, "/v1/carbon/now"))
            assert (now["g_per_kwh"], now["quality"]) == (215, "yearly")
            assert fetch(server, "/busy/hello").status == 200
            assert len(provider.asked) == 1
            over.set()


def test_a_provider_that_is_not_there(app, tmp_path):
    options = carbon_settings(tmp_path, 'provider = "uk"\nurl = "http://127.0.0.1:1"\n')
    with serving(app, tmp_path, *options) as server:
        assert json.loads(ask(app, "/v1/carbon/now"))["quality"] == "assumed"
        assert "carbon intensity from uk" in server.log()
