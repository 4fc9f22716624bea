"""Recover the force that carries particles along given trajectories, interval by interval.

For the video interval [t, t+1] the state at t is known; the field's parameters are optimized so
that the simulated particles meet their targets at t+1 ("Seeing the wind", eqs 4, 9, 14):

    L = L_motion + l1 L_space + l2 L_time
    L_motion = mean |xhat - x| / (dt^2 / 2) + velocity_weight mean |vhat - v| / dt   at t+1, m/s^2

The state is then advanced with the result, cut off from the graph, and the next interval starts
warm. The paper's loss is the first term of L_motion. Alone it is only marginally stable: a force
that meets every position turns an error e of the velocity at t into -e at t+1, so that recovered
forces alternate. With the slopes vhat of the targets beside it errors decay (in least squares by
0.6 an interval). velocity_weight = 0 gives the paper's form.

Gravity is part of the force that is recovered: a video cannot tell it from a wind.
"""

import contextlib
import copy
import dataclasses
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from tqdm import tqdm

from inverse.runs.checkpoint import Resumable, fingerprint_of
from inverse.runs.clock import warned_if_long
from inverse.wind.config import WindConfig
from inverse.wind.forces import Form
from inverse.wind.forces.field import Field
from inverse.wind.forces.make import make_field
from inverse.wind.forces.own import choose_objects, own_fields
from inverse.wind.impacts import bridged, pieces
from inverse.wind.spread import Bending, Spread
from inverse.wind.torn import heal
from taichi_phys import MPM, SimulationError, State
from taichi_phys.rotations import nearest_rotation


MIN_SUBSTEPS = 8  # per video interval
SHORTER = "--every 2, --frames 30 or --iterations 30 shortens that, --resume goes on after a stop"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WindResult:
    """A recovered motion of T frames and n particles.

    x: (T, n, 3) m; v: (T, n, 3) m/s; F: (T, n, 3, 3); force: (T-1, n, 3) N, held during each
    interval; loss: (T-1,) L_motion in m/s^2 at the end of each interval; fields: state_dict of the
    force field after each interval; healed: how many particles were torn at a frame and went on
    undeformed, by frame; nudges: (T-1, n, 3) N, which acted beside the force in the simulation and
    are no part of it (smoothing), None where there were none; spread: how well the smoothing pass
    knows the force, and bending: whether the material explains how the object bends, None without
    it; weight: what it presumes of the weight of a held body, in words, None where that is no
    question.
    """

    x: torch.Tensor
    v: torch.Tensor
    F: torch.Tensor
    force: torch.Tensor
    loss: list[float]
    fields: list[dict[str, torch.Tensor]]
    healed: dict[int, int] = dataclasses.field(default_factory=dict)
    nudges: torch.Tensor | None = None
    spread: Spread | None = None
    bending: Bending | None = None
    weight: str | None = None

    @property
    def nudged(self) -> float | None:
        """Size of the nudges as a share of the force, None where there were none."""
        return None if self.nudges is None else float(self.nudges.norm() / self.force.norm())

    def frame_forces(self) -> torch.Tensor:
        """(T, n, 3) N: the force averaged over the frame interval centered on each frame."""
        return at_frames(self.force)


def at_frames(f: torch.Tensor) -> torch.Tensor:
    """Averages (T, ...) over the frame intervals centered on each frame, from averages (T-1, ...)
    over the intervals between frames.

    A cubic through four of them has the average (-1, 9, 9, -1) / 16 around the frame in their
    middle. Beside the ends two intervals are averaged, and the first and last frame have one only.
    """
    frames = torch.cat([f[:1], 0.5 * (f[:-1] + f[1:]), f[-1:]])
    if len(f) >= 4:
        frames[2:-2] += (f[1:-2] + f[2:-1] - f[:-3] - f[3:]) / 16
    return frames


def target_velocities(targets: np.ndarray, fps: float, lag: float = 0.0) -> np.ndarray:
    """(T, n, 3) m/s: slopes of the cubic spline through targets (T, n, 3) m, lag s before them."""
    t = np.arange(len(targets)) / fps
    return CubicSpline(t, targets, axis=0)(t - lag, 1)


def initial_velocities(
    targets: np.ndarray, fps: float, lag: float = 0.0, frames: int = 5
) -> np.ndarray:
    """(n, 3) m/s lag s before frame 0: slope of the parabola through the first targets."""
    frames = min(frames, len(targets))
    t = np.arange(frames) / fps + lag
    powers = np.stack([t**k for k in range(min(3, frames))], axis=1)
    flat = targets[:frames].reshape(frames, -1)
    return np.linalg.lstsq(powers, flat, rcond=None)[0][1].reshape(targets.shape[1:])


class WindSolver(Resumable):
    """Fits the force field to targets, one video interval after the other.

    sim: the simulator of the object, without gravity; targets: (T, n, 3) m; confidence: (T, n) in
    0..1, how much each target pulls; fps: frames per second; velocity: (n, 3) m/s half a substep
    before frame 0, default: from the targets; gaps: intervals in which something else moves the
    object, such as the blow of a floor: the motion goes on from the targets after them, and the
    force is that of the intervals around; body: (n,) int, the number of the object that each
    particle belongs to, from 0, default: all to one; each has a field of its own; form: of the
    force, default: any that acts everywhere; start: how the body lies in frame 0, default: as the
    simulator has it; checkpoint: file written as it goes on.
    """

    def __init__(
        self,
        sim: MPM,
        targets: np.ndarray,
        *,
        fps: float,
        config: WindConfig,
        confidence: np.ndarray | None = None,
        velocity: np.ndarray | None = None,
        gaps: Collection[int] = (),
        body: np.ndarray | None = None,
        form: Form | None = None,
        start: State | None = None,
        checkpoint: Path | None = None,
    ):
        n = len(sim.mass)
        body = np.zeros(n, dtype=np.int64) if body is None else np.asarray(body)
        targets = np.asarray(targets, dtype=np.float64)
        if targets.ndim != 3 or targets.shape[1:] != (n, 3) or len(targets) < 4:
            raise ValueError(f"targets: got shape {targets.shape}, expected (T >= 4, {n}, 3)")
        if not np.isfinite(targets).all():
            raise ValueError(f"targets: {(~np.isfinite(targets)).sum()} values are not finite")
        confidence = np.ones(targets.shape[:2]) if confidence is None else np.asarray(confidence)
        if confidence.shape != targets.shape[:2]:
            raise ValueError(
                f"confidence: got shape {confidence.shape}, expected {targets.shape[:2]}"
            )
        self.sim, self.config, self.frame_dt, self.checkpoint = sim, config, 1 / fps, checkpoint
        speed = np.linalg.norm(np.diff(targets, axis=0), axis=-1).max() * fps
        self.substeps = max(MIN_SUBSTEPS, sim.substeps(self.frame_dt, 2 * float(speed)))
        # Symplectic Euler is leapfrog: its velocities live half a substep before its positions.
        # A pulse moves farther than the same impulse held: for the same positions its velocities
        # at frames are those of a moment earlier.
        on = self._pulse_substeps()
        rest = (self.substeps - on) / self.substeps
        # How far a unit of force per mass moves a particle within an interval, m per m/s^2: of a
        # pulse in k of S substeps dt^2 (1 - (k - 1) / 2S), of a held force half of dt^2.
        share = 0.5 if on == self.substeps else 1 - (on - 1) / (2 * self.substeps)
        self.way = share * self.frame_dt**2
        lag = 0.5 * self.frame_dt / self.substeps + 0.5 * self.frame_dt * rest
        self.gaps = frozenset(gaps)
        velocities = target_velocities(targets, fps, lag)
        self._starts: dict[int, torch.Tensor] = {}  # velocities after gaps
        for first, last in pieces(len(targets), self.gaps):
            part = targets[first : last + 1]
            velocities[first : last + 1] = target_velocities(part, fps, lag)
            start_speed = torch.as_tensor(initial_velocities(part, fps, lag))
            self._starts[first] = start_speed.to(sim.device, sim.dtype).contiguous()
        if velocity is None:
            velocity = self._starts.get(0, velocities[0])
        self.targets = torch.as_tensor(targets).to(sim.device, sim.dtype)
        self.velocities = torch.as_tensor(velocities).to(sim.device, sim.dtype)
        self.weights = torch.as_tensor(confidence).to(sim.device, sim.dtype)
        self.body, self.form = torch.as_tensor(body).to(sim.device), form or Form()
        mass = sim.mass.double().cpu().numpy()
        field: Any = own_fields(
            lambda own: make_field(own, fps, config, sim.grid.dx, self.form, mass), targets, body
        )
        self.field: Field = field.to(sim.device, sim.dtype)
        start = sim.initial_state() if start is None else start
        velocity = torch.as_tensor(velocity).to(sim.device, sim.dtype)
        self.states = [start.replace(v=velocity.contiguous())]
        self.forces: list[torch.Tensor] = []
        self.losses: list[float] = []
        self.fields: list[dict] = []
        self.healed: dict[int, int] = {}

    @property
    def device(self) -> torch.device:
        """Where the simulation computes."""
        return self.sim.device

    def fingerprint(self) -> str:
        """Digest of the settings and of the targets, weights, particles, objects and gaps."""
        arrays = [self.targets, self.weights, self.sim.mass, self.sim.parameters()]
        if self.body.any():
            arrays.append(self.body)
        settings = dataclasses.asdict(self.config)
        return fingerprint_of((settings, sorted(self.gaps), self.form.record()), arrays)

    def state(self) -> dict[str, Any]:
        """States, forces, losses and fields of the intervals so far; and what makes the field."""
        names = [field.name for field in dataclasses.fields(State)]
        return {
            "states": [{name: getattr(s, name) for name in names} for s in self.states],
            "forces": self.forces,
            "losses": self.losses,
            "fields": self.fields,
            "healed": self.healed,
            "field": {"steps": self.field.steps, "scale": self.field.scale},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The reverse of state()."""
        self.states = [State(**one) for one in state["states"]]
        self.forces, self.losses = state["forces"], state["losses"]
        self.fields, self.healed = state["fields"], state.get("healed", {})
        if self.fields:
            self.field.load_state_dict(self.fields[-1])

    def solve(self, *, progress: bool | None = None) -> WindResult:
        """Run all intervals that are left; progress: show a bar, default: on a terminal only."""
        intervals = len(self.targets) - 1
        disable = None if progress is None else not progress
        with tqdm(
            total=intervals, initial=len(self.forces), desc="force", unit="frame", disable=disable
        ) as bar:
            for step in warned_if_long(range(len(self.forces), intervals), "force", SHORTER):
                self.field.begin_step(step)
                if step in self.gaps:
                    self._bridge(step)
                else:
                    try:
                        self._commit(step, self._fit(step))
                    except SimulationError:
                        self._mend(step)
                self.save_at(len(self.forces))
                bar.update()
                bar.set_postfix_str(f"loss {self.losses[-1]:.3g} m/s²")
        self.save()
        return WindResult(
            x=torch.stack([s.x for s in self.states]),
            v=torch.stack([s.v for s in self.states]),
            F=torch.stack([s.F for s in self.states]),
            force=bridged(torch.stack(self.forces), self.gaps),
            loss=self.losses,
            fields=self.fields,
            healed=self.healed,
        )

    def particle_force(self, state: State, step: int) -> torch.Tensor:
        """(n, 3) N: the field is a force per mass, since motion tells no more than that."""
        return self.sim.mass[:, None] * self.form.specific(self.field(state.x, step), state.v)

    @property
    def pulse(self) -> float:
        """Share of an interval in which its force acts, in whole substeps."""
        return self._pulse_substeps() / self.substeps

    def _pulse_substeps(self) -> int:
        """Substeps of an interval in which the force acts."""
        return max(1, round(self.config.pulse * self.substeps))

    def advance(self, state: State, force: torch.Tensor) -> State:
        """One video interval: the force is held, or acts in a pulse of the same impulse."""
        total, dt = self.substeps, self.frame_dt / self.substeps
        on = self._pulse_substeps()
        force = force * (total / on)
        state = self.sim.advance(state, frame_dt=on * dt, force=force, substeps=on)
        if on == total:
            return state
        return self.sim.advance(state, frame_dt=(total - on) * dt, substeps=total - on)

    def _residuals(self, step: int, state: State) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, 3) m/s^2 by which the acceleration missed the target positions and velocities."""
        position = (self.targets[step + 1] - state.x) / self.way
        velocity = (self.velocities[step + 1] - state.v) / self.frame_dt
        return position, velocity

    def motion_loss(self, step: int, state: State) -> torch.Tensor:
        """L_motion, m/s^2, of the state at the end of interval step."""
        weight = self.weights[step + 1] * self.sim.mass
        position, velocity = self._residuals(step, state)
        miss = position.abs().sum(dim=1) + self.config.velocity_weight * velocity.abs().sum(dim=1)
        return (weight * miss).sum() / weight.sum().clamp(min=1e-12)

    def _fit(self, step: int) -> float:
        config, start = self.config, self.states[-1]
        self._shift(step, start)
        optimizer = torch.optim.Adam(self.field.parameters(), lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, config.iterations, eta_min=config.learning_rate * 0.02
        )
        best, best_loss, best_motion = None, float("inf"), float("nan")
        for _ in range(config.iterations):
            optimizer.zero_grad()
            try:
                end = self.advance(start, self.particle_force(start, step))
                motion = self.motion_loss(step, end)
            except (SimulationError, ValueError):  # ValueError: a force that is not finite
                if best is None:
                    raise
                # The step went too far: back to the best field, with half the step.
                self.field.load_state_dict(best)
                for group in optimizer.param_groups:
                    group["lr"] *= 0.5
                continue
            loss = (
                motion
                + config.space_weight * self.field.space_variation()
                + config.time_weight * self.field.time_variation()
            )
            if loss.item() < best_loss:
                best, best_loss = copy.deepcopy(self.field.state_dict()), loss.item()
                best_motion = motion.item()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.field.parameters(), config.gradient_limit)
            if not torch.isfinite(norm):
                continue  # or Adam would keep it in its moments, and every later step be lost
            optimizer.step()
            schedule.step()
        if best is not None:
            self.field.load_state_dict(best)
        self._shift(step, start)
        return best_motion

    def _shift(self, step: int, start: State):
        """Newton step on the net force: internal forces do not move the center of mass."""
        with torch.no_grad():
            end = self.advance(start, self.particle_force(start, step))
            weight = (self.weights[step + 1] * self.sim.mass)[:, None]
            position, velocity = self._residuals(step, end)
            ratio = self.config.velocity_weight**2
            residual = (position + ratio * velocity) / (1 + ratio)
            sums = [
                (weight[own] * residual[own]).sum(dim=0) / weight[own].sum().clamp(min=1e-12)
                for own in choose_objects(self.body)
            ]
            missed = sums[0] if len(sums) == 1 else torch.stack(sums)
            self.field.shift(missed / self.form.slope)

    def _mend(self, step: int) -> None:
        """Go on where the simulation could not: with torn particles healed, or from the targets."""
        self.states[-1], self.healed[step] = heal(self.states[-1])
        if self.healed[step]:
            warnings.warn(
                f"frame {step}: the object was torn; {self.healed[step]} of {len(self.body)} "
                "particles went on with the shape that they had as the one at rest",
                stacklevel=2,
            )
            with contextlib.suppress(SimulationError):
                return self._commit(step, self._fit(step))
        self.healed[step] = len(self.body)
        warnings.warn(
            f"frame {step}: no force takes the object where its tracks are in the next frame; it "
            "goes on from there, free of stress",
            stacklevel=2,
        )
        self._bridge(step)

    def _bridge(self, step: int) -> None:
        """Go on from the targets after an interval of a gap, as a body that is free of stress."""
        self.states.append(self.placed(step + 1))
        self.forces.append(self.forces[-1] if self.forces else torch.zeros_like(self.targets[0]))
        self.losses.append(0.0)
        self.fields.append(copy.deepcopy(self.field.state_dict()))

    def placed(self, frame: int) -> State:
        """The body as the targets of a frame have it: its place and speed; free of stress."""
        start, place = self.states[0], self.targets[frame]
        turned = torch.zeros_like(start.F)
        for own in choose_objects(self.body):
            arms, later = (x[own] - x[own].mean(dim=0) for x in (start.x, place))
            turned[own] = nearest_rotation((later.T @ arms).double()).to(place)
        return start.replace(
            x=place.clone(), v=self._starts.get(frame, self.velocities[frame]).clone(),
            C=torch.zeros_like(start.C), F=turned, time=start.time + frame * self.frame_dt,
        )  # fmt: skip

    def _commit(self, step: int, loss: float):
        with torch.no_grad():
            start = self.states[-1]
            force = self.particle_force(start, step)
            self.states.append(self.advance(start, force).detach())
        self.forces.append(force)
        self.losses.append(loss)
        self.fields.append(copy.deepcopy(self.field.state_dict()))
