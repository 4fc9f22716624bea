"""The camera of a clip, from files of other tools: COLMAP, nerfstudio, MegaSaM, VGGT, MoGe.

Their worlds have a unit and axes of their own. Here the world is that of the first frame that is
used: its camera stands at the origin and looks along +y with z up, except where the file says where
up is.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inverse.perception.frame_order import in_order
from renderers.camera import Camera, camera_from_fov, load_camera
from renderers.datasets import colmap, transforms
from renderers.datasets.views import CONVERT, Lens
from taichi_phys.rotations import nearest_rotation


BENT = 0.02  # of the picture's diagonal, by which a lens may move what a pinhole camera shows
ASPECT = 0.03  # by which a network's pictures may be out of the clip's proportions
NOTHING = np.zeros((0, 2)), np.zeros(0)  # pixels, and their depth
# Names in npz files: of the matrices, of those that lead from the world to the camera, and maps,
# whose size is that of the pictures that focal lengths belong to.
INTRINSICS = ("intrinsic", "intrinsics", "K")
TO_WORLD, TO_CAMERA = ("cam_c2w", "c2w", "poses"), ("extrinsic", "extrinsics", "w2c")
MAPS = ("depth", "depths", "images", "image", "conf", "depth_conf")
MOVES = "The camera moves as its file says"
KINDS = (
    "a camera.json, a folder of COLMAP, a transforms.json, an npz with intrinsic and cam_c2w or "
    "extrinsic, or MoGe's fov.json"
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CameraFile:
    """What a file says of the camera of a clip.

    cameras: one that stands still, or one for each frame of the clip, as far as the file has them;
    extra: other keys of a camera.json; metric: whether lengths are meters, or in a unit that is not
    known; own_world: whether the world is that of the file; pixels: (k, 2) px and depth: (k,), of
    what the first frame shows, in that unit; notes: sentences about what was assumed.
    """

    cameras: tuple[Camera, ...]
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    metric: bool = True
    own_world: bool = True
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: NOTHING[0])
    depth: np.ndarray = dataclasses.field(default_factory=lambda: NOTHING[1])
    notes: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether the file has a pose for each frame."""
        return len(self.cameras) > 1

    def in_meters(self, units: float) -> "CameraFile":
        """The same in meters; units: of the file, that are a meter."""
        cameras = []
        for one in self.cameras:
            pose = one.world_to_camera.copy()
            pose[:3, 3] /= units
            cameras.append(dataclasses.replace(one, world_to_camera=pose))
        return dataclasses.replace(
            self, cameras=tuple(cameras), metric=True, depth=self.depth / units
        )


def read_camera_file(
    path: str | Path, size: tuple[int, int], *, first: int = 0, names: Sequence[str] = ()
) -> CameraFile:
    """Read the camera of a clip.

    path: a camera.json of ours, a folder with a model of COLMAP, a transforms.json of nerfstudio or
    instant-ngp, an npz of MegaSaM, VGGT, Depth Anything 3 or UniDepth, or the fov.json of MoGe;
    size: (width, height) px of the clip; first: the first of its frames that is used; names: of the
    clip's pictures, if it is a folder of them, by which poses are found; else they are found by the
    numbers in their names, which count frames from 0 or 1.
    Raises ValueError, which names the file, for what cannot be read or does not belong to the clip.
    """
    path = Path(path)
    if path.is_dir():
        return _of_colmap(path, size, first, names)
    if path.suffix.lower() == ".npz":
        return _of_arrays(path, size, first)
    record = _json(path)
    if "frames" in record:
        return _of_transforms(path, size, first, names)
    if "fov_x" in record:
        return _of_fov(path, record, size)
    camera, extra = load_camera(path)
    cameras = tuple(extra.pop("path", (camera,)))
    notes = (MOVES + ".",) if len(cameras) > 1 else ()
    return CameraFile(cameras=cameras, extra=extra, notes=notes)


def rate_of(path: str | Path) -> Any:
    """The frames per second that a camera file says, as it stands there, None where it does not."""
    path = Path(path)
    if path.is_dir() or path.suffix.lower() == ".npz":
        return None
    return _json(path).get("fps")


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        load_camera(path)  # which says it
        raise
    return record if isinstance(record, dict) else {}


def _of_colmap(folder: Path, size: tuple[int, int], first: int, names: Sequence[str]) -> CameraFile:
    model = colmap.find_model(folder)
    if model is None:
        raise ValueError(
            f"camera {folder}: holds no model of COLMAP, expected cameras.bin or cameras.txt in it "
            "or in sparse/0"
        )
    cameras, notes = _of_lenses(folder, colmap.read_lenses(model), size, first, names)
    points = colmap.read_points(model)
    seen = NOTHING if points is None else _seen(cameras[first], points[0])
    return _levelled(cameras, first, seen, notes, up=False)


def _of_transforms(
    path: Path, size: tuple[int, int], first: int, names: Sequence[str]
) -> CameraFile:
    cameras, notes = _of_lenses(path, transforms.read_lenses(path, size), size, first, names)
    return _levelled(cameras, first, NOTHING, notes, up=True)


def _of_lenses(
    path: Path,
    lenses: Mapping[str, Lens],
    size: tuple[int, int],
    first: int,
    names: Sequence[str],
) -> tuple[list[Camera], list[str]]:
    """The cameras of all frames, and sentences; lenses: by the names of pictures."""
    notes = []
    if lenses:
        bend = next(iter(lenses.values())).bend()
        if bend > BENT * np.hypot(*size):
            raise ValueError(
                f"camera {path}: its lens bends pictures by up to {bend:.0f} px, expected a "
                f"pinhole camera; straighten the pictures, as by '{CONVERT}', and give those and "
                "their cameras"
            )
        if bend >= 1:
            notes.append(f"The lens bends pictures by up to {bend:.0f} px, which is left as it is.")
    poses = {name: _sized(path, lens.camera, size) for name, lens in lenses.items()}
    cameras, said = in_order(path, poses, first, names)
    return cameras, [*notes, *said]


def _of_arrays(path: Path, size: tuple[int, int], first: int) -> CameraFile:
    """MegaSaM, VGGT, Depth Anything 3, UniDepth: arrays with names."""
    try:
        with np.load(path, allow_pickle=False) as record:
            arrays = {
                key: record[key]
                for key in record.files
                if key in (*INTRINSICS, *TO_WORLD, *TO_CAMERA, "depth", "depths")
            }
            shapes = {key: record[key].shape for key in record.files if key in MAPS}
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"camera {path}: not a readable npz file ({reason})") from None
    focal = next((arrays[key] for key in INTRINSICS if key in arrays), None)
    if focal is None or focal.size % 9:
        raise ValueError(f"camera {path}: holds no matrix named intrinsic, expected {KINDS}")
    focal = focal.reshape(-1, 3, 3).astype(np.float64)
    own = _size_of(shapes) or size
    poses = np.eye(4)[None]
    for keys, inverse in ((TO_WORLD, True), (TO_CAMERA, False)):
        found = next((arrays[key] for key in keys if key in arrays), None)
        if found is not None:
            poses = _matrices(path, found)
            poses = np.linalg.inv(poses) if inverse else poses
            break
    focal = np.broadcast_to(focal, (len(poses), 3, 3)) if len(focal) == 1 else focal
    if len(focal) != len(poses):
        raise ValueError(
            f"camera {path}: has {len(focal)} focal lengths for {len(poses)} poses, expected one "
            "or as many"
        )
    cameras = []
    for k, pose in zip(focal, poses, strict=True):
        try:
            camera = Camera(
                fx=float(k[0, 0]), fy=float(k[1, 1]), cx=float(k[0, 2]), cy=float(k[1, 2]),
                width=own[0], height=own[1], world_to_camera=_rigid(pose),
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"camera {path}: {error}") from None
        cameras.append(_sized(path, camera, size))
    maps = next((arrays[key] for key in ("depth", "depths") if key in arrays), None)
    seen = NOTHING if maps is None else _samples(maps, own, size, first)
    return _levelled(cameras, first, seen, [], up=False)


def _of_fov(path: Path, record: Mapping[str, Any], size: tuple[int, int]) -> CameraFile:
    """MoGe's fov.json: fields of view in degrees."""
    try:
        across = np.radians(float(record["fov_x"]))
    except (TypeError, ValueError):
        across = np.nan
    if not 0 < across < np.pi:
        raise ValueError(f"camera {path}: fov_x is {record['fov_x']!r}, expected degrees below 180")
    high = 2 * np.arctan(np.tan(across / 2) * size[1] / size[0])
    return CameraFile(cameras=(camera_from_fov(*size, float(np.degrees(high))),))


def _matrices(path: Path, poses: np.ndarray) -> np.ndarray:
    """Poses (S, 4, 4) of an array (..., 3 or 4, 4)."""
    if poses.ndim < 2 or poses.shape[-2:] not in ((3, 4), (4, 4)):
        raise ValueError(f"camera {path}: poses have shape {poses.shape}, expected (frames, 4, 4)")
    flat = poses.reshape(-1, *poses.shape[-2:]).astype(np.float64)
    whole = np.tile(np.eye(4), (len(flat), 1, 1))
    whole[:, :3] = flat[:, :3]
    return whole


def _rigid(pose: np.ndarray) -> np.ndarray:
    """A pose (4, 4) whose rotation is one to all digits: float16 and networks are rough."""
    exact = pose.copy()
    if np.isfinite(pose).all() and np.linalg.det(pose[:3, :3]) > 0.9:
        exact[:3, :3] = nearest_rotation(pose[:3, :3])
    return exact


def _size_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int] | None:
    """Width and height, px, of maps (..., H, W) or (..., H, W, 1 or 3) or (..., 3, H, W)."""
    for name in MAPS:
        shape = [n for n in shapes.get(name, ()) if n > 1]
        if name.startswith("image") and 3 in (shape[-1:] or [0]):
            shape = shape[:-1]
        if len(shape) >= 2:
            return shape[-1], shape[-2]
    return None


def _samples(
    maps: np.ndarray, own: tuple[int, int], size: tuple[int, int], first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (k, 2) px of the clip and depth (k,) of one of some maps."""
    whole = maps.reshape(-1, own[1], own[0])
    depth = whole[min(first, len(whole) - 1)].astype(np.float64)
    step = max(1, min(own) // 64)
    rows, columns = np.mgrid[step // 2 : own[1] : step, step // 2 : own[0] : step].reshape(2, -1)
    pixels = (np.stack([columns, rows], axis=1) + 0.5) * np.array(size) / own
    values = depth[rows, columns]
    known = np.isfinite(values) & (values > 0)
    return pixels[known], values[known]


def _sized(path: Path, camera: Camera, size: tuple[int, int]) -> Camera:
    """The camera at the size of the clip, which has to be of the same proportions."""
    if camera.size == size:
        return camera
    if abs(camera.width * size[1] / (camera.height * size[0]) - 1) > ASPECT:
        raise ValueError(
            f"camera {path}: its pictures are of {camera.width}x{camera.height}, expected "
            f"{size[0]}x{size[1]}, those of the video, or their proportions"
        )
    return camera.resized(*size)


def _seen(camera: Camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (k, 2) px and depth (k,) of those points (n, 3) that lie in the picture."""
    with np.errstate(divide="ignore", invalid="ignore"):
        xy, depth = camera.project(points)
    inside = (depth > 0) & (xy >= 0).all(axis=1) & (xy < camera.size).all(axis=1)
    return xy[inside], depth[inside]


def _levelled(
    cameras: Sequence[Camera],
    first: int,
    seen: tuple[np.ndarray, np.ndarray],
    notes: Sequence[str],
    *,
    up: bool,
) -> CameraFile:
    """Cameras in a world, of unknown unit, whose origin is the camera of the first frame.

    up: whether z is up already; else that camera is taken to be level.
    """
    start = cameras[min(first, len(cameras) - 1)]
    level = start.rotation if up else camera_from_fov(1, 1, 60.0).rotation
    home = np.eye(4)
    home[:3, :3] = level
    back = np.linalg.inv(start.world_to_camera) @ home
    moved = tuple(
        dataclasses.replace(one, world_to_camera=one.world_to_camera @ back) for one in cameras
    )
    still = all(np.allclose(one.world_to_camera, home, atol=1e-9) for one in moved)
    said = "" if up else "; in frame 0 it is taken to be level, looks along +y and has z up"
    if still:
        return CameraFile(cameras=moved[:1], own_world=False, notes=tuple(notes))
    return CameraFile(
        cameras=moved, metric=False, own_world=False, pixels=seen[0], depth=seen[1],
        notes=(*notes, f"{MOVES}{said}."),
    )  # fmt: skip
