"""One writer at a time for each split of a mixed copy."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cutmix_dense.data.errors import DatasetError


@contextmanager
def only_writer(root: Path, split: str) -> Iterator[None]:
    """Keep others from writing a split of a copy, by a lock that the system releases when a process ends.

    Args:
        root: the folder of the copy, which is there.
        split: name of the split in the copy.

    Raises:
        DatasetError: another run is writing it; the message names its process.
    """
    file, writer = _files(root, split)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = writer.read_text(encoding="utf-8", errors="replace") if writer.is_file() else ""
        raise DatasetError(
            f"{root}: another run is writing the split {split!r} of this copy{f' ({who})' if who else ''}. Wait for "
            "it: the same command then gives its report. If you end that run, the same command continues where it "
            "stopped"
        ) from None
    except (OSError, NotImplementedError) as error:  # of file systems without locks
        raise DatasetError(
            f"{root}: can't be locked against a second run ({error}); write the copy to a local disk, and move it"
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        writer.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}", encoding="utf-8")
        yield
    finally:
        writer.unlink(missing_ok=True)
        with suppress(PermissionError):  # Windows: an open file, which goes with its lock
            file.unlink(missing_ok=True)
        lock.release()


def remove_ended(root: Path, split: str) -> None:
    """Remove what a run leaves beside a finished copy if it is killed at its very end."""
    if any(path.exists() for path in _files(root, split)):
        with suppress(DatasetError), only_writer(root, split):
            pass


def _files(root: Path, split: str) -> tuple[Path, Path]:
    """The lock, and the file that says who holds it."""
    return root / f".mixed_copy.{split}.lock", root / f".mixed_copy.{split}.writer"
