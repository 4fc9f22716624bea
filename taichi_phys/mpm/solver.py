"""MPM: the user's view of the simulator."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from tqdm import tqdm

from taichi_phys import runtime
from taichi_phys.mpm.grid import CONTACTS, Grid, finite_vector
from taichi_phys.mpm.particles import Particles, State, cell_volumes
from taichi_phys.mpm.rollout import Scene, advance_frame
from taichi_phys.mpm.substep import kernels


Force = torch.Tensor | Callable[[torch.Tensor, float], torch.Tensor] | None


class MPM:
    """A moving-least-squares material point simulation (Hu et al. 2018), with gradients.

    particles: one body or several; grid: the domain with its walls; gravity: (3,) m/s^2;
    cfl: largest fraction of a cell that a sound wave or a particle may cross in a substep;
    precision: f32 or f64, default: that of taichi_phys.init. Raises ValueError.
    """

    def __init__(
        self,
        *,
        particles: Particles | Sequence[Particles],
        grid: Grid,
        gravity: Sequence[float] = (0.0, 0.0, -9.81),
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
        if not isinstance(cfl, int | float) or not 0 < cfl <= 1:
            raise ValueError(f"cfl: got {cfl!r}, expected a number in (0, 1]")
        precision = precision or running.precision
        if precision not in runtime.PRECISIONS:
            raise ValueError(f"precision: got {precision!r}, expected f32 or f64")

        self.grid, self.cfl, self.bodies = grid, cfl, bodies
        self.dtype, self.device = runtime.PRECISIONS[precision], running.device
        x = torch.cat([b.x.detach().double().cpu() for b in bodies])
        lower = torch.tensor(grid.lower, dtype=torch.float64)
        self._check_inside(x)
        volume = torch.cat(
            [
                cell_volumes(b.x.detach().double().cpu(), lower, grid.dx)
                if b.volume is None
                else b.volume.cpu()
                for b in bodies
            ]
        )
        density = torch.cat([b.density.cpu() for b in bodies])
        laws = tuple(dict.fromkeys(b.material.law for b in bodies))
        law = torch.cat(
            [torch.full((len(b),), laws.index(b.material.law), dtype=torch.int32) for b in bodies]
        )
        self.volume, self.mass = self._tensor(volume), self._tensor(volume * density)
        nodes = torch.zeros(*grid.shape, 4, dtype=self.dtype, device=self.device)
        self._scene = Scene(
            kernels=kernels(precision, laws, serial=running.arch == "cpu"),
            mass=self.mass,
            volume=self.volume,
            law=law.to(self.device),
            grid=nodes,
            ggrid=torch.zeros_like(nodes),
            lower=grid.lower,
            dx=grid.dx,
            gravity=gravity,
            contact=CONTACTS.index(grid.contact),
        )

    def _tensor(self, value) -> torch.Tensor:
        # dtype at once: torch would first make f32 of Python numbers
        return torch.as_tensor(value, dtype=self.dtype, device=self.device).contiguous()

    def _check_inside(self, x: torch.Tensor):
        cells = (x - torch.tensor(self.grid.lower, dtype=x.dtype)) / self.grid.dx
        shape = torch.tensor(self.grid.shape)
        outside = ((cells < 1) | (cells > shape - 2)).any(dim=1).nonzero()
        if len(outside):
            p = outside[0].item()
            raise ValueError(
                f"particles: {len(outside)} lie outside the grid, the first is particle {p} at "
                f"{tuple(round(c, 4) for c in x[p].tolist())} m; the grid reaches from "
                f"{self.grid.lower} to {self.grid.upper} m and needs one free cell at its faces"
            )

    @property
    def gravity(self) -> torch.Tensor:
        """(3,) m/s^2."""
        return self._tensor(self._scene.gravity)

    def parameters(self) -> torch.Tensor:
        """(n, 4) mu, lam, yield_stress (Pa), viscosity (Pa s); gradients reach the materials."""
        return torch.cat([b.material.params(len(b), self.dtype, self.device) for b in self.bodies])

    def initial_state(self) -> State:
        """The particles as they were given, undeformed, at time 0."""
        x = torch.cat([self._tensor(b.x) for b in self.bodies])
        v = torch.cat([self._tensor(b.v) for b in self.bodies])
        C = x.new_zeros(len(x), 3, 3)
        F = torch.eye(3, dtype=x.dtype, device=x.device).expand(len(x), 3, 3).contiguous()
        return State(x=x, v=v, C=C, F=F)

    def substeps(self, frame_dt: float, speed: float = 0.0) -> int:
        """Substeps a frame needs: dt <= cfl dx / (c + speed), c^2 = (lam + 2 mu) / density.

        frame_dt: s; speed: largest particle speed expected in the frame, m/s.
        """
        params = self.parameters().detach()
        density = self.mass / self.volume
        c = ((params[:, 1] + 2 * params[:, 0]) / density).max().sqrt().item()
        return max(1, math.ceil(frame_dt * (c + speed) / (self.cfl * self.grid.dx)))

    def advance(
        self,
        state: State,
        *,
        frame_dt: float,
        force: Force = None,
        substeps: int | None = None,
        recompute: bool = True,
    ) -> State:
        """The state one frame later; differentiable.

        frame_dt: s; force: external force in N beside gravity, (n, 3) held during the frame, or a
        callable f(x, t) -> (n, 3), evaluated before every substep; substeps: default from CFL;
        recompute: store frame-boundary states only and run substeps again in backward.
        Gradients reach force, state and the material parameters. Raises ValueError for bad input,
        SimulationError when a particle leaves the grid, moves too fast or is crushed.
        """
        state = self._state(state)
        if not (isinstance(frame_dt, int | float) and frame_dt > 0 and math.isfinite(frame_dt)):
            raise ValueError(f"frame_dt: got {frame_dt!r}, expected a positive number of seconds")
        now = self._force(force, state)
        if substeps is None:
            accelerated = (now.detach() / self.mass[:, None] + self.gravity).norm(dim=1)
            speed = (state.v.detach().norm(dim=1) + accelerated * frame_dt).max().item()
            # whatever would cross the whole grid in a frame is rejected at its end, not followed
            limit = self.grid.dx * max(self.grid.shape) / frame_dt
            substeps = self.substeps(frame_dt, speed if speed < limit else limit)
        elif not isinstance(substeps, int) or substeps < 1:
            raise ValueError(f"substeps: got {substeps!r}, expected a positive integer")
        dt, params = frame_dt / substeps, self.parameters()
        step = {"dt": dt, "recompute": recompute}
        if not callable(force):
            return advance_frame(self._scene, state, now, params, substeps=substeps, **step)
        for _ in range(substeps):
            now = self._force(force, state)
            state = advance_frame(self._scene, state, now, params, substeps=1, **step)
        return state

    def _state(self, state: State) -> State:
        """state in the dtype and on the device of the simulation, its shapes checked."""
        n = len(self.mass)
        if not isinstance(state, State):
            raise ValueError(f"state: got {type(state).__name__}, expected a State")
        fields = {}
        for name, shape in {"x": (n, 3), "v": (n, 3), "C": (n, 3, 3), "F": (n, 3, 3)}.items():
            value = getattr(state, name)
            if value.shape != shape:
                raise ValueError(f"state.{name}: got shape {tuple(value.shape)}, expected {shape}")
            fields[name] = value.to(dtype=self.dtype, device=self.device)
        return state.replace(**fields)

    def _force(self, force: Force, state: State) -> torch.Tensor:
        if force is None:
            return torch.zeros_like(state.x)
        value = force(state.x, state.time) if callable(force) else force
        if not isinstance(value, torch.Tensor) or value.shape != state.x.shape:
            raise ValueError(
                f"force: got {tuple(getattr(value, 'shape', ()))}, expected a tensor or a callable "
                f"f(x, t) that returns one of shape {tuple(state.x.shape)}, in newtons"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"force: {int((~torch.isfinite(value)).sum())} values are not finite")
        return value.to(dtype=self.dtype, device=self.device)

    def run(
        self, *, frames: int, fps: float = 24.0, force: Force = None, progress: bool | None = None
    ) -> Iterator[State]:
        """Yield the state after each of frames frames at fps: plain stepping without gradients.

        force: as in advance; progress: show a bar, default: on a terminal only.
        """
        if not isinstance(frames, int) or frames < 0:
            raise ValueError(f"frames: got {frames!r}, expected a number of frames")
        if not isinstance(fps, int | float) or not fps > 0:
            raise ValueError(f"fps: got {fps!r}, expected a positive number")
        disable = None if progress is None else not progress
        state = self.initial_state().detach()
        with torch.no_grad():
            for _ in tqdm(range(frames), desc="simulating", unit="frame", disable=disable):
                state = self.advance(state, frame_dt=1 / fps, force=force)
                yield state
