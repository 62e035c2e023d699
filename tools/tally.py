"""Adds up test reports and prints one line, 'N passed, N failed'.

Takes meson's testlog.json files (one JSON object a line) and JUnit XML files. A unit test program
that reports its cases in cmocka's words counts by cases, any other as one. A report that is
missing counts as one failure: a stage that did not run must not look like one that passed.
"""
import json
import re
import sys
import xml.etree.ElementTree as xml


def tally_meson(path):
    passed = failed = 0
    for line in open(path, encoding="utf-8"):
        test = json.loads(line)
        text = test.get("stdout", "") + test.get("stderr", "")
        counts = {word: re.findall(rf"\[\s+{word}\s+\] (\d+) test", text)
                  for word in ("PASSED", "FAILED")}
        ok = test["result"] in ("OK", "EXPECTEDFAIL")
        if not counts["PASSED"]:
            passed, failed = passed + ok, failed + (not ok)
            continue
        passed += sum(map(int, counts["PASSED"]))
        failed += max(sum(map(int, counts["FAILED"])), 0 if ok else 1)
    return passed, failed, 0


def tally_junit(path):
    passed = failed = skipped = 0
    for case in xml.parse(path).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main():
    passed = failed = skipped = 0
    for path in sys.argv[1:]:
        try:
            p, f, s = tally_meson(path) if path.endswith(".json") else tally_junit(path)
        except (OSError, ValueError, xml.ParseError) as e:
            print(f"{path}: no report ({e})")
            p, f, s = 0, 1, 0
        print(f"{p:6} passed {f:4} failed {s:4} skipped  {path}")
        passed, failed, skipped = passed + p, failed + f, skipped + s
    print(f"{passed} passed, {failed} failed")
    return failed > 0


sys.exit(main())
