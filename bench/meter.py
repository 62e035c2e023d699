"""The group 'meter': what metering costs, and whether what it charges is right.

Cost: the throughput of the C hello with and without --no-meter, in turns. Charge: a guest burns the
same work again and again. What a burn really takes is measured where and while it happens: a second
ebb on the same core, whose worker does nothing else, burns in turns with the first, and the
kernel's CPU clock of that worker says what a burn took there, above that of a call that burns
nothing. Against it stands what the first one's ledger charges, likewise above an empty call, alone
and while 50 other apps of its worker are called. So both meet the same caches, clock frequency and
neighbours, and neither is what the meter itself reads.
"""
import contextlib
import json
import pathlib
import socket
import statistics
import subprocess
import time

import common
import report
import servers
from common import GUESTS, measured, say
from servers import CLIENT_CORE, Ebb

RUN_S = 4
BURNS = ((1, 40, 7), (10, 10, 7), (100, 2, 5), (1000, 1, 3))  # milliseconds, calls, blocks
NOISY = 50


def cost(scratch, steps):
    pair = [Ebb("metered", GUESTS / "hello.wasm", scratch),
            Ebb("unmetered", GUESTS / "hello.wasm", scratch, "--no-meter")]
    rows = measured(pair, steps, RUN_S, 240)
    runs = common.runs_of(rows)
    return rows, 1 - common.ratio(runs["metered"], runs["unmetered"])


def manifest(scratch, name, components):
    folder = pathlib.Path(scratch) / name
    folder.mkdir(exist_ok=True)
    lines = ["spin_manifest_version = 2", "[application]", f'name = "{name}"']
    for c in components:
        lines += ["[[trigger.http]]", f'route = "/{c}/..."', f'component = "{c}"',
                  f"[component.{c}]", f'source = "{GUESTS / "c-kitchen.wasm"}"']
    (folder / "spin.toml").write_text("\n".join(lines) + "\n")
    return folder


class Burner(Ebb):
    """Burns on demand, over one kept connection."""

    path = "/empty/burn?0"
    socket = worker_clock = None

    def start(self, timeout_s=120):
        super().start(timeout_s)
        self.socket = socket.create_connection(("127.0.0.1", self.port), 120)
        (worker,) = (pid for pid in servers.descendants(self.process.pid)
                     if b"@worker" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        self.worker_clock = ~worker << 3 | 2  # as clock_getcpuclockid makes it

    def burn(self, app, steps_n):
        self.socket.sendall(f"GET /{app}/burn?{steps_n} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        answer = self.socket.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200"), answer

    def worker_ns(self):
        """What the kernel accounted to the worker so far, by its CPU clock."""
        return time.clock_gettime_ns(self.worker_clock)

    def charged(self):
        """{app: nanoseconds} so far, by the ledger."""
        admin = pathlib.Path(self.folder) / ".spin" / "ebb" / "admin.sock"
        done = subprocess.run(["curl", "-sS", "--unix-socket", admin, "http://n/v1/carbon/report"],
                              capture_output=True, text=True, check=True)
        return {row["app"]: row["cpu_s"] * 1e9 for row in json.loads(done.stdout)["apps"]}


def block(apart, mixed, steps_n, count):
    """`count` burns and as many empty calls on both servers, in turns, so that whatever else
    happens on the core happens to all alike. Nanoseconds for a burn above an empty call: the
    kernel's account of the worker that does nothing else, and the charge of the other's ledger."""
    charge, kernel = mixed.charged(), 0
    for _ in range(count):
        before = apart.worker_ns()
        apart.burn("known", steps_n)
        between = apart.worker_ns()
        apart.burn("empty", 0)
        kernel += 2 * between - before - apart.worker_ns()
        mixed.burn("known", steps_n)
        mixed.burn("empty", 0)
    after = mixed.charged()
    charged = {app: after[app] - charge.get(app, 0) for app in ("known", "empty")}
    return kernel / count, (charged["known"] - charged["empty"]) / count


def per_ms(server):
    """Thousand steps that take a millisecond."""
    server.burn("known", 1000)
    kernel = server.worker_ns()
    for _ in range(5):
        server.burn("known", 20000)
    return 5 * 20000 / ((server.worker_ns() - kernel) / 1e6)


def blocks(apart, mixed, rate):
    """Rows (ms, kernel's mean, error of each block)."""
    rows = []
    for ms, count, times in BURNS:
        found = [block(apart, mixed, max(1, round(rate * ms)), count) for _ in range(times)]
        rows.append({"ms": ms, "kernel_us": statistics.median(k for k, _ in found) / 1e3,
                     "errors": [c / k - 1 for k, c in found]})
    return rows


@contextlib.contextmanager
def noise(server, scratch):
    """All noisy apps are called, while the block runs."""
    wrk = subprocess.Popen(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", "-c16", "-d600", "-s",
         str(noise_script(scratch)), f"http://127.0.0.1:{server.port}/"],
        stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        assert wrk.poll() is None, "wrk ended"
        yield
    finally:
        wrk.terminate()
        wrk.wait()


def charge(scratch):
    names = [f"noisy-{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(NOISY)]
    folders = [manifest(scratch, "apart", ["known", "empty"]),
               manifest(scratch, "mixed", ["known", "empty", *names])]
    apart, mixed = running = [Burner(f.name, f, scratch, folder=f) for f in folders]
    try:
        for server in running:
            server.start()
        rate = per_ms(apart)
        alone = blocks(apart, mixed, rate)
        with noise(mixed, scratch):
            among = blocks(apart, mixed, rate)
    finally:
        for server in running:
            server.stop()
    return [{"ms": a["ms"], "alone_kernel_us": a["kernel_us"], "among_kernel_us": b["kernel_us"],
             "alone": statistics.median(a["errors"]), "among": statistics.median(b["errors"]),
             "alone_blocks": a["errors"], "among_blocks": b["errors"]}
            for a, b in zip(alone, among)]


def noise_script(scratch):
    path = pathlib.Path(scratch) / "noise.lua"
    path.write_text('''local n = 0
request = function()
  n = (n + 1) %% %d
  return wrk.format("GET", string.format("/noisy-%%s%%s/burn?100",
      string.char(97 + math.floor(n / 26)), string.char(97 + n %% 26)))
end
''' % NOISY)
    return path


def bench(facts, scratch, only, steps):
    facts["run_s"] = RUN_S
    rows, share = cost(scratch, steps)
    burns = steps.do("charge", lambda: charge(scratch))
    print(report.table([("burn ms", 8, lambda r: str(r["ms"])),
                        ("alone us", 12, lambda r: f"{r['alone_kernel_us']:,.0f}"),
                        ("charged", 8, lambda r: f"{r['alone']:+.2%}"),
                        ("among 50 us", 12, lambda r: f"{r['among_kernel_us']:,.0f}"),
                        ("charged", 8, lambda r: f"{r['among']:+.2%}")], burns))
    worst = max(abs(r[k]) for r in burns for k in ("alone", "among"))
    print(f"metering costs {share:.2%} of throughput (must 2 %, aim 0.5 %); "
          f"largest error of a charge {worst:.2%} (must 5 %, aim 2 %)")
    return {"rows": rows, "cost": share, "burns": burns, "worst": worst}, None
