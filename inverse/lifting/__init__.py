"""From 2D tracks to 3D trajectories of keypoints and particles."""

from inverse.lifting.binding import TriangleBinding as TriangleBinding
from inverse.lifting.binding import bind_to_triangles as bind_to_triangles
from inverse.lifting.binding import dense_targets as dense_targets
from inverse.lifting.binding import solid_targets as solid_targets
from inverse.lifting.energy import LiftConfig as LiftConfig
from inverse.lifting.keypoints import Keypoints as Keypoints
from inverse.lifting.keypoints import keypoints as keypoints
from inverse.lifting.pipeline import Targets as Targets
from inverse.lifting.pipeline import targets_from_video as targets_from_video
from inverse.lifting.quality import SEEN as SEEN
from inverse.lifting.quality import LiftQuality as LiftQuality
from inverse.lifting.refine import refine_tracks as refine_tracks
from inverse.lifting.smoothness import Smoothness as Smoothness
from inverse.lifting.solve import Lifted as Lifted
from inverse.lifting.solve import lift as lift
from inverse.lifting.volume import VolumeNodes as VolumeNodes


__all__ = [
    "SEEN",
    "Keypoints",
    "LiftConfig",
    "LiftQuality",
    "Lifted",
    "Smoothness",
    "Targets",
    "TriangleBinding",
    "VolumeNodes",
    "bind_to_triangles",
    "dense_targets",
    "keypoints",
    "lift",
    "refine_tracks",
    "solid_targets",
    "targets_from_video",
]
