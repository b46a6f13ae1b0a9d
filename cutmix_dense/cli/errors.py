"""What a user can mend is told in one line, without a traceback."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from cutmix_dense.data.errors import DatasetError, DataWarning, MixError
from cutmix_dense.data.readers.layouts import READERS
from cutmix_dense.warned import MixWarning

_SETTINGS = ("boxes", "interpolation")
"""Settings of transforms that messages of the package advise."""

_FIRST_NOTE = " (further ones are counted in `notes`)"
"""Behind the warning of what is left out of a data set first, for programs that read its ``notes``."""

_MISSING = "the following arguments are required: "
"""How argparse begins to tell what wasn't given."""

_PACKAGE = Path(__file__).parents[1]


class UserError(Exception):
    """A mistake in what was typed or in a folder that was named: shown in one line, without a traceback."""


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line, as the commands tell theirs, with a hint for a misspelt option."""

    _words: Sequence[str] = ()

    def parse_args(self, *given: Any, **named: Any) -> Any:
        """As argparse's; an unknown option is told with the known one that is meant."""
        found, unknown = self.parse_known_args(*given, **named)
        if unknown:
            first = next((word for word in unknown if word.startswith("-")), unknown[0])
            close = difflib.get_close_matches(first.partition("=")[0], self._options(), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            self.error(f"unknown argument{'s' * (len(unknown) > 1)} {' '.join(unknown)}{hint}")
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; the words are kept for messages."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _swallowed(self, missing: str) -> str:
        """Which option with an open number of values took the words that are missing behind it; empty if none did."""
        for option, action in self._option_string_actions.items():
            if action.nargs in ("?", "*", "+") and option in self._words:
                behind = self._words[self._words.index(option) + 1 :]
                taken = list(itertools.takewhile(lambda word: not word.startswith("-"), behind))
                if len(taken) > (action.nargs == "+"):  # more than it needs
                    taken = taken[:1] if action.nargs == "?" else taken
                    return f"; {option} took {' '.join(taken)}: put {missing} before it"
        return ""

    def _options(self) -> list[str]:
        """All options, those of subcommands among them."""
        inner = [action.choices.values() for action in self._actions if isinstance(action.choices, dict)]
        further = (name for parsers in inner for parser in parsers for name in parser._options())
        return [*self._option_string_actions, *further]

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with the code 2."""
        command = self.prog.split()[1] if " " in self.prog else self.prog
        told = message.removeprefix("argument ")
        told += self._swallowed(message.removeprefix(_MISSING)) if message.startswith(_MISSING) else ""
        print(f"{command}: error: {told} ({self.prog} --help shows the arguments)", file=sys.stderr)
        raise SystemExit(2)


def parser_of(command: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of a command: its module's docstring is what ``--help`` shows."""
    return Parser(f"cutmix-dense {command}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """``--traceback``."""
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")


def as_typed(message: str) -> str:
    """A message of the package with its arguments as they are typed here: ``task='voc'`` is ``--task voc``.

    What is a setting of transforms stands behind theirs: ``boxes='estimate'`` is ``--transform … boxes=estimate``.
    """
    options = [name for reader in READERS.values() for name in reader.options]
    others = ["layout", "split", "pixels", "to", "copies", "limit", "pool", "quality", "ray", "workers"]
    names = "|".join([*options, *others])

    def flag(match: re.Match[str]) -> str:
        value = (match["value"] or "").strip("'\"")
        return f"--{match['name'].replace('_', '-')}{' ' * bool(value)}{value}"

    message = re.sub(rf"(?<![\w-])(?P<name>{names})=(?P<value>'[^' ]*'|\"[^\" ]*\"|\w+)?", flag, message)
    message = re.sub(rf"^(?P<name>{names})(?P<value>)(?=:| must\b)", flag, message)
    settings = "|".join(_SETTINGS)
    return re.sub(rf"(?<![\w-])(?P<name>{settings})='(?P<value>\w+)'", r"--transform … \g<name>=\g<value>", message)


@contextmanager
def reporting_errors(
    program: str, traceback: bool = False, *, lists_notes: bool = False, has_options: bool = True
) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr.

    Exit codes: 1 for a failure of the work itself, 2 for a mistake in what was asked for, 130 for Ctrl-C. Warnings for
    the user, those of data and of the package's methods, are lines, too.

    Args:
        program: begins every line.
        traceback: let errors pass.
        lists_notes: the program lists at its end what was left out of a data set, so the warning of the first is none.
        has_options: settings of data sets and transforms are options of the program, and are told as those; else they
            are keys of its config.
    """
    as_given = as_typed if has_options else str
    others = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], filename: str, *args: Any, **more: Any) -> None:
        ours = category is UserWarning and Path(filename).is_relative_to(_PACKAGE)
        if not (ours or issubclass(category, (DataWarning, MixWarning))):
            return others(message, category, filename, *args, **more)
        told = str(message).removesuffix(_FIRST_NOTE)
        if not (lists_notes and told != str(message)):
            print(f"{program}: warning: {as_given(told)}", file=sys.stderr)
        return None

    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell  # put back by the block's end
            yield
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (UserError, DatasetError, MixError, ImportError, OSError) as error:
        if traceback:
            raise
        print(f"{program}: error: {as_given(_words(error))}", file=sys.stderr)
        raise SystemExit(1 if _is_failure(error) else 2) from None


def _words(error: Exception) -> str:
    """What an error says; of one of a file its name first, without a number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    return str(error)


def _is_failure(error: Exception) -> bool:
    """Whether the work itself failed: a full disk did, a file that isn't there or that isn't a folder is a mistake."""
    mistakes = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
    return isinstance(error, (MixError, OSError)) and not isinstance(error, mistakes)
