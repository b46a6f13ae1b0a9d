"""Compare trainings with and without mixing: run a study, show its progress, write its report.

    cutmix-dense study run configs/studies/demo-detection.py --out runs/studies/demo-detection
    cutmix-dense study run configs/studies/bccd-detection.py --out runs/studies/bccd --data-root DATA --jobs 2
    cutmix-dense study status configs/studies/bccd-detection.py --out runs/studies/bccd
    cutmix-dense study report configs/studies/bccd-detection.py --out runs/studies/bccd --publish docs/studies/bccd
    cutmix-dense study run configs/studies/bccd-detection.py --published docs/studies/bccd-detection --data-root DATA
    cutmix-dense study summary configs/studies/bccd-detection.py --published docs/studies

A study trains several variants of one config with several seeds. The same command continues it: finished runs aren't
repeated, and killed runs continue from their last checkpoint. The model before training is measured first: nothing is
trained if it lacks a metric that the study names. The report covers the finished runs and lists missing
ones. With `--published`, the runs of a published report count as finished: another machine can add seeds to it, or make
its tables again from the CSV. With a `plan` in its config, a study runs as many seeds as its pilot requires, and its
report gives a verdict.

Exit codes: 0 done, 1 a run failed, 2 a mistake in what was asked for, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cutmix_dense.cli.common import positive
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors

if TYPE_CHECKING:  # it loads torch, which --help doesn't need
    from cutmix_dense.study.execute import Commands


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("study", __doc__)
    commands = result.add_subparsers(dest="command", required=True)
    helps = {
        "run": "run what is missing, then write the report",
        "report": "write the report again from the finished runs",
        "status": "show the progress of every run",
        "summary": "write one page about several studies, from their finished runs",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "summary":
            command.add_argument("studies", metavar="STUDY", type=Path, nargs="+", help="config files of the studies")
            command.add_argument(
                "--runs", type=Path, default=Path("runs/studies"), help="folder of the studies (default: runs/studies)"
            )
            command.add_argument(
                "--published",
                type=Path,
                metavar="DIR",
                help="folder of published reports, DIR/<study>: their runs count as finished",
            )
            command.add_argument("--publish", type=Path, metavar="DIR", help="write the page into DIR instead")
            add_verbosity(command)
            continue
        command.add_argument("study", metavar="STUDY", type=Path, help="config file of the study (configs/studies)")
        command.add_argument("--out", type=Path, help="folder for everything (default: runs/studies/<name>)")
        command.add_argument(
            "--published",
            type=Path,
            metavar="DIR",
            help="a published report of this study: its runs count as finished",
        )
        command.add_argument("--data-root", type=Path, help="folder of the data, instead of the config's")
        command.add_argument(
            "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the config of every run"
        )
        if name == "run":
            command.add_argument(
                "--jobs", type=positive(), default=1, help="runs at the same time; they share the cores"
            )
            command.add_argument("--only", nargs="+", default=[], metavar="VARIANT", help="run only these variants")
            command.add_argument("--redo", action="store_true", help="repeat runs made with other settings")
        if name != "status":
            command.add_argument("--publish", type=Path, metavar="DIR", help="write the report into DIR, too")
        add_verbosity(command)
    return result


def main(argv: list[str] | None = None, commands: Commands | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        argv: arguments, default those of the process.
        commands: the programs that train and measure.
    """
    arguments = parser().parse_args(argv)
    with reporting_errors("study", arguments.traceback, has_options=False):
        for path in arguments.studies if arguments.command == "summary" else [arguments.study]:
            if not path.is_file():
                raise UserError(f"there is no study {path}")
        from cutmix_dense.cli.study_runs import TRAIN, open_folder, run, show_status, summarize, tell_report
        from cutmix_dense.study.execute import Commands
        from cutmix_dense.study.settings import StudyError

        try:
            if arguments.command == "summary":
                return summarize(arguments)
            folder = open_folder(arguments)
            if arguments.command == "run":
                return run(folder, arguments, commands or Commands(TRAIN))
            if arguments.command == "status":
                return show_status(folder)
            tell_report(folder, arguments.publish)
        except StudyError as error:
            raise UserError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
