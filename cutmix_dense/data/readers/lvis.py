"""LVIS' fields of a picture: which classes were looked for in it, and what holds of them in a mix of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

_ABSENT, _PARTIAL = "neg_category_ids", "not_exhaustive_category_ids"


def looked_for(
    entries: Sequence[Mapping[str, Any]],
    present: Sequence[Collection[Any]],
    shown: Collection[Any],
    lost: Counter[str],
) -> dict[str, list[Any]]:
    """`neg_category_ids` and `not_exhaustive_category_ids` of a mix; {} where none of its pictures states either.

    A class is absent from the mix if it is absent from all its pictures and no instance of it shows. An instance's
    class is annotated exhaustively if in each of the pictures it is absent or annotated so.

    Args:
        entries: of the pictures that show in the mix, the base first.
        present: the category ids of each picture's instances.
        shown: those of the mix's instances.
        lost: counts the base's absent classes that the mix may show.

    Source: Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation (2019), section 3.2.
    """
    if not any(key in entry for entry in entries for key in (_ABSENT, _PARTIAL)):
        return {}
    absent = [_ids(entry, _ABSENT) for entry in entries]
    partial = [_ids(entry, _PARTIAL) for entry in entries]
    kept = [each for each in absent[0] if each not in shown and all(each in others for others in absent)]
    known = [{*away, *(set(here) - set(some))} for away, here, some in zip(absent, present, partial, strict=True)]
    unsure = [each for each in shown if not all(each in classes for classes in known)]
    fields = {_PARTIAL: list(dict.fromkeys([*(each for some in partial for each in some), *unsure]))}
    if _ABSENT in entries[0]:
        fields[_ABSENT] = kept
        lost.update([f"{_ABSENT} that a mix may show"] * (len(absent[0]) - len(kept)))
    return fields


def _ids(entry: Mapping[str, Any], key: str) -> list[Any]:
    given = entry.get(key)
    return [each for each in given if isinstance(each, (int, str))] if isinstance(given, list) else []
