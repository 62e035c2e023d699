"""The TOML reader against two judges: the toml-test suite, and Python's tomllib on random texts.

Both talk to ebb-toml-decode, which prints the tagged JSON of the suite. The suite is a Go module
(pinned below); it is taken from the folder in EBB_TOML_TEST or fetched with the go command.
"""
import datetime
import json
import math
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness import EBB, SANITIZED

DECODE = Path(EBB).parent / "src" / "app" / "ebb-toml-decode"
SUITE = "github.com/toml-lang/toml-test/v2@v2.2.0"
SUITE_SUM = "h1:q3ELZu7oPnpl9TClC6OOcAccXwj+jwAyFP8WvzBdK1M="


def decode(text):
    """(tagged JSON or None, message)."""
    done = subprocess.run([DECODE], input=text, capture_output=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr.decode()
    message = done.stderr.decode()
    assert "ERROR" not in message and "runtime error" not in message, message
    if done.returncode:
        assert re.match(r"stdin:(\d+:\d+: )?\w", message), message
        return None, message
    return json.loads(done.stdout), message


# --- the suite ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def suite():
    if "EBB_TOML_TEST" in os.environ:
        return Path(os.environ["EBB_TOML_TEST"])
    if not shutil.which("go"):
        pytest.skip("needs the go command, or the suite's tests/ folder in EBB_TOML_TEST")
    done = subprocess.run(["go", "mod", "download", "-json", SUITE], capture_output=True, cwd="/",
                          text=True, check=True)
    module = json.loads(done.stdout)
    assert module["Sum"] == SUITE_SUM
    return Path(module["Dir"]) / "tests"


def canonical(value):
    """Tagged JSON in a form where equal values are equal."""
    if isinstance(value, list):
        return [canonical(x) for x in value]
    if set(value) != {"type", "value"} or not isinstance(value["value"], str):
        return {k: canonical(v) for k, v in value.items()}
    kind, text = value["type"], value["value"]
    if kind == "float":
        number = float(text)
        return (kind, "nan" if math.isnan(number) else number)
    if kind == "integer":
        return (kind, int(text))
    if kind.startswith(("date", "time")):
        text = re.sub(r"(\.\d*?)0+(?=\D|$)", r"\1", text.upper().replace(" ", "T"))
        text = re.sub(r"\.(?=\D|$)", "", text).replace("+00:00", "Z")
    return (kind, text)


def test_suite(suite):
    names = [n for n in (suite / "files-toml-1.0.0").read_text().split() if n.endswith(".toml")]
    assert len(names) > 600
    wrong = []
    for name in names:
        value, message = decode((suite / name).read_bytes())
        if name.startswith("invalid/"):
            if value is not None:
                wrong.append(f"{name}: accepted")
            continue
        expected = json.loads((suite / name).with_suffix(".json").read_text(encoding="utf-8"))
        if value is None:
            wrong.append(f"{name}: {message}")
        elif canonical(value) != canonical(expected):
            wrong.append(f"{name}: {value}")
    assert not wrong


# --- tomllib --------------------------------------------------------------------------------------

def tag(value):
    if isinstance(value, dict):
        return {k: tag(v) for k, v in value.items()}
    if isinstance(value, list):
        return [tag(x) for x in value]
    if isinstance(value, bool):
        return {"type": "bool", "value": str(value).lower()}
    if isinstance(value, int):
        return {"type": "integer", "value": str(value)}
    if isinstance(value, float):
        return {"type": "float", "value": repr(value)}
    if isinstance(value, datetime.datetime):
        kind = "datetime" if value.tzinfo else "datetime-local"
        return {"type": kind, "value": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"type": "date-local", "value": value.isoformat()}
    if isinstance(value, datetime.time):
        return {"type": "time-local", "value": value.isoformat()}
    return {"type": "string", "value": value}


TOKENS = st.sampled_from([
    "a", "b", "a.b", "\"a\"", "'b'", "=", " = ", "\n", "\n", "\r\n", " ", "\t", ",", "[", "]",
    "[[", "]]", "[a]\n", "[a.b]\n", "[[a]]\n", "[[a.b]]\n", "{", "}", "{a=1}", "a=1\n", "b=2\n",
    "a.b=1\n", "a.c={}\n", "a=[]\n", "# c\n", "\"", "\"\"\"", "'", "'''", "\\n", "\\u00e9", "\\x",
    "\\\n ", "1", "-1", "+0", "0x1f", "0b2", "1_0", "1__0", "01", "1.5", ".5", "1e3", "1.e", "inf",
    "-nan", "true", "False", "1979-05-27", "T07:32:00", " 07:32:00.25", "Z", "-07:00", "+24:00",
    "2021-02-29", "99:00:00", "é", "\x00", "\x7f", "x", "-", "_", ".",
])


KEYS = st.lists(st.sampled_from(["a", "b", "c", "'a'", "\"b c\"", "d-1"]), min_size=1,
                max_size=3).map(".".join)
LEAVES = st.sampled_from([
    "1", "-0", "0xdead_beef", "9223372036854775807", "1.5", "-2e-3", "inf", "nan", "true", "''",
    "\"a\\tb\\u00e9\\U0001F600\"", "'''x''y'''", "'''\n'z''''", "\"\"\"\n a \\\n\n  b\"\"\"",
    "\"é\"", "1979-05-27", "07:32:00.999", "1979-05-27 07:32:00", "1979-05-27T07:32:00.5-07:00",
])
VALUES = st.recursive(LEAVES, lambda inner: st.one_of(
    st.lists(inner, max_size=3).map(lambda x: "[" + ", ".join(x) + "]"),
    st.lists(inner, min_size=1, max_size=3).map(lambda x: "[ # c\n" + ",\n ".join(x) + ",\n]"),
    st.lists(st.tuples(KEYS, inner), max_size=3).map(
        lambda x: "{" + ", ".join(f"{k} = {v}" for k, v in x) + "}")), max_leaves=5)
LINES = st.one_of(st.tuples(KEYS, VALUES).map(lambda x: f"{x[0]} = {x[1]}"),
                  st.tuples(KEYS, VALUES).map(lambda x: f"\t{x[0]}={x[1]} # c"),
                  KEYS.map(lambda k: f"[{k}]"), KEYS.map(lambda k: f"[[{k}]]"))


@st.composite
def documents(draw):
    """Mostly well-formed lines, which may still contradict each other; sometimes one mistake."""
    text = draw(st.sampled_from(["\n", "\r\n"])).join(draw(st.lists(LINES, max_size=6)))
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(TOKENS) + text[at + draw(st.integers(0, 2)):]
    return text


@settings(max_examples=300 if SANITIZED else 1500, deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(st.one_of(documents(), documents(), st.lists(TOKENS, max_size=14).map("".join)))
@example("a = {b.c = 1, b.d = 2}\n[a2]\n")
@example("[a]\nb.c = 1\n[a.b.d]\n")
@example("a = \"\"\"\n\\\n  x\"\"\"\"\"")
def test_same_as_tomllib(text):
    try:
        expected = tag(tomllib.loads(text))
    except ValueError:
        expected = None
    except RecursionError:
        return
    value, message = decode(text.encode())
    if value is None and expected is not None:
        assert "does not fit into 64 bits" in message, message  # Python's integers have no limit
        return
    if value is not None and expected is None:
        assert "60" in text  # the leap second, which Python's types do not have
        return
    if value is not None:
        assert canonical(value) == canonical(expected)
