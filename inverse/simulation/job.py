"""The settings of a scene's run that are not in the scene file."""

import dataclasses
from pathlib import Path

from inverse.runs.settings import check_settings, option, setting
from taichi_phys.scenes.scene import Scene, load_scene, shrink


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneJob:
    """The scene file, changes to its settings, and where the results go."""

    scene: str = setting("")  # the file
    out: str | None = option(None, "folder of the results; default: out/NAME of the scene")
    set: tuple[str, ...] = option(
        (), "change a value of the scene: time.fps=48, or body.1.material.E=2e4; repeat for more",
        metavar="KEY=VALUE",
    )  # fmt: skip
    frames: int | None = option(None, "stop after this many frames, if the scene has more", low=1)
    coarsen: float = option(
        1.0,
        "make cells and particles this many times as large: 2 is about 16 times faster",
        above=0,
    )
    resume: bool = option(False, "continue a stopped run in --out")
    video: bool | None = option(None, "write video.mp4; default: as the scene says")
    device: str = option(
        "auto", "where to compute; auto: a GPU if any", choices=("auto", "cpu", "cuda")
    )
    threads: int | None = option(None, "number of CPU threads; default: all", low=1)

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.scene:
            raise ValueError("scene: none given, expected the path of a .toml file")

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(self.out or Path("out") / Path(self.scene).stem)

    def load_scene(self) -> Scene:
        """Read the scene file and apply the changes of the job.

        Raises ValueError, whose sentence names file, line, key, what was found and what is allowed.
        """
        scene = shrink(load_scene(self.scene, self.set), frames=self.frames, coarsen=self.coarsen)
        if self.video is None:
            return scene
        output = dataclasses.replace(scene.output, video=self.video)
        return dataclasses.replace(scene, output=output)
