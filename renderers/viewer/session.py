"""A stage that is played, stepped, pushed and changed: what a window and a page share."""

import math
import time
from collections.abc import Callable
from typing import Any

import taichi_phys as tp
from renderers.viewer.stage import Choice, Slider, Stage


class Session:
    """A stage and its time. All of it belongs to the thread that made it.

    clock: seconds, for playing no faster than in real time; changes: counts what must be drawn
    anew; frames: counts the scene frames that were completed.
    """

    def __init__(self, stage: Stage, *, clock: Callable[[], float] = time.monotonic):
        self.stage, self.clock = stage, clock
        self.changes, self.frames = 0, 0
        self._past: list[Stage] = []
        self._next = -math.inf  # when the next scene frame may begin

    def stir(self) -> None:
        """Something changed: it must be drawn again."""
        self.changes += 1

    def tick(self) -> None:
        """Let the stage go on while it plays; take over a successor."""
        now, stage = self.clock(), self.stage
        if stage.playing and now >= self._next and self.do(stage.advance):
            self._next = max(self._next, now - 1 / stage.fps) + 1 / stage.fps
            self.frames += 1
        if stage.successor is not None:
            self._past.append(stage)
            self._show(stage.successor)
            stage.successor = None

    def _show(self, stage: Stage) -> None:
        self.stage.playing, self.stage = False, stage
        self.stir()

    def do(self, action: Callable[..., Any], *values: Any) -> Any:
        """Call something that changes what is there, for instance a control's `set`; None, and a
        message, if that cannot be done."""
        self.stir()
        try:
            return action(*values)
        except (ValueError, tp.SimulationError) as error:
            self.stage.playing, self.stage.message = False, " ".join(str(error).split())
            return None

    # What keys do

    def toggle(self) -> None:
        """Play, or stand still."""
        self.stage.playing = not self.stage.playing

    def step(self) -> None:
        """Go on by one frame, and stay there."""
        self.stage.playing = False
        self.stage.seek(1)
        self.frames += 1

    def back(self) -> None:
        """Go back by one frame, and stay there."""
        self.stage.playing = False
        self.stage.seek(-1)

    def leave(self) -> None:
        """Go back to the stage that was shown before."""
        if self._past:
            self._show(self._past.pop())

    def actions(self) -> dict[str, tuple[str, Callable[[], Any]]]:
        """What each key does: its own keys, then those of the stage's controls."""
        result: dict[str, tuple[str, Callable[[], Any]]] = {
            " ": ("play or pause", self.toggle),
            "n": ("one frame", self.step),
            "r": ("to the start", self.stage.reset),
            "Left": ("a frame back", self.back),
            "Right": ("a frame on", self.step),
            "b": ("what was shown before", self.leave),
        }
        for control in self.stage.controls():
            if not isinstance(control, Slider) and control.key:
                next_ = "next " if isinstance(control, Choice) else ""
                result[control.key] = f"{next_}{control.name}", control.press
        return result

    def press(self, key: str) -> bool:
        """A key went down: a letter, a space, Left or Right; whether it means something here."""
        action = self.actions().get(key)
        if action is not None:
            self.do(action[1])
        return action is not None
