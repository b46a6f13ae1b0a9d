"""Names of networks in configs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def check_name(name: str, known: Sequence[str]) -> None:
    """Raise ValueError, with the nearest names, for a network that isn't known.

    Args:
        name: as the config has it.
        known: all names that it may have.

    Example:
        >>> check_name("small_fcoss", ["small_fcos", "ssd300_vgg16"])
        Traceback (most recent call last):
        ValueError: network must name one of small_fcos, ssd300_vgg16, got 'small_fcoss': did you mean 'small_fcos'?
    """
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"network must name one of {', '.join(known)}, got {name!r}{hint}")
