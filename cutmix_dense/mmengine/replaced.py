"""Mixes of a training whose pipelines are replaced by hooks: those of later, and those that are there by now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cutmix_dense.mmengine.naming import PREFIX, is_sample_mix, type_of
from cutmix_dense.mmengine.sample import SampleMix
from cutmix_dense.transforms import MixTransform


class SampleMixes:
    """Every method that a training mixes samples by, asked for anew at each step, since hooks replace pipelines.

    Those of a replaced pipeline stay: workers that a loader has started before go on with their copies, and share
    their switch and their step.
    """

    def __init__(self) -> None:
        self._found: dict[int, MixTransform] = {}

    def of(self, runner: Any) -> list[MixTransform]:
        """The methods, in the order in which they were found."""
        for part in find_mixes(runner.train_dataloader.dataset):
            self._found[id(part.mix)] = part.mix
        return [*self._found.values()]


@dataclass(frozen=True)
class KeptMix:
    """A mix of samples that a hook will put in place."""

    name: str
    scheduled: bool
    """Whether it has windows."""


def kept_mixes(runner: Any) -> list[KeptMix]:
    """The mixes in pipelines and datasets that hooks keep for later, as MMDetection's ``PipelineSwitchHook`` does.

    They keep settings, or what was built of them, in an attribute such as ``switch_pipeline`` or ``new_train_dataset``.
    """
    kept = [
        value for hook in runner.hooks for name, value in vars(hook).items() if "pipeline" in name or "dataset" in name
    ]
    return [*_kept(kept)]


def _kept(value: Any) -> Iterator[KeptMix]:
    if isinstance(value, Mapping):
        if is_sample_mix(name := type_of(value)):
            yield KeptMix(name, _has_windows(value))
        else:
            yield from _kept([*value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _kept(item)
    else:
        for part in find_mixes(value):
            yield KeptMix(PREFIX + type(part).__name__, part.scheduled)


def _has_windows(settings: Any) -> bool:
    """Whether a method, or one within it, has windows."""
    if isinstance(settings, Mapping):
        return settings.get("windows") is not None or any(map(_has_windows, settings.values()))
    return isinstance(settings, (list, tuple)) and any(map(_has_windows, settings))


def find_mixes(dataset: Any) -> Iterator[SampleMix]:
    """Every mix in the pipelines of a dataset and of the datasets it wraps."""
    return (part for part in parts_of(dataset) if isinstance(part, SampleMix))


def parts_of(dataset: Any) -> Iterator[Any]:
    """A dataset or a transform, and all that it holds of both, however deep."""
    yield dataset
    for name in ("dataset", "datasets", "pipeline", "transforms", "branch_pipelines"):
        inner = getattr(dataset, name, ())
        inner = list(inner.values()) if isinstance(inner, dict) else inner
        for item in inner if isinstance(inner, (list, tuple)) else [inner]:
            if item is not dataset and item != ():
                yield from parts_of(item)
