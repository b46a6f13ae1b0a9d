"""RandomMix: one of several mixing transforms per batch, each with its own window of steps."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from cutmix_dense.arrays.compiling import untraced
from cutmix_dense.checks import finite, listed, whole
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.switch import SharedNumber, Switch
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.mixup import MixUp
from cutmix_dense.transforms.pool import Images, Pool
from cutmix_dense.transforms.several import SeveralMixes
from cutmix_dense.transforms.without_panoptic import refuse_panoptic

Window = tuple[int | None, int | None]
"""(start, stop): a transform may be drawn in steps start <= step < stop of a training; None: no limit."""


class RandomMix(SeveralMixes):
    """Draw one of several transforms for each batch, by weight, each within its own window of steps.

    Each transform keeps its own settings; ``RandomMix`` has none. If one of them is a ``MixUp``, it sets
    ``instance_weights`` for all, so instances carry ``weight`` in every batch. Semantic maps have the form that the
    drawn transform gives: pairs or probabilities after a ``MixUp``, else maps. Panoptic maps are refused in the first
    call if one of the transforms can't mix them (``MixUp``, ``Affine``). Call ``set_progress`` when a step of the
    training begins; until then the step is 0. The schedule decides about draws here alone: another ``RandomMix``, round
    or beside this one, that holds the same transforms has its own. What ``close`` has closed stays closed;
    ``close(False)`` also opens what the schedule has closed, until the next ``set_progress``.

    Args:
        transforms: mixing transforms, all of one layout, box format, normalisation and ``labels_getter``.
        weights: how often each is drawn, >= 0; default equally.
        total: length of the training, in the steps that ``set_progress`` counts (epochs, iterations).
        close_last: number of last steps without mixing; needs ``total``.
        windows: for each transform (start, stop): it may be drawn if start <= step < stop. None, or None for either
            end: no limit. While no window is open, batches stay unmixed.
        idle: how often a batch stays unmixed, >= 0, in the unit of ``weights``.

    Raises:
        TypeError: a transform doesn't mix.
        ValueError: an argument is out of range; the transforms differ in how they read a batch.

    Source: YOLOX closes Mosaic and MixUp for the last epochs; DEIM and LightlyTrain schedule by windows.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mix = cd.RandomMix([cd.Mosaic(), cd.MixUp(p=1.0)], windows=[(4, 29), (4, 50)], total=58, close_last=8)
        >>> images = torch.rand(4, 3, 32, 48)
        >>> torch.equal(mix(images), images)  # step 0 is too early for either
        True
        >>> mix.set_progress(4)
        >>> torch.equal(mix(images), images)
        False
    """

    def __init__(
        self,
        transforms: Sequence[MixTransform],
        weights: Sequence[float] | None = None,
        total: int | None = None,
        close_last: int = 0,
        windows: Iterable[Iterable[Any] | None] | None = None,
        idle: float = 0.0,
    ) -> None:
        super().__init__(transforms)
        count = len(transforms)
        weights = [1.0] * count if weights is None else listed(weights, "weights", "a list of numbers or None")
        if len(weights) != count or not all(finite(w) and w >= 0 for w in weights) or sum(weights) <= 0:
            raise ValueError(f"weights must be {count} numbers >= 0, not all 0, got {weights!r}")
        if not (finite(idle) and idle >= 0):
            raise ValueError(f"idle must be at least 0, got {idle!r}")
        total = None if total is None else whole(total, "total", 0)
        close_last = whole(close_last, "close_last", 0)
        if close_last > (total or 0):
            remedy = ": give total, the length of the training" if total is None else ""
            raise ValueError(f"close_last must be at most total = {total}, got {close_last}{remedy}")
        self.weights = [float(weight) for weight in weights]
        self.idle = float(idle)
        self.total = total
        self.close_last = close_last
        self.windows = None if windows is None else _checked(windows, count)
        self._step = SharedNumber(0)
        self._over = Switch()
        self._drawn: weakref.WeakKeyDictionary[MixPlan, MixTransform] = weakref.WeakKeyDictionary()
        if any(isinstance(member, MixUp) or member.instance_weights for member in self.members):
            for member in self.members:
                member.instance_weights = True

    @property
    def mixes_panoptic(self) -> bool:  # type: ignore[override]
        """Whether all transforms that may be drawn can mix panoptic maps."""
        return all(stage.mixes_panoptic for stage, weight in zip(self.stages, self.weights) if weight > 0)

    @property
    def scheduled(self) -> bool:
        """Whether ``set_progress`` matters: mixing closes for the last steps, or there are windows."""
        own = self.close_last > 0 or self.windows is not None
        return own or any(stage.scheduled for stage in self.stages)

    def set_progress(self, step: int) -> None:
        """Set the current step, counted from 0, here and in the workers of a loader.

        The last ``close_last`` of ``total`` steps don't mix; in other steps, transforms with an open window do.
        """
        self._reach(step)
        for stage in self.stages:
            stage.set_progress(step)

    def _reach(self, step: int) -> None:
        """Take a step, and whether mixing is over by then."""
        self._step.set(step)
        self._over.set(self.close_last > 0 and self.total is not None and step >= self.total - self.close_last)

    @property
    def closed(self) -> bool:
        """Whether mixing is closed for all transforms, or over by ``close_last``."""
        return bool(self._over) or all(stage.closed for stage in self.stages)

    def close(self, closed: bool = True, *, by_schedule: bool = False) -> None:
        """Stop mixing, or start again, in every copy; see ``MixTransform.close``."""
        if not (closed or by_schedule):
            self._over.set(False)
        for stage in self.stages:
            stage.close(closed, by_schedule=by_schedule)

    def _open(self) -> list[float]:
        """Weights of the transforms: 0 for those whose window is closed."""
        step = self._step.get()
        windows = self.windows or [(None, None)] * len(self.weights)
        inside = [(a is None or a <= step) and (b is None or step < b) for a, b in windows]
        return [weight * within for weight, within in zip(self.weights, inside)]

    def choose(self, generator: torch.Generator) -> MixTransform:
        """Draw one of the transforms; for a batch that stays unmixed, a copy that doesn't mix."""
        weights = self._open()
        none = sum(weights) == 0
        weights = [*(self.weights if none else weights), *([self.idle] if self.idle else [])]
        index = int(torch.multinomial(torch.tensor(weights, dtype=torch.float64, device="cpu"), 1, generator=generator))
        idle, index = none or index == len(self.weights) or bool(self._over), index % len(self.weights)
        member = self.stages[index].choose(generator)
        return member.unmixed() if idle else member

    def unmixed(self) -> MixTransform:
        """A copy of the first transform that mixes nothing."""
        return self.stages[0].unmixed()

    def forward(self, *inputs: Any, generator: torch.Generator | None = None, **options: Any) -> Any:
        """Mix a batch by one of the transforms; arguments and result are its own."""
        refuse_panoptic(self, inputs)
        generator = call_generator(generator)
        return self.choose(generator)(*inputs, generator=generator, **options)

    def mix_batch(
        self, images: Images, targets: Any, sizes: Any, generator: torch.Generator | None, **settings: Any
    ) -> tuple[tuple[Any, ...], MixPlan]:
        """The call for images and targets that were read, by one of the transforms."""
        refuse_panoptic(self, targets)
        generator = call_generator(generator)
        member: MixTransform = untraced(self.choose, generator)
        return member.mix_batch(images, targets, sizes, generator, **settings)

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw one of the transforms, and its plan."""
        refuse_panoptic(self, pool.targets)
        member = self.choose(generator)
        plan = member.draw_plan(pool, generator)
        self._drawn[plan] = member
        return plan

    def make_plan(
        self,
        images: Images,
        targets: Any = None,
        *,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Any:
        """Draw one of the transforms, and its plan; arguments as for the call."""
        refuse_panoptic(self, targets)
        generator = call_generator(generator)
        member = self.choose(generator)
        plan = member.make_plan(images, targets, generator=generator, **options)
        self._drawn[plan] = member
        return plan

    def drawn(self, plan: MixPlan) -> MixTransform:
        """The transform that made a plan, whose settings apply.

        Raises:
            ValueError: the plan was made elsewhere, and the transforms differ in settings that matter.
        """
        if plan in self._drawn:
            return self._drawn[plan]
        first, *others = self.members
        names = ("rules", "fill", "interpolation", "feather", "label_keys", "labels_by", "box_format", "normalized")
        for name in names:
            if any(getattr(other, name) != getattr(first, name) for other in others):
                raise ValueError(
                    f"plan wasn't made by this RandomMix, whose transforms differ in {name}: apply it with the "
                    "transform that is meant"
                )
        return first

    def apply_plan(self, plan: MixPlan, images: Images, targets: Any = None, **options: Any) -> Any:
        """Mix by a given plan, with the settings of the transform that made it; see ``drawn``."""
        return self.drawn(plan).apply_plan(plan, images, targets, **options)

    def mix_pool(self, plan: MixPlan, pool: Pool, **options: Any) -> Any:
        """``apply_plan`` for the result of ``pool_of``."""
        return self.drawn(plan).mix_pool(plan, pool, **options)

    def mix_images(self, images: Any, plan: MixPlan, **options: Any) -> Any:
        """Mix images alone by a given plan; see ``drawn``."""
        return self.drawn(plan).mix_images(images, plan, **options)

    def get_extra_state(self) -> dict[str, Any]:
        """State for checkpoints: the step; the transforms have states of their own."""
        return {"step": self._step.get()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of ``get_extra_state``."""
        self._reach(state["step"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drawn": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_drawn": weakref.WeakKeyDictionary()})

    def extra_repr(self) -> str:
        """The weights and the schedule; the transforms follow as submodules."""
        windows = "" if self.windows is None else f", windows={self.windows}"
        idle = f", idle={self.idle}" if self.idle else ""
        return f"weights={self.weights}, total={self.total}, close_last={self.close_last}{windows}{idle}"


def _checked(windows: Iterable[Iterable[Any] | None], count: int) -> list[Window]:
    """Windows as pairs, one per transform; ValueError for anything else."""
    what = "a list of (start, stop) or None, one per transform"
    given = [(None, None) if window is None else window for window in listed(windows, "windows", what)]
    if len(given) != count:
        raise ValueError(f"windows must hold one per transform ({count}), got {len(given)}")
    return [_pair(window) for window in given]


def _pair(window: Any) -> Window:
    """One window; ValueError for anything else."""
    try:
        start, stop = (None if end is None else whole(end, "windows", 0) for end in window)
    except (TypeError, ValueError):
        start, stop = -1, None
    if start == -1 or (start is not None and stop is not None and start > stop):
        raise ValueError(f"windows must be (start, stop), steps with 0 <= start <= stop or None, got {window!r}")
    return start, stop
