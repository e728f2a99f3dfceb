"""Headless Chromium over the DevTools protocol, by a pipe: no port, no other package."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

_KEYS = {
    "Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " "), "ArrowLeft": (37, ""), "ArrowUp": (38, ""),
    "ArrowRight": (39, ""), "ArrowDown": (40, ""), "Home": (36, ""), "End": (35, ""),
}  # fmt: skip
_STARTER = "import os, sys; [os.dup2(int(sys.argv[n]), n + 2) for n in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])"


def chromium() -> str:
    """The browser's path; the test is skipped where there is none."""
    if not (path := shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no Chromium here: apt install chromium")
    return path


def flags(profile: Path) -> list[str]:
    """What every headless run of ours is started with."""
    return ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]


class Browser:
    """One Chromium; ``page`` opens a tab. Close it at the end."""

    def __init__(self, folder: Path, *more: str) -> None:
        (read, self._write), (self._read, write) = os.pipe(), os.pipe()
        quiet = ["--no-first-run", "--disable-background-networking", "--hide-scrollbars", "--mute-audio"]
        command = [chromium(), *flags(folder / "profile"), *quiet, "--remote-debugging-pipe", *more, "about:blank"]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]  # Chromium reads 3 and writes 4: out of their way
        starter = [sys.executable, "-S", "-E", "-c", _STARTER, *map(str, ends), *command]
        self._process = subprocess.Popen(starter, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (read, write, *ends):
            os.close(end)
        self._number, self._answers, self._lock = 0, dict[int, Queue[dict]](), threading.Lock()
        self._pages: dict[str, Page] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def page(self, width: int = 1280, height: int = 900) -> "Page":
        """A tab of a context of its own: what one test stores, no other sees."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context, width=width, height=height)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self._pages[session] = page = Page(self, session, context)
        page.start(width, height)
        return page

    def call(self, method: str, session: str | None = None, timeout: float = 60, **params: Any) -> dict:
        with self._lock:
            self._number += 1
            number = self._number
            self._answers[number] = waiting = Queue[dict]()
            message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
            os.write(self._write, json.dumps(message).encode() + b"\0")
        try:
            answer = waiting.get(timeout=timeout)
        except Empty:
            raise TimeoutError(f"{method} was not answered in {timeout} s") from None
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def close(self) -> None:
        with suppress(TimeoutError, OSError):
            self.call("Browser.close", timeout=10)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)

    def _listen(self) -> None:
        rest = b""
        with open(self._read, "rb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor, not a path
            while data := pipe.read(1 << 20):
                *whole, rest = (rest + data).split(b"\0")
                for message in map(json.loads, whole):
                    if "id" in message:
                        self._answers.pop(message["id"]).put(message)
                    elif page := self._pages.get(message.get("sessionId", "")):
                        page.heard(message["method"], message["params"])


class Page:
    """A tab: what it asks for and complains of is remembered in ``requests`` (addresses) and ``complaints``."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self._context = browser, session, context
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()  # words of complaints that a test means to cause

    def start(self, width: int, height: int) -> None:
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.size(width, height)

    def call(self, method: str, **params: Any) -> dict:
        return self._browser.call(method, self._session, **params)

    def close(self) -> None:
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def heard(self, method: str, params: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:600])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([one.get("value", one.get("description")) for one in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def allow(self, *permissions: str) -> None:
        self._browser.call("Browser.grantPermissions", permissions=list(permissions), browserContextId=self._context)

    def downloads(self, folder: Path) -> None:
        where = {"downloadPath": str(folder), "browserContextId": self._context}
        self._browser.call("Browser.setDownloadBehavior", behavior="allow", **where)

    def size(self, width: int, height: int, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefers(self, scheme: str = "light", motion: str = "no-preference") -> None:
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        self.call("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in features.items()])

    def goto(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, script: str) -> Any:
        """The value of an expression; promises are awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, f"{script}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def wait(self, condition: str, timeout: float = 20) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + timeout
        while not (value := self.js(condition)):
            assert time.monotonic() < end, f"not true in {timeout} s: {condition}; banner: {self.js(_BANNER)}; {self.complaints}"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def shown(self, selector: str) -> bool:
        return self.js(f"!!document.querySelector({json.dumps(selector)})?.checkVisibility()")

    def click(self, selector: str) -> None:
        """A click of the mouse in its middle, which must be visible."""
        x, y = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.click_at(x, y)

    def click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, *keys: str) -> None:
        for key in keys:
            code, text = _KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
            known = {"key": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", **known, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select."""
        self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            " e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path, whole: bool = False) -> Path:
        """What it looks like, as PNG; ``whole``: all of the page, not what fits the window."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


_BANNER = "document.getElementById('banner-text')?.innerText"
