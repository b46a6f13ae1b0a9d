"""A GPU that isn't there, to Triton: kernels are specialised and compiled for it as on a real one, ptxas included.

Nothing runs: launches are noted, with what they would have been given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

__all__ = ["Launch", "card"]


class Launch(NamedTuple):
    """One launch that wasn't made.

    Attributes:
        kernel: what was compiled for it, with ``asm`` and ``metadata``.
        grid: number of programs along each axis.
        arguments: tensors and numbers that the kernel takes, in its order, without those compiled into it.
        kinds: Triton's type of each.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: list[Any]
    kinds: list[str]


class _Utils:
    """What the compiler asks of a card."""

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 100 * 1024, "multiprocessor_count": 132, "warpSize": 32}

    def load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[int, ...]:
        return 1, 1, 0, 0, 1024  # module, function, registers, spills, threads per block

    def unload_module(self, module: int) -> None:
        """Nothing was loaded."""


class _Driver(DriverBase):  # type: ignore[misc]
    """A driver for one architecture; its number is that of the device, so that each has a cache of its own."""

    def __init__(self, architecture: int) -> None:
        super().__init__()
        self.architecture, self.utils = architecture, _Utils()

    @staticmethod
    def launcher_cls(source: Any, metadata: Any) -> Any:
        return lambda *_: None

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        return self.architecture

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("there is nothing to time")


@contextmanager
def card(architecture: int = 90) -> Iterator[list[Launch]]:
    """While it is on, Triton's launches are noted in the list; ``architecture`` is 80 for sm_80."""
    launches: list[Launch] = []
    run = JITFunction.run

    def noted(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=warmup, **kwargs)
        given = {**dict(zip(self.arg_names, args)), **kwargs}
        taken = {name: kind for name, kind in kernel.src.signature.items() if kind != "constexpr"}
        launches.append(Launch(kernel, tuple(grid), [given[name] for name in taken], list(taken.values())))
        return kernel

    before = driver._active
    driver.set_active(_Driver(architecture))
    JITFunction.run = noted
    try:
        yield launches
    finally:
        JITFunction.run = run
        driver._active = before
