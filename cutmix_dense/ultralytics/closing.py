"""Mixing ends where Ultralytics ends its mosaics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from cutmix_dense.transforms import MixTransform


def close_with_mosaic(mix: MixTransform) -> Callable[[Any], None]:
    """A callback for ``on_train_epoch_start`` that closes a mix for the last ``close_mosaic`` epochs.

    It sets the switch anew in every epoch, so a resumed training and a second one with the same mix come out right.
    What you close yourself, by ``mix.close()``, stays closed.
    A ``RandomMix`` is told the epoch by ``set_progress``: its windows count epochs here.

    Args:
        mix: the mix that the trainer uses.

    Returns:
        A function of the trainer, of which it reads ``epoch``, ``epochs`` and ``args.close_mosaic``.

    Raises:
        TypeError: ``mix`` isn't a mixing transform.
        ValueError: a ``RandomMix`` with ``close_last``, a second schedule.

    Warns:
        UserWarning: in the first epoch, where ``close_mosaic`` covers all epochs, so that nothing would be mixed.

    Example:
        >>> from types import SimpleNamespace as Trainer
        >>> import cutmix_dense as cd
        >>> mix = cd.CutMix()
        >>> callback = close_with_mosaic(mix)
        >>> callback(Trainer(epoch=90, epochs=100, args=Trainer(close_mosaic=10)))
        >>> mix.closed
        True
    """
    if not isinstance(mix, MixTransform):
        raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
    if mix.close_last:
        raise ValueError(
            f"mix must have no schedule of its own, got close_last={mix.close_last}: close_mosaic of the training says "
            "when it closes"
        )

    def on_train_epoch_start(trainer: Any) -> None:
        last = trainer.args.close_mosaic
        if trainer.epoch == 0 and last >= trainer.epochs:
            warnings.warn(
                f"close_mosaic={last} covers all {trainer.epochs} epochs, so no batch is mixed: lower close_mosaic",
                UserWarning,
                stacklevel=2,
            )
        mix.set_progress(trainer.epoch)
        mix.close(trainer.epoch >= trainer.epochs - last, by_schedule=True)

    return on_train_epoch_start
