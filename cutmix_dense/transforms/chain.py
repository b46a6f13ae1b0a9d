"""Chain: transforms behind each other, as recipes have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from jaxtyping import Bool
from torch import Tensor

from cutmix_dense.arrays.compiling import untraced
from cutmix_dense.functional.affine import AffinePlan
from cutmix_dense.functional.fields import BEFORE
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.transforms.affine import Affine
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.forms import read_form
from cutmix_dense.transforms.instance_bank import bank_of
from cutmix_dense.transforms.pool import Images
from cutmix_dense.transforms.several import SeveralMixes
from cutmix_dense.transforms.without_panoptic import refuse_panoptic


class Chain(SeveralMixes):
    """Mix a batch by several transforms behind each other, as recipes do: a mosaic, an affine map, a blend.

    Each transform mixes what the one before it made, with its own settings and its own plan. An ``Affine`` moves only
    the samples that the transform before it mixed, as behind DEIM's and YOLOX's mosaics (as first of the chain, all),
    unless ``of="all"``. ``close`` and ``set_progress`` reach all. ``visibility`` and ``weight`` of an instance are the
    products over all mixes; ``origin`` is its image in the batch that came in, and its index there. For a cut-out of an
    ``InstanceBank`` both are -1, where a ``CopyPaste`` alone counts cut-outs behind the batch. For a sample from a
    ``SampleBank``, image and index are those in its own batch, or behind the batch if the first transform has the bank.

    Args:
        transforms: in their order; all of one layout, box format, normalisation and ``labels_getter``, each with a
            ``SampleBank`` of its own or none. A ``RandomMix`` gives one of them a window of epochs.

    Raises:
        TypeError: a transform doesn't mix.
        ValueError: they differ in how they read a batch, or share a ``SampleBank``; ``outputs``, ``return_report`` or
            ``inplace`` in the call, which are of one mix; a plan is asked for, since a chain has several.

    Source: the order of DEIM's (``engine/data``) and Ultralytics' pipelines.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> chain = cd.Chain([cd.Mosaic(p=0.5), cd.Affine(), cd.MixUp(weight=(0.45, 0.55), p=0.5)])
        >>> chain(torch.rand(4, 3, 32, 48)).shape
        torch.Size([4, 3, 32, 48])
    """

    def __init__(self, transforms: Sequence[MixTransform]) -> None:
        super().__init__(transforms)
        refuse_shared_banks(transforms)

    @property
    def size(self) -> tuple[int, int] | None:  # type: ignore[override]
        """(height, width) of the outputs; None: the base's own size."""
        return next((stage.size for stage in reversed(self.stages) if stage.size is not None), None)

    @property
    def mixes_panoptic(self) -> bool:  # type: ignore[override]
        """Whether all transforms can mix panoptic maps."""
        return all(stage.mixes_panoptic for stage in self.stages)

    @property
    def scheduled(self) -> bool:
        """Whether one of the transforms has a schedule."""
        return any(stage.scheduled for stage in self.stages)

    @property
    def close_last(self) -> int:  # type: ignore[override]
        """Number of last steps without any mixing by schedules of the transforms."""
        return min(stage.close_last for stage in self.stages)

    def set_progress(self, step: int) -> None:
        """Say which step of the training begins, counted from 0, to all transforms that have a schedule."""
        for stage in self.stages:
            stage.set_progress(step)

    @property
    def closed(self) -> bool:
        """Whether mixing is closed for all transforms."""
        return all(stage.closed for stage in self.stages)

    def close(self, closed: bool = True, *, by_schedule: bool = False) -> None:
        """Stop mixing, or start again, in every copy; see ``MixTransform.close``."""
        for stage in self.stages:
            stage.close(closed, by_schedule=by_schedule)

    def unmixed(self) -> Chain:
        """A chain of copies that mix nothing."""
        return Chain([stage.unmixed() for stage in self.stages])

    def forward(
        self,
        *inputs: Any,
        sizes: Any = None,
        generator: torch.Generator | None = None,
        out: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Mix a batch by all transforms; arguments and result as for ``MixTransform``, less those of one mix."""
        for name, value in options.items():
            if name not in ("inplace", "outputs", "return_report"):
                raise TypeError(f"Chain has no argument {name!r}: known are sizes, generator, out")
            if value:
                raise ValueError(f"{name} is for one mix, and a chain has several, got {value!r}")
        form = read_form(inputs, self.layout, self.labels_getter)
        settings: Any = {"out": out, "label_keys": form.label_keys}
        result, _ = self.mix_batch(form.images, form.targets, sizes, generator, **settings)
        return form.returned(*result)

    def mix_batch(
        self,
        images: Images,
        targets: Any,
        sizes: Any,
        generator: torch.Generator | None,
        *,
        out: Tensor | None = None,
        **settings: Any,
    ) -> tuple[tuple[Any, ...], Any]:
        """The call for images and targets that were read: the last result, and the last plan."""
        refuse_panoptic(self, targets)
        generator = call_generator(generator)
        mixed: Bool[Tensor, " b"] | None = None
        count = len(images)
        for number, stage in enumerate(self.stages):
            own = {**settings, "out": out if number == len(self.stages) - 1 else None}
            targets = renamed(targets, "origin", BEFORE) if number else targets
            member: MixTransform = untraced(stage.choose, generator)
            if isinstance(member, Affine):
                pool = member.pool_of(images, targets, sizes)
                plan: Any = member.draw_plan(pool, generator)
                plan = plan if mixed is None or member.of == "all" else plan.within(mixed)
                result = member.mix_pool(plan, pool, **own)
            else:
                result, plan = member.mix_batch(images, targets, sizes, generator, **own)
            mixed = mixed_by(plan)
            images, targets = result
            targets = renamed(targets, BEFORE, "origin") if number else told_apart(targets, member, count)
            sizes = valid_sizes(images, plan)
        return (images, targets), plan

    def draw_plan(self, *args: Any, **options: Any) -> NoReturn:
        """Raise ValueError: a chain has a plan per transform, each drawn when the one before it has mixed."""
        raise ValueError("a Chain has no plan of its own, but one per transform: call it, or one of its transforms")

    def make_plan(self, *args: Any, **options: Any) -> NoReturn:
        """Raise ValueError; see ``draw_plan``."""
        self.draw_plan(*args, **options)

    def mix_pool(self, *args: Any, **options: Any) -> NoReturn:
        """Raise ValueError; see ``draw_plan``."""
        self.draw_plan(*args, **options)

    def mix_images(self, *args: Any, **options: Any) -> NoReturn:
        """Raise ValueError; see ``draw_plan``."""
        self.draw_plan(*args, **options)

    def get_extra_state(self) -> dict[str, Any]:
        """State for checkpoints: nothing, the transforms have states of their own."""
        return {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of ``get_extra_state``."""

    def extra_repr(self) -> str:
        """Nothing; the transforms follow as submodules."""
        return ""


def refuse_shared_banks(stages: Sequence[MixTransform]) -> None:
    """Raise ValueError if transforms behind each other share a bank of samples: the later ones would put mixes into it.

    Those of one stage, of which a batch meets one, may share a bank.
    """
    places: dict[int, int] = {}
    for place, stage in enumerate(stages):
        for member in stage.members:
            if member.bank is not None and places.setdefault(id(member.bank), place) != place:
                raise ValueError(
                    f"pairing of two transforms of a Chain is the same {member.bank!r}, which would hold images "
                    f"that the first has mixed: give {type(member).__name__} a SampleBank of its own"
                )


def refuse_chain(mix: MixTransform, where: str) -> None:
    """Raise ValueError if a method is a chain, or may draw one; ``where`` says what needs a single plan."""
    if any(isinstance(part, Chain) for part in mix.modules()):
        raise ValueError(
            f"mix must be one transform for {where}, which follow a single plan, got a Chain, which has a plan per "
            "transform: give a RandomMix, or one of its transforms"
        )


def refuse_affine(mix: MixTransform, where: str) -> None:
    """Raise ValueError if a method is an ``Affine``, or may draw one; ``where`` says what needs a ``MixPlan``."""
    if any(isinstance(part, Affine) for part in mix.modules()):
        raise ValueError(
            f"mix must be without an Affine for {where}, which follow the plan of a mix, and an Affine has none: use "
            "the affine transform of the loader, before samples are mixed"
        )


def mixed_by(plan: MixPlan | AffinePlan) -> Bool[Tensor, " b"]:
    """Which outputs of a plan show another image than the base, or are moved; on the host."""
    if isinstance(plan, AffinePlan):
        return torch.from_numpy(plan.moved)
    source = plan.source.cpu()[:: plan.frames]
    return (source[:, 1:] >= 0).any(dim=1)


def valid_sizes(images: Images, plan: Any) -> Any:
    """Sizes of the mixed images as the next transform takes them: None where nothing is padded."""
    if not isinstance(images, Tensor):
        return None
    canvas = torch.as_tensor(plan.canvas)[:: plan.frames if isinstance(plan, MixPlan) else 1].cpu()
    frame = torch.tensor(images.shape[-canvas.shape[1] :], device="cpu")
    return None if bool((canvas == frame).all()) else canvas


def told_apart(targets: Any, member: MixTransform, count: int) -> Any:
    """The first transform's targets with an ``origin`` of -1 for cut-outs, which it counts behind the ``count`` images.

    Transforms behind it say so themselves.
    """
    return targets if bank_of(member) is None else _within(targets, count)


def _within(value: Any, count: int) -> Any:
    if isinstance(value, Mapping):
        rest = {k: _within(item, count) for k, item in value.items()}
        if isinstance(origin := rest.get("origin"), Tensor):
            rest["origin"] = origin.masked_fill(origin[..., :1] >= count, -1)
        return rest
    if type(value) in (list, tuple) and not any(isinstance(item, Tensor) for item in value):
        return type(value)(_within(item, count) for item in value)
    return value


def renamed(value: Any, key: str, name: str) -> Any:
    """Targets with ``key`` of all their dicts under another name, in the place of what has that name."""
    if isinstance(value, Mapping):
        rest = {k: renamed(item, key, name) for k, item in value.items() if k != key}
        return {**rest, name: value[key]} if key in value else rest
    if type(value) in (list, tuple) and not any(isinstance(item, Tensor) for item in value):
        return type(value)(renamed(item, key, name) for item in value)
    return value
