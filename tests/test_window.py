"""The viewer's window, on a virtual screen and under a hand on mouse and keys."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import PATIENCE
from PIL import Image
from stages import FPS, block, on_screen
from tiny_scene import figure

from renderers.splats.files import save_gaussians
from renderers.video import read_video


ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 960, "height": 540}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def splats(tmp_path_factory):
    path = tmp_path_factory.mktemp("splats") / "splats.ply"
    save_gaussians(path, figure())
    return path


def have_screen() -> str:
    """Why a real window cannot be tried, or nothing."""
    missing = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="module")
def screen():
    """The name of a virtual screen."""
    if have_screen():
        pytest.skip(have_screen())
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x800x24", "-nolisten", "tcp"],
        pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as stream:
        number = stream.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start")
    yield f":{number}"
    server.terminate()
    server.wait(timeout=20)


def test_without_vulkan_one_sentence(screen, splats):
    nothing = {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    env = os.environ | {"DISPLAY": screen} | nothing
    command = [sys.executable, str(ROOT / "examples" / "view.py"), str(splats)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: no Vulkan"), done.stderr
    assert "mesa-vulkan-drivers libvulkan1" in lines[0] and "--headless" in lines[0]


DRIVER = """
import json, sys
sys.path.insert(0, {tests!r})
import torch
import taichi_phys as tp
from renderers.viewer import window
from stages import block, on_screen
tp.init()
log = open({log!r}, "w", buffering=1)
torch.set_grad_enabled(False)
torch.set_num_threads(1)

stage = block(gravity=(0, 0, -1.0))
stage.seek(1)
stage.reset()


def after(screen):
    e = stage.playground
    log.write(json.dumps(dict(
        x=e.state.x.mean(0).tolist(), t=e.state.time, gravity=e.gravity(), playing=stage.playing,
        held=e.pull is not None, azimuth=screen.eye.azimuth, message=stage.message,
        frames=screen.recorder.frames,
    )) + chr(10))


try:
    window.show(on_screen(stage, {out!r}, width=960, height=540), after=after)
except window.NoWindow as error:
    sys.exit("no window: " + str(error))
print("closed")
"""


class Window:
    """The viewer in a process of its own, with a hand on mouse and keys."""

    def __init__(self, screen: str, folder: Path):
        self.log, self.out = folder / "log", folder / "out"
        self.env = os.environ | {"DISPLAY": screen}
        code = DRIVER.format(tests=str(ROOT / "tests"), log=str(self.log), out=str(self.out))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=self.env, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.wait(lambda now: True)
        self.id = self.hand("search", "--class", "block").split()[-1]

    def hand(self, *arguments) -> str:
        done = subprocess.run(
            ["xdotool", *map(str, arguments)], env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rounds(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def now(self) -> dict:
        """The state at the end of a round of the loop that began after this call."""
        seen = len(self.rounds())
        self.wait(lambda now: len(self.rounds()) > seen + 1)
        return json.loads(self.rounds()[-2])

    def wait(self, true) -> dict:
        """The first state for which that is true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                error = self.process.stderr.read()
                if "no window: " in error:
                    pytest.skip(error.strip().splitlines()[-1])
                pytest.fail(f"the viewer ended: {error}")
            lines = self.rounds()
            if len(lines) > 1 and true(json.loads(lines[-2])):
                return json.loads(lines[-2])
            time.sleep(0.05)
        pytest.fail(f"nothing came of it: {self.rounds()[-2:]}")

    def key(self, name: str) -> None:
        self.hand("key", "--window", self.id, name)

    def move(self, x: float, y: float) -> None:
        self.hand("mousemove", "--window", self.id, round(x), round(y))
        time.sleep(0.2)

    def drag(self, start, end) -> None:
        self.move(*start)
        self.now()
        self.hand("mousedown", 1)
        time.sleep(0.2)
        self.now()
        self.move(*end)
        self.now()

    def let_go(self) -> None:
        self.hand("mouseup", 1)


@pytest.fixture(scope="module")
def opened() -> Iterator[list[Window]]:
    """The windows that tests have opened."""
    windows: list[Window] = []
    yield windows
    for window in windows:
        window.process.kill()
        window.process.wait(timeout=20)


@pytest.fixture
def window(opened, screen, tmp_path_factory) -> Window:
    """The window of the last test, or a new one where that closed it: tests run in any order."""
    if not opened or opened[-1].process.poll() is not None:
        opened.append(Window(screen, tmp_path_factory.mktemp("window")))
    return opened[-1]


def test_window_keys_play_pause_and_step(window):
    assert not window.now()["playing"]
    window.move(100, 300)
    window.key("space")
    window.wait(lambda now: now["playing"] and now["t"] > 0.05)
    window.key("space")
    paused = window.wait(lambda now: not now["playing"])
    assert window.now()["t"] == paused["t"]
    window.key("n")
    after = window.wait(lambda now: now["t"] > paused["t"])
    assert after["t"] == pytest.approx(paused["t"] + 1 / FPS, abs=1e-4)
    window.key("r")
    window.wait(lambda now: now["t"] == 0)


def middle(window) -> np.ndarray:
    """Where the body is in the window, px."""
    return on_screen(block(), "out", **SIZE).camera().project(np.array(window.now()["x"]))[0]


def test_window_drag_moves_the_body_in_its_direction(window):
    window.key("r")
    before = window.wait(lambda now: now["t"] == 0)
    at = middle(window)
    window.drag(at, at + (120, 0))
    assert window.wait(lambda now: now["held"])
    window.key("space")
    window.wait(lambda now: now["t"] > 0.2)
    window.key("space")
    window.let_go()
    after = window.wait(lambda now: not now["held"] and not now["playing"])
    right = on_screen(block(), "out", **SIZE).camera().rotation[0]
    moved = np.subtract(after["x"], before["x"])
    moved[2] = 0  # what falls has not been pushed
    assert moved @ right > 0.02
    assert moved @ right > 0.95 * np.linalg.norm(moved)
    assert after["azimuth"] == before["azimuth"]


def test_window_drag_beside_the_body_turns_the_camera(window):
    before = window.now()
    window.drag((40, 500), (90, 500))
    window.let_go()
    after = window.wait(lambda now: now["azimuth"] != before["azimuth"])
    assert after["azimuth"] == pytest.approx(before["azimuth"] - 0.35 * 50, abs=0.8)
    assert not after["held"]
    window.drag((90, 500), (40, 500))
    window.let_go()
    window.wait(lambda now: abs(now["azimuth"] - before["azimuth"]) < 0.8)


def fallen(window) -> float:
    """m by which two frames from the start lower the body: it is still in the air."""
    window.key("r")
    start = window.wait(lambda now: now["t"] == 0)
    for k in range(2):
        window.key("n")
        now = window.wait(lambda now, k=k: now["t"] > (k + 0.9) / FPS)
    return start["x"][2] - now["x"][2]


def test_window_slider_changes_the_physics(window):
    slow = fallen(window)
    # below stiffness and yield stress: title 19 px, then a line and a slider of 40 px each
    window.drag((960 - 270, 134), (960 - 130, 134))
    window.let_go()
    after = window.wait(lambda now: now["gravity"] > 5)
    assert after["azimuth"] == pytest.approx(25, abs=1)
    fast = fallen(window)
    assert fast / slow == pytest.approx(after["gravity"], rel=0.03)  # it was 1


def test_window_records_and_takes_screenshots(window):
    window.key("r")
    window.wait(lambda now: now["t"] == 0)
    window.key("s")
    window.wait(lambda now: "picture_000.png" in now["message"])
    assert Image.open(window.out / "picture_000.png").size == (960, 540)
    window.key("v")
    window.wait(lambda now: now["frames"] is not None)
    window.key("space")
    window.wait(lambda now: (now["frames"] or 0) >= 4)
    window.key("v")
    window.wait(lambda now: now["frames"] is None)
    video = read_video(window.out / "video_000.mp4")
    assert len(video) >= 4 and video.frames.shape[1:] == (540, 960, 3)
    assert (video.frames[0] != video.frames[-1]).any()


CLOSE = """
import ctypes, sys

x11 = ctypes.CDLL("libX11.so.6")
x11.XOpenDisplay.restype = ctypes.c_void_p
display = ctypes.c_void_p(x11.XOpenDisplay(None))
protocols, delete = (x11.XInternAtom(display, n, 0) for n in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))


class Message(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message", ctypes.c_ulong),
        ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("room", ctypes.c_long * 24),
    ]


window = int(sys.argv[1])
event = Message(33, 0, 1, display, window, protocols, 32, (delete, 0, 0, 0, 0))
x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
x11.XCloseDisplay(display)
"""


def test_window_closes_and_leaves_nothing(window):
    """What the cross in its frame does: the request to close that a window manager sends."""
    subprocess.run([sys.executable, "-c", CLOSE, window.id], env=window.env, check=True)
    out, error = window.process.communicate(timeout=PATIENCE)
    assert window.process.returncode == 0 and "closed" in out, error
    assert not (window.log.parent / "imgui.ini").exists()
    with pytest.raises(ProcessLookupError):  # it is gone, and nothing that it started is left
        os.killpg(window.process.pid, 0)


def test_window_interrupted_ends_in_a_word(screen, splats, tmp_path):
    env = os.environ | {"DISPLAY": screen}
    command = [sys.executable, str(ROOT / "examples" / "view.py"), str(splats)]
    process = subprocess.Popen(
        [*command, "--width", "480", "--height", "270", "--out", str(tmp_path)], env=env,
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        for _ in range(300):
            search = ["xdotool", "search", "--class", "splats"]
            found = subprocess.run(search, env=env, capture_output=True, text=True)
            if found.stdout.strip() or process.poll() is not None:
                break
            time.sleep(0.2)
        if process.poll() == 2:
            pytest.skip(process.stderr.read())
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130 and error.strip() == "stopped"
