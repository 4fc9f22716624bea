"""Checkpoints of a fit: everything it needs to go on as if nothing had happened."""

import dataclasses
import hashlib
from pathlib import Path

import torch

from taichi_phys.io.files import atomic_path


VERSION = 1


def _fingerprint(fitter) -> str:
    """What a checkpoint must have in common with the fit that continues it."""
    settings = dataclasses.asdict(fitter.config) | {"seed": fitter.seed, "half": fitter.half}
    digest = hashlib.sha256(repr(settings).encode())
    for camera, (rgb, alpha) in zip(fitter.cameras, fitter.images, strict=True):
        digest.update(repr(dataclasses.asdict(camera)).encode())
        digest.update(rgb.cpu().numpy().tobytes() + alpha.cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, fitter) -> None:
    """Write the fit's progress, at once or not at all."""
    record = {
        "version": VERSION,
        "fingerprint": _fingerprint(fitter),
        "iteration": fitter.iteration,
        "seconds": fitter.seconds,
        "losses": fitter.losses,
        "model": fitter.model.state_dict(),
        "optimizer": fitter.optimizer.state_dict(),
    }
    with atomic_path(path) as partial:
        torch.save(record, partial)


def load_checkpoint(path: Path, fitter) -> None:
    """Put a checkpoint's progress into the fitter.

    Raises ValueError when the file is damaged, or comes from other settings or photographs.
    """
    try:
        record = torch.load(path, map_location=fitter.model.means.device, weights_only=True)
        usable = record["version"] == VERSION
        fingerprint = record["fingerprint"]
    except Exception as error:  # torch and pickle raise a dozen kinds for a damaged file
        raise ValueError(
            f"checkpoint {path}: damaged or not a checkpoint ({type(error).__name__}); delete it, "
            "or run without --resume to start anew"
        ) from None
    if not usable or fingerprint != _fingerprint(fitter):
        raise ValueError(
            f"checkpoint {path}: made with other settings or photographs; run without --resume to "
            "start anew"
        )
    fitter.model.load_state_dict(record["model"])
    fitter.optimizer.load_state_dict(record["optimizer"])
    fitter.iteration, fitter.seconds = record["iteration"], record["seconds"]
    fitter.losses = record["losses"]
