"""Layouts: the axes of a batch of images, clips or volumes."""

from __future__ import annotations

from typing import Literal, get_args

Layout = Literal["BCHW", "BTCHW", "BCDHW"]
"""Axes of a batch of images, of clips of T frames (plans have two axes), or of volumes (plans have three)."""

LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def spatial_axes(layout: Layout) -> int:
    """Number of axes of a plan: those after the channels."""
    return 3 if layout == "BCDHW" else 2


def has_frames(layout: Layout) -> bool:
    """Whether a sample is a clip, with targets per frame."""
    return "T" in layout


def shape_of(layout: Layout, *, batch: bool = True) -> str:
    """The axes as messages show them: ``(B, C, H, W)``, or ``(C, H, W)`` for one sample."""
    return f"({', '.join(layout if batch else layout[1:])})"


def hint_of_axes(more: int, layout: Layout) -> str:
    """The hint for images that have an axis more than the layout."""
    return ": clips need layout='BTCHW', volumes layout='BCDHW'" if more == 1 and layout == "BCHW" else ""
