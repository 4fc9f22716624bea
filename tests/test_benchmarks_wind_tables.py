"""benchmarks/wind_tables.py, shrunken: a clip that fits its truth, and a line of the table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest


ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "benchmarks"))
import calibration  # noqa: E402
import wind_tables  # noqa: E402


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Results of one scene, its folder, and what was printed to the file."""
    out = tmp_path_factory.mktemp("tables")
    file = out / "figures.json"
    line = ["--quick", "--scene", "hotdog", "--out", str(out), "--json", str(file)]
    results = wind_tables.main([*line, "--force", "free", "point"])
    assert json.loads(file.read_text()) == results
    return results, out / "hotdog"


def test_the_motion_of_a_clip_is_that_of_its_forces(quick):
    """The center of mass accelerates as the net force says: nothing else acts."""
    with np.load(quick[1] / "ground_truth.npz") as truth:
        center = truth["nodes"].mean(axis=1)
        net = truth["external_mean"]
    second = np.diff(center, 2, axis=0) * wind_tables.FPS**2
    assert np.abs(second - net[1:-1]).max() < 0.1 * np.abs(net).max()


def test_a_body_that_can_yield_does(quick):
    """Else its material says nothing: within the elastic range all three are the same."""
    with np.load(quick[1] / "ground_truth.npz") as truth:
        assert truth["plastic"][0] == 0 and truth["plastic"][-1] > 0.003


def test_a_scene_is_recovered_and_scored(quick):
    results, folder = quick
    figures = results["hotdog"]
    assert (folder / "run_2" / "report.html").exists()
    assert np.isfinite(list(figures.values())).all()
    assert 0 < figures["all_direction_error_deg"] < 90 and figures["psnr"] > 10


def test_every_scene_has_a_field_of_its_own_and_two_are_of_each_material():
    table = wind_tables.scenes(None, None)
    kinds = ["elastic", "elastoplastic", "viscoplastic"]
    assert sorted(s.material for s in table.values()) == sorted(2 * kinds)
    assert len({id(s.field) for s in table.values()}) == len(table) == 6


def test_a_point_force_is_no_field(quick):
    """Table 2: most particles feel nothing of it, and where nothing acts is no direction."""
    point, free = quick[0]["hotdog point"], quick[0]["hotdog"]
    assert point["all_direction_error_deg"] > free["all_direction_error_deg"] + 10
    assert point["psnr"] < free["psnr"]


def test_the_middle_of_a_mask_lies_in_it():
    ring = np.zeros((9, 9), dtype=bool)
    ring[1:8, 1:8] = True
    ring[2:7, 2:7] = False
    column, row = wind_tables.middle(ring)
    assert ring[int(row), int(column)]


def test_runs_are_compared_with_what_they_say_of_themselves(quick, capsys):
    shares = calibration.main([str(quick[1] / "run_2")])
    assert 0 <= shares["one"] <= shares["two"] <= 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("run_2") and lines[2].startswith("all frames")
