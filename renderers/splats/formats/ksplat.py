"""The .ksplat files of GaussianSplats3D (https://github.com/mkkellogg/GaussianSplats3D).

A header of 4096 bytes, headers of 1024 bytes for the sections, then the sections: centers of
buckets, to which 16-bit positions are relative, and the Gaussians.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from renderers.splats.formats.contents import Contents, first_sh
from renderers.splats.gaussians import SH_COUNTS


HEADER, SECTION = 4096, 1024  # bytes
RANGE = 32767  # of positions, in a section that does not say it
HARMONICS = 1.5  # least and largest coefficient in a byte, in a file that does not say it
# By the level of compression: the types of positions, of scales and quaternions, of coefficients
LEVELS = (("<f4", "<f4", "<f4"), ("<u2", "<f2", "<f2"), ("<u2", "<f2", "u1"))
# Where the coefficients 1, 2 ... of red, green and blue stand: band after band, and in each band
# channel after channel
BANDS = {1: 3, 2: 5, 3: 7}


def read(path: Path, data: bytes) -> Contents:
    """Read a file. Raises ValueError, which names it, if it is damaged or of another version."""
    try:
        major, minor = struct.unpack_from("<2B", data)
        (sections,) = struct.unpack_from("<I", data, 4)
        (level,) = struct.unpack_from("<H", data, 20)
        low, high = struct.unpack_from("<2f", data, 36)
        if (major, minor) < (0, 1) or major > 0 or level >= len(LEVELS):
            raise ValueError(
                f"{path}: got .ksplat version {major}.{minor} of level {level}, expected version "
                "0.1 of level 0, 1 or 2"
            )
        limits = (low or -HARMONICS, high or HARMONICS)
        at, parts = HEADER + sections * SECTION, []
        for k in range(sections):
            part, at = _section(data, HEADER + k * SECTION, at, level, limits)
            parts.append(part)
    except (struct.error, ValueError, IndexError) as error:
        if str(error).startswith(f"{path}:"):
            raise
        raise ValueError(f"{path}: a damaged or incomplete .ksplat file ({error})") from None
    parts = [part for part in parts if len(part["means"])]
    if not parts:
        raise ValueError(f"{path}: holds no Gaussians")
    width = max(part["sh"].shape[1] for part in parts)
    for part in parts:
        missing = width - part["sh"].shape[1]
        part["sh"] = np.pad(part["sh"], ((0, 0), (0, missing), (0, 0)))
    whole: dict[str, Any] = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    return Contents(**whole)


def _section(
    data: bytes, header: int, at: int, level: int, limits: tuple[float, float]
) -> tuple[dict[str, np.ndarray], int]:
    """The arrays of a section whose data begin at byte `at`, and the byte at which they end."""
    count, most, capacity, buckets = struct.unpack_from("<4I", data, header)
    (block,) = struct.unpack_from("<f", data, header + 16)
    (storage,) = struct.unpack_from("<H", data, header + 20)
    (span,) = struct.unpack_from("<I", data, header + 24)
    full, partial = struct.unpack_from("<2I", data, header + 32)
    (degree,) = struct.unpack_from("<H", data, header + 40)
    position, shape, harmonics = LEVELS[level]
    rest = SH_COUNTS[degree] - 1
    record = np.dtype(
        [("means", position, 3), ("scales", shape, 3), ("quats", shape, 4), ("rgba", "u1", 4)]
        + [("rest", harmonics, (3 * rest,))]
    )
    lengths = np.frombuffer(data, "<u4", partial, at)
    at += 4 * partial
    centers = np.frombuffer(data, "<f4", 3 * buckets if storage else 0, at).reshape(-1, 3)
    at += storage * buckets
    rows = np.frombuffer(data, record, count, at)
    means = rows["means"].astype(np.float64)
    if level:
        sizes = np.concatenate([np.full(full, capacity), lengths]).astype(np.int64)
        bucket = np.repeat(np.arange(len(sizes)), sizes)[:count]
        span = span or RANGE
        means = (means - span) * (block / 2 / span) + centers[bucket]
    values = rows["rest"].astype(np.float64)
    if level == 2:
        values = limits[0] + values / 255 * (limits[1] - limits[0])
    sh = np.empty((count, 1 + rest, 3))
    sh[:, 0] = first_sh(rows["rgba"][:, :3] / 255)
    start = 0
    for band in range(1, degree + 1):
        width = BANDS[band]
        own = values[:, 3 * start : 3 * (start + width)].reshape(count, 3, width)
        sh[:, 1 + start : 1 + start + width] = own.transpose(0, 2, 1)
        start += width
    arrays = {
        "means": means,
        "quats": rows["quats"].astype(np.float64),
        "scales": rows["scales"].astype(np.float64),
        "opacities": rows["rgba"][:, 3] / 255,
        "sh": sh,
    }
    return arrays, at + record.itemsize * most
