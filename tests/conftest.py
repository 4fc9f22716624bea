"""One Taichi for the whole session; f64 kernels are asked for where a test needs them."""

import pytest
import torch

import taichi_phys as tp


@pytest.fixture(scope="session", autouse=True)
def runtime():
    """The defaults, as examples called from tests ask for them too; torch on one thread."""
    torch.set_num_threads(1)
    return tp.init()


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same random numbers, alone or in the suite."""
    torch.manual_seed(0)
