"""Signed distances of meshes against closed forms, and meshes that have none."""

import math
import sys

import numpy as np
import pytest

from taichi_phys.geometry import signed_distance as module
from taichi_phys.geometry.signed_distance import SignedDistance, signed_distance
from taichi_phys.mpm.colliders import Mesh


trimesh = pytest.importorskip("trimesh")


def nodes(field):
    axes = [
        low + field.spacing * np.arange(n)
        for low, n in zip(field.lower, field.values.shape, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def box_distance(p, half):
    q = np.abs(p) - half
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(axis=-1), 0)


def icosphere(subdivisions=4, radius=0.7, center=(1, 2, 3)):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    mesh.apply_translation(center)
    return mesh


def test_a_ball():
    """As near to a ball as its triangles are: their middle lies 0.0008 m below the surface."""
    field = signed_distance(icosphere(), cells=32)
    exact = np.linalg.norm(nodes(field) - [1, 2, 3], axis=-1) - 0.7
    error = field.values - exact
    assert -1e-12 < error.min() and error.max() < 8.5e-4
    assert field.spacing == pytest.approx(1.4 / 32, rel=1e-3)
    assert field.values.shape == (37, 37, 37)
    np.testing.assert_allclose(field.values, field.values[::-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("turned", [False, True])
def test_a_box(turned):
    """Exact to rounding, also where grid lines run along its faces and edges."""
    half = np.array([0.25, 0.15, 0.4])
    mesh = trimesh.creation.box(2 * half)
    R = trimesh.transformations.rotation_matrix(0.7 if turned else 0.0, (1, 2, 3))
    mesh.apply_transform(R)
    field = signed_distance(mesh, cells=24)
    expected = box_distance(nodes(field) @ R[:3, :3], half)
    np.testing.assert_allclose(field.values, expected, rtol=0, atol=1e-14)


def test_distances_are_those_of_all_triangles():
    """A ring, with triangles of very different sizes, against the nearest of all triangles."""
    ring = trimesh.creation.torus(1.0, 0.3, major_sections=40, minor_sections=12)
    plate = trimesh.creation.box((3.0, 2.0, 0.1))
    plate.apply_translation((0, 0, -0.7))
    field = signed_distance(trimesh.util.concatenate([ring, plate]), cells=14)
    triangles = np.concatenate([ring.triangles, plate.triangles])
    points = nodes(field).reshape(-1, 3)
    nearest = np.full(len(points), np.inf)
    for triangle in triangles:
        many = np.broadcast_to(triangle, (len(points), 3, 3))
        nearest = np.minimum(nearest, module._squared_distance(points, many))
    got = np.abs(field.values).ravel()
    np.testing.assert_allclose(got, np.sqrt(nearest), rtol=0, atol=1e-13)
    x, y, z = points.T
    round_ring = np.hypot(np.hypot(x, y) - 1, z) - 0.3
    inside = (round_ring < -0.02) | (box_distance(points + [0, 0, 0.7], [1.5, 1, 0.05]) < -1e-9)
    outside = (round_ring > 0.01) & (box_distance(points + [0, 0, 0.7], [1.5, 1, 0.05]) > 1e-9)
    assert (field.values.ravel()[inside] < 0).all() and inside.sum() > 50
    assert (field.values.ravel()[outside] > 0).all()


def test_distance_to_one_triangle():
    """To its inside, edges and corners, by hand; a triangle without area is a segment or a dot."""
    flat = [(0, 0, 0), (4, 0, 0), (0, 4, 0)]
    cases = [
        ((1, 1, 2), flat, 4), ((1, 1, -2), flat, 4), ((2, -3, 4), flat, 25),
        ((-3, -4, 0), flat, 25),
        ((4, 4, 0), flat, 8), ((7, 0, 4), flat, 25), ((1, 1, 0), flat, 0), ((2, 2, 3), flat, 9),
        ((1, 3, 0), [(0, 0, 0), (2, 0, 0), (4, 0, 0)], 9),
        ((1, 3, 0), [(0, 0, 0), (4, 0, 0), (4, 0, 0)], 9),
        ((1, 2, 2), [(0, 0, 0)] * 3, 9),
    ]  # fmt: skip
    points, triangles, expected = (np.array(a, dtype=float) for a in zip(*cases, strict=True))
    np.testing.assert_allclose(module._squared_distance(points, triangles), expected, atol=1e-14)


def test_cavities_overlaps_and_inverted_meshes():
    ball, core = icosphere(3, 0.7, (0, 0, 0)), icosphere(3, 0.3, (0, 0, 0))
    core.invert()
    hollow = signed_distance(trimesh.util.concatenate([ball, core]), cells=20)
    r = np.linalg.norm(nodes(hollow), axis=-1)
    assert (hollow.values[r < 0.28] > 0).all()
    assert (hollow.values[(r > 0.31) & (r < 0.68)] < 0).all()
    pair = trimesh.util.concatenate(
        [icosphere(3, 0.5, (-0.2, 0, 0)), icosphere(3, 0.5, (0.2, 0, 0))]
    )
    both = signed_distance(pair, cells=20)
    p = nodes(both)
    union = np.minimum(*(np.linalg.norm(p - [s, 0, 0], axis=-1) for s in (-0.2, 0.2))) - 0.5
    assert (both.values[union < -0.02] < 0).all() and (both.values[union > 0.02] > 0).all()
    ball.invert()
    inverted = signed_distance(ball, cells=20)
    assert (inverted.values[np.linalg.norm(nodes(inverted), axis=-1) < 0.68] < 0).all()


def block(lower, upper):
    mesh = trimesh.creation.box(np.subtract(upper, lower))
    mesh.apply_translation(np.add(lower, upper) / 2)
    return mesh


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ((0.4, 0, 0), (1.0, 0.5, 0.3)),  # beside the other, with the same triangles
        ((0.3, 0, 0), (1.0, 0.5, 0.3)),  # overlapping, with sides in one plane
        ((0.4, 0, 0), (1.0, 0.5, 0.2)),  # the shared face is a part of the other's
        ((0.1, 0.1, 0.1), (0.3, 0.2, 0.2)),  # within the other
    ],
)
def test_several_shells_are_one_solid(lower, upper):
    """Exact to rounding outside, and inside as far as no cut face is the nearest."""
    one, other = block((0, 0, 0), (0.4, 0.5, 0.3)), block(lower, upper)
    field = signed_distance(trimesh.util.concatenate([one, other]), cells=25)
    p = nodes(field)
    each = [
        box_distance(p - np.add(low, high) / 2, np.subtract(high, low) / 2)
        for low, high in (((0, 0, 0), (0.4, 0.5, 0.3)), (lower, upper))
    ]
    outside = np.minimum(*each) > 0
    np.testing.assert_allclose(field.values[outside], np.minimum(*each)[outside], atol=1e-12)
    whole = block((0, 0, 0), np.maximum(upper, (0.4, 0.5, 0.3)))
    expected = box_distance(p - whole.center_mass, np.ptp(whole.vertices, axis=0) / 2)
    if upper[2] == 0.3 or upper[0] == 0.3:
        np.testing.assert_allclose(field.values, expected, atol=1e-12)
    else:  # the higher box alone decides in its own middle
        there = (p[..., 0] < 0.2) & ~outside
        np.testing.assert_allclose(field.values[there], expected[there], atol=1e-12)


def test_a_shell_that_is_turned_inside_out_is_repaired():
    """Also one of several, and single faces."""
    one, other = block((0, 0, 0), (1, 1, 1)), block((2, 0, 0), (3, 1, 1))
    right = signed_distance(trimesh.util.concatenate([one, other]), cells=12)
    other.invert()
    mixed = trimesh.util.concatenate([one, other])
    mixed.faces[2] = mixed.faces[2][::-1]
    np.testing.assert_allclose(signed_distance(mixed, cells=12).values, right.values, atol=1e-14)


def test_files(tmp_path):
    """STL files repeat every vertex; the surface is closed all the same."""
    mesh = icosphere(2)
    expected = signed_distance(mesh, cells=10)
    for name in ("ball.stl", "ball.obj", "ball.ply"):
        mesh.export(tmp_path / name)
        field = signed_distance(tmp_path / name, cells=10)
        np.testing.assert_allclose(field.values, expected.values, atol=1e-6)
    collider = Mesh(mesh=str(tmp_path / "ball.stl"), cells=10)
    np.testing.assert_allclose(collider.distance.values, expected.values, atol=1e-6)


def test_a_loose_soup_of_triangles_is_merged():
    mesh = icosphere(2)
    soup = trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(len(mesh.faces) * 3).reshape(
        -1, 3), process=False)  # fmt: skip
    fields = [signed_distance(m, cells=10).values for m in (mesh, soup)]
    np.testing.assert_allclose(*fields, atol=1e-13)


def test_open_meshes_say_where(tmp_path):
    mesh = trimesh.creation.box((1, 1, 1))
    mesh.update_faces(np.arange(12) != 5)
    with pytest.raises(ValueError, match=r"^mesh: it is open: 3 of its edges .*fill_holes"):
        signed_distance(mesh)


def empty():
    return trimesh.Trimesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=int))


def broken(**changes):
    mesh = {"vertices": np.eye(3), "faces": np.array([[0, 1, 2]]), **changes}
    return type("Thing", (), mesh)()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mesh", None), ("mesh", 1), ("mesh", "missing.stl"), ("mesh", empty()),
        ("mesh", broken(vertices=np.full((3, 3), math.nan))), ("mesh", broken(vertices="abc")),
        ("mesh", broken(vertices=np.zeros((3, 2)))), ("mesh", broken(faces=np.zeros((1, 4)))),
        ("mesh", broken(faces=np.array([[0, 1, 3]]))), ("mesh", broken(faces=[[0, 0, 0]])),
        ("mesh", broken(faces=[[-1, 0, 1]])), ("mesh", broken(vertices=np.zeros((3, 3)))),
        ("cells", 1), ("cells", 0), ("cells", -4), ("cells", 2.5), ("cells", None),
        ("cells", True), ("cells", 10**6), ("cells", 400),
        ("padding", 0), ("padding", -1), ("padding", 1.5), ("padding", "a"),
    ],
)  # fmt: skip
def test_bad_input(name, value):
    arguments = {"mesh": icosphere(1), name: value}
    with pytest.raises(ValueError, match=rf"^{name}: "):
        signed_distance(arguments.pop("mesh"), **arguments)


def test_a_file_that_is_no_mesh(tmp_path):
    for name in ("a.stl", "a.obj", "a.xyzzy"):
        (tmp_path / name).write_text("not a mesh")
        with pytest.raises(ValueError, match=r"^mesh: "):
            signed_distance(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lower", (0, 0)), ("lower", (0, 0, math.nan)), ("spacing", 0), ("spacing", -1.0),
        ("spacing", math.nan), ("spacing", "a"), ("spacing", True), ("values", None),
        ("values", "abc"), ("values", np.zeros((2, 2))), ("values", np.zeros((1, 2, 2))),
        ("values", np.full((2, 2, 2), math.nan)), ("values", [[1], [2, 3]]),
    ],
)  # fmt: skip
def test_bad_records(name, value):
    good = {"lower": (0, 0, 0), "spacing": 1.0, "values": np.zeros((2, 2, 2))}
    with pytest.raises(ValueError, match=rf"^{name}: "):
        SignedDistance(**{**good, name: value})


def test_without_trimesh(tmp_path, monkeypatch):
    icosphere(1).export(tmp_path / "ball.stl")
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ImportError, match="pip install trimesh"):
        signed_distance(tmp_path / "ball.stl")
