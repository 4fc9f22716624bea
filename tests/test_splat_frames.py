"""Moving Gaussians as a folder of files: turned colors, stretched shapes, runs frame by frame."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_runs import trace_run, wind_run  # noqa: F401

from inverse.commands import view
from inverse.trace import TraceRun
from renderers.orbit import look_at
from renderers.splats.files import load_gaussians
from renderers.splats.frames import frame_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.splats.sh import shade, turned_sh


def some(degree, count=12):
    g = torch.Generator().manual_seed(degree)
    return Gaussians(
        means=torch.randn(count, 3, generator=g),
        quats=torch.randn(count, 4, generator=g),
        scales=0.05 + 0.3 * torch.rand(count, 3, generator=g),
        opacities=torch.rand(count, generator=g),
        sh=0.4 * torch.randn(count, (degree + 1) ** 2, 3, generator=g),
    )


def turns(count, seed=0):
    axes = Rotation.random(count, random_state=seed).as_matrix()
    return torch.as_tensor(axes, dtype=torch.float32)


@pytest.mark.parametrize("degree", range(5))
def test_turned_coefficients_have_the_colors_of_turned_gaussians(degree):
    gaussians, axes = some(degree), turns(12)
    for eye in ((3.0, 0.1, -0.4), (-1.0, 5.0, 2.0), (0.0, 0.0, -4.0)):
        at = torch.tensor(eye)
        expected = shade(gaussians.sh, gaussians.means, at, axes)
        found = shade(turned_sh(gaussians.sh, axes), gaussians.means, at)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    if degree:
        back = turned_sh(turned_sh(gaussians.sh, axes), axes.mT.contiguous())
        torch.testing.assert_close(back, gaussians.sh, atol=2e-5, rtol=0)
        assert (turned_sh(gaussians.sh, axes) - gaussians.sh).abs().max() > 0.1


def test_a_frame_looks_like_what_the_renderer_was_given():
    """Sheared shapes and turned colors, which a file has no place for."""
    g = some(2, 30)
    F = torch.eye(3) + 0.3 * torch.randn(30, 3, 3, generator=torch.Generator().manual_seed(5))
    splats = {
        "means": g.means, "opacities": g.opacities, "sh": g.sh, "sh_axes": turns(30),
        "covariances": F @ g.covariances() @ F.mT,
    }  # fmt: skip
    camera = look_at((0.5, -6, 2), (0, 0, 0), fov=50, width=60, height=48)
    truth = render(camera, **splats).rgb
    shown = render(camera, **frame_gaussians(splats).tensors()).rgb
    assert truth.std() > 0.05
    torch.testing.assert_close(shown, truth, atol=2e-3, rtol=0)


def files(folder):
    return sorted(path.name for path in (folder / "splats").iterdir())


FLAGS = ["--headless", "--frames", "3", "--width", "320", "--height", "240", "--ply"]


def test_a_trace_run_becomes_a_folder_of_files(trace_run, tmp_path):  # noqa: F811
    assert view.main([str(trace_run), *FLAGS, "--out", str(tmp_path)]) == 0
    assert files(tmp_path) == [f"frame_{k:04d}.ply" for k in range(3)]
    frames = [load_gaussians(tmp_path / "splats" / name) for name in files(tmp_path)]
    assert all(len(frame) == 80 and frame.degree == 1 for frame in frames)
    model = TraceRun.load(trace_run).model
    with torch.no_grad():
        start = model.tensors_at(0.0)
    torch.testing.assert_close(frames[0].means, start["means"], atol=1e-5, rtol=0)
    assert (frames[2].means - frames[0].means).norm(dim=1).max() > 1e-3


def test_a_wind_run_becomes_a_folder_of_files(wind_run, tmp_path):  # noqa: F811
    assert view.main([str(wind_run), *FLAGS, "--out", str(tmp_path)]) == 0
    frames = [load_gaussians(tmp_path / "splats" / name) for name in files(tmp_path)]
    assert len(frames) == 3 and np.ptp([len(frame) for frame in frames]) == 0
    assert (frames[2].means - frames[0].means)[:, 0].mean() > 1e-3, "it is pushed along x"
