"""What a JSON file holds, told without parsing it: files of hundreds of megabytes lie in folders that are looked at."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterable
from pathlib import Path

_LISTS = ("images", "annotations", "categories")
_OTHERS = (b'"segments_info"', b'"videos"')

_PARSED, _END = 1 << 20, 4096
"""A file of so many bytes is parsed; of a larger one so many are looked at, at its end."""


def coco_lists(path: Path) -> list[str]:
    """Which lists of COCO instances a JSON file names; none of a panoptic file, one of clips, or one of captions."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = [name for name in _LISTS if re.search(rb'"%b"\s*:\s*\[' % name.encode(), content)]
            if not found or any(content.find(word) >= 0 for word in _OTHERS):
                return []
            captions = content.find(b'"caption"') >= 0 and content.find(b'"bbox"') < 0
            return [] if captions else found
    except (OSError, ValueError):  # an empty file can't be mapped
        return []


def json_fault(path: Path) -> str:
    """Why a file is no readable JSON, or "": a small one is parsed, a large one must end as it began."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(_PARSED if size <= _PARSED else _END)
            if size <= _PARSED:
                json.loads(start.decode("utf-8-sig"))
                return ""
            file.seek(size - _END)
            ends = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] + file.read().rstrip()[-1:]
            return "" if ends in (b"{}", b"[]") else "it is cut off"
    except OSError as error:
        return error.strerror or type(error).__name__
    except RecursionError:
        return "it is nested too deep"
    except ValueError as error:
        return "it is empty" if not start.strip() else str(error)


def largest(paths: Iterable[Path], most: int) -> list[Path]:
    """At most so many of the files, the largest first: a table of a whole data set is larger than one of an image."""
    sized = []
    for path in paths:
        try:
            sized.append((-path.stat().st_size, str(path), path))
        except OSError:
            continue
    return [path for *_, path in sorted(sized)[:most]]
