"""Metric depth of a picture from a network."""

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import torch

from inverse.perception.networks.pretrained import load_config, load_part


WHAT = "depth_model"
METRIC = {"depth_pro", "zoedepth", "glpn"}  # kinds of models that always say meters
ADVICE = (
    "take one for metric depth, such as depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf, "
    "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf or apple/DepthPro-hf"
)
PRO_SIDE = 1536  # px; Depth Pro sees a square of this size, unless its files say otherwise
PRO_DEPTH = (1e-4, 1e4)  # m, limits of Depth Pro
MOGE = "moge"  # the package of MoGe, and part of the names of its models


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NetworkDepth:
    """What a network says of a picture.

    depth: (H, W) m along the optical axis, NaN where it says nothing; focal: length, px, None where
    it says nothing; per_focal: whether the depth is proportional to the focal length.
    """

    depth: np.ndarray
    focal: float | None
    per_focal: bool = False

    def of_camera(self, focal: float) -> np.ndarray:
        """The depth (H, W) m if the focal length is another, px."""
        if self.focal is None or not self.per_focal:
            return self.depth
        return self.depth * (focal / self.focal)


def network_depth(image: np.ndarray, name: str) -> NetworkDepth:
    """Estimate the depth of a picture (H, W, 3) uint8 RGB by a network.

    name: of a model for transformers (Depth-Anything-V2-Metric, Depth Pro, ZoeDepth, GLPN) or a
    MoGe, or a local folder. Raises ValueError for a network of relative depth, and for one that is
    not there.
    """
    if MOGE in name.lower():
        return _moge(image, name)
    config = load_config(name, WHAT)
    kind = getattr(config, "model_type", "")
    metric = kind in METRIC or getattr(config, "depth_estimation_type", None) == "metric"
    if kind == "prompt_depth_anything" or not metric:
        raise ValueError(
            f"{WHAT} {name}: it is a network for relative depth ({kind or 'unknown'}), which knows "
            f"no meters; {ADVICE}"
        )
    model = load_part("AutoModelForDepthEstimation", name, WHAT).eval()
    with torch.no_grad():
        if kind == "depth_pro":
            return _depth_pro(image, model, config)
        processor = load_part("AutoImageProcessor", name, WHAT)
        size = image.shape[:2]
        output = model(**processor(images=image, return_tensors="pt"))
        # ZoeDepth pads a picture, and has to know its size to undo that.
        sizes = {"source_sizes": [size]} if kind == "zoedepth" else {}
        found = processor.post_process_depth_estimation(output, target_sizes=[size], **sizes)
    return NetworkDepth(depth=_clean(found[0]["predicted_depth"]), focal=None)


def _depth_pro(image: np.ndarray, model: Any, config: Any) -> NetworkDepth:
    """Depth Pro; its processor in transformers needs torchvision, so this is what that does."""
    height, width = image.shape[:2]
    side = _pro_side(config)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    pixels = pixels / 127.5 - 1
    pixels = torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear")
    output = model(pixel_values=pixels)
    inverse, focal = output.predicted_depth[0], None
    if output.field_of_view is not None:
        fov = math.radians(float(output.field_of_view.reshape(-1)[0]))  # of the width
        focal = 0.5 * width / math.tan(0.5 * fov)
        inverse = inverse * width / focal
    inverse = torch.nn.functional.interpolate(inverse[None, None], (height, width), mode="bilinear")
    depth = _clean(1 / inverse[0, 0].clamp(*PRO_DEPTH))
    return NetworkDepth(depth=depth, focal=focal, per_focal=True)


def _pro_side(config: Any) -> int:
    """The side of the square that Depth Pro sees: its patches, over the smallest of its scales."""
    patch, scales = getattr(config, "patch_size", None), getattr(config, "scaled_images_ratios", ())
    return round(patch / min(scales)) if patch and scales else PRO_SIDE


def _moge(image: np.ndarray, name: str) -> NetworkDepth:
    """MoGe (v2 says meters, and the focal length), from its own package."""
    try:
        from moge.model.v2 import MoGeModel  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ValueError(
            f"{WHAT} {name}: it needs the package moge, which its authors give at "
            "github.com/microsoft/MoGe"
        ) from None
    try:
        model = MoGeModel.from_pretrained(name).eval()
    except Exception as error:  # of the hub, of torch
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"{WHAT} {name}: cannot be loaded ({reason}); where there is a network, run "
            f"'hf download {name}', or give the path of its model.pt"
        ) from None
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        found = model.infer(pixels)
    focal = float(found["intrinsics"].reshape(3, 3)[0, 0]) * image.shape[1]
    return NetworkDepth(depth=_clean(found["depth"]), focal=focal)


def _clean(depth: torch.Tensor) -> np.ndarray:
    array = depth.detach().cpu().double().numpy()
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def eroded(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool without its rim, where the depth of networks bleeds over the edge.

    The rim is a fiftieth of the object wide, and at least 2 px; nothing is taken away from an
    object that would lose more than half of its pixels.
    """
    width = max(2, round(math.sqrt(mask.sum()) / 50))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    inner = cv2.erode(mask.astype(np.uint8), kernel) > 0
    return inner if 2 * inner.sum() >= mask.sum() else mask
