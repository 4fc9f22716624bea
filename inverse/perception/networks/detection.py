"""A box around what words name."""

import numpy as np
import torch

from inverse.perception.networks.pretrained import load_part


WHAT = "detector"
DEFAULT = "IDEA-Research/grounding-dino-tiny"
THRESHOLD, TEXT_THRESHOLD = 0.25, 0.2  # of the scores, those of the authors


def find_box(
    image: np.ndarray, words: str, name: str = DEFAULT
) -> tuple[tuple[float, float, float, float], float]:
    """The box x0 y0 x1 y1 px of what the words name, and its score in 0..1.

    image: (H, W, 3) uint8 RGB; words: such as "the leaf"; name: of a Grounding DINO for
    transformers, or a local folder. Raises ValueError where the network finds nothing of the kind,
    and where it is not there.
    """
    text = words.strip().lower().rstrip(".")
    if not text:
        raise ValueError(f"object: got {words!r}, expected words")
    processor = load_part("AutoProcessor", name, WHAT)
    model = load_part("AutoModelForZeroShotObjectDetection", name, WHAT).eval()
    height, width = image.shape[:2]
    inputs = processor(images=image, text=f"{text}.", return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    found = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=THRESHOLD, text_threshold=TEXT_THRESHOLD,
        target_sizes=[(height, width)],
    )[0]  # fmt: skip
    if len(found["scores"]) == 0:
        raise ValueError(
            f"object: {name} finds no {text!r} in frame 0; use other words, or give --box or --mask"
        )
    best = int(found["scores"].argmax())
    corners = found["boxes"][best].double().cpu().numpy()
    low, high = corners[:2].clip(0, None), np.minimum(corners[2:], [width, height])
    if (high - low < 1).any():
        raise ValueError(
            f"object: the box that {name} finds for {text!r} is empty; give --box or --mask"
        )
    x0, y0, x1, y1 = (float(v) for v in (*low, *high))
    return (x0, y0, x1, y1), float(found["scores"][best])
