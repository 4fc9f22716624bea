"""Rigid motions that all Gaussians of a part share, learned from the photographs.

A Gaussian by itself shows little of its motion: where a part has one color, its Gaussians may slide
along it. All pixels of the part together show its six degrees of freedom well. So a part that has
been found rigid gets one pose at each of several times (knots); the poses are learned from the
photographs, beside the Gaussians, which no longer move within their part.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline
from torch import nn

from inverse.trace.laws import MotionLaw
from inverse.trace.paths import median, rigid_path
from taichi_phys.rotations import rotation_matrix


JUMP = 0.7  # rad, a little less than the turn after which an octagon looks the same


class SharedMotion(nn.Module):
    """One rigid motion for each of K parts; the Gaussians are given as they are at time 0.

    part: (n,) int, the part of each Gaussian, 1 to K, 0 for Gaussians that move by themselves;
    knots: (T,) s, ascending; centers: (K, T, 3) m and quats: (K, T, 4) wxyz, poses at the knots,
    from which the learned ones differ by `shift` m and by `turn`, rotation vectors times the size
    of the part, m; sizes: (K,) m, median distance of the Gaussians from the center.
    After the training, `laws` holds the law of each part, which gives its poses after the last
    knot; while it goes on with later knots, the laws of before. Poses between the knots are those
    of splines.
    """

    part: torch.Tensor
    knots: torch.Tensor
    centers: torch.Tensor
    quats: torch.Tensor
    sizes: torch.Tensor

    def __init__(self, part: Any, knots: Any, centers: Any, quats: Any, sizes: Any):
        super().__init__()
        self.register_buffer("part", torch.as_tensor(part).long())
        for name, values in {
            "knots": knots, "centers": centers, "quats": quats, "sizes": sizes
        }.items():  # fmt: skip
            self.register_buffer(name, torch.as_tensor(values).float())
        self.shift = nn.Parameter(torch.zeros_like(self.centers))
        self.turn = nn.Parameter(torch.zeros_like(self.centers))
        self.laws: list[MotionLaw] | None = None
        self._splines: list[RotationSpline] = []  # of the turns before learning
        self._at: dict[float, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def blank(cls, state: dict[str, torch.Tensor]) -> "SharedMotion":
        """Make the motion whose state_dict is to be loaded next."""
        return cls(*(state[k] for k in ("part", "knots", "centers", "quats", "sizes")))

    @classmethod
    @torch.no_grad()
    def combined(
        cls, motions: Sequence["SharedMotion"], part: torch.Tensor
    ) -> "SharedMotion | None":
        """Put the parts of several motions with the same knots together.

        part: (n,) of the Gaussians, counted through the parts of all motions, 0 for none. Parts
        without Gaussians are left out; None if no part is left. What was learned is kept.
        """
        used = torch.unique(part[part > 0])
        if not len(used):
            return None
        number = part.new_zeros(1 + sum(map(len, motions)))
        number[used] = torch.arange(1, len(used) + 1, device=part.device)
        centers, quats, sizes, shift, turn = (
            torch.cat([getattr(motion, name) for motion in motions])[used - 1]
            for name in ("centers", "quats", "sizes", "shift", "turn")
        )
        motion = cls(number[part], motions[0].knots, centers, quats, sizes).to(part.device)
        motion.shift.copy_(shift)
        motion.turn.copy_(turn)
        return motion

    def __len__(self) -> int:
        return len(self.sizes)

    def poses(self, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Centers (K, 3) m and quaternions (K, 4) wxyz of the parts at t s, in the graph.

        Raises ValueError for a time after the last knot, if there are no laws yet.
        """
        if t > float(self.knots[-1]) + 1e-6:
            if self.laws is None:
                raise ValueError(f"t: got {t}, expected at most {float(self.knots[-1])}: no laws")
            centers, turns = zip(*(law.poses([t]) for law in self.laws), strict=True)
            quats = np.concatenate([turn.as_quat(scalar_first=True) for turn in turns])
            like = self.centers
            return (torch.as_tensor(np.concatenate(centers)).to(like),
                    torch.as_tensor(quats).to(like))  # fmt: skip
        weights, centers, quats = self._base(float(t))
        shift = torch.einsum("t,ktc->kc", weights, self.shift)
        turn = torch.einsum("t,ktc->kc", weights, self.turn) / self.sizes[:, None]
        return centers + shift, quaternion_product(rotation_exponential(turn), quats)

    def carry(
        self, t: float, x: torch.Tensor, quats: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Carry Gaussians from time 0 to t s with their parts.

        x: (m, 3) m and quats: (m, 4), of the Gaussians index (m,), each of which has a part.
        Returns both at t, and the rotations (m, 3, 3) since time 0.
        """
        centers, turns = self.poses(t)
        inverse = self.quats[:, 0] * self.quats.new_tensor([1.0, -1, -1, -1])
        turns = quaternion_product(turns, inverse)
        k = self.part[index] - 1
        R = rotation_matrix(turns)[k]
        x = (R @ (x - self.centers[k, 0])[..., None])[..., 0] + centers[k]
        return x, quaternion_product(turns[k], quats), R

    @torch.no_grad()
    def extended(self, knots: Sequence[float]) -> "SharedMotion":
        """The same motion with further knots, s, after the last one, at which the laws hold."""
        later = [law.poses(knots) for law in self.laws or ()]
        if len(later) != len(self):
            raise ValueError("knots: no laws yet; the run has not finished")
        centers = torch.as_tensor(np.stack([c for c, _ in later])).to(self.centers)
        quats = np.stack([turns.as_quat(scalar_first=True) for _, turns in later])
        motion = SharedMotion(
            self.part,
            torch.cat([self.knots, self.knots.new_tensor(knots)]),
            torch.cat([self.centers, centers], dim=1),
            torch.cat([self.quats, torch.as_tensor(quats).to(self.quats)], dim=1),
            self.sizes,
        ).to(self.knots.device)
        motion.shift[:, : len(self.knots)] = self.shift
        motion.turn[:, : len(self.knots)] = self.turn
        motion.laws = self.laws  # until those of all knots are found
        return motion

    @torch.no_grad()
    def paths(self) -> list[tuple[np.ndarray, Rotation]]:
        """The poses of each part at the knots: centers (T, 3) m and rotations."""
        poses = [self.poses(t) for t in self.knots.tolist()]
        centers = torch.stack([c for c, _ in poses], 1).double().cpu().numpy()
        quats = torch.stack([q for _, q in poses], 1).double().cpu().numpy()
        turns = [Rotation.from_quat(q, scalar_first=True) for q in quats]
        return list(zip(centers, turns, strict=True))

    @torch.no_grad()
    def mend_jumps(self) -> np.ndarray:
        """Take out the turns by which parts seem to jump; returns which parts (K,) bool had one.

        Call it before the poses are learned.
        """
        quats = self.quats.double().cpu().numpy()
        mended = np.zeros(len(self), dtype=bool)
        for k, own in enumerate(quats):
            turns = Rotation.from_quat(own, scalar_first=True)
            smooth = without_jumps(turns)
            if smooth is not None:
                mended[k] = True
                quats[k] = smooth.as_quat(scalar_first=True)
        self.quats.copy_(torch.as_tensor(quats))
        self._forget()
        return mended

    def _base(self, t: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The weights (T,) of the knots at t, and the poses before learning: (K, 3) and (K, 4)."""
        if t not in self._at:
            knots = self.knots.double().cpu().numpy()
            weights = CubicSpline(knots, np.eye(len(knots)))(t)
            centers = self.centers.double().cpu().numpy()
            if not self._splines:
                self._splines = [
                    RotationSpline(knots, Rotation.from_quat(q, scalar_first=True))
                    for q in self.quats.double().cpu().numpy()
                ]
            values = (
                weights,
                np.einsum("t,ktc->kc", weights, centers),
                np.stack([turns(t).as_quat(scalar_first=True) for turns in self._splines]),
            )
            weights, centers, quats = (torch.as_tensor(v).to(self.centers) for v in values)
            self._at[t] = weights, centers, quats
        return self._at[t]

    def _forget(self) -> None:
        """Forget what follows from poses that are about to change, or have changed."""
        self._splines.clear()
        self._at.clear()

    def _load_from_state_dict(self, *args: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args)


def bodies(
    knots: Sequence[float],
    x: np.ndarray,
    quats: np.ndarray,
    log_scales: np.ndarray,
    part: np.ndarray,
    weights: np.ndarray,
) -> tuple[SharedMotion, np.ndarray, np.ndarray, np.ndarray]:
    """Make one rigid motion for each part, and the Gaussians that follow it at time 0.

    knots: (T,) s; x: (T, n, 3) m, quats: (T, n, 4) wxyz and log_scales: (T, n, 3), the Gaussians at
    these times; part: (n,) int, 0 for Gaussians that move by themselves, which stay as they are at
    time 0; weights: (n,), such as opacities. Returns the motion, and positions (n, 3) m,
    quaternions (n, 4) and log scales (n, 3): the medians of those that the body has at the knots.
    """
    count = int(part.max(initial=0))
    mean, turned, sizes = x[0].copy(), quats[0].copy(), log_scales[0].copy()
    centers, turns, radii = [], [], []
    for k in range(1, count + 1):
        own = part == k
        path, R, _ = rigid_path(x[:, own], weights[own])
        arms = np.einsum("tji,tnj->tni", R.as_matrix(), x[:, own] - path[:, None])
        arms = np.median(arms, axis=0)
        own_quats = np.stack(
            [(r.inv() * Rotation.from_quat(q, scalar_first=True)).as_quat(scalar_first=True)
             for r, q in zip(R, quats[:, own], strict=True)]
        )  # fmt: skip
        own_quats *= np.sign((own_quats * own_quats[:1]).sum(-1, keepdims=True) + 1e-12)
        body = Rotation.from_quat(own_quats.mean(axis=0), scalar_first=True)
        mean[own] = path[0] + R[0].apply(arms)
        turned[own] = (R[0] * body).as_quat(scalar_first=True)
        sizes[own] = np.median(log_scales[:, own], axis=0)
        centers.append(path)
        turns.append(R.as_quat(scalar_first=True))
        radii.append(max(median(np.linalg.norm(arms, axis=1), weights[own]), 1e-6))
    motion = SharedMotion(part, knots, np.stack(centers), np.stack(turns), radii)
    return motion, mean, turned, sizes


def without_jumps(turns: Rotation) -> Rotation | None:
    """Rotations (T,) at successive times without turns that no steady motion explains.

    A body that looks alike from several sides, such as a box or a fan, may be taken for itself
    turned by a quarter from some time on. There one step differs from its neighbors by JUMP or
    more, while these agree; it is taken as their mean. Returns None if there is no such step.
    """
    steps = (turns[1:] * turns[:-1].inv()).as_rotvec()
    found = False
    for i in range(1, len(steps) - 1):
        jump = np.linalg.norm(steps[i] - (steps[i - 1] + steps[i + 1]) / 2)
        if jump > JUMP and np.linalg.norm(steps[i - 1] - steps[i + 1]) < jump / 2:
            steps[i] = (steps[i - 1] + steps[i + 1]) / 2
            found = True
    if not found:
        return None
    mended = [turns[0]]
    for step in steps:
        mended.append(Rotation.from_rotvec(step) * mended[-1])
    return Rotation.concatenate(mended)


def rotation_exponential(vectors: torch.Tensor) -> torch.Tensor:
    """Unit quaternions (n, 4) wxyz of rotation vectors (n, 3) rad, with gradients also at zero."""
    square = vectors.square().sum(-1, keepdim=True)
    near = square < 1e-8
    angle = torch.where(near, torch.ones_like(square), square).sqrt()
    scale = torch.where(near, 0.5 - square / 48, torch.sin(angle / 2) / angle)
    first = torch.where(near, 1 - square / 8, torch.cos(angle / 2))
    return torch.cat([first, scale * vectors], dim=-1)


def quaternion_product(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The product p q of quaternions (n, 4) wxyz, which rotates by q first, then by p."""
    a, b = p[:, :1], p[:, 1:]
    c, d = q[:, :1], q[:, 1:]
    return torch.cat(
        [a * c - (b * d).sum(1, keepdim=True), a * d + c * b + torch.linalg.cross(b, d)], dim=1
    )
