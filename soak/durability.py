"""Stages `kill` and `powercut`: no acknowledged write is lost, no file damaged, and the history of
gets, sets, increments and swaps has no anomaly.

Clients write and read through two workers while processes are killed (`kill`), or while all of them
are killed at once and the state folder is put back to what was fsynced (`powercut`, by
tests/shim/io_shim.c; of files that changed since, some keep their content at random, because a
kernel may have written it). Everything that a client was told, and when, is kept and checked:

- a key with one writer: a read gives a value not older than the last one acknowledged before it
  began, nor one not yet asked for when it ended; and no read gives an older value than a read that
  had ended before it began;
- increments: no sum is given twice, sums grow in time, and at the end the sum lies between the
  increments acknowledged and those asked for; the same for a number counted up by swaps;
- SQL: every row acknowledged is there; `pragma integrity_check` says ok.
"""
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import threading
import time

from harness import ROOT, Connection, guest, serving, wait_for, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "durable"
[[trigger.http]]
route = "/..."
component = "k"
[[trigger.http]]
route = "/sql/..."
component = "s"
[component.k]
source = "{guest('c-keyvalue')}"
key_value_stores = ["default"]
[component.s]
source = "{guest('c-sqlite')}"
sqlite_databases = ["default"]
"""
WRITERS = 4
KILLS, CUTS = 300, 100
SHIM = ROOT / "build" / "ebb-io-shim.so"
FILES = ("sqlite_key_value.db", "sqlite_db.db")


class History:
    """What clients asked and were told, over all lives of the server."""

    def __init__(self):
        self.lock = threading.Lock()
        self.asked = [0] * WRITERS         # the last value a writer asked to set
        self.acknowledged = [0] * WRITERS  # the last one it was told of
        self.newest_read = [0] * WRITERS   # by a read that has ended
        self.increments = {"asked": 0, "acknowledged": 0, "newest": 0, "seen": set()}
        self.swaps = {"asked": 0, "acknowledged": 0}
        self.rows_asked = self.rows = 0
        self.rows_acknowledged = set()
        self.operations = self.refused = 0
        self.file = None                   # where keys are kept

    def kept(self, key):
        """What the file holds: tells a stale read from a lost write."""
        with contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as db:
            row = db.execute("select value from spin_key_value where key = ?", (key,)).fetchone()
            return row and row[0].decode()


class Gone(Exception):
    """The server was killed, or could not say whether it did what it was asked."""


def ask(c, h, target, body=None):
    """The answer's text; Gone if there is none or it is an error."""
    try:
        r = c.request("POST" if body else "GET", target, body=body)
    except (OSError, ValueError, AssertionError) as e:
        raise Gone from e
    if r is None:
        raise Gone
    with h.lock:
        h.operations += 1
        if r.status != 200:
            h.refused += 1
    if r.status in (500, 503):
        raise Gone
    return r


def write(c, h, k):
    with h.lock:
        h.asked[k] += 1
        value = h.asked[k]
    ask(c, h, f"/v2/set?default&key{k}&{value}")
    with h.lock:
        h.acknowledged[k] = value
    read(c, h, k)


def read(c, h, k):
    with h.lock:
        least = max(h.acknowledged[k], h.newest_read[k])
    r = ask(c, h, f"/v2/get?default&key{k}")
    value = int(r.text) if r.status == 200 else 0
    with h.lock:
        assert least <= value <= h.asked[k], \
            f"key{k}: read {value}; acknowledged or read before: {least}, asked: {h.asked[k]}, " \
            f"kept: {h.kept(f'key{k}')}"
        h.newest_read[k] = max(h.newest_read[k], value)


def increment(c, h, k):
    i = h.increments
    with h.lock:
        i["asked"] += 1
        least = i["newest"]
    value = int(ask(c, h, "/increment?default&sum&1").text)
    with h.lock:
        assert value not in i["seen"], f"the sum {value} was given twice"
        assert least < value <= i["asked"], f"sum {value}; seen before {least}, asked {i['asked']}"
        i["seen"].add(value)
        i["newest"] = max(i["newest"], value)
        i["acknowledged"] += 1


def swap(c, h, k):
    with h.lock:
        h.swaps["asked"] += 1
    ask(c, h, "/add?default&swapped")
    with h.lock:
        h.swaps["acknowledged"] += 1


def insert(c, h, k):
    with h.lock:
        h.rows_asked += 1
        row = h.rows_asked
    r = ask(c, h, "/sql/v2/run?default", f"insert into t values ({row}, 'row {row}')".encode())
    assert r.status == 200, r.text
    with h.lock:
        h.rows_acknowledged.add(row)


def client(server, h, k, seed, stop, failures, connect=Connection):
    """Works until told to stop; a connection that breaks is made again."""
    chance = random.Random(seed)
    while not stop.is_set():
        try:
            with connect(server) as c:
                while not stop.is_set():
                    write(c, h, k)
                    chance.choice((increment, swap, insert))(c, h, k)
                    read(c, h, chance.randrange(WRITERS))
        except Gone:
            time.sleep(0.002)
        except (ConnectionError, OSError):
            time.sleep(0.01)
        except BaseException as e:
            failures.append(e)
            return


@contextlib.contextmanager
def load(server, h, seed):
    stop, failures = threading.Event(), []
    threads = [threading.Thread(target=client, args=(server, h, k, seed + k, stop, failures))
               for k in range(WRITERS)]
    for t in threads:
        t.start()
    try:
        yield failures
    finally:
        stop.set()
        for t in threads:
            t.join()
    if failures:
        raise failures[0]


def verify(server, h, connect=Connection):
    """All that was acknowledged is there, after the last writer has stopped."""
    with connect(server) as c:
        for k in range(WRITERS):
            read(c, h, k)
            # What was asked for and not answered has happened or never will: from here on, both.
            r = c.request("GET", f"/v2/get?default&key{k}")
            value = int(r.text) if r.status == 200 else 0
            h.acknowledged[k] = h.newest_read[k] = value
        total = int(c.request("GET", "/increment?default&sum&0").text)
        i = h.increments
        assert i["acknowledged"] <= total <= i["asked"], (total, i["acknowledged"], i["asked"])
        i["acknowledged"] = i["newest"] = total
        r = c.request("GET", "/v2/get?default&swapped")
        swapped = int(r.text) if r.status == 200 else 0
        s = h.swaps
        assert s["acknowledged"] <= swapped <= s["asked"], (swapped, s)
        s["acknowledged"] = swapped
        lines = c.request("POST", "/sql/v2/run?default", body=b"select id from t").text.split("\n")
        there = {int(x[1:]) for x in lines[1:] if x}
        assert h.rows_acknowledged <= there, sorted(h.rows_acknowledged - there)[:20]
        assert max(there, default=0) <= h.rows_asked
        h.rows_acknowledged = there


def integrity(folder):
    for name in FILES:
        with contextlib.closing(sqlite3.connect(folder / name)) as db:
            said = db.execute("pragma integrity_check").fetchall()
            assert said == [("ok",)], (name, said)


def processes(server):
    return {"supervisor": [server.process.pid], "worker": server.children("worker"),
            "store": server.children("store"), "keeper": server.children("keeper")}


def kill_all(server):
    pids = [p for group in processes(server).values() for p in group]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # at one moment, as nearly as can be
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait()
    for pid in pids:
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}")
                 or " Z " in open(f"/proc/{pid}/stat").read(), "the end of a killed process")


def life(app, work, *options, env=None):
    """A server that may be killed as a whole: its exit status is nobody's business."""
    @contextlib.contextmanager
    def run():
        with contextlib.suppress(AssertionError):
            with serving(app, work, *options, workers=2, env=env) as server:
                try:
                    yield server
                except AssertionError as e:
                    raise RuntimeError(str(e)) from e
    return run()


def fresh(work):
    app = work / "app"
    shutil.rmtree(app, ignore_errors=True)
    for log in work.glob("*.log"):
        log.unlink()
    return write_app(app, APP)


TABLE = ("--sqlite", "create table if not exists t (id integer primary key, v text)")


def result(h, **more):
    return {**more, "operations": h.operations, "refused": h.refused,
            "increments": h.increments["acknowledged"], "swaps": h.swaps["acknowledged"],
            "rows": len(h.rows_acknowledged), "writers": WRITERS, "workers": 2,
            "lost": 0, "anomalies": 0, "damaged_files": 0}


def kill(state, work, arguments):
    """300 times kill -9 of a process at random under load; now and then of the supervisor, and then
    everything else is killed too and started again."""
    app, h, chance = fresh(work), History(), random.Random(arguments.seed)
    h.file = app / ".spin" / FILES[0]
    killed = dict.fromkeys(("worker", "store", "all"), 0)
    while sum(killed.values()) < KILLS:
        with life(app, work, *TABLE) as server:
            verify(server, h)
            with load(server, h, arguments.seed + sum(killed.values())) as failures:
                while sum(killed.values()) < KILLS and not failures:
                    time.sleep(chance.uniform(0.02, 0.25))
                    which = chance.choices(("worker", "store", "all"), (45, 45, 10))[0]
                    if which == "all":
                        kill_all(server)
                        killed["all"] += 1
                        break
                    pids = wait_for(lambda: server.children(which), f"a {which}")
                    pid = chance.choice(pids)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    killed[which] += 1
                    yield f"{sum(killed.values())} kills, {h.operations} operations"
        integrity(app / ".spin")
    with life(app, work) as server:
        verify(server, h)
    state["result"] = result(h, kills=sum(killed.values()), killed=killed)
    yield "done"


def power_cut(state, work, arguments):
    """100 power cuts: everything is killed and the disk is what was fsynced."""
    app, h, chance = fresh(work), History(), random.Random(arguments.seed)
    folder, durable = app / ".spin", app / ".spin" / ".durable"
    h.file = folder / FILES[0]
    durable.mkdir(parents=True)
    (durable / "names").write_text("")
    env = {"LD_PRELOAD": str(SHIM), "IO_SHIM_DURABLE": ".durable"}
    left_as_it_was = changed = 0
    for cut in range(CUTS):
        with life(app, work, *TABLE, env=env) as server:
            verify(server, h)
            with load(server, h, arguments.seed + 10 * cut) as failures:
                until = h.operations + chance.randrange(50, 800)
                wait_for(lambda: h.operations >= until or failures, "operations")
                kill_all(server)
        kept, lost = put_back(folder, durable, chance)
        left_as_it_was += kept
        changed += lost
        yield f"{cut + 1} cuts, {h.operations} operations"
    with life(app, work) as server:
        verify(server, h)
    integrity(folder)
    state["result"] = result(h, cuts=CUTS, files_put_back=changed, files_kept=left_as_it_was)
    yield "done"


def put_back(folder, durable, chance):
    """The folder as a power cut leaves it. Of the files that are durable by name, those that
    changed since their last fsync keep what they have or lose it, at random."""
    names = dict(line.rsplit(" ", 1) for line in (durable / "names").read_text().splitlines())
    now = {p.name: str(p.stat().st_ino) for p in folder.iterdir() if p.is_file()}
    kept = lost = 0
    content = {}
    for name, inode in names.items():
        if (folder / name).is_dir():
            continue  # the platform's own book, which is not judged here
        copy = durable / inode
        synced = copy.read_bytes() if copy.exists() else b""
        if now.get(name) == inode and chance.random() < 0.3:
            content[name] = (folder / name).read_bytes()
            kept += 1
        else:
            lost += now.get(name) != inode or (folder / name).read_bytes() != synced
            content[name] = synced
    for name in now:
        (folder / name).unlink()
    for p in durable.iterdir():
        p.unlink()
    for name, data in content.items():
        if name.endswith("-shm"):
            continue  # shared memory, not a file that anybody relies on
        (folder / name).write_bytes(data)
    lines = []
    for name in content:
        if (folder / name).exists():
            inode = (folder / name).stat().st_ino
            shutil.copy(folder / name, durable / str(inode))
            lines.append(f"{name} {inode}\n")
    (durable / "names").write_text("".join(lines))
    return kept, lost
