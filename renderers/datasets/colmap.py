"""COLMAP's sparse models, binary and text (https://colmap.github.io/format.html)."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from renderers.camera import Camera
from renderers.datasets.locate import Finder
from renderers.datasets.views import CONVERT, Lens, View, build_view, existing, make_lens
from taichi_phys.rotations import rotation_matrix


# Camera models in the order of COLMAP's numbers: the number of focal lengths and of distortion
# coefficients, and whether the model is one of OpenCV's fisheyes. In a file, cx and cy stand
# between the two; the coefficients have OpenCV's order. None: OpenCV has no such model.
MODELS: dict[str, tuple[int, int, bool] | None] = {
    "SIMPLE_PINHOLE": (1, 0, False),
    "PINHOLE": (2, 0, False),
    "SIMPLE_RADIAL": (1, 1, False),
    "RADIAL": (1, 2, False),
    "OPENCV": (2, 4, False),
    "OPENCV_FISHEYE": (2, 4, True),
    "FULL_OPENCV": (2, 8, False),
    "FOV": None,
    "SIMPLE_RADIAL_FISHEYE": (1, 1, True),
    "RADIAL_FISHEYE": (1, 2, True),
    "THIN_PRISM_FISHEYE": None,
    "RAD_TAN_THIN_PRISM_FISHEYE": None,
    "SIMPLE_DIVISION": None,
    "DIVISION": None,
    "SIMPLE_FISHEYE": (1, 0, True),
    "FISHEYE": (2, 0, True),
    "EUCM": None,
    "EQUIRECTANGULAR": None,
}

PLACES = ("sparse/0", "sparse", "colmap/sparse/0", ".")


def find_model(folder: Path) -> Path | None:
    """The path of cameras.bin or cameras.txt of a dataset, or None if there is none."""
    files = (folder / place / f"cameras{kind}" for place in PLACES for kind in (".bin", ".txt"))
    return next((file for file in files if file.is_file()), None)


def read_views(folder: Path, cameras_file: Path, *, downscale: int = 1) -> list[View]:
    """The views of a model, sorted by name, without the views whose image file is missing.

    folder: of the dataset, whose images are in folder/images; cameras_file: from `find_model`;
    downscale: divides the width and height of the images. Raises ValueError, which names the file,
    if a file is broken, truncated or not supported.
    """
    rows = _read(cameras_file, _cameras, _cameras_text)
    lenses = {row[0]: _lens(cameras_file, *row) for row in rows}
    images_file = cameras_file.with_stem("images")
    images = sorted(_read(images_file, _images, _images_text))
    if not images:
        raise ValueError(f"{images_file}: got no images, expected at least one")
    views = []
    finder = Finder(folder, downscale)
    listed = [(image, finder.find(f"images/{_posix(image[0])}")) for image in images]
    for (name, quat, position, camera), file in existing(listed, images_file):
        where = f"{images_file}: image {name}"
        if camera not in lenses:
            raise ValueError(f"{where}: its camera {camera} is not in {cameras_file.name}")
        intrinsics, distortion, fisheye = lenses[camera]
        views.append(
            build_view(
                where,
                intrinsics,
                _world_to_camera(where, quat, position),
                distortion=distortion,
                fisheye=fisheye,
                downscale=downscale,
                image=file,
                name=f"images/{_posix(name)}",
                time=None,
                mask_path=finder.mask(_posix(name)),
            )
        )
    return views


def read_poses(cameras_file: Path) -> dict[str, Camera]:
    """The cameras of a model by the names of their images, at one pixel each: poses only.

    Raises ValueError, which names the file, if a file is broken or truncated.
    """
    images_file = cameras_file.with_stem("images")
    poses = {}
    for name, quat, position, _ in _read(images_file, _images, _images_text):
        matrix = _world_to_camera(f"{images_file}: image {name}", quat, position)
        poses[name] = Camera(fx=1, fy=1, cx=0, cy=0, width=1, height=1, world_to_camera=matrix)
    return poses


def read_lenses(cameras_file: Path) -> dict[str, Lens]:
    """The cameras of a model by the names of their images, which need not be there.

    Raises ValueError, which names the file, if a file is broken, truncated or not supported.
    """
    rows = _read(cameras_file, _cameras, _cameras_text)
    known = {row[0]: _lens(cameras_file, *row) for row in rows}
    images_file = cameras_file.with_stem("images")
    found = {}
    for name, quat, position, camera in _read(images_file, _images, _images_text):
        where = f"{images_file}: image {name}"
        if camera not in known:
            raise ValueError(f"{where}: its camera {camera} is not in {cameras_file.name}")
        intrinsics, distortion, fisheye = known[camera]
        pose = _world_to_camera(where, quat, position)
        found[name] = make_lens(where, intrinsics, pose, distortion, fisheye=fisheye)
    return found


def read_points(cameras_file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The points of a model, (n, 3) float64 m, and their colors, (n, 3) float32 from 0 to 1.

    Returns None if the model has no points. Raises ValueError, which names the file, if the file is
    broken or truncated.
    """
    file = cameras_file.with_stem("points3D")
    if not file.is_file():
        return None
    rows = np.array(list(_read(file, _points, _points_text)), dtype=np.float64).reshape(-1, 6)
    return rows[:, :3].copy(), (rows[:, 3:] / 255).astype(np.float32)


def _posix(name: str) -> str:
    return name.replace("\\", "/")


def _parameters(file: Path, model: str) -> tuple[int, int, bool]:
    found = MODELS.get(model)
    if found is None:
        known = ", ".join(name for name, numbers in MODELS.items() if numbers)
        raise ValueError(
            f"{file}: camera model {model} is not supported, expected one of {known}; COLMAP "
            f"converts the images and the model: {CONVERT}"
        )
    return found


def _lens(
    file: Path, camera: int, model: str, width: int, height: int, params: tuple[float, ...]
) -> tuple[dict, tuple[float, ...], bool]:
    """Intrinsics and distortion of a camera, and whether it is a fisheye."""
    focals, coefficients, fisheye = _parameters(file, model)
    expected = focals + 2 + coefficients
    if len(params) != expected:
        raise ValueError(
            f"{file}: camera {camera} has {len(params)} parameters, expected {expected} for {model}"
        )
    if not np.isfinite(params).all():
        raise ValueError(f"{file}: camera {camera} has NaN or infinite values, expected finite")
    cx, cy, *distortion = params[focals:]
    distortion += [0.0] * (4 - coefficients)  # OpenCV takes at least four coefficients
    intrinsics = dict(fx=params[0], fy=params[focals - 1], cx=cx, cy=cy, width=width, height=height)
    return intrinsics, tuple(distortion), fisheye


def _world_to_camera(where: str, quat: tuple, position: tuple) -> np.ndarray:
    if not np.isfinite([*quat, *position]).all() or not any(quat):
        raise ValueError(
            f"{where}: got the pose {quat} {position}, expected a quaternion other than zero and a "
            "translation, both finite"
        )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(np.asarray(quat, dtype=np.float64))
    matrix[:3, 3] = position
    return matrix


# The readers below yield cameras (id, model, width, height, parameters), images (name, quaternion
# wxyz, translation, camera id) and points (x, y, z, red, green, blue).


def _read(file: Path, binary, text) -> list:
    try:
        if file.suffix == ".bin":
            return list(binary(_Bytes(file)))
        return list(text(file, file.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file}: got text that is not UTF-8") from None
    except EOFError:
        raise ValueError(f"{file}: is cut short") from None


class _Bytes:
    """A little-endian file, read from start to end. Raises EOFError at the end."""

    def __init__(self, file: Path):
        self.file, self.data, self.at = file, file.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        start = self.skip(struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.data, start)

    def skip(self, count: int) -> int:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise EOFError
        return start

    def text(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise EOFError
        start, self.at = self.at, end + 1
        return self.data[start:end].decode("utf-8")


def _cameras(data: _Bytes) -> Iterator[tuple]:
    names = tuple(MODELS)
    for _ in range(*data.take("Q")):
        camera, number, width, height = data.take("iiQQ")
        model = names[number] if 0 <= number < len(names) else f"number {number}"
        yield (
            camera,
            model,
            width,
            height,
            data.take(f"{sum(_parameters(data.file, model)[:2]) + 2}d"),
        )


def _images(data: _Bytes) -> Iterator[tuple]:
    for _ in range(*data.take("Q")):
        _, *pose, camera = data.take("i7di")
        name = data.text()
        (seen,) = data.take("Q")
        data.skip(24 * seen)  # 2D points: x, y, id
        yield name, tuple(pose[:4]), tuple(pose[4:]), camera


def _points(data: _Bytes) -> Iterator[tuple]:
    for _ in range(*data.take("Q")):
        _, *point, _, length = data.take("Q3d3BdQ")
        data.skip(8 * length)  # the track: pairs of an image and a 2D point
        yield tuple(point)


def _rows(file: Path, lines: Iterator[str], convert) -> Iterator[tuple]:
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield convert(line)
            except (ValueError, IndexError):
                raise ValueError(f"{file}: cannot read the line {line.strip()!r:.80}") from None


def _cameras_text(file: Path, lines: list[str]) -> Iterator[tuple]:
    def convert(line):
        camera, model, width, height, *params = line.split()
        return int(camera), model, int(width), int(height), tuple(map(float, params))

    return _rows(file, iter(lines), convert)


def _images_text(file: Path, lines: list[str]) -> Iterator[tuple]:
    stream = iter(lines)

    def convert(line):
        _, *pose, camera, name = line.strip().split(maxsplit=9)
        # The next line lists the 2D points, x y id; it may be empty or, at the end, missing.
        if len(next(stream, "").split()) % 3:
            raise ValueError
        pose = tuple(map(float, pose))
        if len(pose) != 7:
            raise ValueError
        return name, pose[:4], pose[4:], int(camera)

    return _rows(file, stream, convert)


def _points_text(file: Path, lines: list[str]) -> Iterator[tuple]:
    def convert(line):
        return tuple(map(float, (line.split()[i] for i in range(1, 7))))

    return _rows(file, iter(lines), convert)
