"""Dense optical flow, for points that sparse Lucas-Kanade loses."""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np


def forward_backward_dense(
    previous: np.ndarray, current: np.ndarray, xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Carry points (N, 2) px by the flow from one gray uint8 image to the next, and back.

    Flow is that of dense inverse search (Kroeger et al. 2016). It is smooth, so that a point with
    a texture that repeats, or seen through something thin, goes where its surroundings go. Returns
    where they are in the next image (N, 2) px, and by how much the flow back misses them (N,) px.
    """
    there = xy + _sample(dense_flow(previous, current), xy)
    back = _sample(dense_flow(current, previous), there)
    return there, np.linalg.norm(there + back - xy, axis=1)


def dense_flow(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The flow (H, W, 2) px from one gray uint8 image to another (Kroeger et al. 2016)."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    with _one_thread():
        return np.asarray(flow.calc(previous, current, None))  # type: ignore[call-overload]


def _sample(flow: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Flow (H, W, 2) at points (N, 2) px, interpolated between the centers of pixels."""
    x, y = np.ascontiguousarray((xy - 0.5).astype(np.float32).T)[:, None]
    return cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0].astype(float)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV on one thread: it splits an image by threads, and the flow depends on the parts."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
