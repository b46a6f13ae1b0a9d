"""Settings that are changed from outside a config, and that nothing would read."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from mmengine.runner import Runner

_READ_FROM_CONFIG = {
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "init_weights_for_test_or_val",
    "model_wrapper_cfg",
    "sync_bn",
}
"""What MMEngine reads from a config beside the arguments of its Runner."""
_READ = (set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}) | _READ_FROM_CONFIG


def check_key(config: Any, key: str) -> None:
    """Refuse a dotted key whose first part neither the config has nor MMEngine reads, as a slip of the pen has.

    MMEngine would add it to the config and never read it. What lies deeper is left to those who read it.

    Args:
        config: a config or a dict, before the change.
        key: such as ``"train_cfg.max_epochs"``.

    Returns:
        None.

    Raises:
        ValueError: nothing reads the key; the message names the nearest known one.

    Example:
        >>> check_key({"model": {}}, "train_cfg.max_epochs")
        >>> check_key({"model": {}}, "modle.num_classes")
        Traceback (most recent call last):
        ValueError: 'modle' is no key of the config and none of MMEngine's Runner; did you mean 'model'?
    """
    first = key.partition(".")[0]
    known = {*map(str, config), *_READ}
    if first in known:
        return
    near = difflib.get_close_matches(first, sorted(known), n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "write it into the config first, if something reads it"
    raise ValueError(f"{first!r} is no key of the config and none of MMEngine's Runner; {remedy}")
