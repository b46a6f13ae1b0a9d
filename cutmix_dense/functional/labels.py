"""Mix image-level labels by the exact share of pixels that each source owns."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.arrays.host import sent, tensor_of
from cutmix_dense.plan import MixPlan

__all__ = ["mix_labels"]


def mix_labels(
    labels: Tensor,
    plan: MixPlan,
    num_classes: int | None = None,
    *,
    weight: Float[Tensor, "b s"] | None = None,
) -> Float[Tensor, "b k"]:
    """Class probabilities of the mixed images.

    Each source counts by the pixels it owns, measured on the plan after clipping, never by a drawn λ. Fill belongs to
    no class: the shares are those of the pixels that have an owner. Of clips whose frames are planned one by one
    (``MixPlan.frames``) the pixels of all frames count, as in VideoMix (Yun et al., 2020).

    Args:
        labels: (P,) integer classes, or (P, K) probabilities or indicators; of clips one per clip.
        plan: who owns each output pixel.
        num_classes: K; needed for (P,) labels.
        weight: what each layer of every output of the plan counts in place of its pixels, e.g. ``object_pixels``; an
            image or a clip without any weight falls back to its pixels.

    Returns:
        (B, K) in the labels' floating dtype, else torch's default.

    Raises:
        ValueError: another shape, integers (P, K) that are no indicators (on the host), a class outside
            ``0 … num_classes - 1``, a missing ``num_classes``, a short pool.
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
        weight = plan.per_clip(sent(weight, counts.device, counts.dtype))
        counts = torch.where(weight.sum(dim=1, keepdim=True) > 0, weight, counts)
    share = counts / counts.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    mixed = (share[..., None] * soft[source.clamp(min=0)].to(torch.float64)).sum(dim=1)
    return mixed.to(soft.dtype)


def as_probabilities(labels: Any, num_classes: int | None) -> Float[Tensor, "p k"]:
    """Integer classes as one-hot rows; what is two-dimensional already stays, as floating point."""
    labels = tensor_of(labels)
    if labels.ndim == 2:
        if num_classes is not None and labels.shape[1] != num_classes:
            raise ValueError(f"labels must have num_classes = {num_classes} columns, got {tuple(labels.shape)}")
        if not labels.is_floating_point() and labels.device.type == "cpu" and bool(((labels < 0) | (labels > 1)).any()):
            raise ValueError(
                "labels of shape (P, K) must be probabilities, or indicators of 0 and 1; class ids don't average: got "
                f"integers up to {int(labels.max())}"
            )
        return labels if labels.is_floating_point() else labels.float()
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
