"""The folder of a run: how a run begins it, and how its files are written and read.

A run writes config.json first and its results last. The types of runs (`WindRun`, `TraceRun`,
`FitRun`, `SceneRun`) define the contents of the files; this module writes and reads them.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from inverse.runs.checkpoint import Resumable, peek_checkpoint, unreadable
from inverse.runs.settings import as_plain, from_record, write_json
from renderers.camera import Camera, camera_record
from taichi_phys.io.files import atomic_path


CONFIG = "config.json"
METRICS = "metrics.json"
CAMERAS = "cameras.json"
REPORT = "report.html"
VIDEO = "video.mp4"
CAMERA_KEYS = ("fx", "fy", "cx", "cy", "width", "height", "world_to_camera")

T = TypeVar("T")


class RunFolder:
    """A folder of results; path: the folder, which need not exist yet.

    Every file is whole or absent. A file that cannot be read raises a ValueError whose one sentence
    names the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        """The path of a file in the folder."""
        return self.path / name

    def checkpoint(self, name: str) -> Path:
        """The path of a checkpoint, from which the run can be resumed."""
        return self.path / "checkpoints" / name

    def begin(
        self,
        config: Mapping[str, Any],
        *,
        results: Sequence[str],
        checkpoints: Sequence[str],
        resume: bool = False,
        free: Collection[str] = (),
        work: Resumable | None = None,
    ) -> None:
        """Write config.json, to begin a run or to resume the one in the folder.

        config: the settings, by key; results and checkpoints: names of the files of a run, which
        are removed unless resume is true; free: dotted names of the settings that may differ from
        those of the run to be resumed, such as "run.out"; work: what goes on from its checkpoint
        before anything is written, because its input may be another one.
        Raises ValueError if the folder cannot be written or the run cannot be resumed.
        """
        kept = [name for name in checkpoints if self.checkpoint(name).exists()]
        if resume and kept:
            self._check_same(config, free)
        if resume and work is not None:
            work.resume()
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
                f"{self / CONFIG}: cannot resume, because {', '.join(sorted(changed))} changed; "
                "run without --resume to start again, or give another --out"
            )

    # Settings

    def config(self, *keys: str) -> dict[str, Any]:
        """Read config.json. Raises ValueError if one of the keys is missing."""
        record = self.read_json(CONFIG)
        missing = [key for key in keys if key not in record]
        if missing:
            raise ValueError(
                f"{self / CONFIG}: it lacks the key {missing[0]!r}; it belongs to another kind of "
                "run, or another version made it"
            )
        return record

    def settings(self, kind: type[T], key: str) -> T:
        """Read the settings under a key of config.json as a dataclass of this kind."""
        record = self.config(key)[key]
        try:
            return from_record(kind, record)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{self / CONFIG}: made by another version ({error})") from None
        except ValueError as error:
            raise ValueError(f"{self / CONFIG}: {error}") from None

    # Files

    def write_json(self, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Write a record to a JSON file; returns the record as read_json will return it."""
        return write_json(self / name, record)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read the record in a JSON file."""
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
        """The path of a file that must exist. Raises ValueError if it does not."""
        if not (self / name).exists():
            raise unreadable(self / name, FileNotFoundError())
        return self / name

    def write_npz(self, name: str, **arrays: Any) -> None:
        """Write named arrays to a .npz file."""
        write_npz(self / name, **arrays)

    def read_npz(self, name: str, *names: str) -> list[np.ndarray]:
        """Read the arrays of these names from a .npz file."""
        return read_npz(self / name, *names)

    def write_cameras(self, cameras: Sequence[Camera], **more: Any) -> None:
        """Write cameras.json; more: further lists to store beside the cameras, such as times."""
        records = [camera_record(camera) for camera in cameras]
        self.write_json(CAMERAS, {"cameras": records, **more})

    def read_cameras(self) -> tuple[list[Camera], dict[str, Any]]:
        """Read the cameras in cameras.json, and the further lists stored beside them."""
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
        """Read the state in a checkpoint, onto the CPU."""
        return peek_checkpoint(self.checkpoint(name))


def write_npz(path: str | Path, **arrays: Any) -> None:
    """Write named arrays to a compressed .npz file, whole or not at all."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: str | Path, *names: str) -> list[np.ndarray]:
    """Read the arrays of these names from a .npz file. Raises ValueError if that fails."""
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
