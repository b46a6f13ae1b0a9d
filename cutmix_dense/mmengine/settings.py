"""Settings of the core that mean nothing in MMEngine's structures are refused, each with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from cutmix_dense.transforms import MixTransform

_BOXES = "boxes are xyxy in pixels here, or a BaseBoxes, which knows its own format"
_LABELS = "labels of whole images aren't mixed here"
_BLENDS = "maps of class ids are never blended here"

_MEANINGLESS = {
    "box_format": _BOXES,
    "normalized": _BOXES,
    "label_keys": _LABELS,
    "labels_by": _LABELS,
    "labels_getter": _LABELS,
    "num_classes": _BLENDS,
    "soft_semantic": _BLENDS,
}

_OF_BATCHES = {
    "instance_weights": "the results of a pipeline have no key for weights: mix batches (batch_augments)",
    "pairing": "partners are the mix_results, or come from the cache (max_cached_images)",
}


def check_settings(mix: MixTransform, settings: Mapping[str, Any], *, per_sample: bool) -> None:
    """Refuse what a method was given and can't have an effect.

    Args:
        mix: the method.
        settings: the config that it was made from.
        per_sample: whether it mixes the samples of a pipeline, not batches.

    Raises:
        ValueError: such a setting, named with the reason.
    """
    defaults = inspect.signature(MixTransform.__init__).parameters
    for member in mix.members:
        own = inspect.signature(type(member)).parameters
        for name, reason in _MEANINGLESS.items():
            given, default = getattr(member, name), own.get(name, defaults[name]).default
            if given != (tuple(default) if isinstance(default, (list, tuple)) else default):
                raise ValueError(_refusal(type(member).__name__, name, given, reason))
    if not per_sample:
        return
    for config in (settings, *settings.get("transforms", ())):  # by name: presets and RandomMix set these, too
        for name, reason in _OF_BATCHES.items():
            if isinstance(config, Mapping) and name in config:
                raise ValueError(_refusal(config.get("type", type(mix).__name__), name, config[name], reason))


def _refusal(method: str, name: str, given: Any, reason: str) -> str:
    return f"{method}: {name} has no meaning in MMEngine, got {given!r}: {reason}"
