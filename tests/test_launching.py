"""Launches that hand arrays to kernels themselves do what Taichi's own launches do."""

import numpy as np
import pytest
import torch

import taichi_phys as tp
from taichi_phys.language import ti
from taichi_phys.launching import bind, launch


pair = ti.types.vector(2, ti.f32)


@ti.kernel
def fill(
    places: ti.types.ndarray(pair, 1), table: ti.types.ndarray(ti.f64, 2), scale: ti.f32,
    shift: ti.f32, first: ti.i32, last: ti.i32,
):  # fmt: skip
    for i in range(places.shape[0]):
        places[i] = scale * i + pair(shift, -2 * shift)
    for k in range(first, last):
        table[k, 0] += places.shape[0]
        table[k, table.shape[1] - 1] += k


@ti.kernel
def count(table: ti.types.ndarray(ti.i32, 2), row: ti.i32, times: ti.i32):
    for k in range(table.shape[1]):
        table[row, k] += times


def arrays(n):
    device = tp.init().device
    table = torch.zeros(3, 2, dtype=torch.float64, device=device)
    return torch.zeros(n, 2, device=device), table


@pytest.mark.parametrize("n", [4, 7])
def test_a_launch_is_a_call(n):
    called, launched = arrays(n), arrays(n)
    rest = (0.5, 1, 1, 3)
    fill(*called, *rest)
    launch(fill, *launched, *rest)
    for got, expected in zip(launched, called, strict=True):
        assert torch.equal(got, expected)
    assert called[1][1:, 0].tolist() == [n, n] and called[0][1].tolist() == [1.5, -1.5]


def test_a_bound_kernel_goes_on_with_its_arrays():
    table = torch.zeros(2, 3, dtype=torch.int32, device=tp.init().device)
    again = bind(count, [table])
    again(0, 1)
    again(1, 5)
    table += 1  # what the arrays hold, and not what they held
    again(1, 2)
    assert table.tolist() == [[2, 2, 2], [8, 8, 8]]


def test_views_that_are_not_contiguous_are_refused():
    table = torch.zeros(3, 2, dtype=torch.int32, device=tp.init().device).T
    with pytest.raises(AssertionError):
        bind(count, [table])
    with pytest.raises(AssertionError):
        launch(count, np.zeros((2, 6), np.int32)[:, ::2], 0, 1)
