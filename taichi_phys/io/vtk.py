"""Frames for ParaView and other programs that read VTK's XML files."""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import torch

from taichi_phys.checks import path_of
from taichi_phys.io.files import atomic_path
from taichi_phys.io.states import Frame
from taichi_phys.mpm.particles import State


COLLECTION = "frames.pvd"
TYPES = {
    "float32": "Float32", "float64": "Float64", "int32": "Int32", "int64": "Int64",
    "uint8": "UInt8", "bool": "UInt8",
}  # fmt: skip


def write_vtk(frames: Iterable[Frame | State], folder: str | Path) -> int:
    """Write frames as frame_0000.vtp ..., and frames.pvd with their times; return their number.

    frames: of `read_frames`, or states, for example of sim.run(...); folder: made if it does not
    exist. A .vtp file holds the particles as points that are drawn, with all arrays of the frame:
    v, F, plastic, and the scalars; ParaView opens frames.pvd. Reactions of a state are arrays of
    the file's field data: reactions_force, reactions_torque and reactions_point, with a row for
    each collider and wall. Raises ValueError.
    """
    folder = path_of("folder", folder)
    times: list[float] = []
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder: got {folder}, which is a file, expected a folder")
    for frame in frames:
        x, arrays, time = _contents(frame)
        with atomic_path(folder / _name(len(times))) as partial:
            partial.write_text(_poly_data(x, arrays, time, _of_all(frame)), encoding="ascii")
        times.append(time)
        sets = "".join(
            f'<DataSet timestep="{t!r}" part="0" file="{_name(i)}"/>\n' for i, t in enumerate(times)
        )
        with atomic_path(folder / COLLECTION) as partial:
            partial.write_text(
                '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n'
                f"<Collection>\n{sets}</Collection>\n</VTKFile>\n",
                encoding="ascii",
            )
    return len(times)


def _name(number: int) -> str:
    return f"frame_{number:04d}.vtp"


def _contents(frame: Any) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Positions (n, 3) m, the other arrays by name, and the time, s."""
    if isinstance(frame, State):
        arrays = {name: getattr(frame, name) for name in ("v", "F", "plastic")}
        arrays |= {"removed": frame.removed} if bool(frame.removed.any()) else {}
    elif isinstance(frame, Frame):
        arrays = {"v": frame.v, **frame.fields}
    else:
        got = type(frame).__name__
        raise ValueError(f"frames: got {got}, expected frames of read_frames, or states")
    return _array(frame.x), {k: _array(a) for k, a in arrays.items()}, float(frame.time)


def _of_all(frame: Any) -> dict[str, np.ndarray]:
    """The arrays of a frame whose rows are not particles."""
    reactions = getattr(frame, "reactions", None)
    names = () if reactions is None else ("force", "torque", "point")
    return {f"reactions_{name}": getattr(reactions, name) for name in names}


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _poly_data(
    x: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    time: float,
    of_all: Mapping[str, np.ndarray],
) -> str:
    """A .vtp file: points x (n, 3), a vertex in each of them, and arrays of the points.

    time: s; of_all: further arrays of the file as a whole.
    """
    field = _data("TimeValue", np.array([time]), of_field=True)
    field += "".join(_data(name, array, of_field=True) for name, array in of_all.items())
    n = len(x)
    vertices = _data("connectivity", np.arange(n)) + _data("offsets", np.arange(1, n + 1))
    data = "".join(_data(name, array) for name, array in arrays.items())
    return (
        '<?xml version="1.0"?>\n<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" '
        'header_type="UInt64">\n<PolyData>\n'
        f"<FieldData>\n{field}</FieldData>\n"
        f'<Piece NumberOfPoints="{n}" NumberOfVerts="{n}" NumberOfLines="0" NumberOfStrips="0" '
        f'NumberOfPolys="0">\n<Points>\n{_data("Points", x)}</Points>\n'
        f"<Verts>\n{vertices}</Verts>\n<PointData>\n{data}</PointData>\n"
        "</Piece>\n</PolyData>\n</VTKFile>\n"
    )


def _data(name: str, array: np.ndarray, of_field: bool = False) -> str:
    """An element DataArray: the numbers in base64, after their count of bytes."""
    kind = array.dtype.name
    if kind not in TYPES:
        raise ValueError(f"{name}: got {array.dtype}, expected one of {', '.join(TYPES)}")
    rows = array.reshape(len(array), -1)
    raw = rows.astype(rows.dtype.newbyteorder("<"), copy=False).tobytes()
    text = base64.b64encode(np.array(len(raw), "<u8").tobytes() + raw).decode("ascii")
    size = f'NumberOfComponents="{rows.shape[1]}"'
    if of_field:
        size = f'NumberOfTuples="{len(array)}"' + (f" {size}" if rows.shape[1] > 1 else "")
    return (
        f'<DataArray type="{TYPES[kind]}" Name={quoteattr(name)} {size} format="binary">'
        f"{text}</DataArray>\n"
    )
