"""What holds an object, found from how its points stray."""

from types import SimpleNamespace

import numpy as np
import pytest

import taichi_phys as tp
from inverse.tracking import Tracks
from inverse.wind.stillness import held_part, still_part
from inverse.wind.strayed import between, strayed_between, strayed_px
from renderers.camera import camera_from_fov
from renderers.orbit import look_at


BEAM, _ = tp.sample_box((0, 0, 0), (0.4, 0.1, 0.1), spacing=0.05)
LENGTH = BEAM[:, 0] / 0.4  # 0 to 1
PX = 300.0  # per m
ALL = np.ones(len(BEAM), dtype=bool)
END = BEAM[:, 0] < 0.1


def pixels(x):
    return PX * x[:, [0, 2]]


def held_as_seen(x, moved, seen=None, limit=1.0):
    """What is held of particles x (n, 3) m that are all followed and move by moved (n,) px upwards,
    or (n, 2) px."""
    moved = moved if moved.ndim == 2 else moved[:, None] * [0, 1]
    seen = np.ones(len(x), dtype=bool) if seen is None else seen
    motion, far = np.stack([0 * moved, moved])[None], np.linalg.norm(moved, axis=1)
    return held_part(x, motion, far, seen, limit, at=np.arange(len(x)), off=motion)


# Of particles whose motion is known


@pytest.mark.parametrize("power", [1, 1.5, 2])
def test_a_clamped_end_is_found(power):
    """Beyond its support cloth moves in proportion to the distance, a beam to its square."""
    x, _ = tp.sample_box((0, 0, 0), (0.4, 0.1, 0.1), spacing=0.025)
    moved = 40 * np.maximum((x[:, 0] - 0.088) / 0.312, 0) ** power
    found = held_as_seen(x, moved)
    assert found[x[:, 0] < 0.088 - 0.0125].all() and not found[x[:, 0] > 0.088 + 0.0125].any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_of_tracks_and_a_wide_end_do_not_move_the_edge_of_a_support(seed):
    x, _ = tp.sample_box((0, 0, 0), (0.8, 0.1, 0.1), spacing=0.025)
    moved = 100 * np.maximum((x[:, 0] - 0.2) / 0.6, 0) ** 2
    moved = np.where(moved > 4, 4 + 0.3 * (moved - 4), moved)  # what is wide bends less
    motion = along(1, moved * np.sin(2 * T)[:, None])[..., :2]
    motion = motion + np.random.default_rng(seed).normal(0, 0.25, motion.shape)
    far = np.linalg.norm(motion, axis=2).max(axis=0)
    each = np.arange(len(x))
    found = held_part(x, motion[None], far, np.ones(len(x)), 1.0, at=each, off=motion[None])
    assert abs(x[found, 0].max() - 0.2) <= 0.025


@pytest.mark.parametrize("center", [0.0, 0.3, 0.5])
def test_nothing_holds_a_body_that_turns(center):
    moved = 100 * np.stack([0.05 - BEAM[:, 2], BEAM[:, 0] - 0.4 * center], axis=1)
    assert not held_as_seen(BEAM, moved).any()


def test_nothing_holds_a_free_beam_that_bends():
    """Its nodes stay where they are."""
    moved = 40 * ((2 * LENGTH - 1) ** 2 - 1 / 3)
    assert not held_as_seen(BEAM, moved).any()


@pytest.mark.parametrize("moved", [0.4, 40.0])
def test_nothing_holds_a_body_that_rests_or_moves_as_a_whole(moved):
    assert not held_as_seen(BEAM, np.full(len(BEAM), moved)).any()


def test_what_tracks_do_not_see_is_not_taken_to_be_still():
    moved = np.where(END, 0.0, 40.0)
    assert held_as_seen(BEAM, moved).any()
    assert not held_as_seen(BEAM, moved, ~END).any()


def test_what_lies_behind_a_still_surface_is_held_with_it():
    """Of a solid, tracks see the side that faces the camera."""
    moved = 40 * np.maximum((LENGTH - 0.22) / 0.78, 0) ** 2
    front = BEAM[:, 1] < 0.05
    found = held_as_seen(BEAM, moved, front)
    np.testing.assert_array_equal(found, BEAM[:, 0] < 0.1)


# Of objects that are followed

T = np.arange(36) / 24
SHEET, _ = tp.sample_box((0, 0, 0), (0.9, 0.02, 0.6), spacing=0.02)
POT, _ = tp.sample_box((-0.1, -0.1, -0.2), (0.1, 0.1, 0), spacing=0.02)
STEM, _ = tp.sample_box((-0.02, -0.02, 0), (0.02, 0.02, 0.35), spacing=0.02)
CROWN, _ = tp.sample_box((-0.16, -0.02, 0.35), (0.16, 0.02, 0.6), spacing=0.02)
PLANT = np.concatenate([POT, STEM, CROWN])


def found(x, points, motion, noise=0.1, drift=0.0, lost=None, odds=0.0):
    """What is held of particles x (n, 3) m of an object whose points (k, 3) m are followed; motion:
    (T, k, 3) m, of these, beside the first frame; drift: px, of each point by the end; lost: height
    in m, above which points are lost after the first quarter of the clip."""
    rng = np.random.default_rng(0)
    moving = pixels((points + motion).reshape(-1, 3)).reshape(*motion.shape[:2], 2)
    off = moving - moving[0] + rng.normal(0, noise, moving.shape)
    off += np.linspace(0, 1, len(off))[:, None, None] * drift * rng.normal(size=off.shape[1:])
    off[0] = 0
    confidence = np.ones((len(off), len(x)))
    if lost is not None:
        off[len(off) // 4 :, points[:, 2] > lost] = np.nan
        confidence[len(off) // 4 :, x[:, 2] > lost] = 0
    tracked = SimpleNamespace(
        strayed=off[None], anchors=points, confidence=confidence,
        quality=SimpleNamespace(sigma_px=noise, seen_share=np.ones(len(off))),
    )  # fmt: skip
    return still_part(x, tracked, sheet=x is SHEET, odds=odds)


def scattered(low, high, count, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (count, 3))


def along(axis, size):
    """Motion (T, k, 3) m along an axis, of size (T, k) m."""
    return size[..., None] * np.eye(3)[axis]


def flapping(points, power):
    """Of a flag of which the edge x = 0 stays: waves that grow along it."""
    phase = 2 * np.pi * (1.5 * points[:, 0] - 1.5 * T[:, None])
    return along(2, 0.1 * (points[:, 0] / 0.9) ** power * (np.sin(phase) - np.sin(phase[0])))


ON_SHEET = scattered((0.02, 0, 0.02), (0.88, 0, 0.58), 100)


@pytest.mark.parametrize("power", [1, 2])
def test_a_flag_is_held_along_its_pole_and_nowhere_else(power):
    held = found(SHEET, ON_SHEET, flapping(ON_SHEET, power))
    at_pole = SHEET[:, 0] < 0.02
    assert held[at_pole].mean() > 0.5
    assert not held[SHEET[:, 0] > 0.06].any()


def test_a_curtain_is_held_at_its_top():
    size = 0.2 * (0.6 - ON_SHEET[:, 2]) * np.sin(5 * T)[:, None]
    held = found(SHEET, ON_SHEET, along(0, size))
    assert held[SHEET[:, 2] > 0.58].mean() > 0.5 and not held[SHEET[:, 2] < 0.54].any()


def on_plant(in_pot, on_stem):
    return np.concatenate([
        scattered((-0.1, -0.1, -0.2), (0.1, -0.1, 0), in_pot),
        scattered((-0.02, -0.02, 0), (0.02, -0.02, 0.35), on_stem),
        scattered((-0.16, -0.02, 0.35), (0.16, -0.02, 0.6), 60),
    ])  # fmt: skip


def test_a_single_point_that_moves_beside_still_ones_is_not_believed():
    """Its patch lies on the rim, and holds something else as well."""
    points = on_plant(25, 15)
    size = 0.08 * (np.maximum(points[:, 2], 0) / 0.6) ** 2 * np.sin(7 * T)[:, None]
    size[:, np.argmax(points[:25, 0])] = 0.02 * np.sin(7 * T)
    assert found(PLANT, points, along(0, size))[PLANT[:, 2] < 0].mean() > 0.9


@pytest.mark.parametrize("in_pot, on_stem", [(40, 15), (10, 8), (0, 20)])
@pytest.mark.parametrize("power", [1.5, 2, 3])
def test_a_pot_holds_a_plant_also_where_nothing_of_it_is_followed(in_pot, on_stem, power):
    points = on_plant(in_pot, on_stem)
    size = 0.08 * (np.maximum(points[:, 2], 0) / 0.6) ** power * np.sin(7 * T)[:, None]
    held = found(PLANT, points, along(0, size))
    assert held[PLANT[:, 2] < -0.04].mean() > 0.6
    highest = max(PLANT[held, 2].max(), 0)
    assert 0.08 * (highest / 0.6) ** power * PX < 1.5  # where nothing is seen to move


def test_a_pot_on_which_points_drift_holds_a_plant_whose_leaves_are_soon_lost():
    points = on_plant(40, 15)
    size = 0.2 * (np.maximum(points[:, 2], 0) / 0.6) ** 2 * np.sin(7 * T)[:, None]
    held = found(PLANT, points, along(0, size), drift=0.7, lost=0.3)
    assert held[PLANT[:, 2] < -0.04].mean() > 0.9 and not held[PLANT[:, 2] > 0.2].any()


def test_a_stem_whose_pot_is_not_part_of_the_object_is_held_at_its_end():
    x = np.concatenate([STEM, CROWN])
    points = on_plant(0, 25)
    size = 0.08 * (points[:, 2] / 0.6) ** 2 * np.sin(7 * T)[:, None]
    held = found(x, points, along(0, size))
    assert held[x[:, 2] < 0.02].any() and not held[x[:, 2] > 0.14].any()


def turning(points, center):
    angle = 0.45 * np.sin(2 * T)[:, None]
    x, z = points[:, 0] - center[0], points[:, 2] - center[1]
    return along(0, x * np.cos(angle) - z * np.sin(angle) - x) + along(
        2, x * np.sin(angle) + z * np.cos(angle) - z
    )


@pytest.mark.parametrize("center", [(0.45, 0.3), (0, 0.3), (0, 0), (0.2, 0.1)])
def test_nothing_holds_a_sheet_that_turns_about_a_point(center):
    assert not found(SHEET, ON_SHEET, turning(ON_SHEET, center)).any()


def test_nothing_holds_a_free_sheet_that_bends_falls_or_grows():
    bent = 0.1 * ((2 * ON_SHEET[:, 0] / 0.9 - 1) ** 2 - 1 / 3) * np.sin(6 * T)[:, None]
    grown = 0.2 * (ON_SHEET - ON_SHEET.mean(axis=0)) * np.sin(5 * T)[:, None, None]
    falling = along(2, -(T[:, None] ** 2) + 0 * ON_SHEET[:, 0])
    for motion in (along(2, bent), grown, falling, falling + turning(ON_SHEET, (0, 0))):
        assert not found(SHEET, ON_SHEET, motion).any()


# Motions of points


def test_points_stray_in_each_view_where_it_sees_them():
    front = camera_from_fov(64, 64, 40.0)
    side = look_at((-2, 2, 0), (0, 2, 0), fov=40, width=64, height=64)
    x = np.array([[0.0, 2.0, 0.0], [0.1, 2.0, 0.1], [0, 2, 0.1]])
    later = np.stack([x, x + [0, 0.2, 0]])  # along the axis of the front camera
    visible = np.array([[True, True, False], [True, False, True]])
    tracks = [Tracks(xy=camera.project(later)[0], visible=visible) for camera in (front, side)]
    off = strayed_px(tracks, [[front] * 2, [side] * 2], later)
    assert np.abs(off[0, 1, 0]).max() < 1e-6
    np.testing.assert_allclose(np.abs(off[1, 1, 0]), [side.fx * 0.2 / 2, 0], atol=1e-6)
    assert np.isnan(off[:, 1, 1:]).all() and np.isnan(off[0, 0, 2]).all()


def test_the_motion_of_a_camera_is_not_that_of_points():
    cameras = [look_at((0.1 * k, 0, 0), (0, 2, 0), fov=40, width=64, height=64) for k in range(3)]
    x = np.tile([[0.0, 2.0, 0.0], [0.1, 2.2, 0.1]], (3, 1, 1))
    xy = np.stack([camera.project(at)[0] for camera, at in zip(cameras, x, strict=True)])
    tracks = Tracks(xy=xy, visible=np.ones(xy.shape[:2], dtype=bool))
    assert np.abs(strayed_px([tracks], [cameras], x)).max() < 1e-6
    assert np.abs(strayed_px([tracks], [[cameras[0]] * 3], x)).max() > 0.5


def test_values_between_points_and_beyond_the_last_follow_a_plane():
    points = scattered((0, 0, 0), (1, 0, 1), 200)
    x = np.array([[0.5, 0, 0.5], [-0.02, 0, 0.5], [0.5, 0.3, 0.5]])
    np.testing.assert_allclose(between(points, 3 * points[:, 0], x), [1.5, 0, 1.5], atol=0.1)
    off = np.stack([3 * points[:, 0], -points[:, 2]], axis=1)[None, None]
    expected = [[1.5, -0.5], [0, -0.5], [1.5, -0.5]]
    np.testing.assert_allclose(strayed_between(points, off, x)[0, 0], expected, atol=0.1)
    alone = strayed_between(points[:1], np.full((1, 1, 1, 2), 2.0), x)
    np.testing.assert_allclose(alone, 2.0)
    off[:, :, points[:, 0] > 0.3] = np.nan  # not seen
    found = strayed_between(points, off, x)[0, 0]
    assert np.isnan(found[0]).all() and np.abs(found[1] - expected[1]).max() < 0.1


def test_nothing_is_still_that_no_point_shows_to_be_still():
    """All points of a body that flies move, those at one end least: particles beyond that end do
    not stay, whatever one point does that has strayed onto the background."""
    points = scattered((0.12, 0, 0), (0.4, 0.1, 0.1), 80)
    motion = along(2, 0.5 * (0.15 + np.maximum(points[:, 0] - 0.1, 0)) * T[:, None])
    motion[:, np.argmin(points[:, 0])] = 0
    assert not found(BEAM, points, motion).any()


def test_points_that_are_soon_lost_did_not_come_to_rest():
    """A body speeds up as a whole, and the points at one end are lost, the outermost first."""
    points = scattered((0, 0, 0), (0.4, 0.1, 0.1), 80)
    motion = along(2, 0.2 * T[:, None] ** 2 + 0.05 * T[:, None] + 0 * points[:, 0])
    last = 2 + 60 * np.maximum(points[:, 0] - 0.05, 0)  # frame
    motion[np.arange(len(T))[:, None] > last] = np.nan
    assert not found(BEAM, points, motion).any()


def test_points_that_are_lost_before_anything_moves_do_not_show_that_they_stay():
    """A body rests for most of the clip; points at one end are lost when it is taken away."""
    points = scattered((0, 0, 0), (0.4, 0.1, 0.1), 80)
    motion = along(2, 0.5 * np.maximum(T[:, None] - T[28], 0) + 0 * points[:, 0])
    motion[29:, points[:, 0] < 0.1] = np.nan
    assert not found(BEAM, points, motion).any()


def test_what_lies_between_points_is_not_told_to_be_still():
    """Of a part with no point on it, as many particles must be still as a point stands for."""
    x, _ = tp.sample_box((0, 0, 0), (0.4, 0.1, 0.1), spacing=0.025)
    moved = 40 * np.maximum((x[:, 0] - 0.05) / 0.35, 0)  # of a sixth of 256 particles not
    motion, beyond = moved[:, None] * [0, 1.0], np.flatnonzero(x[:, 0] > 0.1)
    motion = np.stack([0 * motion, motion])[None]
    for count, shown in ((12, True), (4, False)):
        at = beyond[np.linspace(0, len(beyond) - 1, count).astype(int)]
        held = held_part(x, motion, moved, np.ones(len(x)), 1.0, at=at, off=motion[:, :, at])
        assert held.any() == shown


def test_leaves_that_hang_out_do_not_hide_where_a_stem_begins_to_move():
    """A plant in a wide pot: leaves far along their twigs move as little as the stem below."""
    pot, _ = tp.sample_box((-0.3, 0, 0), (0.3, 0.05, 0.45), spacing=0.025)
    stem, _ = tp.sample_box((-0.05, 0, 0.45), (0.05, 0.05, 0.8), spacing=0.025)
    crown, _ = tp.sample_box((-0.5, 0, 0.8), (0.5, 0.05, 1.1), spacing=0.025)
    x = np.concatenate([pot, stem, crown])
    height = np.maximum(x[:, 2] - 0.45, 0) / 0.65
    hangs = 1 - np.clip((np.abs(x[:, 0]) - 0.1) / 0.6, 0, 0.6)
    moved = 24 * (height * hangs) ** 2
    found = held_as_seen(x, moved, limit=2.2)
    assert not found[x[:, 2] > 0.45 + 0.0125].any()
    assert found[x[:, 2] < 0.45].mean() > 0.7
