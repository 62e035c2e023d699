"""A bench in steps, so that it can be run in slices: each step's result is kept in build/bench/ as
soon as it is there, and the next slice goes on after it.

Slices belong together only while commit and choice of rows are the same; otherwise, and after a
bench that came to its end, the next one begins anew.
"""
import json
import time

from servers import ROOT


class TimeIsUp(Exception):
    """The slice is over; what is done is kept."""


class Steps:
    """`seconds`: how long this slice may go on beginning steps; None: to the end."""

    def __init__(self, group, key, seconds):
        self.path = ROOT / "build" / "bench" / f"{group}.json"
        self.end = time.monotonic() + seconds if seconds else None
        self.kept = {"key": key, "spent_s": 0.0, "done": {}}
        if seconds and self.path.exists():
            kept = json.loads(self.path.read_text())
            if kept["key"] == key:
                self.kept = kept

    def is_done(self, name):
        return name in self.kept["done"]

    def do(self, name, function):
        """The result of function(), which must be JSON, from an earlier slice if it was done."""
        if self.is_done(name):
            return self.kept["done"][name]
        begin = time.monotonic()
        if self.end and begin > self.end:
            raise TimeIsUp
        result = function()
        self.kept["done"][name] = result
        self.kept["spent_s"] += time.monotonic() - begin
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.kept))
        return result

    @property
    def spent_s(self):
        return self.kept["spent_s"]

    def finish(self):
        self.path.unlink(missing_ok=True)
