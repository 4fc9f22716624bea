"""Cameras: what is no pinhole camera is refused, by name."""

import dataclasses
import json

import numpy as np
import pytest

from renderers.camera import camera_from_fov, load_camera


CAMERA = camera_from_fov(64, 48, 40.0)
MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world_to_camera": MIRROR @ CAMERA.world_to_camera}, "mirrors"),
        ({"world_to_camera": 2 * np.eye(4)}, "is not a rotation"),
        ({"world_to_camera": np.eye(3)}, r"got shape \(3, 3\), expected a finite \(4, 4\)"),
        ({"fx": -1.0}, r"camera fx: got -1\.0, expected a positive number"),
        ({"cy": float("nan")}, "camera cy: got nan, expected a finite number"),
        ({"width": 0}, "camera width: got 0, expected a whole number of pixels"),
        ({"height": 47.5}, r"camera height: got 47\.5, expected a whole number of pixels"),
    ],
)
def test_what_is_no_camera_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CAMERA, **changes)


def test_a_point_comes_back_from_its_image():
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3)) + [0, 4, 0]
    pixels, depth = CAMERA.project(points)
    np.testing.assert_allclose(CAMERA.unproject(pixels, depth), points, rtol=1e-12)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    record = dataclasses.asdict(CAMERA) | {"width": 64.0, "fps": 30}
    record["world_to_camera"] = CAMERA.world_to_camera.tolist()
    (tmp_path / "camera.json").write_text(json.dumps(record), encoding="utf-8-sig")
    camera, others = load_camera(tmp_path / "camera.json")
    assert (camera.width, others) == (64, {"fps": 30})
