"""The .ply files of Gaussians: the standard one of 3DGS and its kin, and SuperSplat's compressed.

Sources: graphdeco-inria/gaussian-splatting, playcanvas/splat-transform.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plyfile
from numpy.lib.recfunctions import structured_to_unstructured

from renderers.splats.formats.contents import Contents, first_sh, joined_sh, whole_quats
from renderers.splats.gaussians import SH_COUNTS


MEANS = ("x", "y", "z")
COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
RGB = ("red", "green", "blue")
SCALES = ("scale_0", "scale_1", "scale_2")
QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
FILTER = "filter_3D"  # width of the filter of Mip-Splatting, which its viewer adds to each scale
# The comments by which Brush and PostShot say that Gaussians were fitted with antialiasing
MIP = re.compile(r"^\s*(SplatRenderMode: *mip|antialiased *1)\s*$", re.IGNORECASE)

CHUNK = 256  # Gaussians that share the ranges of their values in a compressed file
LIMITS = [f"{end}_{axis}" for end in ("min", "max") for axis in MEANS]
LIMITS += [f"{end}_scale_{axis}" for end in ("min", "max") for axis in MEANS]
COLOR_LIMITS = [f"{end}_{channel}" for end in ("min", "max") for channel in "rgb"]
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")

# The coefficients f_rest for the bytes of a compressed file: 256 bins from -4 to 4, read at their
# centers, except for the two outermost bins, which also hold all values beyond.
SH_LEVELS = (np.arange(256) + 0.5) / 32 - 4
SH_LEVELS[[0, 255]] = -4, 4


class NotGaussiansError(ValueError):
    """A valid .ply file that holds a mesh or a point cloud instead of Gaussians."""


def read(path: Path) -> Contents:
    """Read a file. Raises ValueError, which names it, and its subclass NotGaussiansError."""
    try:
        ply = _parsed(path)
        elements = {e.name: e.data for e in ply.elements}
    except (plyfile.PlyParseError, ValueError, ArithmeticError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: a damaged or incomplete PLY file ({reason})") from None
    if "vertex" not in elements:
        raise ValueError(f"{path}: got elements {', '.join(elements) or 'none'}, expected vertex")
    names = elements["vertex"].dtype.names or ()
    antialiased = any(MIP.match(comment) for comment in ply.comments)
    if set(names) & set(PACKED):
        return _compressed(path, elements, antialiased)
    if not set(names) & {"opacity", *COLORS, *SCALES, *QUATS}:
        raise NotGaussiansError(
            f"{path}: a mesh or point cloud, not Gaussians (its vertices have none of opacity, "
            "f_dc_0, scale_0 and rot_0)"
        )
    return _standard(path, elements["vertex"], antialiased)


def _parsed(path: Path) -> plyfile.PlyData:
    """The parsed file; comments in other characters than ASCII's become question marks."""
    try:
        return plyfile.PlyData.read(str(path))
    except UnicodeDecodeError:
        data = path.read_bytes()
        end = data.find(b"end_header")
        header = data[:end].decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?")
        return plyfile.PlyData.read(io.BytesIO(header.encode("ascii") + data[end:]))


def _standard(path: Path, vertex: np.ndarray, antialiased: bool) -> Contents:
    names = vertex.dtype.names or ()
    rest = _rest_names(path, vertex)
    flat = SCALES[2] not in names and SCALES[0] in names  # 2D Gaussian splatting
    colors = RGB if COLORS[0] not in names and set(RGB) <= set(names) else COLORS
    if colors == RGB:  # as nerfstudio exports them, in bytes
        top = 255 if vertex.dtype["red"].kind in "iu" else 1
        first = first_sh(np.stack([vertex[name] / top for name in RGB], axis=-1))
    else:
        first = _table(path, vertex, COLORS)
    scales = SCALES[: 2 if flat else 3]
    table = _table(path, vertex, [*MEANS, "opacity", *scales, *QUATS, *rest])
    means, logits, logs, quats, others = np.split(
        table, np.cumsum([3, 1, len(scales), 4]).tolist(), axis=1
    )
    with np.errstate(over="ignore"):
        size = np.exp(logs.astype(np.float64))
        opacities = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    if flat:
        size = np.column_stack([size, np.zeros(len(size))])
    if FILTER in names:
        # Mip-Splatting's own conversion: each axis is blurred, at the same total light.
        wide = np.sqrt(size**2 + _table(path, vertex, [FILTER]).astype(np.float64) ** 2)
        opacities, size = opacities * (size / wide).prod(axis=1), wide
    return Contents(
        means=means,
        quats=quats,
        scales=size,
        opacities=opacities,
        sh=joined_sh(first, others),
        antialiased=antialiased,
    )


def _compressed(path: Path, elements: dict[str, np.ndarray], antialiased: bool) -> Contents:
    """SuperSplat's format: chunks of 256 Gaussians, 8 to 11 bits per value within its range."""
    position, rotation, scale, color = _table(path, elements["vertex"], PACKED, np.uint32).T
    n = len(position)
    chunk = elements.get("chunk", np.empty(0, np.uint8))
    chunks = -(-n // CHUNK)
    if len(chunk) != chunks:
        raise ValueError(f"{path}: got {len(chunk)} chunks, expected {chunks} for {n} Gaussians")
    has_colors = "min_r" in (chunk.dtype.names or ())
    limits = _table(path, chunk, LIMITS + COLOR_LIMITS * has_colors)
    limits = limits.reshape(chunks, 2 + has_colors, 2, 3)[np.arange(n) // CHUNK]

    def within(pair: int, fraction: np.ndarray) -> np.ndarray:
        low, high = limits[:, pair, 0], limits[:, pair, 1]
        return low * (1 - fraction) + high * fraction

    rgba = _fractions(color, 8, 8, 8, 8)
    rgb = within(2, rgba[:, :3]) if has_colors else rgba[:, :3]
    rest = np.empty((n, 0), np.uint8)
    if "sh" in elements:
        rest = _table(path, elements["sh"], _rest_names(path, elements["sh"]), np.uint8)
    if len(rest) != n:
        raise ValueError(f"{path}: got {len(rest)} rows of sh, expected {n}")
    return Contents(
        means=within(0, _fractions(position, 11, 10, 11)),
        quats=_unpack_quats(rotation),
        scales=np.exp(within(1, _fractions(scale, 11, 10, 11))),
        opacities=rgba[:, 3],
        sh=joined_sh(first_sh(rgb), SH_LEVELS[rest]),
        antialiased=antialiased,
    )


def _fractions(packed: np.ndarray, *bits: int) -> np.ndarray:
    """The bit fields of packed (n,) uint32, highest first, as (n, len(bits)) from 0 to 1."""
    top = 2 ** np.array(bits) - 1
    return (packed[:, None] >> (32 - np.cumsum(bits)) & top) / top


def _unpack_quats(packed: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4) wxyz from packed (n,) uint32.

    Two bits give the index of the largest component; the other three follow in 10 bits each.
    """
    small = (_fractions(packed, 2, 10, 10, 10)[:, 1:] - 0.5) * np.sqrt(2)
    return whole_quats(small, (packed >> 30).astype(np.int64))


def _rest_names(path: Path, element: np.ndarray) -> list[str]:
    """The names f_rest_0, f_rest_1 ... of the properties that an element has."""
    count = sum(name.startswith("f_rest_") for name in element.dtype.names or ())
    expected = [3 * (k - 1) for k in SH_COUNTS]
    if count not in expected:
        raise ValueError(f"{path}: got {count} properties f_rest_*, expected one of {expected}")
    return [f"f_rest_{i}" for i in range(count)]


def _table(path: Path, element: np.ndarray, names, dtype: type = np.float32) -> np.ndarray:
    """The named properties of an element, (n, len(names)).

    Raises ValueError if one is missing or has another type than dtype.
    """
    types: Mapping = element.dtype.fields or {}
    fit = [k for k in names if k in types and np.can_cast(types[k][0], dtype, "same_kind")]
    if len(fit) < len(names):
        missing = ", ".join(name for name in names if name not in fit)
        raise ValueError(f"{path}: lacks the {np.dtype(dtype)} properties {missing}")
    if not fit:
        return np.empty((len(element), 0), dtype)
    with np.errstate(over="ignore"):  # doubles too large become infinite
        table: np.ndarray = structured_to_unstructured(element[fit], dtype=dtype, copy=True)
    return table  # a copy, not the file
