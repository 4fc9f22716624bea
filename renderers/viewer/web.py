"""Particles, splats and arrows in a web browser, with a time slider: viser, optional extra `web`.

The server answers this machine only. Splats show the colour that they have from all sides: viser
knows no spherical harmonics.
"""

import contextlib
import dataclasses
import io
import math
import socket
import threading
import time
import webbrowser
from collections.abc import Sequence
from html import escape

import numpy as np

from renderers.overlay import strength_colors
from renderers.splats.gaussians import Gaussians


COMMAND = "pip install viser"
HOST = "127.0.0.1"
PORT = 8080
FOV = 40.0  # degrees, vertical
SIZE = 10.0  # the scene in the units of the browser, which holds covariances as float16
FLOAT16 = 6e4  # near the largest number of that
HEAD, PIECES = 0.22, 5  # of an arrow: length of the head, share of it; lines that draw it
ROOM = 1.1  # around the scene
MAX_PORT = 65535


class NoWeb(RuntimeError):
    """The package that serves pages is not installed."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Splats:
    """n Gaussians: means (n, 3) m, covariances (n, 3, 3) m^2, colors (n, 3) and opacities (n,),
    both 0 to 1."""

    means: np.ndarray
    covariances: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray

    @classmethod
    def of(cls, gaussians: Gaussians, **changed) -> "Splats":
        """What Gaussians look like from all sides; changed: arrays or tensors to show instead."""
        fields = {
            "means": gaussians.means, "covariances": gaussians.covariances(),
            "colors": gaussians.colors(), "opacities": gaussians.opacities,
        } | changed  # fmt: skip
        return cls(**{
            k: v if isinstance(v, np.ndarray) else v.detach().float().cpu().numpy()
            for k, v in fields.items()
        })  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WebFrame:
    """What is there at one moment; frames that share an array do not send it again.

    x: (n, 3) m, particles; colors: (n, 3) or (3,) uint8; arrows: (m, 2, 3) m, tails and tips;
    arrow_colors: (m, 3) uint8; splats: or none; lines: (k, 2, 3) m; line_colors: (k, 3) uint8;
    caption: a line of text.
    """

    x: np.ndarray | None = None
    colors: np.ndarray | Sequence[int] = (86, 156, 214)
    arrows: np.ndarray | None = None
    arrow_colors: np.ndarray | Sequence[int] = (240, 200, 80)
    splats: Splats | None = None
    lines: np.ndarray | None = None
    line_colors: np.ndarray | Sequence[int] = (120, 130, 150)
    caption: str = ""


def serve(
    frames: Sequence[WebFrame], *, fps: float = 24.0, box, radius: float | None = None,
    title: str = "taichi-phys", up: Sequence[float] = (0, 0, 1), azimuth: float = 25.0,
    elevation: float = 18.0, eye=None, target=None, legend: tuple | None = None,
    port: int = PORT, open: bool = False, background: bool = True,
) -> "WebView":  # fmt: skip
    """Show frames on a page at http://127.0.0.1, until the result is closed.

    frames: asked for one by one when they are to be seen; fps: 1/s; box: corners (2, 3) m of what
    the first view shows; radius: m, of particles; up: (3,); azimuth, elevation: degrees, of the
    first view, or eye, target: (3,) m; legend: limits (low, high) and the name of what colours
    show; port: the next free one if that is taken, any if 0; open: also open a browser;
    background: frames are asked for in a thread of their own; if False, in the one that calls
    `run`, as frames that Taichi computes must be. Raises NoWeb, or ValueError by name, in one
    sentence.
    """
    if not len(frames):
        raise ValueError("frames: got none, expected at least one")
    if not 0 < fps < math.inf:
        raise ValueError(f"fps: got {fps}, expected a positive number")
    corners = np.asarray(box, float)
    if corners.shape != (2, 3) or not np.isfinite(corners).all():
        raise ValueError(f"box: got {box}, expected two corners (2, 3)")
    viser = check_installed()
    view = _view(corners, up, azimuth, elevation, eye, target)
    server = _start(viser, _free_port(port), title)
    try:
        result = WebView(
            server, frames, fps=fps, corners=corners, radius=radius, up=up, view=view,
            legend=legend, background=background,
        )  # fmt: skip
    except BaseException:
        _stop(server)
        raise
    if open:
        webbrowser.open(result.url)
    return result


class WebView:
    """A page that is served; a context manager. url: where; frame: number of the one shown."""

    def __init__(self, server, frames, *, fps, corners, radius, up, view, legend,
                 background):  # fmt: skip
        self.url = f"http://{HOST}:{server.get_port()}"
        self.frame = -1
        self._server, self._frames, self._fps = server, frames, fps
        self._middle = corners.mean(axis=0)
        size = float(np.linalg.norm(corners[1] - corners[0]))
        self._scale = SIZE / max(size, 1e-12)
        self._radius = self._scale * (0.005 * size if radius is None else radius)
        self._change = threading.Condition()
        self._wanted, self._playing, self._ended = 0, False, False
        self._handles, self._sent = {}, {}
        self._first_look(up, *view)
        self._panel(legend)
        self._show(0)
        self._thread = None
        if background:
            self._thread = threading.Thread(target=self.run, name="web frames", daemon=True)
            self._thread.start()

    def __enter__(self) -> "WebView":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def show(self, frame: int) -> None:
        """Go to a frame, as the slider does."""
        with self._change:
            self._wanted = min(max(int(frame), 0), len(self._frames) - 1)
            self._change.notify_all()

    def play(self, on: bool = True) -> None:
        """Play, or stand still."""
        with self._change:
            self._playing = on and len(self._frames) > 1
            self._change.notify_all()
        self._toggle.label = "Pause" if self._playing else "Play"

    def run(self) -> None:
        """Show frames as the slider and the buttons want them, until the page is closed."""
        if self._thread not in (None, threading.current_thread()):
            with self._change:
                self._change.wait_for(lambda: self._ended)
            return
        due = 0.0
        while True:
            with self._change:
                if self._playing and not self._ended:
                    self._change.wait(max(due - time.monotonic(), 0.001))
                else:
                    self._change.wait_for(
                        lambda: self._ended or self._playing or self._wanted != self.frame
                    )
                if self._ended:
                    return
                if self._playing:
                    now = time.monotonic()
                    if now < due:
                        continue
                    due = max(due, now - 1 / self._fps) + 1 / self._fps
                    self._wanted = (self.frame + 1) % len(self._frames)
                wanted = self._wanted
            self._show(wanted)

    def close(self) -> None:
        """End the server and its threads."""
        with self._change:
            ended, self._ended = self._ended, True
            self._change.notify_all()
        if not ended:
            if self._thread not in (None, threading.current_thread()):
                self._thread.join()
            _stop(self._server)

    # The page

    def _first_look(self, up, eye, target) -> None:
        scene, camera = self._server.scene, self._server.initial_camera
        scene.set_up_direction(tuple(float(value) for value in up))
        scene.world_axes.visible = False
        self._server.gui.configure_theme(
            dark_mode=True, show_logo=False, show_share_button=False, control_width="medium"
        )
        camera.fov = math.radians(FOV)
        camera.position, camera.look_at = self._units(eye), self._units(target)

    def _panel(self, legend) -> None:
        gui, last = self._server.gui, len(self._frames) - 1
        self._caption = gui.add_markdown("")
        # a slider needs room to move
        self._slider = gui.add_slider("frame", 0, max(last, 1), 1, 0, visible=last > 0)
        self._toggle = gui.add_button("Play", visible=last > 0)
        if legend is not None:
            gui.add_html(_legend(*legend))
        self._switches = {}

        @self._slider.on_update
        def _(event):
            if event.client is not None:  # not what _show set
                self.play(False)
                self.show(self._slider.value)

        @self._toggle.on_click
        def _(_):
            self.play(not self._playing)

    def _units(self, x) -> np.ndarray:
        """Places (..., 3) m in the units of the page."""
        return self._scale * (np.asarray(x, np.float64) - self._middle)

    # Frames

    def _show(self, number: int) -> None:
        try:
            frame, caption = self._frames[number], None
        except Exception as error:  # a frame that cannot be read is no end of the page
            self._playing, frame = False, WebFrame()
            caption = f"frame {number}: {' '.join(str(error).split()) or type(error).__name__}"
            self._toggle.label = "Play"
        with self._server.atomic():
            if caption is None:
                caption = frame.caption
                for kind in ("particles", "splats", "arrows", "lines"):
                    self._put(kind, getattr(self, f"_make_{kind}"), _parts(frame, kind))
            self._caption.content = escape(caption)
            if number == self._wanted:  # else somebody drags the slider on
                self._slider.value = number
        self.frame = number

    def _put(self, kind: str, make, parts: tuple) -> None:
        """Show a part of a frame unless it is there already."""
        empty = parts[0] is None or not len(getattr(parts[0], "means", parts[0]))
        handle, before = self._handles.get(kind), self._sent.get(kind)
        if empty:
            if handle is not None:
                handle.visible = False
        elif before is None or any(a is not b for a, b in zip(before, parts, strict=True)):
            self._handles[kind] = make(handle, *parts)
        if not empty and kind not in self._switches:
            self._switches[kind] = self._switch(kind)
        if not empty:
            self._handles[kind].visible = self._switches[kind].value
            self._sent[kind] = parts

    def _switch(self, kind: str):
        switch = self._server.gui.add_checkbox(kind, True)

        @switch.on_update
        def _(_):
            self._handles[kind].visible = switch.value

        return switch

    def _make_particles(self, handle, x, colors):
        x, colors = self._units(x).astype(np.float32), _rgb(colors, len(x))
        if handle is None:
            return self._server.scene.add_point_cloud(
                "/particles",
                x,
                colors,
                point_size=self._radius,
                point_shape="circle",
                precision="float32",
            )  # fmt: skip; viser's size is a radius
        handle.points, handle.colors = x, colors
        return handle

    def _make_splats(self, handle, splats):
        fields = {
            "centers": self._units(splats.means).astype(np.float32),
            "covariances": np.clip(self._scale**2 * splats.covariances, -FLOAT16, FLOAT16),
            "rgbs": np.clip(splats.colors, 0, 1), "opacities": splats.opacities[:, None],
        }  # fmt: skip
        if handle is None:
            return self._server.scene.add_gaussian_splats("/splats", **fields)
        handle.set_gaussians(**fields)
        return handle

    def _make_arrows(self, handle, arrows, colors):
        colors = np.repeat(_rgb(colors, len(arrows)), PIECES, axis=0)
        return self._make_lines(handle, _with_heads(arrows), colors, "/arrows", 3.0)

    def _make_lines(self, handle, lines, colors, name="/lines", thickness=1.5):
        points = self._units(lines).astype(np.float32)
        colors = np.repeat(_linear(_rgb(colors, len(lines)))[:, None], 2, axis=1)
        if handle is None:
            return self._server.scene.add_line_segments(
                name, points, colors, thickness=thickness, thickness_units="screen"
            )
        handle.points, handle.colors = points, colors
        return handle


def arrows_of(x: np.ndarray, vectors: np.ndarray, length: float, strongest: float):
    """Arrows for `WebFrame` at x (m, 3) m, as dictionary: vectors (m, 3) are drawn length m long
    where their strength is strongest, and coloured by it."""
    tips = x + length / max(strongest, 1e-30) * vectors
    colors = strength_colors(np.linalg.norm(vectors, axis=1), (0, strongest))
    return {"arrows": np.stack([x, tips], axis=1), "arrow_colors": colors}


def _with_heads(arrows: np.ndarray) -> np.ndarray:
    """(m PIECES, 2, 3) m: shafts (m, 2, 3) m, each with the edges of its head."""
    tails, tips = np.asarray(arrows, float)[:, 0], np.asarray(arrows, float)[:, 1]
    along = tips - tails
    side = np.cross(along, np.eye(3)[np.abs(along).argmin(axis=1)])
    lengths = np.linalg.norm(along, axis=1, keepdims=True)
    side *= lengths / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-30)
    other = np.cross(along, side) / np.maximum(lengths, 1e-30)
    edges = [np.stack([tails, tips], axis=1)]
    for way in (side, -side, other, -other):
        edges.append(np.stack([tips, tips - HEAD * (along - 0.4 * way)], axis=1))
    return np.stack(edges, axis=1).reshape(-1, 2, 3)


def _parts(frame: WebFrame, kind: str) -> tuple:
    if kind == "particles":
        return frame.x, frame.colors
    if kind == "splats":
        return (frame.splats,)
    if kind == "arrows":
        return frame.arrows, frame.arrow_colors
    return frame.lines, frame.line_colors


def _rgb(colors, count: int) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(colors, np.uint8), (count, 3)))


def _linear(colors: np.ndarray) -> np.ndarray:
    """The page brightens lines as if their colours were amounts of light."""
    return np.round(255 * (colors / 255) ** 2.2).astype(np.uint8)


def _legend(limits: tuple[float, float], name: str) -> str:
    """A bar of the strength colours with its limits."""
    low, high = limits
    steps = strength_colors(np.linspace(low, high, 12), limits)
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in steps.tolist())
    return (
        f'<div style="padding:0 1em;font-size:0.8em"><div>{escape(name)}</div>'
        f'<div style="height:0.8em;background:linear-gradient(to right,{stops})"></div>'
        '<div style="display:flex;justify-content:space-between">'
        f"<span>{low:.3g}</span><span>{high:.3g}</span></div></div>"
    )


def _view(corners, up, azimuth, elevation, eye, target):
    """Eye and target (3,) m of the first look."""
    middle = corners.mean(axis=0)
    if eye is not None:
        return np.asarray(eye, float), middle if target is None else np.asarray(target, float)
    up = np.asarray(up, float) / np.linalg.norm(up)
    ahead = np.cross(up, [1, 0, 0] if abs(up[0]) < 0.9 else [0, 1, 0])
    ahead /= np.linalg.norm(ahead)
    turn, tilt = math.radians(azimuth), math.radians(elevation)
    outward = math.sin(turn) * np.cross(ahead, up) - math.cos(turn) * ahead
    outward = math.cos(tilt) * outward + math.sin(tilt) * up
    half = 0.5 * ROOM * max(float(np.linalg.norm(corners[1] - corners[0])), 1e-12)
    return middle + half / math.sin(math.radians(FOV) / 2) * outward, middle


# The server


def check_installed():
    """The package viser. Raises NoWeb, in one sentence, where it is absent."""
    try:
        import viser
    except ImportError as error:
        raise NoWeb(f"the web page needs viser ({error}): {COMMAND}") from None
    return viser


def _free_port(port: int) -> int:
    """The first free port from `port` on; any free one for 0."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= MAX_PORT:
        raise ValueError(f"port: got {port}, expected 0 to {MAX_PORT}")
    for number in range(port, min(port + 100, MAX_PORT + 1)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, number))
            except OSError as error:
                reason = error.strerror
                continue
            return probe.getsockname()[1]
    raise ValueError(f"port: {port} and those after it cannot be used ({reason})")


def _start(viser, port: int, title: str):
    with contextlib.redirect_stdout(io.StringIO()):  # a banner
        server = viser.ViserServer(host=HOST, port=port, label=title, verbose=False)
    # a page could ask for a tunnel that makes it public
    server.request_share_url = lambda *_, **__: None
    return server


def _stop(server) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # "Server stopped"
        server.stop()
