"""Write a mixed copy of a dataset to disk, in its own layout or another.

    cutmix-dense mix runs/demo/data/voc runs/voc-mixed --copies 2
    cutmix-dense mix /data/labelimg /data/yolo --to yolo --transform Mosaic
    cutmix-dense mix /data/cvat /data/yolo --to yolo --as-split train
    cutmix-dense mix /data/coco /data/coco-cutmix --split train2017 --with-originals --transform CutMix p=0.5
    cutmix-dense mix /nfs/coco /nfs/coco-cutmix --split train2017 --ray auto

The copy depends only on the arguments, not on --workers or --ray. To continue an interrupted run, use the same
command. With --ray, every machine must see ROOT and OUTPUT at the same paths and have this package installed.
mixed_copy.<split>.json beside the data names and counts everything that could not be read, or that the layout of the
copy can't store. With p=0 nothing is mixed, and the copy has the annotations of the source.

Exit codes: 0 done, 1 failed, 2 a mistake in the arguments, 3 done with --strict but something was skipped, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutmix_dense.cli.common import add_dataset_arguments, cores, counted, grouped, open_from, option_names, positive
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors
from cutmix_dense.cli.specs import add_transform_argument, transform_for
from cutmix_dense.data.copy_folder import check_output
from cutmix_dense.data.errors import DatasetError, kind_of
from cutmix_dense.data.readers.layouts import READERS
from cutmix_dense.data.splits import check_split_name

if TYPE_CHECKING:  # the report loads torch, which --help doesn't need
    from cutmix_dense.data import DenseDataset
    from cutmix_dense.data.copy_report import CopyReport


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("mix", __doc__)
    add_dataset_arguments(result)
    result.add_argument(
        "output",
        metavar="OUTPUT",
        type=Path,
        help="folder of the copy: new, begun by the same command, or holding other splits",
    )
    result.add_argument(
        "--to",
        choices=tuple(name for name, reader in READERS.items() if reader.writer is not None),
        help="layout of the copy (default: the dataset's)",
    )
    result.add_argument(
        "--as-split",
        type=_split_name,
        metavar="NAME",
        help="what the copy calls the split, as train (default: what the dataset calls it)",
    )
    add_transform_argument(result)
    result.add_argument(
        "--copies",
        type=positive(0),
        default=1,
        help="mixed samples per image (default: 1); 0 needs --with-originals",
    )
    result.add_argument("--seed", type=positive(0), default=0, help="random seed for partners and mixes (default: 0)")
    result.add_argument("--workers", type=positive(0), help="processes (default: one per core)")
    result.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="use Ray Data (extra: ray). ADDRESS is auto for the cluster of this machine, or host:port of another "
        "head node. Without ADDRESS, Ray starts --workers processes on this machine. On a cluster --workers counts the "
        "processes of all machines (default: one per CPU)",
    )
    result.add_argument("--with-originals", action="store_true", help="copy the unmixed samples, too")
    result.add_argument("--limit", type=positive(), help="use only the first LIMIT images")
    result.add_argument("--pool", type=positive(), help="images per mix (default: what the transform needs)")
    result.add_argument(
        "--quality", type=positive(1, 100), default=95, help="quality of JPEG files, 1 to 100 (default: 95)"
    )
    result.add_argument("--strict", action="store_true", help="exit with 3 if anything was skipped")
    add_verbosity(result)
    return result


def _split_name(text: str) -> str:
    try:
        return check_split_name(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a plain folder name, as train, got {text!r}") from None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    with reporting_errors("mix", arguments.traceback, lists_notes=True):
        if not (arguments.copies or arguments.with_originals):
            raise UserError("--copies must be at least 1, got 0; with --with-originals it may be 0")
        dataset = open_from(arguments)
        check_output(arguments.output, dataset)
        _check_layout(dataset, arguments)
        transform = transform_for(dataset, arguments.transform)
        from cutmix_dense.data.mixed_copy import mix_dataset

        everywhere = arguments.ray not in (None, "local")
        workers = (0 if everywhere else cores()) if arguments.workers is None else arguments.workers
        counter = _Counter()
        try:
            with counter:
                report = mix_dataset(
                    dataset,
                    arguments.output,
                    transform,
                    copies=arguments.copies,
                    seed=arguments.seed,
                    workers=workers,
                    with_originals=arguments.with_originals,
                    limit=arguments.limit,
                    pool=arguments.pool,
                    quality=arguments.quality,
                    split=arguments.as_split,
                    to=arguments.to,
                    ray=arguments.ray,
                    on_progress=counter,
                )
        except KeyboardInterrupt:
            print(
                f"mix: interrupted, {counter.done} of {counted(counter.total, 'sample')} made; the annotations of the "
                "copy are written at its end: the same command continues from here",
                file=sys.stderr,
            )
            return 130
        except ValueError as error:
            if type(error) is ValueError:  # an argument out of range
                raise UserError(str(error)) from None
            raise
        tell(report, partial(_remedy, arguments, dataset, transform))
    return 3 if arguments.strict and (report.skipped or report.broken) else 0


def _check_layout(dataset: DenseDataset, arguments: argparse.Namespace) -> None:
    """UserError for a layout that has no place for such samples; said before torch is loaded."""
    writer = READERS[arguments.to or dataset.layout].writer
    if writer is None:  # the copy itself says which can be written
        return
    try:
        writer.like(dataset, arguments.output, arguments.as_split or dataset.split, arguments.quality)
    except ValueError as error:
        if arguments.to in (None, dataset.layout) or type(error) is not ValueError:
            raise UserError(str(error)) from None
        own = f"leave out --to for a copy as {dataset.layout}" if READERS[dataset.layout].writer else "name another one"
        raise UserError(f"--to {arguments.to}: {error}; {own}") from None


class _Counter:
    """A progress bar that can be entered and called with (done, total, record); the first call shows it."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("mixing"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[bad]}"),
        )
        self.bar = Progress(*columns)
        self.task = self.bar.add_task("mixing", bad="", total=None)
        self.done = self.total = self.bad = 0

    def __enter__(self) -> _Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, done: int, total: int, record: dict[str, Any] | None) -> None:
        self.bar.start()  # nothing, if it was
        self.done, self.total = done, total
        self.bad += record is not None and "skipped" in record
        self.bar.update(self.task, completed=done, total=total, bad=f"{self.bad} skipped" if self.bad else "")


def tell(report: CopyReport, remedy_for: Callable[[str, str], str]) -> None:
    """Say what was made and what was not.

    Args:
        report: that of the finished copy.
        remedy_for: how a missing split is added, by its name in the copy and in the data set.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    resumed = f", {report.resumed} of them by an earlier run" if report.resumed else ""
    unmixed = f", {report.unmixed} unmixed" if report.unmixed else ""
    console.print(f"{report.root}: {counted(report.written, 'sample')}{resumed}{unmixed}", markup=False)
    if report.outcomes:
        table = Table("of the", "outcome", "why", title="what happened to the instances", title_justify="left")
        table.add_column("instances", justify="right")
        for (side, outcome, reason), count in report.outcomes.items():
            table.add_row(side, outcome, reason, f"{count:,}")
        console.print(table)
    for kind, line in grouped((row["file"], row["reason"]) for row in report.broken).items():
        rows = [row for row in report.broken if kind_of(row["reason"]) == kind]
        console.print(f"cannot be used: {line}{_cost(rows)}", markup=False)
    if report.broken:
        files, samples = counted(len(report.broken), "file"), counted(len(report.skipped), "sample")
        console.print(f"{files} could not be used, {samples} skipped", markup=False)
    for line in grouped((note["file"], note["reason"]) for note in report.notes).values():
        console.print(f"noted: {line}", markup=False)
    for name, count in report.not_kept.items():
        console.print(f"not kept: {name} ({count:,})", markup=False)
    if report.made_anew:
        console.print(f"recomputed: {', '.join(report.made_anew)}", markup=False)
    for name, split in report.absent.items():
        remedy = remedy_for(name, split)
        console.print(
            f"missing: data.yaml has no {name}, and Ultralytics doesn't train without it. {remedy}", markup=False
        )
    console.print(f"report: {report.path}", markup=False)


_OF_SAMPLES = ("layout", "pixels", "seed", "quality")
"""Arguments that hold for every split: they say how samples are read, drawn and written."""

_OF_MIXES = ("pool", "copies", "with_originals", "transform")
"""Arguments that say what is mixed, which a split for validation isn't."""

_PATHS = ("images", "annotations", "maps")
"""Options of layouts that may lead to the files of one split alone."""


def _remedy(arguments: argparse.Namespace, dataset: DenseDataset, transform: Any, name: str, split: str) -> str:
    """How the split that a copy lacks is added: a command that reads it as this run has read its own.

    A split for training is mixed as this run mixes, one for validation isn't mixed.
    """
    from cutmix_dense.data.mixed_sample import never_mixes

    if not split:
        return _remedy_without(arguments, dataset, name)
    options = _options_for(arguments, dataset, split)
    if options is None:
        given = " and ".join(f"--{option}" for option in _PATHS if getattr(arguments, option, None))
        return f"This adds it: the same command with --split {split} and with the {given} of that split"
    mixes = name == "train"
    unmixed = not (mixes and arguments.copies) or never_mixes(transform)
    words = ["mix", arguments.root, arguments.output, "--to", arguments.to or dataset.layout, "--split", split]
    words += _typed(arguments, (*_OF_SAMPLES, *(_OF_MIXES if mixes else ()))) + _typed(options, option_names())
    words += [] if mixes else ["--transform", "CutMix", "p=0"]
    return f"This adds it{', unmixed' * unmixed}: {shlex.join(map(str, ['cutmix-dense', *words]))}"


def _remedy_without(arguments: argparse.Namespace, dataset: DenseDataset, name: str) -> str:
    """What to do where no split of the data set is usually called as the one that the copy lacks."""
    writer = READERS[arguments.to or dataset.layout].writer
    assert writer is not None  # there is a copy
    found: list[str] = []
    with suppress(DatasetError, OSError):  # the copy is made, whatever else lies in the source
        found = dataset.find_splits(dataset.root)
    copied = arguments.as_split or dataset.split
    if name == "train" and writer.name_of(copied) != "val":
        return (
            f"The data set has no split of this name. If {dataset.split!r} is for training, copy it into a new folder "
            f"by the same command with --as-split {name}"
        )
    others = [each for each in found if each != dataset.split and writer.name_of(each) not in ("train", "val")]
    use = "training" if name == "train" else "validation"
    if others:
        return (
            f"The data set has no split of this name. If {others[0]!r} is for {use}, this adds it: the same command "
            f"with --split {shlex.quote(others[0])} --as-split {name}"
        )
    return (
        f"The data set has none for {use}. Put other pictures and their annotations into a split or a data set of "
        f"their own, of the same classes, and copy it into the same folder with --as-split {name}"
    )


def _typed(arguments: argparse.Namespace, names: Iterable[str]) -> list[Any]:
    """Those of some arguments that differ from what they are by default, as they are typed."""
    usual = parser().parse_args([str(arguments.root), str(arguments.output)])
    words: list[Any] = []
    for name in names:
        value = getattr(arguments, name)
        if value != getattr(usual, name):
            flag = [f"--{name.replace('_', '-')}"]
            words += flag if value is True else [*flag, *(value if isinstance(value, list) else [value])]
    return words


def _options_for(arguments: argparse.Namespace, dataset: DenseDataset, split: str) -> argparse.Namespace | None:
    """The arguments by which another split is read; None if none of ours does.

    Paths may lead to the files of this run's split alone, so they are taken only where they lead to other pictures:
    first with the other split's name in place of this one's, then as they are, then left out.
    """
    paths = {name: words for name in _PATHS if (words := getattr(arguments, name, None)) is not None}
    renamed = {name: [str(word).replace(dataset.split, split) for word in words] for name, words in paths.items()}
    for chosen in (renamed, paths, dict.fromkeys(paths)) if paths else ({},):
        other = argparse.Namespace(**{**vars(arguments), **chosen, "split": split})
        if not paths or _leads_elsewhere(other, dataset):
            return other
    return None


def _leads_elsewhere(arguments: argparse.Namespace, dataset: DenseDataset) -> bool:
    """Whether arguments open a data set of other pictures than this one."""
    try:
        other = open_from(arguments)
        return len(other) > 0 and other.image_path(0) not in {dataset.image_path(k) for k in range(len(dataset))}
    except (UserError, ValueError, OSError):
        return False


def _cost(rows: Sequence[dict[str, Any]]) -> str:
    """What files that can't be used cost."""
    skipped, replaced = (sum(row[role] for row in rows) for role in ("as_base", "as_partner"))
    cost = [f"{skipped} skipped"] if skipped else []
    cost += [f"replaced as a partner {replaced}×"] if replaced else []
    return f" ({', '.join(cost)})" if cost else ""


if __name__ == "__main__":
    sys.exit(main())
