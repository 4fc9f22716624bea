"""Materials from motion: points, films, intervals, what the motion does not tell, resuming."""

import dataclasses
import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from inverse.affine import affine_slopes, affine_weights
from inverse.identification import MaterialConfig, MaterialJob, MaterialRun, fit_material
from inverse.identification.bodies import _shares, make_simulator
from inverse.identification.evidence import Followers, PointEvidence
from inverse.identification.grids import GridRun, correction, likeness, orders
from inverse.identification.inputs import MovingPoints, read_force, read_motion
from inverse.identification.search import MaterialSearch
from inverse.identification.solve import descend, tried
from inverse.identification.uncertainty import spreads
from inverse.identification.unknowns import make_unknowns, values_of
from inverse.opening import open_run
from renderers.camera import camera_record
from renderers.images import to_bytes
from renderers.orbit import look_at
from renderers.splats.files import save_gaussians
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from renderers.video import write_video
from taichi_phys import load_scene, sample_mesh


ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "benchmarks")]
import fit_material as example  # noqa: E402
import material_recovery  # noqa: E402


LOW, HIGH = np.array([0.0, 0.0, 0.0]), np.array([0.2, 0.1, 0.1])
T = np.arange(10) / 40.0
SMALL = MaterialConfig(particles=220, coarse=120, scan=6, starts=1, iterations=6, pixels=32)
LIKE = {"density": 1000.0, "nu": 0.3}


def block(folder, pull=150.0):
    """A mesh and a force that pulls a block at both ends; the flags that name them."""
    trimesh.creation.box(bounds=[LOW, HIGH]).export(folder / "mesh.ply")
    axes = [np.linspace(a, b, 4) for a, b in zip(LOW, HIGH, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    t = np.arange(40) / 160.0
    field = (places - places.mean(axis=0)) * [1.0, -0.5, -0.5]
    pulse = np.exp(-(((t - 0.08) / 0.04) ** 2))
    np.savez(folder / "force.npz", t=t, x=places, acceleration=pull * pulse[:, None, None] * field)
    return {"mesh": str(folder / "mesh.ply"), "force": str(folder / "force.npz")}


def moved(job, particles=1500, **values):
    """The motion (T, n, 3) m of other particles than those of a search."""
    job = dataclasses.replace(job, motion="none", seed=9)
    force = read_force(job.force, 0.0) if job.force else None
    body = make_simulator(job, T, particles, LOW[None], None, force)
    arrays = {name: np.atleast_1d(np.asarray(v, float)) for name, v in values.items()}
    return body.run(arrays, len(T))[0]


def write_points(path, x, count=60, noise=3e-4, **more):
    rng = np.random.default_rng(1)
    points = LOW + (HIGH - LOW) * rng.uniform(0.05, 0.95, (count, 3))
    followers = Followers(x[0], points)
    seen = followers.place(x, followers.stretch(x))
    np.savez(path, t=T, x=seen + noise * rng.standard_normal(seen.shape), **more)
    return points


@pytest.fixture(scope="module")
def pulled(tmp_path_factory):
    """A block that was pulled, as points: folder, flags and the job that has to find it."""
    folder = tmp_path_factory.mktemp("pulled")
    given = block(folder)
    job = MaterialJob(motion="none", E=4e3, **LIKE, **given)
    write_points(folder / "motion.npz", moved(job))
    job = dataclasses.replace(
        job, motion=str(folder / "motion.npz"), E=4e4, find=("E",), out=str(folder / "out")
    )
    return folder, given, job


def test_points_follow_affine_motions_exactly():
    rng = np.random.default_rng(0)
    cloud, points = rng.random((80, 3)), rng.uniform(-0.1, 1.1, (20, 3))
    A, b = np.eye(3) + 0.3 * rng.standard_normal((3, 3)), rng.standard_normal(3)
    followers = Followers(cloud, points)
    x = cloud @ A.T + b
    stretch = followers.stretch(x)
    np.testing.assert_allclose(stretch, np.broadcast_to(A, stretch.shape), atol=1e-5)
    np.testing.assert_allclose(followers.place(x, stretch), points @ A.T + b, atol=1e-6)
    near, weights = affine_weights(cloud, points)
    assert affine_slopes(cloud, points).shape == (*near.shape, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_bodies_are_as_thick_as_their_objects():
    """Whatever the spacing: a lattice alone may end half a spacing from the surface."""
    box = trimesh.creation.box(bounds=[LOW, HIGH])
    sample = functools.partial(sample_mesh, box)
    for count in (120, 170, 260, 400):
        x, volume = _shares(sample, count, 0)
        h = (0.2 * 0.1 * 0.1 / len(x)) ** (1 / 3)
        center = volume @ x / volume.sum()
        np.testing.assert_allclose(center, (LOW + HIGH) / 2, atol=0.06 * h)
        spread = np.sqrt(12 * volume @ (x - center) ** 2 / volume.sum())
        # what a particle stands for has a width of its own, of about a spacing
        np.testing.assert_allclose(np.hypot(spread, h), HIGH - LOW, rtol=0.015)
        assert volume.sum() == pytest.approx(0.2 * 0.1 * 0.1)


def test_bodies_rest_where_their_floor_is(tmp_path):
    """Whatever the cells, and wherever the floor lies between them."""
    mesh = block(tmp_path)["mesh"]
    for floor, particles in ((0.0, 220), (0.0, 500), (0.0, 800), (-0.004, 220), (-0.004, 800)):
        job = MaterialJob(motion="none", mesh=mesh, floor=floor, E=1e5, **LIKE)
        body = make_simulator(job, T, particles, LOW[None], None, None)
        x, _ = body.run({}, len(T))
        height = (x[2:] - x[0]).mean(axis=(0, 1))[2]
        assert abs(height - floor) < 0.12 * body.dx


def test_order_of_errors_is_that_of_three_grids():
    rng = np.random.default_rng(0)
    size = rng.standard_normal((6, 30))
    for p, expected in ((2.0, 2.0), (1.5, 1.5), (1.0, 1.0), (0.2, 1.0), (4.0, 2.0)):
        coarsest, coarse, fine = (size * h**p for h in (2.5, 1.6, 1.0))
        found = orders(fine - coarse, coarse - coarsest, 1.6, 2.5 / 1.6)
        np.testing.assert_allclose(found, expected, atol=0.02)
    fine = 0.39 * size
    fine[3:] = size[3:]
    found = orders(fine, size, 1.6, 1.6)
    assert found[0] > 1.9 and found[-1] == 1.0 and (np.diff(found) <= 0).all()
    np.testing.assert_allclose(likeness(0.3 * size, size), 1.0)
    np.testing.assert_allclose(likeness(-size, size), 0.0)
    fine[3:] = rng.standard_normal((3, 30))
    assert likeness(fine, size)[-1] < 0.6


def test_error_of_the_grid_is_taken_off():
    """A motion that is off by the square of the cells, and late frames that are just off."""
    rng = np.random.default_rng(0)
    cloud, t = rng.random((80, 3)), np.arange(8) / 8
    bend = 0.05 * t[:, None, None] * (cloud - 0.5) * [1.0, -0.5, -0.5]
    runs = {h: cloud + bend * (1 + h**2) for h in (0.5, 0.8, 1.28)}
    points = MovingPoints(
        t=t, x=cloud + bend, weights=np.ones((8, 80)), labels=np.zeros(80, int)
    )  # fmt: skip
    evidence = PointEvidence(points, 1e-3)
    found = correction(evidence, *(GridRun(dx=h, x=runs[h]) for h in (0.8, 0.5, 1.28)))
    missed = evidence.residuals(runs[0.8])
    assert np.abs(missed + found.offset).max() < 0.02 * np.abs(missed).max()
    for h, far in ((0.5, 0.03), (0.8, -0.03), (1.28, 0.03)):
        runs[h][5:] += far * (cloud - 0.5)
    evidence.trust(np.ones(8))
    worse = correction(evidence, *(GridRun(dx=h, x=runs[h]) for h in (0.8, 0.5, 1.28)))
    assert worse.shares[5:].max() < 0.2 < 0.5 < worse.shares[:3].min()
    assert np.abs(worse.rest[-240:]).mean() > np.abs(found.rest[-240:]).mean()


def test_noise_of_points_in_the_first_frame_is_no_error_of_the_motion():
    rng = np.random.default_rng(0)
    cloud, points = rng.random((80, 3)), rng.random((20, 3))
    t = np.arange(8) / 8
    x = np.stack([cloud * (1 + 0.3 * s) for s in t])
    seen = np.stack([points * (1 + 0.3 * s) for s in t])
    off = 0.01 * rng.standard_normal(points.shape)
    seen[0] += off
    shape = seen.shape[:2]
    moving = MovingPoints(t=t, x=seen, weights=np.ones(shape), labels=np.zeros(20, int))
    evidence = PointEvidence(moving)
    evidence.bind(cloud)
    missed = evidence.residuals(x).reshape(seen.shape)
    # as if it were that of one frame in eight, all others fit nearly
    assert np.abs(missed[1:]).max() < 0.3 * np.abs(off).max()
    assert np.abs(missed[0]).max() > 0.6 * np.abs(off).max()


def test_initial_motion_is_that_of_the_first_frames():
    rng = np.random.default_rng(0)
    points, t = rng.random((20, 3)), np.arange(10) / 40
    v, spin, center = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.2, -0.4]), np.full(3, 0.7)
    way = t[:, None, None] * (v + np.cross(spin, points - center)) - 4.9 * t[:, None, None] ** 2
    moving = MovingPoints(t=t, x=points + way, weights=np.ones((10, 20)), labels=np.zeros(20, int))
    np.testing.assert_allclose(moving.start(center), [v, spin], atol=1e-9)


def unknown(name, start, count=1):
    return make_unknowns({name: [start] * count}, 0.2, 0.5)


@pytest.mark.parametrize(
    ("name", "value"), [("E", 3e4), ("nu", 0.3), ("friction_angle", 30.0), ("velocity", -0.4)]
)
def test_values_are_what_their_numbers_say(name, value):
    (one, *_) = unknown(name, 2 * value if name == "E" else value)
    assert one.decode(one.encode(value)) == pytest.approx(value)
    low, high = one.interval(one.encode(value), 0.1)
    assert low < value < high and one.told(one.encode(value), 0.1)
    assert not one.told(one.encode(value), 30.0)


def test_values_stay_within_their_limits():
    (nu,) = unknown("nu", 0.3)
    assert nu.decode(50.0) == pytest.approx(0.49) and nu.decode(-50.0) == 0.0
    assert nu.range == pytest.approx((0.0, 0.49))


def test_steps_find_what_is_ten_times_off():
    """A spring: its frequency is the root of E, its decay is not seen at all."""
    unknowns = [*unknown("E", 100.0), *unknown("viscosity", 1.0)]
    t = np.linspace(0, 1, 60)

    def run(numbers, substeps):
        E = unknowns[0].decode(numbers[0])
        return np.cos(np.sqrt(10.0) * t) - np.cos(np.sqrt(E) * t), []

    start = np.array([u.encode(u.start) for u in unknowns])
    trials = tried(unknowns, start, 8, 1.5, seed=0)
    assert len(trials) == 17 and (trials[0] == start).all()
    best = min(trials, key=lambda n: (run(n, ())[0] ** 2).mean())
    fitted = descend(run, unknowns, best, [0, 1], iterations=20, tolerance=1e-4)
    assert unknowns[0].decode(fitted.numbers[0]) == pytest.approx(10.0, rel=1e-3)
    assert fitted.settled and fitted.loss < 1e-4


def test_steps_end_at_a_limit():
    (nu,) = unknown("nu", 0.3)
    fitted = descend(
        lambda n, _: (5.0 - n.repeat(20), []), [nu], np.array([0.9]), [0],
        iterations=20, tolerance=1e-3,
    )  # fmt: skip
    assert fitted.settled and nu.decode(fitted.numbers[0]) == pytest.approx(0.49)


def test_intervals_hold_the_truth_where_errors_are_alike():
    """Errors that neighbors share all the time: white noise would say too little."""
    rng = np.random.default_rng(0)
    T, groups, each = 10, 12, 5
    slopes = np.ones((T * groups * each, 1))
    clusters = np.tile(np.repeat(np.arange(groups), each), T)
    times = np.repeat(np.arange(5), len(clusters) // 5)
    inside = narrow = 0
    for _ in range(100):
        errors = rng.standard_normal(groups)[clusters] + 0.3 * rng.standard_normal(len(clusters))
        known = spreads(errors - errors.mean(), slopes, [clusters, times], np.array([100.0]))
        inside += abs(errors.mean()) < 1.96 * known.deviation[0]
        narrow += abs(errors.mean()) < 1.96 * errors.std() / np.sqrt(len(errors))
    assert inside >= 85 > 50 > narrow
    assert known.samples[0] < 3 * groups


def test_white_noise_is_known_as_such():
    rng = np.random.default_rng(0)
    slopes = rng.standard_normal((6000, 2))
    errors = 0.1 * rng.standard_normal(6000)
    groups = np.arange(6000) % 30
    known = spreads(errors, slopes, [groups], np.array([3.0, 3.0]))
    np.testing.assert_allclose(known.deviation, 0.1 / np.sqrt(6000), rtol=0.4)


# Runs


def test_stiffness_is_found_from_points(pulled):
    folder, _, job = pulled
    run = fit_material(job, SMALL)
    E = run.metrics["values"]["E"]
    assert E["value"] == pytest.approx(4e3, rel=0.1) and E["low"] < 4e3 < E["high"] and E["told"]
    assert run.metrics["loss"] < 0.4 * run.metrics["loss_of_guess"]
    assert {p.name for p in Path(run.folder).iterdir()} == {
        "config.json", "metrics.json", "motion.npz", "report.html", "checkpoints",
    }  # fmt: skip
    assert "E is " in run.metrics["verdict"]["sentence"]
    again = open_run(folder / "out")
    assert isinstance(again, MaterialRun) and again.x.shape[0] == len(T) and again.job == job
    assert "What is it made of?" in (folder / "out" / "report.html").read_text("utf-8")


def test_stopped_search_goes_on_to_the_same_result(pulled, tmp_path, monkeypatch):
    _, _, job = pulled
    whole = fit_material(dataclasses.replace(job, out=str(tmp_path / "a")), SMALL)
    tell, told = MaterialSearch._tell, []

    def stop(self, *arguments):
        tell(self, *arguments)
        told.append(arguments)
        if len(told) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(MaterialSearch, "_tell", stop)
    job = dataclasses.replace(job, out=str(tmp_path / "b"))
    with pytest.raises(KeyboardInterrupt):
        fit_material(job, SMALL)
    run = fit_material(dataclasses.replace(job, resume=True), SMALL)
    assert len(told) > 5 and 4 <= len(told) - len(whole.metrics["history"]) + 4 <= 6
    assert run.metrics["values"] == whole.metrics["values"]
    with pytest.raises(ValueError, match="cannot resume, because E changed"):
        fit_material(dataclasses.replace(job, resume=True, E=5e4), SMALL)


def test_what_a_motion_does_not_tell_is_said(tmp_path):
    """A block that falls freely: nothing strains it."""
    given = {"mesh": block(tmp_path)["mesh"]}
    job = MaterialJob(motion="none", E=1e4, **LIKE, **given)
    x = moved(job)
    write_points(tmp_path / "motion.npz", x)
    job = dataclasses.replace(
        job, motion=str(tmp_path / "motion.npz"), find=("E", "nu"), out=str(tmp_path / "out")
    )
    run = fit_material(job, SMALL)
    values = run.metrics["values"]
    assert not values["E"]["told"] and not values["nu"]["told"]
    assert (values["nu"]["low"], values["nu"]["high"]) == pytest.approx((0.0, 0.49))
    assert values["E"]["high"] / values["E"]["low"] > 1e4
    assert "The motion does not tell E and nu." in run.metrics["verdict"]["sentence"]


def test_wrong_assumptions_are_said_first(pulled, tmp_path):
    """Without its force the block would not move as it does, whatever it is made of."""
    _, given, job = pulled
    job = dataclasses.replace(job, force=None, gravity=(0.0, 0.0, 0.0), out=str(tmp_path))
    verdict = fit_material(job, SMALL).metrics["verdict"]
    assert verdict["belief"] == "bad"
    assert verdict["sentence"].startswith("Do not believe these values")


def test_parts_have_their_own_stiffness(tmp_path):
    given = block(tmp_path)
    job = MaterialJob(motion="none", E=4e3, **LIKE, **given)
    force = read_force(job.force, 0.0)
    body = make_simulator(dataclasses.replace(job, seed=9), T, 300, LOW[None], None, force)
    body.labels = (body.x0[:, 0] > 0.1).astype(int)
    x = body.run({"E": np.array([3e3, 9e3])}, len(T))[0]
    points = write_points(tmp_path / "motion.npz", x)
    write_points(tmp_path / "motion.npz", x, labels=(points[:, 0] > 0.1).astype(int))
    job = dataclasses.replace(
        job, motion=str(tmp_path / "motion.npz"), find=("E",), by_part=("E",),
        out=str(tmp_path / "out"),
    )  # fmt: skip
    values = fit_material(job, SMALL).metrics["values"]
    assert values["E of part 0"]["value"] == pytest.approx(3e3, rel=0.2)
    assert values["E of part 1"]["value"] == pytest.approx(9e3, rel=0.2)


def test_stiffness_is_found_from_films(tmp_path):
    given = block(tmp_path)
    job = MaterialJob(motion="none", E=4e3, **LIKE, **given)
    x = moved(job, 3000)
    rng = np.random.default_rng(0)
    points = LOW + (HIGH - LOW) * rng.random((500, 3))
    fields = {
        "means": points,
        "quats": np.tile([1.0, 0, 0, 0], (500, 1)),
        "scales": np.full((500, 3), 0.008),
        "opacities": np.full(500, 0.9),
        "colors": 0.5 + 0.4 * np.sin(60 * points),
    }
    model = Gaussians.from_colors(
        **{k: torch.as_tensor(v, dtype=torch.float32) for k, v in fields.items()}
    )
    save_gaussians(tmp_path / "model.ply", model)
    followers = Followers(x[0], points)
    stretch = followers.stretch(x)
    means = followers.place(x, stretch)
    center = (LOW + HIGH) / 2
    eye = center + [0.1, -0.6, 0.2]
    camera = look_at(eye.tolist(), center.tolist(), width=48, height=40, fov=30)
    clip = []
    for mean, F in zip(means, torch.as_tensor(stretch, dtype=torch.float32), strict=True):
        shown = render(
            camera, means=torch.as_tensor(mean, dtype=torch.float32), opacities=model.opacities,
            covariances=F @ model.covariances() @ F.mT, sh=model.sh, background=(1, 1, 1),
        )  # fmt: skip
        clip.append(to_bytes(shown.rgb.cpu().clamp(0, 1)))
    write_video(tmp_path / "a.mp4", clip, 40.0)
    (tmp_path / "a.json").write_text(json.dumps(camera_record(camera)))
    job = MaterialJob(
        video=(str(tmp_path / "a.mp4"),), camera=(str(tmp_path / "a.json"),), E=4e4,
        model=str(tmp_path / "model.ply"), find=("E",), out=str(tmp_path / "out"), **LIKE, **given,
    )  # fmt: skip
    run = fit_material(job, SMALL)
    E = run.metrics["values"]["E"]
    assert E["value"] == pytest.approx(4e3, rel=0.2) and E["low"] < 4e3 < E["high"]


def test_floor_moves_with_its_grid(tmp_path):
    """A plane acts in steps of cells; the object must not see them."""
    job = MaterialJob(motion="none", mesh=block(tmp_path)["mesh"], floor=-0.03, E=1e5, **LIKE)
    body = make_simulator(job, T, 220, LOW[None], None, None)
    sim = body._with({"floor": np.array([-0.026])})
    np.testing.assert_allclose(sim.grid.lower, np.add(body.sim.grid.lower, [0, 0, 0.004]))
    assert sim.grid.shape == body.sim.grid.shape
    assert sim.colliders[0].point == pytest.approx((0, 0, -0.026))
    lowest = [
        body.run({"floor": np.array([z])}, 6)[0].mean(axis=1)[:, 2].min()
        for z in (-0.03, -0.028, -0.026, -0.024)
    ]
    assert (np.diff(lowest) > 0).all()


def test_friction_of_a_floor_is_found(tmp_path):
    """A block that slides on a floor, and is slowed down."""
    job = MaterialJob(
        motion="none", mesh=block(tmp_path)["mesh"], floor=0.0, floor_friction=0.3, E=1e5, **LIKE
    )
    x = moved(job, 220, velocity=[1.5, 0, 0], friction=0.3)
    write_points(tmp_path / "motion.npz", x)
    job = dataclasses.replace(
        job, motion=str(tmp_path / "motion.npz"), floor_friction=0.9,
        find=("friction", "velocity"), out=str(tmp_path / "out"),
    )  # fmt: skip
    values = fit_material(job, SMALL).metrics["values"]
    assert values["friction"]["value"] == pytest.approx(0.3, rel=0.15)
    assert values["velocity x"]["value"] == pytest.approx(1.5, abs=0.03)


def test_a_force_in_newtons_tells_the_density(tmp_path):
    given = block(tmp_path)
    with np.load(tmp_path / "force.npz") as known:
        acceleration = known["acceleration"] + [2.0, 0.0, 0.0]
        mass = np.full(acceleration.shape[1], 1.0 / acceleration.shape[1])
        f = mass[:, None] * acceleration
        np.savez(tmp_path / "force.npz", t=known["t"], x=known["x"], f=f, mass=mass)
    job = MaterialJob(motion="none", E=4e3, **LIKE, **given)
    write_points(tmp_path / "motion.npz", moved(job, density=800.0))  # the force is that for 1000
    job = dataclasses.replace(
        job, motion=str(tmp_path / "motion.npz"), E=2e4, find=("E", "density"),
        out=str(tmp_path / "out"),
    )  # fmt: skip
    values = fit_material(job, SMALL).metrics["values"]
    assert values["density"]["value"] == pytest.approx(800.0, rel=0.03)
    assert values["E"]["value"] == pytest.approx(4e3, rel=0.1)


def test_a_heap_tells_the_friction_angle_of_its_sand(tmp_path):
    """A column that collapses; the search starts where steps alone lead to another end."""
    job = MaterialJob(
        motion="none", mesh=block(tmp_path)["mesh"], material="sand", floor=0.0, E=5e4,
        friction_angle=20.0, **LIKE,
    )  # fmt: skip
    assert "friction_angle" in job.unknowns
    write_points(tmp_path / "motion.npz", moved(job, particles=500))
    job = dataclasses.replace(
        job, motion=str(tmp_path / "motion.npz"), friction_angle=60.0, find=("friction_angle",),
        out=str(tmp_path / "out"),
    )  # fmt: skip
    sand = dataclasses.replace(SMALL, particles=500, coarse=250, finer=1.0)
    angle = fit_material(job, sand).metrics["values"]["friction_angle"]
    assert angle["value"] == pytest.approx(20.0, abs=2.0)


def test_a_velocity_that_is_given_is_no_unknown(tmp_path):
    job = MaterialJob(
        motion="none", mesh=block(tmp_path)["mesh"], velocity=(1.0, 0.0, 0.5), find=("E", "spin")
    )
    x = moved(job, spin=[0.0, 0.0, 0.0])
    way = T[-1] * np.array([1.0, 0.0, 0.5]) - [0, 0, 0.5 * 9.81 * T[-1] ** 2]
    np.testing.assert_allclose((x[-1] - x[0]).mean(axis=0), way, atol=3e-3)
    still = moved(job, velocity=[0.0, 0.0, 0.0], spin=[0.0, 0.0, 0.0])
    assert np.abs((still[-1] - still[0]).mean(axis=0)[:2]).max() < 1e-3


def test_a_held_beam_tells_its_stiffness(tmp_path):
    held = (-0.1, -0.1, -0.1, 0.05, 0.2, 0.2)
    job = MaterialJob(motion="none", mesh=block(tmp_path)["mesh"], hold_box=held, E=3e4, **LIKE)
    assert job.unknowns == ("E", "nu")
    write_points(tmp_path / "motion.npz", moved(job))
    job = dataclasses.replace(
        job, motion=str(tmp_path / "motion.npz"), E=3e5, find=("E",), out=str(tmp_path / "out")
    )
    E = fit_material(job, SMALL).metrics["values"]["E"]
    assert E["value"] == pytest.approx(3e4, rel=0.1)


SCENE = """
gravity = [0, 0, -9.81]
[grid]
lower = [-0.2, -0.2, -0.2]
upper = [0.4, 0.3, 0.3]
dx = 0.05
[time]
fps = 40
frames = 9
[[body]]
name = "block"
shape = "box"
lower = [0, 0, 0]
upper = [0.2, 0.1, 0.1]
spacing = 0.02
seed = SEED
density = 1000
material = {{ type = "elastic", E = STIFF, nu = 0.3 }}
[[collider]]
shape = "box"
center = [-0.02, 0.05, 0.05]
half_size = [0.07, 0.1, 0.1]
contact = "sticky"
"""


def test_a_scene_file_may_say_all_but_the_stiffness(tmp_path):
    for name, seed, stiff in (("true", 1, 3e4), ("guess", 2, 3e5)):
        text = SCENE.replace("{{", "{").replace("}}", "}")
        text = text.replace("SEED", str(seed)).replace("STIFF", str(stiff))
        (tmp_path / f"{name}.toml").write_text(text)
    sim, _ = load_scene(tmp_path / "true.toml").build()
    states = sim.run(frames=len(T) - 1, fps=40.0, progress=False)
    x = [sim.initial_state().x.numpy(), *(state.x.numpy() for state in states)]
    write_points(tmp_path / "motion.npz", np.stack(x).astype(float))
    job = MaterialJob(
        motion=str(tmp_path / "motion.npz"), scene=str(tmp_path / "guess.toml"), find=("E",),
        out=str(tmp_path / "out"),
    )  # fmt: skip
    small = dataclasses.replace(SMALL, particles=300)  # all that the scene has
    E = fit_material(job, small).metrics["values"]["E"]
    assert E["value"] == pytest.approx(3e4, rel=0.1)


# Input


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({}, "motion, video: got neither or both"),
        ({"motion": "a", "find": ("stiffness",)}, "find: got 'stiffness', expected one of E"),
        ({"motion": "a", "find": ("viscosity",)}, "viscosity, which elastic does not have"),
        ({"motion": "a", "find": ("friction",)}, "friction, which needs a --floor"),
        ({"motion": "a", "find": ("E",), "by_part": ("nu",)}, "by_part: got 'nu'"),
        ({"video": ("a",), "model": "m"}, "camera: got 0 for 1 videos"),
        ({"video": ("a",), "camera": ("c",)}, "model: none given"),
    ],
)  # fmt: skip
def test_jobs_that_cannot_be_done_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        MaterialJob(**wrong)


def test_files_that_cannot_be_used_are_refused(tmp_path):
    path, x = tmp_path / "a.npz", np.zeros((8, 5, 3))
    for arrays, sentence in (
        ({"t": np.arange(7), "x": x}, r"got t \(7,\) and x \(8, 5, 3\)"),
        ({"t": np.zeros(8), "x": x}, "t does not rise"),
        ({"t": np.arange(8), "x": x, "visible": np.zeros((8, 5))}, "0 points are seen in frame 0"),
        ({"t": np.arange(8), "x": x, "weights": np.ones((5, 8))}, r"weights is \(5, 8\)"),
        ({"x": x}, "lacks t"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=sentence):
            read_motion(path)
    np.savez(path, t=np.arange(8), x=x[0], acceleration=x[:, :4])
    with pytest.raises(ValueError, match="a force"):
        read_force(path, 0.0)


def test_force_in_newtons_is_per_mass_of_its_own(tmp_path):
    x = np.random.default_rng(0).random((30, 3))
    f = np.tile([0.0, 0.0, 3.0], (5, 30, 1))
    np.savez(tmp_path / "f.npz", t=2 + np.arange(5.0), x=x, f=f, mass=np.full(30, 0.5))
    force = read_force(tmp_path / "f.npz", 2.0)
    assert force.fixed
    np.testing.assert_allclose(
        force.at_particles(x[:7])(1.5), np.tile([0, 0, 6.0], (7, 1)), atol=1e-9
    )


def test_values_by_name():
    unknowns = make_unknowns({"E": [1e3, 1e4], "velocity": [0.0, 0.0, 0.0]}, 0.5, 2.0)
    values = values_of(unknowns, np.array([np.log(2e3), np.log(5e3), 1.0, 0.0, -2.0]))
    np.testing.assert_allclose(values["E"], [2e3, 5e3])
    np.testing.assert_allclose(values["velocity"], [0.25, 0.0, -0.5])
    assert [u.label for u in unknowns][:3] == ["E of part 0", "E of part 1", "velocity x"]


def test_example_finds_a_stiffness(pulled, tmp_path, capsys):
    folder, given, _ = pulled
    words = ["--motion", str(folder / "motion.npz"), "--mesh", given["mesh"], "--force"]
    words += [given["force"], "--E", "4e4", "--find", "E", "--quick", "--particles", "220"]
    words += ["--coarse", "120", "--scan", "6", "--out", str(tmp_path)]
    assert example.main(words) == 0
    assert "E is " in capsys.readouterr().out
    assert example.main([*words[:1], str(tmp_path / "none.npz"), *words[2:]]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_benchmark_prints_errors_and_intervals(capsys, monkeypatch):
    monkeypatch.setattr(material_recovery, "FRAMES", 9)
    words = ["--kinds", "elastic", "--objects", "0", "--particles", "150", "--coarse", "80"]
    material_recovery.main(words)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| elastic")]
    assert [row.split("|")[2].strip() for row in rows] == ["E", "nu"]
    assert float(rows[0].split("|")[3].split()[0]) < 40


@pytest.mark.parametrize("kind", ["viscoplastic", "films"])
def test_benchmark_scenes_are_jobs(kind, tmp_path):
    job = material_recovery.make_scene(kind, 1, 150, tmp_path)
    truth = material_recovery.truth_of(kind, 1)
    assert job.E == pytest.approx(0.1 * truth["E"]) and job.force
    assert len(job.video) == (2 if kind == "films" else 0)
