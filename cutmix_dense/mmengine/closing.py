"""What can end its mixing for the last part of a training."""

from __future__ import annotations

from abc import abstractmethod

__all__ = ["Closable"]


class Closable:
    """Mixes until it is closed; ``CloseMixHook`` and ``MixScheduleHook`` find such modules in a model."""

    @property
    def mixes(self) -> bool:
        """Whether there is anything to close."""
        return True

    @property
    def scheduled(self) -> bool:
        """Whether ``set_progress`` matters: whether there are windows of epochs or iterations."""
        return False

    def set_progress(self, step: int) -> None:
        """Say which step of the training begins, to a mix with a schedule."""

    @abstractmethod
    def close(self, closed: bool = True) -> None:
        """Stop mixing (or start again)."""
