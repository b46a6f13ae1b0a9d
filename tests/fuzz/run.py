"""Fuzz the readers and the public surface.

::

    python -m tests.fuzz.run                          # every target, 10 minutes each
    python -m tests.fuzz.run voc_xml plans --minutes 30
    python -m tests.fuzz.run --minutes 0              # only show what was done and found

``--minutes`` is the total per target: a run goes on where an earlier one stopped, with the inputs it had kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .target import MODULES

REPOSITORY = Path(__file__).resolve().parents[2]


def spent(folder: Path) -> dict[str, float]:
    """Seconds and runs that a target has had."""
    path = folder / "spent.json"
    return json.loads(path.read_text()) if path.is_file() else {"seconds": 0, "runs": 0}


def fuzz(name: str, folder: Path, minutes: float) -> None:
    """Run a target until it has had its minutes; a process that an input ends is started again."""
    folder.mkdir(parents=True, exist_ok=True)
    short = 0
    while (left := round(60 * minutes - spent(folder)["seconds"])) > 0:
        counted, before, began = folder / "runs.json", spent(folder), time.monotonic()
        counted.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.fuzz.worker", name, str(folder), str(left)]
        with open(folder / "log.txt", "ab") as log:
            subprocess.run(command, cwd=REPOSITORY, stdout=log, stderr=log, check=False)
        # The time of the process: starting and reading the corpus are part of it.
        seconds = min(time.monotonic() - began, left)
        runs = json.loads(counted.read_text()) if counted.is_file() else 0
        short = short + 1 if runs == 0 else 0
        if short == 3:
            raise RuntimeError(f"{name} does not start: see {folder / 'log.txt'}")
        done = {"seconds": before["seconds"] + seconds, "runs": before["runs"] + runs}
        (folder / "spent.json").write_text(json.dumps(done))


def findings(folder: Path) -> list[str]:
    """Names of the inputs that broke a promise, crashed the process, or took too long or too much memory."""
    return sorted(path.name for path in (folder / "findings").glob("*") if path.suffix != ".txt")


def table(names: list[str], corpus: Path) -> Table:
    """What every target has had and found."""
    shown = Table("target", "minutes", "runs", "kept inputs", "findings")
    for name in names:
        had: Any = spent(corpus / name)
        kept = len(list((corpus / name / "corpus").glob("*")))
        found = ", ".join(findings(corpus / name)) or "none"
        shown.add_row(name, f"{had['seconds'] / 60:.1f}", f"{had['runs']:,}", str(kept), found)
    return shown


def main() -> int:
    """The command line; exit status 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default all: {', '.join(MODULES)}")
    parser.add_argument("--minutes", type=float, default=10, help="per target, in total (default 10)")
    parser.add_argument("--corpus", type=Path, default=Path.home() / ".cache" / "cutmix_dense" / "fuzz")
    arguments = parser.parse_args()
    names = arguments.targets or list(MODULES)
    for name in names:
        if name not in MODULES:
            parser.error(f"unknown target {name!r}; known: {', '.join(MODULES)}")
        fuzz(name, arguments.corpus.resolve() / name, arguments.minutes)
    Console().print(table(names, arguments.corpus))
    return int(any(findings(arguments.corpus / name) for name in names))


if __name__ == "__main__":
    sys.exit(main())
