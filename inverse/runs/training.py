"""A long optimization that shows its progress, can be stopped, and can be resumed."""

import abc
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from inverse.runs.checkpoint import Resumable
from taichi_phys import runtime


CHECKPOINT_EVERY = 500  # iterations
MOST_RESERVED = 0.3  # of the time, for what follows the training
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


class Training(Resumable):
    """The loop that calls step() until it has done config.iterations or used config.minutes.

    config.minutes may be None for no limit. All random numbers must come from generator() or
    permutation(), which depend only on the seed and the iteration, so that a resumed training
    gives the same result as an uninterrupted one.
    """

    reserve = 0.0  # s of config.minutes that are kept for what follows the training
    quiet: bool | None = None  # None: show the progress bar if there is a terminal

    def __init__(self, config: Any, *, seed: int = 0, checkpoint: str | Path | None = None):
        self.config, self.seed = config, seed
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.iteration, self.seconds = 0, 0.0
        self.losses: list[tuple[int, float]] = []
        self.note = ""  # shown beside the progress bar

    @abc.abstractmethod
    def step(self) -> float:
        """One iteration; returns its loss."""

    @abc.abstractmethod
    def own_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds besides iteration, seconds and losses."""

    @abc.abstractmethod
    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore what own_state() returned."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        loop = {"iteration": self.iteration, "seconds": self.seconds, "losses": self.losses}
        return loop | self.own_state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what state() returned."""
        self.load_own_state(state)
        self.iteration, self.seconds = state["iteration"], state["seconds"]
        self.losses = [(iteration, loss) for iteration, loss in state["losses"]]

    @property
    def device(self) -> torch.device:
        """The device on which the training computes."""
        return runtime.ensure_initialized().device

    @property
    def progress(self) -> float:
        """The share that is done, 0 to 1: of the iterations or of the time, whichever is larger."""
        done = self.iteration / self.config.iterations
        if self.config.minutes is not None:
            whole = 60 * self.config.minutes
            done = max(done, self.seconds / (whole - min(self.reserve, MOST_RESERVED * whole)))
        return min(done, 1.0)

    def run(self) -> None:
        """Train to the end. If interrupted, write the checkpoint before the interrupt goes on."""
        bar = tqdm(total=self.config.iterations, initial=self.iteration, disable=self.quiet)
        with bar, runtime.one_torch_thread(), threadpool_limits(1):
            try:
                while self.progress < 1:
                    start = time.perf_counter()
                    loss = self.step()
                    self.iteration += 1
                    self.seconds = self.elapsed(self.seconds + time.perf_counter() - start)
                    if self.iteration % 50 == 0 or self.progress == 1:
                        self.losses.append((self.iteration, loss))
                        bar.set_postfix_str(self.note)
                    bar.update()
                    if self.iteration % CHECKPOINT_EVERY == 0:
                        self.save()
            finally:
                self.save()

    def elapsed(self, seconds: float) -> float:
        """Seconds of training so far, on which several processes must agree."""
        return seconds

    def generator(self, stream: int = 0) -> torch.Generator:
        """Random numbers of this iteration; different streams are independent of each other."""
        return torch.Generator().manual_seed(_hash(self.seed, self.iteration, stream))

    def permutation(self, count: int, draw: int) -> int:
        """Index number `draw` of an endless sequence of random permutations of count indices."""
        round_, place = divmod(draw, count)
        generator = torch.Generator().manual_seed(_hash(self.seed, round_, -1))
        return int(torch.randperm(count, generator=generator)[place])


def _hash(*numbers: int) -> int:
    entropy = np.random.SeedSequence([number % 2**63 for number in numbers])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)
