"""The group 'meter': what metering costs, and whether what it charges is right.

Cost: the throughput of the C hello with and without --no-meter, in turns. Charge: a guest burns the
same work again and again; what the kernel accounts to the worker for a burn, over that of a call
that burns nothing, is the truth, taken alone; the ledger's figure for the app, likewise over that
of an empty call, is held against it, alone and while 50 other apps of the same worker are called.
"""
import json
import pathlib
import subprocess
import time


import report
import servers
from common import GUESTS, measured, say
from servers import CLIENT_CORE, Ebb

RUN_S = 4
BURNS = ((1, 100), (10, 40), (100, 12), (1000, 4))  # milliseconds, calls
NOISY = 50


def cost(scratch, steps):
    pair = [Ebb("metered", GUESTS / "hello.wasm", scratch),
            Ebb("unmetered", GUESTS / "hello.wasm", scratch, "--no-meter")]
    rows = measured(pair, steps, RUN_S, 240)
    of = {r["name"]: r for r in rows}
    return rows, 1 - of["metered"]["rps"] / of["unmetered"]["rps"]


def manifest(scratch):
    folder = pathlib.Path(scratch) / "burners"
    folder.mkdir(exist_ok=True)
    lines = ["spin_manifest_version = 2", "[application]", 'name = "burners"']
    for name in ["known", "empty", *(f"noisy-{chr(97 + i // 26)}{chr(97 + i % 26)}"
                                     for i in range(NOISY))]:
        lines += ["[[trigger.http]]", f'route = "/{name}/..."', f'component = "{name}"',
                  f"[component.{name}]", f'source = "{GUESTS / "c-kitchen.wasm"}"']
    (folder / "spin.toml").write_text("\n".join(lines) + "\n")
    return folder


class Burner(Ebb):
    path = "/empty/burn?0"

    def get(self, path):
        done = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                               f"http://127.0.0.1:{self.port}{path}"], capture_output=True,
                              text=True, check=True)
        assert done.stdout == "200", (path, done.stdout)

    def worker_ns(self):
        for pid in servers.descendants(self.process.pid):
            if b"@worker" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                return sum(int((t / "schedstat").read_text().split()[0])
                           for t in pathlib.Path(f"/proc/{pid}/task").iterdir())
        raise RuntimeError("no worker")

    def charged(self, app):
        """(calls, nanoseconds) of an app so far, by the ledger."""
        socket = pathlib.Path(self.folder) / ".spin" / "ebb" / "admin.sock"
        done = subprocess.run(["curl", "-sS", "--unix-socket", socket, "http://n/v1/carbon/report"],
                              capture_output=True, text=True, check=True)
        for row in json.loads(done.stdout)["apps"]:
            if row["app"] == app:
                return row["calls"], row["cpu_s"] * 1e9
        return 0, 0


def calls(server, app, steps_n, count):
    """Kernel's and ledger's CPU nanoseconds for a call of that app, means over `count` calls."""
    kernel, charge = server.worker_ns(), server.charged(app)
    for _ in range(count):
        server.get(f"/{app}/burn?{steps_n}")
    used, after = server.worker_ns() - kernel, server.charged(app)
    assert after[0] - charge[0] == count
    return used / count, (after[1] - charge[1]) / count


def per_ms(server):
    """Thousand steps that take a millisecond."""
    server.get("/known/burn?1000")
    kernel, _ = calls(server, "known", 20000, 5)
    return 20000 / (kernel / 1e6)


def charge(scratch):
    folder = manifest(scratch)
    server = Burner("burners", folder, scratch, folder=folder)
    rows = []
    server.start()
    try:
        rate = per_ms(server)
        for ms, count in BURNS:
            steps_n = max(1, round(rate * ms))
            base = calls(server, "empty", 0, 50)
            alone = calls(server, "known", steps_n, count)
            noise = subprocess.Popen(
                ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", "-c16",
                 f"-d{ms * count // 200 + 6}", "-s", str(noise_script(scratch)),
                 f"http://127.0.0.1:{server.port}/"],
                stdout=subprocess.DEVNULL)
            time.sleep(1)
            among = calls(server, "known", steps_n, count)
            noise.terminate()
            noise.wait()
            truth = alone[0] - base[0]
            rows.append({"ms": ms, "calls": count, "kernel_us": truth / 1e3,
                         "alone": (alone[1] - base[1]) / truth - 1,
                         "among": (among[1] - base[1]) / truth - 1})
    finally:
        server.stop()
    return rows


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
                        ("kernel us", 12, lambda r: f"{r['kernel_us']:,.0f}"),
                        ("charged alone", 14, lambda r: f"{r['alone']:+.2%}"),
                        ("among 50", 10, lambda r: f"{r['among']:+.2%}")], burns))
    worst = max(abs(r[k]) for r in burns for k in ("alone", "among"))
    print(f"metering costs {share:.2%} of throughput (must 2 %, aim 0.5 %); "
          f"largest error of a charge {worst:.2%} (must 5 %, aim 2 %)")
    return {"rows": rows, "cost": share, "burns": burns, "worst": worst}, None
