"""A session on a screen: mouse, keys, camera, pictures, recordings, all without a window.

`renderers.viewer.window` puts a screen into a window, `headless` into files.
"""

from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import numpy as np

from renderers.camera import Camera
from renderers.images import write_png
from renderers.splats.files import save_gaussians
from renderers.splats.frames import ball_gaussians, frame_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.viewer.eye import Eye
from renderers.viewer.picture import draw
from renderers.viewer.recorder import Recorder
from renderers.viewer.session import Session
from renderers.viewer.snapshot import Snapshot


FAST = 0.5  # share of the size at which pictures are drawn while something moves
REST = 0.25  # s without motion after which the full size comes back
PANEL = 300  # px, width of the controls
SIDE = 0.36  # of the width, for a picture beside the view
ZOOM = 1.15  # by a key
MOUSE = (
    "left drag: push, beside the body turn",
    "right drag: turn",
    "middle or Shift+right: move",
    "Control+right: nearer, farther",
)


class Screen:
    """A session under mouse and keys.

    width, height: px; out: folder of screenshots and videos; panel: whether controls cover the
    right edge of the picture.
    """

    def __init__(
        self, session: Session, *, width: int = 1280, height: int = 720,
        out: str | Path = "out/view", panel: bool = True,
    ):  # fmt: skip
        self.session, self.width, self.height = session, width, height
        self.panel, self.help, self.running = panel, True, True
        self.opened: str | None = None  # the choice whose options are listed
        self.recorder = Recorder(out)
        self._mode, self._at, self._moved = "", (0.0, 0.0), 0.0
        self._picture: np.ndarray | None = None
        self.caption, self._full, self._turned = "", False, False
        self._seen = session.changes, session.frames
        self._look()

    def _look(self) -> None:
        """See the session's stage from its own side."""
        self.stage, self.opened = self.session.stage, None
        self.eye = Eye(self.stage)
        self.home()

    # The camera

    def home(self) -> None:
        """See all of the stage."""
        now = self.stage.snapshot(fast=True)
        self._side = 0
        if now.side is not None:
            aspect = now.side.shape[1] / now.side.shape[0]
            self._side = round(min(SIDE * self.width, self.height * aspect))
        left, right = self._span()
        self.eye.see(now.box, (right - left) / self.height)
        self.stir()

    def _span(self) -> tuple[float, float]:
        """Columns between which the view is free."""
        return self._side, self.width - (PANEL if self.panel else 0)

    def camera(self, share: float = 1.0) -> Camera:
        """The camera of the picture at a share of its size."""
        left, right = (share * edge for edge in self._span())
        return self.eye.camera(round(share * self.width), round(share * self.height), left, right)

    # Mouse and keys

    def pointer(self, x: float, y: float, held: Set[str]) -> None:
        """The mouse is at x, y px from the top left corner; held: which of LMB, RMB, MMB, Shift,
        Control."""
        last, self._at = self._at, (x, y)
        if not held & {"LMB", "RMB", "MMB"}:
            if self._mode == "push":
                self.session.do(self.stage.release)
            self._mode = ""
        elif not self._mode:
            self._mode = self._begin(x, y, held)
        elif (x, y) != last and self._mode != "panel":
            if self._mode == "push":
                self.session.do(self.stage.drag, self.camera(), self._at)
            else:
                self.eye.drag(self._mode, self.camera(), x - last[0], y - last[1])
                self._turned = True
            self.stir()

    def _begin(self, x: float, y: float, held: Set[str]) -> str:
        if self.panel and x >= self.width - PANEL:
            return "panel"
        if "LMB" in held:
            return "push" if self.session.do(self.stage.grab, self.camera(), (x, y)) else "turn"
        if "MMB" in held or "Shift" in held:
            return "move"
        return "zoom" if "Control" in held else "turn"

    def actions(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        """What each key does: those of the session and the stage, then its own."""

        def flip(name: str) -> Callable[[], None]:
            return lambda: setattr(self, name, not getattr(self, name))

        return self.session.actions() | {
            "Up": ("nearer", lambda: self.eye.zoom(1 / ZOOM)),
            "Down": ("farther", lambda: self.eye.zoom(ZOOM)),
            "f": ("whole scene", self.home),
            "c": ("next camera", lambda: self.eye.next(self.stage.views)),
            "s": ("screenshot", self.screenshot),
            "v": ("start or end a video", self.record),
            "h": ("help", flip("help")),
            "g": ("hide or show this panel", flip("panel")),
            "q": ("quit", flip("running")),
        }

    def press(self, key: str) -> None:
        """A key went down: a letter, a space, Left, Right, Up or Down."""
        if key in (actions := self.actions()):
            self.session.do(actions[key][1])
        self._follow()

    # Pictures

    def stir(self) -> None:
        """Something changed: draw again, fast until it is at rest."""
        self._moved, self._picture = self.session.clock(), None

    def tick(self) -> None:
        """Let the stage go on while it plays."""
        self.session.tick()
        self._follow()

    def _follow(self) -> None:
        """Take over what has changed in the session."""
        changes, frames = self._seen
        self._seen = self.session.changes, self.session.frames
        if self.session.stage is not self.stage:
            self._look()
        if self.session.changes != changes:
            self.stir()
        if self.session.frames != frames:
            self.recorder.add(self.draw)

    @property
    def busy(self) -> bool:
        """Whether something moves or waits to be drawn at full size."""
        return self._picture is None or not self._full

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 at the full size, or smaller while something moves."""
        self._follow()
        rests = self.session.clock() - self._moved > REST
        if self._picture is None or (rests and not self._full):
            self._full = rests
            self._picture = self.draw(1.0 if rests else FAST, fast=not rests)
            if self._turned and not self.stage.playing:
                self.recorder.add(self.draw, every=1 / self.stage.fps)
            self._turned = False
        return self._picture

    def draw(self, share: float = 1.0, *, fast: bool = False) -> np.ndarray:
        """(H, W, 3) uint8 at a share of the size."""
        now = self.stage.snapshot(fast)
        self.caption = now.caption
        return draw(now, self.camera(share), round(share * self._side))

    def screenshot(self) -> None:
        """Write the picture at its full size."""
        self.stage.message = self.recorder.shoot(self.draw())

    def record(self) -> None:
        """Start a video, or end and write it."""
        self.stage.message = self.recorder.toggle(self.stage.fps)

    def close(self) -> None:
        """End what is going on: a recording is written."""
        if self.recorder.frames is not None:
            self.record()


def help_lines(screen: Screen) -> list[str]:
    """What mouse and keys do."""
    keys = {"space" if key == " " else key: text for key, (text, _) in screen.actions().items()}
    return [*MOUSE, *(f"{key}: {text}" for key, text in keys.items())]


def headless(
    screen: Screen, frames: int, folder: str | Path, *, splats: bool = False
) -> list[Path]:
    """Write pictures of a screen without a window: frame_0000.png and so on; their paths.

    splats: whether to write the Gaussians of each frame, too, as splats/frame_0000.ply and so on.
    Balls are written as round Gaussians. Of a stage that stands still, one file is written.
    """
    paths: list[Path] = []
    for frame in range(frames):
        if screen.stage.still:  # walk around it
            screen.eye.azimuth += 360 / frames if frame else 0
        else:
            screen.session.do(screen.stage.film, frame, frames)
        paths.append(Path(folder) / f"frame_{frame:04d}.png")
        write_png(paths[-1], screen.draw())
        if splats and not (screen.stage.still and frame):
            path = Path(folder) / "splats" / f"frame_{frame:04d}.ply"
            save_gaussians(path, _gaussians(screen.stage.snapshot()))
    return paths


def _gaussians(shown: Snapshot) -> Gaussians:
    """The Gaussians of a snapshot; raises ValueError if there is nothing that could be some."""
    if shown.splats is not None:
        return frame_gaussians(shown.splats)
    if shown.points is None:
        raise ValueError("splats: there is nothing here that Gaussians could show")
    return ball_gaussians(shown.points.x, shown.points.colors, shown.points.radius)
