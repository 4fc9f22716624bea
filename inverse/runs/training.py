"""A long optimisation that shows its progress, can be stopped, and goes on where it was."""

import abc
import time
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from inverse.runs.checkpoint import read_checkpoint, write_checkpoint
from taichi_phys import runtime


CHECKPOINT_EVERY = 500  # iterations
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


class Training(abc.ABC):
    """The loop around step(); config has iterations and minutes (or None), which end it.

    All that is random must come from generator() or from permutation(), which depend on the seed
    and the iteration only: then a resumed training goes on as if nothing had happened.
    """

    def __init__(self, config, *, seed: int = 0, checkpoint: str | Path | None = None):
        self.config, self.seed = config, seed
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.iteration, self.seconds = 0, 0.0
        self.losses: list[tuple[int, float]] = []
        self.note = ""  # beside the progress bar

    @abc.abstractmethod
    def step(self) -> float:
        """One iteration; returns its loss."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Digest of the settings and the input."""

    @abc.abstractmethod
    def state(self) -> dict:
        """What a checkpoint holds beside iteration, seconds and losses."""

    @abc.abstractmethod
    def load_state(self, state: dict) -> None:
        """The reverse of state()."""

    @property
    def device(self) -> torch.device:
        return runtime.ensure_initialized().device

    @property
    def progress(self) -> float:
        """How much is done, 0 to 1: of the iterations, or of the time if that ends first."""
        done = self.iteration / self.config.iterations
        if self.config.minutes is not None:
            done = max(done, self.seconds / (60 * self.config.minutes))
        return min(done, 1.0)

    def run(self) -> None:
        """Train to the end. Interrupted, it writes its checkpoint before it lets go."""
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

    quiet: bool | None = None  # None: where there is no terminal

    def elapsed(self, seconds: float) -> float:
        """Seconds of training so far, which several processes have to agree about."""
        return seconds

    def save(self) -> None:
        """Write the checkpoint, if one was asked for."""
        if self.checkpoint is not None:
            loop = {"iteration": self.iteration, "seconds": self.seconds, "losses": self.losses}
            write_checkpoint(self.checkpoint, self.fingerprint(), loop | self.state())

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one. Raises ValueError if it cannot be used."""
        if self.checkpoint is not None and self.checkpoint.exists():
            state = read_checkpoint(self.checkpoint, self.fingerprint(), self.device)
            self.load_state(state)
            self.iteration, self.seconds = state["iteration"], state["seconds"]
            self.losses = [tuple(pair) for pair in state["losses"]]

    def generator(self, stream: int = 0) -> torch.Generator:
        """Random numbers of this iteration; streams are independent of each other."""
        return torch.Generator().manual_seed(_hash(self.seed, self.iteration, stream))

    def permutation(self, count: int, draw: int) -> int:
        """Draw number `draw` of endless rounds through count things, each in a random order."""
        round_, place = divmod(draw, count)
        generator = torch.Generator().manual_seed(_hash(self.seed, round_, -1))
        return int(torch.randperm(count, generator=generator)[place])


def _hash(*numbers: int) -> int:
    entropy = np.random.SeedSequence([number % 2**63 for number in numbers])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)
