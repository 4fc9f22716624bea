"""benchmarks/gpu_check.py on the CPU: what it compares, and that it can fail."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch


ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu_check  # noqa: E402
import gpu_parts  # noqa: E402


def results(tmp_path, name, **arrays):
    file = tmp_path / f"{name}.npz"
    np.savez(file, **arrays)
    return {"ok": True, "seconds": 1.0, "log": "", "file": file}


def test_a_check_is_a_process_on_each_side(tmp_path, capfd):
    file = tmp_path / "figures.json"
    only = ["--only", "networks", "--arch", "cpu", "--quick"]
    assert gpu_check.main([*only, "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert found["machine"]["arch"] in ("x64", "arm64")
    assert found["checks"]["networks"]["ok"]
    assert found["checks"]["networks"]["compared"] == 3 + 3 + 3 + 4 - 2  # outputs of four networks
    assert capfd.readouterr().out.splitlines()[-1] == "all passed"


@pytest.mark.parametrize("key, gap, ok", [("f32.x", 1e-3, True), ("f64.x", 1e-3, False)])
def test_a_difference_fails_by_precision(tmp_path, key, gap, ok):
    ours = results(tmp_path, "ours", **{key: np.array([1.0, 1 + gap])}, seconds_full=9.0)
    theirs = results(tmp_path, "theirs", **{key: np.ones(2)}, seconds_full=3.0)
    found = gpu_check.compare("elastic", ours, theirs)
    assert (found["ok"], list(found["beyond"])) == (ok, [] if ok else [key])
    assert found["figures"] == {"seconds_full": 9.0}


def test_what_is_not_finite_or_missing_fails(tmp_path):
    theirs = results(tmp_path, "theirs", x=np.ones(2))
    ours = results(tmp_path, "ours", x=np.array([1.0, np.nan]))
    assert not gpu_check.compare("elastic", ours, theirs)["ok"]
    failed = {"ok": False, "seconds": 2.0, "log": "out of memory", "file": tmp_path / "none.npz"}
    assert gpu_check.compare("elastic", failed, theirs)["log"] == "out of memory"


def test_a_part_that_fails_says_why(tmp_path):
    options = gpu_check.make_parser().parse_args(["--arch", "cpu", "--quick"])
    done = gpu_check.start_part("no such part", "cpu", str(tmp_path), options)
    assert not done["ok"] and "no such part" in done["log"]


def test_an_unknown_part_is_refused():
    with pytest.raises(SystemExit, match="--only: got .'nothing'"):
        gpu_check.main(["--only", "nothing", "--arch", "cpu"])


def test_states_and_gradients_are_compared():
    part = gpu_parts.Device("cpu", quick=True)
    found = gpu_parts.splats(part)
    assert {k.split(".")[0] for k in found} == {"f32", "f64"}
    assert {k.split(".")[1] for k in found} >= {"rgb", "depth", "gmeans", "gquats", "gsh"}
    assert all(np.abs(a).max() > 0 for a in found.values())
    state = gpu_parts.rolled(gpu_parts.MATERIALS["elastic"], "f64")
    assert {"x", "v", "F", "gx", "gv", "gforce"} <= set(state)
    moved = gpu_parts.rolled(
        gpu_parts.MATERIALS["elastic"], "f64", colliders=[gpu_parts.COLLIDERS["box"]()]
    )
    assert gpu_parts.difference(moved["x"], state["x"]) > 1e-4  # the collider is met
    assert torch.get_default_dtype() == torch.float32
