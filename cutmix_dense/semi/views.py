"""Several strong views of one batch, as in UniMatch V2, and the complementary dropout of their features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.semi.consistency import Consistency
from cutmix_dense.semi.parts import Chance, Model, check_strong, chosen, logits_of, mixed_pool, taught
from cutmix_dense.semi.step import MixedConsistency
from cutmix_dense.transforms import MixTransform

Features = TypeVar("Features", Tensor, list[Tensor], tuple[Tensor, ...])


class MixedViews(NamedTuple):
    """The result of ``mixed_views``.

    Attributes:
        loss: the mean of the views' losses.
        logs: the means of the views' logs; see ``MixedConsistency``.
        views: each view's own result.
    """

    loss: Float[Tensor, ""]
    logs: dict[str, Tensor]
    views: list[MixedConsistency]


def mixed_views(
    student: Model,
    teacher: Model,
    images: Float[Tensor, "b c h w"],
    mix: MixTransform | None,
    strong: Sequence[Float[Tensor, "b c h w"]],
    *,
    valid: Bool[Tensor, "b h w"] | None = None,
    sizes: Int[Tensor, "b 2"] | None = None,
    p: Chance = None,
    consistency: Consistency | None = None,
    ignore_index: int = 255,
    generator: torch.Generator | None = None,
) -> MixedViews:
    """Consistency of a student on several mixed strong views with a teacher that sees the weak images once.

    Every view is mixed by a plan of its own. The student gets all views in one batch, the first view first, so that its
    features can be dropped in a complementary way (``complementary_dropout``). UniMatch V2 is

    - two views, ``mix=CutMix(region=AreaBox.unimatch(), p=0.5, pairing="flip")``,
    - ``MeanTeacher(student, decay=0.996)``, whose buffers are averaged too,
    - the total ``(supervised + loss) / 2``, with the threshold 0.95, or 0 for Cityscapes.

    Args:
        student: gets the mixed images of all views, (views · B, C, H, W).
        teacher: gets ``images``, without gradients.
        images: unlabelled, normalised, weakly augmented.
        mix: any hard method; None: no mixing.
        strong: the views: the same images at the same pixels, each changed in colour by draws of its own.
        valid: which pixels are valid, default all.
        sizes: valid heights and widths of padded batches.
        p: see ``mixed_consistency``.
        consistency: the loss of a view, default ``Consistency.unimatch()``.
        ignore_index: label of pixels without a pseudo-label; must be that of ``mix``.
        generator: a CPU generator that makes the mixes repeatable.

    Raises:
        TypeError: a model returns no logits.
        ValueError: there is no view, sizes don't fit each other, the mix is a ``Chain``, the pairing is a bank, or the
            method is soft.

    Source: Yang et al., UniMatch V2 (2025), ``unimatch_v2.py``, lines 170 to 204 (two views, their mean, the sum of
    supervised and unsupervised over 2) and 221 to 226 (teacher).

    Example:
        >>> import cutmix_dense as cd
        >>> student, images = torch.nn.Conv2d(3, 4, kernel_size=1), torch.rand(2, 3, 32, 48)
        >>> mix = cd.CutMix(region=cd.regions.AreaBox.unimatch(), p=0.5, pairing="flip")
        >>> step = mixed_views(student, student, images, mix, [images * 0.9, images * 1.1])
        >>> len(step.views), step.loss.requires_grad
        (2, True)
    """
    if isinstance(strong, Tensor) or not strong:
        raise ValueError(f"strong must be a list of one or more views, got {type(strong).__name__}")
    for view in strong:
        check_strong(images, view)
    consistency = Consistency.unimatch() if consistency is None else consistency
    kept = consistency.needs_probabilities or callable(p)
    pseudo, _ = taught(teacher, images, valid=valid, sizes=sizes, keep_probabilities=kept, ignore_index=ignore_index)
    chance = p(pseudo) if callable(p) else p
    pools = []
    for view in strong:
        method, generator = chosen(mix, ignore_index, generator)
        pools.append(mixed_pool(method, view, pseudo, len(images), p=chance, sizes=sizes, generator=generator))
    everything = torch.cat([pool.images for pool in pools])
    views = []
    for pool, logits in zip(pools, logits_of(student(everything), everything).chunk(len(pools))):
        loss, logs = consistency(logits, pool.pseudo)
        views.append(MixedConsistency(loss, {**logs, "mixed": pool.moved}, pool.images, pool.pseudo, pool.plan))
    logs = {name: torch.stack([view.logs[name] for view in views]).mean() for name in views[0].logs}
    return MixedViews(torch.stack([view.loss for view in views]).mean(), logs, views)


def complementary_dropout(
    features: Features, *, dim: int = 1, kept: float = 0.5, generator: torch.Generator | None = None
) -> Features:
    """Features of two views of the same images, each without half of the channels, which the other view keeps.

    Channels are dropped with probability 0.5 and the others doubled; what one view of an image drops, the other keeps.
    Some of the images keep all channels in both views.

    Args:
        features: (2 · B, …): the features of the first view of every image, then those of the second; or several of
            them with equally many channels (of the layers of a backbone), which drop the same ones.
        dim: axis of the channels: 1 for (2 · B, C, H, W), −1 for tokens (2 · B, N, C).
        kept: share of the images that keep all channels, in [0, 1]; their number is rounded down.
        generator: a CPU generator that makes the draws repeatable.

    Raises:
        ValueError: an odd batch, unequal channels, or ``kept`` out of its range.

    Source: UniMatch V2, ``model/semseg/dpt.py``, lines 148 to 161.

    Example:
        >>> dropped = complementary_dropout(torch.ones(4, 6, 2, 3), kept=0.0)
        >>> (dropped[:2] + dropped[2:]).unique().tolist()
        [2.0]
    """
    several = [features] if isinstance(features, Tensor) else list(features)
    if not 0 <= kept <= 1:
        raise ValueError(f"kept must lie in [0, 1], got {kept!r}")
    sizes = {(len(feature), feature.shape[dim]) for feature in several}
    if len(sizes) != 1 or next(iter(sizes))[0] % 2:
        raise ValueError(f"features must be two views of equally many images and channels, got {sorted(sizes)}")
    ((batch, channels),) = sizes
    pairs = batch // 2
    first = 2 * torch.randint(0, 2, (pairs, channels), generator=generator, device=HOST)
    first[torch.randperm(pairs, generator=generator, device=HOST)[: int(pairs * kept)]] = 1
    factors = torch.cat([first, 2 - first])
    dropped: list[Any] = []
    for feature in several:
        shape = [1] * feature.ndim
        shape[0], shape[dim] = batch, channels
        dropped.append(feature * sent(factors, feature.device).to(feature.dtype).reshape(shape))
    return dropped[0] if isinstance(features, Tensor) else type(features)(dropped)
