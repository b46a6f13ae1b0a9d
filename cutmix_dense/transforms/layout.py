"""What the axes of a batch mean: images, clips or volumes."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["LAYOUTS", "Layout", "has_frames", "shape_of", "spatial_axes"]

Layout = Literal["BCHW", "BTCHW", "BCDHW"]
"""Axes of a batch: images; clips of T frames, whose plans have two axes; volumes, whose plans have three."""

LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def spatial_axes(layout: Layout) -> int:
    """Number of axes that a plan cuts: those behind the channels."""
    return len(layout) - layout.index("C") - 1


def has_frames(layout: Layout) -> bool:
    """Whether a sample is a clip, whose targets come frame by frame."""
    return "T" in layout


def shape_of(layout: Layout, *, batch: bool = True) -> str:
    """The axes as messages show them: ``(B, C, H, W)``, or of one sample ``(C, H, W)``."""
    return f"({', '.join(layout if batch else layout[1:])})"
