"""What all runs share: folders of results, settings, checkpoints, plots and reports."""

from inverse.runs.folder import RunFolder as RunFolder


__all__ = ["RunFolder"]
