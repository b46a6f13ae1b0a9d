"""One semi-supervised step for any training loop: the teacher sees whole images, the student mixed ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.plan import MixPlan
from cutmix_dense.semi.consistency import Consistency
from cutmix_dense.semi.parts import Chance, Model, check_strong, chosen, first, logits_of, mixed_pool, taught
from cutmix_dense.semi.pseudo_labels import PseudoLabels, as_pseudo, check_ids, joined
from cutmix_dense.transforms import MixTransform


class MixedConsistency(NamedTuple):
    """The result of ``mixed_consistency``.

    Attributes:
        loss: the consistency loss, to be weighed and added to the supervised loss.
        logs: scalars without gradients: ``confident`` and ``valid`` (see ``Consistency``), and ``mixed``, the share of
            pixels that don't show their own image.
        images: the mixed images of the student.
        pseudo: the mixed pseudo-labels.
        plan: the plan that mixed both; None without mixing.
    """

    loss: Float[Tensor, ""]
    logs: dict[str, Tensor]
    images: Float[Tensor, "b c h w"]
    pseudo: PseudoLabels
    plan: MixPlan | None


def mixed_consistency(
    student: Model,
    teacher: Model,
    images: Float[Tensor, "b c h w"],
    mix: MixTransform | None,
    *,
    partners: Float[Tensor, "p c h w"] | None = None,
    partner_labels: Int[Tensor, "p h w"] | None = None,
    strong: Float[Tensor, "b c h w"] | None = None,
    strong_partners: Float[Tensor, "p c h w"] | None = None,
    valid: Bool[Tensor, "n h w"] | None = None,
    sizes: Int[Tensor, "n 2"] | None = None,
    p: Chance = None,
    consistency: Consistency | None = None,
    ignore_index: int = 255,
    generator: torch.Generator | None = None,
) -> MixedConsistency:
    """Consistency of a student on mixed unlabelled images with a teacher on the unmixed ones.

    The teacher predicts whole images; one plan mixes images and pseudo-labels alike. With ``partners``, every image is
    mixed with one of them, in order, as French et al. and UniMatch mix two unlabelled batches: use this to train with
    one image per GPU. Without, the transform's pairing applies, and a single image stays unmixed (see
    ``logs["mixed"]``).

    Args:
        student: gets the mixed images.
        teacher: gets the unmixed images, without gradients; a ``MeanTeacher``, or the student itself.
        images: unlabelled, normalised, weakly augmented.
        mix: any hard method, such as ``CutMix(region=AreaBox.french(), p=1.0)``, ``CowMix(p=1.0)``, ``ClassMix()``
            (which looks at the pseudo-labels), ``Cutout()``, or a ``RandomMix`` of them; None: no mixing (mean
            teacher).
        partners: a second batch, unlabelled unless ``partner_labels`` are given.
        partner_labels: ground truth of the partners instead of pseudo-labels: integer ids in 0 … K − 1 or
            ``ignore_index``; K comes from the teacher's logits.
        strong: the same images at the same pixels, changed in colour only, for the student; default ``images``.
        strong_partners: the same for the partners.
        valid: which pixels are valid, for images and then partners; default all.
        sizes: valid heights and widths of padded batches, for images and then partners.
        p: probability that each image is mixed, (B,), or a function that gets their pseudo-labels with all
            probabilities and returns it, such as ``certainty``; default the transform's.
        consistency: the loss, default ``Consistency.unimatch()``.
        ignore_index: label of pixels without a pseudo-label; must be that of ``mix``.
        generator: a CPU generator that makes the mix repeatable.

    Raises:
        TypeError: a model returns no logits.
        ValueError: sizes don't fit each other, the mix is a ``Chain``, the pairing is a bank, labels come without
            partners or aren't ids of the model's classes, logits have another size than the images, or the method is
            soft (MixUp).

    Example:
        >>> import cutmix_dense as cd
        >>> student = torch.nn.Conv2d(3, 4, kernel_size=1)
        >>> mix = cd.CutMix(region=cd.regions.AreaBox(area=(0.25, 0.25), aspect=(1, 1)), p=1.0)
        >>> step = mixed_consistency(student, student, torch.rand(2, 3, 32, 48), mix)
        >>> step.loss.requires_grad, float(step.logs["mixed"])
        (True, 0.25)
    """
    consistency = Consistency.unimatch() if consistency is None else consistency
    count = len(images)
    method, generator = chosen(mix, ignore_index, generator)
    for name, value in (("partner_labels", partner_labels), ("strong_partners", strong_partners)):
        if value is not None and (partners is None or len(value) != len(partners)):
            raise ValueError(f"{name} must come with as many partners, got {len(value)}")
    check_strong(images, strong)
    if partners is not None:
        for name, value in (("partners", partners), ("strong_partners", strong_partners)):
            if value is not None and value.shape[1:] != images.shape[1:]:
                raise ValueError(
                    f"{name} must be of the images' size {tuple(images.shape[1:])}, got {tuple(value.shape[1:])}: crop "
                    "or pad them alike, with sizes= for what is valid"
                )
        if partner_labels is not None:
            check_ids("partner_labels", partner_labels, (len(partners), *images.shape[2:]))

    labelled = partner_labels is not None
    unlabelled = images if partners is None or labelled else torch.cat([images, partners])
    kept = consistency.needs_probabilities or callable(p)
    options: Any = {"keep_probabilities": kept, "ignore_index": ignore_index}
    pseudo, classes = taught(teacher, unlabelled, valid=valid, sizes=sizes, **options)
    chance = p(first(pseudo, count)) if callable(p) else p
    if partner_labels is not None:
        truth = partner_labels.long()
        truth = truth if valid is None else torch.where(valid[count:], truth, ignore_index)
        pseudo = joined(pseudo, as_pseudo("partner_labels", truth, classes, **options))

    pool = images if strong is None else strong
    if partners is not None:
        pool = torch.cat([pool, partners if strong_partners is None else strong_partners])
    mixed = mixed_pool(method, pool, pseudo, count, p=chance, sizes=sizes, generator=generator)
    loss, logs = consistency(logits_of(student(mixed.images), mixed.images), mixed.pseudo)
    return MixedConsistency(loss, {**logs, "mixed": mixed.moved}, mixed.images, mixed.pseudo, mixed.plan)
