"""A plain MLS-MPM in NVIDIA Warp, as a yardstick for the workload of mpm.py on a GPU.

    pip install warp-lang

Three kernels a substep, as in textbooks: each particle adds to 27 nodes by atomics, each node is
moved, each particle gathers from 27 nodes. On a GPU a frame is launched as one CUDA graph.
"""

import numpy as np
import warp as wp


@wp.func
def weights(f: wp.vec3):
    """Quadratic B-spline weights of three nodes along each axis, as columns."""
    a, b, c = wp.vec3(1.5) - f, f - wp.vec3(1.0), f - wp.vec3(0.5)
    return wp.mat33(0.5 * wp.cw_mul(a, a), wp.vec3(0.75) - wp.cw_mul(b, b), 0.5 * wp.cw_mul(c, c))


@wp.func
def kirchhoff(F: wp.mat33, mu: float, lam: float):
    """tau = mu (F F^T - I) + lam log(det F) I, neo-Hookean."""
    one = wp.identity(n=3, dtype=float)
    return mu * (F * wp.transpose(F) - one) + lam * wp.log(wp.determinant(F)) * one


@wp.kernel
def scatter(
    x: wp.array(dtype=wp.vec3), v: wp.array(dtype=wp.vec3), C: wp.array(dtype=wp.mat33),
    F: wp.array(dtype=wp.mat33), momentum: wp.array3d(dtype=wp.vec3),
    masses: wp.array3d(dtype=float), dx: float, dt: float, mass: float, volume: float, mu: float,
    lam: float,
):  # fmt: skip
    p = wp.tid()
    place = x[p] / dx
    i, j, k = int(place[0] - 0.5), int(place[1] - 0.5), int(place[2] - 0.5)
    f = place - wp.vec3(float(i), float(j), float(k))
    w = weights(f)
    F[p] = F[p] + dt * C[p] * F[p]
    affine = mass * C[p] - (dt * volume * 4.0 / (dx * dx)) * kirchhoff(F[p], mu, lam)
    for a in range(3):
        for b in range(3):
            for c in range(3):
                offset = (wp.vec3(float(a), float(b), float(c)) - f) * dx
                weight = w[0, a] * w[1, b] * w[2, c]
                moved = weight * (mass * v[p] + affine * offset)
                wp.atomic_add(momentum, i + a, j + b, k + c, moved)
                wp.atomic_add(masses, i + a, j + b, k + c, weight * mass)


@wp.kernel
def move_nodes(
    momentum: wp.array3d(dtype=wp.vec3), masses: wp.array3d(dtype=float), dt: float,
    gravity: wp.vec3,
):  # fmt: skip
    i, j, k = wp.tid()
    m = masses[i, j, k]
    if m > 0.0:
        momentum[i, j, k] = momentum[i, j, k] / m + dt * gravity


@wp.kernel
def gather(
    x: wp.array(dtype=wp.vec3), v: wp.array(dtype=wp.vec3), C: wp.array(dtype=wp.mat33),
    velocity: wp.array3d(dtype=wp.vec3), dx: float, dt: float,
):  # fmt: skip
    p = wp.tid()
    place = x[p] / dx
    i, j, k = int(place[0] - 0.5), int(place[1] - 0.5), int(place[2] - 0.5)
    f = place - wp.vec3(float(i), float(j), float(k))
    w = weights(f)
    new_v, new_C = wp.vec3(0.0), wp.mat33(0.0)
    for a in range(3):
        for b in range(3):
            for c in range(3):
                offset = (wp.vec3(float(a), float(b), float(c)) - f) * dx
                part = w[0, a] * w[1, b] * w[2, c] * velocity[i + a, j + b, k + c]
                new_v = new_v + part
                new_C = new_C + (4.0 / (dx * dx)) * wp.outer(part, offset)
    v[p] = new_v
    C[p] = new_C
    x[p] = x[p] + dt * new_v


class WarpMPM:
    """A body of neo-Hookean particles in Warp.

    x, v: (n, 3) m, m/s; device: "cuda:0" or "cpu"; cells: of the cubic grid from the origin, along
    each axis; dx: m; mass: kg and volume: m^3 of a particle; E: Pa.
    """

    def __init__(self, x, v, *, device, cells, dx, mass, volume, E, nu, gravity):
        wp.init()
        self.device, self.dx, self.mass, self.volume = device, dx, mass, volume
        self.mu, self.lam = E / (2 * (1 + nu)), E * nu / ((1 + nu) * (1 - 2 * nu))
        self.gravity, n = wp.vec3(*gravity), len(x)
        like = {"device": device}
        self.x = wp.array(np.asarray(x, np.float32), dtype=wp.vec3, **like)
        self.v = wp.array(np.asarray(v, np.float32), dtype=wp.vec3, **like)
        self.C = wp.zeros(n, dtype=wp.mat33, **like)
        self.F = wp.array(np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)), dtype=wp.mat33, **like)
        self.momentum = wp.zeros((cells + 1,) * 3, dtype=wp.vec3, **like)
        self.masses = wp.zeros((cells + 1,) * 3, dtype=float, **like)

    def run(self, substeps: int, dt: float) -> None:
        """Launch substeps of dt s."""
        particles = [self.x, self.v, self.C]
        constants = [self.mass, self.volume, self.mu, self.lam]
        for _ in range(substeps):
            self.momentum.zero_()
            self.masses.zero_()
            arrays = [*particles, self.F, self.momentum, self.masses, self.dx, dt, *constants]
            wp.launch(scatter, len(self.x), inputs=arrays, device=self.device)
            wp.launch(
                move_nodes, self.masses.shape,
                inputs=[self.momentum, self.masses, dt, self.gravity], device=self.device,
            )  # fmt: skip
            arrays = [*particles, self.momentum, self.dx, dt]
            wp.launch(gather, len(self.x), inputs=arrays, device=self.device)

    def captured(self, substeps: int, dt: float):
        """A function that runs so many substeps, on a GPU as one graph."""
        if self.device == "cpu":
            return lambda: self.run(substeps, dt)
        self.run(1, dt)  # loads the kernels
        wp.capture_begin(self.device)
        self.run(substeps, dt)
        graph = wp.capture_end(self.device)
        return lambda: wp.capture_launch(graph)
