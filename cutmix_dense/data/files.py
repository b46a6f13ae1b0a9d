"""Files and their names: writing that is never half done, lists of lines, paths that never leave their folder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cutmix_dense.data.errors import DatasetError


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to a temporary neighbour of `path` and rename it: readers see the old file or the new one."""
    # File systems take names of 255 bytes.
    name = path.name if len(path.name.encode(errors="surrogatepass")) <= 200 else path.name[-32:]
    temporary = path.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        try:
            temporary.write_bytes(content)
        except FileNotFoundError:  # seldom: asking for the folder every time costs more than the writing
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def dump_json(content: Any) -> bytes:
    """JSON as compact UTF-8 with a final newline; NaN and infinity are refused with ValueError."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace")  # half a surrogate pair becomes the escape that it came from


def read_lines(path: Path) -> list[str]:
    """The lines of a list or of a file of names, a byte order mark left out; DatasetError if it is no text in UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable text file ({error})") from error


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, or ValueError where `name` leads out of the folder (absolute, `..`)."""
    base = os.path.abspath(folder)
    path = os.path.normpath(os.path.join(base, name.replace("\\", "/")))
    if not name or ":" in os.path.splitdrive(name)[0] or not path.startswith(base + os.sep):
        raise ValueError(f"file name {name!r} leads out of the folder {folder}")
    return Path(folder, os.path.relpath(path, base))


def walked(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder under a folder, itself first: its path, the folders in it, its files; hidden folders are left out.

    What is taken out of a list of folders isn't entered, as with `os.walk`. Links to folders are followed, after all
    other folders. A folder is entered once, so links that lead in a circle end.
    """
    entered: set[str] = set()
    tops = [os.fspath(folder)]
    for top in tops:  # grows
        for place, below, names in os.walk(top):
            real = os.path.realpath(place)
            below[:] = [] if real in entered else sorted(name for name in below if not name.startswith("."))
            if real not in entered:
                entered.add(real)
                yield place, below, sorted(names)
            tops += [path for name in below if os.path.islink(path := os.path.join(place, name))]
