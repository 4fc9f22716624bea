"""Checkpoints: written at once or not at all, and refused where they do not belong."""

import abc
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taichi_phys.io.files import atomic_path


VERSION = 1


class Resumable(abc.ABC):
    """Long work that keeps a checkpoint and goes on from it.

    checkpoint: the file, or None to keep none. The fingerprint of settings and input is computed
    once, when the first checkpoint is written or read.
    """

    checkpoint: Path | None = None

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Digest of the settings and the input, which do not change while the work goes on."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: tensors, numbers, texts, and lists and dictionaries of them."""

    @abc.abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state` gave."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """Where the tensors of the state are wanted."""

    @functools.cached_property
    def _own_fingerprint(self) -> str:
        return self.fingerprint()

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self.checkpoint is not None:
            write_checkpoint(self.checkpoint, self._own_fingerprint, self.state())

    def resume(self) -> None:
        """Go on from the checkpoint, if it exists.

        Raises ValueError when it is damaged, or comes from other settings or other input.
        """
        if self.checkpoint is not None and self.checkpoint.exists():
            self.load_state(read_checkpoint(self.checkpoint, self._own_fingerprint, self.device))


def fingerprint_of(settings: object, arrays: Iterable[np.ndarray | torch.Tensor]) -> str:
    """Digest of settings, by their repr, and of the numbers in arrays."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        if isinstance(array, torch.Tensor):
            array = array.detach().cpu().numpy()
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_checkpoint(path: str | Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write tensors and plain values.

    fingerprint: what they have in common with the run that may go on from them.
    """
    with atomic_path(path) as partial:
        torch.save({"version": VERSION, "fingerprint": fingerprint, "state": state}, partial)


def read_checkpoint(path: str | Path, fingerprint: str, device: torch.device) -> dict[str, Any]:
    """The state that write_checkpoint wrote, for a run that goes on from it.

    Raises ValueError when the file is damaged, or comes from other settings or other input.
    """
    try:
        found, state = _load(path, device)
    except Exception as error:  # torch and pickle raise a dozen kinds for a damaged file
        raise ValueError(
            f"checkpoint {path}: damaged or not a checkpoint ({type(error).__name__}); delete it, "
            "or run without --resume to start anew"
        ) from None
    if found != fingerprint:
        raise ValueError(
            f"checkpoint {path}: made with other settings or other input; run without --resume to "
            "start anew"
        )
    return state


def peek_checkpoint(path: str | Path) -> dict[str, Any]:
    """The state that write_checkpoint wrote, on the CPU, whatever run it belongs to.

    Raises ValueError when the file is missing or damaged.
    """
    try:
        return _load(path, torch.device("cpu"))[1]
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:
        raise ValueError(f"{path}: damaged or not a checkpoint ({type(error).__name__})") from None


def unreadable(path: str | Path, error: OSError) -> ValueError:
    """The error to raise where a file of a run cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ValueError(
            f"{path}: there is no such file; the run is not finished, or of another version"
        )
    return ValueError(f"{path}: cannot be read ({error.strerror or type(error).__name__})")


def _load(path: str | Path, device: torch.device) -> tuple[str, dict[str, Any]]:
    record = torch.load(path, map_location=device, weights_only=True)
    if record["version"] != VERSION:
        return "of another version", record["state"]
    return record["fingerprint"], record["state"]
