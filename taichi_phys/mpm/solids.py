"""What a simulation checks of its colliders: thickness, speed, and particles that start inside."""

import warnings
from collections.abc import Sequence

import numpy as np

from taichi_phys.mpm.colliders import (
    ACTIVE,
    ROTATION,
    SPIN,
    TRANSLATION,
    VELOCITY,
    Box,
    Collider,
    table,
)


THICKEST = 2.0  # cells: two layers of nodes, which let nothing pass, are in every solid this thick
SAMPLES = 8  # times in a frame at which the speed of colliders is measured
DEEP = 0.25  # cells: particles that start deeper in a collider than this are not at its surface


def top_speed(colliders: Sequence[Collider], time: float, frame_dt: float, extent: float) -> float:
    """The speed, m/s, of the fastest point of the colliders that act in a frame.

    time: start of the frame, s; frame_dt: s; extent: m, of the grid. A collider that crosses the
    grid between two of 8 times in the frame is put elsewhere, and carries nothing.
    """
    step, fastest = frame_dt / SAMPLES, 0.0
    for collider in colliders:
        if collider.pose is None:
            continue
        rows = table([collider], time + step * np.arange(SAMPLES), step)[:, 0]
        rows = rows[rows[:, ACTIVE] > 0]
        R = rows[:, ROTATION:TRANSLATION].reshape(-1, 3, 3)  # from the world to the shape
        local = collider.outline() - rows[:, None, TRANSLATION:VELOCITY]
        x = np.einsum("tji,tpj->tpi", R, local)
        u = rows[:, None, VELOCITY:SPIN] + np.cross(rows[:, None, SPIN : SPIN + 3], x)
        speeds = np.linalg.norm(u, axis=2)
        fastest = max(fastest, speeds[speeds * step < extent].max(initial=0.0))
    return float(fastest)


def warn_of_thin(colliders: Sequence[Collider], dx: float) -> None:
    """Warn of colliders that are thinner than material needs to be held, with the numbers.

    dx: m, edge of a cell.
    """
    for i, collider in enumerate(colliders):
        sticky = collider.contact == "sticky"  # a clamp: what has nodes in it holds
        needed = (1.0 if sticky else THICKEST) * dx
        thick = collider.thickness()
        if thick >= needed * (1 - 1e-6) or _backed(i, colliders, needed):
            continue
        effect = "it may hold nothing" if sticky else "material may pass through it"
        warnings.warn(
            f"colliders[{i}]: the {type(collider).__name__} is {thick:.3g} m thick, so that "
            f"{effect}: make it at least {needed:.3g} m thick ({needed / dx:.0f} "
            f"{'cell' if sticky else 'cells'}), or dx smaller than {dx:.3g} m",
            stacklevel=4,
        )


def _backed(index: int, colliders: Sequence[Collider], needed: float) -> bool:
    """Whether a thin box lies on other colliders that make it as thick as needed, m."""
    box = colliders[index]
    if not isinstance(box, Box):
        return False
    axis = int(np.argmin(box.half_size))
    along = np.zeros((41, 3))
    along[:, axis] = np.linspace(-needed, needed, 41)
    together = [c for c in colliders if c.pose is box.pose and c.during == box.during]
    inside = np.min([c.distance_at(along + box.center) for c in together], axis=0) < 1e-6 * needed
    run = longest = 0
    for here in inside:
        run = run + 1 if here else 0
        longest = max(longest, run)
    return longest >= 20


def warn_of_inner(colliders: Sequence[Collider], x: np.ndarray, dx: float) -> None:
    """Warn of particles x (n, 3) m that start inside a collider, with their number.

    dx: m, edge of a cell. Sticky colliders are left out: they are put around what they hold.
    """
    for i, collider in enumerate(colliders):
        if collider.contact == "sticky":
            continue
        row = table([collider], np.zeros(1), 1e-6)[0, 0]
        if not row[ACTIVE]:
            continue
        R = row[ROTATION:TRANSLATION].reshape(3, 3)
        distance = collider.distance_at(x @ R.T + row[TRANSLATION:VELOCITY])
        if (distance < -DEEP * dx).any():
            warnings.warn(
                f"particles: {(distance < 0).sum()} of {len(x)} start inside colliders[{i}], a "
                f"{type(collider).__name__}, up to {-distance.min():.3g} m deep, and may stay "
                "there: move the body or the collider",
                stacklevel=4,
            )
