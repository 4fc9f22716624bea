"""Reading of OpenEXR pictures of one part in scan lines; OpenCV's wheels often lack it."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np


MAGIC = b"\x76\x2f\x31\x01"
TILED, DEEP, PARTS = 0x200, 0x800, 0x1000  # flags of the version
COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
LINES = {"none": 1, "RLE": 1, "ZIPS": 1, "ZIP": 16}  # of a block, by compressions that are read
TYPES = (np.dtype("<u4"), np.dtype("<f2"), np.dtype("<f4"))  # of channels
# Channels with a depth, the best first: renderers call it Z or depth, networks write points as red,
# green, blue, and single-channel writers Y, V or R. Only what follows the last dot counts: Blender
# writes ViewLayer.Depth.Z.
WANTED = (("z",), ("depth",), ("r", "g", "b"), ("y",), ("v",), ("r",))


def read_exr(path: Path) -> np.ndarray:
    """Read the channel (H, W) of an OpenEXR file that holds depth or, failing that, three channels
    (H, W, 3) red, green, blue, or brightness (H, W).

    Raises ValueError for a damaged file, and for kinds that are not read: tiles, several parts,
    lossy compressions.
    """
    data = path.read_bytes()
    try:
        return _read(data)
    except (struct.error, IndexError, zlib.error, UnicodeDecodeError):
        raise ValueError("damaged, not a whole OpenEXR picture") from None


def _read(data: bytes) -> np.ndarray:
    if data[:4] != MAGIC:
        raise ValueError("not an OpenEXR picture")
    (version,) = struct.unpack_from("<i", data, 4)
    if version & (TILED | DEEP | PARTS):
        raise ValueError(
            "an OpenEXR picture of tiles, several parts or deep pixels, expected one part in scan "
            "lines"
        )
    header, place = _header(data, 8)
    compression = COMPRESSIONS[header["compression"][0]]
    if compression not in LINES:
        raise ValueError(f"its compression is {compression}, expected ZIP, ZIPS, RLE or none")
    left, top, right, bottom = struct.unpack("<4i", header["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    channels = list(_channels(header["channels"]))
    names = [name for name, _ in channels]
    chosen = [names.index(name) for name in _wanted(names)]
    ends = np.cumsum([0, *(width * kind.itemsize for _, kind in channels)])
    stride, lines = int(ends[-1]), LINES[compression]  # bytes and lines of a block
    result = np.empty((height, width, len(chosen)), np.float32)
    for block in struct.unpack_from(f"<{-(-height // lines)}Q", data, place):
        y, size = struct.unpack_from("<ii", data, block)
        rows = range(y - top, min(y - top + lines, height))
        packed = data[block + 8 : block + 8 + size]
        plain = packed if size == stride * len(rows) else _unpack(packed, compression)
        for k, row in enumerate(rows):
            for part, index in enumerate(chosen):
                start = k * stride + int(ends[index])
                result[row, :, part] = np.frombuffer(plain, channels[index][1], width, start)
    return result if len(chosen) > 1 else result[..., 0]


def _header(data: bytes, place: int) -> tuple[dict[str, bytes], int]:
    """The attributes of a header, and where it ends."""
    header = {}
    while data[place]:
        name, place = _text(data, place)
        _, place = _text(data, place)  # its type
        (size,) = struct.unpack_from("<i", data, place)
        header[name] = data[place + 4 : place + 4 + size]
        place += 4 + size
    missing = [key for key in ("channels", "compression", "dataWindow") if key not in header]
    if missing:
        raise ValueError(f"damaged, its header lacks {missing[0]}")
    return header, place + 1


def _text(data: bytes, place: int) -> tuple[str, int]:
    end = data.find(b"\0", place)
    if end < 0:
        raise IndexError("a text without end")
    return data[place:end].decode(), end + 1


def _channels(data: bytes) -> Iterator[tuple[str, np.dtype]]:
    place = 0
    while data[place]:
        name, place = _text(data, place)
        kind, _, across, down = struct.unpack_from("<4i", data, place)
        if (across, down) != (1, 1):
            raise ValueError(f"its channel {name} is sampled more coarsely, expected full size")
        yield name, TYPES[kind]
        place += 16


def _wanted(names: list[str]) -> list[str]:
    last = [name.rpartition(".")[2].lower() for name in names]
    for wants in WANTED:
        if all(want in last for want in wants):
            return [names[last.index(want)] for want in wants]
    if len(names) == 1:
        return names
    raise ValueError(f"its channels are {', '.join(names)}, expected one named Z, depth, Y, V or R")


def _unpack(packed: bytes, compression: str) -> bytes:
    """Undo the compression, then the differences between bytes, then their order."""
    plain = _unpack_runs(packed) if compression == "RLE" else zlib.decompress(packed)
    steps = np.frombuffer(plain, np.uint8).astype(np.int64)
    steps[1:] -= 128
    values = (np.cumsum(steps) & 255).astype(np.uint8)
    half = (len(values) + 1) // 2
    ordered = np.empty_like(values)
    ordered[0::2], ordered[1::2] = values[:half], values[half:]
    return ordered.tobytes()


def _unpack_runs(packed: bytes) -> bytes:
    plain, place = bytearray(), 0
    while place < len(packed):
        (count,) = struct.unpack_from("<b", packed, place)
        if count < 0:
            plain += packed[place + 1 : place + 1 - count]
            place += 1 - count
        else:
            plain += packed[place + 1 : place + 2] * (count + 1)
            place += 2
    return bytes(plain)
