"""Forces and winds that were recovered from a video, as the folder of a run holds them."""

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from taichi_phys.checks import one_of
from taichi_phys.mpm.forces import AirVelocity, Drag, ForceField


# Of the folder of a run; in the second the air, as SampledAir has it.
FORCES = "forces.npz"
AIR, AIR_ARRAYS = "air.npz", ("lower", "spacing", "values", "t")
ACTS = ("force", "air")
NEIGHBORS = 8  # particles of the record whose accelerations a place between them has
SOFT = 1e-3  # of the distance to the last of them: at a particle itself its own counts alone


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SampledAir(AirVelocity):
    """Velocities of air on a grid of points, with values between them in proportion.

    lower: (3,) m, the first point; spacing: m; values: (T, X, Y, Z, 3) m/s at times t (T,) s, which
    are evenly spaced. Outside the air is that of the nearest point, before and after that of the
    first and last time.
    """

    lower: np.ndarray
    spacing: float
    values: np.ndarray
    t: np.ndarray

    def __call__(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Velocities (n, 3) m/s at positions x (n, 3) m and time t s."""
        at = float(np.interp(t, self.t, np.arange(len(self.t))))
        first = min(int(at), len(self.t) - 2)
        pair = torch.as_tensor(self.values[first : first + 2]).to(x)
        now = torch.lerp(pair[0], pair[1], at - first)  # (X, Y, Z, 3)
        cells = torch.tensor(now.shape[:3]).to(x) - 1
        place = 2 * (x - torch.as_tensor(self.lower).to(x)) / self.spacing / cells - 1
        found = functional.grid_sample(
            now.permute(3, 2, 1, 0)[None], place[None, None, None], mode="bilinear",
            padding_mode="border", align_corners=True,
        )  # fmt: skip
        return found[0, :, 0, 0].T

    def along(self, x: np.ndarray) -> np.ndarray:
        """(T, n, 3) m/s at places x (T, n, 3) m of the same times."""
        pairs = zip(x, self.t, strict=True)
        return np.stack([self(torch.as_tensor(place), time).numpy() for place, time in pairs])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RecordedForce(ForceField):
    """The force mass x acceleration of particles that were recorded while they moved.

    t: (T,) s, rising; x: (T, m, 3) m, their places; acceleration: (T, m, 3) m/s^2. A place between
    them has the mean of the nearest, by inverse squared distances; a place around them that of the
    nearest, too. Between frames both change linearly; before and after the force is that of the
    first and last frame. Raises ValueError.
    """

    t: np.ndarray
    x: np.ndarray
    acceleration: np.ndarray

    def __post_init__(self):
        shape = (len(self.t), *np.shape(self.x)[1:2], 3)
        if len(shape) != 3 or np.shape(self.x) != shape or np.shape(self.acceleration) != shape:
            raise ValueError(
                f"t, x, acceleration: got {np.shape(self.t)}, {np.shape(self.x)} and "
                f"{np.shape(self.acceleration)}, expected (T,), (T, m, 3) and (T, m, 3)"
            )
        arrays = (self.t, self.x, self.acceleration)
        if not all(np.isfinite(a).all() for a in arrays) or (np.diff(self.t) <= 0).any():
            raise ValueError(
                "t, x, acceleration: got NaN, infinite values or times that do not rise"
            )

    def __call__(
        self, x: torch.Tensor, t: float, v: torch.Tensor, mass: torch.Tensor
    ) -> torch.Tensor:
        """Forces (n, 3) N on particles."""
        from scipy.spatial import cKDTree

        at = float(np.interp(t, self.t, np.arange(len(self.t))))
        first = min(int(at), max(len(self.t) - 2, 0))
        last, share = min(first + 1, len(self.t) - 1), at - first
        places, pulls = (
            torch.as_tensor((1 - share) * a[first] + share * a[last]).to(x)
            for a in (self.x, self.acceleration)
        )
        count = min(NEIGHBORS, len(places))
        tree = cKDTree(places.cpu().numpy())
        _, near = tree.query(x.detach().cpu().numpy(), np.arange(count) + 1)
        index = torch.as_tensor(near, device=x.device)
        square = (x[:, None] - places[index]).square().sum(dim=2)
        far = square.detach().amax(dim=1, keepdim=True)
        weights = 1 / (square + SOFT**2 * far + torch.finfo(x.dtype).tiny)
        weights = weights / weights.sum(dim=1, keepdim=True)
        return mass[:, None] * (weights[..., None] * pulls[index]).sum(dim=1)


def recorded_force(folder: str | Path, act: str | None = None) -> ForceField:
    """The force, or the wind, that a run recovered from a video, gravity left out.

    folder: of a run of `taichi-phys wind`, or forces.npz itself; act: "force", the force per mass
    on the object of the run, or "air", the drag of the air around it, as a run with --force wind
    finds it; None: the air where there is one. Raises ValueError for what cannot be read.
    """
    path = Path(folder)
    path = path / FORCES if path.is_dir() else path
    if act is not None:
        one_of("act", act, ACTS)
    record = _arrays(path, ("t", "x", "f", "mass", "gravity"))
    air = path.with_name(AIR)
    if act == "air" and not air.is_file():
        raise ValueError(f"{path.parent}: it knows no air, which a run with --force wind finds")
    if act != "force" and air.is_file():
        (rate,) = _arrays(path, ("drag",)).values()
        found = _arrays(air, AIR_ARRAYS)
        values, times = found["values"], found["t"]
        if values.ndim != 5 or values.shape[::4] != (len(times), 3) or len(times) < 2:
            raise ValueError(f"{air}: damaged, its arrays do not fit each other")
        spread = SampledAir(
            lower=found["lower"], spacing=float(found["spacing"]), values=values, t=times
        )
        return Drag(air=spread, rate=float(rate))
    mass = record["mass"]
    if mass.ndim != 1 or record["f"].shape[1:] != (*mass.shape, 3) or not (mass > 0).all():
        raise ValueError(f"{path}: damaged, its arrays do not fit each other")
    pull = record["f"] / mass[:, None] - record["gravity"]
    try:
        return RecordedForce(t=record["t"], x=record["x"], acceleration=pull)
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error})") from None


def _arrays(path: Path, names: Sequence[str]) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], dtype=np.float64) for name in names}
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file, expected a run of wind") from None
    except KeyError as error:
        raise ValueError(f"{path}: it lacks an array ({error.args[0]})") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
