"""`ebb doctor` finds and explains what is wrong with an app, and looks at the machine."""
import json

import pytest

from harness import ebb, guest, write_app

GOOD = f"""spin_manifest_version = 2
[application]
name = "d"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest("c-kitchen")}"
"""


def findings(app, status):
    out, _ = ebb("doctor", "-f", app, "--json", status=status)
    return json.loads(out)


def test_all_well(tmp_path):
    found = findings(write_app(tmp_path / "app", GOOD), 0)
    assert not [f for f in found if f["status"] == "bad"]
    by_check = {f["check"]: f for f in found}
    assert by_check["component k"]["status"] == "ok"
    assert {"kernel", "landlock", "open files", "mappings", "swap", "cache"} <= set(by_check)
    text, _ = ebb("doctor", tmp_path / "app")
    assert "ok    component k: every import is offered" in text


@pytest.mark.parametrize("text,check,says,fix", [
    (GOOD.replace("version = 2", "version = 7"), "manifest", "spin.toml:1:", None),
    (GOOD.replace(str(guest("c-kitchen")), "gone.wasm") + '[component.k.build]\ncommand = "make"\n',
     "component k", "gone.wasm does not exist", "ebb build -c k"),
    (GOOD.replace(str(guest("c-kitchen")), "gone.wasm"), "component k", "does not exist",
     "build command"),
    (GOOD.replace(str(guest("c-kitchen")), str(guest("c-novariables"))), "component k",
     "wasi:http/incoming-handler", "http trigger"),
    (GOOD.replace(str(guest("c-kitchen")), "text.wasm"), "component k", "text.wasm", None),
    (GOOD.replace('component = "k"', 'component = "k"\nexecutor = { type = "wagi" }'), "manifest",
     "wagi", None),
])
def test_what_is_wrong_is_named_with_what_to_do(tmp_path, text, check, says, fix):
    found = findings(write_app(tmp_path / "app", text, {"text.wasm": b"no wasm"}), 1)
    bad = [f for f in found if f["status"] == "bad"]
    assert [f["check"] for f in bad] == [check], bad
    assert says in bad[0]["text"]
    assert fix is None or fix in bad[0]["fix"]


def test_warnings_are_notes(tmp_path):
    text = GOOD + f'[[trigger.http]]\nroute = "/..."\ncomponent = "k2"\n[component.k2]\n' \
        f'source = "{guest("c-kitchen")}"\n'
    notes = [f["text"] for f in findings(write_app(tmp_path / "app", text), 0)
             if f["status"] == "note"]
    assert any("/..." in n for n in notes)


def test_no_app_here_is_no_fault(tmp_path):
    out, _ = ebb("doctor", cwd=tmp_path)
    assert "no spin.toml" in out
