"""Flags of a wind run that have no effect beside others."""

from inverse.perception import is_sequence
from inverse.perception.networks import follows_video
from inverse.wind.config import WindJob


# Of each pair the first says what the second would, too.
STRONGER = (
    ("mask", "box"), ("mask", "point"), ("box", "point"),
    ("depth", "depth_model"), ("depth", "distance"), ("depth_model", "distance"),
    ("camera", "fov"), ("mesh", "model"), ("mesh", "depth_model"), ("model", "depth_model"),
    ("mesh", "depth"), ("mesh", "distance"), ("model", "depth"), ("model", "distance"),
    ("tracks", "cotracker"), ("tracks", "tapir"),
)  # fmt: skip
# The second has a meaning only beside the first.
NEEDED = (("camera", "camera_scale"), ("depth", "depth_scale"), ("depth", "inverse_depth"))


def overridden(job: WindJob) -> list[str]:
    """Sentences about what was given and not used."""
    found: dict[str, str] = {}
    for stronger, weaker in STRONGER:
        if _given(job, stronger) and _given(job, weaker):
            found.setdefault(weaker, f"{_flag(stronger)} says the same")
    for needed, name in NEEDED:
        if _given(job, name) and not _given(job, needed):
            found.setdefault(name, f"there is no {_flag(needed)}")
    if job.mask is not None and job.segmenter is not None:
        if is_sequence(job.mask) or not follows_video(job.segmenter):
            found.setdefault("segmenter", "--mask says the same")
    if job.tracks and job.tracker != "lucas-kanade":
        found.setdefault("tracker", "--tracks are taken as they are")
    for name in ("cotracker", "tapir"):
        if _given(job, name) and not job.tracker.startswith(name):
            found.setdefault(name, f"--tracker is {job.tracker}")
    return [f"{_flag(name)} was not used: {reason}." for name, reason in found.items()]


def _given(job: WindJob, name: str) -> bool:
    return getattr(job, name) not in (None, False, ())


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
