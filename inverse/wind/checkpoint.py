"""Checkpoints of the force recovery: written after every interval, at once or not at all."""

import dataclasses
import hashlib
from pathlib import Path

import torch

from taichi_phys import State
from taichi_phys.io.files import atomic_path


VERSION = 1


def _fingerprint(solver) -> str:
    """What a checkpoint must have in common with the run that continues it."""
    digest = hashlib.sha256(repr(dataclasses.asdict(solver.config)).encode())
    for tensor in (solver.targets, solver.weights, solver.sim.mass, solver.sim.parameters()):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, solver) -> None:
    """Write the solver's progress: states, forces, losses and the field of every interval."""
    states = [{key: getattr(s, key) for key in ("x", "v", "C", "F", "time")} for s in solver.states]
    record = {
        "version": VERSION,
        "fingerprint": _fingerprint(solver),
        "states": states,
        "forces": solver.forces,
        "losses": solver.losses,
        "fields": solver.fields,
    }
    with atomic_path(path) as partial:
        torch.save(record, partial)


def load_checkpoint(path: Path, solver) -> None:
    """Put a checkpoint's progress into the solver.

    Raises ValueError when the file is damaged, or comes from other settings or other targets.
    """
    try:
        record = torch.load(path, map_location=solver.sim.device, weights_only=True)
        usable = record["version"] == VERSION
        fingerprint = record["fingerprint"]
    except Exception as error:  # torch and pickle raise a dozen kinds for a damaged file
        raise ValueError(
            f"checkpoint {path}: damaged or not a checkpoint ({type(error).__name__}); delete it, "
            "or run without --resume to start anew"
        ) from None
    if not usable or fingerprint != _fingerprint(solver):
        raise ValueError(
            f"checkpoint {path}: made with other settings or another video; run without --resume "
            "to start anew"
        )
    solver.states = [State(**state) for state in record["states"]]
    solver.forces, solver.losses = record["forces"], record["losses"]
    solver.fields = record["fields"]
    if solver.fields:
        solver.field.load_state_dict(solver.fields[-1])
