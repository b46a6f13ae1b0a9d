"""Draw samples, mixing regions and contact sheets, to see what a mix did to a picture and its annotations.

Boxes, masks and keypoints are drawn by :mod:`torchvision.utils`; text and layout by Pillow, because torchvision's
labels need a font file and know nothing of each other or of the picture's border. Everything here is pure: tensors go
in, a new ``uint8`` tensor or a new Pillow image comes out.

Small pictures are enlarged *before* anything is drawn on them, so that lines and text stay crisp: images bicubically,
masks and maps nearest, boxes by the same factors.
"""

from __future__ import annotations

from cutmix_dense.visualization.colors import class_colors
from cutmix_dense.visualization.pictures import to_pil
from cutmix_dense.visualization.regions import draw_region, partner_sources, shown_pixels, source_letters
from cutmix_dense.visualization.rows import caption_of, mix_row, sample_rows
from cutmix_dense.visualization.samples import draw_sample
from cutmix_dense.visualization.sheets import Drawing, contact_sheet, draw_legend, present_classes

__all__ = [
    "Drawing",
    "caption_of",
    "class_colors",
    "contact_sheet",
    "draw_legend",
    "draw_region",
    "draw_sample",
    "mix_row",
    "partner_sources",
    "present_classes",
    "sample_rows",
    "shown_pixels",
    "source_letters",
    "to_pil",
]
