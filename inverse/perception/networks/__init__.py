"""Networks that users have: metric depth, boxes from words, masks from boxes and points.

They come from transformers, by the name of a model or a local folder; nothing here holds weights.
"""

from inverse.perception.networks.depth import NetworkDepth as NetworkDepth
from inverse.perception.networks.depth import network_depth as network_depth
from inverse.perception.networks.detection import find_box as find_box
from inverse.perception.networks.segmentation import segment as segment
from inverse.perception.networks.video import follows_video as follows_video
from inverse.perception.networks.video import segment_video as segment_video


__all__ = [
    "NetworkDepth",
    "find_box",
    "follows_video",
    "network_depth",
    "segment",
    "segment_video",
]
