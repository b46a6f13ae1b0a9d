"""What doesn't fit together in a training or an evaluation."""

from __future__ import annotations


class EmptySubsetError(ValueError):
    """``limit``, ``fraction``, ``subset`` and ``complement`` leave no sample of a dataset.

    Example:
        >>> raise EmptySubsetError("complement must leave a sample")
        Traceback (most recent call last):
        cutmix_dense.training.errors.EmptySubsetError: complement must leave a sample
    """


class TrainingError(ValueError):
    """A config, its data and a checkpoint don't fit each other; the message says which, and what to change.

    Example:
        >>> raise TrainingError("model.num_classes must be at least 4, got 3")
        Traceback (most recent call last):
        cutmix_dense.training.errors.TrainingError: model.num_classes must be at least 4, got 3
    """


class BrokenCheckpointError(TrainingError):
    """A file that holds no checkpoint, or only a part of one.

    Example:
        >>> raise BrokenCheckpointError("epoch_1.pth can't be read as a checkpoint")
        Traceback (most recent call last):
        cutmix_dense.training.errors.BrokenCheckpointError: epoch_1.pth can't be read as a checkpoint
    """
