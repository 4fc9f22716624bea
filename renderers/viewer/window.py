"""The viewer's window: GGUI shows the pictures of a `Screen` and hands it mouse and keys.

Particles and splats are drawn on the CPU or GPU by `renderers` and shown as an image: GGUI's own
spheres take about a second for 50,000 in software Vulkan, an image of 1280 x 720 takes 20 ms.
GGUI reports no mouse wheel; keys and drags zoom.
"""

import contextlib
import ctypes
import functools
import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from renderers.viewer.screen import PANEL, Screen, help_lines
from renderers.viewer.stage import Button, Choice, Control, Slider, Switch
from taichi_phys import runtime
from taichi_phys.language import ti


PACKAGES = "mesa-vulkan-drivers libvulkan1"
BUTTONS = ("LMB", "RMB", "MMB", "Shift", "Control")
COLUMNS = 38  # of the panel, for messages
LEAST = 1 / 60  # s a loop takes at least


class NoWindow(RuntimeError):
    """There is no screen, or no Vulkan."""


def show(screen: Screen, *, after: Callable[[Screen], None] | None = None) -> None:
    """Show a screen in a window until that is closed.

    after: called once in every round of the loop. Raises NoWindow, in one sentence.
    """
    runtime.ensure_initialized()
    layout = Path("imgui.ini")  # Dear ImGui leaves it where the program was started
    leave = layout.exists()
    window = _open(screen)
    try:
        canvas, gui = window.get_canvas(), window.get_gui()
        while window.running and screen.running:
            start = time.monotonic()
            for event in window.get_events(ti.ui.PRESS):
                screen.press(event.key)
            x, y = window.get_cursor_pos()
            held = {name for name in BUTTONS if window.is_pressed(name)}
            # in px of the screen, whatever size the window was given
            screen.pointer(x * screen.width, (1 - y) * screen.height, held)
            screen.tick()
            canvas.set_image(_upload(screen.picture()))
            if screen.panel:
                _panel(gui, screen)
            window.show()
            if after is not None:
                after(screen)
            idle = LEAST if screen.busy else 2 * LEAST
            time.sleep(max(0.0, idle - (time.monotonic() - start)))
    finally:
        screen.close()
        window.destroy()
        if not leave:
            layout.unlink(missing_ok=True)


def _open(screen: Screen):
    """A window, or NoWindow. GLFW ends the process when there is no screen: look first."""
    if sys.platform.startswith("linux") and not _has_display():
        raise NoWindow(
            "no screen: set DISPLAY, or start under xvfb-run (Debian: apt install xvfb "
            f"{PACKAGES}), or use --headless --out DIR for pictures"
        )
    if not hasattr(ti, "ui"):
        raise NoWindow(
            f"{ti.__name__} has no window: use Taichi, or --headless --out DIR for pictures"
        )
    try:
        with _quiet():
            return ti.ui.Window(
                screen.stage.title, (screen.width, screen.height), vsync=False, pos=(60, 60)
            )
    except RuntimeError as error:
        raise NoWindow(
            f"no Vulkan ({str(error).splitlines()[0]}): apt install {PACKAGES} (Debian, Ubuntu) "
            "or your graphics driver, or use --headless --out DIR for pictures"
        ) from None


def _has_display() -> bool:
    if not os.environ.get("DISPLAY"):
        return False
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False  # GLFW needs it too
    x11.XOpenDisplay.restype = ctypes.c_void_p
    return bool(x11.XOpenDisplay(None))  # left open: Xvfb resets itself when its last client goes


@contextlib.contextmanager
def _quiet():
    """Vulkan's loader complains on standard error before Taichi says it in a sentence."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


# Pictures


@functools.cache
def _field(width: int, height: int):
    return ti.Vector.field(3, ti.u8, (width, height))


@ti.kernel
def _copy(picture: ti.types.ndarray(ti.u8, 3), shown: ti.template()):
    for i, j in shown:
        for k in ti.static(range(3)):
            shown[i, j][k] = picture[shown.shape[1] - 1 - j, i, k]


def _upload(picture: np.ndarray):
    """A field that set_image takes: three times faster than from a numpy array."""
    shown = _field(picture.shape[1], picture.shape[0])
    _copy(np.ascontiguousarray(picture), shown)
    return shown


# The panel


def _panel(gui, screen: Screen) -> None:
    stage, frames = screen.stage, screen.recorder.frames
    with gui.sub_window(stage.title, 1 - PANEL / screen.width, 0, PANEL / screen.width, 1):
        for control in stage.controls():
            _control(gui, screen, control)
        for line in screen.caption.splitlines():
            gui.text(line)
        for line in textwrap.wrap(stage.message, COLUMNS):
            gui.text(line, color=(1.0, 0.8, 0.3))
        if frames is not None:
            gui.text(f"recording: {frames} frames", color=(1.0, 0.35, 0.3))
        if screen.help:
            gui.text("")
            for line in help_lines(screen):
                gui.text(line)


def _control(gui, screen: Screen, control: Control) -> None:
    session = screen.session
    if isinstance(control, Slider):
        moved = _slider(gui, control)
        if moved is not None:
            session.do(control.set, moved)
    elif isinstance(control, Switch):
        before = control.get()
        if gui.checkbox(control.name, before) != before:
            session.do(control.set, not before)
    elif isinstance(control, Button):
        if gui.button(control.name):
            session.do(control.press)
    elif isinstance(control, Choice):
        _choice(gui, screen, control)


def _slider(gui, control: Slider) -> float | None:
    """The value to which the mouse has moved it, None if it did not."""
    at, (low, high) = control.place, control.ends
    if control.whole:
        moved = gui.slider_int(control.name, int(at), int(low), int(high))
        return None if moved == at else moved
    gui.text(f"{control.name}: {control.get():.4g}")
    # GGUI has no format: the slider of a logarithm shows that, and says so beside it
    label = "log10" if control.log else ""
    moved = gui.slider_float(f"{label}##{control.name}", at, low, high)
    same = abs(moved - at) <= 1e-5 * (high - low)  # GGUI's numbers are float32
    return None if same else control.value(moved)


def _choice(gui, screen: Screen, control: Choice) -> None:
    current = control.get()
    opened = screen.opened == control.name
    if gui.button(f"{control.name}: {current}" + ("" if opened else "  ...")):
        screen.opened = None if opened else control.name
    elif opened:
        for option in control.options:
            if gui.button(("> " if option == current else "   ") + option):
                screen.opened = None
                screen.session.do(control.set, option)
