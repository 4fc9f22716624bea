"""The settings of a sweep that are not in its file."""

import dataclasses

from inverse.runs.settings import check_settings, option, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepJob:
    """The file of a sweep, and how its runs are computed."""

    sweep: str = setting("")  # the file
    out: str | None = option(None, "folder of the results; default: as the file says")
    workers: int | None = option(
        None, "runs at the same time; default: as the file says, else one for every two CPUs", low=1
    )
    engine: str = option(
        "auto", "ray: tasks of Ray, here or in a cluster; processes: of this machine; auto: ray if "
        "--address is given", choices=("auto", "ray", "processes"),
    )  # fmt: skip
    address: str | None = option(
        None, "of a Ray cluster, such as ray://host:10001 or auto; its machines see the same files"
    )
    retries: int = option(
        2, "how often a run is begun again whose process was killed", low=0, high=100
    )
    again: bool = option(False, "also repeat runs that are done")
    only: int | None = option(None, "run this one alone, counted from 0, without the table", low=0)
    dry: bool = option(False, "only say what would be run")
    sbatch: bool = option(False, "run nothing, but write OUT/sweep.sbatch, an array of SLURM")

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.sweep:
            raise ValueError("sweep: none given, expected the path of a .toml file")
        if self.engine == "processes" and self.address is not None:
            raise ValueError("address: only Ray has one, got engine processes")
