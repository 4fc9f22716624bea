"""Whether to believe a wind run: verdict, noise, and what a report and a film show of both."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from inverse.lifting.quality import LiftQuality, followed_frames, seen_share
from inverse.lifting.smoothness import Smoothness
from inverse.wind.noise import track_noise
from inverse.wind.results.pictures import result_frames
from inverse.wind.results.verdict import (
    BELIEVABLE,
    CARE,
    DOUBTFUL,
    Facts,
    Verdict,
    judge,
    surely,
)
from inverse.wind.spread import Bending
from inverse.wind.targets import Tracked
from renderers.orbit import look_at


T = 30
GOOD = Facts(
    seen_share=np.full(T, 0.95), psnr=np.full(T, 28.0), psnr_held=np.full(T, 15.0), moved_px=60.0,
    along_axis=0.2, views=1, torn_share=0.0, tracks=150, size_px=140.0, flat=False,
    strength=np.full(T, 5.0), noise=np.full(T, 0.5),
)  # fmt: skip


def share_lost_at(frame):
    share = np.full(T, 0.95)
    share[frame:] = 0.3
    return share


def test_a_good_run_is_believable():
    verdict = judge(GOOD)
    assert verdict.belief == BELIEVABLE and verdict.until == T - 1
    assert verdict.sentence == (
        "This result is believable: tracks see at least 95 % of the object, and the re-simulation "
        "is 13.0 dB closer to the clip than holding it still; the net force is known to about 10 %."
    )


def test_what_speaks_against_a_run_is_not_said_for_it():
    changes = {"psnr": np.full(T, 16.0), "seen_share": share_lost_at(20)}
    sentence = judge(dataclasses.replace(GOOD, **changes)).sentence
    assert sentence.count("dB closer") == 1 and "only 1.0 dB closer" in sentence
    assert "until then tracks see at least 95 % of the object;" in sentence


@pytest.mark.parametrize(
    "change, belief, reason",
    [
        ({"seen_share": share_lost_at(1)}, DOUBTFUL, "from frame 1 on tracks see less than half"),
        ({"seen_share": share_lost_at(10)}, DOUBTFUL, "from frame 10 on"),
        ({"seen_share": share_lost_at(20)}, CARE, "up to frame 19 of 30"),
        ({"psnr": np.full(T, 9.1)}, DOUBTFUL, "5.9 dB farther from the clip than holding"),
        ({"psnr": np.full(T, 16.0)}, CARE, "only 1.0 dB closer"),
        (
            {"adrift": 20.0},
            CARE,
            "shifts by 20 px, the object itself by 60 px",
        ),
        ({"held": True, "taut": True}, CARE, "along it is taken to be its weight"),
        ({"falls": 6.7, "sheet": True}, DOUBTFUL, "would have moved it by 6.7 m: something holds"),
        ({"falls": 6.7}, CARE, "--hold-box or --floor says where it is"),
        ({"falls": 6.7, "moved_px": 0.3}, BELIEVABLE, "tracks see"),
        ({"adrift": 40.0}, DOUBTFUL, "if it is the camera that moved"),
        ({"adrift": 20.0, "as_one": True}, DOUBTFUL, "the camera travels: what is behind"),
        ({"torn_share": 0.01}, CARE, "1 % of the object was torn"),
        ({"torn_share": 0.4}, DOUBTFUL, "40 % of the object was torn"),
        ({"tracks": 12}, CARE, "only 12 points"),
        ({"size_px": 30.0}, CARE, "only 30 px across"),
        ({"size_px": 10.0}, DOUBTFUL, "only 10 px across"),
        ({"along_axis": 0.9}, CARE, "90 % of the motion is along the axis"),
        ({"bending": Bending(error=6.9, usual=2.7)}, CARE, "does not explain how the object bends"),
        ({"bending": Bending(error=2.6, usual=2.7)}, BELIEVABLE, "tracks see"),
        ({"along_axis": 0.9, "views": 2}, BELIEVABLE, "tracks see"),
        ({"flat": True}, CARE, "taken to be flat"),
        ({"reprojection_px": np.full(T, 3.0)}, CARE, "misses the tracks by 3.0 px"),
        ({"converged": np.zeros(T, bool)}, DOUBTFUL, "not found in 30 frames"),
        ({"at_rest": False}, CARE, "had not come to rest"),
        ({"noise": np.full(T, 2.45)}, CARE, "the net force is known only to about 49 %"),
        ({"held": True}, BELIEVABLE, "in proportion to the stiffness that was assumed"),
        (
            {"factors": (("density", 1.3), ("distance", 2.0), ("E", 1.01))},
            BELIEVABLE,
            "all forces may be off by a factor of 1.3 for the density and 2 for the distance",
        ),
        (
            {"factors": (("density", 1.3), ("distance", 1.9)), "too_large": 1.9},
            BELIEVABLE,
            "all forces are 1.9 times as large as they should be; besides, all forces may be off "
            "by a factor of 1.3 for the density.",
        ),
        (
            {"strength": np.full(T, 0.5), "noise": np.full(T, 0.9)},
            BELIEVABLE,
            "no net force stands out of its uncertainty (0.9 m/s²)",
        ),
        (  # what falls, and then rests
            {"strength": np.where(np.arange(T) < 7, 9.0, 0.1), "noise": np.full(T, 0.9)},
            BELIEVABLE,
            "the net force stands out of its uncertainty in 7 of 30 frames",
        ),
        ({"noise": np.full(T, 5.4)}, CARE, "known only to 5.4 m/s², and none stands out of that"),
    ],
)
def test_what_is_wrong_is_said(change, belief, reason):
    verdict = judge(dataclasses.replace(GOOD, **change))
    assert verdict.belief == belief
    assert reason in verdict.sentence


def test_that_no_force_stands_out_is_said_once():
    sentence = judge(dataclasses.replace(GOOD, noise=np.full(T, 5.4))).sentence
    assert sentence.count("stands out") == 1


def test_a_clip_of_a_few_frames_determines_little():
    few = {k: v[:6] for k, v in vars(GOOD).items() if isinstance(v, np.ndarray)}
    verdict = judge(dataclasses.replace(GOOD, **few))
    assert verdict.belief == CARE and "of 6 frames hardly any" in verdict.sentence


def test_a_thing_at_rest_is_as_good_as_held_still():
    rest = dataclasses.replace(GOOD, psnr=GOOD.psnr_held, moved_px=0.3, flat=True)
    assert judge(rest).belief == BELIEVABLE
    assert "moved by no more than 0.3 px" in judge(rest).sentence
    assert judge(dataclasses.replace(rest, psnr=np.full(T, 9.0))).belief == DOUBTFUL
    assert not judge(rest).still  # it moves too little to be seen, but is pushed
    assert judge(dataclasses.replace(rest, noise=np.full(T, 9.0))).still


def test_only_frames_that_were_followed_count():
    """A picture that falls apart after the object was lost does not spoil what came before."""
    psnr = np.where(np.arange(T) < 20, 28.0, 5.0)
    verdict = judge(dataclasses.replace(GOOD, seen_share=share_lost_at(20), psnr=psnr))
    assert verdict.belief == CARE and "13.0 dB closer" in verdict.sentence


def test_the_gravest_reason_comes_first():
    verdict = judge(dataclasses.replace(GOOD, flat=True, size_px=10.0, tracks=9))
    assert [text.split()[1] for text in verdict.reasons] == ["object", "9", "object"]
    assert "10 px" in verdict.reasons[0]


def test_an_object_is_followed_until_half_of_it_is_lost():
    assert followed_frames([1, 1, 0.5, 0.49, 0.4]) == 3
    assert followed_frames([0.1, 1, 1]) == 3  # the first frame is where the object is given
    assert followed_frames([1, 0.2, 0.2]) == 1


@pytest.mark.parametrize(
    "hidden, until",
    [
        ([8, 9, 10], T - 1),
        ([4, 5, 20, 21], T - 1),
        ([1, 2], 0),  # it was hardly seen before
        ([28], T - 1),
        ([27, 28], 26),  # nor after
        (range(8, 14), 7),  # long enough to go elsewhere
        ([5, 8, 11, 14, 17, 20, 23], 22),  # more than now and then
        ([10, 12, 13], 11),  # hardly seen between
    ],
)
def test_what_passes_in_front_hides_an_object_for_a_few_frames(hidden, until):
    share = np.full(T, 0.95)
    share[list(hidden)] = 0.1
    assert followed_frames(share) == until + 1


def test_where_the_result_ends_is_said_first():
    share = np.append(GOOD.seen_share[:20], np.zeros(10))
    facts = dataclasses.replace(GOOD, seen_share=share, ends=20)
    sentence = judge(facts).sentence
    assert "care up to frame 19 of 30" in sentence
    assert "(0 % at worst), and the result ends with frame 19 of 30" in sentence
    travels = judge(dataclasses.replace(facts, adrift=20.0, as_one=True))
    assert travels.belief == DOUBTFUL and travels.reasons[0].startswith("from frame 20 on")


def test_frames_in_which_the_object_is_hidden_are_named():
    share = np.full(T, 0.95)
    share[[8, 9]] = 0.0
    verdict = judge(dataclasses.replace(GOOD, seen_share=share))
    assert verdict.belief == CARE and "in frames 8 to 9 less than half" in verdict.sentence
    share[9] = 1.0
    assert (
        "in frame 8 less than half" in judge(dataclasses.replace(GOOD, seen_share=share)).sentence
    )


def test_a_ball_that_was_followed_by_its_silhouette_is_judged_by_where_it_is():
    ball = dataclasses.replace(
        GOOD, by="outline", size_px=10.0, psnr=np.full(T, 9.0), at_rest=False, missed_px=0.4
    )
    assert judge(ball).belief == BELIEVABLE and "within 0.4 px of it" in judge(ball).sentence
    for missed, belief in ((3.0, CARE), (6.0, DOUBTFUL)):
        verdict = judge(dataclasses.replace(ball, missed_px=missed))
        assert verdict.belief == belief and f"{missed} px off the ball's" in verdict.sentence


# Noise


@pytest.mark.parametrize("order", [2, 3])
def test_noise_of_accelerations_is_that_of_the_smoothest_motion_through_noisy_tracks(order):
    """Against the spread of what is made of many noisy tracks of motions of that smoothness."""
    frames, fps, sigma, amplitude = 20, 24.0, 2e-3, 1e-3
    rng = np.random.default_rng(0)
    D = np.diff(np.eye(frames), order, axis=0)
    smoother = np.linalg.inv(np.eye(frames) + (sigma / amplitude) ** 2 * D.T @ D)
    white = amplitude * rng.standard_normal((4000, frames - order))
    truth = white @ np.linalg.pinv(D).T
    found = (truth + sigma * rng.standard_normal(truth.shape)) @ smoother.T
    miss = fps**2 * np.diff(found - truth, 2, axis=1).std(axis=0)
    smooth = Smoothness(order=order, amplitude=amplitude, noise=sigma)
    off, expected = track_noise(smooth, sigma, frames, fps)
    np.testing.assert_allclose(off, (found - truth).std(axis=0), rtol=0.06)
    np.testing.assert_allclose(expected[1:-1], miss, rtol=0.06)
    assert expected[0] == expected[1] and expected[-1] == expected[-2]


def test_exact_tracks_have_no_noise_and_rough_motions_all_of_it():
    exact = track_noise(Smoothness(order=3, amplitude=1.0, noise=0.0), 0.0, 9, 24.0)
    assert not np.any(exact)
    off, rough = track_noise(Smoothness(order=3, amplitude=1.0, noise=1e-6), 1e-6, 9, 10.0)
    np.testing.assert_allclose(off, 1e-6, rtol=1e-6)
    np.testing.assert_allclose(rough, 1e-6 * 100 * np.sqrt(6), rtol=1e-6)
    assert not track_noise(Smoothness(order=2, amplitude=1, noise=1), 1, 2, 24.0)[1].any()


@pytest.mark.parametrize(
    "noise, seen, still",
    [(0.1, 1.0, False), (5.0, 1.0, False), (0.1, 0.0, False), (0.1, 1.0, True)],
)
def test_arrows_of_the_film_stand_out_of_their_std_where_the_object_is_seen(noise, seen, still):
    """Four particles pushed to the right at 4 m/s^2; lost in frame 2 if not seen there."""
    until = 3 if seen else 1
    n, frames = 4, 4
    camera = look_at((0, -2, 0), (0, 0, 0), fov=40, width=120, height=120)
    x = np.tile([[-0.3, 0, 0.3], [0.3, 0, 0.3], [-0.3, 0, -0.1], [0.3, 0, -0.1]], (frames, 1, 1))
    force = np.tile([4.0, 0, 0], (frames, n, 1))
    run = SimpleNamespace(cameras=[camera] * frames, x=x, force=force, mass=np.ones(n))
    run.held, run.std = np.zeros(n, dtype=bool), np.full((frames, n, 3), noise / np.sqrt(3))
    confidence = np.ones((frames, n))
    confidence[2] = seen
    tracked = Tracked(
        targets=x, confidence=confidence, keypoints=np.zeros((0, 2)), count=np.array(9),
        paths=np.zeros((2, 0, 2)), anchors=np.zeros((0, 3)), strayed=np.zeros((1, frames, 0, 2)),
        noise=np.zeros(frames), sampled=np.arange(0), shifts=np.zeros((0, frames, 0, 3)),
        quality=LiftQuality(
            converged=True, reprojection_px=np.zeros((frames, 2)), sigma_px=0.1, object_px=60.0,
            seen_share=seen_share(confidence), keypoints_seen_share=np.ones(frames),
        ),
    )  # fmt: skip
    video = np.full((frames, 120, 120, 3), 128, np.uint8)
    verdict = Verdict(belief=CARE, until=until, frames=frames, still=still, reasons=())
    films = list(result_frames(run, video, video, tracked, verdict))
    panels = [film[-120:-60, 252:].astype(int) for film in films]  # above the color bar
    drawn = [bool((np.ptp(panel, axis=2) > 40).any()) for panel in panels]
    assert drawn == [noise < 2 and not still and frame <= until for frame in range(frames)]


def test_arrows_are_pale_where_forces_hardly_stand_out():
    force, std = np.array([[3.0, 0, 4.0]] * 4), np.array([1.0, 1.25, 2.0, 2.6])
    spread = (std / np.sqrt(3))[:, None] * np.ones(3)
    np.testing.assert_allclose(surely(force, spread), [1.0, 1.0, 0.25, 0.0], atol=1e-12)
    assert surely(force[0], np.full(3, np.nan)) == 1  # nobody knows
