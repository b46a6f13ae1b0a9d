"""Mix one sample with given partners, for pipelines that see one image at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from cutmix_dense.transforms.frames import detection_targets
from cutmix_dense.transforms.pool import Pool
from cutmix_dense.transforms.without_panoptic import refuse_panoptic


@dataclass(frozen=True)
class SingleMix:
    """A mixed sample.

    Attributes:
        transform: the method that mixed; the one that was drawn from several.
        image: the mixed image (C, H, W), clip or volume.
        targets: targets of this sample, in their original form.
        plan: a plan of one output, or of one per frame if the region moves over a clip.
        report: what happened to the instances; None without detection targets, or if not asked for.
        pool: the images and targets that the plan draws from: base and partners, or base and cut-outs of a bank.
    """

    transform: MixTransform
    image: Tensor
    targets: Any
    plan: MixPlan
    report: MixReport | None
    pool: Pool

    @property
    def mixed(self) -> bool:
        """Whether the plan has a layer besides the base."""
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
        transform: the method; its pairing isn't used and must not be a bank.
        images: the base (C, H, W), then its partners; without any, the base stays unmixed.
        targets: targets of all images, as for the transform's call; at most one list of dicts.
        generator: source of the plan, the same as that of ``choose(generator).make_plan(..., outputs=1)`` if no partner
            is fitted.
        report: whether to report what happened to the instances.
        partner_fit: how partners of another size are fitted, see ``fit.PartnerFit``; for images only.

    A bank of cut-outs is drawn from, and the partners aren't looked at.

    Raises:
        TypeError, ValueError: as for the transform's call.
    """
    refuse_panoptic(transform, targets)
    member = transform.choose(generator)
    if isinstance(member.pairing, SampleBank):
        raise ValueError("pairing with a bank draws plans over batch and bank: call the transform itself")
    generator = call_generator(generator)
    # make_plan and apply_plan would each check the images
    if member.banked:  # by cut-outs
        own = member.pool_of(list(images[:1]), _first(targets), outputs=1)
        drawn, pool = member.joined(own, None, generator)
        plan = member.draw_plan(drawn, generator)
    else:
        pool = member.pool_of(list(images), targets, outputs=1)
        plan = draw_fitted(member, pool, partner_fit, generator)
    reports = report and detection_targets(targets) is not None
    result = member.mix_pool(plan, pool, return_report=reports)
    return SingleMix(member, result[0][0], result[1], plan, result[2] if reports else None, pool)


def _first(targets: Any) -> Any:
    """The targets of the first image."""
    return {key: _first(value) for key, value in targets.items()} if isinstance(targets, Mapping) else targets[:1]
