"""Files of 3D Gaussians: reads .ply, SuperSplat's compressed .ply and .splat; writes .ply.

Gaussians are neither turned nor scaled: the axes and the unit of length are those of the file. In
files made from photographs, y often points down, and the unit is unknown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plyfile
import torch
from numpy.lib.recfunctions import structured_to_unstructured

from renderers.splats.gaussians import SH_COUNTS, SH_DEGREE_0, Gaussians
from taichi_phys.io.files import atomic_path


MEANS = ("x", "y", "z")
NORMALS = ("nx", "ny", "nz")  # unused, but some viewers expect them
COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
SCALES = ("scale_0", "scale_1", "scale_2")
QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")

# The comment by which viewers know that Gaussians were fitted with render(antialiased=True)
ANTIALIASED = "SplatRenderMode: mip"

# Opacities are stored as logits. The logits of 0 and 1 are infinite, and are written as -40 and 40,
# as PlayCanvas does: in float32, 1 is read back as 1 and 0 as 4e-18, which is invisible, and
# exp(40) is far below the overflow at exp(88) that gives NaN in some viewers.
MAX_LOGIT = 40.0

CHUNK = 256  # Gaussians that share the ranges of their values in a compressed file
LIMITS = [f"{end}_{axis}" for end in ("min", "max") for axis in MEANS]
LIMITS += [f"{end}_scale_{axis}" for end in ("min", "max") for axis in MEANS]
COLOR_LIMITS = [f"{end}_{channel}" for end in ("min", "max") for channel in "rgb"]
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")

# The coefficients f_rest for the bytes of a compressed file: 256 bins from -4 to 4, read at their
# centers, except for the two outermost bins, which also hold all values beyond.
SH_LEVELS = (np.arange(256) + 0.5) / 32 - 4
SH_LEVELS[[0, 255]] = -4, 4

RECORD = np.dtype(
    [("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)]
)  # of a .splat file


class NotGaussiansError(ValueError):
    """A valid .ply file that holds a mesh or a point cloud instead of Gaussians."""


def load_gaussians(path: str | Path) -> Gaussians:
    """The Gaussians, float32 on the CPU, in a .ply (standard or SuperSplat's) or a .splat file.

    path: the file; a PLY file is recognized by its first bytes and not by its name. Quaternions
    keep their length. Raises ValueError, in one sentence, for a file that cannot be read, is
    damaged, lacks properties or holds NaN, infinities, zero quaternions or zero scales, and its
    subclass NotGaussiansError for a .ply of a mesh or a point cloud.
    Sources: graphdeco-inria/gaussian-splatting, playcanvas/splat-transform, antimatter15/splat.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            is_ply = stream.read(3) == b"ply"
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if is_ply:
        return _read_ply(path)
    if path.suffix.lower() == ".splat":
        return _read_splat(path)
    raise ValueError(f"{path}: got neither the start of a PLY file nor a name ending in .splat")


def save_gaussians(path: str | Path, gaussians: Gaussians, *, comments: Sequence[str] = ()) -> None:
    """Write Gaussians as a standard 3DGS .ply, in the byte layout of the reference implementation.

    path: a name ending in .ply; the file appears only when it is complete; gaussians: of any
    degree; comments: lines of ASCII for the header, such as ANTIALIASED. In float32, means,
    quaternions and coefficients are stored exactly; scales are rounded as logarithms, and opacities
    as logits, which are limited to +-40. Raises ValueError for another name, for values that
    float32 cannot hold, and for a path that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: expected a name ending in .ply")
    g = _gaussians(path, **vars(gaussians))
    columns = [
        g.means,
        torch.zeros_like(g.means),  # the normals
        g.sh[:, 0],
        g.sh[:, 1:].mT.flatten(1),  # all of red, then green, then blue
        g.opacities.double().logit().clamp(-MAX_LOGIT, MAX_LOGIT)[:, None],
        g.scales.double().log(),
        g.quats,
    ]
    table = torch.cat([column.float() for column in columns], 1).numpy()
    rest = [f"f_rest_{i}" for i in range(3 * (g.sh.shape[1] - 1))]
    names = [*MEANS, *NORMALS, *COLORS, *rest, "opacity", *SCALES, *QUATS]
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    header.append(f"element vertex {len(g)}")
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    with atomic_path(path) as partial, partial.open("wb") as stream:
        stream.write("\n".join(header).encode("ascii"))
        stream.write(table.astype("<f4", copy=False).tobytes())


def _gaussians(path: Path, **values: torch.Tensor) -> Gaussians:
    """Gaussians in float32 on the CPU. Raises ValueError, which names the file."""
    try:
        return Gaussians(**{k: v.detach().cpu().float().contiguous() for k, v in values.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_ply(path: Path) -> Gaussians:
    try:
        elements = {e.name: e.data for e in plyfile.PlyData.read(str(path)).elements}
    except (plyfile.PlyParseError, ValueError, ArithmeticError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: a damaged or incomplete PLY file ({reason})") from None
    if "vertex" not in elements:
        raise ValueError(f"{path}: got elements {', '.join(elements) or 'none'}, expected vertex")
    names = elements["vertex"].dtype.names or ()
    if set(names) & set(PACKED):
        return _read_compressed(path, elements)
    if not set(names) & {"opacity", *COLORS, *SCALES, *QUATS}:
        raise NotGaussiansError(
            f"{path}: a mesh or point cloud, not Gaussians (its vertices have none of opacity, "
            "f_dc_0, scale_0 and rot_0)"
        )
    return _read_standard(path, elements["vertex"])


def _read_standard(path: Path, vertex: np.ndarray) -> Gaussians:
    rest = _rest_names(path, vertex)
    table = _table(path, vertex, [*MEANS, *COLORS, "opacity", *SCALES, *QUATS, *rest])
    means, colors, logits, log_scales, quats, rest = torch.from_numpy(table).split(
        [3, 3, 1, 3, 4, len(rest)], dim=1
    )
    return _gaussians(
        path,
        means=means,
        quats=quats,
        scales=log_scales.double().exp(),
        opacities=logits[:, 0].double().sigmoid(),
        sh=_coefficients(colors, rest),
    )


def _read_compressed(path: Path, elements: dict[str, np.ndarray]) -> Gaussians:
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

    def within(pair, fraction):
        low, high = limits[:, pair, 0], limits[:, pair, 1]
        return low * (1 - fraction) + high * fraction

    rgba = _fractions(color, 8, 8, 8, 8)
    rgb = within(2, rgba[:, :3]) if has_colors else rgba[:, :3]
    rest = np.empty((n, 0), np.uint8)
    if "sh" in elements:
        rest = _table(path, elements["sh"], _rest_names(path, elements["sh"]), np.uint8)
    if len(rest) != n:
        raise ValueError(f"{path}: got {len(rest)} rows of sh, expected {n}")
    return _gaussians(
        path,
        means=torch.from_numpy(within(0, _fractions(position, 11, 10, 11))),
        quats=torch.from_numpy(_unpack_quats(rotation)),
        scales=torch.from_numpy(within(1, _fractions(scale, 11, 10, 11))).exp(),
        opacities=torch.from_numpy(rgba[:, 3]),
        sh=_coefficients(*map(torch.from_numpy, ((rgb - 0.5) / SH_DEGREE_0, SH_LEVELS[rest]))),
    )


def _fractions(packed: np.ndarray, *bits: int) -> np.ndarray:
    """The bit fields of packed (n,) uint32, highest first, as (n, len(bits)) from 0 to 1."""
    top = 2 ** np.array(bits) - 1
    return (packed[:, None] >> (32 - np.cumsum(bits)) & top) / top


def _unpack_quats(packed: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4) wxyz from packed (n,) uint32.

    Two bits give the index of the largest component; the other three follow in 10 bits each.
    """
    largest = (packed >> 30).astype(np.int64)[:, None]
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest[:, 0]]
    small = (_fractions(packed, 2, 10, 10, 10)[:, 1:] - 0.5) * np.sqrt(2)
    quats = np.empty((len(packed), 4))
    np.put_along_axis(quats, others, small, 1)
    left = 1 - (small**2).sum(1, keepdims=True)
    np.put_along_axis(quats, largest, np.sqrt(left.clip(0)), 1)
    return quats


def _read_splat(path: Path) -> Gaussians:
    """antimatter15's format: 32 bytes per Gaussian, without a header."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if not data or len(data) % RECORD.itemsize:
        raise ValueError(
            f"{path}: got {len(data)} bytes, expected a positive multiple of {RECORD.itemsize}"
        )
    record = np.frombuffer(data, RECORD)
    rgba = record["rgba"] / 255
    return _gaussians(
        path,
        means=torch.tensor(record["means"]),
        quats=torch.from_numpy((record["quats"] - 128.0) / 128),
        scales=torch.tensor(record["scales"]),
        opacities=torch.from_numpy(rgba[:, 3]),
        sh=torch.from_numpy((rgba[:, None, :3] - 0.5) / SH_DEGREE_0),
    )


def _rest_names(path: Path, element: np.ndarray) -> list[str]:
    """The names f_rest_0, f_rest_1 ... of the properties that an element has."""
    count = sum(name.startswith("f_rest_") for name in element.dtype.names or ())
    expected = [3 * (k - 1) for k in SH_COUNTS]
    if count not in expected:
        raise ValueError(f"{path}: got {count} properties f_rest_*, expected one of {expected}")
    return [f"f_rest_{i}" for i in range(count)]


def _table(path: Path, element: np.ndarray, names, dtype: type = np.float32) -> np.ndarray:
    """The named properties of an element, (n, len(names)).

    Raises ValueError if one is missing, has another type than dtype, or is NaN or infinite.
    """
    types: Mapping = element.dtype.fields or {}
    fit = [k for k in names if k in types and np.can_cast(types[k][0], dtype, "same_kind")]
    if len(fit) < len(names):
        missing = ", ".join(name for name in names if name not in fit)
        raise ValueError(f"{path}: lacks the {np.dtype(dtype)} properties {missing}")
    if not fit:
        return np.empty((len(element), 0), dtype)
    with np.errstate(over="ignore"):  # doubles too large are reported below
        table: np.ndarray = structured_to_unstructured(
            element[fit], dtype=dtype, copy=True
        )  # not the file
    bad = (~np.isfinite(table)).sum(0)
    if bad.any():
        found = ", ".join(f"{k} ({count})" for k, count in zip(fit, bad, strict=True) if count)
        raise ValueError(f"{path}: got NaN or infinite values in {found}, expected finite ones")
    return table


def _coefficients(colors: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Coefficients (n, K, 3) from colors (n, 3), of degree 0, and rest (n, 3 (K - 1)).

    rest holds the other degrees channel after channel.
    """
    others = rest.reshape(len(rest), 3, rest.shape[1] // 3)
    return torch.cat([colors[:, None], others.mT], 1)
