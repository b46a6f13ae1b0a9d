"""Mix one sample with given partners: what a loader's pipeline does, one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.functional import MixReport
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.transforms.bank import SampleBank
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.fit import PartnerFit, draw_fitted
from cutmix_dense.transforms.pool import detection_targets

__all__ = ["SingleMix", "mix_single"]


@dataclass(frozen=True)
class SingleMix:
    """A mixed sample.

    Attributes:
        transform: the method that mixed: of several, the one that was drawn.
        image: the mixed image (C, H, W), clip or volume.
        targets: of the one sample, in the form they came in.
        plan: of one output; under a region that moves over a clip, of one per frame.
        report: what became of the instances; None without detection targets, or if none was asked for.
    """

    transform: MixTransform
    image: Tensor
    targets: Any
    plan: MixPlan
    report: MixReport | None

    @property
    def mixed(self) -> bool:
        """Whether the plan has any layer besides the base."""
        return bool((self.plan.source[:, 1:] >= 0).any())


def mix_single(
    transform: MixTransform,
    images: Sequence[Tensor],
    targets: Any,
    generator: torch.Generator,
    *,
    report: bool = True,
    partner_fit: PartnerFit = "crop",
) -> SingleMix:
    """Mix the first image with the others, which are its partners in order.

    Args:
        transform: the method; its pairing is not used, it must not be a bank.
        images: the base (C, H, W), then its partners; without any the base stays unmixed.
        targets: of all of them, as for the transform's call; one list of dicts at most.
        generator: makes the plan; the same one gives ``choose(generator).make_plan(..., outputs=1)`` the same plan,
            where partners aren't fitted.
        report: whether to say what became of the instances.
        partner_fit: how partners of another size than the base's are mixed, see ``fit.PartnerFit``; for images alone.

    Raises:
        TypeError, ValueError: as the transform's call.
    """
    member = transform.choose(generator)
    if isinstance(member.pairing, SampleBank):
        raise ValueError("pairing with a bank draws plans over batch and bank: call the transform itself")
    # make_plan and apply_plan would each check the images
    pool = member.pool_of(list(images), targets, outputs=1)
    plan = draw_fitted(member, pool, partner_fit, call_generator(generator))
    reports = report and detection_targets(targets) is not None
    result = member.mix_pool(plan, pool, return_report=reports)
    return SingleMix(member, result[0][0], result[1], plan, result[2] if reports else None)
