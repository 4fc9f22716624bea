"""Checkpoints: written at once or not at all, and refused where they do not belong."""

from pathlib import Path

import torch

from taichi_phys.io.files import atomic_path


VERSION = 1


def write_checkpoint(path: str | Path, fingerprint: str, state: dict) -> None:
    """Write tensors and plain values; fingerprint: what they have in common with the run that may
    go on from them."""
    with atomic_path(path) as partial:
        torch.save({"version": VERSION, "fingerprint": fingerprint, "state": state}, partial)


def read_checkpoint(path: str | Path, fingerprint: str, device: torch.device) -> dict:
    """The state that write_checkpoint wrote.

    Raises ValueError when the file is damaged, or comes from other settings or other input.
    """
    try:
        record = torch.load(path, map_location=device, weights_only=True)
        usable = record["version"] == VERSION and record["fingerprint"] == fingerprint
        state = record["state"]
    except Exception as error:  # torch and pickle raise a dozen kinds for a damaged file
        raise ValueError(
            f"checkpoint {path}: damaged or not a checkpoint ({type(error).__name__}); delete it, "
            "or run without --resume to start anew"
        ) from None
    if not usable:
        raise ValueError(
            f"checkpoint {path}: made with other settings or other input; run without --resume to "
            "start anew"
        )
    return state
