"""A mix that a model or its preprocessor holds without making it a part of the model's state."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.transforms import MixTransform
from cutmix_dense.warned import reworded


class HoldsMix(Closable):
    """Holds a mixing transform, or None, outside of the modules: MMEngine broadcasts a state of tensors only."""

    def hold(self, mix: Any) -> None:
        """Keep a mix.

        Raises:
            TypeError: something else than a mixing transform.
        """
        if mix is not None and not isinstance(mix, MixTransform):
            raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
        self._mix = (mix,)  # in a tuple, where torch doesn't look for modules

    _larger = False
    """Whether a batch of several images was mixed."""

    def mixing(self, count: int) -> AbstractContextManager[None]:
        """A block that mixes a batch of ``count`` images, with the warning of a batch of one as it fits a training.

        After larger batches, one image is the last of an epoch, which needs no warning. Banks aren't advised, since
        MMEngine's checkpoints would not contain them.
        """
        self._larger = larger = self._larger or count > 1

        def told(message: str) -> str:
            if "a batch of one" not in message:
                return message
            return "" if larger else message.partition(", or pairing=")[0]

        return reworded(told)

    @property
    def mix(self) -> MixTransform | None:
        """The mix, None for no mixing."""
        return self._mix[0]
