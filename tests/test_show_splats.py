"""examples/show_splats.py as its users run it, with tiny pictures."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from renderers.splats.files import load_gaussians, save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.video import read_video


ROOT = Path(__file__).resolve().parent.parent
AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
UPS = {sign + name: factor * np.array(axis) for name, axis in AXES.items()
       for sign, factor in (("", 1), ("-", -1))}  # fmt: skip
SMALL = ["--width", "40", "--height", "40", "--frames", "2"]

sys.path.insert(0, str(ROOT / "examples"))
import show_splats  # noqa: E402


def write_figure(path, up, right=(0, 0, 0)):
    """A post of 21 Gaussians: red where up points, blue at the foot, with a green arm to a side."""
    heights = np.linspace(-1, 1, 21)
    points = np.concatenate([np.outer(heights, up), [0.5 * np.array(right, float)]])
    colors = np.zeros((22, 3))
    colors[:, 0], colors[:, 2] = np.append(heights > 0, 0), np.append(heights < 0, 0)
    colors[-1, 1] = 1
    save_gaussians(
        path,
        Gaussians.from_colors(
            means=100 * torch.from_numpy(points),  # no unit is assumed
            quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(22, 1),
            scales=torch.full((22, 3), 7.0),
            opacities=torch.full((22,), 0.95),
            colors=torch.from_numpy(colors),
        ),
    )
    return str(path)


def run(*arguments):
    return show_splats.main([str(a) for a in (*arguments, *SMALL)])


def picture(folder):
    return np.asarray(Image.open(folder / "picture.png")).astype(float) / 255


def place(image, channel):
    """Mean (row, column) of what shows one colour on black."""
    weights = image[..., channel]
    assert weights.max() > 0.5
    rows, columns = np.indices(weights.shape)
    return np.array([(weights * rows).sum(), (weights * columns).sum()]) / weights.sum()


BLACK = ("--background", 0, 0, 0)


@pytest.mark.parametrize("up", UPS)
def test_top_is_at_the_top(up, tmp_path):
    file = write_figure(tmp_path / "figure.ply", UPS[up])
    assert run(file, "--out", tmp_path, "--up", up, *BLACK) == 0
    red, blue = place(picture(tmp_path), 0), place(picture(tmp_path), 2)
    assert red[0] < 15 and blue[0] > 24
    assert abs(red[1] - 19.5) < 0.5 and abs(blue[1] - 19.5) < 0.5


def test_y_down_is_the_default_and_front_chooses_the_side(tmp_path):
    file = write_figure(tmp_path / "figure.ply", (0, -1, 0), right=(1, 0, 0))
    assert run(file, "--out", tmp_path / "front", *BLACK) == 0
    assert run(file, "--out", tmp_path / "back", "--front", "-180", *BLACK) == 0
    front, back = picture(tmp_path / "front"), picture(tmp_path / "back")
    assert place(front, 0)[0] < 15 and place(front, 2)[0] > 24
    assert place(front, 1)[1] > 22 and place(back, 1)[1] < 17


def test_everything_is_in_wide_and_tall_pictures(tmp_path):
    file = write_figure(tmp_path / "figure.ply", (0, 0, 1), right=(2, 0, 0))
    for name, size in {"wide": (60, 24), "tall": (24, 60)}.items():
        shape = ("--width", size[0], "--height", size[1], "--frames", 1)
        arguments = [file, "--out", tmp_path / name, "--up", "z", *shape, *BLACK]
        assert show_splats.main([str(a) for a in arguments]) == 0
        image = picture(tmp_path / name)
        assert image.shape == (size[1], size[0], 3)
        assert image.max() > 0.5
        assert max(edge.max() for edge in (image[0], image[-1], image[:, 0], image[:, -1])) < 0.02


def test_video_turns_and_starts_with_the_picture(tmp_path):
    file = write_figure(tmp_path / "figure.ply", (0, -1, 0), right=(1, 0, 0))
    assert run(file, "--out", tmp_path, *BLACK) == 0
    video = read_video(tmp_path / "video.mp4")
    assert video.frames.shape == (2, 40, 40, 3) and video.fps == 24
    assert np.abs(video.frames[0] / 255 - picture(tmp_path)).mean() < 0.02
    assert place(video.frames[0] / 255, 1)[1] > 21 and place(video.frames[1] / 255, 1)[1] < 18


def test_what_is_saved_shows_the_same(tmp_path):
    file = write_figure(tmp_path / "figure.ply", (0, -1, 0), right=(1, 0, 0))
    saved = tmp_path / "new" / "again.ply"
    assert run(file, "--out", tmp_path / "a", "--save", saved) == 0
    assert run(saved, "--out", tmp_path / "b") == 0
    assert len(load_gaussians(saved)) == 22
    first, second = picture(tmp_path / "a"), picture(tmp_path / "b")
    assert first.std() > 0.05 and first[0].min() == 1  # on white
    np.testing.assert_allclose(first, second, atol=1.01 / 255)


def test_antialiasing_and_elevation_reach_the_renderer(tmp_path):
    file = write_figure(tmp_path / "figure.ply", (0, -1, 0))
    images = []
    for name, flags in {"a": (), "b": ("--antialiased",), "c": ("--elevation", "-70")}.items():
        assert run(file, "--out", tmp_path / name, *flags, *BLACK) == 0
        images.append(picture(tmp_path / name))
    assert images[1].sum() < 0.99 * images[0].sum()
    assert place(images[2], 0)[0] - place(images[0], 0)[0] > 2  # from below, the post looks short


def missing(tmp):
    return [tmp / "nowhere.ply"], "nowhere.ply"


def not_gaussians(tmp):
    (tmp / "a.txt").write_text("hello")
    return [tmp / "a.txt"], "got neither the start of a PLY"


def with_flags(*flags, message):
    return lambda tmp: ([write_figure(tmp / "figure.ply", (0, 0, 1)), *flags], message)


def unwritable(flag, name):
    def case(tmp):
        (tmp / "file").write_text("in the way")
        return [write_figure(tmp / "figure.ply", (0, 0, 1)), flag, tmp / "file" / name], "written"

    return case


BAD = {
    "missing file": missing,
    "a text": not_gaussians,
    "unwritable out": unwritable("--out", "out"),
    "unwritable save": unwritable("--save", "a.ply"),
    "save as what": with_flags("--save", "a.splat", message="ending in .ply"),
    "width": with_flags("--width", "0", message="width: got 0"),
    "frames": with_flags("--frames", "-1", message="frames: got -1"),
    "fov": with_flags("--fov", "200", message="fov: got 200"),
    "elevation": with_flags("--elevation", "90", message="elevation: got 90"),
    "front": with_flags("--front", "nan", message="azimuth: got nan"),
    "background": with_flags("--background", "0", "0", "255", message="background: got"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, tmp_path, capfd):
    arguments, message = BAD[name](tmp_path)
    out = ["--out", tmp_path / "out"]
    assert show_splats.main([str(a) for a in [*SMALL, *out, *arguments]]) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize("flags", [["--up", "w"], ["--up"], ["--widht", "3"], []])
def test_unknown_flags_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        show_splats.main([*(["a.ply"] if flags else []), *flags])
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err
