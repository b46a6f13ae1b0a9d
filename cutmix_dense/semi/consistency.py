"""Consistency losses between a student and pseudo-labels: which pixels count, how much, and divided by what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.semi.pseudo_labels import PseudoLabels, check_classes

Distance = Literal["cross_entropy", "squared", "soft_cross_entropy"]
"""How student and teacher are compared at a pixel; see ``Consistency``."""
Threshold = Literal["pixel", "batch"]
"""How confidence weighs pixels; see ``Consistency``."""
Denominator = Literal["valid", "all", "confident"]
"""What the sum over pixels is divided by; see ``Consistency``."""


@dataclass(frozen=True)
class Consistency:
    """Consistency loss between a student's logits and pseudo-labels: Σ distance · weight / denominator.

    ``french``, ``classmix``, ``unimatch`` and ``augseg`` are the published presets.

    Args:
        distance: at a pixel,
            ``"cross_entropy"``: −log p(label) of the student (UniMatch, ClassMix);
            ``"squared"``: Σ over classes (p_student − p_teacher)² (French et al.);
            ``"soft_cross_entropy"``: −Σ p_teacher · log p_student.
        threshold: in [0, 1]; a pixel is confident if its confidence >= threshold. 0 makes every pixel confident.
        threshold_mode: ``"pixel"``: confident pixels count 1, others 0 (UniMatch). ``"batch"``: every valid pixel
            counts by the share of confident pixels (French et al., ClassMix): among all pixels if ``denominator`` is
            ``"all"``, as the authors do, else among the valid ones.
        denominator: ``"valid"``: all valid pixels, so that an unsure teacher teaches little (UniMatch). ``"all"``:
            every pixel, valid or not (the mean of French et al. and ClassMix). ``"confident"``: the valid and confident
            pixels, so that a few weigh as much as many.

    Pixels that aren't valid never count. Pixels without an owner after a mix (Cutout) aren't valid; French et al. leave
    them out too. Their confidence is 0, so ``"batch"`` with ``"all"`` lowers the share, unlike the authors' code; use
    the denominator ``"valid"`` to compare pasting with erasing at equal weight.

    Raises:
        ValueError: a name is unknown, or the threshold lies outside of [0, 1].

    Example:
        >>> from cutmix_dense.semi import pseudo_labels
        >>> teacher = torch.tensor([4.0, -4.0]).reshape(1, 2, 1, 1).expand(-1, -1, 2, 3)
        >>> loss, logs = Consistency.unimatch()(teacher, pseudo_labels(teacher))
        >>> round(float(loss), 4), float(logs["confident"])
        (0.0003, 1.0)
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

        All their published commands use the threshold 0.97; ClassMix uses 0.968.

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
        """UniMatch (2023): cross-entropy of confident pixels over the number of valid ones.

        The authors use the threshold 0.95 for VOC, and 0 for Cityscapes: every valid pixel counts.

        Source: UniMatch, ``unimatch.py`` (``loss_u_s1``).
        """
        return cls("cross_entropy", threshold, "pixel", "valid")

    @classmethod
    def augseg(cls, threshold: float = 0.95) -> Consistency:
        """AugSeg (2023): cross-entropy of confident pixels, averaged over all pixels.

        The authors use the threshold 0.95 for VOC; for Cityscapes every pixel counts (``threshold=0``).

        Source: AugSeg, ``augseg/utils/loss_helper.py``, lines 310 to 315; the threshold of
        ``exps/zrun_vocs/r50_voc_semi662/config_semi.yaml``, line 52, and ``exps/zrun_citys/citys_semi744``, line 51.
        """
        return cls("cross_entropy", threshold, "pixel", "all")

    @property
    def needs_probabilities(self) -> bool:
        """Whether pseudo-labels must hold the probabilities of all classes."""
        return self.distance != "cross_entropy"

    def __call__(
        self, logits: Float[Tensor, "b k h w"], pseudo: PseudoLabels
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss, and numbers to log.

        Args:
            logits: the student's logits on the mixed images, of K >= 2 classes.
            pseudo: the mixed pseudo-labels.

        Returns:
            A scalar, 0 if no pixel counts; and, without gradients, ``{"confident": share of the valid pixels that are
            confident, "valid": share of all pixels that are valid}``.

        Raises:
            ValueError: sizes don't fit, there is only one class, or the distance needs probabilities that ``pseudo``
                lacks.
        """
        if tuple(logits.shape[2:]) != tuple(pseudo.labels.shape[1:]) or len(logits) != len(pseudo):
            raise ValueError(
                f"logits must be of the pseudo-labels' {len(pseudo)} images of {tuple(pseudo.labels.shape[1:])} "
                f"pixels, got {tuple(logits.shape)}"
            )
        check_classes("logits", logits)
        if logits.dtype in (torch.float16, torch.bfloat16):  # too coarse for a sum over pixels
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
        """The distance at every pixel."""
        if self.distance == "cross_entropy":
            return F.cross_entropy(logits, pseudo.labels, ignore_index=pseudo.ignore_index, reduction="none")
        if pseudo.probabilities is None:
            raise ValueError(f"probabilities must be kept for the distance {self.distance!r}, got None")
        target = pseudo.probabilities.to(logits.dtype)
        if self.distance == "squared":
            return (logits.softmax(dim=1) - target).square().sum(dim=1)
        return -(target * logits.log_softmax(dim=1)).sum(dim=1)
