"""A callback of ``Trainer`` that mixes what it trains on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from cutmix_dense.extras import require
from cutmix_dense.huggingface.batches import Stuff, check_options
from cutmix_dense.huggingface.collator import MixCollator
from cutmix_dense.transforms import MixTransform

TrainerCallback: Any = require("transformers", "huggingface").TrainerCallback


class MixCallback(TrainerCallback):
    """Mixes training batches of a ``Trainer``: ``Trainer(…, callbacks=[MixCallback(cd.CutMix(p=0.5))])``.

    When training begins, it puts a ``MixCollator`` round the collator of the training loader. Loaders of evaluation and
    prediction are others and stay as they are, in between epochs, too. Workers mix, where there are workers.

    Closing reaches persistent workers: batches of a closed epoch aren't mixed. Within an epoch, those that were made
    ahead (one, and ``dataloader_prefetch_factor`` per worker) still come mixed. Windows of steps begin and end so many
    batches late, too. What you close yourself, by ``mix.close()``,
    stays closed.

    Args:
        mix: the transform; see ``mix_batch``.
        by_epoch: whether the windows of a ``RandomMix`` or a ``Chain`` count epochs, from 0; False: optimizer steps,
            from 0.
        close_epochs: number of last epochs without mixing, >= 0.
        close_steps: number of last optimizer steps without mixing, >= 0; not together with ``close_epochs``.
        stuff: see ``mix_batch``, as the following ones.
        soft_labels: that the loss takes probabilities: ``Trainer(compute_loss_func=soft_cross_entropy)``.
        keep_keys: further keys that hold tensors and stay the base image's.

    Raises:
        ImportError: transformers isn't installed.
        TypeError: ``mix`` isn't a mixing transform; a number that isn't an integer.
        ValueError: an argument out of its range or at odds with another; a ``RandomMix`` with a schedule of its own;
            ``by_epoch=False`` for a mix without windows.
    """

    def __init__(
        self,
        mix: MixTransform,
        *,
        by_epoch: bool = True,
        close_epochs: int = 0,
        close_steps: int = 0,
        stuff: Stuff = (),
        soft_labels: bool = False,
        keep_keys: Sequence[str] = (),
    ) -> None:
        check_options(mix, stuff, keep_keys)
        if mix.close_last:
            raise ValueError("mix has a schedule of its own, close_last: set close_epochs or close_steps here instead")
        if not by_epoch and not mix.scheduled:
            raise ValueError(
                "by_epoch=False says that windows count optimizer steps, and mix has none: leave it out, or give a "
                "RandomMix(windows=[…])"
            )
        if any(not isinstance(number, int) for number in (close_epochs, close_steps)):
            raise TypeError(f"close_epochs and close_steps must be integers, got {close_epochs!r} and {close_steps!r}")
        if close_epochs < 0 or close_steps < 0 or (close_epochs and close_steps):
            raise ValueError(
                f"close_epochs and close_steps must be at least 0, and one of them 0, got {close_epochs!r} and "
                f"{close_steps!r}"
            )
        self.mix = mix
        self.by_epoch = by_epoch
        self.close_epochs = close_epochs
        self.close_steps = close_steps
        self.options: dict[str, Any] = {"stuff": stuff, "soft_labels": soft_labels, "keep_keys": keep_keys}
        self.collator: MixCollator | None = None
        """What collates the training batches, once training has begun."""

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
        """Put the mix behind the collator of the training loader.

        Raises:
            TypeError: a loader whose collator can't be reached.
            ValueError: it mixes already; a schedule without an end to count from.
        """
        self.mix.close(False, by_schedule=True)  # a training before this one may have ended by an error
        collate = getattr(train_dataloader, "collate_fn", None)
        if collate is None:
            raise TypeError(
                f"the training loader must be a DataLoader, got {type(train_dataloader).__name__}, whose collator "
                "can't be reached: mix in your own get_train_dataloader, with collate_fn=MixCollator(…)"
            )
        if isinstance(collate, MixCollator):
            raise ValueError("the training loader mixes already: give the Trainer one MixCallback, or the loader")
        if self.close_epochs and state.num_train_epochs >= sys.maxsize:
            raise ValueError("close_epochs needs a dataset of known length: count in close_steps")
        self.collator = MixCollator(collate, self.mix, **self.options)
        train_dataloader.collate_fn = self.collator
        inner = getattr(train_dataloader, "base_dataloader", None)  # accelerate's wrapper has the loader that collates
        if inner is not None:
            inner.collate_fn = self.collator
        self._count_steps(state)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say which epoch begins to a mix whose windows count epochs, and close, when the last epochs begin."""
        epoch = int((state.epoch or 0) + 1e-6)
        if self.by_epoch and self.mix.scheduled:
            self.mix.set_progress(epoch)
        if self.close_epochs:
            self.mix.close(epoch >= state.num_train_epochs - self.close_epochs, by_schedule=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the steps for windows and closing, and make sure that batches do come through the mix.

        Raises:
            RuntimeError: they don't.
        """
        if self.collator is not None and not self.collator.arrived and state.is_world_process_zero:
            raise RuntimeError(
                "a training step has ended and no batch was collated by the training loader's collate_fn, so none was "
                "mixed: mix in your own get_train_dataloader, with collate_fn=MixCollator(…)"
            )
        self._count_steps(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open what the schedule has closed."""
        self.mix.close(False, by_schedule=True)

    def _count_steps(self, state: Any) -> None:
        """Say which step begins to a mix whose windows count steps, and close for the last ones."""
        if not self.by_epoch:
            self.mix.set_progress(state.global_step)
        if self.close_steps:
            self.mix.close(state.global_step >= state.max_steps - self.close_steps, by_schedule=True)
