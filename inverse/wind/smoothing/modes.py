"""How a body responds to forces that are small: its modes, from a coarse model of its elasticity.

The model stands beside the simulator: it says roughly what a force does to a body, at once and
for all frames, where the simulator says it exactly, by a run over the whole clip. It has the
material points, the transfers and the linear elasticity of the simulator, on a grid that is coarse
enough for a direct solution. Modes are not sought by their frequencies but by what forces excite
them: Ritz vectors (Wilson, Yuan and Dickens 1982) of the forces that are to be found, to which the
body responds statically or with its own frequencies, however soft it is against bending.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu


LEAST_MASS = 1e-3  # of the heaviest node: lighter ones hang on few particles
LEAST_MOTION = 1e-4  # share of a Ritz vector that particles see and earlier vectors lack
ROUNDS = 2  # of Ritz vectors: static response to forces, and to the inertia of the first
SOFT = 1e-6  # of the highest squared frequency: makes the stiffness of free bodies invertible
HOLD = 10.0  # times the highest stiffness, that ties particles which are held
RIGID = 6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Modes:
    """Modes of a body of n particles.

    shapes: (n, 3, K) 1/sqrt(kg), displacements, orthonormal in the particles' mass; squared: (K,)
    1/s^2, squares of their angular frequencies; free: whether nothing holds the body: then the
    first six modes are rigid, three translations along the axes of the world and three rotations
    about the principal axes (3, 3), in columns, with moments (3,) kg m^2; loaded: (K, K) 1/s^2, by
    which a steady push stiffens them, if one is given.
    """

    shapes: np.ndarray
    squared: np.ndarray
    free: bool
    axes: np.ndarray
    moments: np.ndarray
    loaded: np.ndarray | None = None

    @property
    def count(self) -> int:
        """How many modes there are."""
        return len(self.squared)

    def under_push(self, count: int) -> "Modes":
        """The modes of a body that is held, while it carries the steady push.

        The lowest ones, so many, are mixtures of the lowest ones without it; for the others it is a
        small matter. What it would buckle is taken to resist nothing.
        """
        assert self.loaded is not None and not self.free
        low = np.diag(self.squared[:count]) + self.loaded[:count, :count]
        squared, turn = np.linalg.eigh(low)
        shapes = np.concatenate([self.shapes[..., :count] @ turn, self.shapes[..., count:]], axis=2)
        others = self.squared[count:] + np.diagonal(self.loaded)[count:]
        squared = np.maximum(np.concatenate([squared, others]), 0.0)
        return dataclasses.replace(self, shapes=shapes, squared=squared, loaded=None)


def find_modes(
    x: np.ndarray,
    mass: np.ndarray,
    volume: np.ndarray,
    lame: tuple[np.ndarray, np.ndarray],
    loads: np.ndarray,
    *,
    held: np.ndarray,
    spacing: float,
    push: npt.ArrayLike | None = None,
) -> Modes:
    """The modes that loads excite.

    x: (n, 3) m; mass: (n,) kg; volume: (n,) m^3; lame: mu and lambda, (n,) Pa; loads: (n, J), sizes
    of forces per mass, each of which may act along any axis; held: (n,) bool, particles that do not
    move; spacing: m, of the grid; push: (3,) m/s^2, a steady one that something held may carry.
    """
    to_grid, slopes = _grid(x, spacing)
    mu, lam = lame
    stiffness = _stiffness(slopes, volume, mu, lam)
    node_mass = to_grid.T @ mass
    kept = np.flatnonzero(node_mass > LEAST_MASS * node_mass.max())
    rows = np.concatenate([kept + axis * len(node_mass) for axis in range(3)])
    stiffness = stiffness[rows][:, rows]
    to_grid, inertia = to_grid[:, kept], np.tile(node_mass[kept], 3)
    top = float((stiffness.diagonal() / inertia).max())
    if held.any():
        tie = to_grid[held].T @ sparse.diags(HOLD * top * mass[held]) @ to_grid[held]
        stiffness = stiffness + sparse.block_diag([tie] * 3)
    solve = splu((stiffness + SOFT * top * sparse.diags(inertia)).tocsc()).solve
    loaded_nodes = to_grid.T @ (mass[:, None] * loads)
    pushes = np.kron(np.eye(3), loaded_nodes)
    found = []
    for _ in range(ROUNDS):
        moves = _orthonormal(solve(pushes), inertia)
        found.append(moves)
        pushes = inertia[:, None] * moves
    V = _orthonormal(np.concatenate(found, axis=1), inertia)
    root = np.sqrt(np.repeat(mass, 3))[:, None]
    U = np.stack([to_grid @ part for part in np.split(V, 3)], axis=1).reshape(3 * len(x), -1) * root
    free = not held.any()
    rigid, axes, moments = _rigid_modes(x, mass)
    if free:
        flat = rigid.reshape(3 * len(x), RIGID) * root
        U = U - flat @ (flat.T @ U)
    # Grids have motions that no particle sees and no stiffness resists: they are not modes.
    length = np.maximum(np.linalg.norm(U, axis=0), 1e-300)
    U, V = U / length, V / length
    share, turn = np.linalg.eigh(U.T @ U)
    seen = share > LEAST_MOTION * share.max()
    turn = turn[:, seen] / np.sqrt(share[seen])
    U, V = U @ turn, V @ turn
    reduced = V.T @ (stiffness @ V)
    squared, turn = np.linalg.eigh(0.5 * (reduced + reduced.T))
    shapes = ((U @ turn) / root).reshape(len(x), 3, -1)
    squared = np.maximum(squared, 0.0)
    loaded = None
    if free:
        shapes = np.concatenate([rigid, shapes], axis=2)
        squared = np.concatenate([np.zeros(RIGID), squared])
    elif push is not None:
        bent = solve(np.kron(np.asarray(push), to_grid.T @ mass))
        slopes = [slope[:, kept] for slope in slopes]
        stress = _stress(_gradients(slopes, bent[:, None])[..., 0], mu, lam)
        loaded = _stress_stiffness(_gradients(slopes, V @ turn), volume, stress)
    return Modes(
        shapes=shapes, squared=squared, free=free, axes=axes, moments=moments, loaded=loaded
    )


def _orthonormal(vectors: np.ndarray, inertia: np.ndarray) -> np.ndarray:
    root = np.sqrt(inertia)[:, None]
    return np.linalg.qr(root * vectors)[0] / root


def _grid(x: np.ndarray, spacing: float) -> tuple[sparse.csr_array, list[sparse.csr_array]]:
    """Matrices (n, N) from N nodes to values at particles, and to slopes along each axis (MLS)."""
    places = (x - x.min(axis=0)) / spacing + 2
    base = np.floor(places - 0.5).astype(int)
    f = places - base
    weights = np.stack([0.5 * (1.5 - f) ** 2, 0.75 - (f - 1) ** 2, 0.5 * (f - 0.5) ** 2], axis=2)
    steps = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    nodes = base[:, None] + steps
    w = np.prod([weights[:, axis, steps[:, axis]] for axis in range(3)], axis=0)
    shape = tuple(nodes.max(axis=(0, 1)) + 1)
    used, column = np.unique(np.ravel_multi_index(np.moveaxis(nodes, 2, 0), shape),
                             return_inverse=True)  # fmt: skip
    index = (np.repeat(np.arange(len(x)), 27), column.ravel())
    size = (len(x), len(used))
    away = 4 / spacing * (nodes - places[:, None])
    values = sparse.csr_array((w.ravel(), index), shape=size)
    slopes = [
        sparse.csr_array(((w * away[..., axis]).ravel(), index), shape=size) for axis in range(3)
    ]
    return values, slopes


def _stiffness(
    slopes: list[sparse.csr_array], volume: np.ndarray, mu: np.ndarray, lam: np.ndarray
) -> sparse.csc_array:
    """(3N, 3N) N/m of small displacements of the nodes, of isotropic elasticity."""
    shear, bulk = sparse.diags_array(volume * mu), sparse.diags_array(volume * lam)
    along = sum((g.T @ shear @ g for g in slopes[1:]), slopes[0].T @ shear @ slopes[0])
    blocks = [
        [a.T @ bulk @ b + b.T @ shear @ a + (along if i == j else 0 * along)
         for j, b in enumerate(slopes)]
        for i, a in enumerate(slopes)
    ]  # fmt: skip
    return sparse.block_array(blocks, format="csc")


def _gradients(slopes: Sequence[sparse.csr_array], moves: np.ndarray) -> np.ndarray:
    """(n, 3, 3, K): how displacements (3N, K) of the nodes change along each axis, the last but
    one."""
    parts = np.split(moves, 3)
    return np.stack([np.stack([s @ part for s in slopes], axis=1) for part in parts], axis=1)


def _stress(gradients: np.ndarray, mu: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """(n, 3, 3) Pa of small displacements with gradients (n, 3, 3)."""
    strain = 0.5 * (gradients + np.swapaxes(gradients, 1, 2))
    bulk = lam * np.trace(strain, axis1=1, axis2=2)
    return 2 * mu[:, None, None] * strain + bulk[:, None, None] * np.eye(3)


def _stress_stiffness(gradients: np.ndarray, volume: np.ndarray, stress: np.ndarray) -> np.ndarray:
    """(K, K): how the stress (n, 3, 3) Pa in a body resists motions with gradients (n, 3, 3, K),
    where they turn parts of it: what is pulled more, what is pressed less."""
    count = gradients.shape[-1]
    pulled = np.einsum("n,nab,nibk->niak", volume, stress, gradients, optimize=True)
    return gradients.reshape(-1, count).T @ pulled.reshape(-1, count)


def _rigid_modes(x: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shapes (n, 3, 6) of the rigid modes, the principal axes, in columns, and their moments."""
    arms = x - (mass / mass.sum()) @ x
    second = np.einsum("n,ni,nj->ij", mass, arms, arms)
    moments, axes = np.linalg.eigh(np.trace(second) * np.eye(3) - second)
    moments = np.maximum(moments, 1e-12 * moments.max())
    shift = np.broadcast_to(np.eye(3) / np.sqrt(mass.sum()), (len(x), 3, 3))
    turn = [np.cross(axes[:, k], arms) / np.sqrt(moments[k]) for k in range(3)]
    return np.concatenate([shift, np.stack(turn, axis=2)], axis=2), axes, moments
