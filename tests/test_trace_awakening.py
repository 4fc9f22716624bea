"""What stood still in a run and moves in later photographs is noticed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_scene import cameras, figure, photograph

from inverse.fitting.model import GaussianModel
from inverse.trace import TraceConfig, TraceModel
from inverse.trace.awakening import awakened
from inverse.trace.photographs import Photographs
from renderers.datasets import View


TIMES = [0.0, 0.2, 0.4, 0.6]
WHITE = (1.0, 1.0, 1.0)


def photographs(goes, times=TIMES):
    """The figure, whose blob number `goes` leaves its place after 0.4 s; None: none does."""
    views, images = [], []
    for k, camera in enumerate(cameras(4)):
        for t in times:
            now = figure()
            means = now.means.clone()
            if goes is not None and t > 0.4:
                means[goes] += torch.tensor([0.0, 0.0, 0.5])
            views.append(View(name=f"v{k}_{t}", camera=camera, time=t, path=Path()))
            images.append(photograph(camera, dataclasses.replace(now, means=means)))
    return Photographs(views=views, images=images)


def resting_model():
    model = TraceModel(
        GaussianModel(figure()), TraceConfig(), center=(0, 0, 0), half_side=1.0, duration=0.4,
        frame_dt=0.2,
    ).requires_grad_(False)  # fmt: skip
    model.moving[:] = False
    return model


@pytest.mark.parametrize("goes", [None, 1, 2])
def test_what_leaves_its_place_is_found(goes):
    found = awakened(resting_model(), photographs(goes), 0.4, WHITE)
    assert found.tolist() == [k == goes for k in range(3)]


def test_without_earlier_photographs_nothing_is_said():
    assert not awakened(resting_model(), photographs(1, [0.6]), 0.4, WHITE).any()


def test_what_moved_already_does_not_begin_to():
    model = resting_model()
    model.moving[1] = True
    assert not awakened(model, photographs(1), 0.4, WHITE)[1]


def test_wrong_pixels_on_both_sides_are_no_motion():
    """The model's colors are off, as those of a blurred model are."""
    model = resting_model()
    model.gaussians.sh_first += 0.5
    assert not awakened(model, photographs(None), 0.4, WHITE).any()
    assert np.flatnonzero(awakened(resting_model(), photographs(2), 0.4, WHITE)).tolist() == [2]
