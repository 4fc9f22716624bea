"""Rigid parts from learnt motion, what their particles say of it, and the measures of masks."""

import json

import numpy as np
import pytest

from inverse.trace.mask_metrics import segmentation_metrics
from inverse.trace.readout import motion_of_parts
from inverse.trace.segmentation import segment


TIME = 0.75
# centre m and velocity m/s at t = 0, acceleration m/s^2, spin rad/s: a rotor, a sliding box, a ball
LAW = {
    "fan": ((0.5, 0.2, 0.15), (0, 0, 0), (0, 0, 0), (0, 0, np.pi)),
    "box": ((-0.8, 0.6, -0.5), (0.1, -2.4, 0), (0, 2.4, 0), (0, 0, 0.6)),
    "ball": ((-0.9, -0.2, 0.75), (0.5, 0.1, 0.9), (0, 0, -3.2), (1.2, 0, 0)),
    "stand": ((0.5, 0.2, -0.5), (0, 0, 0), (0, 0, 0), (0, 0, 0)),
}
SHARES = {"fan": 0.5, "box": 0.25, "ball": 0.25}


def shape(name, n, rng):
    """n points of a body about its centre, m."""
    if name == "fan":
        turn, along = rng.integers(4, size=n) * np.pi / 2, rng.uniform(0.05, 0.65, n)
        across = rng.uniform(-0.08, 0.08, n)
        cos, sin = np.cos(turn), np.sin(turn)
        flat = [along * cos - across * sin, along * sin + across * cos]
        return np.stack([*flat, rng.uniform(-0.03, 0.03, n)], axis=1)
    points = rng.normal(size=(n, 3))
    if name == "ball":
        return 0.18 * points / np.linalg.norm(points, axis=1, keepdims=True)
    half = (0.2, 0.15, 0.12) if name == "box" else (0.15, 0.15, 0.5)
    return points / np.abs(points).max(axis=1, keepdims=True) * half


def smooth(x, rng):
    """Unit noise (n, 3) that neighbours share, as errors of a network are."""
    waves, phase, size = rng.normal(size=(64, 3)) / 0.5, rng.uniform(0, 7, 64), 64**-0.5
    return np.cos(x @ waves.T + phase) @ rng.normal(size=(64, 3)) * size * 2**0.5


def scene(n=4000, shares=SHARES, v_noise=0.0, w_noise=0.0, noise=None, strays=0.0, seed=0):
    """Particles as TRACE learns them, and `body` (n,): the place in shares + 1, 0 for strays."""
    rng = np.random.default_rng(seed)
    draw = noise or (lambda x, rng: rng.normal(size=x.shape))
    rows = {name: [] for name in ("x", "v", "a", "w", "eps", "body")}
    for body, (name, share) in enumerate(shares.items(), start=1):
        m = round(n * share)
        p, v, a, w = (np.array(value, dtype=float) for value in LAW[name])
        arm = shape(name, m, rng)
        x = p + v * TIME + a * TIME**2 / 2 + arm
        velocity = v + a * TIME + np.cross(w, arm)
        acceleration = a + np.cross(w, np.cross(w, arm))
        v_size, a_size = (np.sqrt((f**2).sum(1).mean()) for f in (velocity, acceleration))
        spin = w + w_noise * np.linalg.norm(w) * draw(x, rng)
        velocity += v_noise * v_size * draw(x, rng) / 3**0.5
        acceleration += v_noise * a_size * draw(x, rng) / 3**0.5
        spin_up = w_noise * draw(x, rng)
        values = x, velocity, acceleration, spin, spin_up, np.full(m, body)
        for rowlist, value in zip(rows.values(), values, strict=True):
            rowlist.append(value)
    m = round(n * strays)
    low, high = np.concatenate(rows["x"]).min(axis=0), np.concatenate(rows["x"]).max(axis=0)
    wild = [rng.uniform(low, high, (m, 3)), *(s * rng.normal(size=(m, 3)) for s in (3, 9, 5, 9))]
    for rowlist, value in zip(rows.values(), [*wild, np.zeros(m, int)], strict=True):
        rowlist.append(value)
    x, v, a, w, eps, body = (np.concatenate(rowlist) for rowlist in rows.values())
    v_bar = v - np.cross(w, x)
    a_bar = a - np.cross(eps, x) - np.cross(w, v)
    weights = rng.uniform(0.2, 1, len(x))
    return {"x": x, "v_bar": v_bar, "a_bar": a_bar, "w": w, "eps": eps, "weights": weights}, body


def parts_of(particles, **settings):
    names = ("x", "v_bar", "w", "weights")
    return segment(**{name: particles[name] for name in names}, **settings)


def agreement(labels, body):
    """Share of the particles that are no strays on which the partitions agree, each part one."""
    table = np.zeros((labels.max() + 1, body.max() + 1))
    np.add.at(table, (labels, body), 1)
    table = table[:, 1:]
    best = [table[:, k].max() for k in range(table.shape[1])]
    distinct = len(set(table.argmax(axis=0))) == table.shape[1]
    return sum(best) / table.sum() if distinct else 0.0


NOISY = {"v_noise": 0.1, "w_noise": 0.3, "strays": 0.05}


@pytest.mark.parametrize(
    ("case", "count"),
    {
        "exact": ({}, 3),
        "exact, with a stand": ({"shares": SHARES | {"stand": 0.4}}, 4),
        "noise of its own": (NOISY, 3),
        "noise that neighbours share": (NOISY | {"noise": smooth, "seed": 4}, 3),
        "noise and a stand in the axis": (
            NOISY | {"shares": SHARES | {"stand": 0.4}, "noise": smooth, "n": 8000, "seed": 2},
            4,
        ),
        "a small box": (NOISY | {"shares": {"fan": 0.73, "box": 0.02, "ball": 0.25}}, 3),
        "a thin rotor": (
            NOISY | {"shares": {"fan": 0.03, "box": 0.47, "ball": 0.5}, "n": 6000, "noise": smooth},
            3,
        ),
        "one exact body": ({"shares": {"box": 1.0}}, 1),
        "one noisy body": (NOISY | {"shares": {"fan": 1.0}, "noise": smooth}, 1),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_parts_are_the_bodies(case, count):
    setting, count = count
    particles, body = scene(**setting)
    labels = parts_of(particles)
    assert labels.max() == count and labels.min() == 1
    assert agreement(labels, body) > 0.995
    heavy = np.bincount(labels, particles["weights"])[1:]
    assert (np.diff(heavy) <= 0).all()


def test_parts_do_not_depend_on_origin_axes_or_units():
    particles, _ = scene(**NOISY)
    x, v_bar, w, weights = (particles[name] for name in ("x", "v_bar", "w", "weights"))
    labels = parts_of(particles)
    shift = np.array([30.0, -70.0, 11.0])
    moved = segment(x + shift, v_bar - np.cross(w, shift), w, weights=weights)
    assert (moved == labels).all()
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    turned = segment(x @ turn.T, v_bar @ turn.T, w @ turn.T, weights=weights)
    assert (turned == labels).all()
    metre, second = 1000.0, 0.05  # in other units of length and time
    other = segment(x * metre, v_bar * metre / second, w / second, weights=5 * weights)
    assert (other == labels).all()
    assert (parts_of(particles) == labels).all()


def test_what_rests_is_no_moving_part():
    """A mask that misses a fifth of the stand; the rest of it is found."""
    particles, body = scene(shares=SHARES | {"stand": 0.4}, **NOISY, seed=3)
    known = (body == 4) & (np.random.default_rng(0).random(len(body)) > 0.2)
    for parts in (None, 3):
        labels = parts_of(particles, static=known, parts=parts)
        assert labels.max() == 3
        assert (labels[body == 4] == 0).all()
        assert (labels[(body > 0) & (body < 4)] > 0).all()
        assert agreement(labels, body) > 0.999
    everything = np.ones(len(body), dtype=bool)
    assert not parts_of(particles, static=everything).any()
    still = {
        **particles,
        "v_bar": np.zeros_like(particles["x"]),
        "w": np.zeros_like(particles["x"]),
    }
    assert (parts_of(still) == 1).all()


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_as_many_parts_as_asked_for(parts):
    particles, body = scene(**NOISY)
    labels = parts_of(particles, parts=parts)
    assert set(labels) == set(range(1, parts + 1))
    bodies_in = [set(body[labels == k]) - {0} for k in set(labels)]
    if parts >= 3:  # bodies are split, never mixed
        assert all(len(bodies) == 1 for bodies in bodies_in)


def test_one_rigid_motion_is_one_part_however_far():
    """Two boxes that fly side by side, and a third one with another velocity."""
    rng = np.random.default_rng(1)
    arms = [shape("box", 800, rng) for _ in range(3)]
    x = np.concatenate([arms[0], arms[1] + (3, 0, 0), arms[2] + (0, 3, 0)])
    body = np.repeat([1, 1, 2], 800)
    velocity = np.where(body[:, None] == 1, (0.0, 1.0, 0.0), (0.0, 1.0, 0.6))
    velocity = velocity + 0.06 * rng.normal(size=x.shape)
    w = 0.1 * rng.normal(size=x.shape)
    labels = segment(x, velocity - np.cross(w, x), w, weights=np.ones(len(x)))
    assert (labels == body).all()


def test_slow_differences_count_where_there_is_no_noise():
    """15 % of the speed, exactly known, makes two bodies; drowned in noise it does not."""
    rng = np.random.default_rng(2)
    x = np.concatenate([shape("box", 600, rng), shape("box", 600, rng) + (0, 0, 1)])
    body = np.repeat([1, 2], 600)
    velocity = np.where(body[:, None] == 1, (1.0, 0, 0), (1.15, 0, 0))
    zero, ones = np.zeros_like(x), np.ones(len(x))
    assert agreement(segment(x, velocity, zero, weights=ones), body) == 1
    noisy = velocity + 0.3 * rng.normal(size=x.shape)
    assert (segment(x, noisy, zero, weights=ones) == 1).all()


def test_few_or_weightless_particles():
    zero, one = np.zeros((1, 3)), np.ones(1)
    assert segment(zero, zero, zero, weights=one).tolist() == [1]
    x, v = np.eye(3)[:2], np.array([[1.0, 0, 0], [0, 1.0, 0]])
    assert len(segment(x, v, np.zeros((2, 3)), weights=np.ones(2))) == 2
    particles, body = scene(n=1000)
    particles["weights"][::3] = 0
    assert agreement(parts_of(particles), body) > 0.995


def test_segment_names_what_is_wrong():
    particles, _ = scene(n=60)
    for change, words in (
        ({"w": np.zeros((59, 3))}, r"w: got \(59, 3\), expected \(60, 3\)"),
        ({"v_bar": np.full((60, 3), np.nan)}, "v_bar: got NaN"),
        ({"weights": -np.ones(60)}, "weights: got negative"),
        ({"weights": np.zeros(60)}, "weights: got negative or only zero"),
        ({"weights": np.ones((60, 1))}, r"weights: got \(60, 1\), expected \(60,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            parts_of(particles | change)
    with pytest.raises(ValueError, match=r"static: got int64 \(60,\), expected bool"):
        parts_of(particles, static=np.zeros(60, dtype=int))
    with pytest.raises(ValueError, match="parts: got 0, expected 1 to"):
        parts_of(particles, parts=0)
    with pytest.raises(ValueError, match=r"x: got \(0, 3\), expected \(1, 3\)"):
        segment(*(np.zeros((0, 3)),) * 3, weights=np.zeros(0))


def truth_of(record, name):
    """Velocity and acceleration at the record's centre, and spin, by the law."""
    p, v, a, w = (np.array(value, dtype=float) for value in LAW[name])
    arm = record["centre"] - (p + v * TIME + a * TIME**2 / 2)
    return v + a * TIME + np.cross(w, arm), a + np.cross(w, np.cross(w, arm)), w


def degrees(a, b):
    return np.degrees(np.arccos(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)))


def test_readout_of_exact_rates_is_exact():
    particles, body = scene(shares=SHARES | {"stand": 0.2}, n=1000)
    shift = np.array([5.0, -3.0, 2.0])  # a_bar and v_bar change with the origin, the record not
    records = motion_of_parts(**particles, labels=body)
    weights = particles["weights"]
    for record, name in zip(records, SHARES | {"stand": 0}, strict=True):
        own = body == record["label"]
        assert record["count"] == own.sum()
        assert record["share"] == pytest.approx(weights[own].sum() / weights.sum())
        mean = np.average(particles["x"][own], axis=0, weights=weights[own])
        assert record["centre"] == pytest.approx(mean)
        velocity, acceleration, w = truth_of(record, name)
        assert record["velocity"] == pytest.approx(velocity, abs=1e-9)
        assert record["acceleration"] == pytest.approx(acceleration, abs=1e-9)
        assert record["angular_velocity"] == pytest.approx(w, abs=1e-9)
        assert record["angular_speed"] == pytest.approx(np.linalg.norm(w), abs=1e-9)
        assert record["angular_acceleration"] == pytest.approx(np.zeros(3), abs=1e-9)
        if name != "stand":
            assert record["axis"] == pytest.approx(w / np.linalg.norm(w))
        assert max(map(max, record["spread"].values())) < 1e-9
    assert json.loads(json.dumps(records)) == records
    v_bar, a_bar, w, eps = (particles[name] for name in ("v_bar", "a_bar", "w", "eps"))
    moved = {
        "x": particles["x"] + shift,
        "v_bar": v_bar - np.cross(w, shift),
        "a_bar": a_bar - np.cross(eps, shift),
    }
    for old, new in zip(records, motion_of_parts(**particles | moved, labels=body), strict=True):
        assert new["velocity"] == pytest.approx(old["velocity"], abs=1e-9)
        assert new["acceleration"] == pytest.approx(old["acceleration"], abs=1e-9)


def test_readout_of_spinning_up_body():
    """eps and a_c of a rod that starts to turn about its end."""
    rng = np.random.default_rng(0)
    x = rng.uniform((0, -0.05, -0.05), (1, 0.05, 0.05), (500, 3)) + (1.0, 2.0, 3.0)
    pivot, w, eps = np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2.0]), np.array([0.5, 0, 4.0])
    v = np.cross(w, x - pivot)
    a = np.cross(eps, x - pivot) + np.cross(w, v)
    ones = np.ones((500, 1))
    (record,) = motion_of_parts(
        x, v - np.cross(w, x), a - np.cross(eps, x) - np.cross(w, v), w * ones, eps * ones,
        np.zeros(500, dtype=int), np.ones(500),
    )  # fmt: skip
    arm = x.mean(axis=0) - pivot
    assert record["angular_acceleration"] == pytest.approx(eps)
    assert record["acceleration"] == pytest.approx(np.cross(eps, arm) - 4 * arm * (1, 1, 0))
    assert np.allclose(list(record["spread"].values()), 0, atol=1e-9)


@pytest.mark.parametrize("noise", [None, smooth])
def test_readout_of_noisy_rates_is_near(noise):
    """From the parts that segment finds, strays included; single spins err by 30 %.

    Errors that neighbours share do not average out: there the small, slow box and ball are only
    as good as their velocities, and a mean of w_i would err by 20 % and 20 degrees even of the fan.
    """
    particles, body = scene(**NOISY | {"noise": noise})
    labels = parts_of(particles)
    records = motion_of_parts(**particles, labels=labels)
    assert len(records) == 3
    for record in records:
        own = labels == record["label"]
        name = list(SHARES)[np.bincount(body[own])[1:].argmax()]
        velocity, acceleration, w = truth_of(record, name)
        scale = {"fan": (1.0, 4.0), "box": (0.6, 2.4), "ball": (1.5, 3.2)}[name]
        loose = 1 if noise is None else 3
        assert np.linalg.norm(record["velocity"] - velocity) < loose * 0.03 * scale[0]
        assert np.linalg.norm(record["acceleration"] - acceleration) < loose * 0.05 * scale[1]
        if name == "fan" or noise is None:
            assert record["angular_speed"] == pytest.approx(np.linalg.norm(w), rel=0.05)
            assert degrees(record["axis"], w) < 3
        if noise is None:  # 30 % of the spin in each axis is what single particles err by
            spread = record["spread"]["angular_velocity"]
            assert spread == pytest.approx(np.full(3, 0.3 * np.linalg.norm(w)), rel=0.2)


def test_no_axis_where_the_particles_do_not_agree_on_a_spin():
    rng = np.random.default_rng(0)
    x, labels = shape("ball", 400, rng), np.ones(400, dtype=int)
    zero, weights = np.zeros_like(x), np.ones(400)
    for size, seen in ((0.1, True), (2.0, False)):
        w = (0, 0, 1.0) + size * rng.normal(size=x.shape)
        v_bar = np.cross((0, 0, 1.0), x) - np.cross(w, x)
        (record,) = motion_of_parts(x, v_bar, zero, w, zero, labels, weights)
        assert (record["axis"] is not None) == seen
        assert record["angular_speed"] == pytest.approx(1, rel=1e-6)
        assert record["spread"]["angular_velocity"] == pytest.approx(np.full(3, size), rel=0.2)


def test_spread_and_fit_go_by_weight():
    """What hardly weighs says hardly anything, however many say it."""
    x = shape("box", 300, np.random.default_rng(0))
    weights = np.where(np.arange(300) < 100, 1.0, 1e-6)
    velocity = np.where(np.arange(300)[:, None] < 100, (1.0, 0, 0), (0, 5.0, 0))
    zero = np.zeros_like(x)
    (record,) = motion_of_parts(x, velocity, zero, zero, zero, np.ones(300, int), weights)
    assert record["velocity"] == pytest.approx((1, 0, 0), abs=1e-3)
    assert record["spread"]["velocity"] == [0, 0, 0]
    with pytest.raises(ValueError, match=r"labels: got float64 \(300,\), expected int \(300,\)"):
        motion_of_parts(x, zero, zero, zero, zero, np.ones(300), weights)


def strip(*ids):
    """A mask of one row: ten pixels of each id."""
    return np.repeat(np.array([ids]), 10, axis=1)


def test_equal_partitions_score_one_whatever_their_ids():
    truth = [strip(0, 1, 2, 3), strip(0, 0, 2, 1)]
    predicted = [strip(0, 9, 7, 8), strip(0, 0, 1, 255)]
    assert segmentation_metrics(predicted, truth) == dict.fromkeys(
        ("ap", "pq", "f1", "precision", "recall", "miou"), 1.0
    )


def test_mask_metrics_by_hand():
    """Three objects; a find of IoU 20/30, one exact, one missed, and one prediction of nothing."""
    truth = [strip(1, 1, 0, 2, 3, 0)]
    predicted = [strip(5, 5, 5, 6, 0, 4)]
    result = segmentation_metrics(predicted, truth)
    assert result["precision"] == pytest.approx(2 / 3)
    assert result["recall"] == pytest.approx(2 / 3)
    assert result["f1"] == pytest.approx(2 / 3)
    assert result["pq"] == pytest.approx((20 / 30 + 1) / (2 + 0.5 + 0.5))
    assert result["miou"] == pytest.approx((20 / 30 + 1 + 0) / 3)
    # Equal confidence: precision 2/3 up to recall 2/3, that is at 0, 0.01, ..., 0.66.
    assert result["ap"] == pytest.approx(67 / 101 * 2 / 3)
    # The false one last: precision 1 up to there. First: as with equal confidence, since the
    # precisions 0, 1/2, 2/3 at growing recall are read from the right.
    last = segmentation_metrics(predicted, truth, confidence=[{5: 0.9, 6: 0.8, 4: 0.1}])
    assert last["ap"] == pytest.approx(67 / 101)
    first = segmentation_metrics(predicted, truth, confidence=[{5: 0.8, 6: 0.7, 4: 0.9}])
    assert first["ap"] == pytest.approx(67 / 101 * 2 / 3)
    between = segmentation_metrics(predicted, truth, confidence=[{5: 0.9, 6: 0.7, 4: 0.8}])
    assert between["ap"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)


def test_mask_metrics_pool_instances_but_average_images_for_miou():
    truth = [strip(1, 2, 3, 0), strip(1, 0, 0, 0)]
    predicted = [strip(1, 2, 3, 0), strip(0, 0, 0, 4)]
    result = segmentation_metrics(predicted, truth)
    assert result["recall"] == pytest.approx(3 / 4)
    assert result["precision"] == pytest.approx(3 / 4)
    assert result["miou"] == pytest.approx((1 + 0) / 2)


def test_a_match_needs_half_and_an_object_is_found_once():
    halves = segmentation_metrics([strip(1, 2)], [strip(3, 3)])  # two of IoU 1/2
    assert halves["precision"] == 0.5 and halves["recall"] == 1
    assert halves["pq"] == pytest.approx(0.5 / 1.5) and halves["miou"] == 0.5
    thirds = segmentation_metrics([strip(1, 2, 4)], [strip(3, 3, 3)])
    assert thirds["recall"] == 0 and thirds["miou"] == pytest.approx(1 / 3)


def test_images_without_objects_or_predictions():
    something, nothing = strip(0, 1), strip(0, 0)
    result = segmentation_metrics([something, something], [something, nothing])
    assert result["precision"] == 0.5 and result["recall"] == 1 and result["miou"] == 1
    assert not any(segmentation_metrics([nothing], [something]).values())
    with pytest.raises(ValueError, match="truth: got no object in any image"):
        segmentation_metrics([something], [nothing])


def test_mask_metrics_name_what_is_wrong():
    mask = strip(0, 1)
    for arguments, words in (
        (([mask], [mask, mask]), "predicted: got 1 masks, expected 2"),
        (([mask > 0], [mask]), r"predicted: got bool \(1, 20\) for image 0"),
        (
            ([mask], [mask[:, :9]]),
            r"predicted: got int64 \(1, 20\) for image 0, .* of the same size",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            segmentation_metrics(*arguments)
    with pytest.raises(ValueError, match="confidence: got 2, expected one for each"):
        segmentation_metrics([mask], [mask], confidence=[{1: 1.0}] * 2)
    with pytest.raises(ValueError, match="confidence: image 0 lacks a number"):
        segmentation_metrics([mask], [mask], confidence=[{}])
