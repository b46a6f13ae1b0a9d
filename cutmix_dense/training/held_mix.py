"""A mix that a model or its preprocessor holds without making it a part of the model's state."""

from __future__ import annotations

from typing import Any

from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.transforms import MixTransform

__all__ = ["HoldsMix"]


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

    @property
    def mix(self) -> MixTransform | None:
        """The mix, None for no mixing."""
        return self._mix[0]
