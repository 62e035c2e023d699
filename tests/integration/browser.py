"""Chromium, without a window, driven over its DevTools protocol through a pair of pipes: messages
are JSON that ends with a zero byte. No network but loopback, no profile that stays."""
import base64
import contextlib
import json
import os
import subprocess
import time

from harness import PATIENCE_S, environment

# Descriptors 3 and 4 are where Chromium reads and writes with --remote-debugging-pipe.
START = 'exec 3<&"$1" 4>&"$2"; shift 2; exec /usr/bin/chromium "$@"'
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
         "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
         "--disable-background-networking", "--disable-component-update", "--disable-extensions",
         "--disable-sync", "--disable-features=Translate,OptimizationHints,MediaRouter",
         "--metrics-recording-only", "--hide-scrollbars", "--force-color-profile=srgb")


class Browser:
    def __init__(self, folder):
        to_read, self.to = os.pipe()
        self.out, to_write = os.pipe()
        self.log = open(folder / "chromium.log", "wb")
        env = environment() | {"TZ": "UTC", "HOME": str(folder), "PATH": "/usr/bin:/bin"}
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", START, "-", str(to_read), str(to_write), *FLAGS,
             f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
            pass_fds=(to_read, to_write))
        os.close(to_read)
        os.close(to_write)
        self.buffered, self.number, self.events = b"", 0, []

    def message(self):
        while b"\0" not in self.buffered:
            got = os.read(self.out, 1 << 16)
            assert got, "chromium has gone"
            self.buffered += got
        text, self.buffered = self.buffered.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, session=None, **params):
        """The result of a method; events that come meanwhile are kept."""
        self.number += 1
        said = {"id": self.number, "method": method, "params": params}
        os.write(self.to, json.dumps(said | ({"sessionId": session} if session else {})).encode()
                 + b"\0")
        while True:
            m = self.message()
            if m.get("id") == self.number:
                assert "error" not in m, f"{method}: {m['error']}"
                return m["result"]
            self.events.append(m)

    def close(self):
        os.close(self.to)  # it ends when its pipe does
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        self.log.close()


class Page:
    """A tab of its own, with nothing from other tabs."""

    def __init__(self, browser, width=1280, height=900, dark=False):
        self.browser = browser
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        self.target = browser.call("Target.createTarget", url="about:blank",
                                   browserContextId=self.context)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target,
                                    flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        self.dark(dark)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def dark(self, on):
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression, patience=PATIENCE_S):
        """Until the expression holds: looked at by the page itself, at every frame it draws."""
        end = time.monotonic() + patience
        while not self.js(f"new Promise((done) => {{ const end = performance.now() + 1000;"
                          f" const look = () => ({expression}) ? done(true) :"
                          " performance.now() > end ? done(false) : setTimeout(look, 20);"
                          " look(); })"):
            assert time.monotonic() < end, (expression, self.js("document.body.innerText"),
                                            self.errors())

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key, code=0, **more):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code, **more)

    def screenshot(self, path, whole=True):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole,
                           **({"clip": clip} if whole else {}))
        path.write_bytes(base64.b64decode(answer["data"]))

    def seen(self, method):
        """Parameters of the events of this tab, oldest first."""
        self.js("0")  # what has happened until now is here then
        return [m["params"] for m in self.browser.events
                if m.get("sessionId") == self.session and m.get("method") == method]

    def errors(self):
        """What went wrong in the page; that nobody is logged in is no error."""
        thrown = [str(p["exceptionDetails"]) for p in self.seen("Runtime.exceptionThrown")]
        logged = [p["entry"]["text"] + " " + p["entry"].get("url", "")
                  for p in self.seen("Log.entryAdded")
                  if p["entry"]["level"] == "error" and "401" not in p["entry"]["text"]]
        return thrown + logged

    def close(self):
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)


@contextlib.contextmanager
def chromium(folder):
    browser = Browser(folder)
    try:
        yield browser
    finally:
        browser.close()
