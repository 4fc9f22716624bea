"""A small scene of known Gaussians, photographed by the project's own renderer."""

import json

import numpy as np
import torch

from renderers.datasets import Photograph
from renderers.images import write_png
from renderers.orbit import orbit
from renderers.splats.gaussians import Gaussians
from renderers.splats.render import render


def figure() -> Gaussians:
    """Three blobs of different colours: no side looks like another."""
    return Gaussians.from_colors(
        means=torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.2], [0.0, 0.4, -0.3]]),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1),
        scales=torch.tensor([[0.25, 0.2, 0.3], [0.15, 0.1, 0.1], [0.1, 0.2, 0.12]]),
        opacities=torch.full((3,), 0.99),
        colors=torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.8, 0.2], [0.2, 0.3, 0.9]]),
    )


def cameras(count: int, size: int = 40, azimuth: float = 0.0) -> list:
    """Views from all around, from above and below in turn."""
    high, low = (
        orbit((0, 0, 0), 3.0, width=size, height=size, fov=40.0, frames=count,
              elevation=elevation, azimuth=azimuth)
        for elevation in (35.0, -20.0)
    )  # fmt: skip
    return [(high if i % 2 else low)[i] for i in range(count)]


def photograph(camera, gaussians: Gaussians) -> Photograph:
    """What the camera sees of the Gaussians."""
    image = render(camera, **gaussians.tensors())
    rgb = image.rgb / image.alpha.clamp_min(1e-6)[..., None]
    return Photograph(rgb=rgb.clamp(0, 1).cpu().numpy(), alpha=image.alpha.cpu().numpy())


def write_frames(folder, split: str, frames: list) -> None:
    """transforms_{split}.json and its pictures; frames: (name, camera, gaussians, time or None)."""
    records = []
    for name, camera, gaussians, time in frames:
        shown = photograph(camera, gaussians)
        rgba = np.concatenate([shown.rgb, shown.alpha[..., None]], axis=-1)
        write_png(folder / split / f"{name}.png", (rgba * 255).round().astype(np.uint8))
        pose = np.linalg.inv(camera.world_to_camera)
        pose[:3, 1:3] *= -1  # OpenGL axes
        record = {"file_path": f"./{split}/{name}", "transform_matrix": pose.tolist()}
        records.append(record | ({} if time is None else {"time": time}))
    first = frames[0][1]
    head = {
        "camera_angle_x": float(2 * np.arctan(first.width / (2 * first.fx))),
        "w": first.width, "h": first.height,
    }  # fmt: skip
    text = json.dumps(head | {"frames": records})
    (folder / f"transforms_{split}.json").write_text(text, encoding="utf-8")
