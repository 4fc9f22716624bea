"""Taichi kernels that run the phases of substep.py over all particles and nodes.

Particles are cut into chunks. Each chunk scatters to a grid of its own, in the order of its
particles, and lists the blocks of 4^3 nodes that it touches; the grid phase adds the chunks' nodes
in order, on listed blocks only. So nothing needs atomics, the result does not depend on the number
of threads, and the cost follows the particles, not the domain.

Three drivers run the same phases. "serial": one launch runs all substeps of a frame; for small
scenes, since a launch costs 0.1 ms. "pooled": a launch per substep whose two loops are shared
among the CPU's threads. "gpu": particles in parallel, one grid, with atomics.
"""

import dataclasses
import functools
from collections.abc import Callable

import taichi as ti

from taichi_phys.materials import Law
from taichi_phys.mpm.nodes import (
    BLOCK,
    LIST,
    LISTED,
    MARKS,
    block_corner,
    grid_job,
    grid_node,
    unlist_block,
    unlist_blocks,
)
from taichi_phys.mpm.substep import phases


JOBS = 16  # that the grid phase is cut into, for the CPU's threads
# Taichi gives a CPU thread at least so many iterations of a loop: chunk and job i is iteration
# i * STRIDE.
STRIDE = 512


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kernels:
    """What `kernels` makes: the two kernels, their driver, and how many parameters laws have.

    Arguments of forward: states (slots, n): packed states of substeps first, first + 1, ..., or one
    that is overwritten; given (n,), numbers: see layout.py; nodes, lists: see nodes.py; table, sdf:
    see contact.py. Those of backward, beside these: work (1, n): see layout.py; g (1, n): gradient
    of the packed state; ggiven: gradient of given, added to.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    driver: str
    columns: int


@functools.cache
def kernels(
    precision: str, laws: tuple[Law, ...], driver: str, remove: bool, solids: bool
) -> Kernels:
    """The forward and backward kernels for a precision, the laws in use and a driver.

    precision: f32 or f64; driver: "serial", "pooled" or "gpu"; remove: particles that leave the
    grid are removed; solids: there are colliders.
    """
    nd = ti.types.ndarray
    atomic, serial = driver == "gpu", driver == "serial"
    phase = phases(precision, laws, atomic, remove)
    real, node, packed, row, scratch = phase.types

    @ti.func
    def visit_chunk(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), c, s, first, last,
    ):  # fmt: skip
        unlist_blocks(lists, c)
        setting, n, chunks = phase.read(numbers), given.shape[0], lists.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            phase.visit(states, given, nodes, lists, c, p, s, first, last, setting)

    @ti.func
    def p2g_chunk_again(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), work: ti.template(), c, s,
    ):  # fmt: skip
        unlist_blocks(lists, c)
        setting, n, chunks = phase.read(numbers), given.shape[0], lists.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            phase.p2g_again(states, given, nodes, lists, work, c, p, s, setting)

    @ti.func
    def g2p_chunk_adjoint(
        states: ti.template(), nodes: ti.template(), lists: ti.template(), numbers: ti.template(),
        work: ti.template(), g: ti.template(), c, s,
    ):  # fmt: skip
        setting, n, chunks = phase.read(numbers), states.shape[1], lists.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            phase.g2p_adjoint(states, nodes, work, g, c, p, s, setting)

    @ti.func
    def grid_thread(
        nodes: ti.template(), lists: ti.template(), numbers: ti.template(), table: ti.template(),
        sdf: ti.template(), t, s, what: ti.template(),
    ):  # fmt: skip
        """One node of a listed block, for a GPU's thread t."""
        setting = phase.read(numbers)
        i = t % BLOCK**3
        node = block_corner(lists[0, LIST, t // BLOCK**3], setting.shape)
        node += ti.Vector([i // BLOCK**2, i // BLOCK % BLOCK, i % BLOCK])
        if (node < setting.shape).all():
            grid_node(nodes, lists, table, sdf, 1, node, s, setting, solids, what)

    @ti.func
    def grid_jobs(
        nodes: ti.template(), lists: ti.template(), numbers: ti.template(), table: ti.template(),
        sdf: ti.template(), job, jobs, s, what: ti.template(),
    ):  # fmt: skip
        grid_job(nodes, lists, table, sdf, job, jobs, s, phase.read(numbers), solids, what)

    @ti.kernel
    def forward(
        states: nd(packed, 2), given: nd(row, 1), nodes: nd(node, 1), lists: nd(ti.i32, 3),
        numbers: nd(real, 1), table: nd(real, 3), sdf: nd(real, 1),
        now: ti.i32, first: ti.i32, last: ti.i32,
    ):  # fmt: skip
        """Substeps first..last-1; serially all of them, else what comes between the grids of
        substeps now - 1 and now, and the latter."""
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for s in range(first, last + 1):
                for c in range(lists.shape[0]):
                    visit_chunk(states, given, nodes, lists, numbers, c, s, first, last)
                grid_jobs(nodes, lists, numbers, table, sdf, 0, 1, s, "forward")
        elif ti.static(not atomic):
            for t in range(lists.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    c = t // STRIDE
                    visit_chunk(states, given, nodes, lists, numbers, c, now, first, last)
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    job = t // STRIDE
                    grid_jobs(nodes, lists, numbers, table, sdf, job, JOBS, now, "forward")
        else:
            for e in range(lists[0, MARKS, LISTED]):
                unlist_block(lists, 0, e)
            for _ in range(1):
                lists[0, MARKS, LISTED] = 0
            for p in range(given.shape[0]):
                phase.visit(
                    states, given, nodes, lists, 0, p, now, first, last, phase.read(numbers)
                )
            for t in range(lists[0, MARKS, LISTED] * BLOCK**3):
                grid_thread(nodes, lists, numbers, table, sdf, t, now, "forward")

    @ti.kernel
    def backward(
        states: nd(packed, 2), given: nd(row, 1), nodes: nd(node, 1), lists: nd(ti.i32, 3),
        numbers: nd(real, 1), table: nd(real, 3), sdf: nd(real, 1),
        work: nd(scratch, 2), g: nd(packed, 2), ggiven: nd(row, 1), first: ti.i32, last: ti.i32,
    ):  # fmt: skip
        """Substeps last-1..first in reverse (one of them, unless serial); the grid of each is
        computed again from its state."""
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for turn in range(first, last):
                s = first + last - 1 - turn
                for c in range(lists.shape[0]):
                    p2g_chunk_again(states, given, nodes, lists, numbers, work, c, s)
                grid_jobs(nodes, lists, numbers, table, sdf, 0, 1, s, "both")
                for c in range(lists.shape[0]):
                    g2p_chunk_adjoint(states, nodes, lists, numbers, work, g, c, s)
                grid_jobs(nodes, lists, numbers, table, sdf, 0, 1, s, "gradient")
                setting = phase.read(numbers)
                for p in range(given.shape[0]):
                    phase.particle_adjoint(states, given, nodes, work, g, ggiven, p, s, setting)
        elif ti.static(not atomic):
            for t in range(lists.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    c = t // STRIDE
                    p2g_chunk_again(states, given, nodes, lists, numbers, work, c, first)
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    job = t // STRIDE
                    grid_jobs(nodes, lists, numbers, table, sdf, job, JOBS, first, "both")
            for t in range(lists.shape[0] * STRIDE):
                if t % STRIDE == 0:
                    g2p_chunk_adjoint(states, nodes, lists, numbers, work, g, t // STRIDE, first)
            for t in range(JOBS * STRIDE):
                if t % STRIDE == 0:
                    job = t // STRIDE
                    grid_jobs(nodes, lists, numbers, table, sdf, job, JOBS, first, "gradient")
        else:
            for e in range(lists[0, MARKS, LISTED]):
                unlist_block(lists, 0, e)
            for _ in range(1):
                lists[0, MARKS, LISTED] = 0
            for p in range(given.shape[0]):
                phase.p2g_again(states, given, nodes, lists, work, 0, p, first, phase.read(numbers))
            for t in range(lists[0, MARKS, LISTED] * BLOCK**3):
                grid_thread(nodes, lists, numbers, table, sdf, t, first, "both")
            for p in range(given.shape[0]):
                phase.g2p_adjoint(states, nodes, work, g, 0, p, first, phase.read(numbers))
            for t in range(lists[0, MARKS, LISTED] * BLOCK**3):
                grid_thread(nodes, lists, numbers, table, sdf, t, first, "gradient")
        if ti.static(not serial):
            for p in range(given.shape[0]):
                phase.particle_adjoint(
                    states, given, nodes, work, g, ggiven, p, first, phase.read(numbers)
                )

    return Kernels(forward=forward, backward=backward, driver=driver, columns=phase.columns)
