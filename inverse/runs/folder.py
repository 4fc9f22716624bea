"""The folder of a run: how its files are begun, written and read again.

A run begins with config.json and ends with its results. The types of runs (`WindRun`, `TraceRun`,
`FitRun`, `SceneRun`) know what their files hold; this module knows how files are kept.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from inverse.runs.checkpoint import peek_checkpoint, unreadable
from inverse.runs.settings import as_plain, from_record, write_json
from renderers.camera import Camera
from taichi_phys.io.files import atomic_path


CONFIG = "config.json"
METRICS = "metrics.json"
CAMERAS = "cameras.json"
REPORT = "report.html"
VIDEO = "video.mp4"
CAMERA_KEYS = ("fx", "fy", "cx", "cy", "width", "height", "world_to_camera")

T = TypeVar("T")


class RunFolder:
    """A folder of results; path: where it is, or shall be.

    Every file is whole or absent. Whatever cannot be read is a ValueError in one sentence that
    names the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        """The path of a file."""
        return self.path / name

    def checkpoint(self, name: str) -> Path:
        """The path of a file that the run goes on from."""
        return self.path / "checkpoints" / name

    def begin(
        self,
        config: Mapping[str, Any],
        *,
        results: Sequence[str],
        checkpoints: Sequence[str],
        resume: bool = False,
        free: Collection[str] = (),
    ) -> None:
        """Begin a run, or prepare to go on with the one that is there, by writing config.json.

        config: the settings, by key; results and checkpoints: names of the files of a run, which
        are removed unless resume; free: dotted names of the settings that may differ from those
        of a run that is resumed, such as "run.out".
        Raises ValueError where the folder cannot be written or the run cannot be resumed.
        """
        kept = [name for name in checkpoints if self.checkpoint(name).exists()]
        if resume and kept:
            self._check_same(config, free)
        write_json(self / CONFIG, config)  # first: what cannot be written fails before the work
        if not resume:
            for path in [self / name for name in results] + [self.checkpoint(k) for k in kept]:
                path.unlink(missing_ok=True)

    def _check_same(self, config: Mapping[str, Any], free: Collection[str]) -> None:
        before, now = (dict(_leaves(record)) for record in (self.config(), as_plain(config)))
        changed = {
            name.partition(".")[2] or name
            for name in {*before, *now}
            if before.get(name) != now.get(name)
            and not any(name == other or name.startswith(f"{other}.") for other in free)
        }
        if changed:
            raise ValueError(
                f"{self / CONFIG}: cannot resume, since {', '.join(sorted(changed))} changed; run "
                "it anew without --resume, or give another --out"
            )

    # Settings

    def config(self, *keys: str) -> dict[str, Any]:
        """What config.json holds, which has at least these keys."""
        record = self.read_json(CONFIG)
        missing = [key for key in keys if key not in record]
        if missing:
            raise ValueError(f"{self / CONFIG}: not that of such a run, it lacks {missing[0]!r}")
        return record

    def settings(self, kind: type[T], key: str) -> T:
        """The dataclass of settings that config.json holds under a key."""
        record = self.config(key)[key]
        try:
            return from_record(kind, record)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{self / CONFIG}: made by another version ({error})") from None
        except ValueError as error:
            raise ValueError(f"{self / CONFIG}: {error}") from None

    # Files

    def write_json(self, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Write a record; returns it as it will be read."""
        return write_json(self / name, record)

    def read_json(self, name: str) -> dict[str, Any]:
        """The record in a file."""
        path = self / name
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise unreadable(path, error) from None
        except ValueError as error:
            raise ValueError(f"{path}: damaged, not valid JSON ({error})") from None
        if not isinstance(record, dict):
            raise ValueError(f"{path}: damaged, expected a JSON object")
        return record

    def need(self, name: str) -> Path:
        """The path of a file that has to be there."""
        if not (self / name).exists():
            raise unreadable(self / name, FileNotFoundError())
        return self / name

    def write_npz(self, name: str, **arrays: Any) -> None:
        """Write arrays by name."""
        write_npz(self / name, **arrays)

    def read_npz(self, name: str, *names: str) -> list[np.ndarray]:
        """The arrays of these names in a file."""
        return read_npz(self / name, *names)

    def write_cameras(self, cameras: Sequence[Camera], **more: Any) -> None:
        """Write cameras.json; more: lists of other values beside them."""
        records = [{key: getattr(camera, key) for key in CAMERA_KEYS} for camera in cameras]
        for record in records:
            record["world_to_camera"] = np.asarray(record["world_to_camera"]).tolist()
        self.write_json(CAMERAS, {"cameras": records, **more})

    def read_cameras(self) -> tuple[list[Camera], dict[str, Any]]:
        """The cameras in cameras.json, and what was written beside them."""
        record = self.read_json(CAMERAS)
        try:
            cameras = [
                Camera(**{key: one[key] for key in CAMERA_KEYS}) for one in record.pop("cameras")
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self / CAMERAS}: damaged or made by another version ({error})"
            ) from None
        return cameras, record

    def read_checkpoint(self, name: str) -> dict[str, Any]:
        """The state in a checkpoint, on the CPU."""
        return peek_checkpoint(self.checkpoint(name))


def write_npz(path: str | Path, **arrays: Any) -> None:
    """Write arrays by name as a compressed .npz, at once or not at all."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: str | Path, *names: str) -> list[np.ndarray]:
    """The arrays of these names in a .npz. Raises ValueError in one sentence."""
    try:
        with np.load(path, allow_pickle=False) as record:
            missing = [name for name in names if name not in record]
            if not missing:
                return [record[name] for name in names]
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {error})") from None
    raise ValueError(f"{path}: it lacks {', '.join(missing)}")


def _leaves(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values of nested dictionaries."""
    leaves: list[tuple[str, Any]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            leaves += _leaves(value, f"{prefix}{name}.")
        else:
            leaves.append((f"{prefix}{name}", value))
    return leaves


def open_run(folder: str | Path) -> Any:
    """The run in a folder: a WindRun, TraceRun, FitRun or SceneRun.

    Raises ValueError, in one sentence, for a folder of anything else, and for a run that has not
    got far enough to be opened.
    """
    # Here, because these modules write their runs with this one.
    from inverse.fitting.run import FitRun
    from inverse.simulation.run import SceneRun
    from inverse.trace.run import TraceRun
    from inverse.wind.run import WindRun

    run_folder = RunFolder(folder)
    if not (run_folder / CONFIG).is_file():
        raise ValueError(f"{folder}: not the folder of a run, it has no {CONFIG}")
    config = run_folder.config()
    for run in (WindRun, TraceRun, FitRun, SceneRun):
        if all(key in config for key in run.KEYS):
            return run.load(folder)
    raise ValueError(f"{run_folder / CONFIG}: not that of a run that can be opened")
