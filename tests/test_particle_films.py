"""renderers.particles.draw: what is drawn where, in which colour, and what hides what."""

import numpy as np
import pytest

from renderers.camera import camera_from_fov
from renderers.lines import box_lines
from renderers.particles.draw import (
    Floor,
    Surface,
    ball_mesh,
    box_mesh,
    capsule_mesh,
    color_map,
    draw,
    film,
    view,
)  # fmt: skip
from renderers.video import read_video


CAMERA = camera_from_fov(65, 49, 40)  # at the origin, looks along +y, z up
BLACK = (0, 0, 0)
RED, GREEN, BLUE = np.eye(3)


def picture(x, colors=RED, radius=0.1, background=BLACK, **options):
    return draw(CAMERA, np.array(x, float), colors, radius, background=background, **options) / 255


def test_a_ball_is_where_the_camera_puts_it_and_as_large():
    x, radius = np.array([[0.3, 2.0, 0.2]]), 0.3
    image = picture(x, radius=radius)[..., 0]
    seen = image > 0.05
    rows, columns = np.nonzero(seen)
    (u, v), depth = CAMERA.project(x[0])
    assert abs(columns.mean() + 0.5 - u) < 0.3 and abs(rows.mean() + 0.5 - v) < 0.3
    expected = np.pi * (CAMERA.fx * radius / depth) ** 2
    assert seen.sum() == pytest.approx(expected, rel=0.12)
    assert picture(x)[..., 1:].max() < 0.35  # red, but for the gleam


def test_what_is_near_hides_what_is_far_also_in_another_order():
    x, colors = [[0, 2.0, 0], [0, 1.0, 0]], np.array([RED, GREEN])
    first, second = picture(x, colors), picture(x[::-1], colors[::-1])
    np.testing.assert_array_equal(first, second)
    middle = first[24, 32]
    assert middle[1] > 0.3 and middle[1] > 2 * middle[0]


def test_surfaces_hide_and_show_through():
    wall = box_mesh((0, 1.5, 0), (0.5, 0.1, 0.5))
    ball = [[0, 3.0, 0]]
    bare = picture(ball, radius=0.2)
    solid = picture(ball, radius=0.2, surfaces=[Surface(**wall, color=BLUE)])
    glass = picture(ball, radius=0.2, surfaces=[Surface(**wall, color=BLUE, opacity=0.4)])
    red = [image[24, 32, 0] for image in (bare, glass, solid)]
    assert red[0] > red[1] > red[2] + 0.1
    assert solid[24, 32, 2] > 0.2 and glass[24, 32, 2] > 0.1


def test_a_mesh_of_a_ball_looks_like_a_ball():
    mesh = Surface(**ball_mesh((0.1, 2.0, 0.1), 0.4, rings=96), color=RED)
    ball = picture([[0.1, 2.0, 0.1]], radius=0.4)
    np.testing.assert_allclose(
        picture(np.zeros((0, 3)), surfaces=[mesh]).mean(), ball.mean(), rtol=0.04
    )


def test_meshes_are_closed_and_as_large():
    trimesh = pytest.importorskip("trimesh")
    for shape, volume in (
        (box_mesh((1, 2, 3), (0.1, 0.2, 0.3)), 0.048),
        (ball_mesh((0, 0, 1), 0.5), 4 / 3 * np.pi * 0.125),
        (capsule_mesh((0, 0, 0), (0, 1, 1), 0.3), np.pi * (0.09 * np.sqrt(2) + 4 / 3 * 0.027)),
    ):
        mesh = trimesh.Trimesh(**shape, process=True)
        assert abs(mesh.volume) == pytest.approx(volume, rel=0.02)
    turned = Surface(**box_mesh((1, 0, 0), (1, 1, 1))).moved(np.eye(3)[[1, 2, 0]], (0, 0, 5))
    np.testing.assert_allclose(turned.vertices.mean(axis=0), [0, 0, 6], atol=1e-12)
    lines = box_lines((0, 0, 0), (1, 2, 3))
    assert lines.shape == (12, 2, 3)
    assert np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1).sum() == pytest.approx(24)


def test_floor_is_below_the_horizon_and_has_shadows():
    floors = [Floor(point=(0, 2, -0.4), size=50.0, cell=100.0)]
    empty = picture(np.zeros((0, 3)), floors=floors)
    assert empty[5].max() == 0 and empty[-5].min() > 0.3
    shaded = picture([[0, 2, 0.0]], radius=0.2, floors=floors, light=(0, 0, 1))
    (u, v), _ = CAMERA.project(np.array([0, 2.0, -0.4]))
    at = int(v), int(u)
    assert shaded[at].mean() < 0.8 * empty[at].mean()
    np.testing.assert_array_equal(shaded[-1, :5], empty[-1, :5])


def test_lines_arrows_labels_and_captions_leave_marks():
    x, white = [[0, 3.0, 0]], (1, 1, 1)
    bare = picture(x, background=white)
    line = [[[-0.4, 2, 0.2], [0.4, 2, 0.2]]]
    for options in (
        {"lines": line}, {"arrows": ([[0, 2, 0.2]], [[0.3, 2, 0.2]], [1.0])},
        {"labels": [("a", (0.2, 2, 0))]}, {"caption": "t"},
    ):  # fmt: skip
        assert (picture(x, background=white, **options) != bare).sum() > 10
    hidden = picture([[0, 1.0, 0]], radius=0.3, lines=np.array(line) * [0.2, 1, 0.1])
    np.testing.assert_array_equal(hidden, picture([[0, 1.0, 0]], radius=0.3))


def test_what_cannot_be_seen_is_left_out():
    nothing = picture(np.zeros((0, 3)))
    x = [[np.nan, 1, 0], [0, -1, 0], [0, 0.05, 0], [1e9, 1, 0]]
    np.testing.assert_array_equal(picture(x), nothing)
    assert (draw(CAMERA, np.array(x), lines=[[[0, -1, 0], [0, -2, 0]]]) > 0).all()


def test_view_fits_and_fills():
    lower, upper = np.array([-1.0, 0, 0]), np.array([2.0, 0.5, 1])
    for width, height in ((64, 32), (32, 64)):
        camera = view(lower, upper, width=width, height=height, azimuth=70, elevation=-20)
        uv, depth = camera.project(box_lines(lower, upper).reshape(-1, 3))
        share = uv / [width, height]
        assert (depth > 0).all()
        assert 0.05 < min(share.min(), 1 - share.max()) < 0.07  # the margin of the tightest side


def test_colours_of_values():
    colors = color_map([-1, 0, 5, 9], (0, 5), "gray")
    np.testing.assert_allclose(colors, np.array([[0, 0, 1, 1]]).T.repeat(3, axis=1), atol=1e-6)


def test_film(tmp_path):
    path = tmp_path / "new" / "film.mp4"
    frames = ({"x": [[0.1 * k, 2, 0]], "caption": str(k)} for k in range(3))
    film(path, frames, CAMERA, fps=12, count=3, radius=0.3, colors=BLUE, background=BLACK)
    video = read_video(path)
    assert video.frames.shape == (3, 50, 66, 3) and video.fps == 12
    where = [np.nonzero(f[20:30, :, 2] > 90)[1].mean() for f in video.frames]
    assert where[0] < where[1] < where[2]

    def broken():
        yield {"x": [[0, 2, 0]]}
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        film(tmp_path / "other.mp4", broken(), CAMERA)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": np.zeros((2, 2))}, r"x: got shape \(2, 2\)"),
        ({"colors": np.zeros((3, 3))}, r"colors: got shape \(3, 3\), expected \(2, 3\)"),
        ({"radius": 0.0}, "radius: got 0"),
        ({"radius": "wide"}, "radius: got str"),
        ({"light": (0, 0)}, "light: got shape"),
        ({"lines": np.zeros((1, 3))}, "lines: got shape"),
    ],
)
def test_bad_input_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        draw(CAMERA, **{"x": np.zeros((2, 3)), **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Floor(size=-1.0), "size: got -1.0"),
        (lambda: Floor(normal=(0, 0, 0)), "normal: got zeros"),
        (lambda: Surface(vertices=np.eye(3), faces=[[0, 1, 3]]), "faces: expected numbers"),
        (lambda: Surface(vertices=np.eye(3), faces=[[0.5, 1, 2]]), "faces: got float64"),
        (lambda: Surface(**box_mesh((0, 0, 0), (1, 1, 1)), opacity=0), "opacity: got 0"),
        (lambda: view((0, 0, 0), (1, 0, 1), width=8, height=8), "upper: got"),
        (lambda: view((0, 0, 0), (1, 1, 1), width=8, height=8, elevation=90), "elevation: got 90"),
    ],
)
def test_bad_things_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
