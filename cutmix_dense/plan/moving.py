"""Moving a plan to another device: its tensors are packed into one buffer, copied once and cached."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import accumulate
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.plan.fields import PlanFacts, PlanFields, facts_of
from cutmix_dense.plan.memo import Once
from cutmix_dense.plan.ownership import has_fill

Plan = TypeVar("Plan", bound=PlanFields)
Sent = TypeVar("Sent")

_ALIGNMENT = 16
"""Bytes; kernels are compiled for pointers of this alignment, so every tensor gets it."""


class PerStream(Generic[Sent]):
    """A function that sends something of a plan to a device, with its result cached by device and CUDA stream.

    Other streams don't wait for the copy.

    Raises:
        RuntimeError: a CUDA graph is being captured: it would replay the copy from memory that is used otherwise then.
    """

    def __init__(self, send: Callable[[Any, torch.device], Sent]) -> None:
        self._send = send

        def found(plan: PlanFields) -> dict[tuple[torch.device, int], Sent]:
            return {}

        self._found = Once(found)
        functools.update_wrapper(self, send)

    def __call__(self, plan: Any, device: torch.device) -> Sent:
        """What was sent, or is now."""
        there, place = self._found(plan), self._place(device)
        if place not in there:
            if device.type == "cuda" and not is_compiling() and torch.cuda.is_current_stream_capturing():
                raise RuntimeError("plan must lie on the device while a CUDA graph is captured: plan.to(device) before")
            there[place] = self._send(plan, device)
        return there[place]

    def known(self, plan: Any, device: torch.device) -> bool:
        """Whether it was sent already."""
        return self._place(device) in self._found(plan)

    def put(self, plan: Any, device: torch.device, value: Sent) -> None:
        """Cache what was sent otherwise."""
        self._found(plan)[self._place(device)] = value

    @staticmethod
    def _place(device: torch.device) -> tuple[torch.device, int]:
        cuda = device.type == "cuda" and not is_compiling()
        return device, torch.cuda.current_stream(device).cuda_stream if cuda else 0


def to_device(plan: Plan, device: torch.device) -> Plan:
    """The plan on ``device``, cached; the plan itself if it is there already.

    The copy to CUDA is asynchronous; the copy to the host is waited for.

    Args:
        plan: on any device.
        device: with its index, as ``tensor.device`` gives it.

    Raises:
        RuntimeError: the plan lies on the host, and a CUDA graph is being captured.
    """
    return plan if plan.device == device else _moved(plan, device)


@Once
def outline_of(plan: Any) -> Any:
    """The plan on the host without its owners, in one cell of no layer: all that is asked where masks were cut.

    Known where a plan was made of an owner map on a device and small fields on the host; else waited for.
    """
    if plan.device.type == "cpu":
        return plan
    nobody = torch.full((len(plan), *(1,) * plan.ndim), -1, dtype=plan.owner.dtype, device=plan.device)
    ends = tuple(edge[:, [0, -1]] for edge in plan.edges)
    return to_device(replace(plan, check=False, owner=nobody, edges=ends, free_form=False), HOST)


def sent_beside_plan(values: Tensor, plan: Any, device: torch.device) -> Tensor:
    """Values of the host on a CUDA device; the plan, unless it is there, goes with them in one copy."""
    if plan.device != HOST or _moved.known(plan, device):
        return sent(values, device)
    buffer = _packed(plan, pinned=True, beside=(values,)).to(device, non_blocking=True)
    moved = _unpacked(plan, buffer)
    _share_facts(plan, moved)
    _moved.put(plan, device, moved)
    return buffer[len(buffer) - values.nbytes :].view(values.dtype).reshape(values.shape)


@PerStream
def _moved(plan: Plan, device: torch.device) -> Plan:
    """A copy of the plan on ``device``."""
    pinned = plan.device.type == "cpu" and device.type == "cuda"
    if pinned or device.type == "cpu":
        moved = _unpacked(plan, _packed(plan, pinned=pinned).to(device, non_blocking=pinned))
    else:
        eager = plan.device.type == "cpu" and device.type != "mps"
        moved = replace(plan, check=False, **plan.each(lambda tensor: tensor.to(device, non_blocking=eager)))
    _share_facts(plan, moved)
    return moved


def _share_facts(plan: PlanFields, moved: PlanFields) -> None:
    """Give a copy what is cached about its original, so that it needn't ask its device."""
    fill = has_fill.known(plan)
    if fill is not None:
        has_fill.put(moved, fill[0])
    if moved.device.type == "cpu":  # its facts are views of itself
        return
    if plan.device.type == "cpu" and not is_compiling():  # copied: the host's memory may be written to
        facts_of.put(moved, PlanFacts(*(field.copy() for field in plan.facts)))
    elif (facts := facts_of.known(plan)) is not None:
        facts_of.put(moved, facts[0])


def _parts(plan: PlanFields) -> dict[str, tuple[Tensor, ...]]:
    """The tensors of every field that holds any."""
    values = {field.name: getattr(plan, field.name) for field in fields(plan)}
    parts = {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}
    return {name: part for name, part in parts.items() if all(isinstance(item, Tensor) for item in part)}


def _starts(tensors: list[Tensor]) -> list[int]:
    """Offset of each tensor in the buffer, then the buffer's length; bytes."""
    lengths = (-(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT for tensor in tensors)
    return list(accumulate(lengths, initial=0))


def _packed(plan: PlanFields, *, pinned: bool, beside: tuple[Tensor, ...] = ()) -> Tensor:
    """All tensors of a plan in one buffer of bytes, on the plan's device; ``beside`` ends it."""
    tensors = [*(tensor for part in _parts(plan).values() for tensor in part), *beside]
    starts = _starts(tensors)
    starts[-1] = starts[-2] + tensors[-1].nbytes if beside else starts[-1]
    buffer = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=pinned, device=plan.device)
    for start, tensor in zip(starts, tensors):
        data = tensor.contiguous().flatten().view(torch.uint8)
        buffer[start : start + len(data)].copy_(data)
    return buffer


def _unpacked(plan: Plan, buffer: Tensor) -> Plan:
    """The plan with every tensor a view of ``buffer``."""
    parts = _parts(plan)
    tensors = [tensor for part in parts.values() for tensor in part]
    views = iter(
        buffer[start : start + tensor.numel() * tensor.element_size()].view(tensor.dtype).reshape(tensor.shape)
        for start, tensor in zip(_starts(tensors), tensors)
    )
    moved: dict[str, Any] = {name: tuple(next(views) for _ in part) for name, part in parts.items()}
    return replace(plan, check=False, **{name: part if name == "edges" else part[0] for name, part in moved.items()})
