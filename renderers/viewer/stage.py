"""What a viewer shows: stages, and the controls that they offer."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

from renderers.camera import Camera
from renderers.lines import Vector
from renderers.viewer.snapshot import Snapshot


@dataclasses.dataclass(frozen=True)
class Slider:
    """A number between low and high; log: moved by its logarithm; whole: an integer."""

    name: str
    get: Callable[[], float] = field(compare=False)
    set: Callable[[float], Any] = field(compare=False)
    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """Its two ends on its own scale."""
        return self._scale(self.low), self._scale(self.high)

    @property
    def place(self) -> float:
        """Where it stands on that scale."""
        return self._scale(min(max(self.get(), self.low), self.high))

    def value(self, place: float) -> float:
        """The value at a place on that scale."""
        return min(max(10.0**place if self.log else place, self.low), self.high)

    def _scale(self, value: float) -> float:
        return round(math.log10(value), 6) if self.log else value


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several names; its key goes on to the next."""

    name: str
    options: Sequence[str]
    get: Callable[[], str] = field(compare=False)
    set: Callable[[str], Any] = field(compare=False)
    key: str = ""

    def press(self) -> None:
        """Go on to the next option."""
        now = self.get()
        at = self.options.index(now) if now in self.options else -1
        self.set(self.options[(at + 1) % len(self.options)])


@dataclasses.dataclass(frozen=True)
class Switch:
    """On or off; its key flips it."""

    name: str
    get: Callable[[], bool] = field(compare=False)
    set: Callable[[bool], Any] = field(compare=False)
    key: str = ""

    def press(self) -> None:
        """Flip it."""
        self.set(not self.get())


@dataclasses.dataclass(frozen=True)
class Button:
    """Something to do at once, also by its key."""

    name: str
    press: Callable[[], Any] = field(compare=False)
    key: str = ""


Control = Slider | Choice | Switch | Button


def bound(thing: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Reads and writes an attribute: get and set of a control."""
    return functools.partial(getattr, thing, name), functools.partial(setattr, thing, name)


class Stage:
    """What a viewer shows; each kind of thing overrides what it can do. What cannot be done raises
    ValueError or tp.SimulationError, which a session tells the user.

    title: of the window; up: (3,); azimuth, elevation: of the first view, degrees; fps: scene
    frames per second; playing; message: a line for the user; views: cameras that belong to the
    scene, beside the one that the mouse moves; start: a camera from which a page looks first;
    successor: a stage that the session goes on to, if one is put there.
    """

    title = "viewer"
    up: Vector = (0.0, 0.0, 1.0)
    azimuth, elevation = 25.0, 18.0
    fps = 24.0
    playing = False
    message = ""
    views: Sequence[Camera] = ()
    start: Camera | None = None
    successor: "Stage | None" = None

    @property
    def still(self) -> bool:
        """Whether nothing moves, so that a film walks around it."""
        return False

    def snapshot(self, fast: bool = False) -> Snapshot:
        """What is there now; fast: something moves, time matters more than quality."""
        raise NotImplementedError

    def advance(self) -> bool:
        """Go on a little; whether a scene frame is complete."""
        return True

    def seek(self, frames: int) -> None:
        """Go forwards or backwards by scene frames."""
        for _ in range(max(frames, 0)):
            while not self.advance():
                pass

    def reset(self) -> None:
        """Go back to the start."""

    def controls(self) -> list[Control]:
        """Sliders, choices, switches and buttons, top to bottom."""
        return []

    def grab(self, camera: Camera, pixel: Vector) -> bool:
        """The mouse was pressed at a pixel (2,): whether there is something to push."""
        return False

    def drag(self, camera: Camera, pixel: Vector) -> None:
        """The mouse that grabbed something is at a pixel (2,) now."""

    def release(self) -> None:
        """The mouse let go."""

    def film(self, frame: int, frames: int) -> None:
        """Prepare picture number `frame` of a film of `frames`."""
        if frame:
            self.seek(1)


class Recorded(Stage):
    """Something recorded: frames from 0 to `last`, through which a slider moves."""

    frame, last = 0, 0

    @property
    def time(self) -> float:
        """Seconds since the start."""
        return self.frame / self.fps

    def go(self, frame: float) -> None:
        """Show a frame, and stay there."""
        self.frame, self.playing = min(max(round(frame), 0), self.last), False

    def controls(self) -> list[Control]:
        return [Slider("frame", lambda: self.frame, self.go, 0, self.last, whole=True)]

    def advance(self) -> bool:
        self.frame = self.frame + 1 if self.frame < self.last else 0
        return True

    def seek(self, frames: int) -> None:
        self.frame = min(max(self.frame + frames, 0), self.last)

    def reset(self) -> None:
        self.frame = 0

    def film(self, frame: int, frames: int) -> None:
        self.frame = round(self.last * frame / max(frames - 1, 1))
