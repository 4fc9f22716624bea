"""Starting Taichi: once, in one place, and never by an import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import PATIENCE

import taichi_phys as tp
from taichi_phys import runtime as taichi_runtime


ROOT = Path(__file__).parent.parent


def python(*arguments):
    """Run a fresh interpreter; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_request_changes_nothing(runtime):
    again = tp.init(arch=runtime.arch, precision="f32", threads=None, seed=0)
    assert again is runtime is taichi_runtime.ensure_initialized()
    assert (runtime.dtype, runtime.device) == (torch.float32, torch.device(runtime.arch))


@pytest.mark.parametrize("changes", [{"precision": "f64"}, {"threads": 1}, {"seed": 1}])
def test_another_request_is_an_error_in_one_sentence(runtime, changes):
    with pytest.raises(RuntimeError, match="already runs with .*cannot be restarted") as error:
        tp.init(**{"arch": "cpu", "precision": "f32", "threads": 2, "seed": 0, **changes})
    assert "\n" not in str(error.value)
    assert taichi_runtime.ensure_initialized() is runtime


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arch", "tpu"), ("arch", None), ("precision", "f16"), ("threads", 0), ("threads", -1),
        ("threads", 1.5), ("threads", "2"), ("seed", "a"), ("seed", None), ("seed", -1),
    ],
)  # fmt: skip
def test_bad_requests_name_the_argument(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        tp.init(**{"arch": "cpu", "threads": 2, name: value})


def test_taichi_and_torch_use_the_same_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    with pytest.raises(ValueError, match="current device is cuda:1.* CUDA_VISIBLE_DEVICES=1"):
        tp.init(arch="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu():
    with pytest.raises(ValueError, match="^arch: .*no CUDA device"):
        tp.init(arch="cuda")


FALLBACK = """
import warnings, torch, taichi_phys as tp
torch.cuda.is_available = lambda: True  # as where torch finds a driver that Taichi cannot use
try:
    tp.init(arch="cuda")
except ValueError as error:
    print(error)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    runtime = tp.init()
print([str(w.message) for w in said if "Taichi" in str(w.message)])
print(runtime.arch, runtime.device, tp.init() is tp.init(arch="cpu") is runtime)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_taichi_falls_back_to_the_cpu_the_runtime_says_so():
    refused, warned, told = python("-c", FALLBACK).splitlines()[-3:]
    assert refused.startswith("arch: got 'cuda', but ") and "Taichi cannot use it" in refused
    assert "running on the CPU" in warned
    assert told == "cpu cpu True"


@pytest.mark.skipif(not taichi_runtime._CAN_SPREAD, reason="threads cannot be listed or bound")
@pytest.mark.parametrize("threads", [None, 1])
def test_a_cpu_for_each_thread_of_taichi_only_if_it_has_one_for_each_cpu(threads):
    code = f"""
import os
import taichi_phys as tp
from taichi_phys import runtime
before = runtime._threads()
tp.init(arch="cpu", threads={threads})
cpus = os.sched_getaffinity(0)
bound = [os.sched_getaffinity(t) for t in runtime._threads() - before]
print(all(os.sched_getaffinity(t) == cpus for t in before))
print(set.union(*bound) == cpus, all(len(b) == 1 for b in bound), all(b == cpus for b in bound))
"""
    alone = str(len(os.sched_getaffinity(0)) == 1)
    expected = ["True", "True", alone, "True"] if threads else ["True", "True", "True", alone]
    assert python("-c", code).split()[-4:] == expected


def test_import_starts_nothing_and_stays_light():
    out = python(
        "-c",
        "import sys, taichi_phys; from taichi.lang import impl; "
        "heavy = {'pxr', 'skimage', 'cv2', 'trimesh', 'matplotlib', 'renderers', 'inverse'}; "
        "print(sorted(heavy & set(sys.modules)), impl.get_runtime().prog is None, "
        "taichi_phys.runtime._current)",
    )
    assert out == "[] True None\n"  # nor does Taichi greet on stdout


def test_a_simulator_starts_it_with_the_defaults():
    """Quietly, and once; a later, different request is refused."""
    out = python(
        "-c",
        "import torch, taichi_phys as tp\n"
        "body = tp.Particles(torch.full((2, 3), 0.5), material=tp.Elastic(E=1e3, nu=0.3))\n"
        "tp.MPM(particles=body, grid=tp.Grid(lower=(0, 0, 0), upper=(1, 1, 1), dx=0.1))\n"
        "now = tp.runtime._current\n"
        "print(now.precision, now.threads, now.seed, tp.init() is now)\n"
        "try:\n    tp.init(precision='f64')\nexcept RuntimeError as e:\n    print('refused')\n",
    )
    assert out == "f32 None 0 True\nrefused\n"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_that_check_gradients_compile_with_the_fewest_passes(runtime, dtype):
    def passes():
        config = taichi_runtime.ti.lang.impl.current_cfg()
        return config.cfg_optimization, config.advanced_optimization

    before = passes()
    with pytest.raises(KeyboardInterrupt), taichi_runtime.quick_compile(dtype):
        assert passes() == (False, dtype == torch.float32)
        raise KeyboardInterrupt
    assert passes() == before == (True, True)


def test_seed(tmp_path):
    """Of Taichi's and of torch's random numbers."""
    script = tmp_path / "draw.py"
    script.write_text(
        "import sys, taichi as ti, torch, taichi_phys as tp\n"
        "tp.init(arch='cpu', threads=1, seed=int(sys.argv[1]))\n"
        "@ti.kernel\n"
        "def draw() -> ti.f32:\n"
        "    return ti.random()\n"
        "print(draw(), torch.rand(1).item())\n"
    )
    one, again, two = (python(script, seed).split()[-2:] for seed in "112")
    assert one == again
    assert one[0] != two[0] and one[1] != two[1]
