"""Folders of runs: each gives back what was written, wherever it is now, or says what is wrong."""

import dataclasses
import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_scene import cameras, figure, write_frames

from inverse.fitting import FitConfig, FitJob, FitRun, fit_splats
from inverse.opening import open_run
from inverse.runs import RunFolder, clock
from inverse.runs.checkpoint import Resumable
from inverse.runs.settings import as_plain, check_settings, from_record, option, setting
from inverse.simulation import SceneJob, SceneRun, run_scene
from inverse.trace import TraceConfig, TraceJob, TraceRun, learn_motion
from inverse.trace.results import find_parts
from inverse.wind import WindConfig, WindJob, WindRun, recover_wind


ROOT = Path(__file__).resolve().parent.parent


def wind_of(folder: Path) -> WindRun:
    clip = folder / "clip"
    shutil.copytree(ROOT / "assets" / "leaf", clip)
    job = WindJob(
        video=(str(clip / "video.mp4"),), camera=(str(clip / "camera.json"),),
        mask=str(clip / "mask_000.png"), depth=str(clip / "depth_000.png"), out=str(folder / "run"),
        frames=5, cells=8, keypoints=40, splat_iterations=2,
    )  # fmt: skip
    return recover_wind(job, WindConfig(iterations=2, resolution=4, channels=4, hidden=8))


def trace_of(folder: Path) -> TraceRun:
    frames = [
        (f"v{k}_t{i}", camera, dataclasses.replace(figure(), means=figure().means + 0.5 * t), t)
        for k, camera in enumerate(cameras(3))
        for i, t in enumerate((0.0, 0.2, 0.4))
    ]
    write_frames(folder / "data", "train", frames)
    write_frames(folder / "data", "test", frames[:1])
    job = TraceJob(data=str(folder / "data"), out=str(folder / "run"), parts=1, future=0.0)
    config = TraceConfig(gaussians=80, iterations=20, sh_degree=1, deformation_width=16)
    return learn_motion(job, config)


def fit_of(folder: Path) -> FitRun:
    frames = [(f"r_{k}", camera, figure(), None) for k, camera in enumerate(cameras(4))]
    write_frames(folder / "data", "train", frames[:3])
    write_frames(folder / "data", "test", frames[3:])
    job = FitJob(data=str(folder / "data"), out=str(folder / "run"), turntable=2)
    return fit_splats(job, FitConfig(gaussians=60, iterations=10, sh_degree=1))


SCENE = """
[grid]
lower = [0, 0, 0]
upper = [1.0, 1.0, 1.0]
dx = 0.125
[[body]]
shape = "sphere"
center = [0.5, 0.5, 0.5]
radius = 0.15
count = 60
material = "sand"
[[force]]
type = "drag"
rate = 1.0
air = [[1.0, 0.0, 0.0], {type = "noise", scale = 0.2, speed = 1.0}]
[output]
video = false
"""


def scene_of(folder: Path) -> SceneRun:
    (folder / "scene").mkdir()
    path = folder / "scene" / "fall.toml"
    path.write_text(SCENE)
    return run_scene(SceneJob(scene=str(path), out=str(folder / "run"), frames=2))


MAKERS = {"wind": wind_of, "trace": trace_of, "fit": fit_of, "scene": scene_of}
SOURCES = {"wind": "clip", "trace": "data", "fit": "data", "scene": "scene"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A small finished run of each kind, made when it is asked for: (what was returned, its
    folder, from which the photographs or the video are gone)."""
    made = {}

    def of(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            run = MAKERS[kind](folder)
            shutil.move(folder / "run", folder / "moved")
            shutil.rmtree(folder / SOURCES[kind])
            made[kind] = run, folder / "moved"
        return made[kind]

    return of


def same(one, two) -> bool:
    """Whether values of a run are equal: settings, arrays, tensors, cameras, lists of them."""
    if isinstance(one, torch.nn.Module):
        one, two = one.state_dict(), two.state_dict()
    if dataclasses.is_dataclass(one):
        one, two = ({f.name: getattr(v, f.name) for f in dataclasses.fields(v)} for v in (one, two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, np.ndarray | torch.Tensor):
        return np.array_equal(np.asarray(one), np.asarray(two))
    return one == two


@pytest.mark.parametrize("kind", MAKERS)
def test_a_moved_run_without_its_sources_is_what_was_returned(kind, runs):
    run, folder = runs(kind)
    loaded = type(run).load(folder)
    assert loaded.folder == folder
    for field in dataclasses.fields(run):
        one, two = getattr(run, field.name), getattr(loaded, field.name)
        if kind == "fit" and field.name == "gaussians":  # float32 logarithms in the file
            for a, b in zip(one.tensors().values(), two.tensors().values(), strict=True):
                torch.testing.assert_close(a, b)
        elif field.name == "frames":
            np.testing.assert_allclose([f.time for f in two], np.arange(3) / 24)
            np.testing.assert_allclose(two[2].x, loaded.state.x)
        elif field.name == "scene":
            assert one.settings() == two.settings()
        elif field.name != "folder":
            assert same(one, two), field.name
    assert type(open_run(folder)) is type(run)


def test_the_clip_is_that_of_the_video_or_of_the_film(runs, tmp_path):
    run, folder = runs("wind")
    film = WindRun.load(folder).clip()
    assert film.shape[0] == 5 and film.shape[3] == 3
    job = dataclasses.replace(run.job, video=(str(ROOT / "assets" / "leaf" / "video.mp4"),))
    clip = dataclasses.replace(run, job=job).clip()
    assert clip.shape == (5, 384, 384, 3)
    difference = np.abs(film[:, -384:, :384].astype(float) - clip).mean()
    assert difference < 4  # as far as its compression goes
    moved = Path(shutil.copytree(folder, tmp_path / "run"))
    (moved / "video.mp4").unlink()
    assert WindRun.load(moved).clip() is None


def test_the_field_of_a_run_gives_its_forces(runs):
    run, folder = runs("wind")
    field = WindRun.load(folder).field()
    mass = torch.as_tensor(run.mass, dtype=torch.float32)
    for step in (0, 3):
        x = torch.as_tensor(run.x[step], dtype=torch.float32)
        force = field(x, step / run.fps, torch.zeros_like(x), mass)
        state = RunFolder(folder).read_checkpoint("force.pt")
        torch.testing.assert_close(force, state["forces"][step], rtol=1e-4, atol=1e-9)


def test_a_learned_model_moves_as_before_and_has_the_same_parts(runs):
    run, folder = runs("trace")
    loaded = TraceRun.load(folder)
    assert not any(p.requires_grad for p in loaded.model.parameters())
    for t in (0.0, 0.4, 0.6):
        one, two = run.model.tensors_at(t), loaded.model.tensors_at(t)
        assert all(torch.equal(one[name].detach(), two[name]) for name in one)
    labels, motion = find_parts(loaded.model, loaded.times, loaded.job.parts, loaded.job.seed)
    assert np.array_equal(labels, run.labels) and as_plain(motion) == run.motion


def test_a_training_that_was_stopped_can_be_looked_at(runs, tmp_path):
    folder = shutil.copytree(runs("trace")[1], tmp_path / "run")
    for name in ("parts.npz", "motion.json", "metrics.json", "video.mp4", "report.html"):
        (folder / name).unlink()
    run = open_run(folder)
    assert run.labels is None and run.motion is None and run.metrics == {}
    assert len(run.cameras) == 9 and run.times == [0.0, 0.2, 0.4]


FILES = {
    "wind": ("config.json", "forces.npz", "cameras.json", "metrics.json"),
    "trace": ("config.json", "checkpoints/trace.pt", "cameras.json", "parts.npz", "motion.json",
              "metrics.json"),
    "fit": ("config.json", "gaussians.ply", "cameras.json", "metrics.json"),
    "scene": ("config.json", "checkpoints/state.npz", "frames/frames.json", "metrics.json"),
}  # fmt: skip
NEEDED = {
    "wind": ("forces.npz", "cameras.json"), "trace": ("checkpoints/trace.pt", "cameras.json"),
    "fit": ("gaussians.ply", "cameras.json"), "scene": ("checkpoints/state.npz",),
}  # fmt: skip


def refused(folder, kind, name):
    """The sentence that says what is wrong with a file of a run."""
    with pytest.raises(ValueError) as error:
        kind.load(folder)
    sentence = str(error.value)
    assert "\n" not in sentence and Path(name).name in sentence
    return sentence


@pytest.mark.parametrize("kind, name", [(k, name) for k, names in FILES.items() for name in names])
@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b'{"run": {', b"[1, 2]"])
def test_damaged_files_are_refused_in_a_sentence(kind, name, damage, runs, tmp_path):
    run, folder = runs(kind)
    folder = shutil.copytree(folder, tmp_path / "run")
    (folder / name).write_bytes(damage)
    refused(folder, type(run), name)


@pytest.mark.parametrize("kind, name", [(k, name) for k, names in FILES.items() for name in names])
def test_files_that_are_cut_off_are_refused_in_a_sentence(kind, name, runs, tmp_path):
    run, folder = runs(kind)
    folder = shutil.copytree(folder, tmp_path / "run")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    refused(folder, type(run), name)


@pytest.mark.parametrize("kind, name", [(k, name) for k, names in NEEDED.items() for name in names])
def test_what_is_missing_is_named(kind, name, runs, tmp_path):
    run, folder = runs(kind)
    folder = shutil.copytree(folder, tmp_path / "run")
    (folder / name).unlink()
    assert "there is no such file" in refused(folder, type(run), name)


@pytest.mark.parametrize("kind", MAKERS)
def test_settings_of_another_version_are_named(kind, runs, tmp_path):
    run, folder = runs(kind)
    folder = shutil.copytree(folder, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    key = next(key for key in type(run).KEYS if key != "run")
    wrong = ({"iterations": -1}, "iterations: got -1")
    if kind == "scene":
        wrong = ({"time": {"frames": 3, "wings": 1}}, "another version")
    for change, message in (({"wings": 3}, "another version"), wrong):
        changed = config | {key: config[key] | change}
        (folder / "config.json").write_text(json.dumps(changed))
        assert message in refused(folder, type(run), "config.json")
    (folder / "config.json").write_text(json.dumps({"run": config["run"]}))
    assert f"lacks the key {key!r}" in refused(folder, type(run), "config.json")


def test_labels_of_other_gaussians_are_refused(runs, tmp_path):
    run, folder = runs("trace")
    folder = shutil.copytree(folder, tmp_path / "run")
    for labels in (np.arange(7), np.arange(80) / 2, np.arange(80) - 1):
        np.savez(folder / "parts.npz", labels=labels)
        assert "expected 80 whole numbers" in refused(folder, TraceRun, "parts.npz")


def test_forces_that_do_not_fit_are_refused(runs, tmp_path):
    run, folder = runs("wind")
    folder = shutil.copytree(folder, tmp_path / "run")
    arrays = {"t": run.t, "x": run.x[:, 1:], "f": run.force, "mass": run.mass, "gravity": [0, 0, 0]}
    np.savez(folder / "forces.npz", **arrays)
    assert "do not fit" in refused(folder, WindRun, "forces.npz")


@pytest.mark.parametrize("text", [None, "{}", '{"run": {}}', "[]", "no"])
def test_other_folders_are_no_runs(text, tmp_path):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json") as error:
        open_run(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"not the folder of a run"):
        open_run(tmp_path / "nowhere")


# Beginning and resuming


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Settings for the tests below."""

    count: int = option(3, "how many", low=1, high=9)
    share: float = setting(0.5, above=0, high=1)
    size: float = setting(1.0, low=0)
    out: str = setting("there")
    box: tuple[float, float] | None = setting(None)
    names: tuple[str, ...] = setting(())
    law: str = setting("one", choices=("one", "two"))
    on: bool = setting(True)

    def __post_init__(self):
        check_settings(self)


KEPT = {"results": ("a.npz", "b.json"), "checkpoints": ("c.pt",), "free": ("run.out",)}


def begun(tmp_path):
    """A folder with a finished run."""
    folder = RunFolder(tmp_path)
    folder.begin({"run": Job()}, **KEPT)
    folder.write_npz("a.npz", x=np.arange(3))
    folder.write_json("b.json", {"x": (1, math.nan)})
    folder.checkpoint("c.pt").parent.mkdir()
    folder.checkpoint("c.pt").write_text("state")
    (folder / "mine.txt").write_text("not of the run")
    return folder


def names(folder):
    return sorted(path.name for path in folder.path.rglob("*") if path.is_file())


def test_a_new_run_removes_what_an_earlier_one_left(tmp_path):
    folder = begun(tmp_path)
    folder.begin({"run": Job(count=4)}, **KEPT)
    assert names(folder) == ["config.json", "mine.txt"]
    assert folder.settings(Job, "run") == Job(count=4)


def test_a_resumed_run_keeps_everything(tmp_path):
    folder = begun(tmp_path)
    before = names(folder)
    folder.begin({"run": Job(out="elsewhere")}, resume=True, **KEPT)
    assert names(folder) == before and folder.settings(Job, "run").out == "elsewhere"
    assert np.array_equal(folder.read_npz("a.npz", "x")[0], np.arange(3))
    assert folder.read_json("b.json") == {"x": [1, None]}


def test_other_settings_cannot_be_resumed_and_nothing_is_lost(tmp_path):
    folder = begun(tmp_path)
    before = names(folder)
    with pytest.raises(
        ValueError, match=r"cannot resume, because count, share changed; run without"
    ):
        folder.begin({"run": Job(count=4, share=0.1, out="x")}, resume=True, **KEPT)
    assert names(folder) == before and folder.settings(Job, "run") == Job()
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json: there is no such file"):
        folder.begin({"run": Job()}, resume=True, **KEPT)


class Work(Resumable):
    """Work with one number as its state, made from an input."""

    device = torch.device("cpu")

    def __init__(self, checkpoint, made_from="x"):
        self.checkpoint, self.made_from, self.hashed, self.n = checkpoint, made_from, 0, 3

    def fingerprint(self):
        self.hashed += 1
        return self.made_from

    def state(self):
        return {"n": self.n}

    def load_state(self, state):
        self.n = state["n"]


def test_work_from_other_input_cannot_be_resumed_and_nothing_is_lost(tmp_path):
    folder = begun(tmp_path)
    work = Work(folder.checkpoint("c.pt"))
    work.n = 5
    work.save()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = Work(folder.checkpoint("c.pt"), "y")
    with pytest.raises(ValueError, match="made with other settings or other input"):
        folder.begin({"run": Job(out="x")}, resume=True, work=other, **KEPT)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    same_input = Work(folder.checkpoint("c.pt"))
    folder.begin({"run": Job(out="x")}, resume=True, work=same_input, **KEPT)
    assert same_input.n == 5 and folder.settings(Job, "run").out == "x"


def test_what_was_never_begun_is_begun(tmp_path):
    folder = RunFolder(tmp_path / "new")
    folder.begin({"run": Job()}, resume=True, **KEPT)
    assert names(folder) == ["config.json"]


def test_cameras_are_given_back(tmp_path):
    folder, views = RunFolder(tmp_path), cameras(3)
    folder.write_cameras(views, times=[0.0, 0.1, 0.2])
    found, more = folder.read_cameras()
    assert same(views, found) and more == {"times": [0.0, 0.1, 0.2]}
    record = folder.read_json("cameras.json")
    record["cameras"][1]["fx"] = -1
    folder.write_json("cameras.json", record)
    with pytest.raises(ValueError, match=r"cameras\.json: damaged .*fx: got -1"):
        folder.read_cameras()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"count": 0}, "count: got 0, expected 1 to 9"),
        ({"count": 1.5}, "count: got 1.5, expected a whole number"),
        ({"share": 0}, r"share: got 0, expected a number in \(0, 1\]"),
        ({"size": -1}, "size: got -1, expected at least 0"),
        ({"size": math.nan}, "size: got nan, expected a finite number"),
        ({"out": 3}, "out: got 3, expected a text"),
        ({"box": (1.0,)}, r"box: got \(1.0,\), expected 2 values"),
        ({"box": (1.0, "x")}, "box: got 'x', expected a finite number"),
        ({"names": "abc"}, "names: got 'abc', expected several values"),
        ({"law": "three"}, "law: got 'three', expected one of one, two"),
        ({"on": 1}, "on: got 1, expected true or false"),
    ],
)
def test_settings_are_held_to_their_limits(change, message):
    with pytest.raises(ValueError, match=message):
        Job(**change)


def test_settings_are_given_back_by_json():
    job = Job(box=(1.0, 2.0), names=("a", "b"), law="two", on=False)
    assert from_record(Job, json.loads(json.dumps(as_plain(job)))) == job


def test_inputs_are_hashed_once(tmp_path):
    work = Work(tmp_path / "work.pt")
    for _ in range(3):
        work.save()
    work.resume()
    assert work.n == 3 and work.hashed == 1


def test_a_long_wait_is_said_with_what_shortens_it(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])

    def walk(seconds: float) -> int:
        steps = 0
        for _ in clock.warned_if_long(range(103), "force", "--every 2"):
            now[0] += seconds
            steps += 1
        return steps

    with pytest.warns(UserWarning, match="force: about 17 minutes are left; --every 2"):
        assert walk(10.0) == 103
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert walk(5.0) == 103
