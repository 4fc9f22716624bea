"""A first look at a whole clip: when its pictures are shown, and how each differs from the last."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from renderers.decoding import FilmFacts, Picture
from renderers.films import open_film


LONGEST = 640  # px, of the pictures that are looked at
BLOCK = 16  # px, side of the blocks in which differences are averaged: a small object fills one
THUMB = 48  # px, longer side of the pictures that are kept
FINE = 1.5  # px, standard deviation of the smoothing that takes out noise, not what moves
ACTIVE = 0.3  # of the most that a block changes, from which on something moves in it
FAINT = 0.5  # gray levels, of changes that are noise
SMOOTH = THUMB / 12  # px, standard deviation of the smoothing under which small shifts add up


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What a first look at P pictures of a clip shows.

    times: (P,) s; thumbs: (P, h, w) small gray pictures; moved: (P,) gray levels by which the block
    that changed most differs from the picture before, inf for the first; uneven: (P,) by how much
    what moves differs from the mean of the pictures before and after, over how much these differ,
    NaN for the first and the last; coding: (P,) how each is coded, as in Picture; size: (width,
    height) px of the pictures; facts: what the file says; interlaced: share of pictures that are;
    transfer: how brightness is coded, in ffmpeg's words; square: whether the file's pixels are;
    damaged: whether ffmpeg complained; notes: sentences about what was left out.
    """

    times: np.ndarray
    thumbs: np.ndarray
    moved: np.ndarray
    uneven: np.ndarray
    coding: np.ndarray
    size: tuple[int, int]
    facts: FilmFacts
    interlaced: float
    transfer: str
    square: bool
    damaged: bool
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def deviation(self) -> np.ndarray:
        """(P,) gray levels, standard deviation over each picture, near 0 where it shows nothing."""
        return self.thumbs.std(axis=(1, 2))

    def distance(self, a: int, b: int) -> float:
        """Gray levels by which two pictures differ on average, once both are equally bright and
        have the same contrast: what a change of light does not explain."""
        first, second = (_normalized(self.thumbs[k]) for k in (a, b))
        contrast = float(np.sqrt(self.thumbs[a].std() * self.thumbs[b].std()))
        return contrast * float(np.abs(first - second).mean())

    def way(self, a: int, b: int) -> float:
        """How far things moved between two pictures, without a unit: it grows with the way evenly
        up to a twelfth of the picture, where details are smoothed away."""
        small = [cv2.GaussianBlur(_normalized(self.thumbs[k]), (0, 0), SMOOTH) for k in (a, b)]
        return float(np.abs(small[0] - small[1]).mean())


def scan_clip(path: str | Path, *, limit: int | None = None) -> Scan:
    """Look at the first pictures of a clip, or at all. Raises ValueError for what cannot be read.

    limit: their largest number.
    """
    with open_film(path, longest=LONGEST, gray=True) as film:
        times, thumbs, moved, scans, coding = [], [], [], [], []
        uneven, smooth = [np.nan], list[np.ndarray]()
        first: Picture | None = None
        before = None
        for picture in film:
            first = picture if first is None else first
            if picture.size != first.size:
                raise ValueError(
                    f"video {path}: its pictures have different sizes, "
                    f"{_size(first.size)} and from {picture.time:.2f} s on {_size(picture.size)}"
                )
            times.append(picture.time)
            thumbs.append(_thumb(picture.image))
            moved.append(np.inf if before is None else _most_changed(before, picture.image))
            scans.append(picture.scan != "P")
            coding.append(picture.coding)
            before = picture.image
            smooth = [*smooth[-2:], _fine(picture.image)]
            if len(smooth) == 3:
                uneven.append(_unevenness(*smooth))
            if limit is not None and len(times) >= limit:
                break
        facts, damaged, notes = film.facts, film.damaged, tuple(film.notes)
    if first is None:
        raise ValueError(f"video {path}: holds no frame")
    return Scan(
        times=np.array(times), thumbs=np.stack(thumbs), moved=np.array(moved),
        uneven=np.array([*uneven, np.nan][: len(times)]), coding=np.array(coding), size=first.size,
        facts=facts, interlaced=float(np.mean(scans)), transfer=first.transfer,
        square=first.square, damaged=damaged, notes=notes,
    )  # fmt: skip


def _size(size: Iterable[int]) -> str:
    return "x".join(map(str, size))


def _thumb(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    by = min(1.0, THUMB / max(height, width))
    size = max(1, round(width * by)), max(1, round(height * by))
    return cv2.resize(gray.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _most_changed(a: np.ndarray, b: np.ndarray) -> float:
    return float(_in_blocks(cv2.absdiff(a, b)).max())


def _in_blocks(image: np.ndarray) -> np.ndarray:
    """The means of an image (H, W) in its blocks."""
    height, width = image.shape
    size = max(1, width // BLOCK), max(1, height // BLOCK)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _fine(gray: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(gray.astype(np.float32), (0, 0), FINE)


def _unevenness(before: np.ndarray, now: np.ndarray, after: np.ndarray) -> float:
    """How far a picture is from the mean of its neighbors where these differ, over by how much."""
    off = _in_blocks(np.abs(before + after - 2 * now))
    change = _in_blocks(np.abs(after - before))
    active = change >= ACTIVE * change.max()
    return float(off[active].sum() / (change[active] + FAINT).sum())


def _normalized(thumb: np.ndarray) -> np.ndarray:
    return (thumb - thumb.mean()) / max(float(thumb.std()), 1e-6)
