"""The engine of a simulation: compiled kernels, their inputs and the memory that they write."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from taichi_phys.launching import bind
from taichi_phys.mpm import nodes
from taichi_phys.mpm.colliders import CELL, CENTER, Collider, distances, table
from taichi_phys.mpm.drivers import Kernels
from taichi_phys.mpm.grid import Grid
from taichi_phys.mpm.layout import (
    LAW,
    NUMBERS_SIZE,
    PARAMS,
    STRESS_GRADIENT,
    WORK_SIZE,
    V,
    X,
    pack_numbers,
)
from taichi_phys.mpm.particles import State
from taichi_phys.mpm.places import origin_of, shift_table
from taichi_phys.mpm.reactions import COLUMNS, COUPLED, WALLS, Tally, summed, tail_size
from taichi_phys.mpm.rigid_bodies import solids_of
from taichi_phys.mpm.rigid_motion import RigidMotion
from taichi_phys.mpm.steering import pose_gradients, steered_poses
from taichi_phys.mpm.steering import tail_size as steered_size
from taichi_phys.mpm.transfer import WARP
from taichi_phys.runtime import quick_compile


class SimulationError(RuntimeError):
    """A frame was rejected, because a particle left the grid, moved too fast or was crushed.

    particle: index of the particle; smaller_dt_helps: whether more substeps may avoid the failure.
    """

    def __init__(self, message: str, *, particle: int, smaller_dt_helps: bool):
        super().__init__(message)
        self.particle, self.smaller_dt_helps = particle, smaller_dt_helps


class Engine:
    """Runs substeps forward and backward on packed states, and owns the memory of the grid.

    kernels: from `drivers.kernels`; body: (n, 3) from `layout.pack_body`; grid: the grid and its
    walls; gravity: (3,) m/s^2, may be set between frames; colliders: empty if kernels were made
    without solids; chunks: number of chunks of particles; frictions: (fields, fields) Coulomb
    coefficients of bodies with velocity fields of their own, None for one field; larger: m, how far
    the grid sees the surfaces of rigid bodies before them; pulls: functions of `materials.pull` for
    the laws without an adjoint of their own, by index of the law. arrangement: of the particles in
    memory, "given", "sorted" by their cells, which makes chunks compact and lets the threads of a
    GPU that run together add to the same nodes, or "dealt", sorted and then dealt out, so that
    these threads add to different nodes. Raises
    ValueError if the grid does not fit into memory.
    """

    def __init__(
        self,
        *,
        kernels: Kernels,
        body: torch.Tensor,
        grid: Grid,
        gravity: Sequence[float],
        colliders: Sequence[Collider] = (),
        chunks: int = 1,
        frictions: np.ndarray | None = None,
        larger: float = 0.0,
        pulls: Mapping[int, Callable[..., None]] | None = None,
    ):
        self.kernels, self.body, self.grid, self.gravity = kernels, body, grid, gravity
        self.colliders, self.chunks, self.pulls = tuple(colliders), chunks, dict(pulls or {})
        self.arrangement = "sorted" if chunks > 1 or kernels.driver == "gpu" else "given"
        self.solids = solids_of(colliders, larger)
        self.origin = origin_of(grid, body.dtype)
        self.fields = fields = 1 if frictions is None else len(frictions)
        self.grads: torch.Tensor | None = None  # of nodes, from the first backward pass on
        self.frictions = np.zeros(0) if frictions is None else frictions.ravel()
        layers, size = nodes.count_layers(chunks, fields), math.prod(grid.shape)
        blocks = math.prod(-(-length // nodes.BLOCK) for length in grid.shape)
        lists = (chunks, nodes.count_rows(fields), max(blocks, nodes.MARKED))
        try:
            self.nodes = _zeros(body, layers * size, 4)
            self.lists = torch.zeros(lists, dtype=torch.int32, device=body.device)
            self.work = body.new_zeros(1, len(body), WORK_SIZE)
            self.distances = torch.as_tensor(distances(self.solids)).to(body)
        except (RuntimeError, MemoryError):  # of torch and of NumPy
            gigabytes = layers * size * 4 * body.element_size() / 1e9
            raise ValueError(
                f"grid: got {grid.shape} nodes, whose {layers} layers take {gigabytes:.1f} GB, "
                "expected less than the free memory: use a larger dx or a smaller box"
            ) from None

    def _grid_arguments(
        self, time: float, dt: float, count: int, tally: Tally | None = None, back: bool = False
    ) -> list[torch.Tensor]:
        """The kernels' arguments from nodes to sdf, for count substeps, forward or back."""
        rows = table(self.solids, time + dt * np.arange(count), dt)
        lower = self.grid.lower - self.origin
        numbers = pack_numbers(dt, self.grid, lower, self.gravity)
        if back and self.kernels.steered:
            numbers = np.append(numbers, np.zeros(steered_size(count, len(self.colliders))))
        elif self.kernels.measured:
            columns = COLUMNS if self.kernels.settle is None else COUPLED
            numbers = np.append(numbers, np.zeros(tail_size(len(self.colliders), columns)))
        numbers = np.append(numbers, self.frictions)
        if tally is not None:
            rows[:, :, CENTER : CENTER + 3] = tally.points[: len(self.colliders)]
        self._localize(rows)
        settings, poses = (torch.as_tensor(a).to(self.body).contiguous() for a in (numbers, rows))
        return [self.nodes, self.lists, settings, poses, self.distances]

    def _sums(self, numbers: torch.Tensor) -> torch.Tensor:
        """The part of numbers, behind the settings, in which kernels sum up."""
        return numbers[NUMBERS_SIZE : len(numbers) - len(self.frictions)]

    def _localize(self, rows: np.ndarray) -> None:
        """Make the table (substeps, colliders, COLUMNS) relative to the origin, in place."""
        shift_table(rows, self.origin)
        rows[:, :, CENTER : CENTER + 3] -= self.origin
        rows[:, :, CELL] = self.grid.dx

    def pack(self, state: State) -> torch.Tensor:
        """The packed state (n, 25) for the kernels, with positions relative to the origin."""
        x = state.x
        if self.origin.any():
            x = (x - x.new_tensor(self.origin)).to(self.body.dtype)
        return state.replace(x=x).pack()

    def positions(self, x: torch.Tensor) -> torch.Tensor:
        """State.x of positions x (n, 3) m of a packed state; f64 if the grid is far away."""
        if self.origin.any():
            x = x.double()
            return x + x.new_tensor(self.origin)
        return x

    def order(self, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """An order (n,) of the particles x (n, 3) m, as `arrangement` says, and its inverse.

        Particles are sorted by the first node of their stencil, along the longest axis first. Both
        are None if particles stay as they are.
        """
        if self.arrangement == "given":
            return None, None
        cells = ((x.detach() - x.new_tensor(self.grid.lower)) / self.grid.dx - 0.5).long()
        cells -= cells.amin(dim=0)
        extent = cells.amax(dim=0) + 1
        a, b, c = cells[:, extent.argsort(descending=True, stable=True)].unbind(dim=1)
        _, width, depth = extent.sort(descending=True, stable=True).values
        order = ((a * width + b) * depth + c).argsort(stable=True)
        if self.arrangement == "dealt":
            order = _deal(order)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return order, back

    def forward(
        self,
        states: torch.Tensor,
        given: torch.Tensor,
        count: int,
        time: float,
        dt: float,
        tally: Tally | None = None,
    ) -> None:
        """Run count substeps of dt s, from time s on, on packed states (slots, n, 25), in place.

        With one slot, the state is overwritten; with count + 1 slots, the states of all substeps
        are kept. given: (n, k) from `layout.pack_given`; tally: gets what colliders and walls take,
        if the kernels measure it.
        """
        self.lists[:, nodes.MARKS, nodes.FAULT] = nodes.OK
        grid = self._grid_arguments(time, dt, count, tally)
        arrays = _as_arguments(states, given, *grid)
        at_once = count + 1 if self.kernels.driver == "serial" else self.kernels.batch
        with quick_compile(self.body.dtype):
            launch = bind(self.kernels.forward, arrays)
            for now in range(0, count + 1, at_once):
                launch(now, 0, count)
                if tally is not None and tally.motion is not None and now < count:
                    self._move_bodies(tally, tally.motion, grid[2], time + now * dt, dt)
        if tally is not None and tally.motion is None:
            tally.add(self._sums(grid[2]).cpu())

    def _move_bodies(
        self, tally: Tally, motion: RigidMotion, settings: torch.Tensor, time: float, dt: float
    ) -> None:
        """Finish the grid phase of a substep with the rigid bodies that the material moves."""
        rows = table(self.solids, np.array([time]), dt)[0]
        rows[:, CENTER : CENTER + 3] = tally.points[: len(rows)]
        poses, tail = self.body.new_empty(1, *rows.shape), self._sums(settings)
        assert self.kernels.settle is not None
        arrays = _as_arguments(self.nodes, self.lists, settings, poses, self.distances)
        settle = bind(self.kernels.settle, arrays)

        def sums(absolute: np.ndarray) -> np.ndarray:
            local = absolute[None].copy()
            self._localize(local)
            poses.copy_(torch.from_numpy(local))
            tail.zero_()
            settle()
            return summed(tail.cpu(), len(rows) + WALLS, COUPLED)

        impulses = motion.substep(rows, self.gravity, dt, sums)
        tally.add_rows(impulses, rows[:, CENTER : CENTER + 3])

    def backward(
        self,
        states: torch.Tensor,
        given: torch.Tensor,
        g: torch.Tensor,
        ggiven: torch.Tensor,
        time: float,
        dt: float,
    ) -> torch.Tensor | None:
        """Turn g, the gradient in the last of the states, into the gradient in the first, in place.

        states: (count + 1, n, 25); given, ggiven: (n, k), the gradient in given is added to ggiven;
        g: (1, n, 25); time: s, of the first state; dt: s. Returns the gradient in `poses`, if the
        kernels sum it up.
        """
        count = len(states) - 1
        grid = self._grid_arguments(time, dt, count, back=True)
        if self.grads is None:
            layers = self.chunks * self.fields
            self.grads = _zeros(self.body, layers * math.prod(self.grid.shape), 4)
        arrays = _as_arguments(states, given, *grid, self.grads, self.work, g, ggiven)
        at_once = count + 1 if self.kernels.driver == "serial" else self.kernels.batch
        runs = [(s, s + 1) for s in reversed(range(count))] if self.pulls else [(0, count)]
        with quick_compile(self.body.dtype):
            launch = bind(self.kernels.backward, arrays)
        for first, last in runs:
            for now in range(last - 1, first - 2, -at_once):
                launch(now, first, last)
            for index, pull in self.pulls.items():
                self._pull(index, pull, states[first], given, g, ggiven, dt)
        if not self.kernels.steered:
            return None
        rows = table(self.solids, time + dt * np.arange(count), dt)
        return pose_gradients(self._sums(grid[2]).cpu(), rows, count, self.origin)

    def poses(self, time: float, dt: float, count: int) -> torch.Tensor | None:
        """The poses (count, k, 18) of the colliders in count substeps, if they have gradients."""
        if not self.kernels.steered:
            return None
        return steered_poses(self.solids, time, dt, count)

    def _pull(
        self,
        index: int,
        pull: Callable[..., None],
        packed: torch.Tensor,
        given: torch.Tensor,
        g: torch.Tensor,
        ggiven: torch.Tensor,
        dt: float,
    ) -> None:
        """Finish the backward substep of particles whose law has no adjoint kernel."""
        state, gstate = State.unpack(packed, 0.0), State.unpack(g[0], 0.0)
        gtau = self.work[0, :, STRESS_GRADIENT : STRESS_GRADIENT + 9].reshape(-1, 3, 3)
        assert state.plastic is not None and gstate.plastic is not None
        params = slice(PARAMS, PARAMS + self.kernels.columns)
        inputs = (state.F, state.C, state.plastic, given[:, params], given[:, LAW])
        gF, gC = gstate.F.contiguous(), gstate.C.contiguous()
        gplastic, gparams = gstate.plastic.contiguous(), ggiven[:, params]
        pull(
            *(t.contiguous() for t in inputs),
            index,
            dt,
            gF,
            gC,
            gtau.contiguous(),
            gplastic,
            gparams,
        )
        g[0] = gstate.replace(C=gC, F=gF, plastic=gplastic).pack()

    def check(self, packed: torch.Tensor, order: torch.Tensor | None, dt: float) -> None:
        """Raise SimulationError, with the cause and the cure, if the last frame was faulty.

        packed: (n, 25) state after the frame; order: (n,) of the particles in packed; dt: of a
        substep, s.
        """
        marks = [mark for mark in self.lists[:, nodes.MARKS, nodes.FAULT].tolist() if mark]
        if not marks:
            return
        (fault, p), grid = divmod(marks[0], nodes.FAULTY), self.grid
        x, v = self.positions(packed[p, X : X + 3]).tolist(), packed[p, V : V + 3]
        p = p if order is None else int(order[p].item())
        where = f"particle {p} at {_point(x)} m"
        upper = [o + grid.dx * (s - 1) for o, s in zip(grid.lower, grid.shape, strict=True)]
        if fault == nodes.OUTSIDE:
            message = (
                f"{where} left the grid from {_point(grid.lower)} to {_point(upper)} m: enlarge "
                'the grid, weaken the forces, or give outside="remove" to remove such particles'
            )
        elif fault == nodes.TOO_FAST:
            speed, limit = v.abs().max().item(), grid.dx / dt
            # It may have been stopped since, in the same frame.
            moves = "moved" if speed < limit else f"moves {speed:.3g} m/s,"
            message = (
                f"{where} {moves} more than one cell per substep (limit {limit:.3g} m/s): use more "
                "substeps or weaken the forces"
            )
        else:
            message = (
                f"{where} was crushed or became NaN (det F <= 0 or NaN): use more substeps, a "
                "softer material or weaker forces"
            )
        raise SimulationError(message, particle=p, smaller_dt_helps=fault != nodes.OUTSIDE)


def _zeros(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Zeros of the type of `like`, where it is.

    On a CPU they are NumPy's, whose pages take no memory until they are written: those of nodes
    that no particle reaches never are. Torch writes them all.
    """
    if like.device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, dtype=like.numpy().dtype))
    return like.new_zeros(shape)


def _deal(order: torch.Tensor) -> torch.Tensor:
    """The order (n,) cut into WARP runs: the first elements of all runs, then the second, ..."""
    runs = torch.arange(WARP * -(-len(order) // WARP), device=order.device).view(WARP, -1).T
    return order[runs[runs < len(order)]]


def _as_arguments(*tensors: torch.Tensor) -> list:
    """The tensors in the form that Taichi takes fastest: on a CPU numpy views (9 us, not 15 us)."""
    return [t.numpy() if t.device.type == "cpu" else t for t in tensors]


def _point(values: Sequence[float]) -> str:
    # All digits of large numbers, since of coordinates far away only the last ones differ.
    return "(" + ", ".join(f"{v:.3g}" if abs(v) < 1000 else f"{v:.2f}" for v in values) + ")"
