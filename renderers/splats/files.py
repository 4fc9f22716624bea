"""Files of 3D Gaussians: reads .ply of many programs, .splat, .spz, .ksplat and SOG; writes .ply.

Gaussians are neither turned nor scaled: the axes and the unit of length are those of the file. In
files made from photographs, y often points down (.spz: up), and the unit is unknown.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from renderers.splats.formats import ksplat, ply, sog, splat, spz
from renderers.splats.formats.contents import Contents, read_bytes
from renderers.splats.formats.ply import COLORS, MEANS, QUATS, SCALES
from renderers.splats.formats.ply import NotGaussiansError as NotGaussiansError
from renderers.splats.gaussians import SH_COUNTS, Gaussians
from taichi_phys.checks import whole_number
from taichi_phys.io.files import atomic_path


SUFFIXES = (".ply", ".splat", ".spz", ".ksplat", ".sog")  # of files of Gaussians
NORMALS = ("nx", "ny", "nz")  # unused, but some viewers expect them

# The comment by which viewers know that Gaussians were fitted with render(antialiased=True)
ANTIALIASED = "SplatRenderMode: mip"

# Opacities are stored as logits. The logits of 0 and 1 are infinite, and are written as -40 and 40,
# as PlayCanvas does: in float32, 1 is read back as 1 and 0 as 4e-18, which is invisible, and
# exp(40) is far below the overflow at exp(88) that gives NaN in some viewers.
MAX_LOGIT = 40.0
COMMON = 3  # highest degree that other programs open


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SplatFile:
    """The Gaussians of a file, and whether it says that they were fitted with antialiasing."""

    gaussians: Gaussians
    antialiased: bool


def load_gaussians(path: str | Path) -> Gaussians:
    """The Gaussians of a file, float32 on the CPU, as `load_splats` reads them."""
    return load_splats(path).gaussians


def load_splats(path: str | Path) -> SplatFile:
    """The Gaussians, float32 on the CPU, in a file of any known format.

    path: a .ply (3DGS, 2DGS, Mip-Splatting, nerfstudio, PostShot, or SuperSplat's compressed one),
    .splat, .spz (versions 2 to 4), .ksplat, .sog, or SOG's meta.json. PLY, .spz and .sog are
    recognized by their first bytes and not by the name. Quaternions keep their length, and scales
    of 0 become tiny. Gaussians that cannot be drawn are left out with a warning. Raises ValueError,
    in one sentence, for a file that cannot be read, is damaged or lacks properties, and its
    subclass NotGaussiansError for a .ply of a mesh or a point cloud.
    """
    path = Path(path)
    contents = _read(path)
    return SplatFile(gaussians=contents.gaussians(path), antialiased=contents.antialiased)


def _read(path: Path) -> Contents:
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    kind = path.suffix.lower()
    if start[:3] == b"ply":
        return ply.read(path)
    if start[:4] == spz.MAGIC or start[:2] == spz.GZIP:
        return spz.read(path, read_bytes(path))
    if start[:2] == b"PK" or path.name == sog.META:
        return sog.read(path)
    if kind == ".ksplat":
        return ksplat.read(path, read_bytes(path))
    if kind == ".splat":
        return splat.read(path, read_bytes(path))
    raise ValueError(
        f"{path}: got neither the start of a PLY, .spz or .sog file nor a name ending in .splat or "
        ".ksplat"
    )


def save_gaussians(
    path: str | Path,
    gaussians: Gaussians,
    *,
    comments: Sequence[str] = (),
    degree: int | None = None,
) -> None:
    """Write Gaussians as a standard 3DGS .ply, in the byte layout of the reference implementation.

    path: a name ending in .ply; the file appears only when it is complete; gaussians: of any
    degree; comments: lines of ASCII for the header, such as ANTIALIASED; degree: the highest one
    to write, None for that of the Gaussians; most programs open degrees up to 3 only, so a higher
    one is written with a warning. In float32, means,
    quaternions and coefficients are stored exactly; scales are rounded as logarithms, and opacities
    as logits, which are limited to +-40. Raises ValueError for another name, for values that
    float32 cannot hold, and for a path that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: expected a name ending in .ply")
    g = _gaussians(path, **vars(gaussians))
    if degree is not None:
        whole_number("degree", degree, "a whole number from 0 on", low=0)
        kept = g.sh[:, : SH_COUNTS[min(degree, g.degree)]].contiguous()
        g = dataclasses.replace(g, sh=kept)
    if g.degree > COMMON:
        warnings.warn(
            f"{path}: its colors have degree {g.degree}, which most other programs do not open; "
            f"taichi-phys show --save FILE.ply --sh-degree {COMMON} writes one that they do",
            stacklevel=2,
        )
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
