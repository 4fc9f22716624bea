"""Point tracks in one video: the record and its file."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taichi_phys.checks import set_fields
from taichi_phys.io.files import atomic_path


FIELDS = ("xy", "visible", "information")  # the arrays in a file; the last may be missing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """N points followed through T frames of one view.

    xy: (T, N, 2) image coordinates, px, origin at the corner of the top-left pixel;
    visible: (T, N) bool, where xy was observed (elsewhere xy is only a guess);
    information: (T, N, 2, 2) how sharply the image fixes each observation, as an inverse
    covariance in units of a typical one (the identity when it is not given); compared: whether the
    tracker compared each observation with how its point looks in frame 0, so that what left the
    object is not among them; of other tracks silhouettes have to tell. Raises ValueError for other
    shapes, and for a visible position that is not finite.
    """

    xy: np.ndarray
    visible: np.ndarray
    information: np.ndarray = None  # type: ignore[assignment]  # an array once it is made
    compared: bool = False

    def __post_init__(self) -> None:
        xy = np.asarray(self.xy, dtype=np.float64)
        visible = np.asarray(self.visible, dtype=bool)
        if xy.ndim != 3 or xy.shape[2] != 2:
            raise ValueError(f"tracks xy: got shape {xy.shape}, expected (T, N, 2)")
        if visible.shape != xy.shape[:2]:
            raise ValueError(f"tracks visible: got shape {visible.shape}, expected {xy.shape[:2]}")
        if not np.isfinite(xy[visible]).all():
            raise ValueError("tracks xy: a visible point has a position that is not finite")
        shape = (*xy.shape[:2], 2, 2)
        given = np.broadcast_to(np.eye(2), shape) if self.information is None else self.information
        information = np.asarray(given, dtype=np.float64)
        if information.shape != shape:
            raise ValueError(f"tracks information: got shape {information.shape}, expected {shape}")
        set_fields(self, xy=xy, visible=visible, information=information)

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return self.xy.shape[0]

    @property
    def count(self) -> int:
        """Number of points N."""
        return self.xy.shape[1]

    def of(self, keep: np.ndarray) -> "Tracks":
        """The tracks of some points only; keep: (N,) bool, or indices."""
        return Tracks(
            xy=self.xy[:, keep],
            visible=self.visible[:, keep],
            information=self.information[:, keep],
        )

    def until(self, frames: int) -> "Tracks":
        """The first frames of the tracks."""
        return Tracks(
            xy=self.xy[:frames],
            visible=self.visible[:frames],
            information=self.information[:frames],
        )

    @staticmethod
    def together(parts: Sequence["Tracks"]) -> "Tracks":
        """The tracks of all points of several sets, which have the same frames."""
        fields: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=1) for name in FIELDS
        }
        return Tracks(**fields)

    def save(self, path: str | Path) -> None:
        """Write an npz file, whole or not at all; raises ValueError when it cannot be written."""
        with atomic_path(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(
                file, xy=self.xy, visible=self.visible, information=self.information
            )
