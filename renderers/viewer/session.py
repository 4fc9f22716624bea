"""What a viewer does, without a window: mouse, keys, camera, recordings.

A `Session` turns mouse and keys into calls of a `Stage`, what is shown and moved, and asks it for
pictures. `renderers.viewer.window` puts a session into a window, `headless` into files.
"""

import math
import queue
import threading
import time
from pathlib import Path

import numpy as np

from renderers.camera import Camera
from renderers.images import write_png
from renderers.orbit import look_at
from renderers.overlay import draw_colorbar
from renderers.video import write_video
from renderers.viewer.stage import Stage


FOV = 40.0  # degrees, vertical
FAST = 0.5  # share of the size at which pictures are drawn while something moves
REST = 0.25  # s without motion after which the full size comes back
TURN = 0.35  # degrees per px of a drag
PANEL = 300  # px, width of the controls
SIDE = 0.36  # of the width, for a picture beside the view
KEYS = {  # key -> (what it does, method)
    " ": ("play or pause", "toggle"), "n": ("one frame", "step"), "r": ("to the start", "reset"),
    "Left": ("a frame back", "back"), "Right": ("a frame on", "step"),
    "Up": ("nearer", "nearer"), "Down": ("farther", "farther"), "f": ("whole scene", "home"),
    "c": ("next camera", "next_camera"), "s": ("screenshot", "screenshot"),
    "v": ("start or end a video", "record"), "b": ("what was shown before", "leave"),
    "h": ("help", "toggle_help"), "g": ("hide or show this panel", "toggle_panel"),
    "q": ("quit", "quit"),
}  # fmt: skip
MOUSE = (
    "left drag: push, beside the body turn", "right drag: turn", "middle or Shift+right: move",
    "Control+right: nearer, farther",
)  # fmt: skip


class Session:
    """A stage under mouse and keys; width, height: px; out: folder of screenshots and videos."""

    def __init__(
        self, stage: Stage, *, width: int = 1280, height: int = 720, out: str | Path = "out/view",
        panel: bool = True,
    ):  # fmt: skip
        self.width, self.height, self.out = width, height, Path(out)
        self.panel, self.help, self.running = panel, True, True
        self.opened: str | None = None  # the choice whose options are listed
        self.recorder: Recorder | None = None
        self._mode, self._at, self._moved = "", (0.0, 0.0), 0.0
        self._picture, self._full, self._turned = None, False, False
        self._past: list[Stage] = []
        self._next = -math.inf  # when the next scene frame may begin
        self.show(stage)

    def show(self, stage: Stage) -> None:
        """Put another stage in front of the camera."""
        self.stage, self.shown_camera, self.opened = stage, 0, None
        self.azimuth, self.elevation = stage.azimuth, stage.elevation
        self.home()

    # The camera

    def home(self) -> None:
        """See all of the stage."""
        lower, upper = (np.asarray(corner, float) for corner in self.stage.box())
        self.shown_camera = 0
        self.centre = (lower + upper) / 2
        left, right = self._span()
        slope = math.tan(math.radians(FOV) / 2) * min(1.0, (right - left) / self.height)
        size = max(float(np.linalg.norm(upper - lower)), 1e-6)
        self.radius = 0.5 * size / math.sin(math.atan(slope))
        self.stir()

    def _span(self) -> tuple[float, float]:
        """Columns between which the view is free."""
        side = self.stage.side()
        left = 0 if side is None else self._side_width(side)
        return left, self.width - (PANEL if self.panel else 0)

    def _side_width(self, side: np.ndarray) -> int:
        return round(min(SIDE * self.width, self.height * side.shape[1] / side.shape[0]))

    def camera(self, share: float = 1.0) -> Camera:
        """The camera of the picture at a share of its size."""
        width, height = round(share * self.width), round(share * self.height)
        left, right = (share * edge for edge in self._span())
        if self.shown_camera:
            given = self.stage.cameras()[self.shown_camera - 1]
            zoom = min((right - left) / given.width, height / given.height)
            return Camera(
                fx=zoom * given.fx, fy=zoom * given.fy, width=width, height=height,
                cx=(left + right) / 2 + zoom * (given.cx - given.width / 2),
                cy=height / 2 + zoom * (given.cy - given.height / 2),
                world_to_camera=given.world_to_camera,
            )  # fmt: skip
        up = np.asarray(self.stage.up, float) / np.linalg.norm(self.stage.up)
        ahead = np.cross(up, [1, 0, 0] if abs(up[0]) < 0.9 else [0, 1, 0])
        ahead /= np.linalg.norm(ahead)
        turn, tilt = math.radians(self.azimuth), math.radians(self.elevation)
        outward = math.sin(turn) * np.cross(ahead, up) - math.cos(turn) * ahead
        outward = math.cos(tilt) * outward + math.sin(tilt) * up
        return look_at(
            self.centre + self.radius * outward, self.centre, up, fov=FOV, width=width,
            height=height, cx=(left + right) / 2,
        )  # fmt: skip

    def nearer(self) -> None:
        self.zoom(1 / 1.15)

    def farther(self) -> None:
        self.zoom(1.15)

    def zoom(self, factor: float) -> None:
        """Change the distance to the centre."""
        self.shown_camera = 0
        self.radius *= factor
        self.stir()

    def next_camera(self) -> None:
        """The next of the stage's own cameras; after the last, the one that the mouse moves."""
        self.shown_camera = (self.shown_camera + 1) % (len(self.stage.cameras()) + 1)
        self.stir()

    # Mouse and keys

    def pointer(self, x: float, y: float, held: set[str]) -> None:
        """Where the mouse is, px from the top left corner, and which of LMB, RMB, MMB, Shift,
        Control are held."""
        buttons = held & {"LMB", "RMB", "MMB"}
        last, self._at = self._at, (x, y)
        if not buttons:
            if self._mode == "push":
                self.stage.release()
                self.stir()
            self._mode = ""
            return
        if not self._mode:
            self._mode = self._begin(x, y, held)
            return
        dx, dy = x - last[0], y - last[1]
        if not (dx or dy) or self._mode == "panel":
            return
        if self._mode == "push":
            self.stage.drag(self.camera(), (x, y))
        elif self._mode == "turn":
            self.shown_camera = 0
            self.azimuth -= TURN * dx
            self.elevation = min(max(self.elevation + TURN * dy, -89.0), 89.0)
        elif self._mode == "move":
            camera = self.camera()
            metres = self.radius / camera.fy
            self.centre = self.centre - metres * (dx * camera.rotation[0] + dy * camera.rotation[1])
        elif self._mode == "zoom":
            self.zoom(math.exp(0.005 * dy))
        self._turned = True
        self.stir()

    def _begin(self, x: float, y: float, held: set[str]) -> str:
        if self.panel and x >= self.width - PANEL:
            return "panel"
        if "LMB" in held:
            return "push" if self.stage.grab(self.camera(), (x, y)) else "turn"
        if "MMB" in held or "Shift" in held:
            return "move"
        return "zoom" if "Control" in held else "turn"

    def press(self, key: str) -> None:
        """A key went down: a letter, a space, Left, Right, Up or Down."""
        own = self.stage.keys()
        if key in own:
            own[key][1]()
        elif key in KEYS:
            getattr(self, KEYS[key][1])()
        else:
            return
        self.stir()

    def toggle(self) -> None:
        self.stage.playing = not self.stage.playing

    def step(self) -> None:
        self.stage.playing = False
        self.stage.seek(1)
        self._record()

    def back(self) -> None:
        self.stage.playing = False
        self.stage.seek(-1)

    def reset(self) -> None:
        self.stage.reset()

    def toggle_help(self) -> None:
        self.help = not self.help

    def toggle_panel(self) -> None:
        self.panel = not self.panel

    def quit(self) -> None:
        self.running = False

    def help_lines(self) -> list[str]:
        """What mouse and keys do."""
        names = {" ": "space"}
        keys = {**{k: text for k, (text, _) in KEYS.items()},
                **{k: text for k, (text, _) in self.stage.keys().items()}}  # fmt: skip
        return [*MOUSE, *(f"{names.get(key, key)}: {text}" for key, text in keys.items())]

    # Pictures

    def stir(self) -> None:
        """Something changed: draw again, fast until it is at rest."""
        self._moved, self._picture = time.monotonic(), None

    def tick(self) -> None:
        """Let the stage go on while it plays; take over a successor."""
        now = time.monotonic()
        if self.stage.playing and now >= self._next:  # not faster than in real time
            if self.stage.advance():
                self._next = max(self._next + 1 / self.stage.fps, now - 1 / self.stage.fps)
                self._record()
            self.stir()
        if self.stage.successor is not None:
            successor, self.stage.successor = self.stage.successor, None
            self.stage.playing = False
            self._past.append(self.stage)
            self.show(successor)

    def leave(self) -> None:
        """Back to the stage that was shown before."""
        if self._past:
            self.stage.playing = False
            self.show(self._past.pop())

    @property
    def busy(self) -> bool:
        """Whether something moves or waits to be drawn at full size."""
        return self._picture is None or not self._full

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 at the full size, or smaller while something moves."""
        rests = time.monotonic() - self._moved > REST
        if self._picture is None or (rests and not self._full):
            self._full = rests
            self._picture = self.draw(1.0 if rests else FAST, fast=not rests)
            if self._turned and not self.stage.playing:
                self._record(every=1 / self.stage.fps)
            self._turned = False
        return self._picture

    def draw(self, share: float = 1.0, *, fast: bool = False) -> np.ndarray:
        """(H, W, 3) uint8 at a share of the size."""
        import cv2

        picture = self.stage.picture(self.camera(share), fast)
        side, legend, width = self.stage.side(), self.stage.legend(), 0
        if side is not None:
            width = round(share * self._side_width(side))
            height = round(width * side.shape[0] / side.shape[1])
            top = max((picture.shape[0] - height) // 2, 0)
            small = cv2.resize(side, (width, height), interpolation=cv2.INTER_AREA)
            picture[:, :width] = picture[:, :width] // 4
            picture[top : top + height, :width] = small[: picture.shape[0]]
        if legend is not None:
            draw_colorbar(picture[:, width:], *legend)
        return picture

    def screenshot(self) -> Path:
        """Write the picture at its full size."""
        path = self._free("picture", ".png")
        write_png(path, self.draw())
        self.stage.message = f"wrote {path}"
        return path

    def record(self) -> None:
        """Start a video, or end and write it."""
        if self.recorder is None:
            self.recorder = Recorder(self._free("video", ".mp4"), self.stage.fps)
            self.stage.message = f"recording {self.recorder.path}"
        else:
            recorder, self.recorder = self.recorder, None
            self.stage.message = recorder.close()

    def _record(self, every: float = 0.0) -> None:
        """Add a picture to the video: one for each scene frame, or while the camera moves."""
        if self.recorder is not None:
            self.recorder.add(self.draw(), every)

    def _free(self, name: str, ending: str) -> Path:
        number = 0
        while (path := self.out / f"{name}_{number:03d}{ending}").exists():
            number += 1
        return path

    def close(self) -> None:
        """End what is going on: a recording is written."""
        if self.recorder is not None:
            self.record()


class Recorder:
    """A video that grows while the viewer runs; encoded on a thread of its own."""

    def __init__(self, path: Path, fps: float):
        self.path, self.frames, self._last = path, 0, -math.inf
        self._queue: queue.Queue = queue.Queue(maxsize=16)
        self._error, self._ended = "", False
        self._thread = threading.Thread(target=self._write, args=(fps,), daemon=True)
        self._thread.start()

    def _write(self, fps: float) -> None:
        try:
            write_video(self.path, self._pictures(), fps)
        except ValueError as error:
            self._error = str(error)
            for _ in self._pictures():  # nobody must wait for room in the queue
                pass

    def _pictures(self):
        while not self._ended:
            picture = self._queue.get()
            self._ended = picture is None
            if not self._ended:
                yield picture

    def add(self, picture: np.ndarray, every: float = 0.0) -> None:
        """Append a picture unless the last one is less than `every` s old."""
        now = time.monotonic()
        if now - self._last >= every:
            self._last, self.frames = now, self.frames + 1
            self._queue.put(picture)

    def close(self) -> str:
        """Write the end; what to tell the user."""
        self._queue.put(None)
        self._thread.join()
        if not self.frames:
            return "no frames, no video"
        return self._error or f"wrote {self.path}, {self.frames} frames"


def headless(session: Session, frames: int, folder: str | Path) -> list[Path]:
    """Write frames pictures of the session, frame_0000.png and so on, without a window."""
    session.panel = False
    session.home()
    paths = []
    for frame in range(frames):
        session.stage.film(session, frame, frames)
        paths.append(Path(folder) / f"frame_{frame:04d}.png")
        write_png(paths[-1], session.draw())
    return paths
