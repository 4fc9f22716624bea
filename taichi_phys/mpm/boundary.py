"""What happens to grid velocities at the walls of the domain, and its adjoint."""

import taichi as ti

from taichi_phys.mpm.grid import CONTACTS, WALL_CELLS


STICKY, SLIP, SEPARATE = range(len(CONTACTS))


@ti.func
def wall_velocity(node, shape, contact, v):
    """Velocity v of a node after contact with the walls."""
    r = v
    for d in ti.static(range(3)):
        low, high = node[d] <= WALL_CELLS, node[d] >= shape[d] - 1 - WALL_CELLS
        into = (low and v[d] < 0) or (high and v[d] > 0)
        if (low or high) and (contact == SLIP or (contact == SEPARATE and into)):
            r[d] = ti.zero(v[d])
        if (low or high) and contact == STICKY:
            r = ti.zero(v)
    return r


@ti.func
def wall_adjoint(node, shape, contact, v, gv):
    """Gradient of the velocity before the walls, from v after them and its gradient gv.

    Walls only zero components, and a component that is exactly zero there was zeroed.
    """
    r = gv
    for d in ti.static(range(3)):
        near = node[d] <= WALL_CELLS or node[d] >= shape[d] - 1 - WALL_CELLS
        if near and contact != STICKY and v[d] == 0:
            r[d] = ti.zero(gv[d])
        if near and contact == STICKY:
            r = ti.zero(gv)
    return r
