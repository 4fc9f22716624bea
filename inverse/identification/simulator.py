"""The object in the simulator, with values that change from run to run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline

import taichi_phys as tp
from inverse.identification.config import GUESSES
from inverse.identification.unknowns import Values


PIECES = 4  # of a frame, in each of which a known force is held
RETRIES = 3  # how often the time step is halved before a motion is given up


class BodySimulator:
    """Simulates the motion of bodies for any values of what is unknown.

    sim: the simulation for the guesses; labels: (n,) int, the part of each particle; t: (T,) s of
    the frames, from 0 on; force: beside gravity, over time (s -> (n, 3) m/s^2) or a force field of
    the scene; fixed_density: kg/m^3 for which the force is given in newtons, None if it is one per
    mass whatever the density is.
    """

    def __init__(
        self,
        sim: tp.MPM,
        labels: np.ndarray,
        t: np.ndarray,
        force: CubicSpline | tp.ForceField | None = None,
        fixed_density: float | None = None,
    ):
        self.sim, self.labels, self.t, self.force = sim, labels, t, force
        self.fixed_density = fixed_density
        start = sim.initial_state()
        self.x0, self.v0 = (a.double().cpu().numpy() for a in (start.x, start.v))
        self.center = self.x0.mean(axis=0)

    @property
    def dx(self) -> float:
        """The edge of the cells, m."""
        return self.sim.grid.dx

    def run(
        self, values: Values, frames: int, substeps: Sequence[int] = ()
    ) -> tuple[np.ndarray, list[int]]:
        """The positions (frames, n, 3) m of the particles, and the substeps of each piece of time.

        values: of what is unknown; substeps: at least these, by piece: a run that is compared with
        another must have its time steps. Raises SimulationError.
        """
        sim = self._with(values)
        state = sim.initial_state()
        v = self._start(values)
        if v is not None:
            state = state.replace(v=torch.as_tensor(v).to(state.v))
        places, used = [state.x.cpu().numpy()], list[int]()
        pieces = PIECES if isinstance(self.force, CubicSpline) else 1
        with torch.no_grad():
            for k in range(frames - 1):
                dt = float(self.t[k + 1] - self.t[k]) / pieces
                for piece in range(pieces):
                    middle = float(self.t[k]) + (piece + 0.5) * dt
                    least = substeps[len(used)] if len(used) < len(substeps) else 1
                    state, count = _advance(sim, state, dt, self._force(sim, middle), least)
                    used.append(count)
                places.append(state.x.cpu().numpy())
        return np.stack(places).astype(np.float64), used

    def _with(self, values: Values) -> tp.MPM:
        """The simulation with other values of its material, density and friction."""
        changes: dict[str, Any] = {}
        bodies, first = [], 0
        if "floor" in values:
            changes |= self._shifted(float(values["floor"][0]))
        for body in self.sim.bodies:
            part = self.labels[first : first + len(body)]
            first += len(body)
            own = {
                name: _per_particle(values[name], part)
                for name in GUESSES
                if name in values and hasattr(body.material, name)
            }
            new: dict[str, Any] = {"material": dataclasses.replace(body.material, **own)}
            if "density" in values:
                new["density"] = _per_particle(values["density"], part)
            bodies.append(dataclasses.replace(body, **new))
        if "friction" in values:
            friction = float(values["friction"][0])
            colliders = changes.get("colliders", self.sim.colliders)
            changes["colliders"] = [
                collider
                if collider.contact == "sticky"
                else dataclasses.replace(collider, friction=friction)
                for collider in colliders
            ]
        if changes or "density" in values:
            return self.sim.replace(particles=bodies, **changes)
        self.sim.bodies = bodies
        return self.sim

    def _shifted(self, height: float) -> dict[str, Any]:
        """The grid and the floor, a plane, at another height; what is held stays.

        The grid moves along: a plane acts in steps of cells, and the object does not see a jump.
        """
        floor = next(c for c in self.sim.colliders if isinstance(c, tp.Plane))
        up = np.array(floor.normal)
        off = (height - up @ np.array(floor.point)) * up
        grid = self.sim.grid
        moved = dataclasses.replace(
            grid, lower=tuple(np.add(grid.lower, off)), upper=tuple(np.add(grid.upper, off))
        )
        plane = dataclasses.replace(floor, point=tuple(np.add(floor.point, off)))
        return {
            "grid": moved,
            "colliders": [plane if c is floor else c for c in self.sim.colliders],
        }

    def _start(self, values: Values) -> np.ndarray | None:
        """The initial velocities (n, 3) m/s, None where they are not unknown."""
        if "velocity" not in values and "spin" not in values:
            return None
        v = np.zeros_like(self.x0)
        v += values["velocity"] if "velocity" in values else self.v0
        if "spin" in values:
            v += np.cross(values["spin"], self.x0 - self.center)
        return v

    def _force(self, sim: tp.MPM, time: float) -> Any:
        if not isinstance(self.force, CubicSpline):
            return self.force
        inside = float(np.clip(time, self.force.x[0], self.force.x[-1]))
        per_mass = torch.as_tensor(self.force(inside)).to(sim.mass)
        mass = sim.mass if self.fixed_density is None else self.fixed_density * sim.volume
        return per_mass * mass[:, None]


def _per_particle(value: np.ndarray, part: np.ndarray) -> Any:
    return float(value[0]) if len(value) == 1 else torch.as_tensor(value[part])


def _advance(
    sim: tp.MPM, state: tp.State, dt: float, force: Any, least: int
) -> tuple[tp.State, int]:
    """The state dt s later, and the substeps that took.

    Steps of the simulator kick before they move: what falls would be off by a t dt / 2. So it
    starts half a kick earlier, and ends half a kick later (leapfrog); else a stiffness, on which
    the time step depends, would seem to change how a body falls.
    """
    speed = state.v.norm(dim=1).max().item()
    outside = sim.gravity.expand_as(state.v)
    if isinstance(force, torch.Tensor):
        outside = outside + force / sim.mass[:, None]
    pull = outside.norm(dim=1).max().item()
    count = max(least, sim.substeps(dt, speed + pull * dt))
    for retry in range(RETRIES + 1):
        try:
            half = 0.5 * dt / count * outside
            early = state.replace(v=state.v - half)
            late = sim.advance(early, frame_dt=dt, force=force, substeps=count)
            return late.replace(v=late.v + half), count
        except tp.SimulationError as error:
            if retry == RETRIES or not error.smaller_dt_helps:
                raise
            count *= 2
    raise AssertionError("unreachable")
