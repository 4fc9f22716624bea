"""Which package compiles the kernels."""

import os
import subprocess
import sys

from taichi_phys import runtime


def start(name):
    env = {**os.environ, "TAICHI_PHYS_LANGUAGE": name}
    code = (
        "import sys; import taichi_phys; print(sorted({'taichi', 'quadrants'} & set(sys.modules)))"
    )
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_taichi_is_the_default():
    assert start("").stdout.strip() == "['taichi']"
    assert runtime.language() == os.environ.get("TAICHI_PHYS_LANGUAGE", "taichi")


def test_an_unknown_language_is_refused():
    error = start("numba").stderr.splitlines()[-1]
    assert error == (
        "ImportError: TAICHI_PHYS_LANGUAGE: got 'numba', expected one of taichi, quadrants"
    )


def test_quadrants_takes_the_place_of_taichi_or_is_named_as_missing():
    done = start("quadrants")
    if done.returncode:
        assert "pip install quadrants" in done.stderr.splitlines()[-1]
    else:
        assert done.stdout.strip() == "['quadrants']"
