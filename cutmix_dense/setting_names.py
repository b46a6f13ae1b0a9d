"""Hints for settings that a class doesn't have: the nearest name, or what another library's argument is called here."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def name_hint(name: str, known: Collection[str]) -> str:
    """What to say of an unknown setting.

    Args:
        name: as it was given.
        known: the settings that there are.

    Example:
        >>> name_hint("alhpa", ["alpha", "p"]), name_hint("prob", ["alpha", "p"])
        ("did you mean 'alpha'?", "did you mean 'p'?")
    """
    near = difflib.get_close_matches(name, known, n=1)
    return peer_hint(name, known) or (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")


def peer_hint(name: str, known: Collection[str]) -> str:
    """What stands for an argument of another library; empty if it isn't known as one.

    Example:
        >>> peer_hint("grid_yx", ["grid", "size"])
        'did you mean grid=(rows, columns)?'
    """
    return next((hint for ours, hint in _PEERS.get(name, ()) if not ours or ours in known), "")


_ALPHA = (("alpha", "did you mean 'alpha'?"),)
_PIPELINE = (
    (
        "",
        "only transforms of MMEngine's pipelines have it: write type='cutmix_dense.…' in the pipeline; configs of pure "
        "Python import the class from cutmix_dense.mmengine.sample",
    ),
)
_OCCLUSION = "rule='mmdet_copy_paste' has MMDetection's numbers, min_visibility is a share of each object"
_PEERS: dict[str, tuple[tuple[str, str], ...]] = {
    # MMDetection and MMSegmentation: Mosaic, MixUp, CopyPaste
    "prob": (("p", "did you mean 'p'?"),),
    "img_scale": (
        (
            "expand",
            "did you mean size=(height, width), where MMDetection 3 has img_scale=(width, height)? Its canvas is twice "
            "as large: that is expand=2, scale=(0.5, 0.5) beside it",
        ),
        ("size", "did you mean size=(height, width), where MMDetection 3 has img_scale=(width, height)?"),
        ("", "images are mixed at their own size here: leave it out, and resize them by another transform"),
    ),
    "center_ratio_range": (
        ("jitter", "did you mean jitter=0.5? That is MMDetection's center_ratio_range=(1 - 0.5, 1 + 0.5)"),
    ),
    "ratio_range": (
        ("scale", "did you mean 'scale'?"),
        ("", "nothing is scaled at random here: leave it out, and scale images before they are mixed"),
    ),
    "flip_ratio": (
        ("flip", "did you mean 'flip'?"),
        ("", "nothing is flipped here: leave it out, and flip images before they are mixed"),
    ),
    "pad_val": (("fill", "did you mean 'fill'?"),),
    "seg_pad_val": (("ignore_index", "did you mean 'ignore_index'? Maps have it where no image lies"),),
    "max_cached_images": _PIPELINE,
    "random_pop": _PIPELINE,
    "bbox_clip_border": (("", "leave it out: upright boxes always end at the canvas"),),
    "max_iters": (("", "leave it out: a partner without objects is taken, too"),),
    "max_num_pasted": (
        ("instances", "did you mean instances=(least, most)? MMDetection pastes 0 to max_num_pasted - 1"),
    ),
    "selected": (("instances", "did you mean instances='random' (selected=True) or 'all' (selected=False)?"),),
    "paste_by_box": (("instances", "leave it out: objects without a mask are always pasted by their boxes"),),
    "bbox_occluded_thr": (("rule", f"did you mean rule=OcclusionRule(max_box_shift=…), pixels? {_OCCLUSION}"),),
    "mask_occluded_thr": (("rule", f"did you mean rule=OcclusionRule(min_pixels=…)? {_OCCLUSION}"),),
    # MMDetection 2
    "skip_filter": (
        ("rule", "did you mean rule='mmdet' (skip_filter=True)? Else min_visibility and min_size say what is dropped"),
    ),
    "min_bbox_size": (("min_size", "did you mean min_size, the shortest side in pixels?"),),
    "min_area_ratio": (("min_visibility", "did you mean 'min_visibility'?"),),
    "max_aspect_ratio": (("rule", "did you mean rule=FilterRule(max_aspect=…)?"),),
    # Albumentations, kornia, Ultralytics
    "grid_yx": (("grid", "did you mean grid=(rows, columns)?"),),
    "mosaic_grid": (("grid", "did you mean grid=(rows, columns)?"),),
    "target_size": (("size", "did you mean size=(height, width)?"),),
    "output_size": (("size", "did you mean size=(height, width)?"),),
    "imgsz": (("size", "did you mean size=(height, width)? Ultralytics' imgsz is one number for both"),),
    "center_range": (("jitter", "did you mean jitter, how far inner grid lines stray, as a fraction of a cell?"),),
    "beta": _ALPHA,
    "lambda_val": (
        ("weight", "did you mean weight=(low, high)? It is the base's weight, kornia's lambda_val is the partner's"),
    ),
    "same_on_batch": (("same_region", "did you mean 'same_region'?"), ("same_weight", "did you mean 'same_weight'?")),
    # torchvision's SimpleCopyPaste, timm, MONAI
    "blending": (("feather", "did you mean feather=2.0, the softness of pasted edges? blend is an opacity"),),
    "cutmix_alpha": _ALPHA,
    "mixup_alpha": _ALPHA,
    "batch_size": (("", "leave it out: every call reads it from its batch"),),
}
"""Arguments of other libraries: the setting that stands for one, and what to say where a class has that setting."""
