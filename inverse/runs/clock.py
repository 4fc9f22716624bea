"""A clock for the stages of a run."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Measures the time of named stages: `with clock("video"): ...` sets clock.seconds["video"]."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
