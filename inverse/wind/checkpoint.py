"""Checkpoints of the force recovery: written after every interval, at once or not at all."""

import dataclasses
import hashlib
from pathlib import Path

from inverse.runs.checkpoint import read_checkpoint, write_checkpoint
from taichi_phys import State


def _fingerprint(solver) -> str:
    """What a checkpoint must have in common with the run that continues it."""
    digest = hashlib.sha256(repr(dataclasses.asdict(solver.config)).encode())
    for tensor in (solver.targets, solver.weights, solver.sim.mass, solver.sim.parameters()):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, solver) -> None:
    """Write the solver's progress: states, forces, losses and the field of every interval."""
    names = [field.name for field in dataclasses.fields(State)]
    states = [{name: getattr(s, name) for name in names} for s in solver.states]
    progress = {"forces": solver.forces, "losses": solver.losses, "fields": solver.fields}
    progress["healed"] = solver.healed
    write_checkpoint(path, _fingerprint(solver), {"states": states} | progress)


def load_checkpoint(path: Path, solver) -> None:
    """Put a checkpoint's progress into the solver.

    Raises ValueError when the file is damaged, or comes from other settings or other targets.
    """
    progress = read_checkpoint(path, _fingerprint(solver), solver.sim.device)
    solver.states = [State(**state) for state in progress["states"]]
    solver.forces, solver.losses = progress["forces"], progress["losses"]
    solver.fields, solver.healed = progress["fields"], progress.get("healed", {})
    if solver.fields:
        solver.field.load_state_dict(solver.fields[-1])
