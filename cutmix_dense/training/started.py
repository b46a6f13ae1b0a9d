"""Trainings and evaluations from their configs: what is wrong with a config is told before the first batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from cutmix_dense.training.checkpoints import read_checkpoint
from cutmix_dense.training.errors import TrainingError

Found = TypeVar("Found")

_PACKAGE = Path(__file__).parents[1]


class _StartHook(Hook):
    """Reads the checkpoint that a Runner starts from, and notes that a loop has begun; other hooks check before it."""

    priority = "LOWEST"
    begun = False

    def before_run(self, runner: Any) -> None:
        """Say what is wrong with a file; MMEngine fetches the others."""
        start = runner._load_from
        if start is not None and "://" not in str(start):
            read_checkpoint(start, resume=runner._resume)

    def before_train(self, runner: Any) -> None:
        self.begun = True
        _tell_open_windows(runner)

    def before_test(self, runner: Any) -> None:
        self.begun = True


def _tell_open_windows(runner: Any) -> None:
    """Warn where an epoch ends between two steps of the optimizer: checkpoints hold no gradients."""
    counts, loop = getattr(runner.optim_wrapper, "_accumulative_counts", 1), runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop) or len(loop.dataloader) % counts == 0:
        return
    runner.logger.warning(
        f"an epoch has {len(loop.dataloader)} iterations, which accumulative_counts={counts} doesn't divide: a resumed "
        "training lacks the gradients since the last step, so it isn't bit for bit the uninterrupted one"
    )


def work_with(cfg: Any, work: Callable[[Runner], Found]) -> Found:
    """Build the Runner of a config and do something with it.

    Args:
        cfg: the config.
        work: what to do, such as ``Runner.train``.

    Returns:
        What ``work`` returns.

    Raises:
        TrainingError: what this package says against a config, its data or its checkpoint before the first batch.
            Errors of others, and later ones, pass.
    """
    hook = _StartHook()
    try:
        runner = Runner.from_cfg(cfg)
        runner.register_hook(hook)
        return work(runner)
    except TrainingError:
        raise
    except (TypeError, ValueError) as error:  # RuntimeErrors are torch's
        if hook.begun or not _is_said(error):
            raise
        raise TrainingError(str(error)) from error


def _is_said(error: Exception) -> bool:
    """Whether this package raised an error; of others the traceback says more."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(trace.tb_frame.f_code.co_filename).is_relative_to(_PACKAGE)
