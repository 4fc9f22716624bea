"""How far Gaussians stray from the true paths of points, where the data has such paths."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from inverse.runs.folder import read_npz
from inverse.trace.model import TraceModel
from taichi_phys.rotations import rotation_matrix


TRACKS = "tracks.npz"  # in the folder of the data
FAINT = 1e-9  # influence below which a Gaussian does not reach a point


def read_tracks(folder: Path, unit: float, start: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the true paths of points in a folder of data, None if it has none.

    unit: s, of the times of the data; start: in that unit, the time at which those of the run are
    0. Returns times (T,) s and paths (T, n, 3) m. Raises ValueError for other contents.
    """
    path = folder / TRACKS
    if not path.exists():
        return None
    times, x = (np.asarray(a, dtype=np.float64) for a in read_npz(path, "times", "x"))
    rising = times.ndim == 1 and len(times) > 1 and (np.diff(times) > 0).all()
    if not rising or x.ndim != 3 or x.shape[::2] != (len(times), 3) or not np.isfinite(x).all():
        raise ValueError(
            f"{path}: got times {times.shape} and x {x.shape}, expected two times or more in "
            "ascending order and finite positions (T, n, 3)"
        )
    return (times - start) * unit, x


@torch.no_grad()
def track_errors(model: TraceModel, times: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """Compare the paths of a model's Gaussians with those of points.

    times: (T,) s; x: (T, n, 3) m. Each point is carried by the Gaussian that has most influence
    there at the first time, opacity times density, and turns with it (Luiten et al. 2024, sec. 4).
    Returns points, the number of points that a Gaussian reaches, and interpolation and
    extrapolation, the median distance, m, of point and truth at observed and at later times, None
    where there are no times or no points.
    """
    first = {k: v.double().cpu() for k, v in model.tensors_at(float(times[0])).items()}
    axes = rotation_matrix(first["quats"])
    owner, reached = [], []
    for point in torch.as_tensor(x[0]):
        arm = (axes.transpose(1, 2) @ (point - first["means"])[..., None])[..., 0] / first["scales"]
        influence = first["opacities"] * torch.exp(-0.5 * arm.square().sum(dim=1))
        owner.append(int(influence.argmax()))
        reached.append(float(influence.max()) > FAINT)
    who = torch.tensor(owner)[torch.tensor(reached)]
    truth = torch.as_tensor(x)[:, torch.tensor(reached)]
    arms = axes[who].transpose(1, 2) @ (truth[0] - first["means"][who])[..., None]
    errors = []
    for t, there in zip(times[1:].tolist(), truth[1:], strict=True):
        now = {k: v[who.to(v.device)].double().cpu() for k, v in model.tensors_at(t).items()}
        place = now["means"] + (rotation_matrix(now["quats"]) @ arms)[..., 0]
        errors.append((place - there).norm(dim=1))
    record: dict[str, Any] = {"points": len(who), "interpolation": None, "extrapolation": None}
    later = times[1:] > model.duration + 1e-6
    for name, some in (("interpolation", ~later), ("extrapolation", later)):
        if some.any() and len(who):
            record[name] = float(torch.stack(errors)[torch.as_tensor(some)].median())
    return record
