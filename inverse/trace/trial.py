"""Whether parts that share a motion explain the photographs as well as they did before.

What looks like a rigid part may be none: a training that is too short for good paths shows hardly
any motion, and soft or jointed bodies may seem rigid for a while. And two parts that move nearly
alike may be one. So a shared motion is on trial at first. It is then compared with the model
before it, part by part, by the pixels of photographs that neither has been trained on; where it is
worse, the Gaussians move again as they did before.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from inverse.fitting.photometric import PhotoLoss
from inverse.trace.model import TraceModel
from inverse.trace.shared import SharedMotion
from renderers.camera import Camera
from renderers.splats.render import render


HELD_OUT = 1 / 16  # share of the photographs that are not trained on until the last verdict
FEWEST = 4  # photographs that are held out, of at least PLENTY
PLENTY = 32
SHOWN = 0.5  # share of a pixel's color that a part gives where the pixel shows it
DARK = 1e-6  # squared error below which two pictures are equally good


def held_out(count: int, seed: int) -> list[int]:
    """The photographs, of count, by which shared motions are judged; none if there are few."""
    if count < PLENTY:
        return []
    some = np.random.default_rng(seed).permutation(count)[: max(round(HELD_OUT * count), FEWEST)]
    return sorted(some.tolist())


class Trial:
    """The model before parts were made, with which the later one is compared.

    before: the model; parts: (n,) int, the part that each Gaussian was given, 0 or less for none;
    pieces: (n,) int, from 1, what was united to these parts; changed: (K,) bool, parts whose poses
    were changed. Each piece of a part that was changed, or that the model before does not have, is
    judged by itself.
    """

    def __init__(
        self, before: TraceModel, parts: np.ndarray, pieces: np.ndarray, changed: np.ndarray
    ):
        self.before = before.requires_grad_(False)
        known = np.zeros_like(parts)
        if before.shared is not None:
            known = before.shared.part.cpu().numpy()
        self.pieces = np.zeros_like(pieces)  # (n,), those that are judged, 1 to `count`
        self.count = 0
        for k in range(1, parts.max(initial=0) + 1):
            own = parts == k
            if same_parts(own, known * own) and not changed[k - 1]:
                continue
            for piece in np.unique(pieces[own]):
                self.count += 1
                self.pieces[own & (pieces == piece)] = self.count

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the trial."""
        return {"model": self.before.state_dict(), "scene": self.before.scene(),
                "pieces": torch.as_tensor(self.pieces)}  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any], model: TraceModel) -> "Trial":
        """Make the trial of the model whose state this is."""
        before = TraceModel.from_state(state["model"], state["scene"], model.config)
        pieces = state["pieces"].cpu().numpy()
        none = np.zeros(0, dtype=bool)
        trial = cls(before.to(model.moving.device), np.zeros_like(pieces), pieces, none)
        trial.pieces, trial.count = pieces, int(pieces.max(initial=0))
        return trial

    @torch.no_grad()
    def compare(
        self,
        model: TraceModel,
        photographs: PhotoLoss,
        views: Sequence[tuple[int, Camera, float]],
        background: tuple[float, float, float],
    ) -> np.ndarray:
        """The mean squared errors (P, 2) of the pixels of each piece: before, and now.

        views: index, camera and time, s, of the photographs. A pixel is one of a piece if most of
        its color is that piece's, before or now. NaN for a piece that no photograph shows.
        """
        count = self.count
        one_hot = torch.nn.functional.one_hot(torch.as_tensor(self.pieces), count + 1).float()
        one_hot = one_hot[:, 1:].to(model.moving.device)
        total, pixels = np.zeros((count, 2)), np.zeros(count)
        color = torch.tensor(background).to(model.moving.device)
        for index, camera, t in views:
            target = photographs.over(index, color)
            misses, shares = [], []
            for side in (self.before, model):
                image = render(camera, **side.tensors_at(t), features=one_hot, background=color)
                assert image.features is not None
                misses.append((image.rgb - target).square().mean(dim=-1))
                shares.append(image.features > SHOWN)
            shown = shares[0] | shares[1]
            seen = photographs.seen[index]
            if seen is not None:
                shown &= seen[..., None]
            for k, miss in enumerate(misses):
                total[:, k] += (miss[..., None] * shown).sum(dim=(0, 1)).cpu().numpy()
            pixels += shown.sum(dim=(0, 1)).cpu().numpy()
        with np.errstate(invalid="ignore"):
            return total / pixels[:, None]


def same_parts(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two labelings (n,), in which 0 or less is no part, have the same parts."""
    if not np.array_equal(one > 0, two > 0):
        return False
    pairs = {*zip(one[one > 0].tolist(), two[one > 0].tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def worse(errors: np.ndarray) -> np.ndarray:
    """Which pieces (P,) bool are explained worse than before, by the errors (P, 2) of `compare`."""
    return errors[:, 1] > errors[:, 0] + DARK


@torch.no_grad()
def light_errors(
    model: TraceModel,
    photographs: PhotoLoss,
    views: Sequence[tuple[int, Camera, float]],
    background: tuple[float, float, float],
) -> np.ndarray:
    """The mean squared errors (V, 2) of photographs: without the light of a model, and with it.

    views, background: as in `Trial.compare`. Without the light, parts have their mean shade.
    """
    dark = copy.deepcopy(model)
    dark.put_out_light()
    color = torch.tensor(background).to(model.moving.device)
    errors = np.zeros((len(views), 2))
    for k, (index, camera, t) in enumerate(views):
        target = photographs.over(index, color)
        seen = photographs.seen[index]
        for side, one in enumerate((dark, model)):
            square = (render(camera, **one.tensors_at(t), background=color).rgb - target).square()
            errors[k, side] = float((square if seen is None else square[seen]).mean())
    return errors


def shines(errors: np.ndarray, least: float | None = None) -> bool:
    """Whether errors (V, 2) of `light_errors` say that there is light.

    least: the share by which their mean has to be larger without it, by default more than chance.
    """
    gain = errors[:, 0] - errors[:, 1]
    chance = gain.std(ddof=1) / len(gain) ** 0.5
    return bool(gain.mean() > max(chance if least is None else least * errors[:, 1].mean(), DARK))


@torch.no_grad()
def revert(
    model: TraceModel, trial: Trial, bad: np.ndarray, optimizer: torch.optim.Optimizer
) -> None:
    """Let the Gaussians of some pieces, bad (P,) bool, move as before the trial.

    So do Gaussians that moved by themselves all the time, since all of these are moved by one
    network. Parts keep what they have learned.
    """
    shared, before = model.shared, trial.before
    assert shared is not None
    for network, old in (
        (model.deformation, before.deformation),
        (model.dynamics, before.dynamics),
    ):
        if network is not None and old is not None:
            network.load_state_dict(old.state_dict())
    refuted = torch.as_tensor(np.append(False, bad)[trial.pieces]).to(shared.part.device)
    kept = (shared.part > 0) & ~refuted
    # Gaussians that came to rest stay there, and so do those that were moved onto one at rest.
    back = model.moving & ~kept
    for now, then in zip(model.gaussians.parameters(), before.gaussians.parameters(), strict=True):
        now[back] = then[back]
        for values in optimizer.state.get(now, {}).values():
            if values.shape == now.shape:
                values[back] = 0
    if model.light is not None and before.light is not None:
        model.light.normals[back] = before.light.normals[back]
    model.moving[back] = before.moving[back]
    part, motions = torch.where(kept, shared.part, 0), [shared]
    if before.shared is not None:
        motions.append(before.shared)
        own = back & (before.shared.part > 0)
        part = torch.where(own, len(shared) + before.shared.part, part)
    model.shared = SharedMotion.combined(motions, part)
