"""One semi-supervised step for any training loop: the teacher sees whole images, the student mixed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.semi.consistency import Consistency
from cutmix_dense.semi.pseudo_labels import PseudoLabels, given_labels, joined, mix_pseudo, pseudo_labels
from cutmix_dense.transforms import MixTransform, SampleBank

__all__ = ["MixedConsistency", "mixed_consistency"]

Model = Callable[[Tensor], Any]
"""From images to logits (B, K, H, W) of the images' size, or to a dict with them as ``"out"``, as in torchvision."""


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
        partner_labels: ground truth of the partners instead of pseudo-labels; K comes from the teacher's logits.
        strong: the same images at the same pixels, changed in colour only, for the student; default ``images``.
        strong_partners: the same for the partners.
        valid: which pixels are valid, for images and then partners; default all.
        sizes: valid heights and widths of padded batches, for images and then partners.
        consistency: the loss, default ``Consistency.unimatch()``.
        ignore_index: label of pixels without a pseudo-label; must be that of ``mix``.
        generator: a CPU generator that makes the mix repeatable.

    Raises:
        TypeError: a model returns no logits.
        ValueError: sizes don't fit each other, the pairing is a bank, labels come without partners, logits have another
            size than the images, or the method is soft (MixUp).

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
    method: MixTransform | None = None
    if mix is not None:
        generator = call_generator(generator)
        method = mix.choose(generator)
        if isinstance(method.pairing, SampleBank):
            raise ValueError("pairing can't be a bank here, whose predictions would be old: give partners instead")
        if method.ignore_index != ignore_index:
            raise ValueError(f"ignore_index must be that of mix ({method.ignore_index}), got {ignore_index!r}")
    for name, value in (("partner_labels", partner_labels), ("strong_partners", strong_partners)):
        if value is not None and (partners is None or len(value) != len(partners)):
            raise ValueError(f"{name} must come with as many partners, got {len(value)}")
    if strong is not None and strong.shape != images.shape:
        raise ValueError(f"strong must have the images' shape {tuple(images.shape)}, got {tuple(strong.shape)}")

    labelled = partner_labels is not None
    unlabelled = images if partners is None or labelled else torch.cat([images, partners])
    with torch.no_grad():
        scores = _logits(teacher(unlabelled), unlabelled)
    options: Any = {"keep_probabilities": consistency.needs_probabilities, "ignore_index": ignore_index}
    number = len(unlabelled)
    pseudo = pseudo_labels(
        scores,
        valid=None if valid is None else valid[:number],
        sizes=None if sizes is None else sizes[:number],
        **options,
    )
    if partner_labels is not None:
        truth = partner_labels if valid is None else torch.where(valid[count:], partner_labels, ignore_index)
        pseudo = joined(pseudo, given_labels(truth, scores.shape[1], **options))

    pool = images if strong is None else strong
    if partners is not None:
        pool = torch.cat([pool, partners if strong_partners is None else strong_partners])
    if method is None:
        mixed, targets, plan = pool[:count], _first(pseudo, count), None
        moved = torch.zeros((), dtype=torch.float32, device=images.device)
    else:
        outputs = count if partners is not None else None
        plan = method.make_plan(pool, pseudo.labels, sizes=sizes, generator=generator, outputs=outputs)
        targets = mix_pseudo(pseudo, plan)
        mixed = method.mix_images(pool, plan)
        moved = 1 - plan.share()[:, 0].mean().float()
    loss, logs = consistency(_logits(student(mixed), mixed), targets)
    return MixedConsistency(loss, {**logs, "mixed": moved}, mixed, targets, plan)


def _logits(output: Any, images: Tensor) -> Tensor:
    """The logits in the output of a model."""
    logits = output["out"] if isinstance(output, dict) and "out" in output else output
    if not isinstance(logits, Tensor):
        raise TypeError(f"a model must give logits or a dict with 'out', got {type(output).__name__}")
    if logits.ndim != 4 or logits.shape[2:] != images.shape[2:]:
        raise ValueError(f"logits must be of the images' size {tuple(images.shape[2:])}, got {tuple(logits.shape)}")
    return logits


def _first(pseudo: PseudoLabels, count: int) -> PseudoLabels:
    """The pseudo-labels of the first ``count`` images."""
    probabilities = None if pseudo.probabilities is None else pseudo.probabilities[:count]
    return PseudoLabels(
        pseudo.labels[:count], pseudo.confidence[:count], pseudo.valid[:count], probabilities, pseudo.ignore_index
    )
