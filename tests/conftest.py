"""One Taichi for the whole session; f64 kernels are asked for where a test needs them."""

import pytest
import torch

import taichi_phys as tp


@pytest.fixture(scope="session", autouse=True)
def runtime():
    """Small scenes: two threads, and torch on one."""
    torch.set_num_threads(1)
    return tp.init(arch="cpu", precision="f32", threads=2, seed=0)


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same random numbers, alone or in the suite."""
    torch.manual_seed(0)
