"""The outside of a solid that is made of several closed shells."""

import numpy as np

from taichi_phys.geometry.inside import winding


OFFSET = 1e-3  # distance to each side of a surface where its sides are examined, in sizes
SAMPLES, STEPS = 500, 70  # points of a surface and depths at which the thickness is measured


def exposed(vertices: np.ndarray, faces: np.ndarray, size: float) -> np.ndarray:
    """Triangles (n, 3, 3) m of the part of a closed mesh that has the outside on one side.

    vertices: (m, 3) m; faces: (k, 3); size: m, the detail to which triangles that are partly hidden
    are cut. What lies within the union of the shells is left out: the parts of overlapping shells,
    faces where shells touch, and shells inside others.
    """
    todo, found = vertices[faces], []
    while len(todo):
        edges = np.linalg.norm(todo - np.roll(todo, 1, axis=1), axis=2).max(axis=1)
        parts = np.ceil(edges / size).astype(int).clip(1, 64)
        share = np.zeros(len(todo))
        for n in np.unique(parts):
            which = np.flatnonzero(parts == n)
            share[which] = _open_share(vertices, faces, todo[which], n, OFFSET * size)
        found.append(todo[share == 1])
        mixed = todo[(share > 0) & (share < 1)]
        a, b, c = mixed.transpose(1, 0, 2)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        quarters = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        todo = np.concatenate([np.stack(corners, axis=1) for corners in quarters])
    return np.concatenate(found)


def _open_share(vertices, faces, triangles: np.ndarray, n: int, offset: float) -> np.ndarray:
    """The share (k,) of the n^2 equal parts of each triangle (k, 3, 3) that border the outside."""
    points, normals = inner_points(triangles, n)
    shift = offset * normals
    sides = [winding(vertices, faces, (points + s * shift).reshape(-1, 3)) != 0 for s in (1, -1)]
    return (sides[0] != sides[1]).reshape(len(triangles), -1).mean(axis=1)


def inner_points(triangles: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The centers of n^2 equal parts of triangles (k, 3, 3), and unit normals; (k, n^2, 3) each.

    The normal of a triangle without area is 0.
    """
    a, b = np.mgrid[:n, :n].reshape(2, -1)
    upright, inverted = a + b < n, a + b < n - 1
    first = np.concatenate([a[upright] + 1 / 3, a[inverted] + 2 / 3]) / n
    second = np.concatenate([b[upright] + 1 / 3, b[inverted] + 2 / 3]) / n
    weights = np.stack([first, second, 1 - first - second], axis=1)
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    points = weights @ triangles
    return points, np.broadcast_to(normal[:, None], points.shape)


def thickness(vertices: np.ndarray, faces: np.ndarray) -> float:
    """The thickness, m, of the thinnest tenth of a solid, measured inwards from its surface.

    vertices: (m, 3) m; faces: (k, 3), closed and facing outwards. The result is 6 % exact. A tenth,
    since every solid is thin at its sharp edges.
    """
    triangles = vertices[faces]
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(normal, axis=1)
    rng = np.random.default_rng(0)
    which = rng.choice(len(faces), SAMPLES, p=area / area.sum())
    points = np.einsum("kc,kcd->kd", rng.dirichlet((1, 1, 1), SAMPLES), triangles[which])
    inward = -normal[which] / area[which, None]
    depths = np.ptp(vertices, axis=0).max() * np.geomspace(5e-4, 1, STEPS)
    places = points + np.concatenate([[OFFSET * depths[0]], depths])[:, None, None] * inward
    inside = (winding(vertices, faces, places.reshape(-1, 3)) != 0).reshape(-1, SAMPLES)
    inside = inside[:, inside[0]]  # what faces into a cavity that the winding does not know is left
    if not inside.size:
        return 0.0
    through = ~np.logical_and.accumulate(inside[1:], axis=0)
    gone = through.mean(axis=1) > 0.1
    return float(depths[gone.argmax()]) if gone.any() else float(depths[-1])
