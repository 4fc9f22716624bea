"""Cameras that circle a scene: where they are, what they look at, and what fits."""

import math

import numpy as np
import pytest
import torch

from renderers.camera import camera_from_fov
from renderers.orbit import framing, look_at, orbit
from renderers.splats.gaussians import Gaussians


SIZE = {"width": 90, "height": 60}
EYE, TARGET = np.array([1.0, -2.0, 0.5]), np.array([-0.3, 0.4, 1.5])
UPS = [(0, 0, 1), (0, -1, 0), (0, 1, 0), (1, 0, 0), (-1, 0, 0), (0.3, -0.5, 2.0)]


def body(points, scale=1e-3, opacity=0.9):
    n = len(points)
    return Gaussians.from_colors(
        means=torch.as_tensor(points, dtype=torch.float32),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.full((n, 3), float(scale)),
        opacities=torch.full((n,), float(opacity)),
        colors=torch.full((n, 3), 0.5),
    )


def joined(*parts):
    fields = zip(*(part.tensors().items() for part in parts), strict=True)
    return Gaussians(**{same[0][0]: torch.cat([value for _, value in same]) for same in fields})


def uniform(n, size, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 3)) * size


# look_at


@pytest.mark.parametrize("up", UPS)
def test_target_is_in_the_middle_and_up_is_up(up):
    camera = look_at(EYE, TARGET, up, fov=40, **SIZE)
    np.testing.assert_allclose(camera.position, EYE, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(camera.rotation), 1)
    pixel, depth = camera.project(TARGET)
    np.testing.assert_allclose(pixel, [45, 30], atol=1e-9)
    np.testing.assert_allclose(depth, np.linalg.norm(TARGET - EYE))
    above, _ = camera.project(TARGET + 0.1 * np.array(up))
    np.testing.assert_allclose(above[0], 45, atol=1e-9)
    assert above[1] < 29


def test_the_same_as_the_camera_at_the_origin():
    expected = camera_from_fov(90, 60, 35)
    found = look_at((0, 0, 0), (0, 7, 0), fov=35, **SIZE)
    np.testing.assert_allclose(found.world_to_camera, expected.world_to_camera, atol=1e-15)
    np.testing.assert_allclose(found.K, expected.K)


def test_intrinsics_in_pixels():
    def K(**given):
        return look_at(EYE, TARGET, **given, **SIZE).K

    np.testing.assert_array_equal(K(fx=70.0), [[70, 0, 45], [0, 70, 30], [0, 0, 1]])
    given = {"fx": 70.0, "fy": 71.0, "cx": 40.0, "cy": 33.0}
    np.testing.assert_array_equal(K(**given), [[70, 0, 40], [0, 71, 33], [0, 0, 1]])
    camera = look_at(EYE, TARGET, **given, **SIZE)
    np.testing.assert_allclose(camera.project(TARGET)[0], [40, 33], atol=1e-9)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"up": TARGET - EYE}, "up: got .* not parallel to the view"),
        ({"up": EYE - TARGET}, "up: got .* not parallel to the view"),
        ({"up": (0, 0, 0)}, "up: got"),
        ({"up": (0, 1)}, "up: got .*expected 3 finite numbers"),
        ({"eye": (0, math.nan, 0)}, "eye: got .*expected 3 finite numbers"),
        ({"target": EYE}, "target: got .*the position of eye, expected another"),
        ({"fov": None}, "got fov=None and fx=None"),
        ({"fx": 70.0}, "got fov=40 and fx=70.0"),
        ({"fov": 180}, "fov: got 180"),
        ({"width": 0}, "camera width: got 0"),
    ],
)
def test_look_at_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        look_at(**{"eye": EYE, "target": TARGET, "fov": 40, **SIZE} | change)


# orbit


@pytest.mark.parametrize("up", UPS)
def test_orbit_is_a_circle_around_up(up):
    cameras = orbit(TARGET, 3.0, up=up, frames=8, elevation=25, azimuth=40, fov=40, **SIZE)
    unit = np.array(up) / np.linalg.norm(up)
    arms = np.array([camera.position for camera in cameras]) - TARGET
    np.testing.assert_allclose(np.linalg.norm(arms, axis=1), 3)
    np.testing.assert_allclose(arms @ unit, 3 * math.sin(math.radians(25)))
    flat = arms - np.outer(arms @ unit, unit)
    following = np.roll(flat, -1, axis=0)
    cosines = (flat * following).sum(1) / (flat**2).sum(1)
    np.testing.assert_allclose(cosines, math.cos(math.radians(45)))
    assert (np.cross(flat, following) @ unit > 0).all()  # counter-clockwise from above
    for camera in cameras:
        np.testing.assert_allclose(camera.project(TARGET)[0], [45, 30], atol=1e-9)
        above, _ = camera.project(TARGET + 0.1 * unit)
        np.testing.assert_allclose(above[0], 45, atol=1e-9)
        assert above[1] < 30


@pytest.mark.parametrize(
    "up, azimuth, right, ahead",
    [
        ((0, 0, 5), 0, (1, 0, 0), (0, 1, 0)),
        ((0, 0, 5), 90, (0, 1, 0), (-1, 0, 0)),
        ((0, -1, 0), 0, (1, 0, 0), (0, 0, 1)),
        ((0, 1, 0), 0, (1, 0, 0), (0, 0, -1)),
        ((1, 0, 0), 0, (0, 1, 0), (0, 0, 1)),
    ],
)
def test_first_view(up, azimuth, right, ahead):
    camera = orbit(
        TARGET, 2.0, up=up, azimuth=azimuth, elevation=0, frames=5, fov=40, **SIZE
    )[0]  # fmt: skip
    np.testing.assert_allclose(camera.rotation[[0, 2]], [right, ahead], atol=1e-12)


def test_turns_are_shared_by_the_frames():
    def azimuths(**given):
        places = [c.position for c in orbit((0, 0, 0), 1.0, frames=4, fov=40, **SIZE, **given)]
        return [math.degrees(math.atan2(x, -y)) % 360 for x, y, _ in places]

    np.testing.assert_allclose(azimuths(), [0, 90, 180, 270], atol=1e-9)
    np.testing.assert_allclose(azimuths(turns=0.5, azimuth=10), [10, 55, 100, 145])
    np.testing.assert_allclose(azimuths(turns=-0.5, azimuth=200), [200, 155, 110, 65])
    height = orbit((0, 0, 0), 1.0, frames=1, fov=40, **SIZE)[0].position[2]
    np.testing.assert_allclose(height, math.sin(math.radians(20)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"radius": 0.0}, "radius: got 0"),
        ({"radius": math.inf}, "radius: got inf"),
        ({"elevation": 90}, "elevation: got 90"),
        ({"frames": 0}, "frames: got 0"),
        ({"frames": 2.5}, "frames: got 2.5"),
        ({"turns": math.nan}, "turns: got nan"),
        ({"azimuth": math.inf}, "azimuth: got inf"),
        ({"up": (0, 0, 0)}, "up: got zeros"),
        ({"center": (1, 2)}, "center: got"),
        ({"fov": 0}, "fov: got 0"),
    ],
)
def test_orbit_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        orbit(**{"center": TARGET, "radius": 1.0, "frames": 3, "fov": 40, **SIZE} | change)


# framing

BODIES = {
    "cube": uniform(3000, (1, 1, 1)) + [5, 0, -2],
    "pole": uniform(3000, (0.05, 3, 0.05)) + [0, 7, 0],
    "plate": uniform(3000, (2, 2, 0.01)),
    "point": np.array([[0.1, 0.2, 0.3]]),
}


@pytest.mark.parametrize("scale", [1e-3, 0.2])
@pytest.mark.parametrize("fov", [20, 90])
@pytest.mark.parametrize("name", BODIES)
def test_the_body_fits_from_all_sides_and_fills_the_picture(name, fov, scale):
    points = BODIES[name]
    center, radius = framing(body(points, scale=scale), fov)
    shown = []
    for elevation in (-60, 0, 20):
        for camera in orbit(
            center, radius, elevation=elevation, frames=12, fov=fov, width=100, height=100
        ):
            pixels, depth = camera.project(points)
            assert (depth > 0).all()
            reach = 2 * scale * camera.fx / depth[:, None]  # near enough two deviations
            edge = np.concatenate([pixels - reach, pixels + reach])
            assert (edge > 0).all() and (edge < 100).all()
            shown.append(np.abs(edge - 50).max() / 50)
    assert max(shown) > 0.5


def test_strays_and_huge_faint_gaussians_change_nothing():
    points = BODIES["cube"]
    clean = framing(body(points), 40)
    far = body(uniform(50, (1, 1, 1), seed=1) + [300, 0, 0])
    huge = body(uniform(900, (20, 20, 20), seed=2), scale=30, opacity=0.02)
    inside = body(uniform(900, (1, 1, 1), seed=3) + [5, 0, -2], scale=30, opacity=0.02)
    center, radius = framing(joined(far, body(points), huge, inside), 40)
    np.testing.assert_allclose(center, clean[0], atol=0.05)
    np.testing.assert_allclose(radius, clean[1], rtol=0.05)


def test_a_single_huge_opaque_gaussian_is_the_body():
    """Size counts: one Gaussian, as seen from where it fits, spans the picture."""
    near, far = (framing(body(BODIES["point"], scale=scale), 40)[1] for scale in (0.1, 1.0))
    np.testing.assert_allclose(far, 10 * near)
    np.testing.assert_allclose(
        near, 0.1 * 1.25 * math.sqrt(2 * math.log(10)) / math.sin(math.pi / 9)
    )


def test_units_do_not_matter():
    points = BODIES["pole"]
    center, radius = framing(body(points), 40)
    large_center, large_radius = framing(body(1000 * points, scale=1), 40)
    np.testing.assert_allclose(large_center, 1000 * center, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(large_radius, 1000 * radius, rtol=1e-5)


def test_framing_refuses():
    with pytest.raises(ValueError, match="fov: got 180"):
        framing(body(BODIES["cube"]), 180)
    with pytest.raises(ValueError, match="opacities: got 0, expected"):
        framing(body(np.zeros((0, 3))), 40)
    with pytest.raises(ValueError, match="opacities: got 3000, expected"):
        framing(body(BODIES["cube"], opacity=0), 40)
