"""The loss of mixed class labels, which models of transformers don't have themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def soft_cross_entropy(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """The mean cross entropy of an image classifier: ``Trainer(compute_loss_func=soft_cross_entropy)``.

    Args:
        outputs: of the model, with ``logits`` (B, K).
        labels: (B, K) probabilities, as a mix makes them, or (B,) class ids, as in evaluation.
        num_items_in_batch: what ``Trainer`` counts over all batches of one optimizer step: entries of ``labels``, so K
            for each image of mixed ones.

    Raises:
        ValueError: labels of another shape or number of classes than the logits.

    Examples:
        >>> import torch
        >>> outputs = {"logits": torch.zeros(2, 4)}
        >>> round(float(soft_cross_entropy(outputs, torch.tensor([0, 3]))), 4)  # log 4
        1.3863
    """
    logits = outputs["logits"]
    if labels.ndim not in (1, 2) or len(labels) != len(logits) or (labels.ndim == 2 and labels.shape != logits.shape):
        raise ValueError(f"labels must be (B,) or (B, K) for logits {tuple(logits.shape)}, got {tuple(labels.shape)}")
    soft = labels.ndim == 2
    target = labels.to(logits.dtype) if soft else labels
    if num_items_in_batch is None:
        return torch.nn.functional.cross_entropy(logits, target)
    images = num_items_in_batch / (logits.shape[1] if soft else 1)
    return torch.nn.functional.cross_entropy(logits, target, reduction="sum") / images
