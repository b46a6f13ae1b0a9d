"""Pseudo-labels: what a teacher says of every pixel, how sure it is, and where the image has no say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.broadcast import within
from cutmix_dense.functional import mix_pixels, mix_semantic
from cutmix_dense.plan import MixPlan

__all__ = ["PseudoLabels", "given_labels", "mix_pseudo", "pseudo_labels"]


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Class of every pixel of a batch, with its confidence.

    Attributes:
        labels: class ids, int64; ``ignore_index`` where not valid.
        confidence: probability of that class in [0, 1]; what the teacher said, valid or not; 0 where nobody owns the
            pixel after a mix.
        valid: False where the input is padding, ignored, or owned by nobody after a mix.
        probabilities: of all classes; None if they weren't kept (hard labels need none).
        ignore_index: the id that stands for no class.
    """

    labels: Int[Tensor, "b h w"]
    confidence: Float[Tensor, "b h w"]
    valid: Bool[Tensor, "b h w"]
    probabilities: Float[Tensor, "b k h w"] | None = None
    ignore_index: int = 255

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


def pseudo_labels(
    scores: Float[Tensor, "b k h w"],
    *,
    valid: Bool[Tensor, "b h w"] | None = None,
    sizes: Int[Tensor, "b 2"] | None = None,
    is_probability: bool = False,
    keep_probabilities: bool = True,
    ignore_index: int = 255,
) -> PseudoLabels:
    """Labels and confidence from a teacher's scores; no gradient leads back.

    Args:
        scores: logits, at the images' size.
        valid: pixels that the input has a say on; default all.
        sizes: valid height and width of each image of a padded batch; what lies beyond isn't valid.
        is_probability: ``scores`` are probabilities already.
        keep_probabilities: keep all of them, for losses that compare distributions.
        ignore_index: label of pixels that aren't valid.

    Raises:
        ValueError: shapes that don't fit each other; an ``ignore_index`` that is a class.
    """
    if scores.ndim != 4 or not scores.is_floating_point():
        raise ValueError(f"scores must be floating point of shape (B, K, H, W), got {scores.dtype} {_shape(scores)}")
    _check_ignore(ignore_index, scores.shape[1])
    shape = (len(scores), *scores.shape[2:])
    if valid is None:
        valid = torch.ones(shape, dtype=torch.bool, device=scores.device)
    if valid.dtype != torch.bool or tuple(valid.shape) != shape:
        raise ValueError(f"valid must be bool of shape {shape}, got {valid.dtype} {_shape(valid)}")
    if sizes is not None:
        if tuple(sizes.shape) != (len(scores), 2):
            raise ValueError(f"sizes must have shape ({len(scores)}, 2), got {_shape(sizes)}")
        valid = valid & within(sizes.to(scores.device), shape[1:])
    scores = scores.detach()
    probabilities = scores if is_probability else scores.float().softmax(dim=1)
    confidence, labels = probabilities.max(dim=1)
    return PseudoLabels(
        labels=torch.where(valid, labels, ignore_index),
        confidence=confidence,
        valid=valid,
        probabilities=probabilities if keep_probabilities else None,
        ignore_index=ignore_index,
    )


def given_labels(
    labels: Int[Tensor, "b h w"], num_classes: int, *, keep_probabilities: bool = True, ignore_index: int = 255
) -> PseudoLabels:
    """Ground truth in the form of pseudo-labels, for labelled partners: confidence 1, not valid where ignored.

    Args:
        labels: class ids of an integer dtype.
        num_classes: K.
        keep_probabilities: see ``pseudo_labels``; they are 1 for the class, all 0 where ignored.
        ignore_index: the id in ``labels`` that is no class.
    """
    _check_ignore(ignore_index, num_classes)
    labels = labels.long()
    valid = labels != ignore_index
    probabilities = None
    if keep_probabilities:
        classes = F.one_hot(torch.where(valid, labels, 0), num_classes).movedim(-1, 1)
        probabilities = classes.float() * valid[:, None]
    return PseudoLabels(labels, valid.float(), valid, probabilities, ignore_index)


def joined(first: PseudoLabels, second: PseudoLabels) -> PseudoLabels:
    """Two batches as one."""

    def both(a: Any, b: Any) -> Any:
        return None if a is None or b is None else torch.cat([a, b.to(a.dtype)])

    return PseudoLabels(
        both(first.labels, second.labels),
        both(first.confidence, second.confidence),
        both(first.valid, second.valid),
        both(first.probabilities, second.probabilities),
        first.ignore_index,
    )


def mix_pseudo(pseudo: PseudoLabels, plan: MixPlan) -> PseudoLabels:
    """Mix labels, confidence, validity and probabilities by the plan that mixes the images.

    Every pixel takes all four from the one image that owns it: nearest, so under a scaled plan too they agree.
    A pixel that nobody owns is not valid.

    Args:
        pseudo: of the pool that the plan draws from.
        plan: who owns each output pixel; hard.

    Raises:
        ValueError: a soft plan: labels and thresholds don't blend.
    """
    labels = mix_semantic(pseudo.labels, plan, ignore_index=pseudo.ignore_index)  # refuses a soft plan

    def mixed(tensor: Tensor) -> Tensor:
        return mix_pixels(tensor, plan, fill=0, interpolation="nearest")

    return PseudoLabels(
        labels=labels,
        confidence=mixed(pseudo.confidence),
        valid=mixed(pseudo.valid),
        probabilities=None if pseudo.probabilities is None else mixed(pseudo.probabilities),
        ignore_index=pseudo.ignore_index,
    )


def _check_ignore(ignore_index: int, num_classes: int) -> None:
    if 0 <= ignore_index < num_classes:
        raise ValueError(f"ignore_index must be no class (0 … {num_classes - 1}), got {ignore_index!r}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
