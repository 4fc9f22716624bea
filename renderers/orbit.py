"""Cameras that look at something and circle it."""

import math

import numpy as np

from renderers.camera import Camera, camera_from_fov
from renderers.lines import Vector
from renderers.splats.gaussians import Gaussians
from taichi_phys.checks import finite_number, finite_vector, whole_number


STRAY = 0.02  # share of the opacity, at either end of every axis, that may lie outside the picture
FAINT = 0.1  # a Gaussian ends where its alpha falls below this share of the highest
MARGIN = 1.25  # room around the body; the corners of a cube, which STRAY leaves out, need 1.24


def look_at(
    eye: Vector,
    target: Vector,
    up: Vector = (0, 0, 1),
    *,
    width: int,
    height: int,
    fov: float | None = None,
    fx: float | None = None,
    fy: float | None = None,
    cx: float | None = None,
    cy: float | None = None,
) -> Camera:
    """Make a camera at eye (3,) m that shows target (3,) m at its principal point.

    up: (3,), the direction that points upwards in the image; width, height: px; fov: vertical field
    of view, degrees; fx, fy: focal lengths, px, in place of fov, fy by default equal to fx; cx, cy:
    principal point, px, by default the middle of the image. Raises ValueError, which names the
    argument, if target is at eye, if up is parallel to the view, unless exactly one of fov and fx
    is given, or for other shapes and values.
    """
    eye, target, up = _array("eye", eye), _array("target", target), _array("up", up)
    if (fov is None) == (fx is None):
        raise ValueError(f"fov, fx: got fov={fov} and fx={fx}, expected exactly one of them")
    view = target - eye
    distance = np.linalg.norm(view)
    if not distance > 0:
        raise ValueError(f"target: got {target}, the position of eye, expected another position")
    forward = view / distance
    right = np.cross(forward, up)
    length = np.linalg.norm(right)
    if not length > 1e-6 * np.linalg.norm(up):
        raise ValueError(f"up: got {up}, expected a direction not parallel to the view {forward}")
    right /= length
    pose = np.eye(4)
    pose[:3, :3] = right, np.cross(forward, right), forward
    pose[:3, 3] = -pose[:3, :3] @ eye
    if fx is None:
        assert fov is not None
        fx = fy = camera_from_fov(width, height, fov).fy
    fy = fx if fy is None else fy
    cx, cy = width / 2 if cx is None else cx, height / 2 if cy is None else cy
    size = {"width": width, "height": height}
    return Camera(fx=fx, fy=fy, cx=cx, cy=cy, world_to_camera=pose, **size)


def outward(azimuth: float, elevation: float, up: Vector = (0, 0, 1)) -> np.ndarray:
    """The unit vector (3,) from an object towards a camera at this azimuth and elevation.

    azimuth: degrees, counterclockwise as seen from above; elevation: above the horizon, degrees;
    up: (3,), of any length. At azimuth 0 the x axis points right (the y axis, if x points up), so
    that the camera looks along +y if z points up, and along +z if y points down. Raises ValueError,
    which names the argument, for values that are not finite and for an up of zeros.
    """
    up = _array("up", up)
    for name, value in (("azimuth", azimuth), ("elevation", elevation)):
        finite_number(name, value)
    if not up.any():
        raise ValueError("up: got zeros, expected a direction")
    up = up / np.linalg.norm(up)
    ahead = np.cross(up, [1, 0, 0] if abs(up[0]) < 0.9 else [0, 1, 0])
    ahead /= np.linalg.norm(ahead)
    turn, tilt = math.radians(azimuth), math.radians(elevation)
    level = math.sin(turn) * np.cross(ahead, up) - math.cos(turn) * ahead
    return math.cos(tilt) * level + math.sin(tilt) * up


def orbit(
    center: Vector,
    radius: float,
    *,
    width: int,
    height: int,
    fov: float,
    frames: int,
    turns: float = 1.0,
    up: Vector = (0, 0, 1),
    elevation: float = 20.0,
    azimuth: float = 0.0,
) -> list[Camera]:
    """Make cameras on a circle around the axis up (3,), all of which look at center (3,) m.

    radius: distance from center, m; width, height: px; fov: vertical field of view, degrees;
    frames: number of cameras; turns: number of turns that they make, without the end of the last,
    so that a film of whole turns repeats without a halt; elevation, azimuth: of the first camera,
    degrees, as `outward` takes them. Raises ValueError, which names the argument, for a value
    outside its range.
    """
    middle, axis = _array("center", center), _array("up", up)
    finite_number("radius", radius, "a positive length in meters", low=0, open_end=True)
    if not -90 < elevation < 90:
        raise ValueError(f"elevation: got {elevation}, expected degrees between -90 and 90")
    whole_number("frames", frames, "a whole number from 1 on", low=1)
    finite_number("turns", turns)
    eyes = (
        middle + radius * outward(azimuth + 360 * turns * k / frames, elevation, axis)
        for k in range(frames)
    )
    return [look_at(eye, middle, axis, fov=fov, width=width, height=height) for eye in eyes]


def framing(gaussians: Gaussians, fov: float) -> tuple[np.ndarray, float]:
    """Find the center (3,) m of a body and the distance, m, from which it fits into the picture.

    fov: the narrower field of view, degrees. The body fits from every side. Gaussians count by
    their opacity, so that a few far away or huge faint ones, which files of trained scenes often
    hold, change nothing. Raises ValueError for a fov outside its range, and if no Gaussian has an
    opacity above 0.
    """
    if not 0 < fov < 180:
        raise ValueError(f"fov: got {fov}, expected degrees between 0 and 180")
    values = gaussians.tensors()
    means, opacities, scales = (
        values[name].detach().double().cpu().numpy() for name in ("means", "opacities", "scales")
    )
    if not opacities.any():
        raise ValueError(f"opacities: got {len(opacities)}, expected at least one above 0")
    low, high = (_quantile(means, opacities, share) for share in (STRAY, 1 - STRAY))
    center = (low + high) / 2
    # alpha falls to the fraction FAINT of the highest at this many standard deviations.
    visible = np.sqrt(2 * np.log(np.maximum(opacities / (FAINT * opacities.max()), 1)))
    reach = np.linalg.norm(means - center, axis=1) + visible * scales.max(axis=1)
    radius = MARGIN * _quantile(reach[:, None], opacities, 1 - 2 * STRAY)[0]
    return center, radius / math.sin(math.radians(fov) / 2)


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """The value of each column of (n, k) below which this share of the weight lies, (k,)."""
    order = values.argsort(axis=0)
    below = weights[order].cumsum(axis=0)
    at = (below < share * below[-1]).sum(axis=0)
    return np.take_along_axis(values, np.take_along_axis(order, at[None], 0), 0)[0]


def _array(name: str, value: Vector) -> np.ndarray:
    return np.array(finite_vector(name, value))
