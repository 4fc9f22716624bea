"""Colliders: distances, contact and its adjoint, motion, and bad input."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import COLLIDERS, ball_samples
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from taichi_phys.geometry.signed_distance import SignedDistance
from taichi_phys.language import ti
from taichi_phys.mpm import colliders as col
from taichi_phys.mpm.colliders import Box, Capsule, Mesh, Plane, Sphere
from taichi_phys.mpm.contact import (
    boundary_adjoint,
    boundary_velocity,
    collide,
    collide_adjoint,
)  # fmt: skip
from taichi_phys.mpm.grid import CONTACTS, WALL_CELLS, WALLS
from taichi_phys.mpm.poses import moving
from taichi_phys.mpm.surface import distance_normal


f64 = torch.float64
STICKY, SLIP, SEPARATE = range(3)
SHAPE = (14, 12, 13)  # nodes of a small grid
DX = 0.1


@functools.cache
def kernels(precision):
    real = getattr(ti, precision)
    vec3, ivec3, nd = ti.types.vector(3, real), ti.types.vector(3, ti.i32), ti.types.ndarray

    @ti.kernel
    def distance(
        table: nd(real, 3), c: ti.i32, s: ti.i32, sdf: nd(real, 1), x: nd(vec3, 1),
        d: nd(real, 1), n: nd(vec3, 1),
    ):  # fmt: skip
        for p in range(x.shape[0]):
            d[p], n[p] = distance_normal(table, c, s, sdf, x[p])

    @ti.kernel
    def contact(
        v: nd(vec3, 1), n: nd(vec3, 1), u: nd(vec3, 1), kind: ti.i32, friction: real,
        gv: nd(vec3, 1), out: nd(vec3, 1), back: nd(vec3, 1),
    ):  # fmt: skip
        for p in range(v.shape[0]):
            out[p] = collide(v[p], n[p], u[p], kind, friction)
            back[p] = collide_adjoint(v[p], n[p], u[p], kind, friction, gv[p])

    @ti.kernel
    def boundary(
        node: nd(ivec3, 1), shape: ivec3, dx: real, kind: ti.i32, friction: real,
        table: nd(real, 3), s: ti.i32, sdf: nd(real, 1), v: nd(vec3, 1), gv: nd(vec3, 1),
        out: nd(vec3, 1), back: nd(vec3, 1),
    ):  # fmt: skip
        for p in range(v.shape[0]):
            x = dx * ti.cast(node[p], real)
            out[p] = boundary_velocity(
                node[p], shape, x, kind, friction, table, s, sdf, v[p], True, 0, sdf, 0, 1.0, dx
            )
            back[p] = boundary_adjoint(
                node[p], shape, x, kind, friction, table, s, sdf, v[p], gv[p], True, False, sdf, 0
            )

    return SimpleNamespace(distance=distance, contact=contact, boundary=boundary)


def random(*shape):
    return torch.randn(shape, dtype=f64)


def rotation():
    return Rotation.from_rotvec([0.7, -1.1, 1.6]).as_matrix()


def distances_at(collider, x, t=0.0, dtype=f64):
    table = torch.as_tensor(col.table([collider], [t], 1e-3), dtype=dtype)
    sdf = torch.as_tensor(col.distances([collider]), dtype=dtype)
    x = torch.as_tensor(x, dtype=dtype).contiguous()
    d, n = torch.empty(len(x), dtype=dtype), torch.empty_like(x)
    kernels("f64" if dtype == f64 else "f32").distance(table, 0, 0, sdf, x, d, n)
    return d.cpu().numpy(), n.cpu().numpy()


def contact(v, n, u, kind, friction, gv=None):
    gv = torch.zeros_like(v) if gv is None else gv
    out, back = torch.empty_like(v), torch.empty_like(v)
    kernels("f64").contact(v, n, u, kind, friction, gv, out, back)
    return out, back


def boundary(node, v, gv, *, kind=SEPARATE, friction=0.0, colliders=(), time=0.0):
    table = torch.as_tensor(col.table(colliders, [time - 0.1, time], 1e-3))
    table[..., col.CELL] = DX
    sdf = torch.as_tensor(col.distances(colliders))
    out, back = torch.empty_like(v), torch.empty_like(v)
    kernels("f64").boundary(
        node, ti.Vector(SHAPE), DX, kind, friction, table, len(table) - 1, sdf, v, gv, out, back
    )
    return out, back


# Closed forms


def plane_distance(p):
    return (p - [0.7, 0.4, 0.6]) @ np.array([2.0, -1.0, 2.0]) / 3


def box_distance(p):
    q = np.abs(p - [0.6, 0.5, 0.7]) - [0.2, 0.3, 0.4]
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(axis=-1), 0)


def sphere_distance(p):
    return np.linalg.norm(p - [0.6, 0.5, 0.7], axis=-1) - 0.4


def capsule_distance(p):
    a, b = np.array([0.3, 0.5, 0.4]), np.array([0.9, 0.6, 0.7])
    share = ((p - a) @ (b - a) / ((b - a) @ (b - a))).clip(0, 1)
    return np.linalg.norm(p - a - share[..., None] * (b - a), axis=-1) - 0.25


CLOSED_FORMS = {  # of the colliders in the list of all
    "plane": plane_distance,
    "box": box_distance,
    "sphere": sphere_distance,
    "capsule": capsule_distance,
    "mesh": sphere_distance,
}
BALL = COLLIDERS["mesh"][1]["mesh"]
POSES = {
    "still": None,
    "matrix": lambda t: (rotation(), np.array([0.3, -0.2, 0.1])),
    "quaternion": lambda t: (
        Rotation.from_matrix(rotation()).as_quat()[[3, 0, 1, 2]], (0.3, -0.2, 0.1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("shape", COLLIDERS)
def test_distances_and_normals(shape, pose):
    (make, fields), closed_form = COLLIDERS[shape], CLOSED_FORMS[shape]
    R, T = (np.eye(3), np.zeros(3)) if pose == "still" else POSES["matrix"](0)
    local = np.array([0.6, 0.5, 0.7]) + 0.5 * random(400, 3).cpu().numpy().clip(-1.8, 1.8)
    d, n = distances_at(make(**fields, pose=POSES[pose]), local @ R.T + T)
    expected = closed_form(local)
    assert (expected < 0).sum() > 20 and (expected > 0).sum() > 20
    h = 1e-6
    slope = [(closed_form(local + h * e) - closed_form(local - h * e)) / (2 * h) for e in np.eye(3)]
    normal = np.stack(slope, axis=1) @ R.T
    if shape == "mesh":  # an interpolant, right to the square of the spacing away from the center
        known = (np.abs(local - [0.6, 0.5, 0.7]).max(axis=1) < 0.95) & (expected > -0.25)
        assert (d[np.abs(local - [0.6, 0.5, 0.7]).max(axis=1) > 1.01] > 1e9).all()
        np.testing.assert_allclose(d[known], expected[known], rtol=0, atol=0.006)
        np.testing.assert_allclose(n[known], normal[known], rtol=0, atol=0.15)
    else:
        np.testing.assert_allclose(d, expected, rtol=0, atol=1e-14)
        np.testing.assert_allclose(n, normal, rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1, rtol=1e-12)


def test_where_normals_are_not_unique():
    """In the middle of a shape: finite, of unit length, and out by a shortest way."""
    cases = [
        (Sphere(center=(1, 2, 3), radius=0.5), (1, 2, 3)),
        (Box(center=(1, 2, 3), half_size=(0.5, 0.5, 0.5)), (1, 2, 3)),
        (Capsule(start=(1, 2, 2), end=(1, 2, 4), radius=0.5), (1, 2, 3)),
        (Capsule(start=(0, 1, 2), end=(2, 3, 4), radius=0.5), (1, 2, 3)),
        (Capsule(start=(1, 2, 3), end=(1, 2, 3), radius=0.5), (1, 2, 3)),
        (Mesh(mesh=ball_samples((1, 2, 3), 0.5)), (1, 2, 3)),
    ]
    for collider, x in cases:
        d, n = distances_at(collider, [x])
        assert d[0] == pytest.approx(-0.5, abs=1e-12)
        assert np.linalg.norm(n[0]) == pytest.approx(1)
        if not isinstance(collider, Mesh):
            out, _ = distances_at(collider, x + 0.75 * n)
            assert out[0] == pytest.approx(0.25)


def test_a_mesh_without_slope():
    flat = SignedDistance(lower=(0, 0, 0), spacing=1.0, values=np.full((2, 2, 2), -1.0))
    d, n = distances_at(Mesh(mesh=flat), [(0.5, 0.5, 0.5)])
    assert d[0] == -1 and n[0].tolist() == [0, 0, 1]


def test_trilinear_interpolation_is_exact_for_trilinear_distances():
    i = np.stack(np.meshgrid(*map(np.arange, (4, 5, 6)), indexing="ij"), axis=-1)

    def f(q):
        x, y, z = np.moveaxis(q, -1, 0)
        return 0.1 + 0.2 * x - 0.3 * y + 0.15 * z + 0.05 * x * y - 0.02 * y * z + 0.01 * x * y * z

    field = SignedDistance(lower=(1, 2, 3), spacing=0.5, values=f(i.astype(float)))
    q = np.random.default_rng(0).uniform(0, 1, (50, 3)) * [3, 4, 5]
    q[:4] = [[0, 0, 0], [3, 4, 5], [3, 0, 2], [1, 2, 3]]  # corners and nodes
    d, n = distances_at(Mesh(mesh=field), np.array([1, 2, 3]) + 0.5 * q)
    np.testing.assert_allclose(d, f(q), rtol=0, atol=1e-14)
    h = 1e-6
    slope = np.stack([(f(q + h * e) - f(q - h * e)) / (2 * h) for e in np.eye(3)], axis=1)
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    np.testing.assert_allclose(n, slope, rtol=0, atol=1e-8)


def test_several_meshes_share_the_distances():
    balls = [ball_samples((0, 0, 0), 0.1 * (i + 1), n=7 + 2 * i) for i in range(3)]
    shapes = [Mesh(mesh=ball) for ball in balls]
    shapes.insert(1, Sphere(center=(0, 0, 0), radius=1))
    table, sdf = torch.as_tensor(col.table(shapes, [0], 1)), torch.as_tensor(col.distances(shapes))
    assert len(sdf) == 7**3 + 9**3 + 11**3 and col.distances([]).shape == (1,)
    x, d, n = torch.zeros(1, 3, dtype=f64), torch.empty(1, dtype=f64), torch.empty(1, 3, dtype=f64)
    for c, expected in enumerate((-0.1, -1, -0.2, -0.3)):
        kernels("f64").distance(table, c, 0, sdf, x, d, n)
        assert d.item() == pytest.approx(expected)


def test_single_precision():
    x = np.array([[0.55, 0.45, 0.5], [0.9, 0.9, 0.9]])
    for make, fields in COLLIDERS.values():
        d, n = distances_at(make(**fields, pose=POSES["matrix"]), x)
        single, normal = distances_at(make(**fields, pose=POSES["matrix"]), x, dtype=torch.float32)
        np.testing.assert_allclose(single, d, rtol=0, atol=1e-6)
        np.testing.assert_allclose(normal, n, rtol=0, atol=1e-5)


# Contact

Z = (0, 0, 1)


@pytest.mark.parametrize(
    ("v", "u", "kind", "friction", "expected"),
    [
        ((3, 4, -1), (0, 0, 0), STICKY, 0.0, (0, 0, 0)),
        ((3, 4, 7), (1, 2, 3), STICKY, 0.5, (1, 2, 3)),
        ((3, 4, -1), (0, 0, 0), SLIP, 0.0, (3, 4, 0)),
        ((3, 4, 1), (0, 0, 0), SLIP, 0.0, (3, 4, 0)),
        ((3, 4, 2), (0, 0, 0), SLIP, 0.5, (3 * 0.8, 4 * 0.8, 0)),  # 5 m/s less 0.5 x 2
        ((3, 4, 10), (0, 0, 0), SLIP, 0.5, (0, 0, 0)),  # sticks
        ((3, 4, 1), (0, 0, 0), SEPARATE, 9.0, (3, 4, 1)),
        ((3, 4, -2), (0, 0, 0), SEPARATE, 0.5, (3 * 0.8, 4 * 0.8, 0)),
        ((3, 4, -9), (0, 0, 0), SEPARATE, 0.5, (3 * 0.1, 4 * 0.1, 0)),
        ((3, 4, -11), (0, 0, 0), SEPARATE, 0.5, (0, 0, 0)),
        ((3, 4, 1), (0, 0, 3), SEPARATE, 0.5, (3 * 0.8, 4 * 0.8, 3)),  # it catches up
        ((3, 4, -1), (0, 0, -3), SEPARATE, 0.5, (3, 4, -1)),  # it goes away
        ((3, 0, -2), (1, 0, 0), SEPARATE, 0.5, (2, 0, 0)),  # friction towards a moving belt
        ((0, 0, -1), (0, 0, 0), SEPARATE, 0.5, (0, 0, 0)),
        ((0, 0, -1), (0, 0, 0), SEPARATE, 0.0, (0, 0, 0)),
    ],
)
def test_contact_by_hand(v, u, kind, friction, expected):
    v, n, u, expected = (torch.tensor([a], dtype=f64) for a in (v, Z, u, expected))
    out, _ = contact(v, n, u, kind, friction)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [STICKY, SLIP, SEPARATE])
@pytest.mark.parametrize("friction", [0.0, 0.3, 2.0])
def test_contact_obeys_coulomb_and_takes_energy(kind, friction):
    v, u, n = random(500, 3), random(500, 3), torch.nn.functional.normalize(random(500, 3))
    out, _ = contact(v, n, u, kind, friction)
    before, after = v - u, out - u
    assert (after.norm(dim=1) <= before.norm(dim=1) * (1 + 1e-14)).all()
    normal, was = (after * n).sum(1), (before * n).sum(1)
    if kind == STICKY:
        assert torch.equal(out, u)
        return
    expected = was.clamp(min=0) if kind == SEPARATE else torch.zeros_like(was)
    torch.testing.assert_close(normal, expected, rtol=0, atol=1e-14)
    tangent, was_tangent = after - normal[:, None] * n, before - was[:, None] * n
    lost, most = (was_tangent - tangent).norm(dim=1), friction * (normal - was).abs()
    torch.testing.assert_close(lost, torch.minimum(most, was_tangent.norm(dim=1)))
    direction = (tangent * was_tangent).sum(1) - tangent.norm(dim=1) * was_tangent.norm(dim=1)
    assert direction.abs().max() < 1e-14  # friction slows sliding, it does not turn it
    if friction:
        sticks = tangent.norm(dim=1) < 1e-12
        assert sticks.any() and not sticks.all()


def differences(f, v, gv, h=1e-6):
    """(n, 3) central differences of sum(gv f(v)) in v; NaN where f switches within h."""
    middle, result = f(v), torch.empty_like(v)
    for d in range(3):
        step = torch.zeros_like(v)
        step[:, d] = h
        high, low = f(v + step), f(v - step)
        result[:, d] = ((high - low) * gv).sum(1) / (2 * h)
        bend = (high - 2 * middle + low).norm(dim=1) / h
        result[bend > 1e-3, d] = math.nan
    return result


def compare(got, expected, switching=0.02):
    smooth = ~expected.isnan()
    assert smooth.double().mean() > 1 - switching
    torch.testing.assert_close(got[smooth], expected[smooth], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [STICKY, SLIP, SEPARATE])
@pytest.mark.parametrize("friction", [0.0, 0.3, 2.0])
def test_contact_adjoint(kind, friction):
    v, u, gv = random(500, 3), random(500, 3), random(500, 3)
    n = torch.nn.functional.normalize(random(500, 3))
    _, back = contact(v, n, u, kind, friction, gv)
    compare(back, differences(lambda w: contact(w, n, u, kind, friction)[0], v, gv))


def test_a_straight_fall_keeps_its_sideways_gradient():
    """Without friction a node that comes straight down could still slide; with it, it sticks."""
    v, n, gv = (torch.tensor([a], dtype=f64) for a in ((0, 0, -1), Z, (1, 2, 3)))
    for kind in (SLIP, SEPARATE):
        assert contact(v, n, 0 * v, kind, 0.0, gv)[1].tolist() == [[1, 2, 0]]
        assert contact(v, n, 0 * v, kind, 0.5, gv)[1].tolist() == [[0, 0, 0]]


# Walls and several colliders


def all_nodes():
    axes = [torch.arange(n, dtype=torch.int32) for n in SHAPE]
    return torch.cartesian_prod(*axes).contiguous()


def walls(node):
    """(n, 3) -1, 0 or 1: on which side a wall is near."""
    high = node >= torch.tensor(SHAPE) - 1 - WALL_CELLS
    return high.int() - (node <= WALL_CELLS).int()


@pytest.mark.parametrize("kind", range(len(WALLS)))
def test_walls(kind):
    node = all_nodes()
    v = random(len(node), 3)
    side = walls(node)
    out, _ = boundary(node, v, v, kind=kind)
    if kind == STICKY:
        expected = torch.where((side != 0).any(1, keepdim=True), 0, v)
    elif WALLS[kind] == "open":
        expected = v
    else:
        stopped = side != 0 if kind == SLIP else side * v > 0
        expected = torch.where(stopped, 0, v)
    assert torch.equal(out, expected)


def test_wall_friction():
    node = torch.tensor([[6, 5, 1], [6, 5, 11], [6, 5, 6], [2, 5, 6]], dtype=torch.int32)
    v = torch.tensor([[3, 4, -2], [3, 4, 2], [3, 4, -2], [-1, 0, 5]], dtype=f64)
    out, _ = boundary(node, v, v, friction=0.5)
    expected = torch.tensor([[2.4, 3.2, 0], [2.4, 3.2, 0], [3, 4, -2], [0, 0, 4.5]], dtype=f64)
    torch.testing.assert_close(out, expected)


def test_colliders_act_before_walls():
    """A rough floor within the walls' cells rubs, and what is driven into a wall stops there."""
    node = torch.tensor([[6, 5, 1], [6, 5, 2]], dtype=torch.int32)
    v = torch.tensor([[3, 4, -2], [3, 4, 2]], dtype=f64)
    floor = Plane(point=(0, 0, 0.25), normal=(0, 0, 1), friction=0.5)
    out, _ = boundary(node, v, v, colliders=[floor])
    expected = torch.tensor([[2.4, 3.2, 0], [3, 4, 2]], dtype=f64)
    torch.testing.assert_close(out, expected)
    press = Plane(point=(0, 0, 0.25), normal=(0, 0, 1), contact="sticky",
                  pose=moving(velocity=(1, 0, -1)))  # fmt: skip
    out, _ = boundary(node, v, v, colliders=[press])
    torch.testing.assert_close(out, torch.tensor([[1, 0, 0]] * 2, dtype=f64))


def test_only_nodes_inside_an_acting_collider_touch_it():
    node = all_nodes()
    v = random(len(node), 3)
    ball = Sphere(center=(0.6, 0.5, 0.7), radius=0.4, contact="sticky", during=(1, 2),
                  pose=moving(velocity=(1, 2, 3), center=(0.6, 0.5, 0.7)))  # fmt: skip
    for time, acting in ((0.5, False), (1.0, True), (2.5, False)):
        out, _ = boundary(node, v, v, colliders=[ball], time=time)
        x = node.double().cpu().numpy() * DX - time * np.array([1, 2, 3])
        inside = torch.as_tensor(sphere_distance(x) < 0) & acting
        free = torch.where(side_stops(node, v), 0, v)
        expected = torch.where(inside[:, None], torch.tensor([1.0, 2.0, 3.0], dtype=f64), free)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def side_stops(node, v):
    return walls(node) * v > 0


def test_contacts_come_in_order():
    """A node in two sticky colliders takes the velocity of the last."""
    pose = [moving(velocity=(i, 0, 0)) for i in (1.0, 2.0)]
    balls = [Sphere(center=(0.6, 0.5, 0.7), radius=0.4, contact="sticky", pose=p) for p in pose]
    node, v = torch.tensor([[6, 5, 7]], dtype=torch.int32), random(1, 3)
    for order in (balls, balls[::-1]):
        out, _ = boundary(node, v, v, colliders=order)
        expected = 2.0 if order is balls else 1.0
        torch.testing.assert_close(out, torch.tensor([[expected, 0, 0]], dtype=f64))


def test_a_spinning_collider_drags_material_round():
    w, center = np.array([0.5, -1.0, 2.0]), np.array([0.6, 0.5, 0.7])
    pose = moving(angular_velocity=w, center=center)
    box = Box(center=center, half_size=(0.2, 0.2, 0.2), contact="sticky", pose=pose)
    node = torch.tensor([[6, 5, 7], [7, 5, 7], [6, 6, 6]], dtype=torch.int32)
    out, _ = boundary(node, random(3, 3), random(3, 3), colliders=[box], time=0.2)
    expected = np.cross(w, node.cpu().numpy() * DX - center)
    np.testing.assert_allclose(out.cpu().numpy(), expected, rtol=0, atol=1e-12)


MOTION = moving(velocity=(0.3, -0.4, 0.5), angular_velocity=(1.0, 2.0, -1.5),
                center=(0.6, 0.5, 0.7))  # fmt: skip


@pytest.mark.parametrize("pose", [None, MOTION], ids=["still", "moving"])
@pytest.mark.parametrize("friction", [0.0, 0.4])
@pytest.mark.parametrize("kind", CONTACTS)
@pytest.mark.parametrize("shape", COLLIDERS)
def test_collider_adjoint(shape, kind, friction, pose):
    make, fields = COLLIDERS[shape]
    collider = make(**fields, contact=kind, friction=friction, pose=pose)
    node = all_nodes()
    node = node[(walls(node) == 0).all(1)].contiguous()
    v, gv = random(len(node), 3), random(len(node), 3)
    out, back = boundary(node, v, gv, colliders=[collider], time=0.2)
    assert ((out != v).any(1).sum()) > 10
    f = lambda w: boundary(node, w, gv, colliders=[collider], time=0.2)[0]  # noqa: E731
    compare(back, differences(f, v, gv))


@pytest.mark.parametrize("kind", [STICKY, SLIP, SEPARATE])
@pytest.mark.parametrize("friction", [0.0, 0.3])
def test_overlapping_contacts_adjoint(kind, friction):
    """Also where two boxes meet each other and a floor, and in what is buried below them."""
    shapes = [
        Plane(point=(0, 0, 0.52), normal=(0, 0, 1), friction=0.2),
        Box(center=(0.4, 0.5, 0.72), half_size=(0.15, 0.3, 0.2), contact="slip"),
        Box(center=(0.75, 0.4, 0.72), half_size=(0.2, 0.12, 0.2), friction=0.3),
        Sphere(center=(0.9, 0.7, 0.6), radius=0.22, contact="slip", friction=0.1, pose=MOTION),
        Capsule(start=(0.6, 0.7, 0.8), end=(0.9, 0.7, 0.8), radius=0.15, friction=0.3),
        Mesh(mesh=ball_samples((0.9, 0.4, 0.9), 0.2), friction=0.2),
        Sphere(center=(1.0, 0.9, 0.9), radius=0.2, contact="sticky"),
    ]
    node = all_nodes()
    v, gv = random(len(node), 3), random(len(node), 3)
    options = {"kind": kind, "friction": friction, "colliders": shapes, "time": 0.2}
    out, back = boundary(node, v, gv, **options)
    f = lambda w: boundary(node, w, gv, **options)[0]  # noqa: E731
    compare(back, differences(f, v, gv))
    assert (back != 0).any(1).sum() > 50  # of 120 between the walls, not all are stuck


def test_no_colliders():
    assert col.table([], [0.0, 1.0], 1.0).shape == (1, 0, col.COLUMNS)


# Motion


def twist_of(pose, t, dt, **options):
    row = col.table([Sphere(center=(0, 0, 0), radius=1, pose=pose, **options)], [t], dt)[0, 0]
    return row[col.VELOCITY : col.VELOCITY + 3], row[col.SPIN : col.SPIN + 3], row


def test_steady_motion_has_its_velocity():
    w, c, v = np.array([0.3, -0.4, 1.2]), np.array([1.0, 2.0, -0.5]), np.array([3.0, 1.0, -2.0])
    for dt in (1e-5, 1e-3, 0.5):
        for t in (0.0, 0.7, 100.0):
            a, spin, _ = twist_of(moving(angular_velocity=w, center=c), t, dt)
            tolerance = 1e-13 / dt
            np.testing.assert_allclose(spin, w, rtol=0, atol=tolerance)
            np.testing.assert_allclose(a, -np.cross(w, c), rtol=0, atol=tolerance)
            a, spin, _ = twist_of(moving(velocity=v, center=c), t, dt)
            np.testing.assert_allclose(spin, 0, rtol=0, atol=tolerance)
            np.testing.assert_allclose(a, v, rtol=0, atol=tolerance)
    # both: about where the center is in the middle of the substep
    a, spin, _ = twist_of(moving(velocity=v, angular_velocity=w, center=c), 0.7, 1e-3)
    np.testing.assert_allclose(spin, w, rtol=0, atol=1e-10)
    middle = c + v * (0.7 + 0.5e-3)
    np.testing.assert_allclose(a + np.cross(w, middle), v, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dt", [1e-6, 1e-4, 1e-2, 0.3])
def test_velocities_carry_one_pose_to_the_next(dt):
    """exp(dt twist) is the motion from t to t + dt."""

    def pose(t):
        R = Rotation.from_euler("xyz", [3 * t, math.sin(2 * t), 1 - t]).as_matrix()
        return R, [math.sin(t), t * t, 0.3]

    def matrix(t):
        M = np.eye(4)
        M[:3, :3], M[:3, 3] = pose(t)
        return M

    a, w, row = twist_of(pose, 0.4, dt)
    M = np.zeros((4, 4))
    M[:3, :3], M[:3, 3] = np.cross(np.eye(3), w), a
    np.testing.assert_allclose(expm(dt * M) @ matrix(0.4), matrix(0.4 + dt), rtol=0, atol=1e-13)
    inverse = np.linalg.inv(matrix(0.4))
    np.testing.assert_allclose(row[col.ROTATION : col.TRANSLATION].reshape(3, 3), inverse[:3, :3])
    np.testing.assert_allclose(row[col.TRANSLATION : col.VELOCITY], inverse[:3, 3], atol=1e-14)


def test_moving_starts_where_the_shape_is():
    R, T = MOTION(0.0)
    np.testing.assert_allclose(R, np.eye(3))
    np.testing.assert_allclose(T, 0, atol=1e-15)
    R, T = MOTION(2.0)
    c = np.array([0.6, 0.5, 0.7])
    np.testing.assert_allclose(R @ c + T, c + 2 * np.array([0.3, -0.4, 0.5]))


def test_a_table_has_one_row_if_nothing_changes():
    still, times = Sphere(center=(0, 0, 0), radius=1), np.arange(5) * 0.1
    assert col.table([still], times, 0.1).shape == (1, 1, col.COLUMNS)
    both = [still, Sphere(center=(0, 0, 0), radius=2, pose=MOTION)]
    table = col.table(both, times, 0.1)
    assert table.shape == (5, 2, col.COLUMNS)
    assert (table[:, 0] == table[0, 0]).all() and len(np.unique(table[:, 1, col.ROTATION])) == 5


def test_during():
    seen = []

    def pose(t):
        seen.append(t)
        return np.eye(3), (0, 0, 0)

    times = np.arange(10) * 0.1 - 1e-12  # sums of substeps are never exact
    ball = Sphere(center=(0, 0, 0), radius=1, during=(0.3, 0.6), pose=pose)
    active = col.table([ball], times, 0.1)[:, 0, col.ACTIVE]
    assert active.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert min(seen) > 0.29 and max(seen) < 0.61
    for start, first in ((0.44, 4), (0.46, 5)):
        later = Sphere(center=(0, 0, 0), radius=1, during=(start, math.inf))
        active = col.table([later], times, 0.1)[:, 0, col.ACTIVE]
        assert active.tolist() == [0] * first + [1] * (10 - first)


# Bad input


NAN, INF, HUGE = math.nan, math.inf, 10**400
VECTORS = [None, "abc", 1.0, (0, 0), (0, 0, NAN), (0, 0, INF), [[0, 0, 0]], (0, 0, HUGE), {}]
LENGTHS = [None, "a", 0, -1.0, NAN, INF, True, (1,), HUGE]
BAD = [
    *(("plane", n, v) for n in ("point", "normal") for v in VECTORS),
    ("plane", "normal", (0, 0, 0)), ("plane", "normal", (0.0, -0.0, 0)),
    *(("box", n, v) for n in ("center", "half_size") for v in VECTORS),
    ("box", "half_size", (1, 0, 1)), ("box", "half_size", (1, 1, -1)),
    *(("sphere", "center", v) for v in VECTORS), *(("sphere", "radius", v) for v in LENGTHS),
    *(("capsule", n, v) for n in ("start", "end") for v in VECTORS),
    *(("capsule", "radius", v) for v in LENGTHS),
    *(("mesh", "mesh", v) for v in (None, 3, "missing.stl", np.zeros(3))),
    *((shape, "contact", v) for shape in COLLIDERS for v in (None, "glue", 1, ["slip"])),
    *((s, "friction", v) for s in COLLIDERS for v in (None, "a", -0.1, NAN, INF, True, HUGE, (0,))),
    *((s, "pose", v) for s in COLLIDERS for v in (1, "spin", (np.eye(3), (0, 0, 0)))),
    *((s, "during", v) for s in COLLIDERS for v in (1, "ab", (2, 1), (1, 1), (NAN, 1), (0, 1, 2))),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "name", "value"), BAD)
def test_bad_colliders(shape, name, value):
    make, fields = COLLIDERS[shape]
    with pytest.raises(ValueError, match=rf"^{name}: "):
        make(**{**fields, name: value})


def test_messages_help():
    with pytest.raises(ValueError, match="did you mean 'separate'"):
        Sphere(center=(0, 0, 0), radius=1, contact="seperate")
    with pytest.raises(ValueError, match=r"got -2, expected a positive number of meters"):
        Sphere(center=(0, 0, 0), radius=-2)


@pytest.mark.parametrize(
    "result",
    [
        None, 1, np.eye(3), (np.eye(3),), (np.eye(3), (0, 0)), (np.eye(3), (0, 0, NAN)),
        (np.eye(2), (0, 0, 0)), (2 * np.eye(3), (0, 0, 0)), (-np.eye(3), (0, 0, 0)),
        (NAN * np.eye(3), (0, 0, 0)), ((1, 0, 0, 1), (0, 0, 0)), ((0, 0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (0, 0, 0)), ("turn", (0, 0, 0)), (np.eye(3), "up"), (np.eye(3), HUGE),
    ],
)  # fmt: skip
def test_bad_poses(result):
    ball = Sphere(center=(0, 0, 0), radius=1, pose=lambda t: result)
    with pytest.raises(ValueError, match=r"^pose: at t = 0.5 s"):
        col.table([ball], [0.5], 0.1)


@pytest.mark.parametrize("name", ["velocity", "angular_velocity", "center"])
@pytest.mark.parametrize("value", VECTORS)
def test_bad_motion(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        moving(**{name: value})


@pytest.mark.parametrize("value", [None, 1, [1], [None], Sphere(center=(0, 0, 0), radius=1),
                                   [col.Collider()]])  # fmt: skip
def test_bad_lists(value):
    with pytest.raises(ValueError, match=r"^colliders: "):
        col.check_colliders(value)


def test_normals_of_any_length():
    for size in (1e-320, 1e-200, 1.0, 1e200, 1e308):
        plane = Plane(point=(0, 0, 0), normal=(size, 0, size))
        assert np.linalg.norm(plane.normal) == pytest.approx(1)
