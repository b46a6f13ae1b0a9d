"""Checkpoints that survive a kill, and what is known of a training after it."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor, nn

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.mmengine.scope import HOOKS
from cutmix_dense.training.errors import BrokenCheckpointError, TrainingError

_NAME = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


def read_checkpoint(path: str | Path, *, resume: bool = False) -> Mapping[str, Any]:
    """What a checkpoint holds, on the CPU; tensors are read from the file when they are used.

    Args:
        path: a file that MMEngine or ``torch.save`` wrote; a state dict alone is one as well.
        resume: whether a training shall go on from it, for which weights aren't enough.

    Returns:
        Its content.

    Raises:
        BrokenCheckpointError: the file was cut off, or is no checkpoint.
        TrainingError: there is no such file, torch's safe loader refuses it, or no training can go on from it.

    Example:
        >>> read_checkpoint("epoch_1.pth")
        Traceback (most recent call last):
        cutmix_dense.training.errors.TrainingError: epoch_1.pth: no such checkpoint
    """
    file = Path(os.path.expanduser(path))  # ~ of an unknown user stays as it is
    if not file.is_file():
        raise TrainingError(f"{path}: no such checkpoint")
    whole = zipfile.is_zipfile(file)  # else cut off, or of a torch before 1.6, whose files can't be mapped
    try:
        found = torch.load(file, map_location="cpu", mmap=whole)
    except Exception as error:  # torch raises many kinds for a broken file
        if whole and isinstance(error, UnpicklingError):
            refused = next((line for line in str(error).splitlines() if "nsupported" in line), str(error)).strip()
            raise TrainingError(
                f"{path} holds what torch's safe loader refuses ({refused}); a checkpoint of this training has no such "
                "thing: if you trust the file, allow its class with torch.serialization.add_safe_globals in a module "
                "of custom_imports"
            ) from error
        raise BrokenCheckpointError(_broken(path, type(error).__name__)) from error
    if not isinstance(found, Mapping):
        raise BrokenCheckpointError(_broken(path, f"it holds a {type(found).__name__}"))
    lacking = [name for name in ("state_dict", "meta", "message_hub") if not isinstance(found.get(name), Mapping)]
    lacking += [f"meta.{name}" for name in ("epoch", "iter") if "meta" not in lacking and name not in found["meta"]]
    if resume and lacking:
        raise TrainingError(
            f"{path} has no {', '.join(lacking)}, so no training can go on from it; to begin a new one with its "
            f"weights, leave --resume out and set load_from={path}"
        )
    return found


def _broken(path: str | Path, why: str) -> str:
    return (
        f"{path} can't be read as a checkpoint ({why}): it was cut off as it was written or copied, or is another kind "
        "of file; give one that is whole"
    )


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a training that can be read whole; None if there is none.

    A kill while a checkpoint is being written leaves part of a file, and ``last_checkpoint`` may not know of the one
    before: so the files themselves are looked at, newest first.

    Raises:
        TrainingError: a whole checkpoint that holds what ``allow_checkpoints`` doesn't allow.
    """
    for path in checkpoints_in(work_dir):
        try:
            read_checkpoint(path)
        except BrokenCheckpointError as error:
            print_log(f"{error}; the one before it is taken", "current")
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


class WholeCheckpointHook(Hook):
    """Refuses a checkpoint that leaves parameters of the model as they were made, for evaluations.

    MMEngine loads what fits and writes the rest into the log, so that a wrong checkpoint gets the scores of random
    weights.

    Raises:
        TrainingError: (when the checkpoint is loaded) see ``check_fit``.

    Example:
        >>> WholeCheckpointHook().priority
        'LOWEST'
    """

    priority = "LOWEST"

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Compare it with the model."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        try:
            check_fit(model, checkpoint.get("state_dict", checkpoint))
        except TrainingError as error:
            raise TrainingError(f"{runner._load_from} {error}") from error


def check_fit(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load what fits, and refuse a state without a value of the right shape for every parameter that is read.

    Buffers may be missing, and what the evaluation of a model with a teacher doesn't read: the teacher where the
    student is evaluated, and the reverse.

    Args:
        model: what an evaluation runs; gets the values of the state.
        state: tensors by name, as ``state_dict()`` gives them, also with ``module.`` in front.

    Returns:
        None.

    Raises:
        TrainingError: parameters are missing or of another shape; their number, and the first of them by name.

    Example:
        >>> check_fit(nn.Linear(2, 1), {"weight": torch.zeros(1, 2)})
        Traceback (most recent call last):
        cutmix_dense.training.errors.TrainingError: fits 1 of the 2 parameters of the config's model, a Linear: ...
    """
    given = {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
    idle = getattr(model, "idle", None)
    named = model.named_parameters(remove_duplicate=False)
    wanted = [name for name, _ in named if not (idle and name.startswith(f"{idle}."))]
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    other = {name for name, value in given.items() if tuple(value.shape) != shapes.get(name, tuple(value.shape))}
    loaded = OrderedDict((name, value) for name, value in given.items() if name not in other)
    loaded._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    absent = set(model.load_state_dict(loaded, strict=False).missing_keys)  # as models rename their older keys
    missing = [name for name in wanted if name in absent]
    if not missing:
        return
    told = [
        f"{name} of shape {tuple(given[name].shape)}, not {shapes[name]}" if name in other else f"no {name}"
        for name in missing[:3]
    ]
    rest = f" and {len(missing) - 3} more are missing" if len(missing) > 3 else ""
    foreign = [name for name in given if name not in shapes][:2]
    own = f"; {', '.join(foreign)}, … are none of the model's" if foreign else ""
    raise TrainingError(
        f"fits {len(wanted) - len(missing)} of the {len(wanted)} parameters of the config's model, a "
        f"{type(model).__name__}: it has {', '.join(told)}{rest}{own}; give the config that it was trained with"
    )


def _step(runner: Any) -> int:
    return runner.iter if isinstance(runner.train_loop, IterBasedTrainLoop) else runner.epoch


def finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics as JSON holds them: numbers, and None for what isn't finite."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}
