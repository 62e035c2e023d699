"""Stages `serve-kill` and `serve-powercut`: a node of many tenants under load of deploys, tokens,
key-value writes, logs and plain requests, while each kind of its processes is killed, or the power
is cut. What holds over all of it:

- a deploy that was answered is what requests get from then on, and never an older one;
- a token that was answered works, one whose end was answered does not;
- key-value: what soak/durability.py demands of every history;
- a line once returned by the log API is returned again (at the end of every life the last LINES of
  the log are read);
- a plain request fails only when its worker is killed, and then once a connection; with another
  process killed none fails.

`serve-kill`: every kind of process in turn (worker, store, keeper, builder, supervisor), --kills
times each. After a kill of the supervisor the workers must serve on before the node is started
again. `serve-powercut`: everything is killed and every folder of the data is put back to what was
fsynced (tests/shim/io_shim.c), --kills times; of files that changed since, some stay.
"""
import contextlib
import hashlib
import http.client
import os
import random
import shutil
import signal
import threading
import time

import durability
from durability import Gone, History
from harness import Connection, guest, wait_for, write_app
from node import node

KINDS = ("worker", "store", "keeper", "builder", "supervisor")
HOST, PLAIN = "durable-default.localhost", "plain-default.localhost"
PLAIN_CLIENTS = 3
LINES = 10_000  # of a log, at most, in one answer

LOGS = f"""
spin_manifest_version = 2
[application]
name = "plain"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest('c-kitchen')}"
"""


class Client(Connection):
    """Of the app that keeps state."""

    def request(self, method, target, fields=(), body=None, host=HOST):
        return super().request(method, target, fields, body, host)


class Told(History):
    """And what the admin API was asked and has told."""

    def __init__(self):
        super().__init__()
        self.deploys = {"asked": 0, "acknowledged": 0, "seen": 0}
        self.tokens, self.revoked = {}, []  # number: text
        self.lines, self.lines_asked = set(), 0
        self.plain = self.failed = 0
        self.why = []  # the last that failed
        self.by_client = {}


def locked(text):
    """A deploy of an app that answers with this text, from a blob that the node has."""
    digest = hashlib.sha256(guest("c-kitchen").read_bytes()).hexdigest()
    return {"app": {
        "spin_lock_version": 0, "metadata": {"name": "turns", "triggers": {}},
        "triggers": [
            {"id": "a", "trigger_type": "http", "trigger_config":
             {"route": "/", "static_response": {"status_code": 200, "body": text}}},
            {"id": "b", "trigger_type": "http", "trigger_config":
             {"route": "/c", "component": "c"}}],
        "components": [{"id": "c", "source": {"content_type": "application/wasm",
                                              "digest": f"sha256:{digest}"},
                        "metadata": {"ebb": {"is_used": True}}}]}}


def api(n, *args, **more):
    try:
        status, answer = n.api(*args, **more)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise Gone from e
    if status in (500, 503):
        raise Gone
    return status, answer


def deploys(n, h, stop, chance):
    while not stop.is_set():
        h.deploys["asked"] += 1
        number = h.deploys["asked"]
        status, answer = api(n, "PUT", "/v1/tenants/default/apps/turns", locked(str(number)))
        assert status == 200, answer
        h.deploys["acknowledged"] = number
        look_at_deploys(n, h)


def look_at_deploys(n, h):
    least = max(h.deploys["acknowledged"], h.deploys["seen"])
    try:
        r = n.get("turns")
    except (OSError, ValueError, AssertionError) as e:
        raise Gone from e
    if r is None or r.status in (500, 503):
        raise Gone
    assert r.status == 200, r.status
    assert least <= int(r.text) <= h.deploys["asked"], (least, r.text, h.deploys)
    h.deploys["seen"] = int(r.text)


def tokens(n, h, stop, chance):
    path = "/v1/tenants/default/tokens"
    while not stop.is_set():
        status, made = api(n, "POST", path, {"role": "reader"})
        assert status == 201, made
        h.tokens[made["id"]] = made["token"]
        if len(h.tokens) > 20:
            number = chance.choice(list(h.tokens))
            text = h.tokens.pop(number)  # it may work or not, until its end was answered
            status, answer = api(n, "DELETE", f"{path}/{number}")
            assert status == 200, answer
            h.revoked.append(text)
        look_at_tokens(n, h, 1, chance)


def look_at_tokens(n, h, count, chance):
    known, gone = list(h.tokens.values()), h.revoked
    for text in chance.sample(known, min(count, len(known))):
        assert api(n, "GET", "/v1/whoami", token=text)[0] == 200
    if gone and count > 1:  # wrong ones are limited by address
        assert api(n, "GET", "/v1/whoami", token=chance.choice(gone))[0] in (401, 429)


def logs(n, h, stop, chance):
    while not stop.is_set():
        h.lines_asked += 1
        try:
            n.get("plain", f"/log?line-{h.lines_asked}-end")
        except (OSError, ValueError, AssertionError) as e:
            raise Gone from e
        if h.lines_asked % 10 == 0:
            h.lines |= lines(n)
        time.sleep(0.005)


def lines(n):
    status, text = api(n, "GET", f"/v1/tenants/default/apps/plain/logs?lines={LINES}")
    assert status == 200, text
    return {line for line in text.decode().splitlines() if "-end" in line}


def plain(n, h, stop, chance):
    """Every failure is counted; who may fail is known to the stage."""
    c = None
    while not stop.is_set():
        try:
            c = c or Connection(n)
            r = c.request("GET", "/hello", host=PLAIN)
            ok = r is not None and r.status == 200
            why = r and (r.status, r.body)
            if r is None or r.get("connection") == "close":
                c.close()
                c = None
        except (OSError, ValueError, AssertionError) as e:
            ok, c, why = False, None, repr(e)
        if stop.is_set():
            break
        with h.lock:
            h.plain += 1
            h.by_client[threading.get_ident()] = h.by_client.get(threading.get_ident(), 0) + 1
            h.failed += not ok
            if not ok:
                h.why = (h.why + [why])[-10:]
        if not ok:
            time.sleep(0.002)


def work(f, n, h, stop, seed, failures):
    chance = random.Random(seed)
    while not stop.is_set():
        try:
            f(n, h, stop, chance)
        except Gone:
            time.sleep(0.005)
        except BaseException as e:
            failures.append(e)
            return


@contextlib.contextmanager
def load(n, h, seed):
    stop, failures = threading.Event(), []
    h.by_client = {}
    loops = [deploys, tokens, logs] + [plain] * PLAIN_CLIENTS
    threads = [threading.Thread(target=work, args=(f, n, h, stop, seed + i, failures))
               for i, f in enumerate(loops)]
    threads += [threading.Thread(target=durability.client,
                                 args=(n, h, k, seed + k, stop, failures, Client))
                for k in range(durability.WRITERS)]
    for t in threads:
        t.start()
    try:
        yield failures, stop
    finally:
        stop.set()
        for t in threads:
            t.join()
    if failures:
        raise failures[0]


def settled(n):
    def up():
        with contextlib.suppress(OSError):
            return n.api("GET", "/healthz")[0] == 200
    wait_for(up, "the admin API")


def verify(n, h, chance):
    """After a life: all that was told is there."""
    settled(n)
    durability.verify(n, h, Client)
    if h.deploys["acknowledged"]:
        look_at_deploys(n, h)
    look_at_tokens(n, h, 10, chance)
    if h.lines:  # each request wrote one: those that the answer has room for
        recent = {x for x in h.lines
                  if int(x.split("line-")[1].split("-")[0]) > h.lines_asked - LINES}
        missing = recent - lines(n)
        assert not missing, f"{len(missing)} log lines were returned and are lost: {missing}"


def builders(n):
    return [p for k in n.children("keeper") for p in children_of(k)]


def children_of(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                found += map(int, f.read().split())
    return found


def pids_of(n, kind):
    return [n.process.pid] if kind == "supervisor" else builders(n) if kind == "builder" \
        else n.children(kind)


def below_supervisor(n):
    return builders(n) + [p for role in ("worker", "store", "keeper") for p in n.children(role)]


def kill_all(n):
    """Everything, at one moment as nearly as can be."""
    kill_these([n.process.pid, *below_supervisor(n)])
    n.process.wait()


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return " Z " in f.read()
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill_these(pids):
    for sent in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
    for pid in pids:
        wait_for(lambda p=pid: has_ended(p), "the end of a killed process")


@contextlib.contextmanager
def life(work_folder, token=None, env=None):
    """A node that may be killed as a whole: its exit status is nobody's business then."""
    with contextlib.ExitStack() as stack:
        n = stack.enter_context(node(work_folder, workers=2, token=token, env=env,
                                     may_die=True))
        yield n


def begin(work_folder, **more):
    """A node with the apps of the load; gives the operator's token."""
    shutil.rmtree(work_folder, ignore_errors=True)
    work_folder.mkdir()
    app = write_app(work_folder / "app", durability.APP)
    with node(work_folder, workers=2, **more) as n:
        n.run("deploy", "-f", app)
        n.run("deploy", "-f", write_app(work_folder / "plain", LOGS))
        n.run("sqlite", "durable", "create table if not exists t (id integer primary key, v text)")
        n.run("kv", "durable", "set", "made", "yes")
        return n.token


def plain_more(h, k, failures):
    """Each client of this life has k more answers, or failures."""
    wait_for(lambda: len(h.by_client) == PLAIN_CLIENTS or failures, "all clients")
    with h.lock:
        goals = {client: n + k for client, n in h.by_client.items()}
    wait_for(lambda: failures or all(h.by_client[c] >= n for c, n in goals.items()),
             f"{k} more plain requests of each client")


def kill_one(n, h, kind, chance, failures):
    """One kill; plain requests must not feel it unless it was their worker's."""
    pids = wait_for(lambda: pids_of(n, kind), f"a {kind}")
    pid, before = chance.choice(pids), h.failed
    os.kill(pid, signal.SIGKILL)
    plain_more(h, 10, failures)
    failed = h.failed - before
    most = 2 * PLAIN_CLIENTS if kind == "worker" else 0
    assert failed <= most, f"{failed} plain requests failed with a {kind} killed: {h.why}"
    if kind == "builder":  # it comes back with the next keeper
        for keeper in n.children("keeper"):
            os.kill(keeper, signal.SIGKILL)
    if kind not in ("supervisor",):
        wait_for(lambda: [p for p in pids_of(n, kind) if p != pid], f"another {kind}")
        settled(n)


def kill(state, work_folder, arguments):
    """Each kind of process is killed --kills times under load."""
    h, chance = Told(), random.Random(arguments.seed)
    token = begin(work_folder)
    plan = [kind for kind in KINDS for _ in range(arguments.kills)]
    chance.shuffle(plan)
    killed = dict.fromkeys(KINDS, 0)
    while plan:
        with life(work_folder, token) as n:
            verify(n, h, chance)
            with load(n, h, arguments.seed + len(plan)) as (failures, stop):
                plain_more(h, 20, failures)
                while plan and not failures:
                    kind = plan.pop()
                    rest = below_supervisor(n)
                    kill_one(n, h, kind, chance, failures)
                    killed[kind] += 1
                    yield f"{sum(killed.values())} kills, {h.plain} plain requests"
                    if kind == "supervisor":
                        stop.set()
                        kill_these(rest)
                        break
    with life(work_folder, token) as n:
        verify(n, h, chance)
    state["result"] = outcome(h, killed=killed)
    yield "done"


def outcome(h, **more):
    return durability.result(h, **more, deploys=h.deploys["acknowledged"],
                             tokens=len(h.tokens) + len(h.revoked), tokens_revoked=len(h.revoked),
                             log_lines=len(h.lines), plain_requests=h.plain,
                             plain_requests_failed=h.failed)


# --- power cuts -----------------------------------------------------------------------------------

def durable_folders(data):
    """All folders whose names and files count, each with a folder for what is durable of it."""
    named = [data, data / "state", data / "blobs", data / "blobs/sha256", data / "files",
             data / "logs"]
    named += [p for folder in ("state", "logs", "blobs/sha256")
              for p in (data / folder).iterdir() if p.is_dir() and p.name[0] != "."]
    return named


def remember_all(data):
    """What is there is durable."""
    for folder in durable_folders(data):
        durable = folder / ".durable"
        shutil.rmtree(durable, ignore_errors=True)
        durable.mkdir()
        durable.chmod(0o777)
        names = []
        for p in folder.iterdir():
            if p.name[0] != ".":
                names.append(f"{p.name} {p.stat().st_ino}\n")
                if p.is_file():
                    shutil.copyfile(p, durable / str(p.stat().st_ino))
        (durable / "names").write_text("".join(names))


def put_back(data, chance):
    """Every folder as a power cut leaves it."""
    lost = kept = 0
    for folder in durable_folders(data):
        durable = folder / ".durable"
        if not durable.exists() or not folder.exists():
            continue  # a folder that is new: its own name decides
        names = dict(line.rsplit(" ", 1) for line in (durable / "names").read_text().splitlines())
        for p in list(folder.iterdir()):
            if p.name[0] == "." or p.is_socket():
                continue
            inode, keep = str(p.stat().st_ino), chance.random() < 0.3
            copy = durable / inode
            if p.name not in names and not keep:
                lost += 1
                shutil.rmtree(p) if p.is_dir() else p.unlink()
            elif p.is_file() and keep:
                kept += 1
            elif p.is_file():
                content = copy.read_bytes() if copy.exists() else b""
                lost += p.read_bytes() != content
                owner = p.stat()
                p.chmod(0o600)
                p.write_bytes(content)
                p.chmod(owner.st_mode & 0o7777)
        for name, inode in names.items():  # what was taken away, and nobody has said so for good
            there = (folder / name).exists() or not (durable / inode).exists()
            if not there and chance.random() < 0.5:
                shutil.copyfile(durable / inode, folder / name)
    for p in data.rglob("*-shm"):
        p.unlink()
    return lost, kept


def power_cut(state, work_folder, arguments):
    """--kills power cuts under load."""
    h, chance = Told(), random.Random(arguments.seed)
    token = begin(work_folder)
    data = work_folder / "data"
    env = {"LD_PRELOAD": str(durability.SHIM), "IO_SHIM_DURABLE": ".durable"}
    lost = kept = 0
    for cut in range(arguments.kills):
        remember_all(data)
        with life(work_folder, token, env) as n:
            verify(n, h, chance)
            with load(n, h, arguments.seed + 100 * cut) as (failures, stop):
                until = h.operations + chance.randrange(50, 500)
                wait_for(lambda: h.operations >= until or failures, "operations")
                stop.set()
                kill_all(n)
        a, b = put_back(data, chance)
        lost += a
        kept += b
        yield f"{cut + 1} cuts, {h.operations} operations, {h.deploys['acknowledged']} deploys"
    with life(work_folder, token) as n:
        verify(n, h, chance)
    state["result"] = outcome(h, cuts=arguments.kills, files_put_back=lost, files_kept=kept)
    yield "done"
