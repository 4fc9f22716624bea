"""Optimization of the Gaussians of frame 0 until they look like frame 0."""

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import torch
from scipy import ndimage

from inverse.fitting.model import GaussianModel
from inverse.fitting.photometric import photometric_loss
from renderers.camera import Camera
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render
from taichi_phys import runtime
from taichi_phys.checks import whole_number
from taichi_phys.rotations import rotation_matrix


RATES = {"sh_first": 2e-2, "opacity_logits": 5e-2, "log_scales": 2e-2}  # Adam's, at the start
LAST_RATE = 0.1  # Adam's rates at the end over those at the start
SLIDE_RATE = 0.01  # px, Adam's rate of the means
SLIDE = 0.5  # px, the largest shift of a mean; farther, it would be another pixel's Gaussian
# Bounds of a scale over its value at the start. Wider bounds gain a decibel on the leaf's first
# frame and nothing in a second view of it. When the body comes nearer, thin Gaussians show holes
# and thick ones needles.
STRETCH = (0.8, 1.2)
BEHIND = 2.0  # pixels' size behind the surface, where a Gaussian counts as hidden
SSIM_WEIGHT = 0.2  # as in 3D Gaussian splatting
MARGIN = 6  # px around the mask: half of the SSIM window, and the rim outside
RIM = np.ones((3, 3), np.uint8)  # px; a pixel is at the rim if the mask differs in this window


def refine_on_image(
    gaussians: Gaussians,
    image: np.ndarray,
    mask: np.ndarray,
    camera: Camera,
    *,
    iterations: int = 150,
    seed: int = 0,
    depth: np.ndarray | None = None,
) -> Gaussians:
    """Optimize Gaussians until they show the image inside the mask and nothing outside.

    Colors, opacities and scales (within STRETCH) are fitted. Means slide on the surface by at most
    half a pixel; depths and quats, which one image does not determine, stay. The result is the same
    for any number of threads on a CPU. After the object modeling of "Seeing the wind".

    gaussians: about one for each pixel, on the visible surface; image: (H, W, 3) uint8; mask:
    (H, W) bool; iterations: steps of Adam on L1 + SSIM, 0 for none; seed: of the backgrounds;
    depth: (H, W) m, of the surface in the mask, behind which Gaussians are hidden and stay as they
    are. Raises ValueError for sizes that disagree, no Gaussians, an empty mask, or negative
    iterations.
    """
    image, mask = np.asarray(image), np.asarray(mask, dtype=bool)
    size = (camera.height, camera.width)
    if mask.shape != size:
        raise ValueError(f"mask: got shape {mask.shape}, expected {size} of the camera")
    if image.shape != (*size, 3) or image.dtype != np.uint8:
        raise ValueError(f"image: got {image.dtype} {image.shape}, expected uint8 {(*size, 3)}")
    if not mask.any():
        raise ValueError("mask: it is empty, expected at least one pixel of the object")
    if not len(gaussians):
        raise ValueError("gaussians: got none, expected at least one")
    whole_number("iterations", iterations, "a whole number from 0 on", low=0)
    if depth is not None:
        front = _in_front(gaussians, mask, depth, camera)
        if not front.any():
            return gaussians
        parts = Gaussians(**{k: v[front] for k, v in gaussians.tensors().items()})
        parts = refine_on_image(parts, image, mask, camera, iterations=iterations, seed=seed)
        values = {k: v.clone() for k, v in gaussians.tensors().items()}
        for name, value in parts.tensors().items():
            values[name][front] = value
        return Gaussians(**values)
    device = runtime.ensure_initialized().device
    start = Gaussians(**{k: v.to(device) for k, v in gaussians.tensors().items()})
    model = GaussianModel(start)
    uv, depth = camera.project(gaussians.means.cpu().numpy())
    pixel = torch.as_tensor(depth / math.sqrt(camera.fx * camera.fy)).to(start.means)  # m
    rates = RATES | {"means": SLIDE_RATE * pixel.median().item()}
    optimizer = torch.optim.Adam(
        [{"params": [getattr(model, name)], "lr": rate} for name, rate in rates.items()],
        eps=1e-15,
        fused=True,
    )
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, LAST_RATE ** (1 / max(iterations, 1)))

    crop, camera = _crop(mask, camera)
    inside, rim = _inside_and_rim(mask)
    # The colors of rim pixels are mixed with the background: a Gaussian there keeps the clean
    # color that it came with, and makes the mixture by how much of the pixel it covers.
    column, row = np.clip(np.floor(uv).astype(int), 0, np.array(size[::-1]) - 1).T
    clean = torch.as_tensor(inside[row, column]).to(device)
    target = torch.as_tensor(image[crop] / 255).to(start.means)
    behind = torch.as_tensor(_beside(image, mask | rim)[crop] / 255).to(start.means)
    inside, rim = (torch.as_tensor(part[crop])[..., None].to(device) for part in (inside, rim))
    normals = _thinnest_axes(start)
    low, high = (start.scales.log() + math.log(factor) for factor in STRETCH)
    generator = torch.Generator().manual_seed(seed)
    with runtime.one_torch_thread():
        for _ in range(iterations):
            # Away from the rim, a random background makes only full or no opacity look right.
            random = torch.rand(3, generator=generator).to(target)
            background = torch.where(rim, behind, random)
            tensors: dict[str, Any] = model.tensors()
            picture = render(camera, **tensors, background=background).rgb
            goal = torch.where(inside | rim, target, random)
            loss = photometric_loss(picture, goal, SSIM_WEIGHT)
            optimizer.zero_grad()
            loss.backward()
            if model.sh_first.grad is not None:
                model.sh_first.grad[~clean] = 0
            optimizer.step()
            decay.step()
            with torch.no_grad():
                model.log_scales.clamp_(low, high)
                slide = model.means - start.means
                slide -= (slide * normals).sum(1, keepdim=True) * normals
                slide *= (SLIDE * pixel / slide.norm(dim=1).clamp_min(1e-12)).clamp_max(1)[:, None]
                model.means.copy_(start.means + slide)
    fitted = model.gaussians().tensors()
    return Gaussians(**{k: v.to(gaussians.means.device) for k, v in fitted.items()})


def _in_front(
    gaussians: Gaussians, mask: np.ndarray, depth: np.ndarray, camera: Camera
) -> torch.Tensor:
    """Which Gaussians (n,) bool appear in the mask, not behind the depth (H, W) m there."""
    uv, z = camera.project(gaussians.means.cpu().numpy())
    last = np.array([camera.width, camera.height]) - 1
    column, row = np.clip(np.floor(uv), 0, last).astype(int).T
    pixel = z / math.sqrt(camera.fx * camera.fy)
    front = (z > 0) & mask[row, column] & (z < depth[row, column] + BEHIND * pixel)
    return torch.as_tensor(front, device=gaussians.means.device)


def _crop(mask: np.ndarray, camera: Camera) -> tuple[tuple[slice, slice], Camera]:
    """The part of the image around the mask, and the camera that takes it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = max(rows[0] - MARGIN, 0), max(columns[0] - MARGIN, 0)
    bottom = min(rows[-1] + 1 + MARGIN, camera.height)
    right = min(columns[-1] + 1 + MARGIN, camera.width)
    part = dataclasses.replace(
        camera,
        cx=camera.cx - left,
        cy=camera.cy - top,
        width=int(right - left),
        height=int(bottom - top),
    )
    return (slice(top, bottom), slice(left, right)), part


def _inside_and_rim(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W) bool that are all object, and those on both sides of the mask's edge."""
    inside = cv2.erode(mask.astype(np.uint8), RIM) > 0
    return inside, (cv2.dilate(mask.astype(np.uint8), RIM) > 0) & ~inside


def _beside(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The image, in which hidden pixels (H, W) take the color of the nearest that is not."""
    nearest = ndimage.distance_transform_edt(hidden, return_indices=True)[1]
    return image[tuple(nearest)]


def _thinnest_axes(gaussians: Gaussians) -> torch.Tensor:
    """Directions (n, 3) in which the Gaussians are flat: the normals of their surface."""
    index = gaussians.scales.argmin(dim=1)
    return rotation_matrix(gaussians.quats)[torch.arange(len(index)), :, index]
