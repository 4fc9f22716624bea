"""The smoothing pass: the force in all intervals at once, from the motion of the whole clip.

The paper fits an interval after the other: each must meet the next targets, errors of the targets
become forces, and the first intervals have nothing before them. Here the unknowns are the force in
all intervals and the velocities in frame 0, and the *force* is what is presumed to be smooth
(prior.py), not a network's weights. How smooth and how strong, and how wrong the targets are, the
clip says (evidence.py).

In a linear model of the clip (response.py) the most likely force follows from the coordinates d of
the modes in the targets at once. What the linear model lacks comes from the simulator, in a few
runs over the clip:

1. simulate with the force f, and with nudges g that keep soft modes near the targets, so that
   errors of the model do not add up over the clip;
2. d = J (f + g) + what the run missed: what the linear model must explain for the simulation to
   meet the targets; from d the next f.

This is Gauss-Newton's method with an approximate Jacobian J. It needs no gradients through the
simulator. The nudges are no part of the force: they shrink as f explains more, and how much they
are at the end says how far the linear model went.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from inverse.runs.checkpoint import Resumable, fingerprint_of
from inverse.wind.forces.field import OneVector
from inverse.wind.forces.own import OwnFields
from inverse.wind.impacts import bridged, pieces
from inverse.wind.smoothing.covariance import Gain, force_spread
from inverse.wind.smoothing.evidence import Model, TargetNoise
from inverse.wind.smoothing.field_fit import fit_field, keep_fields
from inverse.wind.smoothing.linear import LinearClip
from inverse.wind.smoothing.modes import Modes, find_modes
from inverse.wind.smoothing.prior import Strength, find_shapes, only_shape
from inverse.wind.solver import WindResult, WindSolver, at_frames
from inverse.wind.spread import Spread
from inverse.wind.targets import Tracked
from taichi_phys import SimulationError, State


CELLS = 24  # at most, of the grid of the modes, along the longest side
FINEST = 0.15  # of the object's size: length of the forces that modes are sought for
LOADS = 20  # functions of space of those
NUDGE = 0.3  # share of an error of a soft mode that is taken out in an interval
# Share of the way to what a run says, for what is held: it bends away from its modes in frame 0,
# and whole steps overshoot, to one side and to the other.
HELD_STEP = 0.5
# Root mean square of the nudges, over that of the force, above which the model explains nothing;
# unless, in an interval, they move the body by less than so much of its size: it rests.
MOST_NUDGED, UNSEEN = 0.25, 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A simulation of the clip.

    states: in all frames; specific: (T-1, n, 3) m/s^2, the force; nudges: (T-1, K) sqrt(kg) m/s^2,
    of modes; pushed: (T-1, n, 3) m/s^2, the same of particles; missed: (T, K) sqrt(kg) m, of the
    targets.
    """

    states: list[State]
    specific: np.ndarray
    nudges: np.ndarray
    pushed: np.ndarray
    missed: np.ndarray


class WindSmoother(Resumable):
    """Fits the force of all intervals at once.

    causal: the solver of intervals, which knows simulator, targets, confidence and settings; held:
    (n,) bool, particles that something holds; tracked: says how uncertain the targets are; steady:
    (3,) m/s^2, a push that something held may begin to carry in frame 0, its weight; checkpoint:
    file written after every run.
    """

    def __init__(
        self,
        causal: WindSolver,
        *,
        held: np.ndarray | None = None,
        tracked: Tracked | None = None,
        steady: Sequence[float] = (0.0, 0.0, 0.0),
        checkpoint: Path | None = None,
    ):
        self.causal, self.sim, self.config = causal, causal.sim, causal.config
        self.checkpoint, self.steady = checkpoint, np.asarray(steady)
        self.frame_dt, self.steps = causal.frame_dt, len(causal.targets) - 1
        self.targets, self.weights, self.mass = (
            t.double().cpu().numpy() for t in (causal.targets, causal.weights, causal.sim.mass)
        )
        x = causal.states[0].x.double().cpu().numpy()
        only = causal.form.only_shape(self.config, len(x))
        self.only = None if only is None else only_shape(only)
        self.size = float(np.ptp(x, axis=0).max())
        self.unit = float(np.sqrt(self.mass.sum()))
        self.linear = LinearClip(
            self._modes(x, np.zeros(len(x), dtype=bool) if held is None else held), self.steady, x,
            self.mass, self.targets, self.weights, self.frame_dt, causal.pulse, causal.form.drag,
            self.only, tracked,
        )  # fmt: skip
        self.choice: tuple[Strength, TargetNoise] | None = None
        self.path = np.zeros(0)  # coordinates (T, K) that the linear model is to explain
        self.done = 0  # runs

    def _modes(self, x: np.ndarray, held: np.ndarray) -> Modes:
        volume = self.sim.volume.double().cpu().numpy()
        mu, lam = self.sim.parameters()[:, :2].detach().double().cpu().numpy().T
        loads = find_shapes(x, self.mass, FINEST * self.size, LOADS).values
        if self.only is not None:
            loads = np.concatenate([loads, self.only.values], axis=1)
        spacing = max(self.sim.grid.dx, self.size / CELLS)
        everywhere = self.only is None or np.ptp(self.only.values) == 0
        weighs = everywhere and self.steady.any() and self.causal.form.drag is None
        push = self.steady if weighs else None
        return find_modes(
            x, self.mass, volume, (mu, lam), loads, held=held, spacing=spacing, push=push
        )

    @property
    def device(self) -> torch.device:
        """Where the simulation computes."""
        return self.sim.device

    def fingerprint(self) -> str:
        """Digest of the settings and of the targets, weights and particles."""
        arrays = (self.targets, self.weights, self.sim.mass, self.sim.parameters())
        settings = dataclasses.asdict(self.config), self.causal.form.record()
        return fingerprint_of(("smooth", *settings), arrays)

    def state(self) -> dict[str, Any]:
        """What the runs so far have brought."""
        return {
            "done": self.done,
            "path": torch.as_tensor(self.path),
            "choice": None if self.choice is None else [dataclasses.asdict(c) for c in self.choice],
            "begins": self.linear.begins,
            "doubt": self.linear.doubt,
            "onsets": torch.as_tensor(self.linear.onsets),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The reverse of state()."""
        self.linear.doubt, self.linear.onsets = state["doubt"], state["onsets"].cpu().numpy()
        if state["begins"] is not None:
            self.linear.take(state["begins"], loaded=True)
        self.done, self.path = state["done"], state["path"].cpu().numpy()
        if state["choice"] is not None:
            strength, noise = state["choice"]
            self.choice = Strength(**strength), TargetNoise(**noise)

    def solve(self, runs: int, *, progress: bool | None = None) -> WindResult:
        """The force after so many runs, of which some may be done.

        progress: show a bar, default: on a terminal only. Where the linear model is no guide to the
        simulation, raises SimulationError if that fails, and ValueError if its forces are not
        finite or nudges are too much of what moves it.
        """
        disable = None if progress is None else not progress
        with tqdm(
            total=runs, initial=self.done, desc="smoothing", unit="run", disable=disable
        ) as bar:
            if self.choice is None:
                self._choose()
                self.save()
            assert self.choice is not None
            linear, model = self.linear, self.linear.model(*self.choice)
            while self.done < runs - 1:
                gain = linear.gain(model)
                coefficients, speeds = gain(linear.unexplained(self.path))
                run = self._run(model, coefficients, speeds)
                share = 1.0 if linear.modes.free else HELD_STEP
                explained = self._explained(model, coefficients, speeds, run)
                self.path = explained if share == 1 else self.path + share * (explained - self.path)
                # How noisy it is shows when the simulation has told what bends far.
                near = linear.evidence.choose(linear.unexplained(self.path), near=model)
                self.choice, model = (near.strength, near.noise), near
                self.done += 1
                self.save()
                bar.update()
                bar.set_postfix_str(f"off by {1e3 * self._distance(run):.2g} mm")
            gain = linear.gain(model)
            coefficients, speeds = gain(linear.unexplained(self.path))
            run = self._run(model, coefficients, speeds)
            bar.update()
        result = self._result(model, coefficients, run)
        spread, bending = self._safe_spread(model, gain), linear.bending(gain, self.path)
        return dataclasses.replace(result, spread=spread, bending=bending, weight=linear.sentence())

    def spread(self) -> tuple[np.ndarray, Spread]:
        """(T, 3) m/s^2, the likeliest net force per mass in the linear model, and how well the
        force is known, without any run."""
        model = self._choose()
        gain = self.linear.gain(model)
        share = self.mass @ model.shapes.values / self.mass.sum()
        found, _ = gain(self.linear.unexplained(self.path))
        net = at_frames(torch.as_tensor(found @ share + self.linear.push)).numpy()
        return net, self._spread(model, gain)

    def _choose(self) -> Model:
        model = self.linear.choose()
        self.choice, self.path = (model.strength, model.noise), self.linear.path()
        return model

    def _safe_spread(self, model: Model, gain: Gain) -> Spread | None:
        """How well the force is known; None, with a warning, where that cannot be computed: it is
        no reason to lose the force."""
        try:
            return self._spread(model, gain)
        except (ValueError, np.linalg.LinAlgError) as error:
            warnings.warn(f"how well the force is known was not found ({error})", stacklevel=2)
            return None

    def _spread(self, model: Model, gain: Gain) -> Spread:
        """How well the force is known."""
        linear = self.linear
        pushes = linear.open_pushes(model)
        none = np.zeros_like(linear.start)
        moved = [
            linear.unexplained(linear.followed(model, push[..., None] * model.shapes.one, none))
            for push in pushes
        ]
        return force_spread(gain, self.mass, list(zip(pushes, moved, strict=True)))

    def _run(self, model: Model, coefficients: np.ndarray, speeds: np.ndarray) -> Run:
        """Simulate the clip. Raises SimulationError."""
        # What the linear model takes for errors of the targets is nothing to be taken out.
        linear, kept, h = self.linear, self.linear.kept, self.frame_dt
        errors = self.path - linear.followed(model, coefficients, speeds)
        forces = linear.forces(model, coefficients)
        v = linear.response.modes.shapes @ speeds
        soft = NUDGE / (1 + linear.response.modes.squared[:kept] * h * h)
        missed = np.zeros((self.steps + 1, kept))
        nudges, pushed = np.zeros((self.steps, kept)), np.zeros_like(forces)
        specific = np.zeros_like(forces)
        before = -errors[0]
        with torch.no_grad():
            start = self.causal.states[0]
            states = [start.replace(v=torch.as_tensor(v).to(start.x).contiguous())]
            for step in range(self.steps + 1):
                off = self.targets[step] - states[-1].x.double().cpu().numpy()
                missed[step] = linear.response.coordinates_in(step, off, linear.weights[step], kept)
                if step == self.steps:
                    break
                wrong = missed[step] - errors[step]
                nudges[step] = soft * (NUDGE * wrong + 2 * (wrong - before)) / h**2
                before = wrong
                pushed[step] = linear.response.turned(step, kept) @ nudges[step]
                v = states[-1].v.double()
                force = self.causal.form.specific(torch.as_tensor(forces[step]).to(v), v)
                specific[step] = force.cpu().numpy()
                newton = self.mass[:, None] * (specific[step] + pushed[step])
                states.append(self.causal.advance(states[-1], torch.as_tensor(newton).to(start.x)))
        return Run(states=states, specific=specific, nudges=nudges, pushed=pushed, missed=missed)

    def _explained(
        self, model: Model, coefficients: np.ndarray, speeds: np.ndarray, run: Run
    ) -> np.ndarray:
        """(T, K) sqrt(kg) m: what the linear model says of the forces and nudges of a run, and what
        the run missed: coordinates with which the model would meet the targets."""
        followed = self.linear.followed(model, coefficients, speeds, run.nudges)
        return followed + run.missed

    def _distance(self, run: Run) -> float:
        """m, root mean square between the modes of a run and of the targets."""
        return float(np.sqrt((run.missed**2).sum(axis=1).mean())) / self.unit

    def _result(self, model: Model, coefficients: np.ndarray, run: Run) -> WindResult:
        specific = run.specific
        pushed = np.sqrt((run.pushed**2).mean())
        nudged = pushed / max(np.sqrt((specific**2).mean()), 1e-300)
        if not (nudged <= MOST_NUDGED or pushed * self.frame_dt**2 < UNSEEN * self.size):
            raise ValueError(f"nudges are {nudged:.0%} of the force")
        x = torch.stack([state.x for state in run.states])
        mass = self.sim.mass[:, None]
        force, nudges = (torch.as_tensor(a).to(x) for a in (specific, run.pushed))
        field = self.causal.field
        if isinstance(field, OwnFields):
            raise ValueError("several objects have no field in common")
        if isinstance(field, OneVector):
            fields = field.states(torch.as_tensor(coefficients[..., 0] + self.linear.push))
        elif self.causal.form.drag is None:
            fields = fit_field(field, x[:-1], force, self.sim.mass)
        else:  # the air says it all
            fields = []
        keep_fields(self.causal, fields, self.fingerprint())
        losses = [
            float(self.causal.motion_loss(step, state)) for step, state in enumerate(run.states[1:])
        ]
        return WindResult(
            x=x,
            v=torch.stack([state.v for state in run.states]),
            F=torch.stack([state.F for state in run.states]),
            force=mass * force,
            nudges=mass * nudges,
            loss=losses,
            fields=fields,
        )


def solve_clip(
    causal: WindSolver,
    runs: int,
    *,
    held: np.ndarray | None = None,
    tracked: Tracked | None = None,
    steady: Sequence[float] = (0.0, 0.0, 0.0),
    checkpoint: Path | None = None,
    resume: bool = False,
) -> WindResult:
    """The force by the smoothing pass of so many runs; with 0 runs, or, with a warning, where the
    linear model is no guide to the simulation, interval by interval.

    held: (n,) bool; tracked, steady: as for WindSmoother; checkpoint: of the smoothing pass;
    resume: whether to go on from checkpoints. Raises ValueError for checkpoints of another run.
    """
    if runs > 0:
        smoother = None
        if not causal.gaps:
            smoother = WindSmoother(
                causal, held=held, tracked=tracked, steady=steady, checkpoint=checkpoint
            )
        if resume and smoother is not None:
            smoother.resume()
        try:
            if smoother is None:
                return _solve_pieces(causal, runs, tracked)
            return smoother.solve(runs)
        except (SimulationError, ValueError) as error:
            warnings.warn(
                f"smoothing over all frames does not work here ({error}); the force was found "
                "interval by interval",
                stacklevel=2,
            )
    if resume:
        causal.resume()
    return causal.solve()


def _solve_pieces(causal: WindSolver, runs: int, tracked: Tracked | None) -> WindResult:
    """The same of a free body for each part of a clip between gaps, such as blows of a floor."""
    frames, mass = len(causal.targets), causal.sim.mass
    states = [causal.placed(frame) for frame in range(frames)]
    x, v, F = (torch.stack([getattr(state, name) for state in states]) for name in "xvF")
    force, loss = torch.zeros_like(x[1:]), [0.0] * (frames - 1)
    nudges = torch.zeros_like(force)
    net, part = (np.full(shape, np.nan) for shape in ((frames, 3), x.shape))
    bendings = []
    for first, last in pieces(frames, causal.gaps):
        own, steps = slice(first, last + 1), slice(first, last)
        some = tracked and dataclasses.replace(tracked, shifts=tracked.shifts[:, own])
        found = WindSmoother(_piece(causal, first, last), tracked=some).solve(runs)
        assert found.nudges is not None
        x[own], v[own], F[own] = found.x, found.v, found.F
        force[steps], loss[steps] = found.force, found.loss
        nudges[steps] = found.nudges
        if found.bending is not None:
            bendings.append(found.bending)
        if found.spread is not None:
            net[own], part[own] = found.spread.net, found.spread.part
    force = bridged(force, causal.gaps)
    fields = []  # an air says it all
    if causal.form.drag is None:
        fields = fit_field(causal.field, x[:-1], force / mass[:, None], mass)
    keep_fields(causal, fields, causal.fingerprint())
    result = WindResult(
        x=x, v=v, F=F, force=force, nudges=nudges, loss=loss, fields=fields,
        bending=max(bendings, key=lambda one: one.error / one.usual, default=None),
    )  # fmt: skip
    known = np.flatnonzero(np.isfinite(net[:, 0]))
    if len(known) == 0:
        return result
    # What is taken from the frames around is known no better than these.
    after = np.minimum(np.searchsorted(known, np.arange(frames)), len(known) - 1)
    beside = known[after], known[np.maximum(after - 1, 0)]
    unknown = ~np.isfinite(net[:, 0])
    for values in (net, part):
        values[unknown] = np.maximum(*(values[frame[unknown]] for frame in beside))
    return dataclasses.replace(result, spread=Spread(net=net, part=part))


def _piece(causal: WindSolver, first: int, last: int) -> WindSolver:
    """The solver of the frames of a clip from first to last alone."""
    targets, weights = (
        t[first : last + 1].double().cpu().numpy() for t in (causal.targets, causal.weights)
    )
    return WindSolver(
        causal.sim, targets, fps=1 / causal.frame_dt, config=causal.config, confidence=weights,
        form=causal.form, start=causal.placed(first),
    )  # fmt: skip
