"""Component instances that call each other, by suites of our own in tests/component/wast."""
import pytest

import wast
from harness import ROOT

SUITES = sorted((ROOT / "tests" / "component" / "wast").glob("*.wast"))


@pytest.mark.parametrize("suite", SUITES, ids=lambda p: p.stem)
def test_suite(suite, tmp_path):
    wast.convert(suite, tmp_path)
    (report,) = wast.run(tmp_path)
    assert report["lines"] == []
    assert report["passed"] > 5


def test_failures_are_seen(tmp_path):
    """The tool itself: wrong results, wrong traps and wrong refusals fail."""
    (tmp_path / "wrong.wast").write_text("""
(component
  (core module $m (func (export "f") (result i32) i32.const 1) (func (export "t") unreachable))
  (core instance $i (instantiate $m))
  (func (export "f") (result u32) (canon lift (core func $i "f")))
  (func (export "t") (canon lift (core func $i "t"))))
(assert_return (invoke "f") (u32.const 2))
(assert_return (invoke "f"))
(assert_trap (invoke "f") "unreachable")
(assert_invalid (component) "something")
(assert_return (invoke "g"))
(assert_trap (invoke "t") "divide by zero")
""")
    wast.convert(tmp_path / "wrong.wast", tmp_path)
    (report,) = wast.run(tmp_path)
    assert (report["passed"], report["failed"], report["skipped"]) == (1, 6, 0)
