"""A headless Chromium, driven by its DevTools protocol through two pipes; the standard library alone."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REMEDY = "install one, for example: apt-get install chromium"
PATIENCE_S = 60.0
_END = b"\0"
# The browser reads from descriptor 3 and writes to 4.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> Optional[str]:
    """Return the program, None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def _far_from_low_ones(descriptor: int) -> int:
    """Return a copy that is none of 3 and 4; the given one is closed."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return copy


class Chromium:
    """A browser with one page; a context manager that ends it."""

    def __init__(self, program: str, *options: str) -> None:
        self._numbers = itertools.count(1)
        self._rest = b""
        self._folder = Path(tempfile.mkdtemp(prefix="ppghost-chromium-"))
        self.events: list[dict[str, Any]] = []
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()
        reads, writes = _far_from_low_ones(reads), _far_from_low_ones(writes)
        words = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        words += ["--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={self._folder}"]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(reads), str(writes), *words, *options],
                pass_fds=(reads, writes),
                stdout=log,
                stderr=log,
            )
        os.close(reads)
        os.close(writes)
        self._session: Optional[str] = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **words: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come before it are kept in `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": words}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + _END)
        while True:
            answer = self._receive(PATIENCE_S)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, patience_s: float) -> dict[str, Any]:
        until = time.monotonic() + patience_s
        while _END not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"Chromium said nothing for {patience_s} s"
            read = os.read(self._from, 1 << 20)
            assert read, (self._folder / "log").read_text(errors="replace")
            self._rest += read
        text, _, self._rest = self._rest.partition(_END)
        message: dict[str, Any] = json.loads(text)
        if "id" not in message:
            self.events.append(message)
        return message

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Return when a JavaScript condition holds, looked at before each frame."""
        self.evaluate(
            "new Promise((resolve, reject) => {"
            f" const until = performance.now() + {1000 * PATIENCE_S / 2};"
            f" const look = () => ({condition}) ? resolve(true)"
            "  : performance.now() > until ? reject(new Error(document.body.innerText))"
            "  : setTimeout(look, 10);"
            " look(); })"
        )

    def open(self, url: str) -> None:
        """Open a page and return when it is loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def drop(self, files: Sequence[Path], x: int, y: int) -> None:
        """Drag files from outside to a place on the page and let them go."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for step in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=step, x=x, y=y, data=data)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        words: dict[str, Any] = {"key": key, "code": "Space" if key == " " else key}
        words["windowsVirtualKeyCode"] = codes[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **words)
        self.call("Input.dispatchKeyEvent", type="keyUp", **words)

    def screenshot(self, path: Path, width: int, height: int, *, is_dark: bool = False) -> None:
        """Write what the page looks like in a window of that size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}],
        )
        self.evaluate("new Promise(done => setTimeout(done, 400))")
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def __enter__(self) -> Chromium:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the browser."""
        os.close(self._to)  # the browser leaves when nobody talks to it any more
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)  # a child of the browser may still write there
