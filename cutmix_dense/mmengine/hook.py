"""Ends mixing for the last epochs or iterations of a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop

from cutmix_dense.checks import whole
from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.mmengine.replaced import SampleMixes, kept_mixes
from cutmix_dense.mmengine.scope import HOOKS


@HOOKS.register_module()
class CloseMixHook(Hook):
    """Stops every mix of this package, per sample and per batch, for the last epochs or iterations.

    Loader workers share the switch, so that persistent ones needn't be started anew. Workers make batches ahead
    (``num_workers * prefetch_factor``): mixing per sample is closed so many iterations earlier, and none of the last
    ``num_last_iters`` is mixed. Mixing per batch is closed at the iteration itself. A resumed training is closed as if
    it had never stopped. What was closed by hand stays closed. Other transforms of a strong pipeline are left alone.
    It runs behind hooks that replace a pipeline (MMDetection's ``PipelineSwitchHook``), and closes the new one, too.

    ``default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_epochs=2))`` adds it to a config;
    ``custom_hooks = [...]`` would replace the list that ``_base_`` has.

    Args:
        num_last_epochs: so many epochs at the end don't mix; for epoch-based loops.
        num_last_iters: so many iterations at the end don't mix; for any loop. MMSegmentation's loops count iterations.

    Where they leave no epoch or iteration that mixes, as in a training that is shortened for a try, the log has a
    warning at the start.

    Raises:
        ValueError: not exactly one of them above 0, epochs for a loop without epochs, nothing to close.

    Example:
        >>> from cutmix_dense.mmengine import HOOKS
        >>> HOOKS.build({"type": "cutmix_dense.CloseMixHook", "num_last_iters": 2000}).num_last_iters
        2000

    Source: the closing of Mosaic and MixUp is YOLOX's (``YOLOXModeSwitchHook`` in MMDetection).
    """

    priority = "LOWEST"

    def __init__(self, num_last_epochs: int = 0, num_last_iters: int = 0) -> None:
        num_last_epochs = whole(num_last_epochs, "num_last_epochs", None)
        num_last_iters = whole(num_last_iters, "num_last_iters", None)
        if min(num_last_epochs, num_last_iters) < 0 or (num_last_epochs > 0) == (num_last_iters > 0):
            raise ValueError(
                "exactly one of num_last_epochs and num_last_iters must be above 0, it says when mixing ends; got "
                f"{num_last_epochs} and {num_last_iters}"
            )
        self.num_last_epochs = num_last_epochs
        self.num_last_iters = num_last_iters
        self.closed: dict[str, bool] = {}
        self._samples = SampleMixes()

    def before_train(self, runner: Any) -> None:
        """Refuse what can't be closed."""
        if self.num_last_epochs and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                f"num_last_epochs={self.num_last_epochs} has no meaning here: the training loop counts "
                f"{runner.max_iters} iterations and no epochs. Write num_last_iters=… instead"
            )
        self.closed, self._samples = {}, SampleMixes()
        of_batches = any(True for _ in mixes_in_model(runner))
        of_samples = bool(self._samples.of(runner) or kept_mixes(runner))
        if not of_batches and not of_samples:
            raise ValueError(
                "CloseMixHook found nothing of cutmix_dense that mixes in this training: neither the pipelines of "
                "train_dataloader.dataset and of hooks (switch_pipeline) nor model.data_preprocessor hold a mix. Put "
                "one there, or leave the hook out"
            )
        self._warn_of_none(runner, of_batches, of_samples)

    def before_train_epoch(self, runner: Any) -> None:
        """Close or open for an epoch, or for the iterations whose batches are made next."""
        if self.num_last_epochs:
            closed = runner.epoch >= runner.max_epochs - self.num_last_epochs
            self._switch(runner, closed, closed)
        else:
            self._switch_at(runner, made_ahead(runner))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Close or open for an iteration, whose own batch is there already."""
        if self.num_last_iters:
            self._switch_at(runner, 1 + made_ahead(runner))

    def _warn_of_none(self, runner: Any, of_batches: bool, of_samples: bool) -> None:
        """Warn if mixes are closed from the start to the end."""
        by_epoch = self.num_last_epochs > 0
        name, given = ("epochs", self.num_last_epochs) if by_epoch else ("iters", self.num_last_iters)
        total = runner.max_epochs if by_epoch else runner.max_iters
        ahead = 0 if by_epoch else made_ahead(runner)
        if (of_batches and given >= total) or (of_samples and given + ahead >= total):
            below = f"write a num_last_{name} below {total - ahead}, or " if total - ahead > 1 else ""
            early = f", and the workers of the loader make {ahead} batches ahead" if ahead else ""
            runner.logger.warning(
                f"CloseMixHook closes mixing from the start of this training to its end: num_last_{name}={given} of "
                f"max_{name}={total}{early}. To mix, {below}leave the hook out (default_hooks.close_mix=None)"
            )

    def _switch_at(self, runner: Any, ahead: int) -> None:
        """Switch by the iteration; samples by the one that is so many ahead."""
        first = runner.max_iters - self.num_last_iters
        self._switch(runner, runner.iter + ahead >= first, runner.iter >= first)

    def _switch(self, runner: Any, samples: bool, batches: bool) -> None:
        """Tell every mix that there is by now."""
        every: tuple[tuple[str, bool, list[Any]], ...] = (
            ("sample", samples, [*self._samples.of(runner)]),
            ("batch", batches, [*mixes_in_model(runner)]),
        )
        for kind, closed, mixes in every:
            for mix in mixes:
                mix.close(closed, by_schedule=True)
            if mixes and closed and not self.closed.get(kind):
                runner.logger.info(
                    f"Mixing per {kind} is closed: epoch {runner.epoch + 1}, iteration {runner.iter + 1}"
                )
            self.closed[kind] = bool(mixes) and closed


def mixes_in_model(runner: Any) -> Iterator[Closable]:
    """Every mix in a model."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return (module for module in model.modules() if isinstance(module, Closable) and module.mixes)


def made_ahead(runner: Any) -> int:
    """Batches that the loader's workers make before they are asked for."""
    loader = runner.train_dataloader
    return loader.num_workers * (loader.prefetch_factor or 0) if loader.num_workers else 0
