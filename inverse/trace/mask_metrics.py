"""How well masks of parts agree with given ones, as NVFi's code and TRACE's tables measure it."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


MATCH = 0.5  # IoU from which a prediction is a hit


def segmentation_metrics(
    predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray]
) -> dict[str, float]:
    """AP, PQ, F1, precision, recall and mIoU, 0 to 1, of id masks (H, W), 0 where nothing is.

    Ids of predicted and truth are unrelated. In each image every prediction is matched with the
    object that it covers best, a hit from an IoU of 0.5 if no other prediction has hit it; AP is
    COCO's at 101 points, all predictions equally sure; mIoU is that of the best assignment of
    predictions to objects, the mean over the objects of an image and then over images. Images
    without objects count in what predictions they wrongly have. Raises ValueError.
    """
    if len(predicted) != len(truth) or not len(truth):
        raise ValueError(f"predicted: got {len(predicted)} masks for {len(truth)} of truth")
    hits, sum_iou, predictions, objects, mean_ious = [], 0.0, 0, 0, []
    for ours, theirs in zip(predicted, truth, strict=True):
        iou = _ious(np.asarray(ours), np.asarray(theirs))
        predictions += iou.shape[0]
        objects += iou.shape[1]
        taken = set()
        for row in iou:
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] >= MATCH and best not in taken
            hits.append(hit)
            if hit:
                taken.add(best)
                sum_iou += row[best]
        if iou.shape[1]:
            pairs = linear_sum_assignment(-iou)
            mean_ious.append(iou[pairs].sum() / iou.shape[1])
    good = sum(hits)
    precision = good / predictions if predictions else 0.0
    recall = good / objects if objects else 0.0
    misses = predictions - good + objects - good
    return {
        # With one level of confidence there is one point: its precision up to its recall.
        "AP": precision * float((np.linspace(0, 1, 101) <= recall + 1e-12).mean()) if good else 0.0,
        "PQ": sum_iou / (good + misses / 2) if good else 0.0,
        "F1": good / (good + misses / 2) if good else 0.0,
        "precision": precision,
        "recall": recall,
        "mIoU": float(np.mean(mean_ious)) if mean_ious else 0.0,
    }


def _ious(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(predictions, objects) of one image."""
    if ours.shape != theirs.shape:
        raise ValueError(f"predicted: got a mask of {ours.shape}, expected {theirs.shape}")
    p = [ours == label for label in np.unique(ours[ours > 0])]
    t = [theirs == label for label in np.unique(theirs[theirs > 0])]
    ious = [[(a & b).sum() / (a | b).sum() for b in t] for a in p]
    return np.array(ious, dtype=np.float64).reshape(len(p), len(t))
