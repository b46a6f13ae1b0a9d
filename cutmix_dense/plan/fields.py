"""The fields of a plan, and the facts that follow from them directly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.plan.memo import Memo, Once


class PlanFacts(NamedTuple):
    """The small fields of a plan as numpy arrays; ``MixPlan`` documents them."""

    source: Int[np.ndarray, "b s"]
    scale: Float[np.ndarray, "b s d"]
    shift: Float[np.ndarray, "b s d"]
    extent: Int[np.ndarray, "b s ends"]
    canvas: Int[np.ndarray, "b d"]


@dataclass(frozen=True, eq=False)
class PlanFields:
    """The data of a plan; ``MixPlan`` documents it."""

    source: Int[Tensor, "b s"]
    scale: Float[Tensor, "b s d"]
    shift: Float[Tensor, "b s d"]
    extent: Int[Tensor, "b s ends"]
    canvas: Int[Tensor, "b d"]
    edges: tuple[Int[Tensor, "b _edges"], ...]
    owner: Int[Tensor, "b *g"]
    frame: tuple[int, ...]
    carry: Bool[Tensor, "b s n"] | None = None
    weight: Float[Tensor, "b s"] | None = None
    opacity: Float[Tensor, "b s"] | None = None
    free_form: bool = False
    frames: int = 1
    unscaled: bool | None = None
    check: InitVar[bool] = True

    def __len__(self) -> int:
        """Number of outputs."""
        return self.source.shape[0]

    def __repr__(self) -> str:
        grid = "×".join(str(n) for n in self.owner.shape[1:])
        frame = "×".join(str(n) for n in self.frame)
        clips = f", frames={self.frames}" if self.frames > 1 else ""
        facts = f"outputs={len(self)}, layers={self.layers}, grid={grid}, frame={frame}{clips}"
        return f"MixPlan({facts}, device={self.device})"

    def __getstate__(self) -> dict[str, Any]:
        """The fields, without what is cached about them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def layers(self) -> int:
        """Number of layers S."""
        return self.source.shape[1]

    @property
    def ndim(self) -> int:
        """Number of spatial axes D."""
        return self.canvas.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the plan lies."""
        return self.source.device

    @property
    def facts(self) -> PlanFacts:
        """The small fields as numpy arrays: views on the host; from a device, one transfer, cached."""
        return facts_of(self)

    @property
    def memo(self) -> Memo:
        """Cached results of functions of this plan."""
        if "_memo" not in self.__dict__:
            given = (*self.small, self.owner, *self.edges, self.carry, self.weight, self.opacity)
            self.__dict__["_memo"] = Memo([tensor for tensor in given if tensor is not None])
        found: Memo = self.__dict__["_memo"]
        return found

    @property
    def small(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The fields of ``facts`` as tensors: source, scale, shift, extent, canvas."""
        return self.source, self.scale, self.shift, self.extent, self.canvas

    def each(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """The tensor fields by name, with ``change`` applied to each tensor."""
        changed: dict[str, Any] = {}
        for name in ("source", "scale", "shift", "extent", "canvas", "owner", "carry", "weight", "opacity"):
            value = getattr(self, name)
            changed[name] = None if value is None else change(value)
        return {**changed, "edges": tuple(map(change, self.edges))}


@Once
def facts_of(plan: PlanFields) -> PlanFacts:
    """The small fields of a plan as numpy arrays; see ``PlanFields.facts``."""
    if plan.device.type == "cpu":
        return PlanFacts(*map(Tensor.numpy, map(Tensor.detach, plan.small)))
    exact = torch.float32 if plan.device.type == "mps" else torch.float64
    joined = torch.cat([field.detach().flatten().to(exact) for field in plan.small]).to("cpu").numpy()
    ends = np.cumsum([field.numel() for field in plan.small])[:-1]
    parts = [part.reshape(field.shape) for part, field in zip(np.split(joined, ends), plan.small)]
    dtypes = (np.int64, np.float32, np.float32, np.int64, np.int64)
    return PlanFacts(*(part.astype(dtype) for part, dtype in zip(parts, dtypes)))
