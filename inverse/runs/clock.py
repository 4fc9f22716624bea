"""How long the stages of a run take."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Seconds spent in named stages: `with clock("video"): ...` fills clock.seconds["video"]."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
