"""Blows of a floor: intervals of a clip in which it stops the object, or throws it back.

What a blow does depends on how the object and the floor lose energy, and on a moment between two
frames, none of which a clip shows. So a blow is not simulated. The motion goes on from the targets
after it, and what they say of the momentum is the reaction of the floor; the force is that of the
intervals before and after. The floor of the simulation carries what rests, slides or rolls on it.
"""

from collections.abc import Collection

import numpy as np
import torch

import taichi_phys as tp


HIT = 1.0  # times gravity: an object whose weight a floor carries is not accelerated upwards
BESIDE = 0.3  # the same, above free flight, in frames beside a blow: lifts smooth it over some
WIDEST = 3  # frames on each side
SHORTEST = 3  # intervals between blows that tell a force
FLOWN = 3  # frames on each side of a blow, by which the moment of it is found


def find_impacts(
    floor: tp.Plane, targets: np.ndarray, fps: float, dx: float, gravity: float
) -> list[int]:
    """Intervals between frames in which the floor hits an object.

    targets: (T, n, 3) m; fps: frames per second; dx: of the grid, m: nearer parts touch the floor;
    gravity: m/s^2. Interval k lies between frames k and k + 1.
    """
    height = (targets - np.asarray(floor.point)) @ np.asarray(floor.normal)
    center, frames = height.mean(axis=1), len(targets)
    moved = np.abs(np.diff(center))
    reach = dx + np.maximum(np.append(moved, 0), np.append(0, moved))
    near = height.min(axis=1) < reach
    rise = np.zeros(frames)  # m/s^2
    rise[1:-1] = np.diff(center, 2) * fps**2
    flight = np.median(rise[~near]) if (~near)[1:-1].any() else -gravity
    hits = near & (rise > HIT * gravity)
    beside = near & (rise > flight + BESIDE * gravity)
    struck = hits.copy()
    for frame in np.flatnonzero(hits):
        for step in (-1, 1):
            for other in range(frame + step, frame + step * (WIDEST + 1), step):
                if not 0 <= other < frames or not beside[other]:
                    break
                struck[other] = True
    blows = struck[:-1] | struck[1:]
    first = 0
    for end in [*np.flatnonzero(blows).tolist(), frames - 1]:  # what is left between them
        if 0 < end - first < SHORTEST:
            blows[first:end] = True
        first = end + 1
    return [] if blows.all() else np.flatnonzero(blows).tolist()


def thrown_back(height: np.ndarray) -> np.ndarray:
    """Heights (k,) m at which something that falls is thrown back, between frames.

    height: (T,) m, of its lowest point. On both sides of a blow it flies as it mostly does, and the
    two flights meet where it touches.
    """
    rise = np.diff(height, 2)
    flight = float(np.median(rise)) if len(rise) else 0.0
    if flight >= 0:
        return np.zeros(0)
    frame = np.arange(len(height), dtype=float)
    line = height - 0.5 * flight * frame**2  # a flight is straight in it
    found = []
    for k in range(FLOWN + 1, len(height) - FLOWN - 1):
        near = rise[k - 2 : k + 1]  # of the frames k - 1 to k + 1
        if rise[k - 1] != near.max() or rise[k - 1] - flight < HIT * -flight:
            continue
        before, after = slice(k - FLOWN - 1, k - 1), slice(k + 2, k + FLOWN + 2)
        fall, start = np.polyfit(frame[before], line[before], 1)
        climb, end = np.polyfit(frame[after], line[after], 1)
        moment = (start - end) / (climb - fall) if climb > fall else np.inf
        if abs(moment - k) < 1.5:
            found.append(start + fall * moment + 0.5 * flight * moment**2)
    return np.asarray(found)


def pieces(frames: int, gaps: Collection[int]) -> list[tuple[int, int]]:
    """First and last frames of the parts of a clip that gaps, indices of intervals, leave."""
    found, first = [], 0
    for step in [*sorted(gaps), frames - 1]:
        if step > first:
            found.append((first, step))
        first = step + 1
    return found


def bridged(force: torch.Tensor, gaps: Collection[int]) -> torch.Tensor:
    """Forces (T-1, n, 3) N whose gaps, by index, are filled in from the intervals around."""
    known = [k for k in range(len(force)) if k not in gaps]
    if not known or not gaps:
        return force
    filled = force.clone()
    for step in gaps:
        before = max((k for k in known if k < step), default=known[0])
        after = min((k for k in known if k > step), default=known[-1])
        share = (step - before) / (after - before) if after > before else 0.0
        filled[step] = torch.lerp(force[before], force[after], share)
    return filled
