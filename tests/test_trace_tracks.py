"""How far Gaussians are from the true paths of points."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from inverse.fitting.model import GaussianModel
from inverse.trace import TraceConfig, TraceModel
from inverse.trace.tracks import read_tracks, track_errors
from renderers.splats.gaussians import Gaussians


TIMES = np.array([0.0, 0.3, 0.6, 0.9])


def two_bodies():
    """A large Gaussian that turns about the origin by 2 rad/s, and one at rest."""
    start = Gaussians(
        means=torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]),
        quats=torch.tensor([[1.0, 0, 0, 0], [0.6, 0.8, 0, 0]]),
        scales=torch.tensor([[0.5, 0.2, 0.2], [0.1, 0.1, 0.1]]),
        opacities=torch.full((2,), 0.9), sh=torch.zeros(2, 1, 3),
    )  # fmt: skip
    model = TraceModel(
        GaussianModel(start), TraceConfig(), center=(0, 0, 0), half_side=4.0, duration=0.6,
        frame_dt=0.3,
    )  # fmt: skip

    def tensors_at(t):
        quats = model.gaussians.quats.clone()
        quats[0] = torch.as_tensor(Rotation.from_rotvec([0, 0, 2 * t]).as_quat(scalar_first=True))
        return model.gaussians.tensors() | {"quats": quats}

    model.tensors_at = tensors_at
    return model


def paths(late=0.0):
    """Points on both bodies, the first of which is `late` rad ahead after the observed time."""
    turns = [Rotation.from_rotvec([0, 0, 2 * t + late * (t > 0.7)]) for t in TIMES]
    first = np.stack([turn.apply([0.5, 0.0, 0.1]) for turn in turns])
    return np.stack([first, np.broadcast_to([3.05, 0.0, 0.0], (4, 3))], axis=1)


def test_points_turn_with_their_gaussians():
    found = track_errors(two_bodies(), TIMES, paths())
    assert found["points"] == 2
    assert found["interpolation"] < 1e-6 and found["extrapolation"] < 1e-6
    late = track_errors(two_bodies(), TIMES, paths(0.2)[:, :1])
    assert late["interpolation"] < 1e-6
    assert late["extrapolation"] == pytest.approx(2 * 0.5 * np.sin(0.1), rel=1e-4)


def test_points_that_nothing_reaches_do_not_count():
    x = paths()
    x[:, 1] += 50
    found = track_errors(two_bodies(), TIMES, x)
    assert found["points"] == 1 and found["interpolation"] < 1e-6
    nothing = track_errors(two_bodies(), TIMES, x[:, 1:])
    assert nothing == {"points": 0, "interpolation": None, "extrapolation": None}


def test_tracks_are_read_in_the_time_of_the_run(tmp_path):
    assert read_tracks(tmp_path, 1.0, 0.0) is None
    np.savez(tmp_path / "tracks.npz", times=[10, 40, 70, 100], x=paths())
    times, x = read_tracks(tmp_path, 0.01, 10.0)
    np.testing.assert_allclose(times, TIMES)
    assert x.shape == (4, 2, 3)
    np.savez(tmp_path / "tracks.npz", times=[10, 40], x=paths())
    with pytest.raises(ValueError, match=r"tracks\.npz: got times \(2,\) and x \(4, 2, 3\)"):
        read_tracks(tmp_path, 0.01, 10.0)
