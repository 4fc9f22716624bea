"""What a file of Gaussians holds, before it is checked row by row."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import torch

from renderers.splats.gaussians import SH_DEGREE_0, Gaussians


# The third scale of a flat Gaussian, as a share of its largest: far below what a picture shows.
FLAT = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """The numbers in a file, float64 or float32, as `Gaussians` names them.

    antialiased: whether the file says that its Gaussians were fitted with render(antialiased=True).
    """

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray
    antialiased: bool = False

    def gaussians(self, path: Path) -> Gaussians:
        """The Gaussians, float32 on the CPU.

        Scales of 0 are legal, and mean that a Gaussian is flat. Rows that cannot be drawn, with
        NaN, infinities or zeros where these have no meaning, are left out with a warning. Raises
        ValueError, which names the file, if no row is left.
        """
        with np.errstate(over="ignore"):
            values = {
                name: np.asarray(getattr(self, name), np.float32)
                for name in ("means", "quats", "scales", "opacities", "sh")
            }
        scales, quats = values["scales"], values["quats"]
        largest = scales.max(axis=1, keepdims=True, initial=0)
        good = (quats != 0).any(axis=1) & (largest[:, 0] > 0) & (scales >= 0).all(axis=1)
        good &= (values["opacities"] >= 0) & (values["opacities"] <= 1)
        for value in values.values():
            good &= np.isfinite(value).all(axis=tuple(range(1, value.ndim)))
        bad = int((~good).sum())
        if bad and bad == len(good):
            raise ValueError(
                f"{path}: none of its {bad} Gaussians can be drawn, because all have NaN, infinite "
                "or zero values"
            )
        if bad:
            warnings.warn(
                f"{path}: left out {bad} of {len(good)} Gaussians that have NaN, infinite or zero "
                "values",
                stacklevel=4,
            )
        tiny = np.finfo(np.float32).tiny
        values["scales"] = np.where(scales > 0, scales, np.maximum(FLAT * largest, tiny))
        if bad:
            values = {name: value[good] for name, value in values.items()}
        return Gaussians(**{k: torch.tensor(np.ascontiguousarray(v)) for k, v in values.items()})


def joined_sh(colors: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Coefficients (n, K, 3) from those of degree 0, (n, 3), and the others, (n, 3 (K - 1)).

    rest holds channel after channel.
    """
    others = rest.reshape(len(rest), 3, rest.shape[1] // 3)
    return np.concatenate([colors[:, None], others.transpose(0, 2, 1)], axis=1)


def first_sh(rgb: np.ndarray) -> np.ndarray:
    """The coefficients of degree 0 of colors from 0 to 1."""
    return (rgb - 0.5) / SH_DEGREE_0


def whole_quats(three: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4) of length 1 from all components but the largest, which is positive.

    three: (n, 3), the others in their order; largest: (n,), the index of the one left out.
    """
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest]
    quats = np.empty((len(three), 4))
    np.put_along_axis(quats, others, three, 1)
    left = np.sqrt((1 - (three**2).sum(axis=1)).clip(0))
    np.put_along_axis(quats, largest[:, None], left[:, None], 1)
    return quats


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises ValueError, which names it, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
