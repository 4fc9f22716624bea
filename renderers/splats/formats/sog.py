"""PlayCanvas' SOG: meta.json and pictures in WebP, loose or in one .sog archive.

Source: https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/sog
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from renderers.splats.formats.contents import Contents, whole_quats
from renderers.splats.gaussians import SH_COUNTS


META = "meta.json"
WIDE = 64  # palette entries in a row of the picture of centroids
ALPHA = 252  # the fourth channel of a quaternion is this and the index of its largest component

Load = Callable[[str], bytes]


def read(path: Path) -> Contents:
    """Read a .sog archive, or the meta.json of a folder. Raises ValueError, which names it."""
    try:
        if path.name == META:
            return _decode(lambda name: (path.parent / name).read_bytes())
        with zipfile.ZipFile(path) as archive:
            return _decode(archive.read)
    except (OSError, KeyError, TypeError, IndexError, ValueError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: a damaged or incomplete SOG file ({reason})") from None


def _decode(load: Load) -> Contents:
    meta = json.loads(load(META))
    count = int(meta["count"] if "count" in meta else meta["means"]["shape"][0])

    def texels(key: str, index: int = 0) -> np.ndarray:
        pixels = _pixels(load, meta[key]["files"][index]).reshape(-1, 4)
        if len(pixels) < count:
            raise ValueError(f"{key} has {len(pixels)} pixels for {count} Gaussians")
        return pixels[:count]

    low, high = texels("means").astype(np.int64), texels("means", 1).astype(np.int64)
    span = _between(meta["means"], (low | high << 8)[:, :3] / 65535)
    means = np.sign(span) * np.expm1(np.abs(span))
    packed = texels("quats")
    scales, colors = texels("scales")[:, :3], texels("sh0")
    if "codebook" in meta["scales"]:
        log_scales = np.asarray(meta["scales"]["codebook"])[scales]
        first = np.asarray(meta["sh0"]["codebook"])[colors[:, :3]]
        opacities = colors[:, 3] / 255
    else:  # version 1
        log_scales = _between(meta["scales"], scales / 255)
        lerped = _between(meta["sh0"], colors / 255)
        first, opacities = lerped[:, :3], 1 / (1 + np.exp(-lerped[:, 3]))
    sh = first[:, None]
    if meta.get("shN"):
        sh = np.concatenate([sh, _rest(meta["shN"], load, texels("shN", 1))], axis=1)
    return Contents(
        means=means,
        quats=_quats(packed),
        scales=np.exp(log_scales),
        opacities=opacities,
        sh=sh,
        antialiased=meta.get("model") == "antialiased" or bool(meta.get("antialias")),
    )


def _pixels(load: Load, name: str) -> np.ndarray:
    with Image.open(io.BytesIO(load(name))) as image:
        return np.asarray(image.convert("RGBA"))


def _between(limits: dict, fraction: np.ndarray) -> np.ndarray:
    low, high = np.asarray(limits["mins"], float), np.asarray(limits["maxs"], float)
    return low + fraction * (high - low)


def _quats(packed: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4) wxyz from three components and the index of the largest one."""
    largest = packed[:, 3].astype(np.int64) - ALPHA
    known = (largest >= 0) & (largest < 4)
    values = (packed[:, :3] / 255 * 2 - 1) * np.sqrt(0.5)
    quats = whole_quats(values, np.where(known, largest, 0))
    quats[~known] = 1, 0, 0, 0
    return quats


def _rest(meta: dict, load: Load, labels: np.ndarray) -> np.ndarray:
    """The coefficients (n, K - 1, 3) above degree 0, from a palette."""
    picture = _pixels(load, meta["files"][0])
    count = picture.shape[1] // WIDE
    if picture.shape[1] % WIDE or count + 1 not in SH_COUNTS:
        raise ValueError(f"the picture of centroids is {picture.shape[1]} px wide")
    palette = picture[..., :3].reshape(-1, count, 3)
    label = labels[:, 0].astype(np.int64) | labels[:, 1].astype(np.int64) << 8
    entries = palette[label]
    if "codebook" in meta:
        return np.asarray(meta["codebook"])[entries]
    return meta["mins"] + entries / 255 * (meta["maxs"] - meta["mins"])
