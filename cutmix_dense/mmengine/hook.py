"""Ends mixing for the last epochs or iterations of a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop

from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.mmengine.sample import SampleMix
from cutmix_dense.mmengine.scope import HOOKS

__all__ = ["CloseMixHook"]


@HOOKS.register_module()
class CloseMixHook(Hook):
    """Stops every mix of this package, per sample and per batch, for the last epochs or iterations.

    Loader workers share the switch, so that persistent ones needn't be started anew. Batches that workers had made
    ahead of an iteration (``prefetch_factor`` each) still come mixed; at an epoch's start there are none. A resumed
    training is closed as if it had never stopped. Other transforms of a strong pipeline are left alone.

    Args:
        num_last_epochs: so many epochs at the end don't mix; for epoch-based loops.
        num_last_iters: so many iterations at the end don't mix; for any loop.

    Raises:
        ValueError: not exactly one of them above 0, epochs for a loop without epochs, nothing to close.

    Source: the closing of Mosaic and MixUp is YOLOX's (``YOLOXModeSwitchHook`` in MMDetection).
    """

    def __init__(self, num_last_epochs: int = 0, num_last_iters: int = 0) -> None:
        if min(num_last_epochs, num_last_iters) < 0 or (num_last_epochs > 0) == (num_last_iters > 0):
            raise ValueError(
                f"one of num_last_epochs and num_last_iters must be above 0, got {num_last_epochs} and {num_last_iters}"
            )
        self.num_last_epochs = num_last_epochs
        self.num_last_iters = num_last_iters
        self.mixes: list[SampleMix | Closable] = []
        self.closed: bool | None = None

    def before_train(self, runner: Any) -> None:
        """Find what is to be closed."""
        if self.num_last_epochs and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError("num_last_epochs needs an epoch-based loop: use num_last_iters")
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.mixes = [module for module in model.modules() if isinstance(module, Closable) and module.mixes]
        self.mixes += find_mixes(runner.train_dataloader.dataset)
        self.closed = None
        if not self.mixes:
            raise ValueError("CloseMixHook found nothing of cutmix_dense that mixes in this training")

    def before_train_epoch(self, runner: Any) -> None:
        """Close or open for an epoch."""
        if self.num_last_epochs:
            self._switch(runner, runner.epoch >= runner.max_epochs - self.num_last_epochs)
        else:
            self.before_train_iter(runner, 0)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Close or open for an iteration."""
        if self.num_last_iters:
            self._switch(runner, runner.iter >= runner.max_iters - self.num_last_iters)

    def _switch(self, runner: Any, closed: bool) -> None:
        if closed == self.closed:
            return
        self.closed = closed
        for mix in self.mixes:
            mix.close(closed)
        if closed:
            runner.logger.info(f"Mixing is closed from epoch {runner.epoch + 1}, iteration {runner.iter + 1} on")


def find_mixes(dataset: Any) -> Iterator[SampleMix]:
    """Every mix in the pipelines of a dataset and of the datasets it wraps."""
    if isinstance(dataset, SampleMix):
        yield dataset
        return
    for name in ("dataset", "datasets", "pipeline", "transforms", "branch_pipelines"):
        inner = getattr(dataset, name, ())
        inner = list(inner.values()) if isinstance(inner, dict) else inner
        for item in inner if isinstance(inner, (list, tuple)) else [inner]:
            if item is not dataset and item != ():
                yield from find_mixes(item)
