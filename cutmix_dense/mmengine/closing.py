"""What can end its mixing for the last part of a training."""

from __future__ import annotations

from abc import abstractmethod

__all__ = ["Closable"]


class Closable:
    """Mixes until it is closed; ``CloseMixHook`` finds such modules in a model."""

    @property
    def mixes(self) -> bool:
        """Whether there is anything to close."""
        return True

    @abstractmethod
    def close(self, closed: bool = True) -> None:
        """Stop mixing (or start again)."""
