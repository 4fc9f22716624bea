"""How parts move, from the paths of their particles, against laws of motion."""

import json

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation

from inverse.trace.paths import motion_along_paths, rigid_path, spin_of, turned


TIMES = np.linspace(0, 0.75, 16)


def body(n=200, seed=0, size=(0.3, 0.2, 0.1)):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 3)) * size


def paths(arms, start, velocity, acceleration, spin, rate=(0, 0, 0)):
    """(T, n, 3) m: a body whose centre accelerates and which spins at spin + rate t."""
    spin, rate = np.array(spin, float), np.array(rate, float)

    def turning(t, R):
        w = spin + t * rate
        return np.cross(w, R.reshape(3, 3), axisb=0, axisc=0).ravel()

    R = solve_ivp(turning, (0, TIMES[-1]), np.eye(3).ravel(), t_eval=TIMES, rtol=1e-10).y
    t = TIMES[:, None]
    centre = np.add(start, np.multiply(velocity, t) + np.multiply(acceleration, t**2 / 2))
    return centre[:, None] + np.einsum("tij,nj->tni", R.T.reshape(-1, 3, 3), arms)


BOX = ((-0.8, 0.6, -0.5), (0.1, -2.4, 0), (0, 2.4, 0), (0, 0, 0.6))
ROTOR = ((0.5, 0.2, 0.15), (0, 0, 0), (0, 0, 0), (0, 0, np.pi))


def test_motion_of_bodies_is_exact():
    x = np.concatenate([paths(body(), *BOX), paths(body(100), *ROTOR)], axis=1)
    labels = np.repeat([3, 7], [200, 100])
    records = motion_along_paths(TIMES, x, labels, np.ones(300))
    assert json.loads(json.dumps(records)) == records
    assert [r["label"] for r in records] == [3, 7] and [r["count"] for r in records] == [200, 100]
    assert records[0]["share"] == pytest.approx(2 / 3)
    for record, (p, v, a, w) in zip(records, (BOX, ROTOR), strict=True):
        # The mean of the particles is not the centre of mass, about which the body turns.
        place = np.add(p, np.multiply(v, 0.75)) + np.multiply(a, 0.75**2 / 2)
        # Along its axis every point moves alike: there it is that of the particles.
        np.testing.assert_allclose(record["centre"], place, atol=0.02)
        np.testing.assert_allclose(record["centre"][:2], place[:2], atol=1e-3)
        np.testing.assert_allclose(record["velocity"], np.add(v, np.multiply(a, 0.75)), atol=1e-3)
        np.testing.assert_allclose(record["acceleration"], a, atol=1e-3)
        np.testing.assert_allclose(record["angular_velocity"], w, atol=1e-5)
        np.testing.assert_allclose(record["axis"], (0, 0, 1), atol=1e-5)
        assert record["angular_acceleration"] == [0, 0, 0] and record["residual"] < 1e-5


def test_noise_and_strays_hardly_matter():
    rng = np.random.default_rng(1)
    x = paths(body(300), *BOX)
    x += 0.01 * rng.standard_normal(x.shape)
    x[:, :20] += np.cumsum(0.1 * rng.standard_normal((16, 20, 3)), axis=0)
    (record,) = motion_along_paths(TIMES, x, np.zeros(300, int), np.ones(300))
    assert np.linalg.norm(np.subtract(record["acceleration"], (0, 2.4, 0))) < 0.12
    assert record["angular_speed"] == pytest.approx(0.6, rel=0.05)
    assert np.degrees(np.arccos(record["axis"][2])) < 3
    error = np.subtract(record["angular_velocity"], (0, 0, 0.6))
    assert (np.abs(error) < 5 * np.array(record["spread"]["angular_velocity"])).all()


def test_spinning_up_is_told_apart_from_spinning():
    x = paths(body(), (0, 0, 0), (0, 0, 0), (0, 0, 0), (1.0, 0.5, 2.0), (0.3, -0.4, 3.0))
    (record,) = motion_along_paths(TIMES, x, np.zeros(200, int), np.ones(200))
    np.testing.assert_allclose(record["angular_acceleration"], (0.3, -0.4, 3.0), atol=0.05)
    np.testing.assert_allclose(record["angular_velocity"], (1.225, 0.2, 4.25), atol=0.02)


def test_many_turns_are_counted():
    """Rotations are known up to whole turns; the steps between them are not whole turns."""
    w = np.array([0.0, 0.0, 30.0])
    turns = Rotation.from_rotvec(w * TIMES[:, None])
    spin, rate, _, _ = spin_of(TIMES - TIMES[-1], turns)
    np.testing.assert_allclose(spin, w, atol=1e-6)
    assert not rate.any()


def test_turned_follows_the_equation_of_motion():
    spin, rate = np.array([0.4, -0.3, 0.8]), np.array([0.5, 1.0, -0.7])
    x = paths(np.eye(3), (0, 0, 0), (0, 0, 0), (0, 0, 0), spin, rate)
    R = np.swapaxes(x, 1, 2)
    last = Rotation.from_matrix(R[-1]).as_rotvec()
    ours = turned(TIMES - TIMES[-1], spin + 0.75 * rate, rate, last).as_matrix()
    np.testing.assert_allclose(ours, R, atol=1e-6)


def test_no_axis_without_a_spin():
    rng = np.random.default_rng(0)
    x = paths(body(), *BOX[:3], (0, 0, 0)) + 0.01 * rng.standard_normal((16, 200, 3))
    (record,) = motion_along_paths(TIMES, x, np.zeros(200, int), np.ones(200))
    assert record["axis"] is None and record["angular_speed"] < 0.05


def test_what_is_wrong_is_named():
    x, labels, weights = paths(body(10), *BOX), np.zeros(10, int), np.ones(10)
    for values, message in (
        ((TIMES[::-1], x, labels, weights), "times: got"),
        ((TIMES, x[:5], labels, weights), r"x: got \(5, 10, 3\)"),
        ((TIMES, x, labels[:3], weights), r"labels: got \(3,\)"),
        ((TIMES, x, labels, 0 * weights), "weights: got negative or only zero"),
    ):
        with pytest.raises(ValueError, match=message):
            motion_along_paths(*values)


def test_flat_bodies_are_turned_and_never_mirrored():
    rng = np.random.default_rng(2)
    x = paths(body(size=(0.3, 0.2, 0.0)), *ROTOR) + 0.02 * rng.standard_normal((16, 200, 3))
    _, turns, _ = rigid_path(x, np.ones(200))
    np.testing.assert_allclose(np.linalg.det(turns.as_matrix()), 1)
    (record,) = motion_along_paths(TIMES, x, np.zeros(200, int), np.ones(200))
    np.testing.assert_allclose(record["angular_velocity"], (0, 0, np.pi), atol=0.15)


@pytest.mark.parametrize("particles", [2, 60])
def test_particles_on_a_line_do_not_spin_about_it(particles):
    """How they turn about it cannot be seen; rounding must not say."""
    rod = np.linspace(-0.3, 0.3, particles)[:, None] * np.array([0.6, 0.0, 0.8])
    rounding = 1e-7 * np.random.default_rng(0).standard_normal((16, particles, 3))
    labels, weights = np.zeros(particles, int), np.ones(particles)
    x = paths(rod, *BOX[:3], (0, 0, 0)) + rounding
    (record,) = motion_along_paths(TIMES, x, labels, weights)
    assert record["angular_speed"] < 1e-3 and record["axis"] is None
    x = paths(rod, *BOX[:3], (0, 3.0, 0)) + rounding
    (record,) = motion_along_paths(TIMES, x, labels, weights)
    np.testing.assert_allclose(record["angular_velocity"], (0, 3.0, 0), atol=1e-3)


def test_a_line_that_turns_round_at_once_turns_by_half_a_circle():
    arms = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    _, turns, _ = rigid_path(np.stack([arms, -arms, arms]), np.ones(2))
    np.testing.assert_allclose(turns.as_matrix()[1] @ arms[0], -arms[0], atol=1e-12)
