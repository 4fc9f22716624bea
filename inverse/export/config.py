"""The settings of an export."""

import dataclasses
from pathlib import Path

from inverse.runs.settings import check_settings, option, setting
from taichi_phys.geometry.surfacing import SMOOTH


FORMATS = ("vtk", "obj", "ply", "usd")
PARTICLES, SURFACES, BOTH = "particles", "surfaces", "both"
USUAL = {"vtk": PARTICLES, "obj": SURFACES, "ply": SURFACES, "usd": BOTH}
ABLE = {
    "vtk": (PARTICLES,),
    "obj": (SURFACES,),
    "ply": (PARTICLES, SURFACES),
    "usd": (PARTICLES, SURFACES, BOTH),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportJob:
    """The run, the format, and how fine the surfaces are."""

    run: str = setting("")  # its folder
    to: str = option(
        "usd", "vtk: .vtp and .pvd for ParaView; obj, ply: one file of triangles for each body and "
        "frame; usd: one stage, for Blender", choices=FORMATS,
    )  # fmt: skip
    out: str | None = option(None, "folder of the files; default: export/FORMAT in the run")
    what: str | None = option(
        None, "default: particles in vtk, surfaces in obj and ply, both in usd",
        choices=(PARTICLES, SURFACES, BOTH),
    )  # fmt: skip
    every: int = option(1, "write every n-th frame", low=1)
    voxel: float | None = option(
        None, "edge of the cells of surfaces, m; default: half the distance between particles",
        above=0,
    )  # fmt: skip
    smooth: float = option(
        SMOOTH, "width of the blur of surfaces, in distances between particles", above=0
    )
    skin: bool = option(
        True, "the mesh of which an elastic body was made follows its particles, in place of a "
        "surface that is found anew in each frame"
    )  # fmt: skip
    until: float | None = option(
        None, "of a TRACE run: last time, s; default: the last observed one", above=0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.run:
            raise ValueError("run: none given, expected the folder of a run")
        if self.contents not in ABLE[self.to]:
            raise ValueError(
                f"what: got {self.what} with --to {self.to}, expected {' or '.join(ABLE[self.to])}"
            )

    @property
    def contents(self) -> str:
        """particles, surfaces, or both."""
        return self.what or USUAL[self.to]

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return Path(self.out) if self.out else Path(self.run) / "export" / self.to
