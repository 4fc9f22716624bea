"""benchmarks/splats.py, shrunken: what it counts and prints, not how fast it is."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inverse.commands.runner import stoppable
from renderers.camera import camera_from_fov


ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "benchmarks"))
import force_recovery  # noqa: E402
import splats  # noqa: E402


def test_quick_table_and_json(tmp_path, capfd):
    file = tmp_path / "new" / "figures.json"
    results = splats.main(["--quick", "--repeats", "1", "--json", str(file)])
    assert json.loads(file.read_text()) == results
    assert set(results) == {"machine", "repeats", "rows"}
    assert set(results["machine"]) == {"arch", "device", "threads", "torch", "platform"}
    assert results["machine"]["threads"] >= 1
    for row, (name, count, size, radius) in zip(results["rows"], splats.QUICK, strict=True):
        assert (row["scene"], row["gaussians"], row["size"]) == (name, count, size)
        np.testing.assert_allclose(row["radius"], radius, rtol=1e-3)
        assert count <= row["pairs"] <= count * (size // splats.TILE) ** 2
        assert row["memory_mb"] > 4 * (14 * count + 5 * size**2) / 2**20  # gradients and pictures
        for part in ("forward_ms", "forward_backward_ms"):
            assert 0 < row[part]["minimum"] <= row[part]["median"]
    printed = capfd.readouterr().out
    assert f"threads {results['machine']['threads']}" in printed
    assert [line.split()[0] for line in printed.splitlines()[-2:]] == ["reference", "sweep"]


def test_scene_of_performance():
    """10,000 Gaussians of 8.6 px at 256 x 256, always the same ones, all in the picture."""
    _, count, size, radius = splats.REFERENCE
    assert (count, size, radius) == (10_000, 256, 8.6)
    camera = camera_from_fov(size, size, 60)
    scene, again = (splats.make_scene(count, camera, radius) for _ in range(2))
    assert all(torch.equal(scene[name], again[name]) for name in scene)
    pixels, depth = camera.project(scene["means"].cpu().numpy())
    assert ((pixels > 0) & (pixels < size)).all() and (depth > 1.9).all() and (depth < 6.1).all()
    np.testing.assert_allclose(pixels.mean(0), size / 2, rtol=0.02)
    np.testing.assert_allclose(splats.mean_radius(camera, scene), radius, rtol=1e-3)
    assert splats.make_scene(count, camera, 4.0)["scales"].mean() < scene["scales"].mean() / 2


def test_radius_of_one():
    """Three deviations along the larger axis of a Gaussian straight ahead, and 0.3 px^2 of blur."""
    camera = camera_from_fov(100, 100, 60)
    one = {
        "means": torch.tensor([[0.0, 2, 0]]),
        "quats": torch.tensor([[1.0, 0, 0, 0]]),
        "scales": torch.tensor([[0.1, 0.04, 0.02]]),
        "opacities": torch.ones(1),
    }
    expected = 3 * np.sqrt((camera.fx * 0.1 / 2) ** 2 + 0.3)
    np.testing.assert_allclose(splats.mean_radius(camera, one), expected, rtol=1e-5)


def test_peak_memory_counts_what_is_alive():
    given = torch.zeros(1000)
    with splats.PeakMemory() as memory:
        given.add_(1)
        kept = given + 1
        (given + 2).sum()
        view = kept[:10].add_(1)
        del kept
    assert memory.peak == 8000 + 4
    del view
    assert memory.live == 0


def test_repeats_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        splats.main(["--repeats", "0"])
    assert "--repeats: got 0" in capsys.readouterr().err


@pytest.mark.parametrize("script", [splats, force_recovery])
def test_ctrl_c_is_one_word(script, monkeypatch, capfd):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "measure" if script is splats else "recover", interrupted)
    monkeypatch.setattr(sys, "argv", ["script"])
    with pytest.raises(KeyboardInterrupt):
        script.main([])
    capfd.readouterr()
    assert stoppable(script.main) == 130
    assert capfd.readouterr().err == "stopped\n"
