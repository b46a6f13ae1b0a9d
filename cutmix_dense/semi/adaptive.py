"""How sure a teacher is of an image, and AugSeg: labelled pixels pasted into the images that it is unsure of."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST
from cutmix_dense.randomness import call_generator
from cutmix_dense.regions import BetaBox
from cutmix_dense.semi.consistency import Consistency
from cutmix_dense.semi.parts import Model, check_strong, chosen, logits_of, mixed_pool, taught
from cutmix_dense.semi.pseudo_labels import PseudoLabels, as_pseudo, check_classes, check_ids, joined
from cutmix_dense.semi.step import MixedConsistency
from cutmix_dense.transforms import CutMix, MixTransform


def certainty(pseudo: PseudoLabels) -> Float[Tensor, " b"]:
    """How sure the teacher is of each image, in [0, 1]: the mean of (1 − entropy / log K) · confidence.

    Over the valid pixels; 0 for an image without any. Use it as the ``p`` of ``mixed_consistency``, or 1 minus it.

    Args:
        pseudo: with the probabilities of all K >= 2 classes.

    Raises:
        ValueError: probabilities aren't kept.

    Source: Zhao et al., AugSeg (2023), ``train_semi.py``, lines 331 to 335.

    Example:
        >>> from cutmix_dense.semi import pseudo_labels
        >>> scores = torch.tensor([[9.0, -9.0], [0.0, 0.0]]).reshape(2, 2, 1, 1).expand(-1, -1, 4, 6)
        >>> certainty(pseudo_labels(scores)).round(decimals=2).tolist()
        [1.0, 0.0]
    """
    probabilities = pseudo.probabilities
    if probabilities is None:
        raise ValueError(
            "probabilities must be kept for certainty, got None: pseudo_labels(…, keep_probabilities=True)"
        )
    entropy = -torch.special.xlogy(probabilities, probabilities).sum(dim=1) / math.log(probabilities.shape[1])
    sure = (1 - entropy).clamp(0, 1) * pseudo.confidence * pseudo.valid
    return sure.sum(dim=(1, 2)) / pseudo.valid.sum(dim=(1, 2)).clamp(min=1)


def agreement(
    student: Float[Tensor, "b k h w"],
    teacher: Float[Tensor, "b k h w"],
    *,
    threshold: float = 0.95,
    background: int | None = 0,
) -> Float[Tensor, " b"]:
    """How well student and teacher agree on each image, in [0, 1]: iMAS's hardness, which is high for easy images.

    The mean of two products: the IoU of both predictions, its classes weighed by their pixels in the teacher's, times
    the share of pixels that the teacher is sure of; and the same with the student's.

    Args:
        student: its logits on the weakly augmented images, of K >= 2 classes.
        teacher: its logits on the same.
        threshold: the probability from which a pixel counts as sure, in [0, 1]; 0.95 unless the config says otherwise.
        background: a class in 0 … K − 1 that the weights leave out; None: none.

    iMAS mixes a batch with 0.8 times its mean as probability (``cut_mix_by_hardness_for_prob``), or each image:
    ``p=0.8 * agreement(…)``.

    Raises:
        ValueError: the shapes differ, there is only one class, ``threshold`` isn't a probability, or ``background`` no
            class.

    Source: Zhao et al., iMAS (2023), ``imas/utils/loss_helper.py``, lines 335 to 346 and 393 to 419 (``hardness_v1``);
    ``imas/dataset/cutmix_tensor.py``, lines 194 to 232.

    Example:
        >>> logits = torch.tensor([0.0, 20.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 6)
        >>> agreement(logits, logits).tolist(), agreement(-logits, logits).tolist()
        ([1.0], [0.0])
    """
    if student.shape != teacher.shape or student.ndim != 4:
        raise ValueError(f"student and teacher must be logits of one shape, got {[*student.shape]}, {[*teacher.shape]}")
    check_classes("student and teacher", student)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be a probability in [0, 1], not in percent, got {threshold!r}")
    if background is not None and not 0 <= background < student.shape[1]:
        raise ValueError(
            f"background must be a class in 0 … {student.shape[1] - 1}, or None for none, got {background!r}: an "
            "ignore_index is no class of the logits"
        )
    (ours, said), (theirs, taught_) = (
        logits.detach().float().softmax(dim=1).max(dim=1) for logits in (student, teacher)
    )
    classes = student.shape[1]
    table = _confusion(said, taught_, classes)
    rows, columns, hits = table.sum(dim=2), table.sum(dim=1), table.diagonal(dim1=1, dim2=2)
    iou = hits / (rows + columns - hits).clamp(min=1)
    total = torch.zeros(len(student), dtype=torch.float32, device=student.device)
    for counts, sure in ((rows, theirs), (columns, ours)):
        weights = counts.clone()
        if background is not None:
            weights[:, background] = 0
        mean = (iou * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        total = total + mean * (sure >= threshold).float().mean(dim=(1, 2))
    return total / 2


def adaptive_consistency(
    student: Model,
    teacher: Model,
    images: Float[Tensor, "b c h w"],
    labelled: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n h w"],
    *,
    inject: MixTransform | None = None,
    mix: MixTransform | None = None,
    strong: Float[Tensor, "b c h w"] | None = None,
    consistency: Consistency | None = None,
    ignore_index: int = 255,
    generator: torch.Generator | None = None,
) -> MixedConsistency:
    """AugSeg's adaptive CutMix: images that the teacher is unsure of get labelled pixels before they are pasted.

    First, a labelled image is pasted into each unlabelled one with the probability 1 − ``certainty``. Then every
    unlabelled image is mixed with one of the results.

    Args:
        student: gets the mixed images.
        teacher: gets the unmixed ones, without gradients.
        images: unlabelled, normalised, weakly augmented.
        labelled: labelled images of the same size, chosen in a drawn order, again if they are too few.
        labels: their class ids, integers in 0 … K − 1 or ``ignore_index``; K comes from the teacher's logits.
        inject: how labelled pixels are pasted, default ``CutMix(region=BetaBox(8, 2))``; its ``p`` isn't used.
        mix: how the results are pasted, default ``CutMix(region=BetaBox(4), p=1.0)``.
        strong: the same images at the same pixels, changed in colour only, for the student; default ``images``.
        consistency: the loss, default ``Consistency.augseg()``.
        ignore_index: label of pixels without a class; must be that of both transforms.
        generator: a CPU generator that makes the mixes repeatable.

    Returns:
        As ``mixed_consistency``; ``plan`` is that of the second mix, over the images and then the results of the first.
        Logs also have ``certainty``, its mean, and ``injected``, the share of pixels that the first mix replaced.

    Differences to the authors' code: every image draws its own λ, boxes are centred anywhere, not beyond an eighth of
    the sides, and labelled and unlabelled partners are drawn apart. As there, an image may be pasted into itself.

    Raises:
        TypeError: a model returns no logits.
        ValueError: sizes don't fit each other, there is no labelled image, labels aren't ids of the model's classes, or
            a transform doesn't fit.

    Source: Zhao et al., AugSeg (2023), ``augseg/dataset/augs_ALIA.py``, lines 42 to 79; ``train_semi.py``, lines 329 to
    352.

    Example:
        >>> student, images = torch.nn.Conv2d(3, 4, kernel_size=1), torch.rand(2, 3, 32, 48)
        >>> labelled, labels = torch.rand(2, 3, 32, 48), torch.ones(2, 32, 48).long()
        >>> step = adaptive_consistency(student, student, images, labelled, labels)
        >>> step.loss.requires_grad, float(step.logs["certainty"]) < 0.5, float(step.logs["injected"]) >= 0
        (True, True, True)
    """
    consistency = Consistency.augseg() if consistency is None else consistency
    if labelled.shape[1:] != images.shape[1:] or not len(labelled) or len(labelled) != len(labels):
        raise ValueError(
            f"labelled must be one or more images of the unlabelled ones' size {tuple(images.shape[1:])} with as many "
            f"labels, got {tuple(labelled.shape)} and {tuple(labels.shape)}"
        )
    check_ids("labels", labels, (len(labelled), *images.shape[2:]))
    check_strong(images, strong)
    generator = call_generator(generator)
    inject = CutMix(region=BetaBox(8.0, 2.0), ignore_index=ignore_index) if inject is None else inject
    mix = CutMix(region=BetaBox(4.0), p=1.0, ignore_index=ignore_index) if mix is None else mix
    (paste, _), (method, _) = (chosen(one, ignore_index, generator) for one in (inject, mix))
    count = len(images)
    pseudo, classes = taught(
        teacher, images, valid=None, sizes=None, keep_probabilities=True, ignore_index=ignore_index
    )
    sure = certainty(pseudo)
    truth = as_pseudo("labels", labels, classes, ignore_index=ignore_index)
    own = images if strong is None else strong

    order = torch.randperm(len(labelled), generator=generator, device=HOST).tolist()
    order = [order[index % len(order)] for index in range(count)]
    both = joined(pseudo, _rows(truth, order))
    injected = mixed_pool(paste, torch.cat([own, labelled[order]]), both, count, p=1 - sure, generator=generator)

    order = torch.randperm(count, generator=generator, device=HOST).tolist()
    both = joined(pseudo, _rows(injected.pseudo, order))
    mixed = mixed_pool(method, torch.cat([own, injected.images[order]]), both, count, generator=generator)
    loss, logs = consistency(logits_of(student(mixed.images), mixed.images), mixed.pseudo)
    logs = {**logs, "mixed": mixed.moved, "certainty": sure.mean(), "injected": injected.moved}
    return MixedConsistency(loss, logs, mixed.images, mixed.pseudo, mixed.plan)


def _confusion(said: Int[Tensor, "b h w"], true: Int[Tensor, "b h w"], classes: int) -> Float[Tensor, "b k k"]:
    """Pixels of each image by the class of ``true`` (rows) and of ``said`` (columns)."""
    batch = len(said)
    image = torch.arange(batch, device=said.device)[:, None]
    cell = (image * classes + true.flatten(1)) * classes + said.flatten(1)
    counts = torch.bincount(cell.flatten(), minlength=batch * classes * classes)
    return counts.reshape(batch, classes, classes).to(torch.float32)


def _rows(pseudo: PseudoLabels, order: list[int]) -> PseudoLabels:
    """Pseudo-labels in another order."""
    probabilities = None if pseudo.probabilities is None else pseudo.probabilities[order]
    return PseudoLabels(
        pseudo.labels[order], pseudo.confidence[order], pseudo.valid[order], probabilities, pseudo.ignore_index
    )
