"""How far a lift is to be believed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inverse.lifting.energy import TrackedView


SEEN = 0.2  # confidence below which a particle's place, and so its force, is a guess
# Reprojection error, the median of a frame, above which a motion does not fit its tracks there: in
# sigmas of their noise, and as a share of the object's width.
LOOSE_SIGMAS, LOOSE_SHARE = 5.0, 0.01
# Share of the particles below which a frame is lost. Thirteen filmed clips were tried: in every one
# that failed it was reached by frame 1 to 10, and in none of those that a user was content with.
LOST = 0.5
# Frames in a row, and share of the clip, in which what passes in front may hide the object:
# the motion is carried over them as over pictures that are missing.
GAP, GAPS = 5, 0.2
EARLY = 0.5  # of the clip: what is lost so soon was never followed
# A share of the width in over half of the frames above which nothing of a lift can be used.
FAILED_SHARE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LiftQuality:
    """How far a lift is to be believed, frame by frame.

    converged: whether the solution came to rest; reprojection_px: (T, 2) px, median and 90 % of the
    distances between where keypoints were tracked and where they project, NaN where none is seen;
    seen_share: (T,) share of particles whose confidence is at least SEEN; keypoints_seen_share:
    (T,), the same of keypoints; sigma_px: noise of the tracks, px; object_px: longer side of the
    box around the keypoints in frame 0 of the first view, px.
    """

    converged: bool
    reprojection_px: np.ndarray
    seen_share: np.ndarray
    keypoints_seen_share: np.ndarray
    sigma_px: float
    object_px: float

    @property
    def fits(self) -> np.ndarray:
        """Whether the motion fits the tracks of a frame: (T,) bool, true where none is seen."""
        limit = max(LOOSE_SIGMAS * self.sigma_px, LOOSE_SHARE * self.object_px)
        return ~(self.reprojection_px[:, 0] > limit)

    def until(self, frames: int) -> "LiftQuality":
        """The first frames only."""
        return dataclasses.replace(
            self,
            reprojection_px=self.reprojection_px[:frames],
            seen_share=self.seen_share[:frames],
            keypoints_seen_share=self.keypoints_seen_share[:frames],
        )

    def failure(self) -> str | None:
        """Why nothing of the lift can be used, in a sentence; None if that is not so."""
        median = self.reprojection_px[:, 0]
        median = median[np.isfinite(median)]
        usual = float(np.median(median)) if len(median) else 0.0
        if usual <= FAILED_SHARE * self.object_px:
            return None
        lost = np.flatnonzero(self.seen_share < LOST)
        early = len(lost) and lost[0] < EARLY * len(self.seen_share)
        return (
            f"tracks: no motion of the object explains them, keypoints are {usual:.0f} px from "
            f"where they were tracked and the object is {self.object_px:.0f} px wide; "
            + (f"from frame {lost[0]} on less than half of it is seen, so that it is too fast, too "
               "blurred or too folded to be followed: begin where it moves less (--start, and a "
               "mask or box of that frame), or give --tracks; otherwise " if early else "")
            + "the depth, the camera or the mask may be wrong, or the tracks are"
        )  # fmt: skip

    def to_record(self) -> dict[str, Any]:
        """For JSON: numbers of each frame to four digits, None where there is none."""
        median, most = (_rounded(column) for column in self.reprojection_px.T)
        return {
            "converged": self.converged,
            "fits": self.fits.tolist(),
            "reprojection_px": {"median": median, "90_percent": most},
            "keypoints_seen_share": _rounded(self.keypoints_seen_share),
            "sigma_px": self.sigma_px,
            "object_px": self.object_px,
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it, for an npz file; `from_arrays` reads it."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "LiftQuality":
        """The record that `to_arrays` gave."""
        names = ("reprojection_px", "seen_share", "keypoints_seen_share")
        return cls(
            **{name: arrays[name] for name in names},
            converged=bool(arrays["converged"]),
            sigma_px=float(arrays["sigma_px"]),
            object_px=float(arrays["object_px"]),
        )


def followed_frames(seen_share: Sequence[float] | np.ndarray) -> int:
    """The number of frames before tracks see less than half of the particles for good; frame 0 is
    always seen.

    A few frames in which something hides the object do not count, where it is seen for as long
    before and after them.
    """
    first, _ = hidden(np.asarray(seen_share))
    return len(seen_share) if first is None else first


def hidden(seen_share: np.ndarray) -> tuple[int | None, list[tuple[int, int]]]:
    """The frame from which on an object is lost, None where it is not; and the first and last of
    the frames before in which it is hidden."""
    lost = np.append(seen_share < LOST, False)
    lost[0] = False
    edges = np.flatnonzero(np.diff(lost.astype(int))) + 1
    starts, ends = edges[::2].tolist(), edges[1::2].tolist()  # lost from a start to before an end
    gaps: list[tuple[int, int]] = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        long = end - start
        before = start - (gaps[-1][1] + 1 if gaps else 0)
        after = (starts[k + 1] if k + 1 < len(starts) else len(seen_share)) - end
        unseen = long + sum(b + 1 - a for a, b in gaps)
        if long > min(GAP, before, after) or unseen > GAPS * len(seen_share):
            return start, gaps
        gaps.append((start, end - 1))
    return None, gaps


def reprojection_errors(views: Sequence[TrackedView], points: np.ndarray) -> list[np.ndarray]:
    """Distances, px, of what is seen from where keypoints (T, N, 3) m project, frame by frame."""
    errors = []
    for t, x in enumerate(points):
        off = [
            np.linalg.norm(cameras[t].project(x)[0] - tracks.xy[t], axis=1)[tracks.visible[t]]
            for tracks, cameras in views
        ]
        errors.append(np.concatenate(off))
    return errors


def median_and_most(errors: Sequence[np.ndarray]) -> np.ndarray:
    """Median and 90 % (T, 2) of the errors of each frame; NaN where there are none."""
    nothing = [np.nan, np.nan]
    return np.array([np.percentile(e, (50, 90)) if len(e) else nothing for e in errors])


def seen_share(confidence: np.ndarray) -> np.ndarray:
    """Share (T,) of points whose confidence (T, n) is at least SEEN."""
    return (confidence >= SEEN).mean(axis=1)


def width_px(xy: np.ndarray) -> float:
    """Longer side of the box around points (N, 2) px."""
    return float(np.ptp(xy, axis=0).max())


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]
