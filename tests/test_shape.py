"""Sheet or solid: what depth, silhouette and Gaussians say of an object's shape in frame 0."""

import numpy as np
import pytest
import torch
import trimesh

from inverse.perception import closed_mesh, mesh_in_view, mesh_volume
from inverse.perception.mesh import surface_points
from inverse.perception.relief import is_disc, measure_relief, relief_solid
from inverse.perception.splat_surface import splat_surface, surface_net
from inverse.wind import WindJob
from inverse.wind.inputs.shape import read_shape
from renderers.camera import camera_from_fov
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from taichi_phys.rotations import rotation_quaternion


CAMERA = camera_from_fov(160, 120, 30.0)  # looks along +y
AWAY = 2.0  # m, to the middle of the objects
ROWS, COLUMNS = np.mgrid[:120, :160] + 0.5
RAYS = CAMERA.unproject(np.stack([COLUMNS, ROWS], axis=-1), 1.0)


def ellipsoid(axes):
    """Mask and depth of an ellipsoid with half axes (3,) m, AWAY in front of the camera."""
    A, center = np.diag(1 / np.square(axes)), np.array([0, AWAY, 0])
    a = np.einsum("hwa,ab,hwb->hw", RAYS, A, RAYS)
    b, c = -RAYS @ A @ center, center @ A @ center - 1
    root = b**2 - a * c
    return root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a


X, Z = RAYS[..., 0] * AWAY, RAYS[..., 2] * AWAY
SHEET = (np.abs(X) < 0.3) & (np.abs(Z) < 0.2)
SHEETS = {
    "flat": np.full(SHEET.shape, AWAY),
    "tilted": AWAY + 0.7 * X,
    "bent": AWAY - 0.08 * np.cos(X / 0.3 * np.pi / 2),
    "wavy": AWAY + 0.05 * np.sin(20 * X),
    "hollow": AWAY + 0.08 * np.cos(X / 0.3 * np.pi / 2),
}


@pytest.mark.parametrize("axes", [(0.3, 0.3, 0.3), (0.3, 0.2, 0.25), (0.15, 0.15, 0.3)])
def test_a_round_body_is_told_by_its_relief_and_closed_behind(axes):
    mask, depth = ellipsoid(axes)
    relief = measure_relief(mask, depth, CAMERA)
    assert relief.solid and relief.explained > 0.95
    back = np.fmax(relief.middle, depth) + relief.roundness * relief.half
    surface = relief_solid(mask, depth, back, CAMERA)
    assert mesh_volume(surface) == pytest.approx(4 / 3 * np.pi * np.prod(axes), rel=0.25)
    front = mesh_in_view(surface, CAMERA)[0]
    both = np.isfinite(front) & mask
    assert both.sum() > 0.97 * mask.sum()
    assert np.median(np.abs(front - depth)[both]) < 2e-3
    assert np.isfinite(closed_mesh(surface).vertices).all()


@pytest.mark.parametrize("name", SHEETS)
def test_sheets_are_no_solids_however_they_are_turned_and_bent(name):
    assert not measure_relief(SHEET, SHEETS[name], CAMERA).solid


def test_one_bad_pixel_does_not_make_a_sheet_a_solid():
    depth = SHEETS["flat"].copy()
    depth[60, 80] = 0.6 * AWAY
    assert not measure_relief(SHEET, depth, CAMERA).solid


def test_large_masks_are_solved_coarsely():
    camera = camera_from_fov(640, 480, 30.0)
    rows, columns = np.mgrid[:480, :640]
    mask = (rows - 240) ** 2 + (columns - 320) ** 2 < 200**2
    relief = measure_relief(mask, np.full(mask.shape, AWAY), camera)
    assert relief.half.shape == mask.shape and (relief.half[mask] > 0).all()
    radius = 200 * AWAY / camera.fx
    assert relief.half.max() == pytest.approx(radius, rel=0.02)


def test_a_thin_object_in_a_large_picture_is_a_sheet():
    camera = camera_from_fov(3000, 2000, 30.0)
    mask = np.zeros((2000, 3000), dtype=bool)
    mask[::300, 50:2950] = True
    assert measure_relief(mask, np.full(mask.shape, AWAY), camera).half.max() < 0.01
    assert not measure_relief(mask, np.full(mask.shape, AWAY), camera).solid


def test_discs_are_told_from_other_silhouettes():
    ball, _ = ellipsoid((0.2, 0.2, 0.2))
    assert is_disc(ball)
    assert not is_disc(ellipsoid((0.15, 0.15, 0.3))[0])
    assert not is_disc(SHEET)
    square = np.zeros((50, 50), dtype=bool)
    square[10:40, 10:40] = True
    assert not is_disc(square)


def test_a_net_wraps_a_field():
    grid = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1)
    field = 7.3 - np.linalg.norm(grid - 11.7, axis=-1)
    vertices, faces = surface_net(field)
    assert np.abs(np.linalg.norm(vertices - 11.7, axis=1) - 7.3).max() < 0.15
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.volume == pytest.approx(4 / 3 * np.pi * 7.3**3, rel=0.03)


def gaussians_on(points, normals=None, size=0.008):
    """Opaque Gaussians, flat across their normals."""
    n = len(points)
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(n, 3)) if normals is None else normals
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    side = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    axes = np.stack([side, np.cross(normals, side), normals], axis=2)
    return Gaussians.from_colors(
        means=torch.as_tensor(points, dtype=torch.float32),
        quats=torch.as_tensor(rotation_quaternion(axes), dtype=torch.float32),
        scales=size * torch.tensor([1.0, 1.0, 0.1]).repeat(n, 1),
        opacities=torch.full((n,), 0.9),
        colors=torch.rand(n, 3, generator=torch.Generator().manual_seed(0)),
    )  # fmt: skip


def test_the_object_is_found_among_gaussians():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    ball.apply_translation([0, AWAY, 0])
    mask, depth = ellipsoid((0.3, 0.3, 0.3))
    rng = np.random.default_rng(0)
    on, across = surface_points(closed_mesh(ball), 4000)
    stray = np.array([0, AWAY, 0]) + rng.uniform(-1, 1, (200, 3)) * [0.6, 0.9, 0.6]
    wall = np.stack([rng.uniform(-2, 2, 4000), np.full(4000, 4.0), rng.uniform(-2, 2, 4000)], 1)
    others = np.concatenate([stray, wall])
    across = np.concatenate([across, np.tile([0.0, 1, 0], (len(others), 1))])
    gaussians = gaussians_on(np.concatenate([on, others]), across)
    surface, kept = splat_surface(gaussians, mask, CAMERA)
    assert mesh_volume(surface) == pytest.approx(ball.volume, rel=0.05)
    off = np.linalg.norm(surface.vertices - [0, AWAY, 0], axis=1) - 0.3
    assert np.abs(off).mean() < 4e-3
    assert 4000 <= len(kept) < 4100
    with pytest.raises(ValueError, match="opaque Gaussians appear in the mask"):
        splat_surface(gaussians_on(wall + [30, 0, 0]), mask, CAMERA)


def test_thick_gaussians_and_a_shell_with_gaps_enclose_the_body_too():
    """A coarse fit: centers lie within the surface, and a fine grid would leak between them."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.27)
    ball.apply_translation([0, AWAY, 0])
    points, normals = surface_points(closed_mesh(ball), 900)
    gaussians = gaussians_on(points, normals, size=0.015)
    gaussians = Gaussians(**gaussians.tensors() | {"scales": torch.full((900, 3), 0.015)})
    surface, _ = splat_surface(gaussians, ellipsoid((0.3, 0.3, 0.3))[0], CAMERA)
    assert mesh_volume(surface) == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.12)


def shape_of(tmp_path, mask, depth=None, **options):
    if depth is not None:
        np.save(tmp_path / "depth.npy", np.where(mask, depth, 1.0))
        options["depth"] = str(tmp_path / "depth.npy")
    job = WindJob(video=("a.mp4",), fov=30, box=(0, 0, 160, 120), **options)
    said: list[str] = []
    return read_shape(job, CAMERA, {}, said, mask=mask, masks=None), said


def test_depth_and_silhouette_choose_and_say_why(tmp_path):
    mask, depth = ellipsoid((0.3, 0.2, 0.25))
    shape, said = shape_of(tmp_path, mask, depth)
    assert shape.surface is not None and "is a solid, since its relief is" in said[0]
    assert any("Its back, which is not seen" in sentence for sentence in said)
    shape, said = shape_of(tmp_path, mask, depth, shape="sheet")
    assert shape.surface is None and "is a sheet, since it was asked for" in said[0]
    assert np.array_equal(shape.depth[mask], depth[mask])
    shape, said = shape_of(tmp_path, mask, depth, thickness=0.01)
    assert shape.surface is None and "since a thickness was given" in said[0]
    flat, away = SHEET, SHEETS["flat"]
    shape, said = shape_of(tmp_path, flat, away)
    assert shape.surface is None and "its relief is only 0 %" in said[0]
    shape, _ = shape_of(tmp_path, flat, away, shape="solid")
    assert shape.surface is not None and mesh_volume(shape.surface) > 0.01


def test_a_disc_at_a_distance_is_a_ball(tmp_path):
    mask, _ = ellipsoid((0.2, 0.2, 0.2))
    shape, said = shape_of(tmp_path, mask, distance=AWAY)
    assert "since its silhouette is that of a ball" in said[0] and shape.surface is not None
    assert mesh_volume(shape.surface) == pytest.approx(4 / 3 * np.pi * 0.2**3, rel=0.1)
    assert np.nanmin(shape.depth) == pytest.approx(AWAY - 0.2, abs=0.02)
    shape, said = shape_of(tmp_path, mask, distance=AWAY, shape="sheet")
    assert shape.surface is None and shape.flat and not said  # until its motion is looked at
    shape, said = shape_of(tmp_path, SHEET, distance=AWAY)
    assert shape.surface is None and shape.flat and np.all(shape.depth[SHEET] == AWAY)


def test_a_mesh_or_a_model_replaces_mask_and_depth(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    ball.apply_translation([0, AWAY, 0])
    ball.export(tmp_path / "ball.ply")
    save_gaussians(tmp_path / "model.ply", gaussians_on(*surface_points(closed_mesh(ball), 4000)))
    mask, depth = ellipsoid((0.3, 0.3, 0.3))
    for options, what in (({"mesh": "ball.ply"}, "mesh"), ({"model": "model.ply"}, "model")):
        files = {name: str(tmp_path / file) for name, file in options.items()}
        said: list[str] = []
        job = WindJob(video=("a.mp4",), camera=("c.json",), **files)
        shape = read_shape(job, CAMERA, {}, said, mask=None, masks=None)
        assert shape.surface is not None and (shape.gaussians is not None) == (what == "model")
        assert (shape.mask ^ mask).sum() < 0.05 * mask.sum()
        both = shape.mask & mask
        assert np.median(np.abs(shape.depth - depth)[both]) < 5e-3
        assert f"those in which the {what} appears" in said[-1]
        elsewhere = np.roll(mask, 60, axis=1)
        with pytest.raises(ValueError, match=what):
            read_shape(job, CAMERA, {}, [], mask=elsewhere, masks=None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mesh": "m.ply", "fov": 30}, "mesh: it needs a --camera"),
        ({"model": "m.ply", "fov": 30}, "model: it needs a --camera"),
        ({"mesh": "m.ply", "camera": ("c",), "shape": "sheet"}, "got sheet and a --mesh"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WindJob(video=("a.mp4",), **options)
