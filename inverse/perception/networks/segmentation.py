"""A mask from a box or a point."""

from typing import Any

import numpy as np
import torch

from inverse.perception.networks.pretrained import load_config, load_part


WHAT = "segmenter"
DEFAULT = "facebook/sam-vit-base"
SAM_2 = {"sam2", "sam2_video"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as SAM 2 was trained


def segment(
    image: np.ndarray,
    name: str = DEFAULT,
    *,
    box: tuple[float, float, float, float] | None = None,
    point: tuple[float, float] | None = None,
) -> np.ndarray:
    """The mask (H, W) bool of what is in a box x0 y0 x1 y1 px, or at a point x y px.

    image: (H, W, 3) uint8 RGB; name: of a SAM or SAM 2 for transformers, or a local folder. Raises
    ValueError for places outside the image, where the network finds nothing, and where it is not
    there.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (*point, *point) if point is not None else box or (0, 0, width, height)
    if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
        place, given = ("point", point) if point is not None else ("box", box)
        raise ValueError(f"{place}: got {given}, expected pixels of the {width}x{height} image")
    kind = getattr(load_config(name, WHAT), "model_type", "")
    # A point is uncertain about the whole and its parts: of three masks the best counts.
    options = {"multimask_output": point is not None}
    logits, scores = (_sam_2 if kind in SAM_2 else _sam)(image, name, box, point, options)
    mask = logits[int(scores.argmax())] > 0
    if not mask.any():
        raise ValueError(f"{WHAT} {name}: it finds no object there; give --box or --mask")
    return mask


def _sam(
    image: np.ndarray, name: str, box: Any, point: Any, options: dict[str, bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Masks (k, H, W), positive inside, and scores (k,) of SAM."""
    processor = load_part("AutoProcessor", name, WHAT)
    model = load_part("SamModel", name, WHAT).eval()
    prompt: dict[str, Any] = {"input_boxes": [[list(map(float, box))]]} if point is None else {}
    if point is not None:
        prompt = {"input_points": [[list(map(float, point))]], "input_labels": [[1]]}
    inputs = processor(images=image, return_tensors="pt", **prompt)
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    with torch.no_grad():
        output = model(**inputs, **options)
    masks = processor.image_processor.post_process_masks(
        output.pred_masks.cpu(), *(size.tolist() for size in sizes), binarize=False
    )[0]
    return masks.reshape(-1, *image.shape[:2]).numpy(), output.iou_scores.reshape(-1).numpy()


def _sam_2(
    image: np.ndarray, name: str, box: Any, point: Any, options: dict[str, bool]
) -> tuple[np.ndarray, np.ndarray]:
    """The same of SAM 2, whose processor needs torchvision: this does what that does."""
    model = load_part("Sam2Model", name, WHAT).eval()
    height, width = image.shape[:2]
    side = int(model.config.vision_config.backbone_config.image_size[0])
    pixels = sam_2_pixels(image, side)
    scale = torch.tensor([side / width, side / height])
    prompt: dict[str, Any] = {}
    if point is None:
        prompt["input_boxes"] = torch.tensor([[list(map(float, box))]]) * scale.repeat(2)
    else:
        prompt["input_points"] = torch.tensor([[[list(map(float, point))]]]) * scale
        prompt["input_labels"] = torch.ones(1, 1, 1, dtype=torch.int64)
    with torch.no_grad():
        output = model(pixel_values=pixels, **prompt, **options)
    masks = output.pred_masks.reshape(1, -1, *output.pred_masks.shape[-2:]).float()
    masks = torch.nn.functional.interpolate(masks, (height, width), mode="bilinear")
    return masks[0].numpy(), output.iou_scores.reshape(-1).numpy()


def sam_2_pixels(image: np.ndarray, side: int) -> torch.Tensor:
    """A picture (H, W, 3) uint8 RGB as SAM 2 sees it, (1, 3, side, side)."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    pixels = torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
