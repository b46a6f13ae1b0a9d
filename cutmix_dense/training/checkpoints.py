"""Checkpoints that survive a kill, and what is known of a training after it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.mmengine.checkpoints import allow_checkpoints
from cutmix_dense.mmengine.scope import HOOKS

__all__ = [
    "MetricsFileHook",
    "ValidateOnResumeHook",
    "allow_checkpoints",
    "checkpoints_in",
    "finite",
    "newest_checkpoint",
    "read_metrics",
]

_NAME = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a training that can be read whole; None if there is none.

    A kill while a checkpoint is being written leaves part of a file, and ``last_checkpoint`` may not know of the one
    before: so the files themselves are looked at, newest first.

    Raises:
        UnpicklingError: a whole checkpoint that holds what ``allow_checkpoints`` doesn't allow.
    """
    found = checkpoints_in(work_dir)
    for path in found:
        try:
            torch.load(path, map_location="cpu", mmap=True)
        except Exception as error:  # torch raises many kinds for a broken file
            if isinstance(error, UnpicklingError) and zipfile.is_zipfile(path):  # whole, but not safe to load
                raise
            print_log(f"{path} can't be read ({type(error).__name__}), so the one before it is taken", "current")
        else:
            return str(path)
    return None


def checkpoints_in(work_dir: str | Path) -> list[Path]:
    """The checkpoints of a training, the last one first."""
    found = [(int(match[1]), path) for path in Path(work_dir).glob("*.pth") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def read_metrics(work_dir: str | Path) -> dict[int, dict[str, float]]:
    """What ``MetricsFileHook`` wrote: the metrics by epoch (or iteration); empty if nothing yet."""
    path = Path(work_dir) / MetricsFileHook.filename
    if not path.is_file():
        return {}
    return {int(step): metrics for step, metrics in json.loads(path.read_text(encoding="utf-8")).items()}


@HOOKS.register_module()
class MetricsFileHook(Hook):
    """Keeps the validation metrics of a training, across resumes, in one file ``metrics.json`` of its folder.

    ``{"10": {"semantic/mIoU": 31.2, ...}, ...}`` by epoch, or by iteration in iteration-based loops; a NaN is null.
    """

    filename = "metrics.json"

    def before_train(self, runner: Any) -> None:
        """Forget what lies ahead of the checkpoint that a training starts from."""
        if is_main_process():
            now = _step(runner)
            self._write(runner, {step: kept for step, kept in read_metrics(runner.work_dir).items() if step <= now})

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics down; a validation alone, without a training, isn't one of its."""
        if is_main_process() and metrics and not isinstance(runner._train_loop, (dict, type(None))):
            self._write(runner, {**read_metrics(runner.work_dir), _step(runner): finite(metrics)})

    def _write(self, runner: Any, content: dict[int, Any]) -> None:
        write_atomic(Path(runner.work_dir) / self.filename, dump_json({str(step): content[step] for step in content}))


@HOOKS.register_module()
class ValidateOnResumeHook(Hook):
    """Validates before a resumed training goes on, if a kill came between a checkpoint and its validation.

    MMEngine saves first and validates then; a training that was killed between the two would never get that
    validation, the last one of all among them. Needs ``MetricsFileHook``.
    """

    priority = "LOWEST"

    def before_train(self, runner: Any) -> None:
        """Validate if it is due."""
        loop, step = runner.train_loop, _step(runner)
        by_iter = isinstance(loop, IterBasedTrainLoop)
        last = step == (loop.max_iters if by_iter else loop.max_epochs)
        due = step > 0 and step >= loop.val_begin and (step % loop.val_interval == 0 or last)
        if runner.val_loop is None or not due:
            return
        missing = [step not in read_metrics(runner.work_dir)]
        broadcast_object_list(missing)  # only the main process's disk may have the file
        if missing[0]:
            runner.val_loop.run()


def _step(runner: Any) -> int:
    return runner.iter if isinstance(runner.train_loop, IterBasedTrainLoop) else runner.epoch


def finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics as JSON holds them: numbers, and None for what isn't finite."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}
