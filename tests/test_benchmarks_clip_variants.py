"""benchmarks/clip_variants.py: what its clips show once they are read, and how it judges."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from inverse.clips import plan_clip


ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "benchmarks"))
import clip_variants  # noqa: E402


SIZE, FRAMES = 64, 36


def clean():
    """A patch of random colors that moves over a gray wall (T, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), 4)
    wall = np.clip(110 + 15 * wall / wall.std(), 40, 200).astype(np.uint8)
    patch = cv2.resize(rng.integers(60, 200, (4, 3, 3)).astype(np.uint8), (18, 24))
    frames = np.repeat(wall[None, ..., None], FRAMES, axis=0).repeat(3, axis=-1)
    for k in range(FRAMES):
        frames[k, 10 + k // 2 : 34 + k // 2, 6 + k : 24 + k] = patch
    return frames


@pytest.mark.parametrize("name", ["rotated", "variable_rate", "gif", "hlg", "doubled", "240fps"])
def test_a_variant_shows_what_the_clean_clip_shows(tmp_path, name):
    frames = clean()
    variant = clip_variants.variants(SIZE, 18)[name]
    plan = plan_clip(variant.make(frames, tmp_path / "video"))
    assert plan.timing.fps == pytest.approx(clip_variants.FPS, rel=0.01)
    place = plan.timing.start + plan.timing.taken
    seen = np.isfinite(place)
    assert seen.sum() >= FRAMES - 10
    moments = np.round(place[seen] * clip_variants.FPS).astype(int)
    off = plan.read()[seen].astype(float) - frames[moments]
    assert np.abs(off).mean() < (40 if name == "hlg" else 8)  # a screen shows HDR darker


def test_a_shaken_clip_moves_as_a_whole():
    frames = clean()
    shaken = clip_variants.shaken(frames)
    edge = clip_variants.CROP
    assert shaken.shape == (FRAMES, SIZE - 2 * edge, SIZE - 2 * edge, 3)
    np.testing.assert_array_equal(shaken[0], frames[0, edge:-edge, edge:-edge])
    assert np.abs(shaken[5].astype(float) - frames[5, edge:-edge, edge:-edge]).mean() > 1


def test_an_exit_with_a_sentence_passes_and_a_wrong_direction_does_not(monkeypatch):
    judged = [
        ({"code": 0, "against_clean_deg": 9.0}, True),
        ({"code": 0, "against_clean_deg": 11.0}, False),
        ({"code": 2, "said": "error: the camera shakes"}, True),
        ({"code": 2, "said": "one line\nand another"}, False),
        ({"code": 1, "said": "error"}, False),
    ]
    for record, passed in judged:
        assert clip_variants._passed({"said": "", **record}) == passed
    t = np.arange(12) / 24
    force = np.tile([0.0, 0.0, -1.0], (12, 1))
    turned = np.tile([0.0, np.sin(0.1), -np.cos(0.1)], (6, 1))
    metrics = {"frames": 6, "verdict": {"sentence": "fine"}}
    runs = {"clean": (t, force, {}), "cut": (t[:6], turned, metrics)}
    monkeypatch.setattr(clip_variants, "net_of", lambda folder: runs[folder])
    record = clip_variants.compare("cut", "clean")
    assert record["against_clean_deg"] == pytest.approx(np.degrees(0.1))
    assert record["verdict"] == "fine" and record["frames"] == 6
