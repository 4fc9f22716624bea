"""Particles that forces have torn, and how a simulation goes on with them."""

import torch

from taichi_phys import State
from taichi_phys.rotations import nearest_rotation


TORN = 5.0  # particles that are stretched or crushed by more than this factor are torn


def heal(state: State) -> tuple[State, int]:
    """A state whose torn particles take their present shape as that at rest, and their number.

    Where tracks are lost or wrong, forces tear the object until no time step is short enough to go
    on. F = R S becomes R.
    """
    F = state.F.double()
    stretch = torch.linalg.svdvals(F)
    torn = (stretch.amax(dim=1) > TORN) | (stretch.amin(dim=1) < 1 / TORN)
    count = int(torn.sum())
    if count == 0:
        return state, 0
    F = torch.where(torn[:, None, None], nearest_rotation(F).to(state.F), state.F)
    return state.replace(F=F, C=torch.where(torn[:, None, None], 0, state.C)), count
