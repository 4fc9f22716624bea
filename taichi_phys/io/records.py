"""Records in a state that do not belong to particles: their arrays in files, and tables of them."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from taichi_phys.io.files import atomic_path
from taichi_phys.mpm.reactions import WALLS, Reactions
from taichi_phys.mpm.rigid_bodies import RigidState


TABLES = REACTIONS, RIGID = "reactions.csv", "rigid.csv"
POSE = ["x", "y", "z", "qw", "qx", "qy", "qz", "vx", "vy", "vz", "wx", "wy", "wz"]
SIDES = ("lower x", "upper x", "lower y", "upper y", "lower z", "upper z")
VECTORS = ("force", "torque", "point")
RECORDS: dict[str, Any] = {
    "reactions": Reactions,
    "rigid": RigidState,
}  # fields of State, and their classes


def pack_records(state: Any) -> dict[str, np.ndarray]:
    """The arrays of the records of a state, by the names of record and field with a dot between."""
    records = {name: getattr(state, name) for name in RECORDS}
    return {
        f"{name}.{f.name}": np.asarray(getattr(record, f.name))
        for name, record in records.items()
        if record is not None
        for f in dataclasses.fields(record)
    }


def unpack_records(path: str | Path, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """The records of a state from arrays that `pack_records` made, which are taken out of found.

    path: of the file, for messages. Raises ValueError.
    """
    records = {}
    for name, cls in RECORDS.items():
        keys = [key for key in found if key.startswith(f"{name}.")]
        if keys:
            arrays = {key.removeprefix(f"{name}."): found.pop(key) for key in keys}
            try:
                records[name] = cls(**arrays)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: {name} cannot be read ({error})") from None
    return records


def write_tables(folder: Path, number: int, state: Any) -> None:
    """Write the reactions and rigid bodies of a state to reactions.csv and rigid.csv in a folder.

    number: of the frame; rows of this and of later frames are replaced. Each row of reactions.csv
    is a collider or a wall: frame, time in s, its name, force in N, torque in N m about the point,
    and the point in m. Each row of rigid.csv is a body: frame, time, its number, center of mass in
    m, quaternion wxyz, velocity in m/s and angular velocity in rad/s. A state without writes none.
    """
    start, rows = [number, float(state.time)], []
    if state.reactions is not None:
        count = len(state.reactions.force) - WALLS
        names = [*(f"collider {i}" for i in range(count)), *(f"wall {side}" for side in SIDES)]
        vectors = np.hstack([getattr(state.reactions, name) for name in VECTORS])
        rows = [[*start, n, *v] for n, v in zip(names, vectors.tolist(), strict=True)]
    _replace(folder / REACTIONS, number, rows, [f"{v}_{axis}" for v in VECTORS for axis in "xyz"])
    rows = []
    if state.rigid is not None:
        vectors = np.hstack([state.rigid.x, state.rigid.q, state.rigid.v, state.rigid.w])
        rows = [[*start, f"body {i}", *v] for i, v in enumerate(vectors.tolist())]
    _replace(folder / RIGID, number, rows, POSE)


def _replace(path: Path, number: int, rows: list[list[Any]], columns: list[str]) -> None:
    """Replace the rows of frame `number` and later ones in a table."""
    before: list[list[Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            before = [row for row in list(csv.reader(stream))[1:] if int(row[0]) < number]
    elif not rows:
        return
    table = [["frame", "time", "name", *columns], *before, *rows]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(table)
