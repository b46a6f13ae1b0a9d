"""Losses that ask a student for what its teacher said: which pixels count, how much, and divided by what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.semi.pseudo_labels import PseudoLabels

__all__ = ["Consistency", "Denominator", "Distance", "Threshold"]

Distance = Literal["cross_entropy", "squared", "soft_cross_entropy"]
"""How student and teacher are compared at a pixel, see ``Consistency``."""
Threshold = Literal["pixel", "batch"]
"""What the share of confident pixels does, see ``Consistency``."""
Denominator = Literal["valid", "all", "confident"]
"""What the sum over pixels is divided by, see ``Consistency``."""


@dataclass(frozen=True)
class Consistency:
    """Consistency loss between a student's logits and pseudo-labels; Σ distance · weight / denominator.

    Presets are the published ones: ``french``, ``classmix``, ``unimatch``.

    Args:
        distance: at a pixel,
            ``"cross_entropy"``: −log p(label) of the student (UniMatch, ClassMix);
            ``"squared"``: Σ over classes (p_student − p_teacher)² (French et al.);
            ``"soft_cross_entropy"``: −Σ p_teacher · log p_student.
        threshold: a pixel is confident if its confidence >= threshold, in [0, 1]; 0 makes every pixel confident.
        threshold_mode: ``"pixel"``: confident pixels count 1, others 0 (UniMatch). ``"batch"``: every valid pixel
            counts by the share of confident pixels (French et al., ClassMix). The share is taken over the pixels of the
            denominator: over all of them for ``"all"``, as the authors do, else over the valid ones.
        denominator: ``"valid"``: the valid pixels, confident or not, so that a teacher that is unsure teaches little
            (UniMatch). ``"all"``: every pixel, valid or not (the mean of French et al. and ClassMix). ``"confident"``:
            the valid and confident pixels, so that few of them weigh as much as many.

    Pixels that aren't valid never count. Pixels that nobody owns after a mix (Cutout) aren't valid: French et al. leave
    them out of the loss too. They hold no confidence, so under ``"batch"`` with ``"all"`` they lower the share, which
    in the authors' code they don't; use the denominator ``"valid"`` to compare pasting with erasing at equal weight.

    Raises:
        ValueError: a name that isn't known, a threshold outside of [0, 1].
    """

    distance: Distance = "cross_entropy"
    threshold: float = 0.95
    threshold_mode: Threshold = "pixel"
    denominator: Denominator = "valid"

    def __post_init__(self) -> None:
        choices: dict[str, Any] = {"distance": Distance, "threshold_mode": Threshold, "denominator": Denominator}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {get_args(allowed)}, got {getattr(self, name)!r}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {self.threshold!r}")

    @classmethod
    def french(cls, threshold: float = 0.97) -> Consistency:
        """French et al. (2020): squared differences of probabilities, weighted by the share of confident pixels.

        0.97 is the threshold of all their published commands; 0.968 is ClassMix's.

        Source: cutmix-semisup-seg, ``train_seg_semisup_mask_mt.py`` (``cons_loss_fn='var'``, ``conf_per_pixel=False``).
        """
        return cls("squared", threshold, "batch", "all")

    @classmethod
    def classmix(cls, threshold: float = 0.968) -> Consistency:
        """ClassMix (2021): cross-entropy, weighted by the share of confident pixels.

        Source: ClassMix, ``trainSSL.py`` (``pixel_weight='threshold_uniform'``, ``consistency_loss='CE'``).
        """
        return cls("cross_entropy", threshold, "batch", "all")

    @classmethod
    def unimatch(cls, threshold: float = 0.95) -> Consistency:
        """UniMatch (2023): cross-entropy of confident pixels over the number of valid ones; 0.95 for VOC.

        For Cityscapes the authors set the threshold to 0: every valid pixel counts.

        Source: UniMatch, ``unimatch.py`` (``loss_u_s1``).
        """
        return cls("cross_entropy", threshold, "pixel", "valid")

    @property
    def needs_probabilities(self) -> bool:
        """Whether pseudo-labels must hold all probabilities."""
        return self.distance != "cross_entropy"

    def __call__(
        self, logits: Float[Tensor, "b k h w"], pseudo: PseudoLabels
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss, and numbers to log.

        Args:
            logits: the student's, of the mixed images.
            pseudo: the mixed pseudo-labels.

        Returns:
            A scalar, 0 if no pixel counts; and ``{"confident": share of the valid pixels that are confident,
            "valid": share of all pixels that are valid}``, without gradients.

        Raises:
            ValueError: sizes that don't fit; probabilities that were not kept.
        """
        if tuple(logits.shape[2:]) != tuple(pseudo.labels.shape[1:]) or len(logits) != len(pseudo):
            raise ValueError(
                f"logits must be of the pseudo-labels' {len(pseudo)} images of {tuple(pseudo.labels.shape[1:])} "
                f"pixels, got {tuple(logits.shape)}"
            )
        if logits.dtype in (torch.float16, torch.bfloat16):  # a sum over pixels needs more
            logits = logits.float()
        valid = pseudo.valid
        sure = pseudo.confidence >= self.threshold
        counted = sure & valid
        everything = valid.new_full((), valid.numel(), dtype=torch.long)
        number = {"valid": valid.sum(), "all": everything, "confident": counted.sum()}
        number = {name: value.float() for name, value in number.items()}
        if self.threshold_mode == "pixel":
            weight = counted.to(logits.dtype)
        else:
            over_all = self.denominator == "all"
            share = (sure if over_all else counted).sum() / number["all" if over_all else "valid"].clamp(min=1)
            weight = valid.to(logits.dtype) * share.to(logits.dtype)
        loss = (self._distance(logits, pseudo) * weight).sum() / number[self.denominator].clamp(min=1)
        confident = number["confident"] / number["valid"].clamp(min=1)
        return loss, {"confident": confident, "valid": number["valid"] / number["all"].clamp(min=1)}

    def _distance(self, logits: Float[Tensor, "b k h w"], pseudo: PseudoLabels) -> Float[Tensor, "b h w"]:
        if self.distance == "cross_entropy":
            return F.cross_entropy(logits, pseudo.labels, ignore_index=pseudo.ignore_index, reduction="none")
        if pseudo.probabilities is None:
            raise ValueError(f"probabilities must be kept for the distance {self.distance!r}, got None")
        target = pseudo.probabilities.to(logits.dtype)
        if self.distance == "squared":
            return (logits.softmax(dim=1) - target).square().sum(dim=1)
        return -(target * logits.log_softmax(dim=1)).sum(dim=1)
