"""Where an object is lost for good, work ends; what hides it for a few frames does not end it."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from turning import CAMERA, FPS, ball

from inverse.lifting import LiftConfig, LiftQuality, targets_from_video
from inverse.lifting.followed import frames_followed, frames_looked_at, well_followed
from inverse.perception.surface import visible_surface
from inverse.runs.folder import write_npz
from inverse.tracking import Tracks
from inverse.wind.inputs.load import Inputs
from inverse.wind.several import follow_objects
from inverse.wind.targets import NAMES, Tracked, find_targets


FRAMES = 14
FAST = LiftConfig(nodes=16)


@pytest.fixture(scope="module")
def thrown():
    """A ball in flight that does not turn."""
    return ball(0.0, FRAMES)


def tracks_of(counts):
    """Tracks of as many points as are seen in each frame."""
    visible = np.arange(40) < np.array(counts)[:, None]
    return Tracks(xy=np.zeros((*visible.shape, 2)), visible=visible)


def targets(clip, hidden):
    """Targets of a ball that nothing shows in some frames."""
    video = clip.video.copy()
    video[hidden] = 128
    x0 = visible_surface(clip.masks[0], clip.depth, CAMERA).points[::9]
    return targets_from_video(
        [video], [CAMERA], clip.masks[0], clip.depth, FPS, x0, max_count=60, config=FAST
    )


def test_a_picture_that_repeats_another_does_not_lose_the_object():
    tracks, taken = tracks_of([40] * 5 + [0]), np.append(np.arange(5.0), np.nan)
    assert frames_followed([tracks]) == 5
    assert frames_followed([tracks], [taken]) == frames_looked_at([tracks], [taken]) == 6
    assert frames_followed([tracks, tracks], [taken, np.arange(6.0)]) == 5  # another view took it
    assert frames_followed([tracks.until(3)], [taken]) == 3


@pytest.mark.parametrize(
    "counts, followed",
    [
        ([40] * 12, 12),
        ([40] * 5 + [7] * 7, 5),
        ([40] * 5 + [0] * 2 + [40] * 5, 12),
        ([40] * 5 + [0] * 6 + [40] * 6, 5),
        ([40] + [3] * 11, 1),
    ],
)
def test_an_object_is_lost_where_too_few_points_are_seen_for_good(counts, followed):
    assert frames_followed([tracks_of(counts)]) == followed
    # What one view does not see, another one may.
    assert frames_followed([tracks_of(counts), tracks_of([40] * len(counts))]) == len(counts)


def test_a_few_frames_more_are_looked_at_and_few_points_do_not_show_how_all_move():
    tracks = tracks_of([100] * 5 + [0] * 20)
    assert frames_looked_at([tracks]) == 11
    assert frames_looked_at([tracks.until(6)]) == 6
    assert well_followed([tracks_of([40, 40, 9, 8, 7])]).tolist() == [True] * 4 + [False]


def test_the_work_ends_where_the_object_is_lost(thrown):
    found = targets(thrown, slice(9, None))
    assert len(found.targets) == len(found.lifted.points) == found.tracks[0].frames == 9
    assert len(found.quality.seen_share) == found.shifts.shape[1] == 9
    # It is what the first frames alone would have given.
    assert found.quality.seen_share.min() > 0.9
    whole = targets(thrown, slice(0, 0))
    assert np.abs(found.targets - whole.targets[:9]).max() < 0.01


def test_what_is_hidden_for_a_few_frames_is_found_again(thrown):
    still = dataclasses.replace(thrown, video=np.repeat(thrown.video[:1], FRAMES, axis=0))
    found = targets(still, slice(5, 7))
    assert len(found.targets) == FRAMES
    assert found.quality.seen_share[7:].min() > 0.9 and found.quality.seen_share[5:7].max() < 0.1


def test_an_object_that_is_lost_at_once_is_an_error_that_says_what_to_do(thrown):
    with pytest.raises(ValueError, match=r"lost in frame 3, and 3 of 14 .* \(--start"):
        targets(thrown, slice(3, None))


def tracked(frames):
    quality = LiftQuality(
        converged=True, reprojection_px=np.zeros((frames, 2)), seen_share=np.ones(frames),
        keypoints_seen_share=np.ones(frames), sigma_px=0.1, object_px=50.0,
    )  # fmt: skip
    return Tracked(
        targets=np.zeros((frames, 5, 3)), confidence=np.ones((frames, 5)),
        keypoints=np.zeros((9, 2)), paths=np.zeros((4, 9, 2)), count=9,
        anchors=np.zeros((9, 3)), strayed=np.zeros((1, frames, 9, 2)), noise=np.zeros(frames),
        sampled=np.arange(5), shifts=np.zeros((2, frames, 5, 3)), quality=quality,
    )  # fmt: skip


def test_with_several_objects_the_results_end_where_the_first_is_lost(monkeypatch):
    found = iter([tracked(8), tracked(5)])
    monkeypatch.setattr("inverse.wind.several.find_targets", lambda *_: next(found))
    mask = np.ones((4, 4), bool)
    one = Inputs(
        videos=[np.zeros((8, 4, 4, 3), np.uint8)], cameras=[[CAMERA] * 8], mask=mask,
        depth=np.ones((4, 4)), hold=None, at=None, fps=24, start=0.0, taken=[np.arange(8) / 24],
        tracks=None, assumptions=[], job=None, masks=np.stack([mask] * 8),
    )  # fmt: skip
    both = follow_objects([one, one], [None, None], Path("targets.npz"))
    for each in both:
        lengths = {len(each.targets), len(each.noise), each.strayed.shape[1], each.shifts.shape[1]}
        assert lengths == {len(each.confidence), len(each.quality.seen_share)} == {5}
    fewer = dataclasses.replace(one, objects=(one, one)).until(5)
    for inputs in (fewer, *fewer.objects):
        assert len(inputs.videos[0]) == len(inputs.cameras[0]) == len(inputs.taken[0]) == 5
        assert len(inputs.masks) == 5 and inputs.left == 3


@pytest.mark.parametrize("name", ["targets", "strayed", "shifts", "seen_share"])
def test_what_another_version_kept_is_found_again(name, tmp_path, monkeypatch):
    """Its stamp is that of the input; what is kept of that has had other shapes."""

    def anew(*_):
        raise ValueError("found again")

    monkeypatch.setattr("inverse.wind.targets._stamp", lambda *_: "input")
    monkeypatch.setattr("inverse.wind.targets.follow_ball", anew)
    kept, job = tracked(6), SimpleNamespace(resume=True, tracker="lk")
    arrays = {name: getattr(kept, name) for name in NAMES} | kept.quality.to_arrays()
    write_npz(tmp_path / "new.npz", stamp="input", **arrays)
    same = find_targets(job, None, None, tmp_path / "new.npz")
    np.testing.assert_array_equal(same.strayed, kept.strayed)
    arrays[name] = arrays[name][0]
    write_npz(tmp_path / "old.npz", stamp="input", **arrays)
    with pytest.raises(ValueError, match="found again"):
        find_targets(job, None, None, tmp_path / "old.npz")
