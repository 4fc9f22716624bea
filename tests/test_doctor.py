"""taichi-phys doctor, and what it says when something is missing."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import PATIENCE

from inverse.commands import doctor
from taichi_phys import runtime


ROOT = Path(__file__).resolve().parent.parent
ROWS = ["Python", "taichi-phys", "torch", "Taichi", "threads", "packages", "ffmpeg", "Vulkan"]
ROWS += ["screen", "viser", "lpips", "pxr", "transformers", "CoTracker", "weights of LPIPS"]


def rows(text):
    """Name -> mark and all that stands beside it, cure included."""
    result, name = {}, None
    for line in text.split("\n\n")[0].splitlines():
        if line[0] != " ":
            mark, (name, _, value) = line[:8].strip(), line[8:].partition("  ")
            result[name] = [mark, value.strip()]
        else:
            result[name][1] += " " + line.strip()
    return result


def test_all_is_said_and_what_is_needed_works(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "inverse.commands", "doctor"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done.stdout)
    assert set(ROWS) <= set(found)
    for name in ROWS[:7]:
        assert found[name][0] == "ok" and any(map(str.isdigit, found[name][1])), name
    for name, (mark, value) in found.items():
        cure = {"Vulkan": "apt", "screen": "xvfb", "CoTracker": "torch.hub.load"}.get(name, "")
        assert mark == "ok" or cure in value, name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "name"), [("plyfile", "plyfile"), ("cv2", "opencv-python-headless")]
)
def test_missing_package_is_named_with_its_cure(module, name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)  # as if it could not be imported
    assert doctor.main([]) == 1
    shown = capsys.readouterr().out
    mark, value = rows(shown)[name]
    assert mark == "MISSING" and f"pip install {name}" in value
    assert shown.splitlines()[-1] == f"required, but missing or broken: {name}"


def test_missing_optional_packages_are_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_vulkan_devices", list)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert doctor.main([]) == 0
    found = rows(capsys.readouterr().out)
    assert found["viser"][0] == found["Vulkan"][0] == "-"
    assert "pip install 'viser" in found["viser"][1] and "--headless" in found["Vulkan"][1]


def test_taichi_that_fell_back_to_the_cpu_is_said(monkeypatch, capsys):
    monkeypatch.setattr(runtime, "_current", dataclasses.replace(runtime.init(), arch="cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert doctor.main([]) == 0
    mark, value = rows(capsys.readouterr().out)["Taichi"]
    assert mark == "-" and "although torch sees a GPU" in value and "driver" in value
