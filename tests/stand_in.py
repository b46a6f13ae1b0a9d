"""A device that isn't there: tensors that say they lie elsewhere, work on the host, and tell what would wait for it.

As with CUDA, tensors of host and device don't mix in one operation, values come to the host only by a transfer, and a
transfer waits unless it goes to the device and is ``non_blocking``. What asks for values (``item``, ``tolist``,
``nonzero``, a boolean index) waits, too. So device paths run on real numbers where no device is, and their waits count.
It isn't CUDA: what asks for that by name (packing a plan into pinned memory, Triton's kernels) doesn't run on it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten

DEVICE = torch.device("meta")
"""What its tensors give as their device: one that torch knows without a driver, and that no code here asks for."""

_WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
    aten.unique_consecutive.default,
}
"""Operations whose result (or its shape) the host needs to go on."""


_INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}


class Away(Tensor):
    """A tensor of the device; ``here`` holds its numbers."""

    here: Tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it says that it lies."""
        return DEVICE if StandIn.current is None else StandIn.current.place

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """Whether that is a CUDA device."""
        return self.device.type == "cuda"

    @staticmethod
    def __new__(cls, here: Tensor) -> Away:
        """Wrap a tensor of the host."""
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
        )
        made.here = here
        return made

    def untyped_storage(self) -> torch.UntypedStorage:
        """The memory of its numbers."""
        return self.here.untyped_storage()

    def data_ptr(self) -> int:
        """Where its numbers begin."""
        return self.here.data_ptr()

    def tolist(self) -> Any:
        """Plain numbers, which have to be waited for."""
        if StandIn.current is not None:
            StandIn.current.note_wait("tolist")
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch does past the mode (``as_subclass``); outside of it there is no device."""
        if StandIn.current is None:
            raise RuntimeError(f"{func} on the device outside of StandIn()")
        return StandIn.current.__torch_dispatch__(func, types, args, kwargs)


class _Makers(TorchFunctionMode):
    """``torch.tensor`` with the device: numbers of the host, sent and waited for. ``"cuda"`` is its only device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call."""
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        args, kwargs = tuple(map(_indexed, args)), {key: _indexed(value) for key, value in kwargs.items()}
        if func not in (torch.tensor, torch.as_tensor) or not _is_there(kwargs.get("device")):
            return func(*args, **kwargs)
        return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)


class StandIn(TorchDispatchMode):
    """While it is on, the device is there.

    Args:
        place: the device that its tensors name to Python; another than ``DEVICE`` needs its module of torch patched.

    Attributes:
        waits: the operations that made the host wait for it, in order.
    """

    current: ClassVar[StandIn | None] = None

    def __init__(self, place: torch.device = DEVICE) -> None:
        super().__init__()
        self.place = place
        self.waits: list[str] = []
        self._makers = _Makers()

    def __enter__(self) -> StandIn:
        """Switch the device on."""
        StandIn.current = self
        self._makers.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """Switch it off."""
        StandIn.current = None
        super().__exit__(*error)
        self._makers.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation."""
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        away = [tensor for tensor in tensors if isinstance(tensor, Away)]
        wanted = kwargs.get("device")
        stays = bool(away) if wanted is None else _is_there(wanted)
        if func is aten._to_copy.default and stays != bool(away):
            self._wait_unless(stays and kwargs.get("non_blocking", False), func)
        elif func is aten.copy_.default and isinstance(args[0], Away) != isinstance(args[1], Away):
            self._wait_unless(isinstance(args[0], Away) and len(args) > 2 and args[2], func)
        elif away:
            self._check_together(func, args, tensors)
            self._wait_unless(func not in _WAITING and not _counts_booleans(func, args), func)
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        found = {id(tensor.here): tensor for tensor in away}
        result = func(*tree_map(_here, args), **tree_map(_here, kwargs))

        def there(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return found[id(value)] if id(value) in found else Away(value)

        return tree_map(there, result) if stays else result

    def _wait_unless(self, free: bool, func: Any) -> None:
        if not free:
            self.note_wait(str(func))

    def note_wait(self, what: str) -> None:
        """Note that the host waits for the device."""
        self.waits.append(what)

    def _check_together(self, func: Any, args: Any, tensors: list[Tensor]) -> None:
        """As CUDA: single numbers of the host may join, but for what is written or joined, and so may indices."""
        alone = func in (aten.cat.default, aten.stack.default)
        others = [tensor for tensor in tensors if not isinstance(tensor, Away) and (tensor.ndim or alone)]
        if func._schema.is_mutable and not isinstance(args[0], Away):
            others.append(args[0])
        indexed = [args[0], *(value for value in args[2:3] if isinstance(value, Tensor) and value.ndim)]
        if others and func in _INDEXING and all(isinstance(tensor, Away) for tensor in indexed):
            self.note_wait(f"{func} by an index of the host")
        elif others:
            raise RuntimeError(f"{func} got tensors of the device and of the host")


def _indexed(value: Any) -> Any:
    """A device with its index, where it is given without: torch would ask the driver for it."""
    place = None if StandIn.current is None else StandIn.current.place
    if place is None or place.index is None or not isinstance(value, (str, torch.device)):
        return value
    return place if str(value) == place.type else value


def _is_there(wanted: Any) -> bool:
    """Whether a device that is asked for is this one."""
    places = {DEVICE.type} if StandIn.current is None else {DEVICE.type, StandIn.current.place.type}
    return torch.device(wanted or "cpu").type in places


def _counts_booleans(func: Any, args: Any) -> bool:
    """Whether an index of booleans has to be counted: unless one number is put where they are true (a masked fill)."""
    if func not in _INDEXING or not any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
        return False
    return func is aten.index.Tensor or args[2].numel() > 1


def send(value: Any) -> Any:
    """Tensors anywhere in a structure, on the device."""
    return tree_map(lambda leaf: Away(leaf) if isinstance(leaf, Tensor) else leaf, value)


def fetch(value: Any) -> Any:
    """And back."""
    return tree_map(_here, value)


def _here(value: Any) -> Any:
    return value.here if isinstance(value, Away) else value
