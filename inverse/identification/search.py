"""The stages of a search: how the motion begins, values that are tried, steps, a finer grid."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from inverse.identification.config import MaterialConfig
from inverse.identification.evidence import MotionEvidence
from inverse.identification.grids import FINER, Correction, GridRun, correction
from inverse.identification.simulator import BodySimulator
from inverse.identification.solve import Fitted, descend, scanned_names, size, slopes_of, tried
from inverse.identification.uncertainty import spreads
from inverse.identification.unknowns import Unknown, values_of
from inverse.runs.checkpoint import Resumable, fingerprint_of
from taichi_phys import SimulationError


EARLY = 6  # the first so manieth part of the clip shows how the motion begins
FEWEST = 4  # frames
ROUGH, ROUGH_STEPS = 0.05, 5  # tolerance and steps on the coarse grid, whose own errors are larger
ROUNDS = 3  # of corrections by a finer grid, at most; values that move less than CLOSE are done
CLOSE = 0.05  # logarithms
# Without a finer grid: share of the particles on another one, whose cells are 1.44 times as large.
# What that changes is about the error of the fine grid, as that falls with the cell squared.
THINNER, FEWEST_PARTICLES = 1 / 3, 64
PIECES = 8  # of the clip, each of whose errors may be alike
APART = 1.0  # of the numbers of two starts: nearer ones lead to the same end


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The numbers that were found.

    numbers: (p,); grid: (p,), by how much they would differ on a coarser grid; deviation:
    (p,) standard deviations, those of the grid included; samples: (p,) effective number of
    residuals; loss: root mean square of the residuals, and first_loss that of the guess; settled:
    whether the search came to rest.
    """

    numbers: np.ndarray
    grid: np.ndarray
    deviation: np.ndarray
    samples: np.ndarray
    loss: float
    first_loss: float
    settled: bool


class MaterialSearch(Resumable):
    """Finds the numbers with which a simulation meets the evidence.

    make: the simulator with so many particles; a checkpoint is written after each value that is
    tried and each stage, and a run that is resumed gives bit for bit what it would have given.
    """

    def __init__(
        self,
        make: Callable[[int], BodySimulator],
        evidence: MotionEvidence,
        unknowns: Sequence[Unknown],
        config: MaterialConfig,
        *,
        seed: int = 0,
        checkpoint: Path | None = None,
    ):
        self.make, self.evidence, self.unknowns = make, evidence, list(unknowns)
        self.config, self.seed, self.checkpoint = config, seed, checkpoint
        self.stages: dict[str, dict[str, Any]] = {}
        self.losses: list[float] = []  # of the values that were tried
        self.history: list[tuple[str, list[float], float]] = []  # stage, numbers, loss
        self._correction: Correction | None = None

    @property
    def device(self) -> torch.device:
        """Where checkpoints are loaded."""
        return torch.device("cpu")

    @property
    def finest(self) -> int:
        """Particles of the finest simulation."""
        return round(self.config.finer * self.config.particles)

    def fingerprint(self) -> str:
        """Digest of the settings, of what is sought and of the evidence."""
        settings = (dataclasses.asdict(self.config), self.seed, self.unknowns)
        x0 = self.make(self.config.coarse).x0
        self.evidence.bind(x0)
        still = np.broadcast_to(x0, (self.evidence.count, *x0.shape))
        return fingerprint_of(settings, [x0, self.evidence.residuals(still)])

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"stages": self.stages, "losses": self.losses, "history": self.history}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what state() returned."""
        self.stages, self.losses = dict(state["stages"]), list(state["losses"])
        self.history = [(stage, list(numbers), loss) for stage, numbers, loss in state["history"]]

    def solve(self, progress: bool | None = None) -> Found:
        """Search to the end. Raises ValueError if no value can be simulated."""
        config, count = self.config, self.evidence.count
        moving = [k for k, u in enumerate(self.unknowns) if u.begins]
        rest = [k for k, u in enumerate(self.unknowns) if not u.begins]
        everything = list(range(len(self.unknowns)))
        guess = start = np.array([u.encode(u.start) for u in self.unknowns])
        disable = None if progress is None else not progress
        with tqdm(desc="finding the material", unit="step", disable=disable) as self._bar:
            self._use(config.coarse)
            first = self._first_loss(start)
            if moving:
                early = max(FEWEST, count // EARLY)
                places = [k for k, u in enumerate(self.unknowns) if u.moves]
                start = self._stage("start", start, places, early).numbers
            if rest:
                half = max(FEWEST, (count + 1) // 2)
                ends = [
                    self._stage(f"first half {k}", trial, rest, half, rough=True).numbers
                    for k, trial in enumerate(self._best_starts(start))
                ]
                # the first half alone may have two answers, of which the whole clip shows one
                start = self._tried_again(min(ends, key=self._loss))
                # the first stage found how the motion begins for a wrong material
                begun = np.where([u.begins for u in self.unknowns], guess, start)
                trials = [start] if (begun == start).all() else [start, begun]
                ends = [
                    self._stage(f"coarse {k}", trial, everything, count, rough=True).numbers
                    for k, trial in enumerate(trials)
                ]
                start = min(ends, key=self._loss)
            self._use(config.particles)
            fine = self._corrected(self._stage("fine", start, everything, count))
            slopes = slopes_of(
                self._runner(count), self.unknowns, fine.numbers, everything, fine.substeps
            )
            rest = self._of_grid(fine)
        prior = np.array([u.prior[1] for u in self.unknowns])
        times = np.arange(len(fine.residuals)) * PIECES // len(fine.residuals)
        known = spreads(fine.residuals, slopes, [self.evidence.clusters, times], prior)
        grid = prior if rest is None else _share_of_grid(known.gain, rest, times)
        shares = np.ones(count) if self._correction is None else self._correction.shares
        return Found(
            numbers=fine.numbers,
            grid=grid,
            deviation=np.hypot(known.deviation, grid),
            samples=known.samples,
            loss=fine.loss / float(np.sqrt(shares.mean())),
            first_loss=first,
            settled=fine.settled,
        )

    def _corrected(self, fine: Fitted) -> Fitted:
        """What fits when the error of the grid is taken off, as a finer grid shows it."""
        count, everything = self.evidence.count, list(range(len(self.unknowns)))
        base, sharp = self._simulator, self.make(self.finest)
        if base.dx < FINER * sharp.dx:
            return fine
        rough = self.make(max(round(self.config.particles / self.config.finer), FEWEST_PARTICLES))
        for k in range(ROUNDS):
            values = values_of(self.unknowns, fine.numbers)
            try:
                run, finer = (GridRun(dx=b.dx, x=b.run(values, count)[0]) for b in (base, sharp))
                coarser = None
                if rough.dx > FINER * base.dx:
                    coarser = GridRun(dx=rough.dx, x=rough.run(values, count)[0])
            except SimulationError:
                break
            self._correction = correction(self.evidence, run, finer, coarser)
            before = fine.numbers
            fine = self._stage(f"corrected {k + 1}", before, everything, count)
            if np.abs(fine.numbers - before).max() < CLOSE:
                break
        return fine

    def _of_grid(self, fine: Fitted) -> np.ndarray | None:
        """(N,) of the residuals, about the error of the grid, None where nothing tells it."""
        if self._correction is not None:
            return self._correction.rest
        self._use(max(round(self.config.particles * THINNER), FEWEST_PARTICLES))
        try:
            return self._runner(self.evidence.count)(fine.numbers, ())[0] - fine.residuals
        except SimulationError:
            return None

    def _use(self, particles: int) -> None:
        self._simulator = self.make(particles)
        self.evidence.bind(self._simulator.x0)

    def _runner(self, frames: int) -> Callable[..., tuple[np.ndarray, list[int]]]:
        def run(numbers: np.ndarray, substeps: Sequence[int]) -> tuple[np.ndarray, list[int]]:
            values = values_of(self.unknowns, numbers)
            x, used = self._simulator.run(values, frames, substeps)
            found = self.evidence.residuals(x)
            return found if self._correction is None else found + self._correction.offset, used

        return run

    def _first_loss(self, start: np.ndarray) -> float:
        if "first" not in self.stages:
            loss = self._loss(start)
            self.stages["first"] = {"loss": loss if np.isfinite(loss) else -1.0}
        loss = self.stages["first"]["loss"]
        return np.inf if loss < 0 else loss

    def _loss(self, numbers: np.ndarray) -> float:
        try:
            return size(self._runner(self.evidence.count)(numbers, ())[0])
        except SimulationError:
            return np.inf

    def _best_starts(self, start: np.ndarray) -> list[np.ndarray]:
        """The best of the values that are tried, which lie apart."""
        config = self.config
        trials = tried(self.unknowns, start, config.scan, config.decades, self.seed)
        for trial in trials[len(self.losses) :]:
            self.losses.append(self._loss(trial))
            self._tell("trying", trial, self.losses[-1])
            self.save()
        if not np.isfinite(self.losses).any():
            raise ValueError("material: no value near the guess can be simulated")
        chosen: list[np.ndarray] = []
        for k in np.argsort(self.losses, kind="stable"):
            if len(chosen) == config.starts or not np.isfinite(self.losses[k]):
                break
            if all(np.abs(trials[k] - other).max() >= APART for other in chosen):
                chosen.append(trials[k])
        return chosen

    def _tried_again(self, numbers: np.ndarray) -> np.ndarray:
        """The best numbers on the whole clip when one quantity after the other is tried anew.

        What the first half did not tell, such as a yield stress that nothing had reached, may have
        gone anywhere; the rest of the clip may tell it.
        """
        if "again" in self.stages:
            return np.array(self.stages["again"]["numbers"])
        config, best, least = self.config, numbers, self._loss(numbers)
        for name in reversed(scanned_names(self.unknowns)):
            others = best
            for share in (np.arange(config.scan) + 0.5) / config.scan:
                trial = others.copy()
                for k, unknown in enumerate(self.unknowns):
                    if unknown.name == name:
                        low, high = unknown.reach(config.decades)
                        trial[k] = low + share * (high - low)
                loss = self._loss(trial)
                self._tell("trying", trial, loss)
                if loss < least:
                    best, least = trial, loss
        self.stages["again"] = {"numbers": best.tolist()}
        self.save()
        return best

    def _stage(
        self,
        name: str,
        numbers: np.ndarray,
        chosen: list[int],
        frames: int,
        *,
        rough: bool = False,
    ) -> Fitted:
        """A stage of the search, or what the checkpoint says of it; rough: a few steps only."""
        run = self._runner(frames)
        if name in self.stages:
            record = self.stages[name]
            kept = np.array(record["numbers"])
            residuals, substeps = run(kept, ())
            return Fitted(
                numbers=kept,
                residuals=residuals,
                substeps=substeps,
                loss=size(residuals),
                settled=record["settled"],
            )
        fitted = descend(
            run,
            self.unknowns,
            numbers,
            chosen,
            iterations=ROUGH_STEPS if rough else self.config.iterations,
            tolerance=ROUGH if rough else self.config.tolerance,
            on_step=lambda now, loss: self._tell(name, now, loss),
        )
        self.stages[name] = {"numbers": fitted.numbers.tolist(), "settled": fitted.settled}
        self.save()
        return fitted

    def _tell(self, stage: str, numbers: np.ndarray, loss: float) -> None:
        self.history.append((stage, numbers.tolist(), float(loss)))
        self._bar.set_postfix_str(f"{stage}: {loss:.3g} {self.evidence.unit}")
        self._bar.update()


def _share_of_grid(gain: np.ndarray, rest: np.ndarray, times: np.ndarray) -> np.ndarray:
    """By how much numbers (p,) may be off for errors rest (N,) of the grid, with their gain (p, N).

    The errors of pieces of the clip, of which times (N,) has the index, may cancel each other by
    chance: they count as if they did not.
    """
    pieces = np.stack([gain[:, times == k] @ rest[times == k] for k in range(PIECES)])
    return np.maximum(np.abs(pieces.sum(axis=0)), np.sqrt((pieces**2).sum(axis=0)))
