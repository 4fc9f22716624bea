"""Differentiable frames: whole frames forward, substeps recomputed in backward."""

import dataclasses
import math
import weakref
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import torch

from taichi_phys.bridge.autograd import differentiable
from taichi_phys.mpm import nodes
from taichi_phys.mpm.colliders import TOLERANCE, distances, table
from taichi_phys.mpm.particles import State
from taichi_phys.mpm.substep import LAW, PARAMS, V, X, settings
from taichi_phys.runtime import quick_compile


HISTORY_BYTES = 256e6  # substep states of a piece of a frame while it is differentiated
STORED_BYTES = 512e6  # substep states that wait for backward, of all simulations together


class SimulationError(RuntimeError):
    """A frame was rejected: a particle left the grid, moved too fast or was crushed."""

    def __init__(self, message: str, *, particle: int, smaller_dt_helps: bool):
        super().__init__(message)
        self.particle, self.smaller_dt_helps = particle, smaller_dt_helps


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What does not change from frame to frame, as the kernels take it.

    body: (n, 3) mass kg, volume m^3 and law's index; chunks: into which particles are cut; pulls:
    adjoints of laws that have none of their own, by index.
    """

    kernels: SimpleNamespace
    body: torch.Tensor
    shape: tuple[int, int, int]
    chunks: int
    lower: tuple[float, float, float]
    dx: float
    gravity: tuple[float, float, float]
    contact: int
    friction: float
    colliders: Sequence
    pulls: dict[int, Callable]

    def __post_init__(self):
        layers, size = nodes.CHUNKS + self.chunks, math.prod(self.shape)
        try:
            scratch = self._scratch(layers * size)
        except RuntimeError:  # torch's word for it
            gigabytes = layers * size * 4 * self.body.element_size() / 1e9
            raise ValueError(
                f"grid: no memory for {self.shape} nodes in {layers} layers, {gigabytes:.1f} GB: "
                "use a larger dx or a smaller box"
            ) from None
        for name, tensor in scratch.items():
            object.__setattr__(self, name, tensor)

    def _scratch(self, rows: int) -> dict[str, torch.Tensor]:
        """What kernels write to, by name; rows: nodes in all layers.

        Pages that no particle comes near are never touched, and so cost no memory on a CPU.
        """
        blocks = math.prod(-(-length // nodes.BLOCK) for length in self.shape)
        lists = (self.chunks, nodes.ROWS, max(blocks, nodes.MARKED))
        return {
            "nodes": self.body.new_zeros(rows, 4),
            "lists": torch.zeros(lists, dtype=torch.int32, device=self.body.device),
            "work": self.body.new_zeros(1, len(self.body), 18),
            "sdf": torch.as_tensor(distances(self.colliders)).to(self.body),
        }

    def _grid(self, time: float, dt: float, count: int) -> list[torch.Tensor]:
        """Arguments nodes to sdf of the kernels, for count substeps."""
        rows = table(self.colliders, time + dt * np.arange(count), dt)
        # nodes on a surface count as inside, whatever rounding says
        rows[:, :, TOLERANCE] = 1e-4 * self.dx
        numbers = settings(
            dt, self.dx, self.lower, self.gravity, self.shape, self.contact, self.friction
        )
        numbers, rows = (torch.as_tensor(a).to(self.body).contiguous() for a in (numbers, rows))
        return [self.nodes, self.lists, numbers, rows, self.sdf]

    def order(self, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """(n,) order of particles in which chunks are compact: by first node, along the longest
        axis first; and the order that undoes it. None if there is one chunk."""
        if self.chunks == 1:
            return None, None
        cells = ((x.detach() - x.new_tensor(self.lower)) / self.dx - 0.5).long()
        extent = cells.amax(dim=0) - cells.amin(dim=0) + 1
        key = torch.zeros_like(cells[:, 0])
        for axis in extent.argsort(descending=True, stable=True).tolist():
            key = key * extent[axis] + cells[:, axis] - cells[:, axis].min()
        order = key.argsort(stable=True)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return order, back

    def forward(self, states, given, count: int, time: float, dt: float):
        """Run count substeps in place on packed states (slots, n, 25); given: (n, k)."""
        self.lists[:, nodes.MARKS, nodes.FAULT] = nodes.OK
        arrays = _as_arguments(states, given, *self._grid(time, dt, count))
        serial = self.kernels.driver == "serial"
        with quick_compile():
            for now in [0] if serial else range(count + 1):
                self.kernels.forward(*arrays, now, 0, count)

    def backward(self, states, given, g, ggiven, time: float, dt: float):
        """Pull g (1, n, 25), of the last of the states, back to the first of them."""
        count = len(states) - 1
        arrays = _as_arguments(states, given, *self._grid(time, dt, count), self.work, g, ggiven)
        at_once = count if self.kernels.driver == "serial" and not self.pulls else 1
        for last in range(count, 0, -at_once):
            with quick_compile():
                self.kernels.backward(*arrays, last - at_once, last)
            for index, pull in self.pulls.items():
                self._pull(index, pull, states[last - 1], given, g, ggiven, dt)

    def _pull(self, index: int, pull, packed, given, g, ggiven, dt: float):
        """Finish the backward substep of particles whose law has no adjoint of its own."""
        n = len(self.body)
        state, gstate = State.unpack(packed, 0.0), State.unpack(g[0], 0.0)
        gtau = self.work[0, :, :9].reshape(n, 3, 3)
        tensors = (state.F, state.C, state.plastic, given[:, PARAMS:], given[:, LAW], index, dt)
        gF, gC = gstate.F.contiguous(), gstate.C.contiguous()
        gplastic, gparams = gstate.plastic.contiguous(), ggiven[:, PARAMS:]
        pull(*(t.contiguous() if isinstance(t, torch.Tensor) else t for t in tensors),
             gF, gC, gtau, gplastic, gparams)  # fmt: skip
        g[0] = gstate.replace(C=gC, F=gF, plastic=gplastic).pack()

    def check(self, packed: torch.Tensor, order: torch.Tensor | None, dt: float):
        """Raise SimulationError, in a sentence with its cure, if the last frame went wrong."""
        faults = [
            marks[nodes.FAULT : nodes.PARTICLE + 1]
            for marks in self.lists[:, nodes.MARKS, : nodes.MARKED].tolist()
            if marks[nodes.FAULT]
        ]
        if not faults:
            return
        fault, p = faults[0]
        x, v = packed[p, :3].tolist(), packed[p, 3:6]
        p = p if order is None else order[p].item()
        where = f"particle {p} at ({x[0]:.3g}, {x[1]:.3g}, {x[2]:.3g}) m"
        upper = [o + self.dx * (s - 1) for o, s in zip(self.lower, self.shape, strict=True)]
        if fault == nodes.OUTSIDE:
            message = (
                f"{where} left the grid from {_point(self.lower)} to {_point(upper)} m: enlarge "
                'the grid, weaken what drives it there, or remove such particles (outside="remove")'
            )
        elif fault == nodes.TOO_FAST:
            message = (
                f"{where} moves {v.abs().max().item():.3g} m/s, more than a cell a substep "
                f"(limit {self.dx / dt:.3g} m/s): use more substeps, or weaken what drives it"
            )
        else:
            message = (
                f"{where} was crushed or is not a number (det F <= 0 or NaN): use more substeps, "
                "a softer material, or a weaker force"
            )
        raise SimulationError(message, particle=p, smaller_dt_helps=fault != nodes.OUTSIDE)


def _as_arguments(*tensors: torch.Tensor) -> list:
    """The tensors as Taichi takes them fastest: on a CPU as numpy views (9 us each, not 15)."""
    return [t.numpy() if t.device.type == "cpu" else t for t in tensors]


def _point(values) -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in values) + ")"


def _pick(t: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    return t if order is None else t.index_select(0, order)


def advance_frame(
    scene: Scene,
    state: State,
    force: torch.Tensor,
    params: torch.Tensor,
    *,
    dt: float,
    substeps: int,
    field: Callable[..., torch.Tensor] | None = None,
    recompute: bool | None = None,
) -> State:
    """State after substeps of dt under force (n, 3) N; gradients reach all inputs.

    The force is constant, or else that of the first substep and field(x, v, time) of the others.
    With recompute, only states at piece boundaries are kept; backward runs a piece again and
    stores its substeps. Without, the forward pass stores them: one forward pass less. None: they
    are stored as long as all that is stored stays below STORED_BYTES.
    """
    order, back = scene.order(state.x)
    packed = _pick(state.pack(), order)
    fixed = _pick(torch.cat([scene.body, params], dim=1), order)
    given = torch.cat([_pick(force, order), fixed], dim=1)
    size = packed.element_size() * packed.numel()
    per_piece = max(1, int(HISTORY_BYTES / size)) if field is None else 1
    done = 0
    while done < substeps:
        time, count = state.time + done * dt, min(per_piece, substeps - done)
        if field is not None and done:
            x, v = (_pick(packed[:, at : at + 3], back) for at in (X, V))
            given = torch.cat([_pick(field(x, v, time), order), fixed], dim=1)
        again = recompute
        if again is None:
            wanted = torch.is_grad_enabled() and (packed.requires_grad or given.requires_grad)
            again = not wanted or _Stored.bytes + (count + 1) * size > STORED_BYTES
        (packed,) = _piece(scene, count, time, dt, again)(packed, given)
        scene.check(packed, order, dt)
        done += count
    return State.unpack(_pick(packed, back), state.time + substeps * dt)


class _Stored:
    """Substep states that wait for their backward pass, or to be forgotten with their graph."""

    bytes = 0

    def __init__(self, states: torch.Tensor):
        self.states, size = states, states.numel() * states.element_size()
        _Stored.bytes += size
        weakref.finalize(self, _Stored._release, size)

    @staticmethod
    def _release(size: int):
        _Stored.bytes -= size


def _piece(scene: Scene, count: int, time: float, dt: float, recompute: bool):
    stored = {}

    def run(packed, given, keep):
        if keep:
            states = packed.new_empty(count + 1, *packed.shape)
            states[0] = packed
        else:
            states = packed.clone()[None]
        scene.forward(states, given, count, time, dt)
        return states

    def forward(packed, given):
        states = run(packed, given, not recompute)
        if recompute:
            return (states[0],)
        stored["states"] = _Stored(states)
        return (states[-1].clone(),)

    def backward(inputs, outputs, grads):
        packed, given = inputs
        kept = stored.pop("states", None)
        states = run(packed, given, True) if kept is None else kept.states
        g, ggiven = grads[0].clone()[None], torch.zeros_like(given)
        scene.backward(states, given, g, ggiven, time, dt)
        return g[0], ggiven

    return differentiable(forward, backward)
