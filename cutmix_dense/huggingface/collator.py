"""A collate function whose batches are mixed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from cutmix_dense.huggingface.batches import Stuff, check_options, mix_batch
from cutmix_dense.switch import Switch
from cutmix_dense.transforms import MixTransform


class MixCollator:
    """Collates as ``collate_fn`` does, and mixes the batch: for the training loader of a loop of your own.

    For ``Trainer`` use ``MixCallback``: its one ``data_collator`` also collates what it evaluates on.

    Args:
        collate_fn: makes the batch of a list of samples.
        mix: the transform. ``close`` reaches the workers of the loader, see ``MixTransform.close``.
        stuff: see ``mix_batch``, as the following ones.
        soft_labels: that the loss takes probabilities.
        keep_keys: further keys that hold tensors and stay the base image's.

    Raises:
        TypeError: ``mix`` isn't a mixing transform; when it is used as the ``data_collator`` of a ``Trainer``.
        ValueError: an option that is wrong with any batch.

    Examples:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> from cutmix_dense.huggingface import MixCollator
        >>> def collate(samples):
        ...     images, maps = zip(*samples)
        ...     return {"pixel_values": torch.stack(images), "labels": torch.stack(maps)}
        >>> samples = [(torch.rand(3, 32, 48), torch.randint(0, 4, (32, 48))) for _ in range(4)]
        >>> loader = torch.utils.data.DataLoader(samples, batch_size=4, collate_fn=MixCollator(collate, cd.CutMix()))
        >>> next(iter(loader))["pixel_values"].shape
        torch.Size([4, 3, 32, 48])
    """

    def __init__(
        self,
        collate_fn: Callable[[list[Any]], Any],
        mix: MixTransform,
        *,
        stuff: Stuff = (),
        soft_labels: bool = False,
        keep_keys: Sequence[str] = (),
    ) -> None:
        if not callable(collate_fn):
            raise TypeError(f"collate_fn must be a function of a list of samples, got {type(collate_fn).__name__}")
        check_options(mix, stuff, keep_keys)
        self.collate_fn = collate_fn
        self.mix = mix
        self.stuff = stuff
        self.soft_labels = soft_labels
        self.keep_keys = tuple(keep_keys)
        self.arrived = Switch()
        """Whether a batch has come through, here or in a worker."""
        self._checked = False

    def __call__(self, samples: list[Any]) -> Any:
        """The samples as a mixed batch."""
        self._refuse_trainer()
        batch = mix_batch(
            self.collate_fn(samples),
            self.mix,
            stuff=self.stuff,
            soft_labels=self.soft_labels,
            keep_keys=self.keep_keys,
        )
        self.arrived.set(True)
        return batch

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, on the way to a spawned worker."""
        self._refuse_trainer()
        return dict(self.__dict__)

    def __repr__(self) -> str:
        """What it collates with and what mixes."""
        return f"{type(self).__name__}({self.collate_fn!r}, {self.mix!r})"

    def _refuse_trainer(self) -> None:
        """Raise TypeError if we are some Trainer's ``data_collator``, by the stack of the first call.

        Nothing says whether a list of samples is trained or evaluated on, so a Trainer would evaluate on mixed images.
        """
        if self._checked:
            return
        self._checked = True
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if getattr(frame.f_locals.get("self"), "data_collator", None) is self:
                self._checked = False
                raise TypeError(
                    "MixCollator can't be the data_collator of a Trainer, which collates evaluation with it, too: give "
                    "the Trainer your own collator, and callbacks=[cutmix_dense.huggingface.MixCallback(mix)]"
                )
            frame = frame.f_back
