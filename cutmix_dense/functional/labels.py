"""Mix image-level labels by the exact share of pixels that each source owns."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import sent, tensor_of
from cutmix_dense.plan import MixPlan


def mix_labels(
    labels: Tensor,
    plan: MixPlan,
    num_classes: int | None = None,
    *,
    weight: Float[Tensor, "b s"] | None = None,
) -> Float[Tensor, "b k"]:
    """Class probabilities of the mixed images.

    Each source counts by the pixels that it owns, measured on the plan, never by a drawn λ. Fill has no class: shares
    are of the pixels with an owner. If the frames of clips are planned one by one (``MixPlan.frames``), the pixels of
    all frames count, as in VideoMix (Yun et al., 2020).

    Args:
        labels: (P,) integer classes, or (P, K) probabilities or indicators; one row per image or clip.
        plan: who owns each output pixel.
        num_classes: K; needed for (P,) labels.
        weight: weight of each layer of every output instead of its pixels, such as ``object_pixels``; an image or clip
            whose weights are all 0 counts by pixels.

    Returns:
        (B, K) in the labels' floating dtype; float32 for integers.

    Raises:
        ValueError: the shape is wrong, integers (P, K) aren't indicators or a class lies outside
            ``0 … num_classes - 1`` (both checked on the host), ``num_classes`` is missing, or there are too few rows.

    Example:
        >>> from cutmix_dense import MixPlan
        >>> box, sizes = torch.tensor([[[0, 0, 4, 3]]]), torch.tensor([[4, 12], [4, 12]])
        >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> mix_labels(torch.tensor([0, 2]), plan, num_classes=3).tolist()
        [[0.75, 0.0, 0.25]]
    """
    soft = as_probabilities(labels, num_classes)
    plan = plan.to(soft.device)
    if soft.device.type == "cpu" and len(plan) and int(plan.source.max()) >= len(soft) * plan.frames:
        most = int(plan.source.max()) // plan.frames
        raise ValueError(f"labels must hold {most + 1} rows for this plan, got {len(soft)}")
    source, counts = plan.source, plan.owned_pixels().to(torch.float64)
    if plan.frames > 1:
        source, counts = plan.per_clip(source // plan.frames), plan.per_clip(counts)
    if weight is not None:
        shape = tuple(plan.source.shape)
        here = weight.device.type == "cpu" and not is_compiling()
        if tuple(weight.shape) != shape or (here and not bool((weight >= 0).all())):
            got = tuple(weight.shape) if tuple(weight.shape) != shape else weight.tolist()
            raise ValueError(f"weight must hold numbers of at least 0, one per layer {shape}, got {got}")
        weight = plan.per_clip(sent(weight, counts.device, counts.dtype))
        counts = torch.where(weight.sum(dim=1, keepdim=True) > 0, weight, counts)
    share = counts / counts.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    mixed = (share[..., None] * soft[source.clamp(min=0)].to(torch.float64)).sum(dim=1)
    return mixed.to(soft.dtype)


def as_probabilities(labels: Any, num_classes: int | None) -> Float[Tensor, "p k"]:
    """Labels as floating point rows (P, K): integer classes become one-hot."""
    labels = tensor_of(labels)
    if labels.ndim == 2:
        if num_classes is not None and labels.shape[1] != num_classes:
            raise ValueError(f"labels must have num_classes = {num_classes} columns, got {tuple(labels.shape)}")
        if not labels.is_floating_point() and labels.device.type == "cpu" and bool(((labels < 0) | (labels > 1)).any()):
            raise ValueError(
                "labels of shape (P, K) must be probabilities, or indicators of 0 and 1; class ids can't be averaged: "
                f"got integers up to {int(labels.max())}"
            )
        rows: Tensor = labels if labels.is_floating_point() else labels.float()
        return rows
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (P,) or (P, K), got {tuple(labels.shape)}")
    if labels.is_floating_point():
        raise ValueError(f"labels of shape (P,) must be integer classes, got {labels.dtype}")
    if num_classes is None:
        raise ValueError("num_classes must be given for integer labels, got None")
    if labels.device.type == "cpu" and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels must lie in 0 … {num_classes - 1} (num_classes = {num_classes}), "
            f"got {int(labels.min())} … {int(labels.max())}"
        )
    return torch.nn.functional.one_hot(labels.long(), num_classes).float()
