"""Reliability tables: how sure predictions were, bin by bin, and what became of them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num

_ROUNDING = 1e-6
"""How far above 1 or below 0 a confidence may lie by rounding."""

_MANTISSA = 7
SURE_BINS = (0x3F800000 >> (23 - _MANTISSA)) + 1
"""How many bins `uncertainty_bin` knows."""


def as_confidence(values: Num[np.ndarray, "*any"], name: str) -> Float[np.ndarray, "*any"]:
    """Confidences as floating point within 0..1; what rounding put outside comes back to the border.

    Args:
        values: of any shape.
        name: of the field, for the message.

    Raises:
        ValueError: values outside 0..1.
    """
    if values.size and (values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING):
        raise ValueError(
            f"{name} must be probabilities in 0..1, got values from {values.min():.4g} to {values.max():.4g}: "
            "logits need a softmax or sigmoid first, percent a division by 100"
        )
    return np.clip(values, 0, 1)


def binned(
    confidence: Float[np.ndarray, " n"], outcome: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"], bins: int
) -> Float[np.ndarray, "3 m"]:
    """A reliability table: per bin the number of predictions, the sum of their confidences and that of their outcomes.

    Args:
        confidence: (N,) in 0..1.
        outcome: (N,) what a confidence should be on average: 1 for a right prediction, 0 for a wrong one.
        bins: of equal width. Bin i holds i / bins <= confidence < (i + 1) / bins; a confidence of exactly 1 has a
            last bin for itself, as in torchmetrics.

    Returns:
        float64 (3, bins + 1). The table of several sets is the sum of their tables.

    Example:
        >>> binned(np.array([0.25, 0.75, 0.75]), np.array([0, 1, 1]), bins=2)[0].tolist()
        [1.0, 2.0, 0.0]
    """
    values = torch.from_numpy(np.ascontiguousarray(confidence))
    index = (torch.bucketize(values, torch.linspace(0, 1, bins + 1, dtype=values.dtype), right=True) - 1).numpy()
    columns = (None, confidence.astype(np.float64), outcome.astype(np.float64))
    return np.stack([np.bincount(index, column, minlength=bins + 1) for column in columns])


def calibration_error(table: Float[np.ndarray, "3 m"]) -> float:
    """The mean over predictions of how far their bin's mean confidence is from its mean outcome; nan without any.

    Args:
        table: of `binned`, or a sum of such tables.

    Source: Naeini et al. 2015; Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Example:
        >>> calibration_error(binned(np.array([0.25, 0.75, 0.75]), np.array([0, 1, 1]), bins=2))
        0.25
    """
    count, confidence, outcome = table
    return float(np.abs(confidence - outcome).sum() / count.sum()) if count.sum() else float("nan")


def uncertainty_bin(confidence: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The bin of every uncertainty 1 - confidence: 0 (sure) to `SURE_BINS` - 1; those in one differ by less than 1%.

    Networks are sure of most pixels, so bins of equal width would put nearly all into one. The bins here are the
    leading bits of the float32 number: as fine, in proportion, at 0.000001 as at 0.1.

    Args:
        confidence: (N,) in 0..1, taken as float32.
    """
    uncertainty = np.float32(1) - confidence.astype(np.float32)
    return uncertainty.view(np.int32).astype(np.int64) >> (23 - _MANTISSA)


def auroc(positive: Int[np.ndarray, " m"], negative: Int[np.ndarray, " m"]) -> float:
    """The area under the ROC curve of a binned score: the chance that a positive has a higher one than a negative.

    Two in one bin count half, so the value is off by at most half the share of such pairs.

    Args:
        positive: (M,) how many positives each bin has, bins by rising score.
        negative: (M,) likewise.

    Returns:
        0..1; nan where there is no positive or no negative.

    Example:
        >>> auroc(np.array([0, 1, 2]), np.array([2, 1, 0]))
        0.9444444444444444
    """
    pairs = float(positive.sum()) * float(negative.sum())
    below = negative.cumsum() - negative / 2
    return float((positive * below).sum() / pairs) if pairs else float("nan")
