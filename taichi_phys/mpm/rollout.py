"""Differentiable frames: whole frames forward, substeps recomputed in backward."""

import dataclasses

import torch

from taichi_phys.bridge.autograd import differentiable
from taichi_phys.mpm import substep
from taichi_phys.mpm.particles import State


HISTORY_BYTES = 256e6  # substep states held at once while a frame is differentiated


class SimulationError(RuntimeError):
    """A frame was rejected: a particle left the grid, moved too fast or was crushed."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What does not change from frame to frame, as the kernels take it."""

    kernels: object
    mass: torch.Tensor
    volume: torch.Tensor
    law: torch.Tensor
    grid: torch.Tensor
    ggrid: torch.Tensor
    lower: tuple[float, float, float]
    dx: float
    gravity: tuple[float, float, float]
    contact: int

    def __post_init__(self):
        n, like = len(self.mass), self.mass
        scratch = {
            "Fe": like.new_zeros(n, 3, 3),
            "A": like.new_zeros(n, 3, 3),
            "box": torch.zeros(6, dtype=torch.int32, device=like.device),
            "status": torch.zeros(2, dtype=torch.int32, device=like.device),
        }
        for name, tensor in scratch.items():
            object.__setattr__(self, name, tensor)

    def launches(self, count: int):
        """Substep ranges per launch: all at once serially, one by one in parallel."""
        return [(0, count)] if self.kernels.serial else [(s, s + 1) for s in range(count)]

    def forward(self, history, force, params, count: int, dt: float, keep: bool):
        """Run count substeps in place on history (x, v, C, F), each (slots, n, ...)."""
        self.status.zero_()
        for first, last in self.launches(count):
            self.kernels.forward(
                *history, force, self.mass, self.volume, params, self.law, self.Fe, self.A,
                self.grid, self.box, self.status, first, last, int(keep),
                dt, self.dx, self.lower, self.gravity, self.contact,
            )  # fmt: skip

    def backward(self, history, force, params, grads, gforce, gparams, count: int, dt: float):
        """Pull grads (of the state after count substeps) back to the state before, in place."""
        for first, last in reversed(self.launches(count)):
            self.kernels.backward(
                *history, force, self.mass, self.volume, params, self.law, self.Fe, self.A,
                self.grid, self.box, *grads, gforce, gparams, self.ggrid, first, last,
                dt, self.dx, self.lower, self.gravity, self.contact,
            )  # fmt: skip

    def check(self, state: tuple[torch.Tensor, ...], dt: float):
        """Raise SimulationError, in a sentence with its cure, if the last frame went wrong."""
        fault, p = self.status.tolist()
        if fault == substep.OK:
            return
        x, v = state[0][p].tolist(), state[1][p]
        where = f"particle {p} at ({x[0]:.3g}, {x[1]:.3g}, {x[2]:.3g}) m"
        upper = [o + self.dx * (s - 1) for o, s in zip(self.lower, self.grid.shape, strict=False)]
        if fault == substep.OUTSIDE:
            raise SimulationError(
                f"{where} left the grid from {_point(self.lower)} to {_point(upper)} m: "
                "enlarge the grid or weaken what drives it there"
            )
        if fault == substep.TOO_FAST:
            raise SimulationError(
                f"{where} moves {v.abs().max().item():.3g} m/s, more than a cell a substep "
                f"(limit {self.dx / dt:.3g} m/s): use more substeps, or weaken what drives it"
            )
        raise SimulationError(
            f"{where} was crushed or is not a number (det F <= 0 or NaN): use more substeps, "
            "a softer material, or a weaker force"
        )


def _point(values) -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in values) + ")"


def advance_frame(
    scene: Scene,
    state: State,
    force: torch.Tensor,
    params: torch.Tensor,
    *,
    dt: float,
    substeps: int,
    recompute: bool = True,
) -> State:
    """State after substeps of dt under a constant force (n, 3) N; gradients reach all inputs.

    Only states at piece boundaries are kept; backward runs a piece again and stores its substeps.
    With recompute False the forward pass stores them (more memory, one forward pass less).
    """
    n, item = len(scene.mass), scene.mass.element_size()
    per_piece = max(1, min(substeps, int(HISTORY_BYTES / (24 * item * n))))
    tensors = (state.x, state.v, state.C, state.F)
    done = 0
    while done < substeps:
        count = min(per_piece, substeps - done)
        tensors = _piece(scene, count, dt, recompute)(*tensors, force, params)
        scene.check(tensors, dt)
        done += count
    x, v, C, F = tensors
    return State(x=x, v=v, C=C, F=F, time=state.time + substeps * dt)


def _piece(scene: Scene, count: int, dt: float, recompute: bool):
    stored = {}

    def history(state, slots):
        buffers = tuple(t.new_empty(slots, *t.shape) for t in state)
        for buffer, t in zip(buffers, state, strict=True):
            buffer[0] = t
        return buffers

    def forward(x, v, C, F, force, params):
        states = history((x, v, C, F), 1 if recompute else count + 1)
        scene.forward(states, force, params, count, dt, keep=not recompute)
        if not recompute:
            stored["states"] = states
        return tuple(t[-1].clone() for t in states)

    def backward(inputs, outputs, grads):
        *state, force, params = inputs
        states = stored.pop("states", None)
        if states is None:
            states = history(state, count + 1)
            scene.forward(states, force, params, count, dt, keep=True)
        grads = tuple(g.clone() for g in grads)
        gforce, gparams = torch.zeros_like(force), torch.zeros_like(params)
        scene.backward(states, force, params, grads, gforce, gparams, count, dt)
        return *grads, gforce, gparams

    return differentiable(forward, backward)
