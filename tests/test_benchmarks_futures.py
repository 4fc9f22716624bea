"""The scenes of benchmarks/futures.py: what is drawn is where the laws of motion put it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from renderers.datasets import load_views, splits


sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import futures  # noqa: E402


def test_a_pixel_shows_the_body_that_is_nearest():
    near = futures.PaintedBox((0.2, 0.2, 0.2), futures.still(0.5, 0, 0), ((1, 0, 0), (1, 0, 0)))
    far = futures.PaintedBox((0.5, 0.5, 0.5), futures.still(-1, 0, 0), ((0, 0, 1), (0, 0, 1)))
    picture = futures.photograph([far, near], futures.look(0.0, 0.0), 0.0)
    middle = futures.SIZE // 2
    np.testing.assert_allclose(picture[middle, middle], (1, 0, 0, 1))
    # The far box is as wide as 2 * 0.5 m at 3.4 + 0.5 m appears; corners are empty.
    assert picture[middle, :, 3].sum() == pytest.approx(futures.FOCAL / 3.9, abs=1)
    assert picture[0, 0, 3] == 0
    side = futures.photograph([far, near], futures.look(np.pi, 0.0), 0.0)
    np.testing.assert_allclose(side[middle, middle], (0, 0, 1, 1))


def test_light_stays_where_it_is_while_the_body_turns():
    """A view from the light's side sees brighter faces than one from the other side."""
    spinner = futures.spinner()[0]
    toward = futures.LIGHT * (1, 1, 0) / np.linalg.norm(futures.LIGHT[:2])
    for t in (0.0, 0.4, np.pi / 3.5):
        lit, dark = (
            spinner.hit((3 * way + (0, 0, 0.2))[None], -way[None], t)[1].sum()
            for way in (toward, -toward)
        )
        assert lit > 1.2 * dark > 0.1


@pytest.mark.parametrize("k", [0, 1])
def test_cars_go_where_they_look(k):
    pose = futures.swerve()[k].pose
    for t in (0.1, 0.4, 0.7):
        step = pose(t + 1e-3)[0] - pose(t - 1e-3)[0]
        ahead = pose(t)[1] @ (1, 0, 0)
        assert step @ ahead / np.linalg.norm(step) > 0.999


def test_the_pendulum_keeps_its_length_and_energy():
    pivot, pose = np.array([0, 0, 0.75]), futures.pendulum()[1].pose
    energies = []
    for t in (0.1, 0.4, 0.9):
        place = pose(t)[0] - pivot
        assert np.linalg.norm(place) == pytest.approx(1.0)
        speed = np.linalg.norm(pose(t + 1e-2)[0] - pose(t - 1e-2)[0]) / 2e-2
        energies.append(speed**2 / 2 + 24 * place[2])
    assert np.ptp(energies) < 0.02 * 24


def test_a_scene_is_written_as_the_command_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(futures, "SIZE", 12)
    monkeypatch.setattr(futures, "FRAMES", 4)
    futures.write_scene(tmp_path, futures.spinner())
    assert {"train", "val", "test"} <= set(splits(tmp_path))
    views = load_views(str(tmp_path), "test", downscale=1)
    assert len(views) == 3 * futures.LATER
    assert min(view.time for view in views) > futures.DURATION
    assert views[0].load().alpha.max() > 0.9
