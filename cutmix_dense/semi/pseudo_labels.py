"""Pseudo-labels: a teacher's class for every pixel, its confidence, and which pixels are valid."""

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


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Class of every pixel of a batch, with its confidence.

    Attributes:
        labels: class ids, int64; ``ignore_index`` where not valid.
        confidence: the teacher's probability of that class, in [0, 1], also where not valid; 0 for pixels without an
            owner after a mix.
        valid: False for padding, ignored pixels, and pixels without an owner after a mix.
        probabilities: probabilities of all classes; None if not needed.
        ignore_index: id of pixels without a class.

    Example:
        >>> pseudo = pseudo_labels(torch.zeros(2, 5, 4, 6))
        >>> len(pseudo), pseudo.labels.shape, round(float(pseudo.confidence.mean()), 3)  # five equal classes
        (2, torch.Size([2, 4, 6]), 0.2)
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
    """Labels and confidence from a teacher's scores, without gradients.

    Args:
        scores: logits at the images' size, of K >= 2 classes. A binary model with one logit x has the two classes of
            ``torch.cat([torch.zeros_like(x), x], dim=1)``.
        valid: which pixels are valid, default all.
        sizes: valid height and width of each image of a padded batch; pixels beyond aren't valid.
        is_probability: whether ``scores`` are probabilities.
        keep_probabilities: whether to keep the probabilities of all classes, for losses that compare distributions.
        ignore_index: label of pixels that aren't valid.

    Raises:
        ValueError: shapes don't fit each other, there is only one class, or ``ignore_index`` is a class.

    Example:
        >>> scores = torch.tensor([[[[0.9, 0.2]], [[0.1, 0.8]]]], dtype=torch.float64)
        >>> pseudo = pseudo_labels(scores, is_probability=True)
        >>> pseudo.labels.tolist(), pseudo.confidence.tolist()
        ([[[0, 1]]], [[[0.9, 0.8]]])
    """
    if scores.ndim != 4 or not scores.is_floating_point():
        raise ValueError(f"scores must be floating point of shape (B, K, H, W), got {scores.dtype} {_shape(scores)}")
    check_classes("scores", scores)
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
    """Ground truth as pseudo-labels, for labelled partners: confidence 1, not valid where ignored.

    Args:
        labels: class ids in 0 … K − 1, or ``ignore_index``, of an integer dtype.
        num_classes: K.
        keep_probabilities: as in ``pseudo_labels``; 1 for the class, all 0 where ignored.
        ignore_index: id of pixels without a class.

    Raises:
        ValueError: labels aren't integers (B, H, W), hold other ids, or ``ignore_index`` is a class.

    Example:
        >>> given_labels(torch.tensor([[[0, 3, 255]]]), num_classes=4).valid.tolist()
        [[[True, True, False]]]
    """
    check_ids("labels", labels, tuple(labels.shape) if labels.ndim == 3 else None)
    return as_pseudo("labels", labels, num_classes, keep_probabilities=keep_probabilities, ignore_index=ignore_index)


def check_ids(name: str, labels: Tensor, shape: tuple[int, ...] | None) -> None:
    """Raise ValueError unless a map holds integers and has a shape."""
    if labels.is_floating_point() or labels.is_complex():
        remedy = "read masks without a division by 255 (PILToTensor, not ToTensor), and give them as .long()"
    elif tuple(labels.shape) == shape:
        return
    elif labels.ndim == 4:
        remedy = "leave out the axis of channels, .squeeze(1) or .argmax(1)"
    elif labels.ndim == 3:
        remedy = "resize them with their images, nearest"
    else:
        remedy = "give one map per image"
    wanted = f"integer class ids of shape {shape or '(B, H, W)'}"
    raise ValueError(f"{name} must be {wanted}, got {labels.dtype} {_shape(labels)}: {remedy}")


def as_pseudo(
    name: str, labels: Int[Tensor, "b h w"], num_classes: int, *, keep_probabilities: bool = True, ignore_index: int
) -> PseudoLabels:
    """``given_labels`` of an argument of another name, whose shape is checked.

    Raises:
        ValueError: it holds ids that are no classes, or ``ignore_index`` is one.
    """
    _check_ignore(ignore_index, num_classes)
    labels = labels.long()
    valid = labels != ignore_index
    classes = torch.where(valid, labels, 0)
    if labels.numel():
        least, most = torch.stack(classes.aminmax()).tolist()
        if least < 0 or most >= num_classes:
            raise ValueError(
                f"{name} must hold class ids in 0 … {num_classes - 1}, the model's classes, or ignore_index "
                f"({ignore_index}), got {least if least < 0 else most}: map raw ids to these, or give the ignore_index "
                "of the labels"
            )
    probabilities = None
    if keep_probabilities:
        probabilities = F.one_hot(classes, num_classes).movedim(-1, 1).float() * valid[:, None]
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

    Every pixel takes all four from the image that owns it, read nearest, so they agree under scaled plans too. Pixels
    without an owner aren't valid.

    Args:
        pseudo: pseudo-labels of the pool.
        plan: who owns each output pixel; a hard plan.

    Raises:
        ValueError: the plan is soft; labels and thresholds don't blend.

    Example:
        >>> box, sizes = torch.tensor([[[0, 0, 4, 3]]]), torch.tensor([[4, 6], [4, 6]])
        >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> labels = torch.tensor([0, 1]).reshape(2, 1, 1).expand(-1, 4, 6)
        >>> mix_pseudo(given_labels(labels, num_classes=2), plan).labels[0, 0].tolist()
        [1, 1, 1, 0, 0, 0]
    """
    labels = mix_semantic(pseudo.labels, plan, ignore_index=pseudo.ignore_index)  # raises for soft plans

    def mixed(tensor: Tensor) -> Tensor:
        return mix_pixels(tensor, plan, fill=0, interpolation="nearest")

    return PseudoLabels(
        labels=labels,
        confidence=mixed(pseudo.confidence),
        valid=mixed(pseudo.valid),
        probabilities=None if pseudo.probabilities is None else mixed(pseudo.probabilities),
        ignore_index=pseudo.ignore_index,
    )


def check_classes(name: str, scores: Float[Tensor, "b k h w"]) -> None:
    """Raise ValueError unless there are two classes or more: one of a single class is always certain."""
    if scores.shape[1] < 2:
        raise ValueError(
            f"{name} must be of 2 or more classes, (B, K, H, W) with K >= 2, got {_shape(scores)}: the softmax over "
            "one class is always 1, so nothing is learned. A single logit x of a binary model becomes two by "
            "torch.cat([torch.zeros_like(x), x], dim=1), a single probability p by torch.cat([1 - p, p], dim=1)"
        )


def _check_ignore(ignore_index: int, num_classes: int) -> None:
    """Raise ValueError if ``ignore_index`` is a class."""
    if 0 <= ignore_index < num_classes:
        raise ValueError(f"ignore_index must be no class (0 … {num_classes - 1}), got {ignore_index!r}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
