"""The command ``cutmix-dense``: it finds the subcommand and hands the words over.

Each subcommand is a module of this package with ``parser()`` and ``main(argv)``. Only the one that is called is
imported, and none imports torch before its arguments were read.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

import cutmix_dense

COMMANDS = {
    "demo": "draw a small data set, mix it, and write a page that shows what happened",
    "browse": "draw samples of a data set, before and after a mix",
    "explore": "open a page to try methods and settings on pictures, and copy their code",
    "bank": "cut instances out of a data set for CopyPaste(source=…)",
    "mix": "write a mixed copy of a data set, in its own layout or another",
    "train": "train the model of a config",
    "evaluate": "evaluate a checkpoint with its config",
    "study": "compare trainings with and without mixing",
    "benchmark": "compare the speed of mixes with other libraries and with a plain copy",
}
"""The subcommands and what each does."""


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: cutmix-dense [-h] [--version] COMMAND ...",
            "",
            "Mixing augmentations for object detection and segmentation.",
            "",
            "commands:",
            *lines,
            "",
            "cutmix-dense COMMAND --help shows the arguments and examples of a command.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: the words after ``cutmix-dense``; by default those of the process.

    Returns:
        The exit code: that of the subcommand; 2 without a known one.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(_usage(), file=sys.stderr)
        return 2
    name, *rest = words
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"cutmix-dense {cutmix_dense.__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        print(f"cutmix-dense: error: unknown command {name!r}; {hint}(known: {', '.join(COMMANDS)})", file=sys.stderr)
        return 2
    done: int | None = import_module(f"cutmix_dense.cli.{name}").main(rest)
    return done or 0


if __name__ == "__main__":
    sys.exit(main())
