"""What configs call the types of this package, in whichever of MMEngine's ways they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cutmix_dense.mmengine.batch import BatchMix
from cutmix_dense.mmengine.sample import SampleMix
from cutmix_dense.mmengine.scope import MODELS, TRANSFORMS

PREFIX = "cutmix_dense."


def type_of(setting: Any) -> str:
    """The type that a dict names; ``cutmix_dense.`` and the name alone for those of this package.

    Configs of pure Python name the class itself, and the import path of it (``"cutmix_dense.mmengine.sample.CutMix"``)
    once they were dumped.

    Args:
        setting: a dict of a config; anything else names none.

    Example:
        >>> type_of({"type": "cutmix_dense.mmengine.sample.CutMix"}), type_of({"type": "Resize"}), type_of(None)
        ('cutmix_dense.CutMix', 'Resize', '')
    """
    kind = setting.get("type", "") if isinstance(setting, Mapping) else ""
    path = kind if isinstance(kind, str) else f"{getattr(kind, '__module__', '')}.{getattr(kind, '__name__', kind)}"
    name = path.rpartition(".")[2]
    if path.startswith(PREFIX):
        return PREFIX + name
    return path if isinstance(kind, str) else name


def is_sample_mix(name: str) -> bool:
    """Whether a type is a method of this package for the samples of a pipeline."""
    return _is(name, TRANSFORMS.module_dict, SampleMix)


def is_batch_mix(name: str) -> bool:
    """Whether a type is a method of this package for batches; every method is one for samples, too."""
    return _is(name, MODELS.module_dict, BatchMix)


def _is(name: str, known: Mapping[str, Any], base: type) -> bool:
    kind = known.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return isinstance(kind, type) and issubclass(kind, base)
