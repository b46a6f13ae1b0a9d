"""MUM: tiles exchanged between the images of a group, and exchanged back on the features."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from cutmix_dense.arrays.host import HOST
from cutmix_dense.checks import sides, whole
from cutmix_dense.functional import mix_pixels
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.transforms import MixTransform
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.pool import Pool


class TileSwap(MixTransform):
    """Exchange tiles between the images of a group: every tile keeps its place and goes to one image of the group.

    Each tile of the grid has a permutation of its own. No pixel is lost, so that ``plan.inverse()`` brings all back,
    and ``plan.at_stride(s).inverse()`` the features; see ``unmixed_features``. Annotations are mixed like any other.

    Args:
        tiles: number of rows and columns of tiles, one for both or (rows, columns), >= 1.
        group: number of neighbours in the batch that exchange, >= 2. The last group may be smaller; a single image
            stays unmixed.
        multiple: tiles begin at multiples of this, pixels, >= 1: the largest stride of the features that are to be
            unmixed. Tiles may then be of unequal sizes. MUM resizes features that don't fit its tiles instead.
        p: probability that a group is mixed.
        common: arguments of ``MixTransform``; ``pairing`` has no effect.

    Images of different sizes exchange tiles of the area that the group has in common.

    Raises:
        ValueError: an argument is out of range.

    Source: Kim et al., MUM: Mix Image Tiles and UnMix Feature Tiles (2022), ``mum/modeling/meta_arch/rcnn.py``, lines
    30 to 41; 4 × 4 tiles and groups of 4 (``configs/mum_configs/coco.yaml``, lines 38 and 39).

    Example:
        >>> images = torch.rand(4, 3, 32, 48)
        >>> mix = TileSwap(tiles=4, group=4)
        >>> plan = mix.make_plan(images)
        >>> mixed, _ = mix.apply_plan(plan, images)
        >>> torch.equal(mixed.sort(dim=0).values, images.sort(dim=0).values)
        True
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BTCHW")

    def __init__(
        self,
        *,
        tiles: int | tuple[int, int] = 4,
        group: int = 4,
        multiple: int = 1,
        p: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        self.tiles = sides((tiles, tiles) if isinstance(tiles, int) else tiles, "tiles", "(rows, columns)")
        self.group = whole(group, "group", least=2)
        if self.group > 127:
            raise ValueError(f"group must lie in [2, 127], got {group!r}")
        self.multiple = whole(multiple, "multiple")

    @property
    def partners(self) -> int:
        """The others of a group."""
        return self.group - 1

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw a permutation of each group for every tile."""
        count, group, (rows, columns) = pool.outputs, self.group, self.tiles
        if count != len(pool):
            raise ValueError(f"outputs must be all images ({len(pool)}), which exchange their tiles, got {count}")
        groups = -(-count // group)
        chance = torch.rand(groups, generator=generator, dtype=torch.float64, device=HOST)
        draws = torch.rand((groups, group, rows, columns), generator=generator, dtype=torch.float64, device=HOST)
        member = torch.arange(groups * group, device=HOST).reshape(groups, group)
        draws[member >= count] = 2.0  # behind all that are there
        shown = draws.argsort(dim=1).flatten(0, 1)[:count]  # member of the group that each output shows in each tile

        own = torch.arange(count, device=HOST)
        leader, place = own - own % group, own % group
        others = torch.arange(group - 1, device=HOST)[None]
        others = leader[:, None] + others + (others >= place[:, None])
        source = torch.cat([own[:, None], torch.where(others < count, others, -1)], dim=1)
        mixed = torch.from_numpy(chance[leader // group].numpy() < self._chance(pool, leader.numpy()))
        at = place[:, None, None]
        layer = torch.where(shown == at, 0, shown + (shown < at))
        layer = torch.where(mixed[:, None, None], layer, 0)
        owner = torch.zeros((count, rows + 1, columns + 1), dtype=torch.int64, device=HOST)
        owner[:, :rows, :columns] = layer  # beyond what the group has in common, the base's own pixels
        canvas, shared = pool.sizes[:count], pool.shared(source)
        edges = tuple(self._edges(canvas[:, axis], shared[:, axis], self.tiles[axis]) for axis in range(2))
        return MixPlan.from_grid(source, edges, owner, pool.sizes, frame=pool.frame)

    def _edges(self, canvas: Int[Tensor, " b"], shared: Int[Tensor, " b"], count: int) -> Int[Tensor, "b _edges"]:
        """Edges of the tiles along an axis, then of what isn't shared."""
        unit = self.multiple
        cuts = torch.arange(count + 1, device=HOST) * shared[:, None].double() / (count * unit)
        cuts = torch.minimum(cuts.round().long() * unit, shared[:, None])
        last = torch.where(shared == canvas, canvas, shared // unit * unit)
        cuts[:, -1] = last
        return torch.cat([torch.minimum(cuts, last[:, None]), canvas[:, None]], dim=1)


@contextmanager
def unmixed_features(
    backbone: nn.Module, mix: MixTransform, *, generator: torch.Generator | None = None
) -> Iterator[None]:
    """Within this context, a backbone sees mixed images and returns unmixed features: MUM.

    The rest of a detector works with the targets of the unmixed images. Each call of the backbone draws a plan.

    Args:
        backbone: called with images (B, C, H, W) first, or by keyword, as Hugging Face's are (``pixel_values=``);
            returns a feature map (B, K, h, w), or a dict, list or tuple of them, as torchvision's do.
        mix: a method without loss, such as ``TileSwap(multiple=…)``, or ``CutMix(pairing="swap", region=…)`` with
            regions that begin and end at multiples of the largest stride.
        generator: a CPU generator that makes the mix repeatable.

    Raises:
        TypeError: (when the backbone is called) it gets no images.
        ValueError: (when the backbone is called) a feature map isn't of one whole stride; the plan isn't of multiples
            of it, or can't be inverted. Messages say which.

    Source: Kim et al., MUM (2022), ``mum/modeling/meta_arch/rcnn.py``, lines 50 to 81.

    Example:
        >>> images, backbone = torch.rand(4, 3, 32, 48), nn.Conv2d(3, 5, kernel_size=8, stride=8)
        >>> with unmixed_features(backbone, TileSwap(tiles=2, multiple=8)):
        ...     features = backbone(images)
        >>> torch.allclose(features, backbone(images), atol=1e-6)  # its kernels never see two tiles
        True
    """
    source = call_generator(generator)
    plans: list[tuple[MixPlan, tuple[int, ...]]] = []

    def exchanged(images: Tensor) -> Tensor:
        plan = mix.make_plan(images, generator=source)
        plans.append((plan.to(images.device), tuple(images.shape[-2:])))
        return mix.mix_images(images, plan)

    def before(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        if inputs:
            return (exchanged(inputs[0]), *inputs[1:]), named
        key = _image_key(module, named)
        return (), {**named, key: exchanged(named[key])}

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        plan, size = plans.pop()
        return _each(output, lambda feature: mix_pixels(feature, plan.at_stride(_stride(size, feature)).inverse()))

    hooks = [backbone.register_forward_pre_hook(before, with_kwargs=True), backbone.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _image_key(backbone: nn.Module, named: Mapping[str, Any]) -> str:
    """The keyword of the images: that of the first parameter, else the only one with a batch of images."""
    first = next(iter(inspect.signature(backbone.forward).parameters), "")
    batches = [key for key, value in named.items() if isinstance(value, Tensor) and value.ndim >= 4]
    if first in batches:
        return first
    if len(batches) != 1:
        raise TypeError(
            f"backbone must be called with images (B, C, H, W), first or by the keyword {first!r}, got the keywords "
            f"{sorted(named)}"
        )
    return batches[0]


def _stride(size: tuple[int, ...], feature: Tensor) -> int:
    """Pixels per feature; sizes that aren't a multiple of it are rounded up."""
    found = tuple(feature.shape[-2:])
    for stride in sorted({-(-pixels // features) for pixels, features in zip(size, found)}):
        if tuple(-(-pixels // stride) for pixels in size) == found:
            return stride
    raise ValueError(f"features must have one whole stride, got {found} for images of {size}")


def _each(value: Any, change: Any) -> Any:
    """A tensor, or all in a dict, list or tuple, changed; in the same form."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return type(value)((key, _each(entry, change)) for key, entry in value.items())  # type: ignore[call-arg]
    if isinstance(value, (list, tuple)):
        return type(value)(_each(entry, change) for entry in value)
    raise TypeError(f"a backbone must return tensors in dicts, lists or tuples, got {type(value).__name__}")
