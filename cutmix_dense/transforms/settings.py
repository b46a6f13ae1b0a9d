"""Settings by name: the full signature of every transform, and a hint for a misspelt name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from cutmix_dense.setting_names import name_hint


class _Signature:
    """``__signature__`` of a class: its own settings, then those that ``**common`` passes to its bases."""

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        if instance is not None:  # an instance has the signature of its call
            raise AttributeError("__signature__")
        kinds = [kind for kind in owner.__mro__ if "__init__" in vars(kind)]
        found: dict[str, inspect.Parameter] = {}
        for kind in kinds:
            own = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
            for parameter in own:
                if parameter.kind is not parameter.VAR_KEYWORD:
                    found.setdefault(parameter.name, parameter)
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own):
                break
        return inspect.Signature(sorted(found.values(), key=lambda parameter: parameter.kind))


class NamedSettings:
    """Base of classes with many settings: refuses unknown names and values without a name, with a hint.

    Raises:
        TypeError: a setting is unknown, or a value comes without its name.
    """

    __signature__ = _Signature()

    def __new__(cls, *values: Any, **settings: Any) -> Any:
        """Check the names of the settings; ``__init__`` checks their values."""
        if values or settings:
            known = inspect.signature(cls).parameters
            nameless = [p for p in known.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
            if len(values) > len(nameless) and not any(p.kind is p.VAR_POSITIONAL for p in known.values()):
                value, first = values[len(nameless)], next(iter(p for p in known if p != "p"), "p")
                names = [first] if nameless or "p" not in known else [first, "p"]
                meant = " or ".join(f"{name}={value!r}" for name in names)
                raise TypeError(f"{cls.__name__} takes its settings by name, got {value!r} without one: {meant}?")
            for name in settings:
                if name not in known:
                    raise TypeError(f"{cls.__name__} has no setting {name!r}: {name_hint(name, known)}")
        return super().__new__(cls)


def key_names(keys: Sequence[str | int], name: str) -> tuple[str | int, ...]:
    """Keys, or places of a tuple, as a tuple; TypeError for anything else."""
    if isinstance(keys, str) or not isinstance(keys, Iterable) or not all(isinstance(key, (str, int)) for key in keys):
        raise TypeError(f"{name} must be a sequence of keys, got {keys!r}")
    return tuple(keys)
