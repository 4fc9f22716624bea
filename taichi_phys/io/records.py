"""Records in a state that do not belong to particles: their arrays in files, and tables of them."""

import csv
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taichi_phys.checks import path_of
from taichi_phys.io.files import atomic_path
from taichi_phys.mpm.reactions import WALLS, Reactions
from taichi_phys.mpm.rigid_bodies import RigidBody, RigidState


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


@dataclasses.dataclass(frozen=True, eq=False)
class RigidPath:
    """The pose of a rigid body at any time, between the places that were written.

    times: (T,) s; x: (T, 3) centers of mass, m; q: (T, 4) quaternions wxyz; center: (3,) m, of mass
    where the body was given. Before and after these times the body stands still.
    """

    times: np.ndarray
    x: np.ndarray
    q: np.ndarray
    center: np.ndarray

    def __call__(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (3, 3) and translation (3,) m, from where the body was given, at time t s."""
        t = float(np.clip(t, self.times[0], self.times[-1]))
        R = self._turn(t).as_matrix()
        x = np.array([np.interp(t, self.times, column) for column in self.x.T])
        return R, x - R @ self.center

    @functools.cached_property
    def _turn(self) -> Callable[[float], Any]:
        from scipy.spatial.transform import Rotation, Slerp

        times, turns = self.times, Rotation.from_quat(self.q, scalar_first=True)
        if len(times) == 1:
            times, turns = times[0] + np.arange(2), turns[[0, 0]]
        return Slerp(times, turns)


def read_rigid_paths(folder: str | Path, bodies: Sequence[RigidBody]) -> list[RigidPath]:
    """The poses of the rigid bodies of a simulation, in their order, from a folder of frames.

    Raises ValueError if rigid.csv is missing or is of other bodies.
    """
    path = path_of("folder", folder) / RIGID
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [(float(r["time"]), r["name"], [float(r[c]) for c in POSE[:7]])
                    for r in csv.DictReader(stream)]  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    paths = []
    for i, body in enumerate(bodies):
        own = [(t, values) for t, name, values in rows if name == f"body {i}"]
        if not own:
            raise ValueError(f"{path}: there is no body {i}, expected {len(bodies)} rigid bodies")
        times, places = (np.array(part) for part in zip(*own, strict=True))
        paths.append(RigidPath(times, places[:, :3], places[:, 3:], body.center))
    return paths


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
