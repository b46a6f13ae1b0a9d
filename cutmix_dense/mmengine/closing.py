"""What holds a mix that hooks close and tell the step of the training."""

from __future__ import annotations

from abc import abstractmethod

from cutmix_dense.transforms import MixTransform


class Closable:
    """Holds a mix; ``CloseMixHook`` and ``MixScheduleHook`` find such modules in a model, and reach the mix by them."""

    @property
    @abstractmethod
    def mix(self) -> MixTransform | None:
        """The method of the core; None for no mixing."""

    @property
    def mixes(self) -> bool:
        """Whether there is anything to close."""
        return self.mix is not None

    @property
    def scheduled(self) -> bool:
        """Whether ``MixScheduleHook`` must say which epoch or iteration begins: whether there are windows."""
        return self.mix is not None and self.mix.scheduled

    def set_progress(self, step: int) -> None:
        """Say which step of the training begins, to a mix with windows."""
        if self.mix is not None:
            self.mix.set_progress(step)

    def close(self, closed: bool = True, *, by_schedule: bool = False) -> None:
        """Stop mixing (or start again); see ``MixTransform.close``."""
        if self.mix is not None:
            self.mix.close(closed, by_schedule=by_schedule)
