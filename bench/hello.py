"""The group 'hello': requests per second where every request meets a new instance."""
import common
import report
import servers
from common import GUESTS
from servers import Ebb, Server, Wasmtime, ebb_with

RUN_S = 4
GROUP_S_MAX = 480

#: The setting of a component under which ebb keeps no instances.
NEW = ("[component.c.tool.ebb]", "restore = false")


def peers(scratch):
    yield Server("floor", [servers.compile_floor(scratch), "PORT"], scratch)
    yield Server("node http", [servers.NODE, servers.PEERS / "node.mjs", "PORT"], scratch)
    yield Server("workerd", [servers.workerd(), "serve", servers.PEERS / "workerd.capnp",
                             "--socket-addr", "http=127.0.0.1:PORT"], scratch)


def guest(language, wasm, scratch):
    yield Ebb(f"ebb {language}", wasm, scratch)
    yield Wasmtime(f"wasmtime {language}", wasm, scratch)
    yield Wasmtime(f"wasmtime+ {language}", wasm, scratch, *servers.WASMTIME_TUNED)


def all_servers(scratch):
    yield from peers(scratch)
    for language, name in (("C", "hello"), ("Rust", "rust-hello-spin")):
        wasm = GUESTS / f"{name}.wasm"
        yield from guest(language, wasm, scratch)
        yield ebb_with(f"ebb new {language}", wasm, scratch, *NEW, optional=True)


def figures(runs):
    found = []
    common.against(found, runs, "C, new instances", "ebb new C", [
        ("part of the floor", runs.get("floor"), 0.22, 0.32),
        ("times Node", runs.get("node http"), 0.7, 1.0),
        ("times the better wasmtime serve", common.better_wasmtime(runs, "C"), 2.8, 4.0)])
    common.against(found, runs, "Rust (spin-sdk 5), new instances", "ebb new Rust", [
        ("times the better wasmtime serve", common.better_wasmtime(runs, "Rust"), 3.0, 5.0)])
    return found


def bench(facts, scratch, only, steps):
    facts["run_s"] = RUN_S
    rows = common.measured(common.chosen(all_servers(scratch), only), steps, RUN_S, GROUP_S_MAX)
    found = figures(common.runs_of(rows))
    print(common.table(rows))
    print(report.figures(found))
    return {"rows": rows, "figures": found}, common.picture(
        "Hello, one core; 'ebb new' and wasmtime serve make an instance for each request", rows)
