"""Mix semantic maps by a plan; ids move and never blend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from cutmix_dense.arrays.blocks import block_of, spatial
from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import sent
from cutmix_dense.checks import whole
from cutmix_dense.functional.pixels import mix_pixels
from cutmix_dense.functional.rules import SoftSemantic
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import of_ids, shared_weights

Maps = TypeVar("Maps", bound="Tensor | list[Tensor]")


def mix_semantic(maps: Maps, plan: MixPlan, *, ignore_index: int = 255, inplace: bool = False) -> Maps:
    """Mix maps of class ids by the plan that mixed their images.

    Args:
        maps: (P, H, W) or (P, 1, H, W) of an integer dtype, or a list of (Hi, Wi), which gives a list; (P, T, H, W) for
            clips, (P, D, H, W) for volumes.
        plan: who owns each output pixel; one of a translucent layer has the id of what shows most there.
        ignore_index: id of pixels without an owner; in the maps, an id like any other.
        inplace: as in ``mix_pixels``.

    Returns:
        (B, *frame) or a list of canvas-sized maps, in the dtype and class of the input.

    Raises:
        TypeError: the maps aren't integers.
        ValueError: the plan is soft (use ``mix_semantic_pair``), fill needs an ``ignore_index`` that the dtype can't
            hold, or ``mix_pixels`` raises it.

    Example:
        >>> from cutmix_dense import MixPlan
        >>> box, sizes = torch.tensor([[[0, 0, 1, 2]]]), torch.tensor([[1, 4], [1, 4]])
        >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> mix_semantic(torch.tensor([[[0, 0, 0, 255]], [[7, 8, 8, 8]]]), plan).tolist()
        [[[7, 8, 0, 255]]]
    """
    if plan.weight is not None:
        raise ValueError(
            "maps hold ids, which don't blend under a soft plan: use mix_semantic_pair or mix_semantic_soft"
        )
    plan = of_ids(plan)
    like = maps if isinstance(maps, Tensor) else next(iter(maps), None)
    if not isinstance(like, Tensor):
        raise TypeError(
            f"maps must be a tensor or a list of tensors, got {type(maps).__name__} of {type(like).__name__}"
        )
    if like.is_floating_point() or like.is_complex():
        raise TypeError(f"maps must hold integer class ids, got {like.dtype}; mix_pixels takes probabilities")
    fits = holds(like.dtype, ignore_index)
    if not fits and plan.has_fill():
        raise no_ignored(like.dtype, ignore_index)
    return mix_pixels(maps, plan, fill=ignore_index if fits else None, interpolation="nearest", inplace=inplace)


def holds(dtype: torch.dtype, ignore_index: int) -> bool:
    """Whether an integer dtype, or bool, has a value for what is ignored."""
    ignore_index = whole(ignore_index, "ignore_index", least=None)
    bounds = None if dtype == torch.bool else torch.iinfo(dtype)
    return ignore_index in (0, 1) if bounds is None else bounds.min <= ignore_index <= bounds.max


def no_ignored(dtype: torch.dtype, ignore_index: int) -> ValueError:
    """The error for maps that need a value for what is ignored, where their dtype doesn't hold it."""
    fits = "0 or 1" if dtype == torch.bool else "an id that fits"
    return ValueError(
        f"ignore_index {ignore_index} doesn't fit {dtype}, and the plan leaves pixels that no layer owns: set "
        f"ignore_index to {fits}, or give maps of a wider dtype"
    )


class SemanticPair(NamedTuple):
    """Two maps that share every pixel, for ``weight · loss(a) + (1 − weight) · loss(b)``.

    Attributes:
        a: map of the base on the canvas; ``ignore_index`` where it has no label.
        b: map of the partner, likewise.
        weight: share of ``a``, in [0, 1]; where one map is ignored, the other counts fully.
    """

    a: Tensor
    b: Tensor
    weight: Tensor


def has_pair(value: Any) -> bool:
    """Whether maps are what ``mix_semantic_pair`` gives, which no further mix takes."""
    return isinstance(value, SemanticPair) or (isinstance(value, (list, tuple)) and SemanticPair in map(type, value))


def refuse_pair(value: Any, name: str) -> None:
    """Raise TypeError for maps that a blend before this mix has made pairs."""
    if has_pair(value):
        raise TypeError(
            f"{name} is a SemanticPair, both maps of a blend, which can't be mixed again: blend last, or give the "
            'transform that blends soft_semantic="probabilities", num_classes=K'
        )


def mix_semantic_pair(
    maps: Integer[Tensor, "p *canvas"] | list[Tensor], plan: MixPlan, *, ignore_index: int = 255
) -> SemanticPair | list[SemanticPair]:
    """Both maps of a blend of two images, and the weight of each; ids stay unchanged.

    Args:
        maps: (P, H, W) of an integer dtype, or a list of (Hi, Wi), which gives a list.
        plan: of two layers; a hard plan has weights 0 and 1.
        ignore_index: pixels of this id don't count; where both maps hold it, ``weight`` is 0.

    Raises:
        ValueError: the plan has another number of layers, or ``mix_semantic`` raises it.

    Example:
        >>> from cutmix_dense import MixPlan
        >>> plan = MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.75, 0.25]]), torch.tensor([[1, 3], [1, 3]]))
        >>> a, b, weight = mix_semantic_pair(torch.tensor([[[0, 0, 255]], [[7, 255, 7]]]), plan)
        >>> weight.tolist()
        [[[0.75, 1.0, 0.0]]]
    """
    if plan.layers != 2:
        raise ValueError(f"plan must have two layers for a pair of maps, got {plan.layers}")
    layers = [_layer_map(maps, plan, layer, ignore_index) for layer in range(2)]
    weights = _weights(plan, maps[0].device)
    if isinstance(maps, Tensor):
        shared = weights.movedim(1, 0)
        while shared.ndim <= layers[0].ndim:  # a channel of one, or the frames of clips that share their plan
            shared = shared.unsqueeze(-plan.ndim - 1)
        return _as_pair(layers[0], layers[1], shared, ignore_index)
    return [_as_pair(a, b, _cropped(weight, a, plan.ndim), ignore_index) for a, b, weight in zip(*layers, weights)]


def mix_semantic_soft(
    maps: Integer[Tensor, "p *canvas"] | list[Tensor], plan: MixPlan, *, num_classes: int, ignore_index: int = 255
) -> Float[Tensor, "b k h w"] | list[Tensor]:
    """Class probabilities of every pixel of a blend, by the weights of the layers.

    Args:
        maps: (P, H, W) or (P, 1, H, W) of an integer dtype, or a list of (Hi, Wi) or (1, Hi, Wi), which gives a list.
        plan: soft or hard.
        num_classes: K.
        ignore_index: layers with this id don't count, and the weights of the others are scaled to sum to 1; where all
            have it, all probabilities are 0.

    Raises:
        ValueError: an id is neither in ``0 … num_classes - 1`` nor ``ignore_index``, or ``mix_semantic`` raises it.

    Example:
        >>> from cutmix_dense import MixPlan
        >>> plan = MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.75, 0.25]]), torch.tensor([[1, 2], [1, 2]]))
        >>> mix_semantic_soft(torch.tensor([[[0, 0]], [[1, 255]]]), plan, num_classes=2).squeeze(2).tolist()
        [[[0.75, 1.0], [0.25, 0.0]]]
    """
    if plan.frames == 1:  # a channel of one makes room for that of the classes
        channel = plan.ndim + 1
        if isinstance(maps, Tensor):
            maps = maps.squeeze(1) if maps.ndim == channel + 1 and maps.shape[1] == 1 else maps
        else:
            maps = [one.squeeze(0) if one.ndim == channel and one.shape[0] == 1 else one for one in maps]
    normed = []
    layers = [_layer_map(maps, plan, layer, ignore_index) for layer in range(plan.layers)]
    for weights, *here in zip(_weights(plan, maps[0].device), *layers):
        parts = [
            _of_classes(ids, _cropped(weight, ids, plan.ndim), num_classes, ignore_index)
            for weight, ids in zip(weights, here)
        ]
        total = sum(parts[1:], start=parts[0])
        normed.append(total / total.sum(dim=0, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny))
    return torch.stack(normed) if isinstance(maps, Tensor) else normed


def _of_classes(
    ids: Integer[Tensor, "*canvas"], weight: Float[Tensor, "..."], num_classes: int, ignore_index: int
) -> Float[Tensor, "k *canvas"]:
    """The weight of each pixel at its class, else 0; all 0 where it is ignored.

    Raises:
        ValueError: an id is neither a class nor ``ignore_index`` (checked on the host, and not in compiled code).
    """
    known = ids != ignore_index
    ids = torch.where(known, ids, 0).long()
    if ids.device.type == "cpu" and not is_compiling() and not 0 <= int(ids.min()) <= int(ids.max()) < num_classes:
        raise ValueError(f"maps must hold ids in 0 … {num_classes - 1}, got {int(ids.min())} … {int(ids.max())}")
    return torch.nn.functional.one_hot(ids, num_classes).movedim(-1, 0) * (weight * known)


def mix_maps(
    maps: Any, plan: MixPlan, *, ignore_index: int, soft: SoftSemantic = "pair", num_classes: int | None = None
) -> Any:
    """Mix maps by any plan: as maps by a hard plan, in the form ``soft`` by a soft one.

    Raises:
        ValueError: ``num_classes`` is missing for probabilities.
    """
    if plan.weight is None:
        return mix_semantic(maps, plan, ignore_index=ignore_index)
    if soft == "pair":
        return mix_semantic_pair(maps, plan, ignore_index=ignore_index)
    if num_classes is None:
        raise ValueError("num_classes must be given for semantic probabilities, got None")
    return mix_semantic_soft(maps, plan, num_classes=num_classes, ignore_index=ignore_index)


def _weights(plan: MixPlan, device: torch.device) -> Float[Tensor, "b s *frame"]:
    """Weight of each layer at every pixel; (b, s, frames, *frame) if the frames of clips are planned one by one."""
    weights = sent(shared_weights(plan), device)
    return weights if plan.frames == 1 else weights.unflatten(0, (-1, plan.frames)).transpose(1, 2)


def _layer_map(maps: Any, plan: MixPlan, layer: int, ignore_index: int) -> Any:
    """The map of one layer alone, within its extent."""
    source, scale, shift, extent = (
        field[:, layer : layer + 1] for field in (plan.source, plan.scale, plan.shift, plan.extent)
    )
    alone = replace(
        plan,
        check=False,
        source=torch.where(source < 0, plan.source[:, :1], source),
        scale=scale,
        shift=shift,
        extent=torch.where(source[..., None] < 0, 0, extent),
        owner=torch.zeros_like(plan.owner),
        carry=None,
        weight=None,
        opacity=None,
    )
    return mix_semantic(maps, alone, ignore_index=ignore_index)


def _cropped(weights: Float[Tensor, "*s *frame"], like: Tensor, ndim: int) -> Float[Tensor, "*s *canvas"]:
    """Weights cropped to the size of a map."""
    return weights[spatial(block_of(like.shape[-ndim:]))]


def _as_pair(a: Tensor, b: Tensor, weights: Float[Tensor, "2 ..."], ignore_index: int) -> SemanticPair:
    """A pair whose ignored pixels have weight 0."""
    first = weights[0].masked_fill(a == ignore_index, 0)
    second = weights[1].masked_fill(b == ignore_index, 0)
    return SemanticPair(a, b, first.div_(second.add_(first).clamp_(min=torch.finfo(first.dtype).tiny)))
