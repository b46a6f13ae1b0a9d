"""What goes wrong with data on disk: with a whole dataset, or with one of its samples."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

_FILE = r"\.(?:jpe?g|jfif|png|bmp|tiff?|webp|gif|json|jsonl|xml|txt|csv|ya?ml|npy|nii(?:\.gz)?)"
_OWN_WORDS = (
    (re.compile(r"(?<!\w)('[^']*'|\"[^\"]*\")(?!\w)"), "''"),
    (re.compile(rf"(?i)(?:(?<=\bof )|(?<=\bwith ))[^:;]+?{_FILE}(?!\w)|(?<!\S)\S+?{_FILE}(?!\w)"), "FILE"),
    (re.compile(r"\bgot .*?(?=;|$)"), "got …"),
    (re.compile(r"(?<![A-Za-z_])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"), "#"),
    (re.compile(r"(''|#|FILE)(?:(?:, | )\1)+"), r"\1"),
)
"""What two reasons of one kind may differ in: quoted words, names of files, what was got, numbers, lists of these."""


MEND = "the file is cut off or broken, copy it again from its source"
"""What to do with a file in which a decoder doesn't find what belongs there."""


class DatasetError(ValueError):
    """A dataset cannot be opened or written: the message names the file and what is missing or wrong in it."""


class MixError(RuntimeError):
    """A transform failed in a way that is not the fault of a file: the message names the images."""


class DataWarning(UserWarning):
    """Something of a dataset is left out, or was read in a way worth knowing; the rest is read."""


class SampleError(ValueError):
    """One sample cannot be read; the others can. Skip it and report it by name.

    Args:
        path: the file to blame.
        reason: what is wrong with it, in words.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str = "") -> None:
        # `reason` is optional because a DataLoader worker hands an exception on as `type(error)(message)`.
        super().__init__(f"{path}: {reason}" if reason else str(path))
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[SampleError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)


def kind_of(reason: str) -> str:
    """What is wrong without the names and numbers of the one case: reasons of one kind are told once, and counted."""
    for pattern, word in _OWN_WORDS:
        reason = pattern.sub(word, reason)
    return reason


@contextmanager
def blaming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what a decoder raises into a `SampleError` that names `path`."""
    try:
        yield
    except SampleError:
        raise
    except FileNotFoundError as error:
        raise SampleError(path, "file not found") from error
    except (OSError, SyntaxError, ValueError, OverflowError, EOFError, Image.DecompressionBombError) as error:
        # PIL raises SyntaxError for a broken PNG, and its own kind of error for one that declares absurd sizes
        told = str(error) or type(error).__name__
        broken = isinstance(error, (OSError, SyntaxError, EOFError)) and getattr(error, "errno", None) is None
        raise SampleError(path, f"{told}: {MEND}" if broken else told) from error
