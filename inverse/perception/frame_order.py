"""Poses of a clip's frames, found by the names of pictures."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from renderers.camera import Camera


APART = 0.5  # of the frames may have no pose of their own


def in_order(
    path: Path, poses: Mapping[str, Camera], first: int, names: Sequence[str]
) -> tuple[list[Camera], list[str]]:
    """The cameras of all frames, and sentences; poses: by the names of pictures.

    first: frame that has to have one or lie behind one; names: of the clip's pictures; without any,
    numbers in the names of poses count frames. Raises ValueError where too few frames have a pose.
    """
    if names:
        own = {_stem(name): camera for name, camera in poses.items()}
        found = {k: own[_stem(name)] for k, name in enumerate(names) if _stem(name) in own}
    else:
        found = _numbered(path, poses)
    if min(found, default=first + 1) > first or max(found) < first:
        raise ValueError(
            f"camera {path}: it has no pose of frame {first} among its {len(poses)}, such as "
            f"{next(iter(poses), 'none')}; poses are found by the names of pictures: extract all "
            "frames of the clip in their order, numbered from 0 or 1"
        )
    frames = max(found) + 1
    missing = frames - len(found)
    if missing > APART * frames:
        raise ValueError(
            f"camera {path}: {missing} of frames 0 to {frames - 1} have no pose, expected one for "
            "most of them; extract all frames of the clip"
        )
    if not missing:
        return [found[k] for k in range(frames)], []
    return _filled(found, frames), [
        f"{missing} of frames 0 to {frames - 1} have no pose of their own in {path}; theirs lie "
        "between those of their neighbors."
    ]


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def _numbered(path: Path, poses: Mapping[str, Camera]) -> dict[int, Camera]:
    """Cameras by the number of their frame, which is the last number in the names of pictures."""
    numbers = {}
    for name, camera in poses.items():
        digits = re.findall(r"\d+", _stem(name))
        if not digits:
            raise ValueError(
                f"camera {path}: the name of picture {name} has no number, expected frames of the "
                "clip, numbered from 0 or 1"
            )
        numbers[int(digits[-1])] = camera
    if len(numbers) < len(poses):
        raise ValueError(f"camera {path}: several of its pictures have the same number")
    first = 0 if 0 in numbers else 1  # ffmpeg counts from 1
    return {number - first: camera for number, camera in numbers.items()}


def _filled(found: Mapping[int, Camera], frames: int) -> list[Camera]:
    """The cameras of all frames; where there is none, between those before and after, and at first
    that of the first."""
    known = np.array(sorted(found))
    turns = Slerp(known, Rotation.from_matrix([found[k].rotation for k in known]))
    places = np.array([found[k].position for k in known])
    cameras = []
    for k in range(frames):
        if k in found:
            cameras.append(found[k])
            continue
        pose = np.eye(4)
        at = max(k, known[0])
        pose[:3, :3] = turns(at).as_matrix()
        pose[:3, 3] = -pose[:3, :3] @ [np.interp(at, known, axis) for axis in places.T]
        near = found[int(known[known <= at][-1])]
        cameras.append(dataclasses.replace(near, world_to_camera=pose))
    return cameras
