"""The stage `arguments`: 100,000 guests that call host functions with arguments that a seed makes
up, up to 400 calls each, in one process (tests/unit/host_hostile.c). What it holds after a
tenth of the time is compared with what it holds in the end, ten samples each."""
import contextlib
import os
import re
import statistics
import subprocess
import time

from harness import ROOT, resident_bytes

TEST = ROOT / "build" / "test_host_hostile"
SAMPLES, GROWN_MAX = 10, 4 << 20


def sample(pid):
    """Resident bytes and descriptors; nothing of a process that has just ended."""
    with contextlib.suppress(OSError, StopIteration):
        return resident_bytes(pid), len(os.listdir(f"/proc/{pid}/fd"))
    return None


def arguments_made_up(state, work, arguments):
    """Guests whose arguments are made up trap or are answered, and leave nothing."""
    rounds, log, samples = arguments.rounds, work / "test.log", []
    env = os.environ | {"EBB_ROUNDS": str(rounds), "EBB_SEED": str(state["seed"])}
    with open(log, "wb") as out:
        process = subprocess.Popen([TEST], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        while process.poll() is None:
            samples.append(sample(process.pid))
            yield f"{rounds} rounds, {samples[-1]}"
            time.sleep(0.1)  # the pace of the samples
    finally:
        process.kill()
        process.wait()
    said = log.read_text(errors="replace")
    assert process.returncode == 0, f"status {process.returncode}\n{said[-3000:]}"
    samples = [s for s in samples if s]
    assert len(samples) >= 4 * SAMPLES, "give more --rounds: it took less than four seconds"
    begin = len(samples) // 10
    early, late = samples[begin:begin + SAMPLES], samples[-SAMPLES:]
    memory = [round(statistics.median(s[0] for s in part)) for part in (early, late)]
    state["result"] = {
        "rounds": rounds, "calls_a_round_max": 400,
        "rows": re.search(r"\d+ of \d+ rows ended well", said)[0],
        "resident_bytes_early": memory[0], "resident_bytes_late": memory[1],
        "descriptors_early": [min(s[1] for s in early), max(s[1] for s in early)],
        "descriptors_late": [min(s[1] for s in late), max(s[1] for s in late)]}
    assert memory[1] - memory[0] <= GROWN_MAX, state["result"]
    # A guest has some open; those of the one before it close a turn later.
    assert state["result"]["descriptors_late"][0] <= max(s[1] for s in early), state["result"]
    yield "done"
