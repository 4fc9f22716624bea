"""Masks of an object in all frames, from that of frame 0, by SAM 2 for videos."""

from collections.abc import Callable

import numpy as np
import torch

from inverse.clips.footage import Footage
from inverse.perception.networks.pretrained import load_config, load_part
from inverse.perception.networks.segmentation import WHAT, sam_2_pixels


VIDEO = "sam2_video"  # kind of the models, as they call themselves
REMEMBERED = 16  # frames that the network may look back at


def follows_video(name: str) -> bool:
    """Whether a segmenter, by name or folder, follows an object through a video."""
    return getattr(load_config(name, WHAT), "model_type", "") == VIDEO


def segment_video(
    video: Footage,
    mask: np.ndarray,
    name: str,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Carry the mask (H, W) bool of frame 0 through a video (T, H, W, 3) uint8 RGB.

    name: of a SAM 2 for transformers (facebook/sam2-hiera-tiny), or a local folder; progress:
    called with (frame, frames). Returns (T, H, W) bool, empty where the object is out of sight.
    Frames go in one by one, and old ones are forgotten, so that memory does not grow with the clip.
    Raises ValueError where the network is not there.
    """
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    model = load_part("Sam2VideoModel", name, WHAT).eval()
    side = int(model.config.vision_config.backbone_config.image_size[0])
    frames, height, width = video.shape[:3]
    session = Sam2VideoInferenceSession(video_height=height, video_width=width, dtype=torch.float32)
    start = torch.from_numpy(np.asarray(mask, np.float32))[None, None]
    start = torch.nn.functional.interpolate(start, (side, side), mode="bilinear", antialias=True)
    thing = session.obj_id_to_idx(1)
    session.add_mask_inputs(thing, 0, (start >= 0.5).float())
    session.obj_with_new_inputs = [1]
    found = [np.asarray(mask, dtype=bool)]
    with torch.no_grad():
        for t in range(frames):
            output = model(inference_session=session, frame=sam_2_pixels(video[t], side))
            if t > 0:
                logits = output.pred_masks.reshape(1, 1, *output.pred_masks.shape[-2:]).float()
                logits = torch.nn.functional.interpolate(logits, (height, width), mode="bilinear")
                found.append(logits[0, 0].numpy() > 0)
            if progress is not None:
                progress(t + 1, frames)
            # A placeholder: a new frame is numbered by how many there are.
            session.add_new_frame(torch.zeros(0), t)
            outputs = session.output_dict_per_obj[thing]["non_cond_frame_outputs"]
            outputs.pop(t - REMEMBERED, None)
    return np.stack(found)
