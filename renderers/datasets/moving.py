"""Datasets with layouts of their own: which one a folder holds."""

from pathlib import Path
from typing import Protocol

from renderers.datasets import llff, nerfies, panoptic
from renderers.datasets.views import View


class Layout(Protocol):
    """A module that reads one layout."""

    def found_in(self, folder: Path) -> bool:
        """Whether a folder holds such a dataset."""

    def splits(self, folder: Path) -> tuple[str, ...]:
        """The splits of a dataset."""

    def read_views(self, folder: Path, split: str, downscale: int) -> list[View]:
        """The views of a split."""


LAYOUTS: tuple[Layout, ...] = (nerfies, panoptic, llff)


def find(folder: Path) -> Layout | None:
    """The module that reads the dataset in a folder, None if there is none."""
    return next((layout for layout in LAYOUTS if layout.found_in(folder)), None)
