"""Files of simulations: states from which a simulation continues, and sequences of frames.

A state is one .npz file that holds every field of `State` exactly. A sequence is a folder with one
file per frame, .ply (float32, for Blender, ParaView and other programs) or .npz (exact), and the
index frames.json. A file is either complete or absent, so that a run may be stopped at any time.
"""

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taichi_phys.checks import finite_number, one_of, path_of, whole_number
from taichi_phys.io.files import atomic_path
from taichi_phys.io.records import RECORDS, TABLES, pack_records, unpack_records, write_tables
from taichi_phys.mpm.particles import State


VERSION = 1
STATE, FRAME, FRAMES = "taichi_phys state", "taichi_phys frame", "taichi_phys frames"
FORMATS = ("ply", "npz")
INDEX = "frames.json"
PLY_FIELDS = ("x", "y", "z", "vx", "vy", "vz")
RESERVED = ("kind", "version", "names", "file", "allow_pickle")  # our header and np.savez's names
FIELDS = [f.name for f in dataclasses.fields(State) if f.name not in RECORDS]
UNREADABLE = (ValueError, OSError, EOFError, KeyError, NotImplementedError)  # or bad as a .zip:
UNREADABLE += (zipfile.BadZipFile, zlib.error)
NOT_IN_FRAMES = ("C",)  # needed only to continue a simulation


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One frame of a sequence.

    x: (n, 3) positions, m; v: (n, 3) velocities, m/s; time: s; fields: further arrays by name, with
    first axis n: the scalars (n,) given to `write_frames`, and from .npz also F (n, 3, 3) and
    plastic (n,).
    """

    x: np.ndarray
    v: np.ndarray
    time: float
    fields: dict[str, np.ndarray]

    @property
    def removed(self) -> np.ndarray:
        """(n,) bool: the particles that the field `removed` marks; all false without that field."""
        return self.fields.get("removed", np.zeros(len(self.x))) != 0


# States


def save_state(path: str | Path, state: State, **extras: Any) -> None:
    """Write a state exactly, as one .npz file that `load_state` reads.

    path: a name ending in .npz; extras: numbers, strings or arrays to store with the state, for
    example fps=24. The file appears only when it is complete. Raises ValueError.
    """
    _is_state("state", state)
    arrays = {k: _array(k, getattr(state, k)) for k in FIELDS} | pack_records(state)
    for name, value in extras.items():
        arrays[f"extra.{name}"] = _array(name, value)
    _write_npz(path, STATE, arrays)


def load_state(path: str | Path) -> State:
    """The state in a file that `save_state` wrote, with the same numbers and dtype, on the CPU.

    Raises ValueError, in one sentence, for a file that is damaged, that `save_state` did not write,
    or that a newer version wrote.
    """
    arrays = _read_npz(path, STATE)
    known = {f.name: f for f in dataclasses.fields(State) if f.name in FIELDS}
    found = {k: a for k, a in arrays.items() if not k.startswith("extra.")}
    records = unpack_records(path, found)
    _names(path, found, known)
    # a field that an older file lacks takes its default
    required = [k for k, f in known.items() if f.default is dataclasses.MISSING]
    missing = [k for k in required if k not in found]
    if missing:
        raise ValueError(f"{path}: lacks the fields {', '.join(missing)} of a state")
    n, dtype = len(np.atleast_1d(found["x"])), found["v"].dtype
    for name, array in found.items():
        shape = {"x": (n, 3), "v": (n, 3), "C": (n, 3, 3), "F": (n, 3, 3), "time": ()}.get(name)
        shape = (n, *array.shape[1:]) if shape is None else shape
        fits = array.shape == shape and array.dtype.kind == "f"
        # Positions far from the origin are finer than the rest.
        finer = name == "x" and array.dtype == np.float64
        if not fits or (shape and array.dtype != dtype and not finer):
            raise ValueError(
                f"{path}: got {name} as {array.dtype} {array.shape}, expected floats {shape}"
            )
    fields: dict[str, Any] = {
        k: torch.from_numpy(a) if a.ndim else a.item() for k, a in found.items()
    }
    return State(**fields, **records)


def load_extras(path: str | Path) -> dict:
    """The extras given to `save_state`: numbers, strings and arrays by name. Raises ValueError."""
    arrays = _read_npz(path, STATE)
    extras = {k.removeprefix("extra."): a for k, a in arrays.items() if k.startswith("extra.")}
    return {k: a if a.ndim else a.item() for k, a in extras.items()}


# Point files


def save_ply(path: str | Path, state: State, **scalars: Any) -> None:
    """Write the particles of a state as a binary .ply file: x y z vx vy vz and scalars, in float32.

    path: a name ending in .ply; scalars: arrays or tensors (n,), each written as one property, for
    example density=..., plastic=state.plastic. Raises ValueError.
    """
    import plyfile

    path = _suffix(path, "ply")
    _is_state("state", state)
    columns = dict(zip(PLY_FIELDS, [*_array("x", state.x).T, *_array("v", state.v).T], strict=True))
    columns |= _scalars(len(state.x), scalars)
    table = np.empty(len(state.x), [(name, "<f4") for name in columns])
    for name, column in columns.items():
        with np.errstate(over="ignore"):
            table[name] = column
        lost = np.isfinite(column) & ~np.isfinite(table[name])
        if lost.any():
            raise ValueError(f"{name}: got {np.abs(column).max():g}, which float32 cannot hold")
    vertex = plyfile.PlyElement.describe(table, "vertex")
    comments = [f"time {float(state.time)!r}"]
    with atomic_path(path) as partial:
        plyfile.PlyData([vertex], text=False, byte_order="<", comments=comments).write(str(partial))


def load_ply(path: str | Path) -> Frame:
    """The particles in a .ply file: x, v (zero if the file has no velocities) and scalars.

    Raises ValueError, in one sentence, for a file that cannot be read or is damaged.
    """
    import plyfile

    try:
        data = plyfile.PlyData.read(str(path))
        table = {e.name: e.data for e in data.elements}.get("vertex")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (plyfile.PlyParseError, ValueError, ArithmeticError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: a damaged or incomplete PLY file ({reason})") from None
    names = () if table is None else table.dtype.names
    if table is None or not {"x", "y", "z"} <= set(names):
        raise ValueError(f"{path}: a PLY file without vertices that have x, y and z")
    numbers = [k for k in names if table.dtype[k].kind in "fiu"]
    columns = {k: table[k].astype(table.dtype[k].newbyteorder("=")) for k in numbers}
    moving = set(PLY_FIELDS) <= set(numbers)
    x = np.stack([columns[k] for k in PLY_FIELDS[:3]], axis=1)
    v = np.stack([columns[k] for k in PLY_FIELDS[3:]], axis=1) if moving else np.zeros_like(x)
    time = [c.removeprefix("time ") for c in data.comments if c.startswith("time ")]
    try:
        time = float(time[0]) if time else 0.0
    except ValueError:  # a comment of another program
        time = 0.0
    fields = {k: a for k, a in columns.items() if k not in PLY_FIELDS[: 6 if moving else 3]}
    return Frame(x=x, v=v, time=time, fields=fields)


# Sequences


def write_frames(
    states: Iterable[State],
    folder: str | Path,
    *,
    format: str = "ply",
    fps: float = 24.0,
    scalars: Callable[[State], dict[str, Any]] | None = None,
    start: int = 0,
) -> int:
    """Write each state, as it comes, to frame_0000.ply, frame_0001.ply ...; return the frame count.

    states: for example sim.run(...); folder: made if it does not exist, must not hold frames unless
    start is given; format: "ply" or "npz"; fps: frames per second, stored in frames.json, whose
    count of frames is updated after every frame; scalars: function of a state that returns (n,)
    arrays by name, stored with the frame; start: number of the first frame to write, if the folder
    holds the frames before it; frames from start on are replaced, and the index ends with the last
    state. Reactions and rigid bodies go to reactions.csv and rigid.csv. Raises ValueError.
    """
    one_of("format", format, FORMATS)
    fps = finite_number("fps", fps, "a positive number", low=0, open_end=True)
    if not isinstance(states, Iterable):
        raise ValueError(f"states: got {type(states).__name__}, expected an iterable of State")
    folder = path_of("folder", folder)
    count = whole_number("start", start, "an integer >= 0", low=0)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder: got {folder}, which is a file, expected a folder")
    if start:
        before = read_frames(folder)
        if len(before) < start or before.format != format:
            raise ValueError(
                f"start: got {start} with format {format!r}, but {folder} holds {len(before)} "
                f"frames in format {before.format!r}"
            )
    elif (folder / INDEX).exists() or any(folder.glob("frame_*.*")):
        raise ValueError(f"folder: {folder} already holds frames: empty it or choose another")
    fields = None
    for state in states:
        _is_state("states", state)
        path, more = folder / frame_name(count, format), {} if scalars is None else scalars(state)
        if not isinstance(more, dict):
            raise ValueError(f"scalars: got {type(more).__name__}, expected a dict of (n,) arrays")
        if format == "ply":
            save_ply(path, state, **more)
            held = [*PLY_FIELDS, *more]
        else:
            held = [k for k in FIELDS if k not in NOT_IN_FRAMES]
            arrays = {k: _array(k, getattr(state, k)) for k in held}
            arrays |= _scalars(len(state.x), more, taken={*arrays, *RESERVED})
            _write_npz(path, FRAME, arrays)
            held = list(arrays)
        if fields not in (None, held):
            raise ValueError(f"scalars: got fields {held}, expected {fields} as in earlier frames")
        write_tables(folder, count, state)
        fields, count = held, count + 1
        _write_index(folder, format=format, fps=fps, count=count, fields=fields)
    if not count:
        _write_index(folder, format=format, fps=fps, count=0, fields=[])
    return count


def read_frames(folder: str | Path) -> "Frames":
    """The frames of a folder that `write_frames` wrote, as a sequence that reads each on access.

    Raises ValueError, in one sentence, if the index or a frame is missing; access to a damaged
    frame raises ValueError too.
    """
    folder = path_of("folder", folder)
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder}: has no {INDEX}, expected frames of write_frames") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{folder / INDEX}: cannot be read ({error})") from None
    if not isinstance(index, dict) or index.get("kind") != FRAMES:
        raise ValueError(f"{folder / INDEX}: not an index of frames of write_frames")
    _version(folder / INDEX, index.get("version"))
    format, count, fps = (index.get(k) for k in ("format", "count", "fps"))
    if format not in FORMATS or not isinstance(count, int) or not isinstance(fps, int | float):
        raise ValueError(f"{folder / INDEX}: format, count or fps is missing or wrong")
    missing = [i for i in range(count) if not (folder / frame_name(i, format)).is_file()]
    if missing:
        names = ", ".join(frame_name(i, format) for i in missing[:3])
        more = f" and {len(missing) - 3} more" * (len(missing) > 3)
        raise ValueError(f"{folder}: lacks {names}{more} of its {count} frames")
    return Frames(folder=folder, format=format, fps=float(fps), count=count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames(Sequence[Frame]):
    """The frames of a folder, as `read_frames` gives them; access to a frame reads its file."""

    folder: Path
    format: str
    fps: float
    count: int  # type: ignore[assignment]  # hides Sequence.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]
        number = range(self.count)[index]
        if isinstance(number, range):
            raise ValueError(f"index: got {index}, expected the number of one frame")
        path = self.folder / frame_name(number, self.format)
        if self.format == "ply":
            return load_ply(path)
        arrays = _read_npz(path, FRAME)
        _names(path, {"x", "v", "time"} - set(arrays), (), "lacks")
        x, v, time = (arrays.pop(k) for k in ("x", "v", "time"))
        return Frame(x=x, v=v, time=time.item(), fields=arrays)


def remove_frames(folder: str | Path) -> None:
    """Remove the frames that `write_frames` wrote, and then the folder if it is empty."""
    folder = path_of("folder", folder)
    if not folder.is_dir():
        return
    tables = [folder / name for name in (INDEX, *TABLES)]
    for path in [*tables, *folder.glob("frame_*.ply"), *folder.glob("frame_*.npz")]:
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def frame_name(number: int, format: str) -> str:
    """The file name of a frame."""
    return f"frame_{number:04d}.{format}"


# Parts


def _is_state(name: str, value):
    if not isinstance(value, State):
        raise ValueError(f"{name}: got {type(value).__name__}, expected a State")


def _suffix(path: str | Path, suffix: str) -> Path:
    path = path_of("path", path)
    if path.suffix.lower() != f".{suffix}":
        raise ValueError(f"{path}: expected a name ending in .{suffix}")
    return path


def _array(name: str, value) -> np.ndarray:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype.kind not in "biufcU":
        raise ValueError(f"{name}: got {type(value).__name__}, expected numbers, text or an array")
    return array


def _scalars(n: int, scalars: dict, taken=PLY_FIELDS) -> dict[str, np.ndarray]:
    arrays = {}
    for name, value in scalars.items():
        if name in taken or not str(name).isidentifier():
            raise ValueError(f"scalars: got the name {name!r}, expected an unused identifier")
        arrays[name] = _array(name, value)
        if arrays[name].shape != (n,) or arrays[name].dtype.kind not in "biuf":
            raise ValueError(
                f"{name}: got {arrays[name].dtype} {arrays[name].shape}, expected numbers ({n},)"
            )
    return arrays


def _names(path, found, known, what: str = "written by a newer version, with the unknown fields"):
    unknown = ", ".join(k for k in found if k not in known)
    if unknown:
        raise ValueError(f"{path}: {what} {unknown}")


def _version(path, version):
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"{path}: got version {version!r}, expected 1 to {VERSION}")
    if version > VERSION:
        raise ValueError(
            f"{path}: written by a newer version of taichi_phys (format {version}; this version "
            f"reads up to {VERSION})"
        )


def _write_npz(path: str | Path, kind: str, arrays: dict[str, np.ndarray]):
    path = _suffix(path, "npz")
    # names: a .zip reader does not notice that the end of the table of contents is lost
    head = {"kind": kind, "version": VERSION, "names": list(arrays)}
    arrays = {k: np.array(value) for k, value in head.items()} | arrays
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _read_npz(path: str | Path, kind: str) -> dict[str, np.ndarray]:
    """The arrays of a file of a kind; all are read, and so checked by their checksums."""
    try:
        with path_of("path", path).open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("a single array")
            with file:
                arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: damaged, or not a file of taichi_phys ({reason})") from None
    found = arrays.pop("kind", np.array("unknown contents"))
    if found.shape or found.item() != kind:
        raise ValueError(f"{path}: holds {str(found)!r}, expected {kind!r}")
    version = arrays.pop("version", np.array(0))
    _version(path, None if version.shape else version.item())
    names = set(np.atleast_1d(arrays.pop("names", np.array(""))).tolist())
    if names != set(arrays):
        differing = ", ".join(sorted(names ^ set(arrays)))
        raise ValueError(f"{path}: damaged (its list of contents is wrong in {differing})")
    return arrays


def _write_index(folder: Path, **index):
    with atomic_path(folder / INDEX) as partial:
        text = json.dumps({"kind": FRAMES, "version": VERSION, **index}, indent=1)
        partial.write_text(text + "\n", encoding="utf-8")
