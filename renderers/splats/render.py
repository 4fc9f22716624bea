"""Rendering of Gaussians: projection, shading, tile lists and compositing.

image = render(camera, **gaussians.tensors(), background=(1, 1, 1))
(image.rgb - photo).abs().mean().backward()  # reaches every tensor that requires a gradient
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from renderers.camera import Camera
from renderers.splats.gaussians import sh_count
from renderers.splats.projection import covariances_of, project
from renderers.splats.rasterize import rasterize
from renderers.splats.sh import shade
from renderers.splats.tiles import tile_lists
from taichi_phys import runtime
from taichi_phys.checks import check_tensor, check_tensors, finite_number, refuse_rows


TILE = 16  # px


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Render:
    """One picture, or C pictures along a new first axis.

    rgb: (H, W, 3); alpha: (H, W) from 0 to 1; depth: (H, W) m, the mean over the Gaussians in the
    pixel, 0 if there is none; features: (H, W, N), None if none were given; uv: (n, 2) centers of
    the Gaussians in the image, px, part of the graph, so that uv.retain_grad() keeps their
    gradient; radii: (n,) px, the larger half side of the box in which a Gaussian is visible, 0 if
    it is not visible.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
    features: torch.Tensor | None
    uv: torch.Tensor
    radii: torch.Tensor


def render(
    camera: Camera | Sequence[Camera],
    *,
    means: torch.Tensor,
    opacities: torch.Tensor,
    quats: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
    covariances: torch.Tensor | None = None,
    sh: torch.Tensor | None = None,
    sh_axes: torch.Tensor | None = None,
    colors: torch.Tensor | None = None,
    features: torch.Tensor | None = None,
    background: torch.Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0),
    near: float = 0.01,
    antialiased: bool = False,
    pose: torch.Tensor | None = None,
) -> Render:
    """Render n Gaussians for one camera, or for several cameras with images of the same size.

    means: (n, 3) m; opacities: (n,) from 0 to 1; quats: (n, 4) wxyz and scales: (n, 3) m, or
    instead covariances: (n, 3, 3) m^2; sh: (n, K, 3), or instead colors: (n, 3) RGB; sh_axes:
    (n, 3, 3) rotations of the Gaussians since sh was learned; features: (n, N) of any kind,
    composited over zero; background: (3,) or an image (H, W, 3); near: Gaussians whose mean is
    nearer than this are left out, m; antialiased: keep the total light of Gaussians thinner than a
    pixel, which otherwise become brighter (Mip-Splatting); pose: (4, 4) world to camera, instead of
    the camera's pose, or (C, 4, 4) for C cameras.

    The result is differentiable in all tensors. It is computed in the precision of means, on the
    device of the runtime. Raises ValueError for a wrong shape, NaN or infinity.
    """
    runtime.ensure_initialized()
    tensors = {
        "means": means,
        "opacities": opacities,
        "quats": quats,
        "scales": scales,
        "covariances": covariances,
        "sh": sh,
        "sh_axes": sh_axes,
        "colors": colors,
        "features": features,
    }
    tensors = _checked(tensors)
    near = finite_number("near", near, "a positive number of meters", low=0, open_end=True)
    options = {"near": near, "antialiased": antialiased}
    with runtime.one_torch_thread():
        if isinstance(camera, Camera):
            return _render(camera, pose, background, tensors, options)
        _check_batch(camera, pose)
        poses = [None] * len(camera) if pose is None else pose
        renders = [
            _render(one, at, background, tensors, options)
            for one, at in zip(camera, poses, strict=True)
        ]
    fields = {field.name: [getattr(r, field.name) for r in renders] for field in _FIELDS}
    stacked: dict[str, Any] = {
        k: None if v[0] is None else torch.stack(v) for k, v in fields.items()
    }
    return Render(**stacked)


_FIELDS = dataclasses.fields(Render)


def _render(camera, pose, background, tensors, options) -> Render:
    means, opacities = tensors["means"], tensors["opacities"]
    height, width = camera.height, camera.width
    like = {"dtype": means.dtype, "device": means.device}
    background = torch.as_tensor(background).to(**like)
    if tuple(background.shape) not in ((3,), (height, width, 3)):
        got = tuple(background.shape)
        raise ValueError(f"background: got shape {got}, expected (3,) or {(height, width, 3)}")
    pose = torch.as_tensor(camera.world_to_camera if pose is None else pose)
    check_tensor("background", background, background.shape)
    check_tensor("pose", pose, (4, 4))
    pose = pose.to(**like)

    covariances, colors = tensors["covariances"], tensors["colors"]
    if covariances is None:
        covariances = covariances_of(tensors["quats"], tensors["scales"])
    if colors is None:
        eye = -pose[:3, :3].T @ pose[:3, 3]
        colors = shade(tensors["sh"], means, eye, tensors["sh_axes"])
    uv, depth, conic, alpha, reach = project(means, covariances, opacities, camera, pose, **options)
    where = (uv.detach(), depth.detach(), conic.detach(), reach)
    lists = tile_lists(*where, width, height, TILE)

    def composite(channels):
        return rasterize(lists, height, width, uv, conic, reach, alpha, channels)

    light, transmittance = composite(torch.cat([colors, depth[:, None]], dim=1))
    shown = 1 - transmittance
    seen = shown > 0
    features = tensors["features"]
    if features is not None:
        padded = torch.nn.functional.pad(features, (0, -features.shape[1] % 4))
        groups = [composite(four)[0] for four in padded.split(4, dim=1)]
        features = torch.cat(groups, dim=-1)[..., : features.shape[1]]
    return Render(
        rgb=light[..., :3] + transmittance[..., None] * background,
        alpha=shown,
        depth=torch.where(seen, light[..., 3] / torch.where(seen, shown, 1), 0),
        features=features,
        uv=uv,
        radii=reach[:, :2].amax(1),
    )


def _checked(tensors: dict) -> dict:
    """The tensors on the runtime's device and in one precision. Raises ValueError."""
    means, features = tensors["means"], tensors["features"]
    n = means.shape[0] if isinstance(means, torch.Tensor) and means.ndim else 0
    _one_of("covariances", "quats and scales", tensors, {"covariances"}, {"quats", "scales"})
    _one_of("colors", "sh", tensors, {"colors"}, {"sh"})
    shapes = {
        "means": (n, 3),
        "opacities": (n,),
        "quats": (n, 4),
        "scales": (n, 3),
        "covariances": (n, 3, 3),
        "colors": (n, 3),
        "sh_axes": (n, 3, 3),
    }
    if tensors["sh"] is not None:
        shapes["sh"] = (n, sh_count(tensors["sh"]), 3)
    if features is not None:
        count = (
            features.shape[1] if isinstance(features, torch.Tensor) and features.ndim == 2 else 1
        )
        shapes["features"] = (n, count)
    check_tensors({k: (v, shapes[k]) for k, v in tensors.items() if v is not None})
    if tensors["quats"] is not None:
        refuse_rows("quats", (tensors["quats"] == 0).all(-1), "quaternions other than zero")
    device = runtime.ensure_initialized().device
    dtype = means.dtype if means.dtype == torch.float64 else torch.float32
    return {k: v if v is None else v.to(device, dtype) for k, v in tensors.items()}


def _one_of(first: str, second: str, tensors: dict, either: set, other: set) -> None:
    given = {name for name in either | other if tensors[name] is not None}
    if given not in (either, other):
        raise ValueError(
            f"{first}, {second}: got {', '.join(sorted(given)) or 'neither'}, expected either "
            f"{first} or {second}"
        )


def _check_batch(cameras: Sequence[Camera], pose) -> None:
    if not len(cameras):
        raise ValueError("camera: got none, expected at least one")
    sizes = {(c.width, c.height) for c in cameras}
    if len(sizes) > 1:
        raise ValueError(f"camera: got sizes {sorted(sizes)}, expected one size for all cameras")
    if pose is not None and tuple(pose.shape) != (len(cameras), 4, 4):
        raise ValueError(f"pose: got {tuple(pose.shape)}, expected {(len(cameras), 4, 4)}")
