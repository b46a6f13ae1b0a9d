"""Objects whose classes were swapped for weighing ones: the parts, the parameters and the state stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cutmix_dense.losses.instances import Labels, Weighing, label_sets, prepared

_MADE: dict[tuple[type, type], type] = {}


class Swapped:
    """What every swapped object has: its settings, and copies and pickles that stay swapped."""

    weighing: Weighing

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A part of the stock class."""

    def __reduce__(self) -> tuple[Any, ...]:
        mixin = next(base for base in type(self).__bases__ if issubclass(base, Swapped))
        return _restored, (mixin, stock_class(self)), self.__dict__.copy()


class Weighs(Swapped, nn.Module):
    """A swapped module."""


class WeighsModel(Weighs):
    """A whole model: reads the weights before torchvision's transform resizes what they belong to."""

    def forward(self, images: list[Tensor], targets: list[dict[str, Any]] | None = None) -> Any:
        """The model's own outputs; in training its losses, weighted."""
        if self.training and targets is not None:
            targets = [prepared(target, self.weighing, index) for index, target in enumerate(targets)]
        return super().forward(images, targets)


def summed(targets: list[dict[str, Any]], losses: Callable[[list[Labels]], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The losses of all sets of labels together, by name."""
    each = [losses(labels) for labels in label_sets(targets)]
    return {name: torch.stack([loss[name] for loss in each]).sum() for name in each[0]}


def swap(part: Any, mixin: type[Swapped], weighing: Weighing) -> None:
    """Give an object the class that weighs, in place; once more only changes the settings."""
    part.__class__ = _weighing_class(mixin, stock_class(part))
    part.weighing = weighing


def stock_class(part: Any) -> type:
    """The class that an object had before it was swapped."""
    kind = type(part)
    return kind.__bases__[1] if issubclass(kind, Swapped) else kind


def _weighing_class(mixin: type[Swapped], stock: type) -> type:
    """The one class of both."""
    bases = mixin, stock
    if bases not in _MADE:
        own = {"__doc__": mixin.__doc__, "__module__": stock.__module__}
        _MADE[bases] = type(f"Weighing{stock.__name__}", bases, own)
    return _MADE[bases]


def _restored(mixin: type[Swapped], stock: type) -> Any:
    kind: Any = _weighing_class(mixin, stock)
    return kind.__new__(kind)
