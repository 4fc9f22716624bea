"""What a viewer shows: stages, and the controls that they offer."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from renderers.camera import Camera


@dataclasses.dataclass(frozen=True, eq=False)
class Slider:
    """A number between low and high; log: moved by its logarithm; whole: an integer."""

    name: str
    get: Callable[[], float]
    set: Callable[[float], Any]
    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """One of several names."""

    name: str
    options: Sequence[str]
    get: Callable[[], str]
    set: Callable[[str], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Switch:
    """On or off."""

    name: str
    get: Callable[[], bool]
    set: Callable[[bool], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Button:
    """Something to do at once."""

    name: str
    action: Callable[[], Any]


class Stage:
    """What the viewer shows; a kind of thing overrides what it can do.

    title: of the window; up: (3,); azimuth, elevation: of the first view, degrees; fps: scene
    frames per second; playing; message: a line for the user; successor: a stage that the session
    goes on to, if one is put there.
    """

    title = "viewer"
    up: Sequence[float] = (0.0, 0.0, 1.0)
    azimuth, elevation = 25.0, 18.0
    fps = 24.0
    playing = False
    message = ""
    successor: "Stage | None" = None

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners (3,) m of what the first view shows."""
        raise NotImplementedError

    def picture(self, camera: Camera, fast: bool) -> np.ndarray:
        """(H, W, 3) uint8; fast: something moves, time matters more than quality."""
        raise NotImplementedError

    def side(self) -> np.ndarray | None:
        """(H, W, 3) uint8, a picture to be shown beside the view."""

    def advance(self) -> bool:
        """Go on a little; whether a scene frame is complete."""
        return True

    def seek(self, frames: int) -> None:
        """Go forwards or backwards by scene frames."""
        for _ in range(max(frames, 0)):
            while not self.advance():
                pass

    def reset(self) -> None:
        """Back to the start."""

    def controls(self) -> list:
        """Sliders, choices, switches and buttons, top to bottom."""
        return []

    def keys(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        """Keys of its own: what each does, and how."""
        return {}

    def legend(self) -> tuple[tuple[float, float], str] | None:
        """Limits and name of what colours show."""

    def status(self) -> list[str]:
        """Lines of text."""
        return []

    def cameras(self) -> list[Camera]:
        """Cameras that belong to it, beside the one that the mouse moves."""
        return []

    def grab(self, camera: Camera, pixel: tuple[float, float]) -> bool:
        """The mouse was pressed there: whether there is something to push."""
        return False

    def drag(self, camera: Camera, pixel: tuple[float, float]) -> None:
        """The mouse that grabbed something is there now."""

    def release(self) -> None:
        """It let go."""

    def film(self, session: Any, frame: int, frames: int) -> None:
        """Prepare frame `frame` of a film of `frames` in a `Session`; by default the next one."""
        if frame:
            self.seek(1)
