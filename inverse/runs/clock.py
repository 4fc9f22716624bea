"""A clock for the stages of a run."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence


# Steps after which the time of the rest is known, and s of it that nobody waits for unwarned.
TIMED, PATIENCE = 3, 600.0


class Clock:
    """Measures the time of named stages: `with clock("video"): ...` sets clock.seconds["video"]."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


def warned_if_long(steps: Sequence[int], what: str, shorter: str) -> Iterator[int]:
    """Steps, one after another, with a warning after the first few if the rest takes long.

    what: takes the time, a word; shorter: what a user may do about it.
    """
    began = time.monotonic()
    for done, step in enumerate(steps):
        if done == TIMED:
            left = (time.monotonic() - began) / TIMED * (len(steps) - TIMED)
            if left > PATIENCE:
                warnings.warn(
                    f"{what}: about {left / 60:.0f} minutes are left; {shorter}", stacklevel=2
                )
        yield step
