"""What the processes may not do (design section 2): seen from outside, and tried from inside by the
probe (src/platform/probe.c), as the user who runs the tests and, if that is root, as another."""
import errno
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import EBB, SANITIZED, fetch, guest, serving, wait_for, write_app

IS_ROOT = os.geteuid() == 0
OTHER_USER = 4242

APP = f"""
spin_manifest_version = 2
[application]
name = "sandbox"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest('c-kitchen')}"
files = ["a.txt"]
"""

#: What a worker must not do, and how it is refused.
REFUSED = """new-process write-artifact cut-artifact new-artifact remove-artifact replace-artifact
link-artifact foreign-file foreign-settings foreign-folder foreign-write foreign-secrets
resolver-write own-memory trace-parent read-parent signal-parent signal-thread limit-parent
socket-unix socket-raw socket-raw6 socket-packet socket-netlink socket-vsock socket-seqpacket
become-root new-namespace mount bpf uring perf keys userfaultfd terminal map-code change-code
run-program run-itself""".split()
ALLOWED_WORKER = ["read-artifact", "resolver-settings", "socket-tcp"]
#: Refused by landlock and permissions; the others by seccomp.
BY_FILES = {"write-artifact", "cut-artifact", "new-artifact", "remove-artifact",
            "replace-artifact", "link-artifact", "foreign-file", "foreign-folder",
            "foreign-settings", "foreign-write", "foreign-secrets",
            "resolver-write", "own-memory"}


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


@pytest.fixture(params=["us", "another user"] if IS_ROOT else ["us"])
def place(request):
    """A folder that everybody may enter, with ebb in it, and how to start things there."""
    with tempfile.TemporaryDirectory(prefix="ebb-sandbox-", dir="/tmp") as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        (folder / "bin").mkdir()
        (folder / "lib").mkdir()
        shutil.copy(EBB, folder / "bin" / "ebb")
        said = subprocess.run(["ldd", EBB], capture_output=True, text=True, check=True).stdout
        for line in said.splitlines():
            if "libwasmtime" in line:
                shutil.copy(line.split("=>")[1].split()[0], folder / "lib")
        (folder / "artifact").mkdir()
        (folder / "artifact" / "plan").write_text("plan")
        mine = folder / "home"
        mine.mkdir()
        if request.param == "another user":
            for path in (mine, folder / "artifact", folder / "artifact" / "plan"):
                os.chown(path, OTHER_USER, OTHER_USER)
            yield folder, ["setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}",
                           "--clear-groups"]
        else:
            yield folder, []


def probe(place, *arguments):
    folder, prefix = place
    # from the folder: where the tests run, others may not look
    return subprocess.run([*prefix, folder / "bin" / "ebb", "@probe", arguments[0],
                           folder / "artifact", *arguments[1:]],
                          capture_output=True, text=True, timeout=60, cwd=folder)


def answers(done):
    return {k: int(v) for k, v in (line.split() for line in done.stdout.splitlines())}


def test_a_worker_can_do_none_of_it(place):
    done = probe(place, "worker")
    got = answers(done)
    assert done.returncode == 0, done
    # Where no filter stops it, the probe becomes what it starts: the rest is not tried.
    started = {"run-itself", "run-program"} if SANITIZED else set()
    assert set(got) >= set(REFUSED + ALLOWED_WORKER) - started, done
    assert got["user"] == (OTHER_USER if place[1] else 65534 if IS_ROOT else os.getuid())
    if SANITIZED:  # their runtimes need what the filters refuse: only the user is changed
        return
    assert got["landlock"] == 1
    assert [k for k in ALLOWED_WORKER if got[k] != 0] == []
    wrong = {k: errno.errorcode.get(got[k], got[k]) for k in REFUSED
             if got[k] not in ((errno.EACCES, errno.EPERM) if k in BY_FILES else (errno.EPERM,))}
    assert wrong == {}
    assert (place[0] / "artifact" / "plan").read_text() == "plan"
    assert [p.name for p in (place[0] / "artifact").iterdir()] == ["plan"]


@pytest.mark.parametrize("kind", ["decode", "compile"])
def test_decode_and_compile_are_killed_for_it(place, kind):
    """They get descriptors and need no other; so not even reading an artifact is left."""
    for action in REFUSED + ALLOWED_WORKER:
        done = probe(place, kind, action)
        if SANITIZED:
            assert done.returncode == 0, (action, done)
        else:
            assert done.returncode == -signal.SIGSYS, (action, done)


def test_the_probe_can_fail(place):
    """Unconfined, what needs no privilege works: so the refusals above are the sandbox's."""
    for action in ("foreign-file", "foreign-folder", "foreign-settings", "socket-unix",
                   "socket-netlink", "map-code", "change-code", "new-process", "write-artifact",
                   "read-artifact"):
        got = answers(probe(place, "free", action))
        assert got[action] == 0, (action, got)
    assert "ebb" in probe(place, "free", "run-itself").stdout


def test_workers_run_without_privileges(tmp_path, workers):
    app = write_app(tmp_path / "app", APP, {"a.txt": "a file"})
    with serving(app, tmp_path, workers=workers) as server:
        assert fetch(server, "/file?a.txt").text == "a file"
        for pid in server.children("worker"):
            status = status_of(pid)
            assert status["NoNewPrivs"].strip() == "1"
            # sanitizer runtimes need calls that the filter refuses, so they run without it
            assert status["Seccomp"].strip() == ("0" if SANITIZED else "2")
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            uids = set(status["Uid"].split())
            assert uids == {"65534" if IS_ROOT else str(os.getuid())}
            if IS_ROOT:
                assert status["Groups"].split() == []
        assert "landlock" not in server.log()


def test_another_user_serves_as_well(place, workers):
    """The whole way as a user without privileges, or as root who gives them up."""
    folder, prefix = place
    app = write_app(folder / "app", APP.replace(str(guest("c-kitchen")), "app.wasm"),
                    {"a.txt": "a file", "app.wasm": guest("c-kitchen").read_bytes()})
    command = [*prefix, folder / "bin" / "ebb", "up", "-f", app, "--listen", "127.0.0.1:0",
               "--json", "--workers", str(workers), "--cache-dir", folder / "home" / "cache",
               "--state-dir", "", "--quiet"]
    from harness import Server, environment
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log,
                                   text=True, env=environment() | {"HOME": str(folder / "home"),
                                   "PATH": "/usr/bin:/bin"}, cwd=folder)
    try:
        server = Server(process, folder / "log").await_ready()
        assert fetch(server, "/file?a.txt").text == "a file"
        assert fetch(server, "/hello").status == 200
        for artifact in (folder / "home" / "cache" / "artifacts").glob("*/*"):
            assert artifact.stat().st_uid == (OTHER_USER if prefix else os.getuid())
            assert artifact.stat().st_mode & 0o222 == 0
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()


def test_without_landlock_there_is_one_clear_warning(tmp_path, workers):
    app = write_app(tmp_path / "app", APP, {"a.txt": "a file"})
    with serving(app, tmp_path, "--no-landlock", workers=workers) as server:
        assert fetch(server, "/file?a.txt").text == "a file"
        wait_for(lambda: server.log_lines("message"), "the warning")
        warnings = [r for r in server.log_lines("message") if "landlock" in r["text"]]
        assert len(warnings) == 1 and warnings[0]["level"] == "warn"


def test_no_component_api_is_called():
    """ebb brings its own component model: the binary imports no symbol of Wasmtime's."""
    symbols = subprocess.run(["nm", "-D", "--undefined-only", EBB], capture_output=True, text=True,
                             check=True).stdout
    assert "wasmtime_module_deserialize_file" in symbols
    assert "wasmtime_component" not in symbols


@pytest.mark.parametrize("role", ["decode", "compile"])
def test_a_role_without_its_descriptors_says_so(role):
    """The roles trust nothing about how they were started."""
    done = subprocess.run([EBB, f"@{role}"], capture_output=True, timeout=60, close_fds=True)
    assert done.returncode != 0
