"""benchmarks/viewer.py, shrunken: what it measures and prints, not how fast it is."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from renderers.viewer.picture import sky


ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "benchmarks"))
import viewer  # noqa: E402


def test_quick_figures_and_json(tmp_path, capfd):
    file = tmp_path / "figures.json"
    results = viewer.main(["--quick", "--headless", "--seconds", "0.5", "--json", str(file)])
    assert json.loads(file.read_text()) == results
    assert (results["width"], results["height"], results["window"]) == (1280, 720, False)
    assert results["splats"]["gaussians"] == 2000 and results["jelly"]["particles"] == 512
    assert results["splats"]["pictures_per_second"] > 0
    assert 0 < results["jelly"]["scene_frames_per_second"] < 100
    assert "2000 Gaussians: " in capfd.readouterr().out


def test_what_is_shown():
    """The Gaussians cover the ball; the jelly is as soft and as fine as it is said to be."""
    screen = viewer.Screen(viewer.Session(viewer.splat_stage(5000)), **viewer.SIZE)
    with torch.no_grad():
        picture = screen.draw(0.25)
    free = sky(*picture.shape[:2]).astype(int)
    seen = (np.abs(picture - free) > 2).any(axis=2)
    assert 0.1 < seen.mean() < 0.5
    middle = np.stack(np.nonzero(seen)).mean(axis=1).astype(int)
    assert seen[middle[0] - 20 : middle[0] + 20, middle[1] - 20 : middle[1] + 20].all()
    sim = viewer.jelly_stage(300).ready().sim
    assert sim.grid.dx == 1 / 64
    assert sim.bodies[0].material.E == 1e4
    assert 250 < len(sim.mass) < 350
