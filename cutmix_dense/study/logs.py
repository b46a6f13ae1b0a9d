"""What MMEngine's logger wrote down during a training: the metric's curve and the loss."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Curve = list[tuple[int, float]]
"""(step, value) in the order of steps."""


def read_log(work_dir: Path, metric: str) -> tuple[Curve, Curve]:
    """Curves of a training, over all its resumed parts; of a step that was done twice the later counts.

    Args:
        work_dir: of MMEngine's runner; every start has its own folder there, named by its time.
        metric: name of a validation metric.

    Returns:
        (metric by epoch or iteration, as the training counts; loss by iteration).
    """
    values: dict[int, float] = {}
    losses: dict[int, float] = {}
    for record in _records(work_dir):
        if metric in record:
            values[int(record["step"])] = float(record[metric])
        elif "loss" in record:
            losses[int(record["step"])] = float(record["loss"])
    return _finite(values), _finite(losses)


def _finite(values: dict[int, float]) -> Curve:
    return [(step, value) for step, value in sorted(values.items()) if math.isfinite(value)]


def _records(work_dir: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # the process was killed while it wrote
                continue
            if isinstance(record, dict) and "step" in record:
                yield record
