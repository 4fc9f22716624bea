"""Sequences of frames that grow one by one, so that a stopped run can go on with its own."""

import dataclasses
from pathlib import Path

from taichi_phys.io.states import (
    FRAME,
    INDEX,
    NOT_IN_FRAMES,
    PLY_FIELDS,
    _array,
    _write_index,
    _write_npz,
    frame_name,
    save_ply,
)  # fmt: skip
from taichi_phys.mpm.particles import State


def append_frame(folder: Path, number: int, state: State, *, format: str, fps: float) -> None:
    """Write a frame as `write_frames` would, with the plastic strain; later ones are forgotten."""
    path = folder / frame_name(number, format)
    if format == "ply":
        save_ply(path, state, plastic=state.plastic)
        fields = [*PLY_FIELDS, "plastic"]
    else:
        kept = [f.name for f in dataclasses.fields(state) if f.name not in NOT_IN_FRAMES]
        arrays = {name: _array(name, getattr(state, name)) for name in kept}
        _write_npz(path, FRAME, arrays)
        fields = list(arrays)
    _write_index(folder, format=format, fps=fps, count=number + 1, fields=fields)


def remove_frames(folder: Path) -> None:
    """Remove the frames of an earlier run, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for path in [folder / INDEX, *folder.glob("frame_*.ply"), *folder.glob("frame_*.npz")]:
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
