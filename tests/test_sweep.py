"""Sweeps: what is run, what a killed or failed run costs, and the table."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from helpers import PATIENCE

import taichi_phys as tp
from inverse.commands import main
from inverse.simulation import SceneRun
from inverse.sweep import PlannedRun, SweepJob, attempt, load_plan, run_sweep
from inverse.sweep.attempt import is_done, read_record
from inverse.sweep.processes import _shares, run_processes


# In the place of the command: it squares --coarsen, dies of a signal as often as the file `dies` in
# the folder above says, and fails for a negative number of frames.
FAKE = """
import json, os, pathlib, signal, sys
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
value = float(next(w for w in words if w.startswith("--coarsen")).partition("=")[2])
dies = out.parent.parent / f"dies_{value:g}"
with open(out / "words.txt", "a") as file:
    print(*words, file=file)
if dies.exists():
    left = int(dies.read_text()) - 1
    dies.write_text(str(left)) if left else dies.unlink()
    os.kill(os.getpid(), signal.SIGKILL)
if value == 13:
    print("unlucky")
    sys.exit(2)
(out / "metrics.json").write_text(json.dumps({"square": value**2, "deep": {"half": value / 2}}))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A quick program in the place of taichi-phys."""
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(attempt, "PROGRAM", (sys.executable, str(tmp_path / "fake.py")))


def write(tmp_path, text):
    path = tmp_path / "try.toml"
    path.write_text(textwrap.dedent(text))
    return str(path)


def of(tmp_path, values, **more):
    """A sweep of the fake command over values."""
    text = f'command = "simulate jelly_drop"\n[grid]\ncoarsen = {list(values)}\n'
    return SweepJob(sweep=write(tmp_path, text), out=str(tmp_path / "out"), **more)


def test_twelve_runs_on_two_workers_with_one_killed_twice(tmp_path, fake, capsys):
    job = of(tmp_path, range(1, 13), workers=2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dies_5").write_text("2")
    rows = run_sweep(job)
    assert [row["square"] for row in rows] == [k**2 for k in range(1, 13)]
    assert [row["attempts"] for row in rows] == [3 if k == 5 else 1 for k in range(1, 13)]
    assert {row["status"] for row in rows} == {"done"}
    tries = (tmp_path / "out/runs/coarsen=5/words.txt").read_text().splitlines()
    assert ["--resume" in line for line in tries] == [False, True, True]
    with open(tmp_path / "out" / "sweep.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["deep.half"]) for row in table] == [k / 2 for k in range(1, 13)]
    assert "coarsen=12" in (tmp_path / "out" / "sweep.html").read_text()
    assert "12 of 12 runs are done" in capsys.readouterr().out


def test_killed_too_often_costs_its_own_run_only_and_is_computed_later(tmp_path, fake):
    job = of(tmp_path, [1, 2, 3], workers=2, retries=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dies_2").write_text("2")
    assert [row["status"] for row in run_sweep(job)] == ["done", "killed", "done"]
    assert [row["status"] for row in run_sweep(job)] == ["done"] * 3
    words = [(tmp_path / f"out/runs/coarsen={k}/words.txt").read_text() for k in (1, 2)]
    assert [text.count("simulate") for text in words] == [1, 3]  # what was done stays


def test_failed_runs_are_said_and_not_retried(tmp_path, fake, capsys):
    job = of(tmp_path, [13, 14], workers=1)
    rows = run_sweep(job)
    assert [row["status"] for row in rows] == ["failed", "done"] and rows[0]["attempts"] == 1
    assert "unlucky" in capsys.readouterr().out
    assert "unlucky" in (tmp_path / "out" / "sweep.html").read_text()
    assert main(["sweep", job.sweep, "--out", job.out]) == 1


def test_values_that_are_added_leave_the_other_runs(tmp_path, fake):
    run_sweep(of(tmp_path, [2, 3]))
    rows = run_sweep(of(tmp_path, [1, 2, 3]))
    assert [row["square"] for row in rows] == [1, 4, 9]
    words = (tmp_path / "out/runs/coarsen=2/words.txt").read_text()
    assert words.count("simulate") == 1
    run_sweep(of(tmp_path, [2], again=True))
    words = (tmp_path / "out/runs/coarsen=2/words.txt").read_text()
    assert words.count("simulate") == 2 and "--resume" not in words


def test_another_command_makes_a_run_missing(tmp_path, fake):
    run_sweep(of(tmp_path, [2]))
    text = 'command = "spill"\n[grid]\ncoarsen = [2]\n'
    run = load_plan(write(tmp_path, text.replace("spill", "simulate spill")), job_out(tmp_path))
    assert not is_done(run.runs[0]) and read_record(run.runs[0]) is None


def job_out(tmp_path):
    return str(tmp_path / "out")


def test_one_run_of_an_array(tmp_path, fake, capsys):
    job = of(tmp_path, [2, 3])
    assert main(["sweep", job.sweep, "--out", job.out, "--only", "1"]) == 0
    assert not (tmp_path / "out" / "sweep.csv").exists()
    assert os.listdir(tmp_path / "out" / "runs") == ["coarsen=3"]
    assert main(["sweep", job.sweep, "--out", job.out, "--only", "2"]) == 2
    assert "only: got 2, expected 0 to 1" in capsys.readouterr().err
    assert main(["sweep", job.sweep, "--out", job.out, "--sbatch"]) == 0
    text = (tmp_path / "out" / "sweep.sbatch").read_text()
    assert "--array=0-1\n" in text and '--only "$SLURM_ARRAY_TASK_ID"' in text
    done = subprocess.run(["bash", "-n", str(tmp_path / "out" / "sweep.sbatch")])
    assert done.returncode == 0


def test_script_for_slurm_run_as_slurm_does(tmp_path, fake, monkeypatch):
    """Each job of the array does its run; what a killed job leaves, the sweep computes later."""
    text = 'command = "simulate jelly_drop"\nworkers = 2\n[grid]\ncoarsen = [2, 3, 4]\n'
    job = SweepJob(sweep=write(tmp_path, text), out=job_out(tmp_path), sbatch=True)
    python = tmp_path / "a python"
    python.write_text('#!/bin/sh\npwd > said\nfor word in "$@"; do echo "$word" >> said; done\n')
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        run_sweep(job)
    script = tmp_path / "out" / "sweep.sbatch"
    assert "#SBATCH --array=0-2%2\n" in script.read_text()
    (tmp_path / "out" / "dies_3").write_text("3")
    spooled = tmp_path / "slurm_script"  # SLURM runs a copy, anywhere
    spooled.write_bytes(script.read_bytes())
    for task in range(3):
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(task)}
        subprocess.run(["bash", str(spooled)], cwd="/", env=environment, check=True)
        folder, *words = (tmp_path / "said").read_text().splitlines()
        assert folder == str(tmp_path) and words[:2] == ["-m", "inverse.commands"]
        main(words[2:])
    rows = run_sweep(dataclasses.replace(job, sbatch=False))
    assert [(row["square"], row["attempts"]) for row in rows] == [(4, 1), (9, 4), (16, 1)]


def test_dry_says_the_command_lines(tmp_path, capsys):
    job = of(tmp_path, [2], dry=True)
    assert run_sweep(job) == []
    folder = tmp_path / "out" / "runs" / "coarsen=2"
    line = f"taichi-phys simulate jelly_drop --coarsen=2 --out {folder}"
    assert line in capsys.readouterr().out and not folder.exists()


def test_flags_positions_and_values_of_files_become_words(tmp_path):
    text = """
    command = "simulate"
    [[runs]]
    scene = "spill"
    video = false
    frames = 3
    body.1.material.E = 2e4
    gravity = [0, 0, -1.5]
    """
    (run,) = load_plan(write(tmp_path, text)).runs
    assert run.words == (
        "simulate", "spill", "--no-video", "--frames=3",
        "--set", "body.1.material.E=20000.0", "--set", "gravity=[0, 0, -1.5]",
    )  # fmt: skip
    text = """
    command = ["wind", "--box", "0", "0", "9", "9", "--video", "clip.mp4"]
    [grid]
    gravity = [[0.0, 0.0, -9.81], [0, -1e-5, 0]]
    made_of = ["paper", "dry leaf"]
    """
    runs = load_plan(write(tmp_path, text)).runs
    assert len(runs) == 4 and len({run.folder for run in runs}) == 4
    assert runs[3].words[-5:] == ("--gravity", "0", "-0.00001", "0", "--made-of=dry leaf")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('command = "nonsense"', "command: got 'nonsense'"),
        ('command = "doctor"\n[grid]\nx = [1]', "doctor has no runs"),
        ('command = "simulate spill"', "grid: missing"),
        ('command = "simulate spill"\n[grid]\nframes = 3', "grid: expected a table of lists"),
        ('command = "simulate spill"\ngird = 1', "gird: unknown key"),
        ('command = "simulate spill"\nworkers = 0\n[grid]\nframes = [1]', "workers: got 0"),
        ('command = "simulate spill"\n[grid]\nframes = ["x"]', "invalid int value: 'x'"),
        ('command = "trace"\n[grid]\nnonsense = [1]', "no flag --nonsense"),
        ('command = "simulate spill"\n[grid]\nframes = [1, 1]', "is there twice"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_used_are_refused(text, sentence, tmp_path):
    with pytest.raises(ValueError) as refused:
        load_plan(write(tmp_path, text))
    assert sentence in str(refused.value) and "try.toml" in str(refused.value)


def test_workers_share_the_cpus():
    cpus = os.sched_getaffinity(0)
    for workers in (1, 2, 3, len(cpus), len(cpus) + 5):
        shares = _shares(workers)
        assert len(shares) == workers and all(shares) and set().union(*shares) == cpus
        if workers <= len(cpus):
            assert sum(map(len, shares)) == len(cpus)


def test_interrupt_stops_the_runs(tmp_path, monkeypatch):
    script = "import sys, time, pathlib; pathlib.Path(sys.argv[-1], 'on').touch(); time.sleep(600)"
    monkeypatch.setattr(attempt, "PROGRAM", (sys.executable, "-c", script))
    run = PlannedRun(values={}, words=("simulate",), folder=tmp_path / "run")

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            run_processes([run], workers=1, retries=0, resumable=False, done=lambda *_: None)
        assert time.monotonic() - start < PATIENCE
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not is_done(run)


def test_a_scene_over_its_stiffness(tmp_path):
    """With the command itself: keys of the scene file as parameters."""
    (tmp_path / "drop.toml").write_text(
        textwrap.dedent("""
        [grid]
        lower = [0, 0, 0]
        upper = [0.6, 0.6, 0.6]
        dx = 0.05
        [[body]]
        name = "block"
        shape = "box"
        lower = [0.25, 0.25, 0.25]
        upper = [0.35, 0.35, 0.35]
        spacing = 0.025
        material = "jelly"
        [time]
        frames = 1
        [output]
        video = false
        report = false
        """)
    )
    text = f"""
    command = "simulate {tmp_path / "drop.toml"}"
    [grid]
    body.block.material.E = [1e4, 4e4]
    """
    rows = run_sweep(SweepJob(sweep=write(tmp_path, text), out=str(tmp_path / "out"), workers=1))
    assert [row["status"] for row in rows] == ["done", "done"]
    assert all(row["frames"] == 1 and row["particles"] > 10 for row in rows)
    for value, name in ((1e4, "E=10000.0"), (4e4, "E=40000.0")):
        run = SceneRun.load(tmp_path / "out" / "runs" / name)
        assert run.scene.bodies[0].material.E == value
        assert run.scene.bodies[0].material.nu == tp.preset("jelly")[0].nu


def test_changes_of_a_scene_that_lead_nowhere_are_refused(tmp_path, capsys):
    for change, sentence in {
        "nonsense": "expected KEY=VALUE",
        "body.7.density=3": "no '7' among 1 tables",
        "title.x=3": "title",
        "body.1.density=-3": "density",
    }.items():
        code = main(["simulate", "jelly_drop", "--check", "--set", change])
        assert code == 2 and sentence in capsys.readouterr().err
