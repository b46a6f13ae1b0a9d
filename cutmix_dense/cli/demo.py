"""Draw a small data set, mix it in three layouts, and write a page that shows the result. This takes about a minute.

    cutmix-dense demo
    cutmix-dense demo --out runs/small --images 60 --seed 7

If you run the same command again, it continues or reuses the files.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cutmix_dense.cli.common import positive
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("demo", __doc__)
    result.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder for everything (default: runs/demo)"
    )
    result.add_argument("--images", type=positive(8), default=80, help="scenes to draw and mix (default: 80, least: 8)")
    result.add_argument("--seed", type=positive(0), default=0, help="random seed for scenes and mixes (default: 0)")
    result.add_argument("--workers", type=positive(0), help="processes (default: one per core)")
    result.add_argument("--overwrite", action="store_true", help="replace a demo in --out with other settings")
    add_verbosity(result)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    with reporting_errors("demo", arguments.traceback):
        _check_out(arguments.out)
        started = time.monotonic()
        from cutmix_dense.cli.demo_drawing import run

        page = run(arguments)
        print(f"done in {time.monotonic() - started:.0f} s. Open this page in a browser:\n{page.resolve()}")
    return 0


def _check_out(out: Path) -> None:
    """UserError for a folder with other things than a demo, which its files might replace."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file, a folder is needed")
    if out.is_dir() and any(out.iterdir()) and not (out / "data" / "demo.json").is_file():
        raise UserError(f"--out {out}: is not empty and holds no demo; name a new folder")


if __name__ == "__main__":
    sys.exit(main())
