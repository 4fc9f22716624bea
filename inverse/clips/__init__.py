"""Clips as phones and the web deliver them: what their pictures show, and when."""

from inverse.clips.clip import ClipPlan as ClipPlan
from inverse.clips.clip import plan_clip as plan_clip


__all__ = ["ClipPlan", "plan_clip"]
