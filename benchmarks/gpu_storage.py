"""Launches and scatters with arrays, bound or not, and with fields, on any device."""

import numpy as np
import torch
from gpu_parts import Device

from taichi_phys.language import ti
from taichi_phys.launching import bind


ARRAYS = 7  # that a launch of the simulator takes
CELLS = 128
SCATTERED = 200_000


def storage(part: Device) -> dict[str, float]:
    """Microseconds of a launch and milliseconds of a scatter, with torch's arrays and with fields.

    The scatter adds a 4-vector of each of 200,000 particles to 27 nodes, as a simulator does.
    bound: arrays that were handed over once (taichi_phys/launching.py).
    """
    count, repeats = (2_000, 20) if part.quick else (SCATTERED, 200)
    size, vector = CELLS**3, ti.types.vector(4, ti.f32)
    corners = np.random.default_rng(0).integers(CELLS // 4, CELLS // 2, (count, 3))
    bases = torch.as_tensor(corners @ [CELLS**2, CELLS, 1], dtype=torch.int32).to(part.device)
    array = torch.zeros(size, 4, device=part.device)
    others = [torch.zeros(8, device=part.device) for _ in range(ARRAYS - 2)]
    field = ti.Vector.field(4, ti.f32, size)
    field_bases = ti.field(ti.i32, count)
    field_bases.from_torch(bases)
    values = ti.types.ndarray(ti.f32, 1)

    @ti.func
    def add(nodes: ti.template(), base):
        for a, b, c in ti.static(ti.ndrange(3, 3, 3)):
            ti.atomic_add(nodes[base + (a * CELLS + b) * CELLS + c], ti.Vector([1.0, 2, 3, 4]))

    @ti.kernel
    def with_arrays(
        nodes: ti.types.ndarray(vector, 1), places: ti.types.ndarray(ti.i32, 1),
        a: values, b: values, c: values, d: values, e: values, count: ti.i32,
    ):  # fmt: skip
        for p in range(count):
            add(nodes, places[p])

    @ti.kernel
    def with_fields(count: ti.i32):
        for p in range(count):
            add(field, field_bases[p])

    again = bind(with_arrays, [array, bases, *others])

    def bound(n):
        for _ in range(repeats):
            again(n)

    def arrays(n):
        for _ in range(repeats):
            with_arrays(array, bases, *others, n)

    def fields(n):
        for _ in range(repeats):
            with_fields(n)

    found = {}
    for name, work in (("arrays", arrays), ("bound", bound), ("fields", fields)):
        empty = part.seconds(lambda work=work: work(0), 3) / repeats
        full = part.seconds(lambda work=work: work(count), 3) / repeats
        found |= {f"launch_us_{name}": 1e6 * empty, f"scatter_ms_{name}": 1e3 * full}
    return found
