"""What all runs share: folders of results, settings, checkpoints, plots and reports."""

from inverse.runs.folder import RunFolder as RunFolder
from inverse.runs.folder import open_run as open_run


__all__ = ["RunFolder", "open_run"]
