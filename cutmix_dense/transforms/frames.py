"""Lists of dicts among the targets of a call, those of clips frame by frame, and how messages name a frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.functional.fields import are_dicts
from cutmix_dense.functional.padded import is_padded
from cutmix_dense.warned import reworded

_INDEX = re.compile(r"\btargets\[(\d+)\]")


def detection_targets(targets: Any) -> Sequence[Mapping[str, Any]] | None:
    """The list of dicts among the targets of a call, frame after frame for clips; None if there is none."""
    if isinstance(targets, (list, tuple)) and targets and are_dicts(targets):
        return targets
    if isinstance(targets, Mapping):
        found = [found for value in targets.values() if (found := detection_targets(value)) is not None]
        return found[0] if found else None
    if are_frames(targets):
        return [frame for clip in targets for frame in clip]
    return None


def has_padded(targets: Any) -> bool:
    """Whether the targets of a call are padded boxes, or hold some by name."""
    return is_padded(targets) or (isinstance(targets, Mapping) and any(map(has_padded, targets.values())))


def are_frames(targets: Any) -> bool:
    """Whether targets belong to clips: for each clip a list of dicts, one per frame."""
    return (
        isinstance(targets, (list, tuple))
        and len(targets) > 0
        and all(isinstance(clip, (list, tuple)) and len(clip) > 0 for clip in targets)
        and all(isinstance(frame, Mapping) for clip in targets for frame in clip)
    )


def check_frames(targets: Any, name: str = "targets") -> None:
    """Refuse lists of frames of which one, or a whole clip, isn't what ``are_frames`` needs.

    Raises:
        TypeError: a clip that is no list of dicts; names the frame.
    """
    if not isinstance(targets, (list, tuple)):
        return
    inner = [frame for clip in targets if isinstance(clip, (list, tuple)) for frame in clip]
    if not any(frame is None or isinstance(frame, Mapping) for frame in inner):
        return  # something else than frames: probabilities, maps
    for index, clip in enumerate(targets):
        if not isinstance(clip, (list, tuple)) or not clip:
            got = "an empty one" if isinstance(clip, (list, tuple)) else _named_type(clip)
            raise TypeError(f"{name}[{index}] must be a list with a dict per frame, got {got}")
        for time, frame in enumerate(clip):
            if not isinstance(frame, Mapping):
                remedy = ": {} is a frame without objects" if frame is None else ""
                raise TypeError(f"{name}[{index}][{time}] must be a dict, got {_named_type(frame)}{remedy}")


def _named_type(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def frames_named(place: int | Callable[[int], tuple[int, int]], name: str = "targets") -> AbstractContextManager[None]:
    """A block whose messages say ``targets[clip][frame]``, where the frames of clips are read as one list.

    Args:
        place: number of frames of each clip, where all of a clip follow each other; or (clip, frame) of an index.
        name: how the caller names the clips.
    """
    if is_compiling():
        return nullcontext()
    return reworded(partial(_named, place=place, name=name))


def _named(message: str, place: int | Callable[[int], tuple[int, int]], name: str) -> str:
    """A message about a list of frames as one about clips."""

    def of_frame(found: re.Match[str]) -> str:
        clip, frame = divmod(int(found[1]), place) if isinstance(place, int) else place(int(found[1]))
        return f"{name}[{clip}][{frame}]"

    return _INDEX.sub(of_frame, message).replace("(B, H, W)", "(B, T, H, W)")
