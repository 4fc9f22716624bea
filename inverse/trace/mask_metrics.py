"""Metrics of how well rendered part masks find the true objects, as in NVFi and TRACE."""

import numpy as np
from scipy.optimize import linear_sum_assignment


MATCH = 0.5  # IoU from which a predicted instance counts as an object
RECALLS = np.linspace(0, 1, 101)  # recalls at which COCO reads the precision


def segmentation_metrics(
    predicted: list[np.ndarray],
    truth: list[np.ndarray],
    *,
    confidence: list[dict[int, float]] | None = None,
) -> dict[str, float]:
    """Compute ap, pq, f1, precision, recall and miou of id masks, all between 0 and 1.

    predicted, truth: for each image an (H, W) int mask of instance ids, 0 for the background,
    which is no instance; the ids of the two have nothing to do with each other, nor those of two
    images. confidence: for each image that of every predicted id, 1 by default.

    A prediction finds the object that it overlaps most if their IoU is at least 0.5 and no
    prediction of higher confidence has found it. precision, recall, f1, pq = sum of the IoU of
    the finds / (TP + FP / 2 + FN / 2), and ap, the mean over 101 recalls of the best precision at
    that recall or above (COCO), pool the instances of all images; predictions of equal confidence
    count at once, so that no numbering matters. miou is the mean over images of the mean IoU of
    their objects, paired with predictions one to one for the largest sum (Hungarian).

    The predictions of an image without objects count as false, and the image is left out of miou.
    Without any prediction all metrics are 0. Raises ValueError for masks or confidences that do not
    fit each other, and if no image has an object.
    """
    if len(predicted) != len(truth):
        raise ValueError(
            f"predicted: got {len(predicted)} masks, expected {len(truth)}, as many as truth"
        )
    if confidence is None:
        confidence = [{}] * len(truth)
        default = 1.0
    elif len(confidence) != len(truth):
        raise ValueError(f"confidence: got {len(confidence)}, expected one for each mask")
    else:
        default = None
    overlaps, sure, objects, means = [], [], 0, []
    for index, (prediction, target) in enumerate(zip(predicted, truth, strict=True)):
        iou, ids = _overlaps(np.asarray(prediction), np.asarray(target), index)
        scores = np.array([confidence[index].get(int(k), default) for k in ids], dtype=np.float64)
        if not np.isfinite(scores).all():
            raise ValueError(f"confidence: image {index} lacks a number for some of ids {ids}")
        overlaps.append(_finds(iou, scores))
        sure.append(scores)
        objects += iou.shape[1]
        if iou.shape[1]:
            means.append(iou[linear_sum_assignment(iou, maximize=True)].sum() / iou.shape[1])
    if objects == 0:
        raise ValueError("truth: got no object in any image, expected at least one")
    overlap, sure = np.concatenate(overlaps), np.concatenate(sure)
    found = np.count_nonzero(overlap)
    pairs = (len(overlap) + objects) / 2  # TP + FP / 2 + FN / 2
    return {
        "ap": _average_precision(overlap > 0, sure, objects),
        "pq": float(overlap.sum() / pairs),
        "f1": found / pairs,
        "precision": found / max(len(overlap), 1),
        "recall": found / objects,
        "miou": float(np.mean(means)),
    }


def _overlaps(
    prediction: np.ndarray, target: np.ndarray, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """IoU (p, g) of the predicted instances and the objects of an image, and the ids (p,)."""
    for name, mask in {"predicted": prediction, "truth": target}.items():
        if mask.ndim != 2 or mask.dtype.kind not in "iu" or mask.shape != target.shape:
            raise ValueError(
                f"{name}: got {mask.dtype} {mask.shape} for image {index}, "
                "expected int (H, W), of the same size in predicted and truth"
            )
    ids, p = np.unique(prediction, return_inverse=True)
    true_ids, g = np.unique(target, return_inverse=True)
    shape = len(ids), len(true_ids)
    common = np.bincount(p.ravel() * shape[1] + g.ravel(), minlength=shape[0] * shape[1])
    common = common.reshape(shape)
    union = common.sum(axis=1, keepdims=True) + common.sum(axis=0) - common
    return (common / union)[ids != 0][:, true_ids != 0], ids[ids != 0]


def _finds(iou: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The IoU of each prediction with the object that it finds, 0 if none: (p,) of iou (p, g)."""
    found = np.zeros(len(iou))
    free = np.ones(iou.shape[1], dtype=bool)
    for k in np.argsort(-scores, kind="stable") if iou.shape[1] else ():
        best = iou[k].argmax()
        if iou[k, best] >= MATCH and free[best]:
            found[k], free[best] = iou[k, best], False
    return found


def _average_precision(true: np.ndarray, sure: np.ndarray, objects: int) -> float:
    order = np.argsort(-sure, kind="stable")
    last = np.flatnonzero(np.diff(sure[order], append=-np.inf))  # of equal confidence
    hits = np.cumsum(true[order])[last]
    recall, precision = hits / objects, hits / (last + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS)
    return float(np.append(best, 0.0)[at].mean())
