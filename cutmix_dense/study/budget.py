"""Whether every run of a study gets the training that its config says: a comparison needs equal budgets."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from cutmix_dense.extras import require


def refuse_early_stop(config: Any) -> None:
    """Raise ValueError, with its place, for a hook that ends trainings before their last step.

    Such a hook is MMEngine's ``EarlyStoppingHook`` or a subclass, under whatever name it is registered.

    Args:
        config: a training config.
    """
    for place, hook in _hooks(config):
        if _stops_early(config, hook):
            remedy = f"set {place}=None" if place.startswith("default_hooks.") else "remove it from custom_hooks"
            raise ValueError(
                f"{place} must not be an EarlyStoppingHook, got {hook.get('type')!r}: a study compares runs of equal "
                f"budgets by their last checkpoints; {remedy}"
            )


def _hooks(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The hooks that a config names, each with its place."""
    named = dict(config.get("default_hooks") or {}).items()
    listed = enumerate(config.get("custom_hooks") or ())
    places = [*(("default_hooks", *one) for one in named), *(("custom_hooks", *one) for one in listed)]
    for key, name, hook in places:
        if isinstance(hook, Mapping) and hook.get("type"):
            yield f"{key}.{name}", hook


def _stops_early(config: Any, hook: Mapping[str, Any]) -> bool:
    stopping = require("mmengine.hooks", "train").EarlyStoppingHook
    kind = hook["type"]
    if isinstance(kind, str):
        scope = hook.get("_scope_") or config.get("default_scope")
        found = _registered(kind, scope)
        if found is None:  # a run imports these before it builds its hooks
            imports = (config.get("custom_imports") or {}).get("imports") or ()
            _import((imports,) if isinstance(imports, str) else tuple(imports))
            found = _registered(kind, scope)
        kind = found
    return inspect.isclass(kind) and issubclass(kind, stopping)


def _registered(name: str, scope: str | None) -> Any:
    """The hook of a name; None if it isn't known."""
    hooks = require("mmengine.registry", "train").HOOKS
    # a module that a dotted name leads to may fail in any way, as its run will
    with contextlib.suppress(Exception), hooks.switch_scope_and_registry(scope) as registry:
        return registry.get(name)
    return None


@functools.cache
def _import(modules: tuple[str, ...]) -> None:
    """Import what can be; a run will say what can't."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
