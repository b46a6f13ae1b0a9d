"""Mixing for models of Hugging Face's transformers: one callback of ``Trainer``, or a collator in a loop of your own.

``MixCallback`` mixes what ``Trainer`` trains on and leaves its evaluation alone. ``MixCollator`` and ``mix_batch`` mix
the batches of any loader; they need nothing but torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cutmix_dense.huggingface.batches import mix_batch
from cutmix_dense.huggingface.collator import MixCollator
from cutmix_dense.huggingface.losses import soft_cross_entropy

if TYPE_CHECKING:
    from cutmix_dense.huggingface.callback import MixCallback

__all__ = ["MixCallback", "MixCollator", "mix_batch", "soft_cross_entropy"]


def __getattr__(name: str) -> Any:
    if name == "MixCallback":  # the one class that needs transformers
        from cutmix_dense.huggingface.callback import MixCallback

        return MixCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
