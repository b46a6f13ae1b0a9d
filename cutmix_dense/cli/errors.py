"""What a user can mend is told in one line, without a traceback."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cutmix_dense.data.errors import DatasetError, DataWarning, MixError
from cutmix_dense.data.readers.layouts import READERS

__all__ = ["UserError", "add_verbosity", "as_typed", "parser_of", "reporting_errors"]


class UserError(Exception):
    """A mistake in what was typed or in a folder that was named: shown in one line, without a traceback."""


def parser_of(command: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of a command: its module's docstring is what ``--help`` shows."""
    return argparse.ArgumentParser(
        f"cutmix-dense {command}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """``--traceback``."""
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")


def as_typed(message: str) -> str:
    """A message of the package with its arguments as they are typed here: ``task='voc'`` is ``--task voc``."""
    options = [name for reader in READERS.values() for name in reader.options]
    others = ["layout", "split", "pixels", "to", "copies", "limit", "pool", "quality", "ray", "workers"]
    names = "|".join([*options, *others])

    def flag(match: re.Match[str]) -> str:
        value = match["value"] or ""
        return f"--{match['name'].replace('_', '-')}{' ' * bool(value)}{value[1:-1]}"

    message = re.sub(rf"(?<![\w-])(?P<name>{names})=(?P<value>'[^' ]*'|\"[^\" ]*\")?", flag, message)
    return re.sub(rf"^(?P<name>{names})(?P<value>)(?=:| must\b)", flag, message)


@contextmanager
def reporting_errors(program: str, traceback: bool = False) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr.

    Exit codes: 1 for a failure of the work itself, 2 for a mistake in what was asked for, 130 for Ctrl-C. Warnings of
    data are lines, too.
    """
    others = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, DataWarning):
            print(f"{program}: warning: {as_typed(str(message))}", file=sys.stderr)
        else:
            others(message, category, *where, **more)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell  # put back by the block's end
            yield
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (UserError, DatasetError, MixError, ImportError, FileNotFoundError, PermissionError) as error:
        if traceback:
            raise
        print(f"{program}: error: {as_typed(str(error))}", file=sys.stderr)
        raise SystemExit(1 if isinstance(error, MixError) else 2) from None
