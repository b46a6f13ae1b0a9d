"""What torch's safe loader may read of MMEngine's checkpoints, so that trainings resume on torch 2.6 and newer."""

from __future__ import annotations

from collections import deque
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.utils import digit_version as version


def allow_checkpoints() -> None:
    """Let torch's safe loader (``weights_only``, the default from 2.6 on) read what MMEngine's checkpoints hold.

    That is the log's history of numbers: MMEngine's buffer class with its own methods, and numpy's arrays, also those
    of a dataset's ``metainfo``, such as MMPose's colours (uint8). Arrays may hold numbers or text, never objects.
    Nothing that runs code of a file is allowed, and the protection stays on. Importing ``cutmix_dense.mmengine`` calls
    this. Older versions of torch don't load safely by default: there is nothing to allow.

    Example:
        >>> import io
        >>> import torch
        >>> from mmengine.logging import HistoryBuffer
        >>> from cutmix_dense.mmengine.checkpoints import allow_checkpoints
        >>> allow_checkpoints()
        >>> file = io.BytesIO()
        >>> torch.save({"loss": HistoryBuffer([0.5], [1])}, file)
        >>> float(torch.load(io.BytesIO(file.getvalue()))["loss"].current())
        0.5
    """
    if version("2.6") > version(torch.__version__):
        return
    array = np.zeros(1)
    core = np.core if not hasattr(np, "_core") else np._core
    numbers = {type(np.dtype(kind)) for kind in f"?{np.typecodes['AllInteger']}{np.typecodes['AllFloat']}SU"}
    allowed = [HistoryBuffer, core.multiarray._reconstruct, core.multiarray.scalar, type(array), np.dtype, *numbers]
    reading: list[Any] = [] if getattr in torch.serialization.get_safe_globals() else [(_method, "builtins.getattr")]
    torch.serialization.add_safe_globals([*allowed, deque, OneCycleParamScheduler, *reading])


def _method(owner: Any, name: str) -> Any:
    """In place of ``getattr``, which would reach anything: the methods that MMEngine's own states name."""
    if name not in _METHODS.get(owner, ()):
        raise UnpicklingError(f"a checkpoint may name methods of {', '.join(_OWNERS)} only, got {owner!r}, {name!r}")
    return getattr(owner, name)


_METHODS: dict[Any, tuple[str, ...]] = {
    HistoryBuffer: ("mean", "max", "min", "current"),
    OneCycleParamScheduler: ("_annealing_cos", "_annealing_linear"),
}
_OWNERS = [kind.__name__ for kind in _METHODS]
