"""Who is mixed with whom, who stays unmixed, and when nobody is mixed any more."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import HOST
from cutmix_dense.pairing import partners
from cutmix_dense.plan import MixPlan
from cutmix_dense.switch import Switch
from cutmix_dense.transforms.bank import SampleBank
from cutmix_dense.transforms.layout import Layout, has_frames
from cutmix_dense.transforms.pool import Pool
from cutmix_dense.warned import warn_caller

Transform = TypeVar("Transform", bound="DrawsPartners")


class DrawsPartners:
    """Base of the transforms: draws the partners of every output, until it is closed.

    Attributes:
        p: probability that an image is mixed, per sample.
        pairing: a name of ``cutmix_dense.pairing``, or a bank.
    """

    p: float
    pairing: str | SampleBank
    layout: Layout
    semantic_keys: tuple[str, ...]
    size: tuple[int, int] | None
    _switch: Switch
    _idle = False
    """Whether this object alone doesn't mix, while the copies that share its switch may."""

    _warned: Switch
    """Whether this object, or a copy, as adapters make them for every batch, has warned of a batch of one."""

    mixes_panoptic: bool = True
    """Whether the method can mix panoptic maps; those that blend or turn pixels can't."""

    close_last: int = 0
    """Number of last steps without mixing by a schedule of its own (``RandomMix``)."""

    @property
    def partners(self) -> int:
        """Number of other images that an output is mixed with."""
        return 1

    @property
    def closed(self) -> bool:
        """Whether mixing is closed, here and in every copy."""
        return self._idle or bool(self._switch)

    def close(self, closed: bool = True, *, by_schedule: bool = False) -> None:
        """Stop mixing, or start again: batches keep their form, as if ``p`` were 0.

        All copies share one switch: deep copies, copies pickled within a family of processes, and those in workers of a
        loader, forked or spawned, persistent or not. Batches that workers made ahead still come mixed.

        Args:
            closed: whether to stop.
            by_schedule: that a schedule says so, as callbacks and hooks do: what was closed by hand stays closed, and
                only what a schedule has closed opens again.
        """
        if by_schedule:
            self._switch.schedule(closed)
        else:
            self._switch.set(closed)

    def unmixed(self: Transform) -> Transform:
        """A copy that mixes nothing, with the same settings, so that batches keep their form."""
        own = copy.copy(self)
        own._idle = True
        return own

    @property
    def scheduled(self) -> bool:
        """Whether ``set_progress`` matters: for a ``RandomMix`` with a schedule, and what holds one."""
        return False

    def set_progress(self, step: int) -> None:
        """Say which step of the training begins, counted from 0; nothing, but for a schedule (``RandomMix``)."""

    @property
    def bank(self) -> SampleBank | None:
        """The bank that partners come from."""
        return self.pairing if isinstance(self.pairing, SampleBank) else None

    @property
    def banked(self) -> bool:
        """Whether what is mixed in comes from a bank."""
        return self.bank is not None

    def joined(self, own: Pool, sizes: Any, generator: torch.Generator) -> tuple[Pool, Pool]:
        """The batch with the partners that a bank holds for it: the pool to draw a plan for, and that to mix."""
        assert self.bank is not None
        both = self.bank.join(own.images, own.targets, sizes, self.semantic_keys, own.ndim)
        pool = Pool.of(both.images, both.targets, both.sizes, len(own), self.layout)
        larger = isinstance(both.images, Tensor) and pool.frame != own.frame and self.size is None
        shown = own.frame if larger else None
        pool = replace(pool, box_form=own.box_form, shown=shown)
        return pool, pool

    def draw_partners(
        self, pool: Pool, generator: torch.Generator, count: int = 1
    ) -> tuple[Int[Tensor, "b count"], Int[Tensor, " b"]]:
        """Partners of every output, and the output whose draws it uses: exchanging pairs share theirs.

        If the pool has images behind its outputs, those are the partners, in order; else the pairing decides.

        Args:
            pool: the images.
            generator: source of the draws.
            count: number of partners of each image.

        Returns:
            partner (B, count), -1 for none and for images that stay unmixed; leader (B,).
        """
        mates, leader = self._draw_mates(pool, generator, count)
        return torch.from_numpy(mates), torch.from_numpy(leader)

    def draw_pairs(self, pool: Pool, generator: torch.Generator) -> tuple[Int[Tensor, "b 2"], Int[Tensor, " b"]]:
        """Base and partner of every output as the ``source`` of a plan, and the leader; see ``draw_partners``."""
        mates, leader = self._draw_mates(pool, generator, 1)
        source = np.empty((pool.outputs, 2), dtype=np.int64)
        source[:, 0], source[:, 1] = range(pool.outputs), mates[:, 0]
        return torch.from_numpy(source), torch.from_numpy(leader)

    def draw_mixed(self, pool: Pool, generator: torch.Generator) -> Bool[np.ndarray, " b"]:
        """Which outputs are mixed, by the probability of each."""
        draws = torch.rand(pool.outputs, generator=generator, dtype=torch.float64, device=HOST).numpy()
        return np.asarray(draws < self._chance(pool, np.arange(pool.outputs)))

    def _draw_mates(
        self, pool: Pool, generator: torch.Generator, count: int
    ) -> tuple[Int[np.ndarray, "b count"], Int[np.ndarray, " b"]]:
        """``draw_partners`` in numpy, which is cheaper for a few numbers."""
        total = pool.sizes.shape[0]
        name = "bank" if isinstance(self.pairing, SampleBank) else self.pairing
        if name != "bank" and pool.outputs < total:
            name = "behind"
        mates = partners(name, pool.outputs, total, count, generator).numpy()
        leader = np.arange(pool.outputs)
        if name == "swap":
            leader = np.where(mates[:, 0] >= 0, np.minimum(mates[:, 0], leader), leader)
        mates[~self.draw_mixed(pool, generator)[leader]] = -1
        return mates, leader

    def _chance(self, pool: Pool, leader: Int[np.ndarray, " b"]) -> float | Float[np.ndarray, " b"]:
        """Probability that each output is mixed: that of the call if given, else ``p``; 0 while closed."""
        if self.closed:
            return 0.0
        return self.p if pool.p is None else pool.p[leader]

    def _warn_of_one(self, pool: Pool, plan: MixPlan) -> None:
        """Warn once that a batch of one sample can't be mixed."""
        if pool.sizes.shape[0] > 1 or is_compiling() or self._warned or self.p == 0 or not self.partners or self.closed:
            return
        if bool((plan.source[:, 1:] < 0).all()):
            self._warned.set(True)
            clips = has_frames(self.layout)  # of which there are no banks
            bank = ", or pairing=cutmix_dense.SampleBank(), which keeps the latest images as partners"
            warn_caller(
                f"{type(self).__name__} got a batch of one {'clip' if clips else 'image'}, which has no partner and "
                f"stays as it is: use larger batches{'' if clips else bank}"
            )
