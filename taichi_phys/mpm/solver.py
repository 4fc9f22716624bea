"""The simulator for users: the class MPM."""

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from taichi_phys import runtime
from taichi_phys.checks import finite_number, finite_vector, one_of, whole_number
from taichi_phys.materials import Fluid, pull
from taichi_phys.mpm import drivers, nodes
from taichi_phys.mpm.body_contact import BodyContact
from taichi_phys.mpm.colliders import Collider, check_colliders
from taichi_phys.mpm.engine import Engine, SimulationError
from taichi_phys.mpm.forces import evaluate
from taichi_phys.mpm.grid import Grid
from taichi_phys.mpm.layout import STATE_FIELDS, pack_body
from taichi_phys.mpm.particles import Particles, State, cell_volumes
from taichi_phys.mpm.rigid_bodies import LARGER, RigidBody, RigidState, rigid_speed, solids_of
from taichi_phys.mpm.rollout import advance_frame
from taichi_phys.mpm.solids import top_speed, warn_of_inner, warn_of_thin
from taichi_phys.mpm.steering import has_steered


Force = torch.Tensor | Callable[..., torch.Tensor] | None
OUTSIDE = ("error", "remove")
RETRIES = 3  # how often the time step of a frame is halved before the frame fails
# (limit, chunks): simulations with fewer particles than the limit have this many chunks, which run
# in parallel. The number of threads plays no role, so that it does not change results.
CHUNKS = ((2_048, 1), (65_536, 4), (math.inf, 16))


class MPM:
    """A moving-least-squares material point simulation (Hu et al. 2018), with gradients.

    particles: one body or a sequence of bodies; grid: the grid and its walls; gravity: (3,) m/s^2;
    colliders: a sequence of Plane, Box, Sphere, Capsule, Mesh and RigidBody; contact: how bodies
    slide on each other, None for bodies that stick together where they meet; reactions: whether
    every state has the mean forces and torques on colliders and walls (`State.reactions`), as it
    always has with rigid bodies; outside: "error" raises SimulationError if a particle leaves the
    grid, "remove" removes the particle (see State.removed); cfl: largest fraction of a cell that a
    sound wave or a particle may cross in a substep, in (0, 1]; precision: "f32" or "f64", by
    default the precision of taichi_phys.init. Raises ValueError.
    """

    def __init__(
        self,
        *,
        particles: Particles | Sequence[Particles],
        grid: Grid,
        gravity: Sequence[float] = (0.0, 0.0, -9.81),
        colliders: Sequence[Collider] = (),
        contact: BodyContact | None = None,
        reactions: bool = False,
        outside: str = "error",
        cfl: float = 0.4,
        precision: str | None = None,
    ):
        running = runtime.ensure_initialized()
        bodies = [particles] if isinstance(particles, Particles) else particles
        bodies = list(bodies) if isinstance(bodies, Sequence) else []
        if not bodies or not all(isinstance(b, Particles) for b in bodies):
            raise ValueError("particles: expected a Particles record or a sequence of them")
        if not isinstance(grid, Grid):
            raise ValueError(f"grid: got {type(grid).__name__}, expected a Grid")
        gravity = finite_vector("gravity", gravity)
        colliders = check_colliders(colliders)
        if contact is not None and not isinstance(contact, BodyContact):
            raise ValueError(f"contact: got {type(contact).__name__}, expected a BodyContact")
        one_of("outside", outside, OUTSIDE)
        cfl = finite_number("cfl", cfl, "a number in (0, 1]", low=0, high=1, open_end=True)
        precision = running.precision if precision is None else precision
        one_of("precision", precision, tuple(runtime.PRECISIONS))

        self.grid, self.cfl, self.bodies = grid, cfl, bodies
        self.contact, self.outside, self.precision = contact, outside, precision
        self.dtype, self.device = runtime.PRECISIONS[precision], running.device
        places = [torch.as_tensor(b.x).detach().double().cpu() for b in bodies]
        x = torch.cat(places)
        lower = torch.tensor(grid.lower, dtype=torch.float64)
        self._check_inside(x)
        warn_of_thin(solids_of(colliders), grid.dx)
        warn_of_inner(solids_of(colliders), x.numpy(), grid.dx)
        self.rigid_bodies = tuple(c for c in colliders if isinstance(c, RigidBody))
        volume = torch.cat(
            [
                cell_volumes(place, lower, grid.dx)
                if b.volume is None
                else torch.as_tensor(b.volume).cpu()
                for b, place in zip(bodies, places, strict=True)
            ]
        )
        density = torch.cat([torch.as_tensor(b.density).cpu() for b in bodies])
        laws = tuple(dict.fromkeys(b.material.law for b in bodies))
        law = torch.cat([torch.full((len(b),), float(laws.index(b.material.law))) for b in bodies])
        self.volume, self.mass = self._tensor(volume), self._tensor(volume * density)
        field, frictions, count = None, None, 1
        if contact is not None:
            fields, frictions = contact.fields(len(bodies))
            count = len(frictions)
        if count == 1:
            frictions = None
        else:
            sizes = torch.tensor([len(b) for b in bodies])
            field = self._tensor(torch.as_tensor(fields).repeat_interleave(sizes))
        chunks, size = next(c for n, c in CHUNKS if len(x) < n), math.prod(grid.shape)
        if running.arch == "cpu":
            driver = "serial" if chunks == 1 and not self.rigid_bodies else "pooled"
            while chunks > 1 and size * nodes.count_layers(chunks, count) > nodes.MAX_NODES:
                chunks -= 1
        else:
            driver, chunks = "gpu", 1
        self._engine = Engine(
            kernels=drivers.kernels(
                precision,
                laws,
                driver,
                outside == "remove",
                bool(colliders),
                bool(reactions),
                bool(self.rigid_bodies),
                count > 1,
                drivers.GPU_BATCH if driver == "gpu" and not self.rigid_bodies else 1,
                has_steered(colliders),
            ),  # fmt: skip
            body=pack_body(self.mass, self.volume, self._tensor(law), field),
            grid=grid,
            gravity=gravity,
            colliders=colliders,
            chunks=chunks,
            frictions=frictions,
            larger=LARGER * grid.dx if any(isinstance(b.material, Fluid) for b in bodies) else 0.0,
            pulls={
                i: pull(law, precision) for i, law in enumerate(laws) if law.respond_adjoint is None
            },
        )
        self._warned = False

    def replace(self, **changes: Any) -> "MPM":
        """A new simulation that differs from this one in some arguments of the constructor.

        changes: arguments of MPM; all others have the current values of this simulation, including
        a `gravity` or `bodies` that was set later. If the number of particles is the same, the new
        simulation can continue states of this one. Raises ValueError.
        """
        made: dict[str, Any] = {
            "particles": self.bodies,
            "grid": self.grid,
            "gravity": self._engine.gravity,
            "colliders": self.colliders,
            "reactions": self._engine.kernels.measured,
            "contact": self.contact,
            "outside": self.outside,
            "cfl": self.cfl,
            "precision": self.precision,
        }
        return MPM(**(made | changes))

    def _tensor(self, value, dtype: torch.dtype | None = None) -> torch.Tensor:
        # With dtype: otherwise Python numbers would first become f32.
        dtype = self.dtype if dtype is None else dtype
        return torch.as_tensor(value, dtype=dtype, device=self.device).contiguous()

    @property
    def _place_dtype(self) -> torch.dtype:
        """The dtype of positions."""
        return torch.float64 if self._engine.origin.any() else self.dtype

    def _check_inside(self, x: torch.Tensor):
        cells = (x - torch.tensor(self.grid.lower, dtype=x.dtype)) / self.grid.dx
        shape = torch.tensor(self.grid.shape)
        outside = ((cells < 1) | (cells > shape - 2)).any(dim=1).nonzero()
        if len(outside):
            p = int(outside[0].item())
            raise ValueError(
                f"particles: got {len(outside)} outside the grid, the first is particle {p} at "
                f"{tuple(round(c, 4) for c in x[p].tolist())} m, expected all between "
                f"{self.grid.lower} and {self.grid.upper} m, at least one cell away from the faces"
            )

    @property
    def gravity(self) -> torch.Tensor:
        """The gravity (3,) m/s^2, which may be set between frames."""
        return self._tensor(self._engine.gravity)

    @gravity.setter
    def gravity(self, value: Sequence[float]) -> None:
        self._engine.gravity = finite_vector("gravity", value)

    @property
    def colliders(self) -> tuple[Collider, ...]:
        """The colliders given to the constructor."""
        return self._engine.colliders

    def parameters(self) -> torch.Tensor:
        """The parameters (n, k) of the particles' laws; gradients reach the materials.

        Rows of laws with fewer than k parameters are padded with zeros.
        """
        columns = self._engine.kernels.columns
        rows = [b.material.params(len(b), self.dtype, self.device) for b in self.bodies]
        return torch.cat([torch.nn.functional.pad(r, (0, columns - r.shape[1])) for r in rows])

    def initial_state(self) -> State:
        """The state at time 0: the given positions and velocities, without deformation."""
        x = torch.cat([self._tensor(b.x, self._place_dtype) for b in self.bodies])
        v = torch.cat([self._tensor(b.v) for b in self.bodies])
        C = v.new_zeros(len(x), 3, 3)
        F = torch.eye(3, dtype=v.dtype, device=v.device).expand(len(x), 3, 3).contiguous()
        rigid = RigidState.of(self.rigid_bodies) if self.rigid_bodies else None
        return State(x=x, v=v, C=C, F=F, rigid=rigid)

    def substeps(
        self, frame_dt: float, speed: float = 0.0, plastic: torch.Tensor | None = None
    ) -> int:
        """The number of substeps for a frame, from the CFL condition.

        frame_dt: s; speed: largest expected speed of particles and colliders in the frame, m/s;
        plastic: (n,) internal variables, by which snow is stiffer, None at the start. The
        condition is dt <= cfl dx / (c + speed) with c^2 = (lam + 2 mu) / density, and
        dt <= dx^2 / (6 nu) for a kinematic viscosity nu.
        """
        density, dx = self.mass / self.volume, self.grid.dx
        stiffness, viscosity = self._limits(plastic)
        c = (stiffness / density).max().sqrt().item()
        # explicit diffusion of momentum: dt <= dx^2 / (6 nu) in three dimensions
        diffusion = 6 * (viscosity / density).max().item() / dx**2
        return max(1, math.ceil(frame_dt * max((c + speed) / (self.cfl * dx), diffusion)))

    def _limits(self, plastic: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """P-wave moduli (n,), Pa, and explicitly integrated viscosities (n,), Pa s."""
        where = [(b.material, (len(b), self.dtype, self.device)) for b in self.bodies]
        stiffness = torch.cat([m.stiffness(*a).detach() for m, a in where])
        if plastic is not None:
            parts = plastic.detach().split([len(b) for b in self.bodies])
            factors = [m.stiffening(p) for (m, _), p in zip(where, parts, strict=True)]
            stiffness = stiffness * torch.cat(factors).detach()
        return stiffness, torch.cat([m.explicit_viscosity(*a).detach() for m, a in where])

    @runtime.one_torch_thread()  # Taichi has the threads; torch packs and unpacks
    def advance(
        self,
        state: State,
        *,
        frame_dt: float,
        force: Force = None,
        substeps: int | None = None,
        recompute: bool | None = None,
    ) -> State:
        """The state one frame later; gradients reach state, force and the material parameters.

        frame_dt: s; force: external force beside gravity, N: a tensor (n, 3) that is constant
        during the frame, or a function f(x, t) -> (n, 3) or a force field, which is evaluated
        before every substep; substeps: by default from the CFL condition, and more if the frame
        fails (the first time with a warning); recompute: whether the backward pass computes the
        states of the substeps again (True) or the forward pass stores them (False); None stores
        as long as all stored states take less than 512 MB. Raises ValueError for bad input, and
        SimulationError if a particle leaves the grid, moves too fast or is crushed.
        """
        state = self._state(state)
        expected = "a positive number of seconds"
        frame_dt = finite_number("frame_dt", frame_dt, expected, low=0, open_end=True)
        now = self._force(force, state.x, state.v, state.time)
        step: dict[str, Any] = {
            "frame_dt": frame_dt,
            "force": force,
            "now": now,
            "recompute": recompute,
        }
        if substeps is not None:
            substeps = whole_number("substeps", substeps, "a positive integer", low=1)
            return self._frame(state, substeps, **step)
        accelerated = (now.detach() / self.mass[:, None] + self.gravity).norm(dim=1)
        speed = (state.v.detach().norm(dim=1) + accelerated * frame_dt).max().item()
        # A particle that would cross the whole grid in a frame leaves it: no substeps are added.
        extent = self.grid.dx * max(self.grid.shape)
        limit = extent / frame_dt
        pushed = top_speed(solids_of(self.colliders), state.time, frame_dt, extent)
        if state.rigid is not None:
            fall = self.gravity.norm().item() * frame_dt
            pushed = max(pushed, rigid_speed(self.rigid_bodies, state.rigid) + fall)
        speed = max(speed if speed < limit else limit, pushed)
        substeps = self.substeps(frame_dt, speed, state.plastic)
        retry = 0
        while True:
            try:
                result = self._frame(state, substeps << retry, **step)
            except SimulationError as error:
                if retry == RETRIES or not error.smaller_dt_helps or not speed < limit:
                    raise
                reason, retry = str(error), retry + 1
                continue
            if retry and not self._warned:
                self._warned = True
                warnings.warn(
                    f"at t = {state.time:.4g} s the time step was reduced to "
                    f"{frame_dt / (substeps << retry):.3g} s, because {reason}; later frames may "
                    "reduce it too, without another warning",
                    stacklevel=2,
                )
            return result

    def _frame(
        self, state: State, substeps: int, *, frame_dt: float, force, now, recompute: bool | None
    ) -> State:
        field = functools.partial(self._force, force) if callable(force) else None
        return advance_frame(
            self._engine,
            state,
            now,
            self.parameters(),
            dt=frame_dt / substeps,
            substeps=substeps,
            field=field,
            recompute=recompute,
        )

    def _state(self, state: State) -> State:
        """state, checked, in the dtype and on the device of the simulation."""
        n = len(self.mass)
        if not isinstance(state, State):
            raise ValueError(f"state: got {type(state).__name__}, expected a State")
        fields = {}
        for name, of_one in STATE_FIELDS.items():
            value, shape = getattr(state, name), (n, *of_one)
            if not isinstance(value, torch.Tensor) or value.is_complex():
                raise ValueError(f"state.{name}: got {type(value).__name__}, expected a tensor")
            if value.shape != shape:
                raise ValueError(f"state.{name}: got shape {tuple(value.shape)}, expected {shape}")
            dtype = self._place_dtype if name == "x" else self.dtype
            fields[name] = value.to(dtype=dtype, device=self.device)
        count = len(self.rigid_bodies)
        if (0 if state.rigid is None else len(state.rigid.x)) != count:
            got = "None" if state.rigid is None else f"{len(state.rigid.x)} bodies"
            raise ValueError(f"state.rigid: got {got}, expected the state of {count} rigid bodies")
        return state.replace(**fields)

    def _force(self, force: Force, x: torch.Tensor, v: torch.Tensor, time: float) -> torch.Tensor:
        if force is None:
            return torch.zeros_like(v)
        value = evaluate(force, x, time, v, self.mass) if callable(force) else force
        if not isinstance(value, torch.Tensor) or value.shape != x.shape:
            raise ValueError(
                f"force: got {tuple(getattr(value, 'shape', ()))}, expected a tensor of shape "
                f"{tuple(x.shape)} in newtons, or a function f(x, t) that returns one"
            )
        if not torch.isfinite(value).all():
            raise ValueError(
                f"force: got {int((~torch.isfinite(value)).sum())} values that are NaN or "
                "infinite, expected finite ones"
            )
        return value.to(dtype=self.dtype, device=self.device)

    def impulse(self, state: State, impulse: Any, particles: Any = slice(None)) -> State:
        """The state after a sudden impulse; differentiable.

        impulse: N s, (3,) in all, shared by the particles in proportion to their mass, or (n, 3),
        one for each particle; particles: index, slice or mask of the particles that the impulse
        hits, by default all. Raises ValueError.
        """
        state = self._state(state)
        impulse = self._tensor(impulse)
        mass = self.mass[particles]
        if impulse.shape not in ((3,), (*mass.shape, 3)):
            raise ValueError(
                f"impulse: got shape {tuple(impulse.shape)}, expected (3,) or {(*mass.shape, 3)}"
            )
        v = state.v.clone()
        v[particles] = v[particles] + impulse / (mass.sum() if impulse.ndim == 1 else mass[:, None])
        return state.replace(v=v)

    def run(
        self,
        *,
        frames: int,
        fps: float = 24.0,
        start: State | None = None,
        force: Force = None,
        progress: bool | None = None,
    ) -> Iterator[State]:
        """Yield the state after each frame, without gradients.

        frames: number of frames; fps: frames per second; start: state from which to continue, by
        default the initial state; force: as in `advance`; progress: whether to show a progress bar,
        by default on a terminal only. Raises ValueError and SimulationError, as `advance` does.
        """
        frames = whole_number("frames", frames, "a number of frames", low=0)
        fps = finite_number("fps", fps, "a positive number", low=0, open_end=True)
        disable = None if progress is None else not progress
        state = self._state(self.initial_state() if start is None else start).detach()
        with torch.no_grad():
            for _ in tqdm(range(frames), desc="simulating", unit="frame", disable=disable):
                state = self.advance(state, frame_dt=1 / fps, force=force)
                yield state
