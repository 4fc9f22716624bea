"""Taichi kernels that run the phases of substep.py over all particles and nodes.

The particles are divided into chunks. Each chunk scatters its particles, in order, to a grid of its
own and lists the blocks of 4^3 nodes that it touches; the grid phase adds up the grids of the
chunks, in order, on the listed blocks only. So no atomics are needed, the result does not depend on
the number of threads, and the cost depends on the particles and not on the size of the grid.

Three drivers run the same phases. "serial" runs all substeps of a frame in one launch, for small
scenes, where the 0.1 ms of a launch would matter. "pooled" has one launch per substep, whose two
loops are shared among the CPU's threads. "gpu" runs the particles in parallel on one grid, with
atomics, and one or several substeps per launch.

Loops in a ti.func that a kernel calls at its top level are shared among threads, too, if the
arguments are templates: an argument by value would be a launch of its own on a GPU.
"""

import dataclasses
import functools
from collections.abc import Callable

from taichi_phys.language import ti
from taichi_phys.materials import Law
from taichi_phys.mpm.fields import field_job, field_thread, mark_block, mark_reached, stages
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


JOBS = 16  # parts of the grid phase, which the CPU's threads share
# Taichi gives a CPU thread at least this many iterations of a loop, so chunk or job i is run in
# iteration i * STRIDE.
STRIDE = 512
# Substeps that a launch on a GPU runs. On the machine of an H100 a launch took 57 us, a substep of
# 200,000 particles 250 us on the card; compiling takes longer the more substeps there are.
GPU_BATCH = 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kernels:
    """The kernels of a simulation, their driver, and the number of parameters per particle.

    batch: number of substeps that a launch on a GPU runs.

    Arguments of forward: states (slots, n): the packed states of substeps first, first + 1, ..., or
    a single one that is overwritten; given (n,) and numbers: see layout.py; nodes and lists: see
    nodes.py; table and sdf: see contact.py. Further arguments of backward: grads: see nodes.py;
    work (1, n): see layout.py; g (1, n): the gradient in the packed state; ggiven (n,): the
    gradient in given, to which the kernel adds. settle: where the material moves rigid bodies, the
    second half of the grid phase, which may be repeated with other velocities in the table;
    measured: whether numbers have sums behind the settings (reactions.py); steered: whether they
    have in `backward`.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    driver: str
    columns: int
    batch: int = 1
    measured: bool = False
    steered: bool = False
    settle: Callable[..., None] | None = None


@functools.cache
def kernels(
    precision: str,
    laws: tuple[Law, ...],
    driver: str,
    remove: bool,
    solids: bool,
    measured: bool = False,
    coupled: bool = False,
    several: bool = False,
    batch: int = 1,
    steered: bool = False,
) -> Kernels:
    """The forward and backward kernels for a precision, the laws in use and a driver.

    precision: "f32" or "f64"; driver: "serial", "pooled" or "gpu"; remove: whether particles that
    leave the grid are removed; solids: whether there are colliders; measured: whether `forward`
    sums up, in numbers behind the settings, what colliders and walls take (reactions.py); coupled:
    whether `forward` leaves contacts to `settle`, which sums up, too; several: whether bodies have
    velocity fields of their own (fields.py); batch: number of substeps that a launch on a GPU runs,
    1 for other drivers and if coupled; steered: whether `backward` sums up, in numbers behind the
    settings, the gradients in the poses of colliders (steering.py).
    """
    nd = ti.types.ndarray
    atomic, serial = driver == "gpu", driver == "serial"
    phase = phases(precision, laws, atomic, remove, several)
    ahead = "sum" if coupled else "measured" if measured else "forward"
    back = "steered" if steered else "gradient"
    real, node, packed, row, scratch = phase.types

    # A CPU's loops over chunks and jobs, which its threads share unless the driver is serial.
    stride, jobs = (1, 1) if serial else (STRIDE, JOBS)

    @ti.func
    def empty_list(lists: ti.template()):
        """On a GPU: nothing is listed."""
        for e in range(lists[0, MARKS, LISTED]):
            unlist_block(lists, 0, e)
        lists[0, MARKS, LISTED] = 0

    @ti.func
    def visit(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), s: ti.template(), first: ti.template(), last: ti.template(),
    ):  # fmt: skip
        """From the grid of substep s - 1 to the particles, and from there to the grid of s."""
        if ti.static(atomic):
            empty_list(lists)
            for p in range(phase.threads(given.shape[0])):
                if s <= last:
                    setting = phase.read(numbers)
                    phase.visit(states, given, nodes, lists, 0, p, s, first, last, setting)
        else:
            for t in range(lists.shape[0] * stride):
                if t % stride == 0:
                    visit_chunk(states, given, nodes, lists, numbers, t // stride, s, first, last)

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
    def visit_adjoint(
        states: ti.template(), given: ti.template(), nodes: ti.template(), grads: ti.template(),
        lists: ti.template(), numbers: ti.template(), work: ti.template(), g: ti.template(),
        ggiven: ti.template(), s: ti.template(), first: ti.template(), last: ti.template(),
    ):  # fmt: skip
        """From the gradient in the grid of substep s + 1 to the particles, and to that of s."""
        if ti.static(atomic):
            empty_list(lists)
            for p in range(phase.threads(given.shape[0])):
                if s >= first - 1:
                    setting = phase.read(numbers)
                    phase.visit_adjoint(
                        states, given, nodes, grads, lists, work, g, ggiven, 0, p, s, first, last,
                        setting,
                    )  # fmt: skip
        else:
            for t in range(lists.shape[0] * stride):
                if t % stride == 0:
                    visit_chunk_adjoint(
                        states, given, nodes, grads, lists, numbers, work, g, ggiven, t // stride,
                        s, first, last,
                    )  # fmt: skip

    @ti.func
    def visit_chunk_adjoint(
        states: ti.template(), given: ti.template(), nodes: ti.template(), grads: ti.template(),
        lists: ti.template(), numbers: ti.template(), work: ti.template(), g: ti.template(),
        ggiven: ti.template(), c, s, first, last,
    ):  # fmt: skip
        unlist_blocks(lists, c)
        setting, n, chunks = phase.read(numbers), given.shape[0], lists.shape[0]
        for p in range(c * n // chunks, (c + 1) * n // chunks):
            phase.visit_adjoint(
                states, given, nodes, grads, lists, work, g, ggiven, c, p, s, first, last, setting
            )

    @ti.func
    def show_surfaces(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), s: ti.template(), first: ti.template(), last: ti.template(),
    ):  # fmt: skip
        """Where several fields meet, particles scatter the surfaces of their bodies, too."""
        if ti.static(atomic):
            for e in range(lists[0, MARKS, LISTED]):
                mark_block(lists, 0, lists[0, LIST, e])
            for p in range(given.shape[0]):
                if first <= s < last:
                    setting = phase.read(numbers)
                    phase.show(states, given, nodes, lists, 0, p, s, setting, -1, False)
        else:
            for t in range(jobs * stride):
                if t % stride == 0:
                    mark_reached(lists, t // stride, jobs)
            for t in range(lists.shape[0] * stride):
                if t % stride == 0:
                    show_chunk(states, given, nodes, lists, numbers, t // stride, s, first, last)

    @ti.func
    def show_chunk(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), c, s, first, last,
    ):  # fmt: skip
        setting, n, chunks = phase.read(numbers), given.shape[0], lists.shape[0]
        if first <= s < last:
            place, near = -1, False
            for p in range(c * n // chunks, (c + 1) * n // chunks):
                place, near = phase.show(states, given, nodes, lists, c, p, s, setting, place, near)

    @ti.func
    def grid_phase(
        nodes: ti.template(), grads: ti.template(), lists: ti.template(), numbers: ti.template(),
        table: ti.template(), sdf: ti.template(), s: ti.template(), what: ti.template(),
    ):  # fmt: skip
        """Visit the nodes of all listed blocks; grads: used in the backward pass only."""
        for stage in ti.static(stages(what) if several else (0,)):
            if ti.static(atomic):
                for t in range(lists[0, MARKS, LISTED] * BLOCK**3):
                    grid_thread(nodes, grads, lists, numbers, table, sdf, t, s, what, stage)
            else:
                for t in range(jobs * stride):
                    if t % stride == 0:
                        grid_part(
                            nodes, grads, lists, numbers, table, sdf, t // stride, s, what, stage
                        )

    @ti.func
    def grid_thread(
        nodes: ti.template(), grads: ti.template(), lists: ti.template(), numbers: ti.template(),
        table: ti.template(), sdf: ti.template(), t, s, what: ti.template(),
        stage: ti.template(),
    ):  # fmt: skip
        """The grid phase of one node of a listed block, in thread t of a GPU."""
        setting = phase.read(numbers)
        i = t % BLOCK**3
        node = block_corner(lists[0, LIST, t // BLOCK**3], setting.shape)
        node += ti.Vector([i // BLOCK**2, i // BLOCK % BLOCK, i % BLOCK])
        if (node < setting.shape).all():
            if ti.static(several):
                field_thread(
                    nodes, grads, lists, table, sdf, lists[0, LIST, t // BLOCK**3], node, s,
                    setting, solids, what, stage, numbers, t,
                )  # fmt: skip
            else:
                grid_node(
                    nodes, grads, lists, table, sdf, 1, node, s, setting, solids, what, numbers, t
                )

    @ti.func
    def grid_part(
        nodes: ti.template(), grads: ti.template(), lists: ti.template(), numbers: ti.template(),
        table: ti.template(), sdf: ti.template(), job, s, what: ti.template(),
        stage: ti.template(),
    ):  # fmt: skip
        """The share of a job of the grid phase, on a CPU."""
        setting = phase.read(numbers)
        if ti.static(several):
            field_job(
                nodes, grads, lists, table, sdf, job, jobs, s, setting, solids, what, stage, numbers
            )
        else:
            grid_job(nodes, grads, lists, table, sdf, job, jobs, s, setting, solids, what, numbers)

    @ti.func
    def substep(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), table: ti.template(), sdf: ti.template(), s: ti.template(),
        first: ti.template(), last: ti.template(),
    ):  # fmt: skip
        visit(states, given, nodes, lists, numbers, s, first, last)
        if ti.static(several):
            show_surfaces(states, given, nodes, lists, numbers, s, first, last)
        grid_phase(nodes, nodes, lists, numbers, table, sdf, s, ahead)

    @ti.func
    def substep_adjoint(
        states: ti.template(), given: ti.template(), nodes: ti.template(), lists: ti.template(),
        numbers: ti.template(), table: ti.template(), sdf: ti.template(), grads: ti.template(),
        work: ti.template(), g: ti.template(), ggiven: ti.template(), s: ti.template(),
        first: ti.template(), last: ti.template(),
    ):  # fmt: skip
        visit_adjoint(states, given, nodes, grads, lists, numbers, work, g, ggiven, s, first, last)
        if ti.static(several):
            show_surfaces(states, given, nodes, lists, numbers, s, first, last)
        grid_phase(nodes, grads, lists, numbers, table, sdf, s, back)

    @ti.kernel
    def forward(
        states: nd(packed, 2), given: nd(row, 1), nodes: nd(node, 1), lists: nd(ti.i32, 3),
        numbers: nd(real, 1), table: nd(real, 3), sdf: nd(real, 1),
        now: ti.i32, first: ti.i32, last: ti.i32,
    ):  # fmt: skip
        """Run substeps first to last - 1.

        Step s goes from the grid of substep s - 1 to the particles, and from there to the grid of
        substep s. The serial driver runs all steps, first to last, in one launch; the others run
        steps now to now + batch - 1, up to last.
        """
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for s in range(first, last + 1):
                substep(states, given, nodes, lists, numbers, table, sdf, s, first, last)
        else:
            for k in ti.static(range(batch)):
                substep(states, given, nodes, lists, numbers, table, sdf, now + k, first, last)

    @ti.kernel
    def settle(
        nodes: nd(node, 1), lists: nd(ti.i32, 3), numbers: nd(real, 1), table: nd(real, 3),
        sdf: nd(real, 1),
    ):  # fmt: skip
        grid_phase(nodes, nodes, lists, numbers, table, sdf, 0, "settle")

    @ti.kernel
    def backward(
        states: nd(packed, 2), given: nd(row, 1), nodes: nd(node, 1), lists: nd(ti.i32, 3),
        numbers: nd(real, 1), table: nd(real, 3), sdf: nd(real, 1), grads: nd(node, 1),
        work: nd(scratch, 2), g: nd(packed, 2), ggiven: nd(row, 1),
        now: ti.i32, first: ti.i32, last: ti.i32,
    ):  # fmt: skip
        """Run substeps last - 1 to first in reverse.

        Step s goes from the gradient in the grid of substep s + 1 to the particles, and from there
        to that in the grid of substep s, which is computed again. The serial driver runs all steps,
        last - 1 to first - 1, in one launch; the others run batch steps from now on, down to
        first - 1.
        """
        if ti.static(serial):
            ti.loop_config(serialize=True)
            for turn in range(first, last + 1):
                substep_adjoint(
                    states, given, nodes, lists, numbers, table, sdf, grads, work, g, ggiven,
                    first + last - 1 - turn, first, last,
                )  # fmt: skip
        else:
            for k in ti.static(range(batch)):
                substep_adjoint(
                    states, given, nodes, lists, numbers, table, sdf, grads, work, g, ggiven,
                    now - k, first, last,
                )  # fmt: skip

    return Kernels(
        forward=forward,
        backward=backward,
        driver=driver,
        columns=phase.columns,
        batch=batch,
        measured=measured or coupled,
        steered=steered,
        settle=settle if coupled else None,
    )
