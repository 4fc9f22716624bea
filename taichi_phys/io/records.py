"""Records in a state that do not belong to particles: their arrays in files, and tables of them."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from taichi_phys.io.files import atomic_path
from taichi_phys.mpm.reactions import WALLS, Reactions


REACTIONS = "reactions.csv"
SIDES = ("lower x", "upper x", "lower y", "upper y", "lower z", "upper z")
VECTORS = ("force", "torque", "point")
RECORDS: dict[str, Any] = {"reactions": Reactions}  # fields of State, and their classes


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


def write_reactions(folder: Path, number: int, time: float, reactions: Reactions | None) -> None:
    """Write the reactions of a frame to reactions.csv in a folder, after those of frames before it.

    number: of the frame; rows of this and of later frames are replaced; time: s, at the end of the
    frame; reactions: None writes nothing. A row is a collider or a wall: frame, time in s, its
    name, force in N, torque in N m about the point, and the point in m.
    """
    path = folder / REACTIONS
    rows: list[list[Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in list(csv.reader(stream))[1:] if int(row[0]) < number]
    elif reactions is None:
        return
    if reactions is not None:
        colliders = [f"collider {i}" for i in range(len(reactions.force) - WALLS)]
        values = zip(*(getattr(reactions, name).tolist() for name in VECTORS), strict=True)
        for name, vectors in zip([*colliders, *(f"wall {s}" for s in SIDES)], values, strict=True):
            rows.append([number, time, name, *(x for vector in vectors for x in vector)])
    head = ["frame", "time", "name", *(f"{v}_{axis}" for v in VECTORS for axis in "xyz")]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([head, *rows])
