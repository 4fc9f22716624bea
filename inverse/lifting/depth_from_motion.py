"""The depth of an object in frame 0 from nothing but how its points move in one view.

A point of a picture has a direction and no distance. But what turns, tilts or bends shows its shape
by how its points draw together and apart. The depth is a tilted and bent surface of few parameters,
found together with the motion (isometry.py), from several starts, since seen from afar a surface
and its mirror image in depth move alike.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from inverse.lifting.energy import LASTING, MIN_TRACKS
from inverse.lifting.isometry import ReliefEnergy, ReliefFit
from inverse.lifting.motion import measure_motion
from inverse.perception.relief import measure_relief
from inverse.spread import farthest_points
from inverse.tracking.tracks import Tracks
from renderers.camera import Camera


FRAMES, KEYPOINTS = 12, 80  # that are looked at: more say the same again, and take long
# Frames that are watched, at least. In fewer a smooth motion is nearly one field of velocities, and
# any surface has one that looks like it and does not stretch: the velocities in depth are free.
MIN_FRAMES = 8
WATCHED = 0.6  # of the keypoints, to be seen in a frame that is looked at
# Usual slopes of the surface, its bend over the size of the object, and its bulge over that of a
# body as round as its silhouette.
SLOPE, BEND, BULGE = 1.0, 0.3, 0.5
# What is tried first: planes of so many directions and that slope, and cylinders.
STARTS, TILT, CURL = 8, 0.7, 0.15
COARSE, FINE = 20, 36  # nodes
DRAFT_ROUNDS, ROUNDS = 8, 15  # of the search from each start, and from the best ones
DRAFT_TOLERANCE, TOLERANCE = 1e-2, 2e-3
KEPT = 3  # starts that are followed to the end
APART = 15.0  # degrees, between planes that are different shapes; of others, as far in depth
# The energy of another shape, over that of the best one, from which on the motion speaks against
# it. Energies hold errors that last (of tracks, of lengths), so that their ratio counts and not
# their difference: a twentieth of some 2000 squares is significant even if only one in ten is
# independent.
CLEARLY = 1.05


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MotionDepth:
    """What the motion of an object says of its depth in frame 0.

    depth: (H, W) m, NaN outside the mask; tilt: degrees, of its mean normal against the line of
    sight; against_flat, against_other: energies of a flat object that faces the camera, and of the
    best shape that is another one, over that of this one; doubt: degrees, between planes that are
    as far apart as this shape and those like it whose energy is no clearly higher one; last: the
    last frame that was looked at.
    """

    depth: np.ndarray
    tilt: float
    against_flat: float
    against_other: float
    doubt: float
    last: int

    @property
    def known(self) -> bool:
        """Whether the motion speaks against a flat object that faces the camera."""
        return self.against_flat > CLEARLY

    @property
    def certain(self) -> bool:
        """Whether it speaks against every other shape, too."""
        return self.known and self.against_other > CLEARLY and self.doubt < APART


def depth_from_motion(
    tracks: Tracks, cameras: Sequence[Camera], mask: np.ndarray, distance: float
) -> MotionDepth | None:
    """Find the depth of an object from its tracks; None where too few are seen for long enough.

    tracks: of its points, seen in frame 0; cameras: of each frame; mask: (H, W) bool, the object in
    frame 0; distance: m, harmonic mean of its depth there.
    """
    chosen = _choose(tracks)
    if chosen is None:
        return None
    frames, points = chosen
    used = Tracks(xy=tracks.xy[frames][:, points], visible=tracks.visible[frames][:, points])
    path = [cameras[t] for t in frames]
    surface = _Surface(mask, path[0], distance)
    basis = surface.at(used.xy[0])
    try:
        motion = measure_motion([(used, path)], path[0].unproject(used.xy[0], distance))
    except ValueError:
        return None
    sigma = max(motion.sigma_px, LASTING)

    def energy(nodes: int) -> ReliefEnergy:
        return ReliefEnergy(
            used, path, basis, surface.prior, distance=distance, motion=motion, sigma_px=sigma,
            nodes=nodes,
        )  # fmt: skip

    coarse, fine = energy(COARSE), energy(FINE)
    drafts = [
        coarse.minimize(start, rounds=DRAFT_ROUNDS, tolerance=DRAFT_TOLERANCE)
        for start in surface.starts()
    ]
    found = [
        fine.minimize(
            draft.relief, fine.nodes_of(coarse.W @ draft.nodes), rounds=ROUNDS, tolerance=TOLERANCE
        )
        for draft in _different(drafts, surface)[:KEPT]
    ]
    best = min(found, key=lambda fit: fit.cost)
    # What is not told from its mirror image must not win by where its search began.
    found.append(
        fine.minimize(-best.relief, fine.mirrored(best.nodes), rounds=ROUNDS, tolerance=TOLERANCE)
    )
    found = _different(found, surface)
    best = found[0]
    flat = fine.minimize(np.zeros(len(best.relief)), rounds=ROUNDS, tolerance=TOLERANCE, free=False)
    others = [fit.cost for fit in found[1:]]
    # Errors that happen to be small now may be as large as sigma says: one for each observation.
    usual = max(best.cost, float(used.visible[1:].sum()))
    return MotionDepth(
        depth=surface.depth(best.relief),
        tilt=float(np.degrees(np.arccos(surface.normal(best.relief)[2]))),
        against_flat=1 + (flat.cost - best.cost) / usual,
        against_other=1 + (min(others, default=flat.cost) - best.cost) / usual,
        doubt=surface.spread(fine.information(best), (CLEARLY - 1) * usual),
        last=int(frames[-1]),
    )


def _choose(tracks: Tracks) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames and points that are looked at, or None where there are too few."""
    start = tracks.visible[0]
    if start.sum() < MIN_TRACKS:
        return None
    watched = tracks.visible[:, start].mean(axis=1) >= WATCHED
    last = len(watched) if watched.all() else int(watched.argmin())
    if last < MIN_FRAMES:
        return None
    frames = np.unique(np.linspace(0, last - 1, min(FRAMES, last)).round().astype(int))
    long = tracks.visible[frames].mean(axis=0) >= WATCHED
    points = np.flatnonzero(start & long)
    if len(points) < MIN_TRACKS:
        return None
    return frames, points[farthest_points(tracks.xy[0, points], KEYPOINTS)]


class _Surface:
    """Tilted, bent and bulging surfaces over a mask (H, W) bool, of so many meters of distance.

    Their inverse depth is (1 + basis relief) / distance. The basis has a mean of zero over the
    mask; prior: (5,) or (6,), usual sizes of the coefficients.
    """

    def __init__(self, mask: np.ndarray, camera: Camera, distance: float):
        self.mask, self.camera, self.distance = mask, camera, distance
        rows, columns = np.nonzero(mask)
        self.rays = self._rays(np.stack([columns + 0.5, rows + 0.5], axis=1))
        self.center = self.rays.mean(axis=0)
        self.size = float(np.sqrt(((self.rays - self.center) ** 2).mean()))
        flat = np.where(mask, distance, np.nan)
        self.bulge = measure_relief(mask, flat, camera).half / distance
        basis = self._columns(self.rays, self.bulge[mask])
        self.mean = basis.mean(axis=0)
        self.basis = basis - self.mean
        self.prior = np.array([SLOPE * self.size] * 2 + [BEND * self.size] * 3 + [BULGE])

    def _rays(self, xy: np.ndarray) -> np.ndarray:
        camera = self.camera
        return (xy - [camera.cx, camera.cy]) / [camera.fx, camera.fy]

    def _columns(self, rays: np.ndarray, bulge: np.ndarray) -> np.ndarray:
        x, y = (rays - self.center).T / self.size
        return np.stack([x, y, x * x, x * y, y * y, bulge], axis=1)

    def at(self, xy: np.ndarray) -> np.ndarray:
        """The basis (n, k) at points (n, 2) px."""
        height, width = self.mask.shape
        cell = np.clip(np.floor(xy).astype(int), 0, [width - 1, height - 1])
        return self._columns(self._rays(xy), self.bulge[cell[:, 1], cell[:, 0]]) - self.mean

    def starts(self) -> list[np.ndarray]:
        """Coefficients (k,) of a flat surface, of tilted and of bent ones."""
        starts = np.zeros((1 + STARTS + 4, len(self.prior)))
        angle = 2 * np.pi * np.arange(STARTS) / STARTS
        starts[1 : 1 + STARTS, 0] = TILT * np.cos(angle)
        starts[1 : 1 + STARTS, 1] = TILT * np.sin(angle)
        starts[1 + STARTS :, [2, 4]] = CURL * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
        return list(starts * self.size)

    def depth(self, relief: np.ndarray) -> np.ndarray:
        """Depth (H, W) m of coefficients (k,), NaN outside the mask."""
        inverse = 1 + self.basis @ relief
        depth = np.full(self.mask.shape, np.nan)
        # Beyond the outermost points it goes on no farther than among them.
        depth[self.mask] = self.distance / np.clip(inverse, 0.5, 2.0)
        return depth

    def apart(self, one: np.ndarray, other: np.ndarray) -> float:
        """Angle, degrees, between two planes that are as far apart as two surfaces."""
        away = np.sqrt(((self.basis @ (one - other)) ** 2).mean())
        return float(np.degrees(np.arctan(away / (self.size / np.sqrt(2)))))

    def spread(self, information: np.ndarray, rise: float) -> float:
        """How far apart, degrees, surfaces may be from one where the energy rises by so much.

        information: (k, k), curvature of half the energy.
        """
        metric = self.basis.T @ self.basis / len(self.basis)
        widest = eigh(metric, information, eigvals_only=True)[-1]
        away = np.sqrt(max(rise * widest, 0.0))
        return float(np.degrees(np.arctan(away / (self.size / np.sqrt(2)))))

    def normal(self, relief: np.ndarray) -> np.ndarray:
        """The unit normal (3,) of the plane through a surface, in axes of the line of sight."""
        x, y = ((self.rays - self.center) / self.size).T
        plane = np.stack([x, y, np.ones_like(x)], axis=1)
        slope = np.linalg.lstsq(plane, self.basis @ relief, rcond=None)[0][:2] / self.size
        normal = np.array([*slope, 1.0])
        return normal / np.linalg.norm(normal)


def _different(fits: Sequence[ReliefFit], surface: _Surface) -> list[ReliefFit]:
    """Fits in the order of their energies, without those that are like a better one."""
    kept: list[ReliefFit] = []
    for fit in sorted(fits, key=lambda fit: fit.cost):
        if all(surface.apart(fit.relief, other.relief) > APART for other in kept):
            kept.append(fit)
    return kept
