"""The queue of deferred calls over PostgreSQL: what it does over a file, and two nodes on it."""
import json
import os
import subprocess
from pathlib import Path

import pytest

from backends import postgres
from harness import EBB

BUILD = Path(EBB).parent
CALLS = 300


@pytest.fixture(scope="module")
def database():
    with postgres() as server:
        yield server


def run(database, *command):
    return subprocess.run([BUILD / command[0], *command[1:]], capture_output=True, text=True,
                          timeout=300, check=False,
                          env=os.environ | {"EBB_QUEUE_URL": database.url})


def test_what_a_file_does(database):
    """The same unit tests, over PostgreSQL."""
    for tests in ("test_store_queue", "test_store_queue_many"):
        done = run(database, tests)
        assert done.returncode == 0, done.stdout + done.stderr
    assert database.ask("select count(*) from ebb_call") == "0"
    assert database.ask("select count(*) from ebb_body, ebb_outcome") == "0"


def test_two_nodes_share_a_queue(database):
    """Each call is leased once; what a dead node had leased moves, and not before it expires."""
    done = run(database, "ebb-queue-kit", "share", database.url, str(CALLS))
    assert done.returncode == 0, done.stderr
    r = json.loads(done.stdout)
    assert r["done"] == r["all"] == r["calls"] == CALLS
    assert r["leased_twice"] == 0
    assert r["moved"] == r["leases"] - CALLS > 0
    assert min(r["by_the_dead"], r["by_the_other"]) > 0


def test_what_calls_say_is_sealed(database):
    text = database.ask("select encode(request, 'escape') from ebb_body limit 1")
    assert text and "\\000" * 8 not in text  # the kit's calls are zeros
