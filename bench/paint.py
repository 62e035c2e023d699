"""The group 'paint': when something of the dashboard is seen, beside a page that is one picture."""
import statistics
import sys

import report
from common import say
from deploys import Serve
from servers import ROOT

sys.path.append(str(ROOT / "tests" / "integration"))

from browser import Page, chromium  # noqa: E402

RUNS = 15
#: Of the same server, with the same headers. A picture may have no contentful paint.
PAGES = {"dashboard": ("/", "x.name === 'first-contentful-paint'"),
         "picture": ("/ui/icon.svg", "true")}
FRESH, AGAIN = "fresh tab", "same tab again"
MUST, AIM = 100, 99


def painted_ms(tab, url, which):
    """From the beginning of the navigation."""
    paints = f"performance.getEntriesByType('paint').filter((x) => {which})"
    tab.open(url)
    tab.wait(f"location.href === '{url}' && {paints}.length")
    return tab.js(f"Math.max(...{paints}.map((x) => x.startTime))")


def measured(server, browser):
    """{(page, kind of tab): times}; one round over all, then the next."""
    found = {(name, kind): [] for name in PAGES for kind in (FRESH, AGAIN)}
    for _ in range(RUNS):
        for name, (path, which) in PAGES.items():
            tab = Page(browser)
            for kind, query in ((FRESH, ""), (AGAIN, "?again")):
                url = f"http://127.0.0.1:{server.port}{path}{query}"
                found[name, kind].append(painted_ms(tab, url, which))
            tab.close()
    return found


def bench(facts, scratch, only, steps):
    facts["runs"] = RUNS
    server = Serve("paint", scratch)
    (scratch / "browser").mkdir()
    try:
        server.start()
        with chromium(scratch / "browser") as browser:
            facts["browser"] = browser.call("Browser.getVersion")["product"]
            say(facts["browser"])
            found = measured(server, browser)
    finally:
        server.stop()
    rows = [{"page": name, "tab": kind, "median_ms": statistics.median(times),
             "min_ms": min(times), "max_ms": max(times), "times_ms": times}
            for (name, kind), times in found.items()]
    print(report.table([("page", -10, lambda r: r["page"]), ("tab", -15, lambda r: r["tab"]),
                        *((f"{x} ms", 10, lambda r, x=x: f"{r[f'{x}_ms']:.1f}")
                          for x in ("median", "min", "max"))], rows))
    figures = [(f"first paint of the dashboard, {r['tab']}, ms", r["median_ms"], MUST, AIM)
               for r in rows if r["page"] == "dashboard"]
    print(report.figures(figures))
    return {"rows": rows, "figures": figures}, None
