"""Make transforms and samplers from plain dicts, as framework configs hold them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from torchvision.transforms import v2

from cutmix_dense import functional, masks, recipes, regions, transforms
from cutmix_dense.setting_names import name_hint

__all__ = ["from_config", "known_parts", "known_transforms"]


_APART = ("Affine", "Chain", "Cutout", "MaskMix")
"""Transforms that a config may name and that aren't methods of mixing: two take no partner, one needs a mask, one is
several behind each other."""


def known_transforms() -> dict[str, type]:
    """The methods of mixing by name, ``RandomMix`` among them.

    Example:
        >>> "CutMix" in known_transforms()
        True
    """
    return {
        name: kind
        for name in transforms.__all__
        if name not in _APART
        and inspect.isclass(kind := getattr(transforms, name))
        and issubclass(kind, v2.Transform)
        and not inspect.isabstract(kind)
    }


def known_parts() -> dict[str, type]:
    """The public classes that arguments of transforms may be: samplers of regions and masks, rules, banks; by name.

    Example:
        >>> "AreaBox" in known_parts()
        True
    """
    parts = {
        name: kind
        for module in (regions, masks)
        for name in module.__all__
        if inspect.isclass(kind := getattr(module, name)) and not inspect.isabstract(kind) and hasattr(kind, "draw")
    }
    rules = {name: getattr(functional, name) for name in ("FilterRule", "OcclusionRule") if hasattr(functional, name)}
    return {**parts, **rules, "SampleBank": transforms.SampleBank, "InstanceBank": transforms.InstanceBank}


def from_config(config: Any) -> Any:
    """Build the objects that a config describes: dicts with ``type`` become objects, inside lists and dicts too.

    Args:
        config: such as ``{"type": "CutMix", "region": {"type": "AreaBox", "area": (0.1, 0.4)}}``; the type is a public
            transform, sampler, rule or bank, a preset of one (``"AreaBox.french"``), or a recipe (``"dense_o2o"``).

    Returns:
        The object; any other value unchanged.

    Raises:
        ValueError: the type is unknown.
        TypeError, ValueError: the object refuses its arguments; its name comes first in the message.

    Example:
        >>> from_config({"type": "AreaBox", "area": (0.1, 0.4)}).area
        (0.1, 0.4)
    """
    if isinstance(config, (list, tuple)):
        return type(config)(from_config(item) for item in config)
    if not isinstance(config, Mapping):
        return config
    settings = {key: from_config(value) for key, value in config.items() if key != "type"}
    if "type" not in config:
        return settings
    maker = _maker(config["type"])
    known = inspect.signature(maker).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        for name in settings.keys() - known.keys():
            raise TypeError(f"{config['type']} has no setting {name!r}: {name_hint(name, known)}")
    try:
        return maker(**settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{config['type']}: {error}") from error


def _maker(name: Any) -> Any:
    """The class or preset of a name."""
    apart = {name: getattr(transforms, name) for name in _APART}
    known: dict[str, Any] = {**known_transforms(), **apart, **known_parts(), **recipes.RECIPES}
    kind, _, preset = name.removeprefix("cutmix_dense.").partition(".") if isinstance(name, str) else ("", "", "")
    maker = known.get(kind)
    if maker is not None and preset:
        is_preset = isinstance(inspect.getattr_static(maker, preset, None), classmethod)
        maker = getattr(maker, preset) if is_preset else None
    if maker is None:
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"type must be one of {sorted(known)}, got {name!r}{hint}")
    return maker
