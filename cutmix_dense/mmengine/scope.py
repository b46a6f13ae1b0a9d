"""The registries of the scope ``cutmix_dense``, below MMEngine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

from cutmix_dense.build import from_config, known_transforms
from cutmix_dense.transforms import MixTransform, MixUp, SampleBank

_SCOPE = "cutmix_dense"
_PLACE = ["cutmix_dense.mmengine"]
_RUNS = ["cutmix_dense.training", "cutmix_dense.evaluation"]

TRANSFORMS = Registry("transform", parent=mmengine_registry.TRANSFORMS, scope=_SCOPE, locations=_PLACE)
MODELS = Registry("model", parent=mmengine_registry.MODELS, scope=_SCOPE, locations=_PLACE)
HOOKS = Registry("hook", parent=mmengine_registry.HOOKS, scope=_SCOPE, locations=_PLACE)
DATASETS = Registry("dataset", parent=mmengine_registry.DATASETS, scope=_SCOPE, locations=_RUNS)
DATA_SAMPLERS = Registry("data sampler", parent=mmengine_registry.DATA_SAMPLERS, scope=_SCOPE, locations=_RUNS)
METRICS = Registry("metric", parent=mmengine_registry.METRICS, scope=_SCOPE, locations=_RUNS)


_CLASS_MAPS = ("gt_seg_map", "gt_sem_seg")


WITHOUT_FORM = {
    "Cutout": "erases and mixes nothing, and has no form for MMEngine: use a transform of the framework",
    "MaskMix": "needs a mask with every call, which a config can't give: call cutmix_dense.MaskMix in Python",
    "TileSwap": (
        "exchanges tiles that the features of a backbone give back, and has no form for MMEngine: call "
        "cutmix_dense.semi.unmixed_features in Python"
    ),
}
"""Transforms of this package that neither samples nor batches of MMEngine have, and why."""


def build(method: str, settings: dict[str, Any], instance_keys: Sequence[str]) -> MixTransform:
    """The core transform of a method, from what a config says.

    Args:
        method: a public transform's name.
        settings: its arguments; samplers, rules and nested transforms as dicts with a ``type``.
        instance_keys: further keys with one row per instance, for all nested transforms.

    Raises:
        ValueError: an argument out of range, or one that has no meaning in MMEngine's structures.
    """
    mix = from_config({"type": method, **settings})
    if mix.close_last:
        raise ValueError(f"{method}: close_last has no effect in MMEngine: use the hook cutmix_dense.CloseMixHook")
    for member in mix.members:
        member.instance_keys = (*member.instance_keys, *instance_keys)
        member.semantic_keys = (*member.semantic_keys, *_CLASS_MAPS)
        if member.layout != "BCHW":
            raise ValueError(f"{method}: layout must be 'BCHW' here, got {member.layout!r}")
        if isinstance(member.pairing, SampleBank):
            raise ValueError(f"{method}: pairing can't be a bank here, got {member.pairing!r}")
        if member.on_filtered == "crowd":
            raise ValueError(f"{method}: on_filtered must be 'drop' or 'ignore' (gt_ignore_flags), got 'crowd'")
    return mix


def refuse_blends(mix: MixTransform, maps: Sequence[str]) -> None:
    """Raise ValueError if a method may blend, where there are maps of class ids, which don't average."""
    if any(isinstance(member, MixUp) for member in mix.members):
        raise ValueError(f"{', '.join(maps)} hold one class per pixel and can't be blended: use methods without MixUp")


Base = TypeVar("Base")


def register_family(
    base: type[Base], registry: Registry, more: Mapping[str, Any] | None = None
) -> dict[str, type[Base]]:
    """A subclass of ``base`` for every public method, named as the method and registered under that name.

    Args:
        base: what it is a subclass of.
        registry: where.
        more: further names, each with what it documents.
    """
    family: dict[str, Any] = {}
    for name, method in {**known_transforms(), **(more or {})}.items():
        namespace = {"__doc__": f"``cutmix_dense.{name}``: {method.__doc__}", "__module__": base.__module__}
        family[name] = type(name, (base,), namespace)
        registry.register_module(module=family[name])
    return family


def refuse_names(registry: Registry, reasons: Mapping[str, str]) -> None:
    """Register names of this package that have no form in a registry: a config that has one gets the reason.

    Without, MMEngine would build the class of the core by its import path, or know nothing of the name.

    Args:
        registry: where.
        reasons: what to say of each name, behind it.
    """
    for name, reason in reasons.items():
        registry.register_module(name=name, module=_refusing(f"{_SCOPE}.{name} {reason}"))


def _refusing(message: str) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError(message)

    return refuse
