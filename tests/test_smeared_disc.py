"""The disc of a ball in one picture, small and smeared, from a draft that is off."""

import numpy as np
import pytest

from inverse.tracking.smeared_disc import GAMMA, fit_disc
from renderers.camera import camera_from_fov


SIZE, MOMENTS = 80, 15
CAMERA = camera_from_fov(SIZE, SIZE, 8.0)  # narrow: discs are circles


def picture(center, radius, smear, dark, color, noise):
    """A disc that moves by smear, px, while the picture is taken, before plain dark, (H, W, 3)."""
    rows, columns = np.indices((SIZE, SIZE)) + 0.5
    cover = np.zeros((SIZE, SIZE, 1))
    for share in (np.arange(MOMENTS) + 0.5) / MOMENTS - 0.5:
        x, y = center + share * smear
        away = np.hypot(columns - x, rows - y)
        cover[..., 0] += np.clip(radius - away + 0.5, 0, 1) / MOMENTS
    light = (1 - cover) * (dark / 255) ** GAMMA + cover * (color / 255) ** GAMMA
    return np.clip(255 * light ** (1 / GAMMA) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def fits():
    """Of 25 discs: what was found, and what share of the radius it is off."""
    rng, found = np.random.default_rng(2), []
    for _ in range(25):
        center, radius = rng.uniform(30, 50, 2), rng.uniform(2, 9)
        way, share = rng.normal(size=2) * rng.uniform(0, 20), rng.uniform(0, 0.6)
        dark, color = rng.uniform(5, 60), rng.uniform(100, 255, 3)
        noise = rng.normal(size=(SIZE, SIZE, 3)) * rng.uniform(0, 4)
        image = picture(center, radius, share * way, dark, color, noise)
        draft = center + 0.3 * radius * rng.normal(size=2), radius * rng.uniform(0.7, 1.4)
        behind = np.full((SIZE, SIZE, 3), dark)
        disc = fit_disc(image, behind, CAMERA, *draft, way, edge=1.0)
        found.append((disc, disc.radius / radius - 1, np.linalg.norm(disc.center - center)))
    return found


def test_errors_are_numbers(fits):
    """A variance is never below zero: the ball's light and its disc have the same weights."""
    assert all(np.isfinite(disc.error).all() and np.isfinite(disc.smear_error) for disc, *_ in fits)


def test_radii_and_centers_are_found(fits):
    radius, center = np.abs([fit[1] for fit in fits]), np.array([fit[2] for fit in fits])
    assert np.median(radius) < 0.01 and np.median(center) < 0.1
    assert np.mean(radius > 0.1) < 0.07
