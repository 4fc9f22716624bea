"""Checkpoints: files that are whole or absent, and that only the run they belong to accepts."""

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
SAVED_EACH = 30  # steps, about, after which each one is written


class Resumable(abc.ABC):
    """Long work that writes checkpoints and can be resumed from them.

    checkpoint: path of the file, or None for no checkpoint. The fingerprint of the settings and
    the input is computed once, when the first checkpoint is written or read.
    """

    checkpoint: Path | None = None

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a digest of the settings and the input, which stay the same during the work."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: tensors, numbers, strings, lists and dictionaries."""

    @abc.abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state` returned."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """The device to which the tensors of the state are loaded."""

    @functools.cached_property
    def _own_fingerprint(self) -> str:
        return self.fingerprint()

    def save(self) -> None:
        """Write the checkpoint, unless `checkpoint` is None."""
        if self.checkpoint is not None:
            write_checkpoint(self.checkpoint, self._own_fingerprint, self.state())

    def save_at(self, done: int) -> None:
        """Write a checkpoint that grows with the steps done, after each of the first ones, and then
        whenever a thirtieth more are done: after each, it would take time as their square."""
        if done % max(1, done // SAVED_EACH) == 0:
            self.save()

    def resume(self) -> None:
        """Continue from the checkpoint, if it exists.

        Raises ValueError if the file is damaged, or was made with other settings or other input.
        """
        if self.checkpoint is not None and self.checkpoint.exists():
            self.load_state(read_checkpoint(self.checkpoint, self._own_fingerprint, self.device))


def fingerprint_of(settings: object, arrays: Iterable[np.ndarray | torch.Tensor]) -> str:
    """Return a digest of the repr of settings and of the numbers in arrays."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        if isinstance(array, torch.Tensor):
            array = array.detach().cpu().numpy()
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_checkpoint(path: str | Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values to a file.

    fingerprint: digest of settings and input; only a run with the same digest may resume.
    """
    with atomic_path(path) as partial:
        torch.save({"version": VERSION, "fingerprint": fingerprint, "state": state}, partial)


def read_checkpoint(path: str | Path, fingerprint: str, device: torch.device) -> dict[str, Any]:
    """Read the state that write_checkpoint wrote, for a run that continues from it.

    fingerprint: digest of the run's own settings and input; device: where the tensors are loaded.
    Raises ValueError if the file is damaged, or was made with other settings or other input.
    """
    try:
        found, state = _load(path, device)
    except Exception as error:  # torch and pickle raise a dozen kinds for a damaged file
        raise ValueError(
            f"checkpoint {path}: damaged or not a checkpoint ({type(error).__name__}); run without "
            "--resume to start again"
        ) from None
    if found != fingerprint:
        raise ValueError(
            f"checkpoint {path}: made with other settings or other input; run without --resume to "
            "start again"
        )
    return state


def peek_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read the state that write_checkpoint wrote, onto the CPU, whatever run it belongs to.

    Raises ValueError if the file is missing or damaged.
    """
    try:
        return _load(path, torch.device("cpu"))[1]
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:
        raise ValueError(f"{path}: damaged or not a checkpoint ({type(error).__name__})") from None


def unreadable(path: str | Path, error: OSError) -> ValueError:
    """Return the ValueError to raise when a file of a run cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ValueError(
            f"{path}: there is no such file; the run has not finished, or another version made it"
        )
    return ValueError(f"{path}: cannot be read ({error.strerror or type(error).__name__})")


def _load(path: str | Path, device: torch.device) -> tuple[str, dict[str, Any]]:
    record = torch.load(path, map_location=device, weights_only=True)
    if record["version"] != VERSION:
        return "of another version", record["state"]
    return record["fingerprint"], record["state"]
