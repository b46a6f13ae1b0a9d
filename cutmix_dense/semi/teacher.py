"""The mean teacher: a moving average of the student, without gradients."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Buffers = Literal["average", "copy"]
"""How the teacher follows the student's buffers (statistics of batch normalisation)."""

_HALF = (torch.bfloat16, torch.float16)
_AVERAGES = "averages."
"""Where the float32 averages of tensors of half precision are in a ``state_dict``."""


class MeanTeacher(AveragedModel):
    """A teacher whose weights are the exponential moving average of a student's.

    It starts as an exact copy. Call ``update`` after every step of the student's optimizer: θ' ← d·θ' + (1−d)·θ with
    d = ``decay_at(step)``. ``module`` holds the teacher; calling this object runs it without gradients. It stays in
    evaluation mode, whatever ``train()`` is called on (French et al. use training mode: call
    ``teacher.module.train()``). ``state_dict`` holds the weights and the number of updates.

    Averages of bfloat16 and float16 tensors are kept in float32, beside the rounded weights that ``module`` computes
    with: a step of (1−d)·(θ − θ') is mostly too small for these types. They cost 4 bytes per number, and are in the
    ``state_dict`` from the first update on, as ``averages.<name>``. A checkpoint without them goes on from its weights.

    Args:
        model: the student; copied on its device.
        decay: d after warm-up, in [0, 1): 0.99 in French et al. and ClassMix, 0.996 in UniMatch V2.
        warmup: use ``min(1 − 1 / (step + 1), decay)``, with step = number of earlier updates, so that the student's
            initial weights fade quickly; the first update is then a copy.
        buffers: ``"average"`` floating-point buffers like weights and copy the others (French et al., UniMatch V2), or
            ``"copy"`` all (``AveragedModel``'s default).

    Raises:
        ValueError: the decay lies outside of [0, 1), or ``buffers`` is unknown.

    Source: Tarvainen, Valpola, Mean teachers are better role models (2017); French et al. (2020); Olsson et al. (2021).

    Example:
        >>> student = nn.Linear(1, 1, bias=False)
        >>> teacher = MeanTeacher(student, decay=0.75, warmup=False)
        >>> before = student.weight.item()
        >>> weight = nn.init.constant_(student.weight, before + 1)
        >>> teacher.update(student)
        >>> round(teacher.module.weight.item() - before, 4)  # a quarter of the way
        0.25
    """

    def __init__(
        self, model: nn.Module, decay: float = 0.99, warmup: bool = True, buffers: Buffers = "average"
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay!r}")
        if buffers not in get_args(Buffers):
            raise ValueError(f"buffers must be one of {get_args(Buffers)}, got {buffers!r}")
        super().__init__(model, multi_avg_fn=partial(_average, decay, warmup), use_buffers=buffers == "average")
        self.decay = decay
        self.warmup = warmup
        self.module.requires_grad_(False)
        self.n_averaged: Tensor  # at 0, AveragedModel copies; without warm-up the copy above counts as the first
        self.n_averaged = torch.full((), 0 if warmup else 1, dtype=torch.long, device="cpu")
        self._averages: dict[str, Tensor] = {}  # float32, of the tensors of half precision
        self.eval()

    @property
    def step(self) -> int:
        """Number of updates so far."""
        return int(self.n_averaged) - (0 if self.warmup else 1)

    def decay_at(self, step: int) -> float:
        """The decay of the update after ``step`` earlier ones."""
        return _decay_at(self.decay, self.warmup, step)

    def update(self, model: nn.Module) -> None:
        """Move towards the student; call this after its optimizer's step.

        Args:
            model: the student, without wrappers such as ``DistributedDataParallel``.

        Raises:
            ValueError: the model has other parameters or buffers.
        """
        ours, theirs = (_tensors(each) for each in (self.module, model))
        for (name, shape), (other, got) in zip_longest(ours, theirs, fillvalue=("", None)):
            if shape != got:
                raise ValueError(
                    f"model must have the teacher's parameters and buffers, shape by shape: the teacher has "
                    f"{_described(name, shape)} where model has {_described(other, got)}. Give the student that the "
                    "teacher was made from, or make a new MeanTeacher"
                )
        self.update_parameters(model)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """``update`` without its check."""
        averages = self._averages = self._exact()
        own, given = self._averaged_tensors(self.module), self._averaged_tensors(model)
        halves = [(averages[name], own[name], new) for name, new in zip(own, given.values()) if name in averages]
        decay = self.decay_at(self.step)
        super().update_parameters(model)  # of half precision it only copies, in the first step of a warm-up
        if halves:
            exact = [average for average, _, _ in halves]
            get_ema_multi_avg_fn(decay)(exact, [new.to(average) for average, _, new in halves], self.n_averaged)
            for average, tensor, _ in halves:
                tensor.copy_(average)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the averaged model, without gradients."""
        with torch.no_grad():
            return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> MeanTeacher:
        """Stay in evaluation mode, even if the model that holds this teacher is set to training."""
        return super().train(False)

    def _averaged_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """Parameters, and the buffers that are averaged, by name."""
        buffers = model.named_buffers() if self.use_buffers else ()
        return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *buffers)}

    def _exact(self) -> dict[str, Tensor]:
        """The float32 averages of all tensors of half precision; where one was changed by others, its value."""
        exact = {}
        for name, tensor in self._averaged_tensors(self.module).items():
            if tensor.dtype in _HALF:
                value = tensor.float()
                average = self._averages.get(name, value).to(tensor.device)
                exact[name] = torch.where(average.to(tensor.dtype) == tensor, average, value)
        return exact

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({f"{prefix}{_AVERAGES}{name}": average for name, average in self._averages.items()})

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        start = prefix + _AVERAGES
        found = {key: state_dict.pop(key) for key in [*state_dict] if key.startswith(start)}
        self._averages = {key[len(start) :]: value.detach().float().clone() for key, value in found.items()}
        super()._load_from_state_dict(state_dict, prefix, *args)


def _decay_at(decay: float, warmup: bool, step: int) -> float:
    return min(1 - 1 / (step + 1), decay) if warmup else decay


def _average(decay: float, warmup: bool, teacher: Any, student: Any, count: Any) -> None:
    """``AveragedModel``'s averaging function; ``count`` is the step, or the step + 1 without warm-up.

    Tensors of half precision stay as they are: ``MeanTeacher`` averages them in float32.
    """
    if teacher[0].dtype in _HALF:
        return
    if teacher[0].is_floating_point():
        get_ema_multi_avg_fn(_decay_at(decay, warmup, int(count)))(teacher, student, count)
    else:
        for ours, theirs in zip(teacher, student):
            ours.copy_(theirs)


def _tensors(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of every parameter and buffer."""
    return [(name, tuple(tensor.shape)) for name, tensor in (*model.named_parameters(), *model.named_buffers())]


def _described(name: str, shape: tuple[int, ...] | None) -> str:
    return "no more" if shape is None else f"{name} {shape}"
