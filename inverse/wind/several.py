"""Several objects in one clip: each has its own model, tracks and supports; the simulation and the
results have those of all, the particles of one object after those of the other."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from inverse.lifting import LiftQuality
from inverse.perception import ObjectModel
from inverse.wind.balls import FOLLOWED
from inverse.wind.inputs.load import Inputs
from inverse.wind.supports import Supports, find_supports
from inverse.wind.targets import Tracked, find_targets
from renderers.splats.gaussians import Gaussians


def body_of_particles(models: Sequence[ObjectModel]) -> np.ndarray:
    """(n,) int: the number of the object, from 0, that each particle belongs to."""
    return np.repeat(np.arange(len(models)), [len(model.x) for model in models])


def joined_gaussians(each: Sequence[Gaussians]) -> Gaussians:
    """The Gaussians of all objects."""
    if len(each) == 1:
        return each[0]
    tensors = [one.tensors() for one in each]
    return Gaussians(**{name: torch.cat([one[name] for one in tensors]) for name in tensors[0]})


def follow_objects(
    each: Sequence[Inputs], models: Sequence[ObjectModel], path: Path
) -> list[Tracked]:
    """What the tracks of a clip say of each of its objects, up to where one of them is lost.

    each: inputs of each object; path: of the checkpoint of the first one. Raises ValueError for
    tracks that no motion of an object explains.
    """
    found = []
    for number, (one, model) in enumerate(zip(each, models, strict=True)):
        own = path if number == 0 else path.with_stem(f"{path.stem}_{number}")
        try:
            found.append(find_targets(one.job, one, model, own))
        except ValueError as error:
            if len(each) == 1:
                raise
            raise ValueError(f"object {number + 1} of {len(each)}: {error}") from None
    frames = min(len(one.targets) for one in found)
    return [one.until(frames) for one in found]


def joined_tracks(each: Sequence[Tracked]) -> Tracked:
    """What tracks say of all objects.

    Where one of them is lost, all are: the shares that are seen are those of the worst.
    """
    if len(each) == 1:
        return each[0]
    qualities = [one.quality for one in each]
    quality = LiftQuality(
        converged=all(one.converged for one in qualities),
        reprojection_px=np.fmax.reduce([one.reprojection_px for one in qualities]),
        seen_share=np.min([one.seen_share for one in qualities], axis=0),
        keypoints_seen_share=np.min([one.keypoints_seen_share for one in qualities], axis=0),
        sigma_px=max(one.sigma_px for one in qualities),
        object_px=min(one.object_px for one in qualities),
    )
    return Tracked(
        targets=np.concatenate([one.targets for one in each], axis=1),
        confidence=np.concatenate([one.confidence for one in each], axis=1),
        keypoints=np.concatenate([one.keypoints for one in each]),
        paths=np.concatenate([one.paths for one in each], axis=1),
        count=min(one.count for one in each),
        anchors=np.concatenate([one.anchors for one in each]),
        strayed=np.concatenate([one.strayed for one in each], axis=2),
        noise=np.max([one.noise for one in each], axis=0),
        sampled=_joined_samples(each),
        shifts=_joined_shifts(each),
        quality=quality,
        by=max((one.by for one in each), key=FOLLOWED.index),
    )


def _joined_samples(each: Sequence[Tracked]) -> np.ndarray:
    """(m,): the sampled particles of all objects, by index among all particles."""
    counts = [one.targets.shape[1] for one in each]
    firsts = np.cumsum([0, *counts[:-1]])
    return np.concatenate([first + one.sampled for first, one in zip(firsts, each, strict=True)])


def _joined_shifts(each: Sequence[Tracked]) -> np.ndarray:
    """(B, T, m, 3) m: shifts of all objects, which know nothing of each other."""
    whole = sum(len(one.sampled) for one in each)
    found, first = [], 0
    for one in each:
        blocks, frames, count, _ = one.shifts.shape
        part = np.zeros((blocks, frames, whole, 3), dtype=one.shifts.dtype)
        part[:, :, first : first + count] = one.shifts
        found.append(part)
        first += count
    return np.concatenate(found)


def find_all_supports(
    each: Sequence[Inputs],
    models: Sequence[ObjectModel],
    tracked: Sequence[Tracked],
    dx: float,
    *,
    guessed: float | None = None,
) -> Supports:
    """What holds each of the objects and what they stand on.

    dx: of the grid, m; guessed: m, the distance of an only object, where that is a guess.
    Raises ValueError as `find_supports` does, and where nothing of any object is held as the job
    says.
    """
    if len(each) == 1:
        return find_supports(each[0].job, each[0], models[0].x, tracked[0], dx, guessed=guessed)
    touched = [one.hold is None or (one.hold & one.mask).any() for one in each]
    if not any(touched):
        raise ValueError("hold: no part of any object lies in it, expected a part of one")
    parts, held, impacts, first = [], [], set[int](), 0
    for one, model, tracks, mine in zip(each, models, tracked, touched, strict=True):
        job, own = one.job, one
        if not mine:  # what is held is another object
            job = dataclasses.replace(job, hold="none", hold_box=None)
            own = dataclasses.replace(one, hold=None)
        found = find_supports(job, own, model.x, tracks, dx)
        parts += [dataclasses.replace(p, particles=first + p.particles) for p in found.parts]
        held.append(found.held)
        impacts.update(found.impacts)
        first += len(model.x)
    return Supports(
        held=np.concatenate(held), parts=tuple(parts), floor=found.floor,
        impacts=tuple(sorted(impacts)),
    )  # fmt: skip


def even_weights(confidence: np.ndarray, mass: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Confidence (T, n) for a loss over all particles, in which each object counts the same.

    mass: (n,) kg; body: (n,) number of the object of each particle.
    """
    masses = np.bincount(body, mass)
    if len(masses) == 1:
        return confidence
    return confidence * (masses.min() / masses)[body]
