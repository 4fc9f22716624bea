"""The forward examples as their users run them, shrunk to seconds; each checks its own physics."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from renderers.video import read_video


ROOT = Path(__file__).resolve().parent.parent
FILES = {"video.mp4", "metrics.json", "config.json", "report.html"}
SMALL = ["--size", "96", "64"]
SHRUNK = {
    "drop_block": "--spacing 0.025 --frames 40",
    "materials_side_by_side": "--spacing 0.02 --frames 24 --slow 1 --presets jelly sand water",
    "slope_friction": "--spacing 0.025 --frames 10 --slow 1 --friction 0.2 0.8",
    "sand_column": "--spacing 0.009 --frames 12 --slow 1 --within 0.4",
    "mesh_in_wind": "--spacing 0.018 --frames 14",
    "two_bodies_collide": "--spacing 0.016 --frames 14 --slow 1",
    "custom_material": "--spacing 0.016 --frames 18",
}

sys.path.insert(0, str(ROOT / "examples"))


def run(name, *flags):
    return importlib.import_module(name).main([*SMALL, *map(str, flags)])


@pytest.mark.parametrize("name", SHRUNK)
def test_example(name, tmp_path, capfd):
    flags = SHRUNK[name].split()
    code = run(name, "--out", tmp_path, *flags)
    shown = capfd.readouterr()
    assert code == 0, shown.out + shown.err
    assert {p.name for p in tmp_path.iterdir()} == FILES
    metrics = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert len(metrics["checks"]) >= 2
    assert all(row["passed"] for row in metrics["checks"].values())
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    frames = int(flags[flags.index("--frames") + 1])
    assert config["frames"] == frames and config["seed"] == 0
    video = read_video(tmp_path / "video.mp4")
    assert video.frames.shape == (frames + 1, 64, 96, 3)
    assert video.frames[0].std() > 5 and (video.frames[0] != video.frames[-1]).any()
    assert "ok " in shown.out and "report.html" in shown.out


def test_wrong_physics_is_said(tmp_path, capfd):
    """A block that has not had the time to come to rest."""
    flags = ("--out", tmp_path, "--spacing", "0.025", "--frames", "12")
    assert run("drop_block", *flags) == 1
    error = capfd.readouterr().err
    assert "error: speed at the end: measured" in error and "expected" in error
    assert {p.name for p in tmp_path.iterdir()} == FILES


BAD = {
    "frames": ("drop_block", ["--frames", "0"], "frames: got 0"),
    "spacing": ("drop_block", ["--spacing", "nan"], "spacing: got nan"),
    "size": ("two_bodies_collide", ["--size", "8", "8"], "size: got (8, 8)"),
    "slow": ("sand_column", ["--slow", "0"], "slow: got 0"),
    "preset": ("materials_side_by_side", ["--presets", "jely"], "did you mean 'jelly'"),
    "angle": ("slope_friction", ["--angle", "90"], "angle, friction: expected"),
    "mesh": ("mesh_in_wind", ["--mesh", "nowhere.stl"], "nowhere.stl"),
    "alpha": ("custom_material", ["--alpha", "3"], "alpha: got (3.0,)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, tmp_path, capfd):
    name, flags, message = BAD[case]
    assert run(name, "--out", tmp_path / "out", *flags) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--device", "--arch"])
def test_unknown_device_is_refused(flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("sand_column", flag, "gpu9")
    assert stopped.value.code == 2 and "gpu9" in capsys.readouterr().err
