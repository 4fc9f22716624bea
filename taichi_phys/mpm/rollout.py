"""Differentiable frames, whose substeps are stored for the backward pass or computed again."""

import weakref
from collections.abc import Callable

import torch

from taichi_phys.bridge.autograd import differentiable
from taichi_phys.mpm.engine import Engine
from taichi_phys.mpm.layout import V, X, pack_given
from taichi_phys.mpm.particles import State
from taichi_phys.mpm.reactions import Tally
from taichi_phys.mpm.rigid_motion import RigidMotion


HISTORY_BYTES = 256e6  # largest memory for the substep states of one piece of a frame
STORED_BYTES = 512e6  # largest memory for stored substep states, of all simulations together


def advance_frame(
    engine: Engine,
    state: State,
    force: torch.Tensor,
    params: torch.Tensor,
    *,
    dt: float,
    substeps: int,
    field: Callable[..., torch.Tensor] | None = None,
    recompute: bool | None = None,
) -> State:
    """The state after a number of substeps of dt s; gradients reach all inputs.

    force: (n, 3) N, of all substeps, or, if field is given, of the first substep; params: (n, k)
    parameters of the particles' laws; field: field(x, v, time) gives the force of the other
    substeps; recompute: if true, only the states between pieces of the frame are kept, and the
    backward pass runs each piece again; if false, the forward pass stores the states of all
    substeps, which saves that run; None stores as long as all stored states stay below
    STORED_BYTES. Raises SimulationError.
    """
    order, back = engine.order(state.x)
    packed = _pick(engine.pack(state), order, back)
    body, params = _pick(engine.body, order, back), _pick(params, order, back)
    given = pack_given(_pick(force, order, back), body, params)
    size = packed.element_size() * packed.numel()
    per_piece = max(1, int(HISTORY_BYTES / size)) if field is None else 1
    tally, done = None, 0
    if engine.kernels.measured:
        motion = None
        if state.rigid is not None:
            motion = RigidMotion(engine.colliders, engine.grid, state.rigid)
        tally = Tally(engine.colliders, engine.grid, state.time, substeps * dt, motion)
    while done < substeps:
        time, count = state.time + done * dt, min(per_piece, substeps - done)
        if field is not None and done:
            x, v = (_pick(packed[:, at : at + 3], back, order) for at in (X, V))
            given = pack_given(
                _pick(field(engine.positions(x), v, time), order, back), body, params
            )
        inputs = [packed, given]
        if torch.is_grad_enabled():
            poses = engine.poses(time, dt, count)
            inputs += [] if poses is None else [poses]
        wanted = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
        if wanted and state.rigid is not None:
            raise ValueError(
                "colliders: got rigid bodies that the material moves, through which no gradient "
                "leads: advance in torch.no_grad(), or give colliders with a pose"
            )
        again = recompute
        if again is None:
            again = not wanted or _Stored.bytes + (count + 1) * size > STORED_BYTES
        (packed,) = _piece(engine, count, time, dt, again, tally)(*inputs)
        engine.check(packed, order, dt)
        done += count
    end = State.unpack(_pick(packed, back, order), state.time + substeps * dt)
    end = end.replace(x=engine.positions(end.x))
    if tally is None:
        return end
    rigid = None if tally.motion is None else tally.motion.state
    return end.replace(reactions=tally.reactions(), rigid=rigid)


class _Permuted(torch.autograd.Function):
    """Rows in another order; its adjoint is one copy, too, and not the sum of `index_select`."""

    @staticmethod
    def forward(ctx, t, order, back):
        ctx.save_for_backward(back)
        return t.index_select(0, order)

    @staticmethod
    def backward(ctx, g):
        return g.index_select(0, *ctx.saved_tensors), None, None


def _pick(t: torch.Tensor, order: torch.Tensor | None, back: torch.Tensor | None) -> torch.Tensor:
    """Row order[i] of t for each i; back: the inverse of order."""
    return t if order is None else _Permuted.apply(t, order, back)


class _Stored:
    """Substep states kept for the backward pass; `bytes` counts the states that are alive."""

    bytes = 0

    def __init__(self, states: torch.Tensor):
        self.states, size = states, states.numel() * states.element_size()
        _Stored.bytes += size
        weakref.finalize(self, _Stored._release, size)

    @staticmethod
    def _release(size: int) -> None:
        _Stored.bytes -= size


def _piece(
    engine: Engine, count: int, time: float, dt: float, recompute: bool, tally: Tally | None
):
    """A differentiable function of a packed state and of given that runs count substeps.

    The poses of colliders are a third input if gradients reach them; their values are those that
    the engine computes itself. tally: gets what colliders and walls take, in the forward pass.
    """
    stored: list[_Stored] = []

    def run(packed, given, keep, tally=None):
        if keep:
            states = packed.new_empty(count + 1, *packed.shape)
            states[0] = packed
        else:
            states = packed.clone()[None]
        engine.forward(states, given, count, time, dt, tally)
        return states

    def forward(packed, given, *poses):
        states = run(packed, given, not recompute, tally)
        if recompute:
            return (states[0],)
        stored.append(_Stored(states))
        return (states[-1].clone(),)

    def backward(inputs, outputs, grads):
        packed, given, *poses = inputs
        states = stored.pop().states if stored else run(packed, given, True)
        g, ggiven = grads[0].clone()[None], torch.zeros_like(given)
        gposes = engine.backward(states, given, g, ggiven, time, dt)
        return g[0], ggiven, *([gposes] if poses else [])

    return differentiable(forward, backward)
