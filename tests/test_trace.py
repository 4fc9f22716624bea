"""TRACE: the model, its training, and examples/trace_future_frames.py as its users run it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from helpers import PATIENCE, wait_for
from tiny_scene import cameras, figure, write_frames

from inverse.commands import trace
from inverse.trace import PRESETS, TraceConfig, TraceJob, TraceRun, TraceTrainer, ranks
from inverse.trace.learn import first_model
from inverse.trace.model import quaternion_product
from inverse.trace.photographs import check_training, load_photographs
from inverse.trace.report import motion_rows
from renderers.datasets import views as dataset_views
from renderers.splats.gaussians import Gaussians
from taichi_phys.rotations import rotation_matrix


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import trace_future_frames  # noqa: E402


VELOCITY = torch.tensor([0.0, 0.0, 0.8])  # of the second blob, m/s
TIMES = [0.0, 0.2, 0.4, 0.6]
CONFIG = TraceConfig(gaussians=120, iterations=30, sh_degree=0, relocate_every=10)


def scene_at(t: float) -> Gaussians:
    """The figure, whose second blob rises."""
    still = figure()
    means = still.means.clone()
    means[1] += t * VELOCITY
    return dataclasses.replace(still, means=means)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rising")
    for split, count, azimuth, times in (
        ("train", 4, 0.0, TIMES), ("val", 1, 22.0, TIMES[1:3]), ("test", 1, 22.0, [0.8]),
    ):  # fmt: skip
        frames = [
            (f"v{k}_t{i}", camera, scene_at(t), t)
            for k, camera in enumerate(cameras(count, azimuth=azimuth))
            for i, t in enumerate(times)
        ]
        write_frames(path, split, frames)
    return path


def make_trainer(folder, config=CONFIG, **options):
    frames = load_photographs(str(folder), "train")
    times, frame_dt = check_training(str(folder), frames)
    job = TraceJob(data=str(folder))
    model = first_model(job, config, frames, times[-1], frame_dt)
    return TraceTrainer(model, frames, config, **options)


def test_training_learns_the_motion(folder):
    trainer = make_trainer(folder, dataclasses.replace(CONFIG, iterations=500, gaussians=400))
    trainer.run()
    model = trainer.model
    with torch.no_grad():
        now, later = model.tensors_at(0.6), model.tensors_at(0.8)
        solid = now["opacities"] > 0.1
        near = (now["means"] - torch.tensor([0.5, 0.0, 0.2 + 0.6 * 0.8])).norm(dim=1) < 0.2
        moved = (later["means"] - now["means"])[near & solid]
    assert len(moved) > 0  # how many Gaussians show it depends on the machine's rounding
    assert (moved.median(dim=0).values - 0.2 * VELOCITY).norm() < 0.05


def test_older_runs_say_whether_they_have_a_deformation():
    assert [TraceConfig(deformation=old).deformation for old in (True, False)] == ["mlp", "none"]


@pytest.mark.parametrize("deformation", ["mlp", "planes"])
def test_deformation_and_dynamics_start_from_rest(deformation, folder):
    model = make_trainer(folder, dataclasses.replace(CONFIG, deformation=deformation)).model
    still, at = model.gaussians.tensors(), model.tensors_at(0.4)
    for name in still:
        torch.testing.assert_close(still[name], at[name])


def test_coupling_is_that_of_the_paper(folder):
    """Positions: straight to the deformation and the canonical means, as if the path were a shift;
    through the path to the dynamics, from a start without a gradient."""
    trainer = make_trainer(folder)
    model = trainer.model
    for network in (model.deformation, model.dynamics):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    at = model.tensors_at(0.6, source=0.2)
    dx, *_ = model.deformed(0.2)
    start = (model.gaussians.means + dx).detach()
    end, _ = model.motion(start, 0.2).carry(start, torch.eye(4)[:1].repeat(120, 1), 0.4, 0.1, 2)
    torch.testing.assert_close(at["means"], end)
    assert (end - start).norm(dim=1).min() > 1e-3
    weights = torch.randn(120, 3)
    (means_grad,) = torch.autograd.grad(
        (at["means"] * weights).sum(), model.gaussians.means, retain_graph=True
    )
    torch.testing.assert_close(means_grad, weights)
    ours = torch.autograd.grad((at["means"] * weights).sum(), [*model.deformation.parameters()][-1])
    straight = torch.autograd.grad((dx * weights).sum(), [*model.deformation.parameters()][-1])
    torch.testing.assert_close(ours, straight)
    apart = model.tensors_at(0.6, source=0.2, follow=False)["means"]
    grads = torch.autograd.grad(
        (apart * weights).sum(), [model.gaussians.means, *model.dynamics.parameters()],
        allow_unused=True,
    )  # fmt: skip
    assert grads[0] is None or not grads[0].any()
    assert any(grad is not None and grad.any() for grad in grads[1:])


def test_orientation_is_carried_along(folder):
    """The turn of the path comes after that of the deformation, which comes after the canonical."""
    model = make_trainer(folder).model
    torch.nn.init.normal_(model.deformation.head.bias, std=0.3)
    rate = torch.tensor([0.3, -0.2, 0.9])

    def spinning(x, t):
        zero = torch.zeros_like(x)
        return zero, zero, rate.expand_as(x), zero

    model.dynamics.forward = spinning
    quats = model.tensors_at(0.5, source=0.2)["quats"].detach()
    _, dq, *_ = model.deformed(0.2)
    angle = 0.3 * rate.norm()
    turn = torch.cat([torch.cos(angle / 2)[None], torch.sin(angle / 2) * rate / rate.norm()])
    R = rotation_matrix
    expected = R(turn[None]) @ R(dq) @ R(model.gaussians.quats)
    torch.testing.assert_close(R(quats), expected.detach(), atol=1e-5, rtol=0)


def test_quaternion_product_composes_rotations():
    p, q = torch.randn(5, 4), torch.randn(5, 4)
    R = rotation_matrix
    torch.testing.assert_close(R(quaternion_product(p, q)), R(p) @ R(q), atol=1e-5, rtol=0)


def test_what_stands_still_is_frozen(folder):
    model = make_trainer(folder).model

    def rising(x, t):
        shift = torch.zeros_like(x)
        shift[:, 2] = torch.where(x[:, 2] > 0, 0.5 * t, 0.001 * t) + 0.002
        return shift, torch.tensor([1.0, 0, 0, 0]).expand(len(x), 4), torch.zeros_like(x)

    model.deformation.forward = rising
    model.dynamics = None
    upper = model.gaussians.means[:, 2] > 0
    before = {t: model.tensors_at(t)["means"].detach() for t in (0.0, 0.6)}
    assert model.find_static() == int((~upper).sum()) and torch.equal(model.moving, upper)
    after = {t: model.tensors_at(t)["means"].detach() for t in (0.0, 0.6)}
    torch.testing.assert_close(before[0.0], after[0.0])
    torch.testing.assert_close(before[0.6][upper], after[0.6][upper])
    assert torch.equal(after[0.0][~upper], after[0.6][~upper])


def test_what_stands_still_is_looked_for_once(folder, tmp_path):
    """Also where nothing does, and in a training that goes on."""
    config = dataclasses.replace(CONFIG, freeze=0.5)
    looks = []

    def trainer():
        made = make_trainer(folder, config, checkpoint=tmp_path / "trace.pt")
        made.model.find_static = lambda: looks.append(made.iteration)
        return made

    first = trainer()
    for first.iteration in range(20):
        first.step()
    first.save()
    again = trainer()
    again.resume()
    again.run()
    assert looks == [15]


def test_resumed_training_ends_like_an_uninterrupted_one(folder, tmp_path):
    whole = make_trainer(folder)
    whole.run()
    part = make_trainer(folder, checkpoint=tmp_path / "trace.pt")
    steps = part.step

    def interrupted():
        if part.iteration == 17:
            raise KeyboardInterrupt
        return steps()

    part.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        part.run()
    rest = make_trainer(folder, checkpoint=tmp_path / "trace.pt")
    rest.resume()
    assert rest.iteration == 17
    rest.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name


def test_the_curriculum_begins_with_the_first_times(folder):
    trainer = make_trainer(folder, dataclasses.replace(CONFIG, iterations=400))

    def latest(progress):
        return max(trainer.train.times[trainer._photograph(k, progress)] for k in range(64))

    assert latest(0.01) == 0.0
    assert 0.0 < latest(0.15) < 0.6
    assert latest(0.5) == 0.6


def test_every_step_has_something_to_learn(folder):
    """From where the sources and the times meet, too: without a hop the deformation learns."""
    trainer = make_trainer(folder, dataclasses.replace(CONFIG, from_last=1.0, direct=0.0))
    seen = set()
    for trainer.iteration in range(200):
        source, follow = trainer._source(0.6, trainer.generator(0), 0.9)
        seen.add((round(source, 6), follow))
    assert seen == {(0.6, True), (0.4, True)}


SMALL = ["--gaussians", "120", "--iterations", "30", "--sh-degree", "0", "--preset", "laptop"]


def run_example(folder, out, *more):
    arguments = ["--data", str(folder), "--out", str(out), *SMALL, *more]
    return trace_future_frames.main(arguments)


def test_example_leaves_a_complete_folder(folder, tmp_path, monkeypatch):
    """And the future is not looked at before the training has ended."""
    read, load, ended = [], dataset_views.View.load, []
    run = TraceTrainer.run

    def recorded(view):
        read.append((view.name, bool(ended)))
        return load(view)

    def run_and_note(trainer):
        run(trainer)
        ended.append(True)

    monkeypatch.setattr(dataset_views.View, "load", recorded)
    monkeypatch.setattr(TraceTrainer, "run", run_and_note)
    out = tmp_path / "out"
    assert run_example(folder, out, "--future", "0.5") == 0
    held_out = [late for name, late in read if "train" not in name]
    assert len(held_out) == 3 and all(held_out)
    assert sum("train" in name for name, _ in read) == 16
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"interpolation", "extrapolation", "segmentation", "seconds", "gaussians"} <= set(
        metrics
    )
    assert set(metrics["extrapolation"]) == {"psnr", "ssim", "lpips", "pmf"}
    assert metrics["interpolation"]["pmf"] > 0 and metrics["extrapolation"]["pmf"] is None
    assert metrics["gaussians"] == 120 and metrics["interpolation"]["psnr"] > 12
    assert sorted(p.name for p in (out / "renders" / "val").iterdir()) == ["v0_t0.png", "v0_t1.png"]
    assert [p.name for p in (out / "renders" / "test").iterdir()] == ["v0_t0.png"]
    motion = json.loads((out / "motion.json").read_text())
    assert motion["time"] == 0.6 and all(
        {"centre", "velocity", "spread"} <= set(part) for part in motion["parts"]
    )
    with np.load(out / "parts.npz") as record:
        labels = record["labels"]
    assert labels.shape == (120,) and labels.min() >= 0
    assert set(labels) - {0} == {part["label"] for part in motion["parts"]}
    report = (out / "report.html").read_text("utf-8")
    assert "What happens next?" in report and "data:video/mp4;base64," in report
    assert "up to t = 0.6 s as observed" in report
    assert json.loads((out / "config.json").read_text())["trace"]["gaussians"] == 120


def test_a_run_is_not_resumed_with_other_photographs_and_nothing_is_lost(folder, tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    assert run_example(folder, out) == 0
    write_until(other, 0.4)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run_example(other, out, "--resume") == 2
    assert "made with other settings or other input" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("deformation", ["mlp", "planes"])
def test_an_update_that_is_killed_at_once_goes_on(deformation, tmp_path, monkeypatch):
    """The checkpoint of the finished run is replaced by that of the update, and never missing."""
    early, late, out = tmp_path / "early", tmp_path / "late", tmp_path / "out"
    write_until(early, 0.4)
    write_until(late, 0.6)
    assert run_example(early, out, "--deformation", deformation) == 0

    def killed(trainer):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TraceTrainer, "run", killed)
        assert trace.main(["--data", str(late), "--out", str(out), "--update"]) == 130
    assert trace.main(["--data", str(late), "--out", str(out), "--update", "--resume"]) == 0
    run = TraceRun.load(out)
    assert run.model.duration == pytest.approx(0.6) and run.metrics["iterations"] == 6


def write_until(path, last):
    """The rising scene up to a time, seen by four cameras."""
    frames = [
        (f"v{k}_t{i}", camera, scene_at(t), t)
        for k, camera in enumerate(cameras(4))
        for i, t in enumerate(TIMES)
        if t <= last
    ]
    write_frames(path, "train", frames)


def test_a_run_goes_on_with_later_photographs(tmp_path, capsys):
    """The update keeps what was learned, takes fewer steps, and knows later times."""
    early, late, out = tmp_path / "early", tmp_path / "late", tmp_path / "out"
    write_until(early, 0.4)
    write_until(late, 0.6)
    steps = ["--iterations", "500", "--gaussians", "400", "--sh-degree", "0", "--future", "0.1"]
    steps += ["--light", "off"]  # so few steps do not find both motion and brightness
    assert trace.main(["--data", str(early), "--out", str(out), *steps]) == 0
    first = TraceRun.load(out)
    assert trace.main(["--data", str(early), "--out", str(out), "--update"]) == 2
    assert "expected some after 0.4 s" in capsys.readouterr().err
    assert trace.main(["--data", str(late), "--out", str(out), "--update", "--future", "0.2"]) == 0
    run = TraceRun.load(out)
    assert run.metrics["iterations"] <= 100 and run.times == TIMES
    assert run.config == first.config and run.job.future == 0.2
    assert first.model.duration == pytest.approx(0.4) and run.model.duration == pytest.approx(0.6)
    with torch.no_grad():
        now, later = run.model.tensors_at(0.6), run.model.tensors_at(0.8)
        solid = now["opacities"] > 0.1
        near = (now["means"] - torch.tensor([0.5, 0.0, 0.2 + 0.6 * 0.8])).norm(dim=1) < 0.2
        moved = (later["means"] - now["means"])[near & solid]
    assert len(moved) > 0  # how many Gaussians show it depends on the machine's rounding
    assert (moved.median(dim=0).values - 0.2 * VELOCITY).norm() < 0.06


def test_numbers_of_a_column_have_the_same_decimals():
    part = {
        "label": 2, "centre": [1.5, -0.0004, 0.25], "velocity": [0.1234, 1e-5, -0.02],
        "acceleration": [123.4, 0.0, -1.0], "angular_speed": 3.14159, "axis": [0.0, 0.6, -0.8],
        "spread": {"velocity": [0.011, 0.0012, 0.2], "acceleration": 12.0},
    }  # fmt: skip
    still = part | {
        "label": 3, "centre": [0.0] * 3, "velocity": [0.0] * 3, "angular_speed": 0.0, "axis": None,
        "spread": {"velocity": [0.03, 0.03, 0.03], "acceleration": 1.0},
    }  # fmt: skip
    assert motion_rows([part, still]) == [
        [2, "1.50 0.00 0.25", "0.123 0.000 -0.020 (0.01 0.00 0.20)", "123 0 -1 (12)", "3.14",
         "0.00 0.60 -0.80"],
        [3, "0.00 0.00 0.00", "0.000 0.000 0.000 (0.03)", "123 0 -1 (1)", "0.00", None],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "flags",
    [
        ["--dynamics", "rigid"],
        ["--dynamics", "velocity"],
        ["--dynamics", "none"],
        ["--deformation", "none"],
        ["--deformation", "planes"],
        ["--rk", "1", "--no-white-background"],
    ],
)
def test_ablations_run(flags, folder, tmp_path):
    assert run_example(folder, tmp_path / "out", *flags, "--iterations", "6") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["extrapolation"]["psnr"] > 5
    for name in ("motion.json", "parts.npz"):
        assert (tmp_path / "out" / name).exists() == (flags != ["--dynamics", "none"])


def test_labels_of_an_earlier_run_do_not_stay(folder, tmp_path, monkeypatch):
    def stopped(trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr(TraceTrainer, "run", stopped)
    np.savez(tmp_path / "parts.npz", labels=np.zeros(120, int))
    assert run_example(folder, tmp_path) == 130
    assert not (tmp_path / "parts.npz").exists()


def settings(words):
    return trace.settings(trace.make_parser().parse_args(words))


def test_presets_are_settings():
    for preset in PRESETS.values():
        TraceConfig(**preset)
    assert settings(["--preset", "paper"])[1].dynamics_size == "full"
    run, config = settings([])
    assert Path(run.data).name == "rotor_puck" and config.dynamics_size == "small"


def edited(folder, tmp_path, change, split="train"):
    """A copy of the data whose transforms have been changed."""
    copy = tmp_path / "data"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path)
    name = f"transforms_{split}.json"
    record = json.loads((folder / name).read_text())
    change(record["frames"])
    (copy / name).unlink()
    (copy / name).write_text(json.dumps(record))
    return copy


def without_time(frames):
    del frames[3]["time"]


def one_view(frames):
    frames[:] = frames[: len(TIMES)]


def no_frames(frames):
    frames.clear()


def bad_pose(frames):
    frames[2]["transform_matrix"][0][3] = float("nan")


def two_times(frames):
    frames[:] = [frame for frame in frames if frame["time"] < 0.3]


@pytest.mark.parametrize(
    "change, message",
    [
        (without_time, "1 frames of train have no time (first "),
        (one_view, "shows the scene from one place only"),
        (no_frames, "frames"),
        (bad_pose, "transform_matrix"),
        (two_times, "train has 2 times, expected at least 3"),
    ],
)
def test_bad_data_is_named(change, message, folder, tmp_path, capsys):
    data = edited(folder, tmp_path, change)
    assert run_example(data, tmp_path / "out") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_images_of_two_sizes_are_named(folder, tmp_path, capsys):
    def other_size(frames):
        frames[1] |= {"w": 20, "h": 20}

    assert run_example(edited(folder, tmp_path, other_size), tmp_path / "out") == 2
    printed = capsys.readouterr().err
    assert "20" in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--parts", "0"], "parts: got 0"),
        (["--future", "-1"], "future: got -1"),
        (["--minutes", "0"], "minutes: got 0"),
        (["--batch", "0"], "batch: got 0"),
        (["--dynamics", "none", "--deformation", "none"], "dynamics: got 'none'"),
    ],
)
def test_bad_flags_are_named(flags, message, folder, tmp_path, capsys):
    assert run_example(folder, tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def example_command(folder, out, *more):
    script = str(ROOT / "examples" / "trace_future_frames.py")
    return [*TORCHRUN, script, "--data", str(folder), "--out", str(out), *SMALL, *more]


@pytest.mark.parametrize(
    ("gpus", "processes", "visible", "expected"),
    [(4, 2, None, "1"), (2, 2, "6,3", "3"), (1, 2, None, None), (0, 2, None, None),
     (4, 1, None, None)],
)  # fmt: skip
def test_each_process_sees_its_own_gpu(gpus, processes, visible, expected, monkeypatch):
    """The second process on a machine; too few GPUs are left as they are."""
    monkeypatch.setattr(ranks, "_owns_gpu", False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_RANK", "1" if processes > 1 else "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    ranks.own_gpu()
    assert (os.environ["CUDA_VISIBLE_DEVICES"] or None) == expected
    assert ranks._owns_gpu == (expected is not None)


def test_two_processes_equal_one_with_the_same_batch(folder, tmp_path):
    done = subprocess.run(
        example_command(folder, tmp_path / "two"), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert run_example(folder, tmp_path / "one", "--batch", "2") == 0
    two, one = (
        torch.load(tmp_path / name / "checkpoints" / "trace.pt", weights_only=True)["state"]
        for name in ("two", "one")
    )
    assert two["iteration"] == one["iteration"] == 30
    # Sums differ in their rounding, and Adam makes steps of one size of gradients that are all
    # rounding (the orientation of round Gaussians): positions may differ a little, by far less
    # than the 2e-3 of one step.
    torch.testing.assert_close(
        one["model"]["gaussians.means"], two["model"]["gaussians.means"], rtol=0, atol=1e-4
    )
    names = [path.name for path in (tmp_path / "one" / "renders" / "val").iterdir()]
    assert names
    for name in names:
        a, b = (
            iio.imread(tmp_path / run / "renders" / "val" / name).astype(float)
            for run in ("one", "two")
        )
        assert a.std() > 20 and np.abs(a - b).mean() < 0.5


def test_a_killed_process_ends_the_training_with_a_message(folder, tmp_path):
    out = tmp_path / "out"
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        example_command(folder, out, "--iterations", "100000"), stderr=log, stdout=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        checkpoint = out / "checkpoints" / "trace.pt"
        wait_for(checkpoint.exists, process)
        ranks = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert len(ranks) == 2
        os.kill(int(ranks[1]), signal.SIGKILL)
        assert process.wait(timeout=PATIENCE) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    printed = (tmp_path / "log").read_text()
    assert "another process of this training has ended" in printed
    state = torch.load(checkpoint, weights_only=True)["state"]
    assert state["iteration"] >= 1
