"""Holds every function of every version of the interfaces to state to one success and one failure.

    python3 tools/store_functions.py OUTCOMES_DIR

OUTCOMES_DIR holds what unit tests of the host wrote there (EBB_OUTCOMES of tests/host_kit.h). The
list below is of the interfaces' texts, not of what ebb has: a function without a row in src/host
was called by nobody and is named too. A failure is an error or none; for a function that has no
such result, a trap. The exit status is 1 if a proof is missing.
"""
import pathlib
import sys

KEY_VALUE = "get set delete exists get-keys"
INTERFACES = {
    "fermyon:spin/key-value": f"open {KEY_VALUE} close",
    "fermyon:spin/key-value@2.0.0": "[static]store.open " + " ".join(
        f"[method]store.{x}" for x in KEY_VALUE.split()),
    "wasi:keyvalue/store@0.2.0-draft2": "open " + " ".join(
        f"[method]bucket.{x}" for x in ("get", "set", "delete", "exists", "list-keys")),
    "wasi:keyvalue/batch@0.2.0-draft2": "get-many set-many delete-many",
    "wasi:keyvalue/atomics@0.2.0-draft2":
        "increment swap [static]cas.new [method]cas.current",
    "fermyon:spin/sqlite": "open execute close",
    "fermyon:spin/sqlite@2.0.0": "[static]connection.open [method]connection.execute",
    "spin:sqlite/sqlite@3.0.0":
        "[static]connection.open [method]connection.execute "
        "[method]connection.last-insert-rowid [method]connection.changes",
    "fermyon:spin/variables@2.0.0": "get",
    "fermyon:spin/config": "get-config",
    "wasi:config/store@0.2.0-draft-2024-09-27": "get get-all",
}
#: What says how a call ended only by ending it.
TRAPS = {"spin:sqlite/sqlite@3.0.0#[method]connection.last-insert-rowid",
         "spin:sqlite/sqlite@3.0.0#[method]connection.changes"}
#: Closing a handle that is not open does nothing, by its interface.
NEVER_FAILS = {"fermyon:spin/key-value#close", "fermyon:spin/sqlite#close"}


def outcomes(folder):
    """interface#name -> set of "ok", "error", "trap"."""
    result = {}
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            name, outcome = line.rsplit(" ", 1)
            result.setdefault(name, set()).add(outcome)
    return result


def wanted():
    return [f"{interface}#{name}" for interface, names in INTERFACES.items()
            for name in names.split()]


def unproved(had):
    for name in wanted():
        got = had.get(name, set())
        failure = "trap" if name in TRAPS else "error"
        if "ok" not in got:
            yield f"{name} never succeeds in a test"
        if failure not in got and name not in NEVER_FAILS:
            yield f"{name} never fails in a test"


def main():
    had = outcomes(pathlib.Path(sys.argv[1]))
    lines = list(unproved(had))
    known = set(wanted())
    lines += [f"{name} is not in the list of tools/store_functions.py" for name in sorted(had)
              if name.split("#")[0] in INTERFACES and name not in known]
    print("\n".join(lines + [f"{len(known)} functions, {len(lines)} proofs missing"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
