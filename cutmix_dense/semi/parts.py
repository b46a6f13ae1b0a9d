"""What the steps on semantic maps share: asking the teacher, mixing images with pseudo-labels, reading logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.semi.pseudo_labels import PseudoLabels, mix_pseudo, pseudo_labels
from cutmix_dense.transforms import MixTransform, SampleBank
from cutmix_dense.transforms.chain import refuse_affine, refuse_chain

Model = Callable[[Tensor], Any]
"""From images to logits (B, K, H, W) of the images' size, or to a dict with them as ``"out"``, as in torchvision."""

Chance = Float[Tensor, " b"] | Callable[[PseudoLabels], Float[Tensor, " b"]] | None
"""The probability that each image is mixed: numbers, a function of the teacher's pseudo-labels, or the transform's."""


class MixedPool(NamedTuple):
    """Mixed images, their pseudo-labels, the plan (None without mixing), and the share of pixels that moved."""

    images: Float[Tensor, "b c h w"]
    pseudo: PseudoLabels
    plan: MixPlan | None
    moved: Float[Tensor, ""]


def chosen(
    mix: MixTransform | None, ignore_index: int, generator: torch.Generator | None
) -> tuple[MixTransform | None, torch.Generator | None]:
    """The transform that mixes, and the generator of its draws; nothing is drawn without one.

    Raises:
        ValueError: it is a chain, pairs with a bank, or has another ``ignore_index``.
    """
    if mix is None:
        return None, generator
    refuse_chain(mix, "pseudo-labels of maps")
    refuse_affine(mix, "pseudo-labels of maps")
    generator = call_generator(generator)
    method = mix.choose(generator)
    if isinstance(method.pairing, SampleBank):
        raise ValueError("pairing can't be a bank here, whose predictions would be old: give partners instead")
    if method.ignore_index != ignore_index:
        raise ValueError(f"ignore_index must be that of mix ({method.ignore_index}), got {ignore_index!r}")
    return method, generator


def check_strong(images: Tensor, strong: Tensor | None) -> None:
    """Raise ValueError unless a strong view has the images' shape."""
    if strong is not None and strong.shape != images.shape:
        raise ValueError(f"strong must have the images' shape {tuple(images.shape)}, got {tuple(strong.shape)}")


def taught(
    teacher: Model,
    images: Float[Tensor, "n c h w"],
    *,
    valid: Bool[Tensor, "m h w"] | None,
    sizes: Int[Tensor, "m 2"] | None,
    **options: Any,
) -> tuple[PseudoLabels, int]:
    """A teacher's pseudo-labels, without gradients, and the number of classes.

    Args:
        teacher: gets the unmixed images.
        images: those that it labels; the first of a pool.
        valid: which pixels are valid, of the whole pool.
        sizes: valid sizes, of the whole pool.
        options: of ``pseudo_labels``.
    """
    with torch.no_grad():
        scores = logits_of(teacher(images), images)
    number = len(images)
    pseudo = pseudo_labels(
        scores,
        valid=None if valid is None else valid[:number],
        sizes=None if sizes is None else sizes[:number],
        **options,
    )
    return pseudo, scores.shape[1]


def mixed_pool(
    method: MixTransform | None,
    pool: Float[Tensor, "n c h w"],
    pseudo: PseudoLabels,
    count: int,
    *,
    p: Float[Tensor, " b"] | None = None,
    sizes: Int[Tensor, "n 2"] | None = None,
    generator: torch.Generator | None = None,
) -> MixedPool:
    """The first ``count`` images of a pool, mixed with their pseudo-labels by one plan.

    Those behind them are their partners, in order; without any, the transform pairs the images.
    """
    if method is None:
        return MixedPool(
            pool[:count], first(pseudo, count), None, torch.zeros((), dtype=torch.float32, device=pool.device)
        )
    outputs = count if count < len(pool) else None
    plan = method.make_plan(pool, pseudo.labels, sizes=sizes, generator=generator, outputs=outputs, p=p)
    mixed = mix_pseudo(pseudo, plan)
    return MixedPool(method.mix_images(pool, plan), mixed, plan, 1 - plan.share()[:, 0].mean().float())


def logits_of(output: Any, images: Tensor) -> Float[Tensor, "b k h w"]:
    """The logits in the output of a model.

    Raises:
        TypeError: there are none.
        ValueError: they are of another size than the images.
    """
    logits = output["out"] if isinstance(output, dict) and "out" in output else output
    if not isinstance(logits, Tensor):
        raise TypeError(f"a model must give logits or a dict with 'out', got {type(output).__name__}")
    if logits.ndim != 4 or logits.shape[2:] != images.shape[2:]:
        raise ValueError(f"logits must be of the images' size {tuple(images.shape[2:])}, got {tuple(logits.shape)}")
    return logits


def first(pseudo: PseudoLabels, count: int) -> PseudoLabels:
    """The pseudo-labels of the first ``count`` images."""
    probabilities = None if pseudo.probabilities is None else pseudo.probabilities[:count]
    return PseudoLabels(
        pseudo.labels[:count], pseudo.confidence[:count], pseudo.valid[:count], probabilities, pseudo.ignore_index
    )
