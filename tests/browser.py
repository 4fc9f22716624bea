"""Chromium without a screen, for tests of pages: mouse, keys, pictures, what the page asks for."""

import base64
import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
from helpers import PATIENCE, wait_for
from PIL import Image


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = """--headless=new --no-sandbox --disable-gpu --use-gl=angle --use-angle=swiftshader
    --enable-unsafe-swiftshader --disable-background-networking --disable-component-update
    --disable-sync --disable-extensions --disable-default-apps --no-first-run
    --no-default-browser-check --no-proxy-server --disable-dev-shm-usage --mute-audio
    --remote-debugging-port=0 --window-size=1100,700""".split()
SCENE = np.s_[100:400, 330:760]  # px of the page where bodies are drawn, beside the panel
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # the page needs no network


class Refused(RuntimeError):
    """What the browser answered to a command."""


class Browser:
    """Chromium, driven through its DevTools protocol."""

    def __init__(self, folder: Path):
        self.folder, self._numbers, self.requested = folder, itertools.count(1), []
        self._log = (folder / "log.txt").open("wb")

    def __enter__(self):
        from websockets.sync.client import connect

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, NOWHERE, f"--user-data-dir={self.folder}", "about:blank"],
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        port = wait_for(lambda: port_in(self.folder / "DevToolsActivePort"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=PATIENCE) as answer:
            page = next(t for t in json.load(answer) if t["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE)
        self("Page.enable")
        self("Network.enable")
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self("Browser.close")
            self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._log.close()

    def __call__(self, method: str, **params) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                if "error" in message:
                    raise Refused(f"{method}: {message['error']}")
                return message["result"]

    def open(self, url: str) -> None:
        self.requested.clear()
        self("Page.navigate", url=url)
        wait_for(lambda: self.ask("document.querySelectorAll('canvas').length"))

    def ask(self, expression: str):
        """The value of JavaScript; None while the page changes."""
        with contextlib.suppress(Refused):
            result = self("Runtime.evaluate", expression=expression, returnByValue=True)
            return result["result"].get("value")

    def picture(self) -> np.ndarray:
        """(H, W, 3) of the page."""
        data = base64.b64decode(self("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def slide(self, share: float) -> None:
        """The mouse on the slider: pressed at its left end, let go at a share of its length."""
        x, y, width = self.ask(
            "(() => { const r = document.querySelector('[role=slider]').parentElement"
            ".getBoundingClientRect(); return [r.x, r.y + r.height / 2, r.width] })()"
        )
        self("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
        for part in (0.3, 0.7, 1.0):
            self("Input.dispatchMouseEvent", type="mouseMoved", x=x + part * share * width, y=y,
                 button="left", buttons=1)  # fmt: skip
        self("Input.dispatchMouseEvent", type="mouseReleased", x=x + share * width, y=y,
             button="left", clickCount=1)  # fmt: skip

    def click(self, text: str) -> None:
        """The mouse on the button with this text."""
        at = wait_for(lambda: self.ask(
            "(() => { const b = [...document.querySelectorAll('button')].find("
            f"b => b.innerText.trim() == {text!r}); if (!b) return null;"
            "const r = b.getBoundingClientRect(); return [r.x + r.width/2, r.y + r.height/2] })()"
        ))  # fmt: skip
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left",
                 clickCount=1)  # fmt: skip

    def mouse(self, kind: str, at, **more) -> None:
        """An event of the mouse at (2,) px of the page."""
        x, y = (float(value) for value in at)
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, at) -> None:
        """The left button goes down."""
        self.mouse("mouseMoved", at)
        self.mouse("mousePressed", at, button="left", buttons=1, clickCount=1)

    def pull(self, at) -> None:
        """The mouse moves with its left button down."""
        self.mouse("mouseMoved", at, button="left", buttons=1)

    def let_go(self, at) -> None:
        """The left button comes up."""
        self.mouse("mouseReleased", at, button="left", clickCount=1)

    def key(self, key: str, code: str, number: int) -> None:
        """A key is pressed and let go."""
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=code,
                 windowsVirtualKeyCode=number)  # fmt: skip


def port_in(path: Path) -> int | None:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(path.read_text().splitlines()[0])


def picture_when(look) -> np.ndarray:
    """The first picture that look() returns, which is None before."""
    seen: list = []
    wait_for(lambda: seen.append(look()) or seen[-1] is not None)
    return seen[-1]


def still(browser: Browser):
    """A picture that is the same twice and shows something (a page at rest may be empty yet)."""
    first, again = browser.picture(), browser.picture()
    there = np.ptp(again[SCENE], axis=(0, 1)).max() > 80
    return again if there and np.abs(first - again).max() < 3 else None


def alive(wanted) -> list[int]:
    """Processes for which wanted(pid, group, words) holds."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            if fields[0] != "Z" and wanted(int(path.name), int(fields[2]), words):
                found.append(int(path.name))
    return found
