"""Tells the mixes of a training which epoch or iteration begins."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from cutmix_dense.mmengine.hook import made_ahead, mixes_in_model
from cutmix_dense.mmengine.naming import PREFIX
from cutmix_dense.mmengine.replaced import SampleMixes, find_mixes, kept_mixes
from cutmix_dense.mmengine.scope import HOOKS


@HOOKS.register_module()
class MixScheduleHook(Hook):
    """Tells every mix with windows, per sample and per batch, which epoch or iteration of the training begins.

    A recipe (``type="cutmix_dense.dense_o2o"``) or a ``RandomMix(windows=[...])`` mixes by its windows then, also in a
    resumed training. Loader workers share the step. Workers make batches ahead (``num_workers * prefetch_factor``): a
    mix per sample is told the iteration that its batch will be trained in. It runs behind hooks that replace a
    pipeline (MMDetection's ``PipelineSwitchHook``), whose windows count from the start of the training, too.

    ``default_hooks = dict(mix_schedule=dict(type="cutmix_dense.MixScheduleHook"))`` adds it to a config. A training
    whose mixes have windows and that lacks it is stopped at its start.

    Args:
        by_epoch: whether windows count epochs, from 0; else iterations.

    Raises:
        ValueError: epochs for a loop without epochs; no mix with windows.

    Example:
        >>> from cutmix_dense.mmengine import HOOKS
        >>> HOOKS.build({"type": "cutmix_dense.MixScheduleHook", "by_epoch": False}).by_epoch
        False
    """

    priority = "LOWEST"

    def __init__(self, by_epoch: bool = True) -> None:
        self.by_epoch = by_epoch
        self._samples = SampleMixes()

    def before_train(self, runner: Any) -> None:
        """Refuse what can't be scheduled."""
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                f"by_epoch=True has no meaning here: the training loop counts {runner.max_iters} iterations and no "
                "epochs. Write by_epoch=False, and windows of iterations"
            )
        self._samples = SampleMixes()
        if not scheduled_names(runner):
            raise ValueError(
                "MixScheduleHook found no mix with windows in this training: neither the pipelines of "
                "train_dataloader.dataset and of hooks (switch_pipeline) nor model.data_preprocessor hold one. Put a "
                "recipe there, or a RandomMix(windows=[…]), or leave the hook out"
            )

    def before_train_epoch(self, runner: Any) -> None:
        """Tell the epoch, or the iterations whose batches are made next."""
        if self.by_epoch:
            self._tell(runner, runner.epoch, runner.epoch)
        else:
            self._tell(runner, runner.iter + made_ahead(runner), runner.iter)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Tell the iteration, whose own batch is there already."""
        if not self.by_epoch:
            self._tell(runner, runner.iter + 1 + made_ahead(runner), runner.iter)

    def _tell(self, runner: Any, samples: int, batches: int) -> None:
        for mix in self._samples.of(runner):
            mix.set_progress(samples)
        for module in mixes_in_model(runner):
            module.set_progress(batches)


def scheduled_names(runner: Any) -> list[str]:
    """The type of every mix with windows of a training, those that a hook puts in place later among them."""
    mixes: list[Any] = [*mixes_in_model(runner), *find_mixes(runner.train_dataloader.dataset)]
    there = [PREFIX + type(mix).__name__ for mix in mixes if mix.scheduled]
    return there + [kept.name for kept in kept_mixes(runner) if kept.scheduled]
