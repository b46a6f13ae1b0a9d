"""One writer at a time for each split of a mixed copy."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cutmix_dense.data.errors import DatasetError

__all__ = ["only_writer", "remove_ended"]

_PATIENCE = 1.0
"""Seconds until a lock that says nothing is believed to stay so: its run may be just about to write it."""

_held: set[str] = set()
"""The locks of this process."""

_guard = threading.Lock()
"""Held while a lock and its name among `_held` come and go, so that threads see both or neither."""


@contextmanager
def only_writer(root: Path, split: str) -> Iterator[None]:
    """Keep others from writing a split of a copy: a lock file names the process, and goes with it.

    The lock of a process of this machine that has ended is taken over, so a run that was killed can be resumed.

    Args:
        root: the folder of the copy, which is there.
        split: name of the split in the copy.

    Raises:
        DatasetError: another run is writing it, or its lock can't be told from one.
    """
    lock = root / f".mixed_copy.{split}.lock"
    while not _taken(lock):
        content = _content(lock)
        owner = _owner(content)
        if content is None:
            continue  # that run has just ended
        if owner is None or not _has_ended(owner, lock):
            raise DatasetError(_refusal(root, split, lock, owner))
        _remove_stale(lock, content)
    try:
        yield
    finally:
        with _guard:
            lock.unlink(missing_ok=True)
            _held.discard(os.path.realpath(lock))


def remove_ended(root: Path, split: str) -> None:
    """Remove the lock of a process of this machine that has ended; it is left where one was killed at its very end."""
    lock = root / f".mixed_copy.{split}.lock"
    if lock.is_file():
        content = _content(lock)
        owner = _owner(content)
        if content is not None and owner is not None and _has_ended(owner, lock):
            _remove_stale(lock, content)


def _taken(lock: Path) -> bool:
    with _guard:
        created = _created(lock)
        if created:
            _held.add(os.path.realpath(lock))
    return created


def _created(lock: Path) -> bool:
    """Whether there was no lock, and now is this process's."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    content = json.dumps({**owner, "begin": _begin_of(os.getpid())}).encode()
    whole = lock.with_name(f"{lock.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        whole.write_bytes(content)
        os.link(whole, lock)  # with what it says, also where this process is killed next
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        return _written(lock, content)
    finally:
        whole.unlink(missing_ok=True)


def _written(lock: Path, content: bytes) -> bool:
    try:
        file = open(lock, "xb")  # noqa: SIM115
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
        return True
    except BaseException:  # a full disk, for one
        lock.unlink(missing_ok=True)
        raise


def _content(lock: Path) -> str | None:
    """What a lock says; None where it has gone."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            text = lock.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        if text or time.monotonic() > until:
            return text
        time.sleep(0.05)


def _owner(content: str | None) -> dict[str, Any] | None:
    """Who wrote a lock; None where it doesn't tell."""
    with suppress(ValueError, TypeError, RecursionError):
        owner = json.loads(content or "")
        if isinstance(owner, dict) and type(owner.get("pid")) is int and isinstance(owner.get("host"), str):
            return owner
    return None


def _has_ended(owner: dict[str, Any], lock: Path) -> bool:
    """Whether a process of this machine has ended; False for those of others, which can't be known."""
    if owner["host"] != socket.gethostname():
        return False
    if owner["pid"] == os.getpid():  # else it had this number, as the first process of a container always has
        with _guard:
            return os.path.realpath(lock) not in _held
    if sys.platform == "win32":
        return False  # no signal there asks without ending
    try:
        os.kill(owner["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    begin = _begin_of(owner["pid"])
    return begin == "ended" or bool(begin and owner.get("begin") and begin != owner["begin"])


def _begin_of(pid: int) -> str:
    """When a process began, in ticks of the system, which tells it from a later one of its number.

    "ended" for one that waits to be forgotten, "" where the system doesn't say.
    """
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "ended" if fields[0] in ("Z", "X") else fields[19]
    return ""


def _remove_stale(lock: Path, content: str) -> None:
    """Remove the lock of a run that has ended, unless another run has replaced it meanwhile."""
    aside = lock.with_name(f"{lock.name}.{os.getpid()}.tmp")
    with suppress(FileNotFoundError):
        os.replace(lock, aside)
        if aside.read_text(encoding="utf-8", errors="replace") != content and not lock.exists():
            os.replace(aside, lock)
        aside.unlink(missing_ok=True)


def _refusal(root: Path, split: str, lock: Path, owner: dict[str, Any] | None) -> str:
    told = f"{root}: another run is writing the split {split!r} of this copy"
    if owner is None:
        return f"{told}, or was killed as it began. If none is running, remove {lock}, and use the same command again"
    since = f", since {owner['since']}" if owner.get("since") else ""
    return (
        f"{told} (process {owner['pid']} on {owner['host']}{since}). Wait for it: the same command then gives its "
        f"report. If that run is dead, remove {lock}, and the same command continues where it stopped"
    )
