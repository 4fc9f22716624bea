"""Niantic's .spz, versions 2 to 4 (https://github.com/nianticlabs/spz).

Versions 2 and 3 are one gzip stream of a header and six arrays; version 4 has a plain header, a
table of sizes, and the arrays as zstd streams.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from renderers.splats.formats.contents import Contents, whole_quats
from renderers.splats.gaussians import SH_COUNTS


MAGIC, GZIP = b"NGSP", b"\x1f\x8b"
COLOR_SCALE = 0.15  # of the coefficients of degree 0: colors beyond 0 to 1 fit into a byte, too
ANTIALIASED = 1  # flag


def read(path: Path, data: bytes) -> Contents:
    """Read a file. Raises ValueError, which names it, if it is damaged or of another version."""
    try:
        version, count, degree, bits, flags, arrays = _arrays(path, data)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: a damaged or incomplete .spz file ({error})") from None
    small = version >= 3  # the smallest three components of a quaternion, or x, y and z
    rest = SH_COUNTS[degree] - 1
    sizes = {"means": 9, "alphas": 1, "colors": 3, "scales": 3, "quats": 4 if small else 3}
    sizes["rest"] = 3 * rest
    parts: dict[str, np.ndarray] = {}
    for (name, size), array in zip(sizes.items(), _cut(arrays, count, sizes), strict=True):
        if len(array) != count * size:
            raise ValueError(
                f"{path}: got {len(array)} bytes of {name}, expected {count * size} for {count} "
                "Gaussians"
            )
        parts[name] = np.frombuffer(array, np.uint8).reshape(count, size)
    low = parts["means"].reshape(count, 3, 3).astype(np.int32) @ (1 << np.array([0, 8, 16]))
    fixed = low - ((low >> 23) << 24)  # 24 bits with a sign
    sh = np.empty((count, 1 + rest, 3))
    sh[:, 0] = (parts["colors"] / 255 - 0.5) / COLOR_SCALE
    sh[:, 1:] = (parts["rest"].reshape(count, rest, 3) - 128.0) / 128
    return Contents(
        means=fixed / float(1 << bits),
        quats=_smallest_three(parts["quats"]) if small else _first_three(parts["quats"]),
        scales=np.exp(parts["scales"] / 16 - 10),
        opacities=parts["alphas"][:, 0] / 255,
        sh=sh,
        antialiased=bool(flags & ANTIALIASED),
    )


def _arrays(path: Path, data: bytes) -> tuple[int, int, int, int, int, list[bytes] | bytes]:
    """Version, number of Gaussians, degree, bits of fractions, flags and the arrays."""
    plain = data[:4] == MAGIC
    content = data if plain else gzip.decompress(data)
    magic, version, count, degree, bits, flags, streams = struct.unpack_from("<4s2I4B", content)
    if magic != MAGIC or version not in ((4,) if plain else (2, 3)) or degree >= len(SH_COUNTS):
        raise ValueError(
            f"{path}: got .spz version {version} of degree {degree}, expected version 2, 3 or 4 of "
            f"degree 0 to {len(SH_COUNTS) - 1}"
        )
    if not plain:
        return version, count, degree, bits, flags, content[16:]
    (at,) = struct.unpack_from("<I", content, 16)
    table = struct.unpack_from(f"<{2 * streams}Q", content, at)
    at += 16 * streams
    arrays = []
    for packed, size in zip(table[::2], table[1::2], strict=True):
        arrays.append(_unzstd(path, content[at : at + packed], size))
        at += packed
    return version, count, degree, bits, flags, arrays


def _unzstd(path: Path, data: bytes, size: int) -> bytes:
    try:
        import zstandard
    except ImportError:
        raise ValueError(
            f"{path}: .spz version 4 is compressed with zstd, which needs a package: "
            "pip install zstandard"
        ) from None
    try:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(f"{path}: a damaged or incomplete .spz file ({error})") from None


def _cut(arrays: list[bytes] | bytes, count: int, sizes: dict[str, int]) -> list[bytes]:
    """One array for each name in sizes."""
    if isinstance(arrays, list):
        return (arrays + [b""] * len(sizes))[: len(sizes)]
    ends = np.cumsum([0] + [count * size for size in sizes.values()])
    return [arrays[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _first_three(packed: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4) wxyz from the bytes of x, y and z; w is positive."""
    xyz = packed / 127.5 - 1
    w = np.sqrt((1 - (xyz**2).sum(axis=1)).clip(0))
    return np.column_stack([w, xyz])


def _smallest_three(packed: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4) wxyz from 32 bits: the index of the largest in xyzw, and three others.

    Each of these has a sign bit and 9 bits of its size up to sqrt(1/2); the last is in the lowest.
    """
    word = packed.astype(np.uint32) @ (1 << np.arange(0, 32, 8, dtype=np.uint32))
    fields = word[:, None] >> np.array([20, 10, 0], np.uint32)
    size = (fields & 511) / 511 * np.sqrt(0.5)
    values = np.where(fields & 512, -size, size)
    return whole_quats(values, (word >> 30).astype(np.int64))[:, [3, 0, 1, 2]]
