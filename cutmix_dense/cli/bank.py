"""Make a bank of cut-outs for ``CopyPaste(source=cd.InstanceBank.load("bank.pt"))``; in a terminal ``source=bank.pt``.

    cutmix-dense bank runs/demo/data/coco --out bank.pt
    cutmix-dense bank /data/VOC2012 --split train --most-megabytes 512 --margin 0.25 --out bank.pt
    cutmix-dense bank /data/cut_outs --folder --out bank.pt
    cutmix-dense bank /data/coco --bgr --out bank.pt  # for configs of MMDetection
    cutmix-dense mix /data/coco runs/pasted --transform CopyPaste source=bank.pt instances=1,3 place=random

Pictures are opened in random order until there is no room for the next instance, so a small bank is an even sample of
the data set; an instance larger than the whole bank is left out. With ``--folder`` every picture below ROOT with an
alpha band is a cut-out. Its mask is where it is more opaque than transparent (alpha above 127 of 255), and its class is
the name of its folder. Classes are numbered from 1 in alphabetical order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cutmix_dense.cli.common import (
    add_dataset_arguments,
    counted,
    given_options,
    grouped,
    open_from,
    positive,
    within,
)
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors
from cutmix_dense.data import DatasetError, DenseDataset, SampleError
from cutmix_dense.data.files import walked
from cutmix_dense.data.pictures import read_picture
from cutmix_dense.warned import reworded

if TYPE_CHECKING:  # it loads torch, which --help doesn't need
    from torch import Tensor


Item = TypeVar("Item")

_NONE = ("", "background")
"""Names in place 0 that are no class."""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("bank", __doc__)
    add_dataset_arguments(result)
    result.add_argument("--folder", action="store_true", help="ROOT is a folder of pictures with an alpha band")
    result.add_argument("--out", type=Path, required=True, help="file to write")
    result.add_argument("--most-megabytes", type=positive(), default=256, help="size of the bank (default: 256)")
    result.add_argument(
        "--margin", type=within(0, 10), default=0.25, help="border around a box, as a share of its side"
    )
    result.add_argument("--bgr", action="store_true", help="store pictures as MMDetection loads them, blue first")
    result.add_argument("--seed", type=positive(0), default=0, help="random seed for the order of the pictures")
    add_verbosity(result)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    with reporting_errors("bank", arguments.traceback, lists_notes=True):
        problems: list[SampleError] = []
        dataset: DenseDataset | None = None
        if arguments.out.is_dir():
            raise UserError(f"--out: {arguments.out} is a folder: name the file to write in it")
        if arguments.folder:
            _refuse_options(arguments)
            names, paths = cut_outs_of(Path(arguments.root))
            samples, total = _cut_outs(_shuffled(paths, arguments.seed), names, problems), len(paths)
        else:
            dataset = _opened(arguments)
            names, samples, total = dataset.classes, _samples(dataset, arguments.seed, problems), len(dataset)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        from rich.console import Console
        from rich.progress import track

        from cutmix_dense.transforms import InstanceBank

        bank = InstanceBank(arguments.most_megabytes * 2**20, arguments.margin, classes=names)
        for image, target in track(samples, "cutting out", total, transient=True, console=Console(stderr=True)):
            with reworded(lambda message: message.replace("raise max_bytes", "raise --most-megabytes")):
                try:
                    bank.add([image.flip(0) if arguments.bgr else image], [target])
                except (TypeError, ValueError) as error:
                    raise DatasetError(f"{arguments.root}: {error}") from error
            if bank.full:
                break
        for line in grouped(sorted((str(problem.path), problem.reason) for problem in problems)).values():
            print(f"bank: skipped {line}", file=sys.stderr)
        for line in grouped(dataset.take_notes() if dataset is not None else ()).values():
            print(f"bank: {line}", file=sys.stderr)
        if not len(bank):
            raise DatasetError(f"{arguments.root}: found no instance that can be cut out")
        bank.save(arguments.out)
        print(f"{arguments.out}: {counted(len(bank), 'instance')}, {bank.nbytes / 2**20:.1f} MB")
        for label, count in sorted(bank.counts.items()):
            print(f"  {names[label] if label < len(names) else label}: {count}")
        absent = [name for label, name in enumerate(names) if label not in bank.counts and name not in _NONE]
        if absent:
            print(f"  without any: {', '.join(absent)}")
    return 0


def _opened(arguments: argparse.Namespace) -> DenseDataset:
    """The data set; UserError for one of whose samples no instance can be cut out."""
    dataset = open_from(arguments)
    if not dataset.has_instances:
        raise UserError(
            f"{arguments.root}: has no boxes or masks of instances ({dataset.layout}) to be cut out: name "
            "another folder or --layout, or paste what its maps show with --transform ClassMix"
        )
    if dataset.mix_layout != "BCHW":
        raise UserError(f"{arguments.root}: must hold pictures, not clips or volumes ({dataset.layout})")
    return dataset


def _refuse_options(arguments: argparse.Namespace) -> None:
    """Raise UserError for options of data sets, which a folder of cut-outs isn't."""
    options = [name for name in ("layout", "split", "pixels") if getattr(arguments, name) is not None]
    for name in (*options, *given_options(arguments)):
        raise UserError(
            f"--{name.replace('_', '-')} is for data sets, not for --folder, which takes all pictures: drop it"
        )


def _shuffled(items: Sequence[Item], seed: int) -> Iterator[Item]:
    """Items in random order."""
    import torch

    from cutmix_dense.randomness import generator_from

    yield from (items[index] for index in torch.randperm(len(items), generator=generator_from("instance_bank", seed)))


def _samples(dataset: DenseDataset, seed: int, problems: list[SampleError]) -> Iterator[tuple[Tensor, Any]]:
    """The samples of a data set in random order."""
    for index in _shuffled(range(len(dataset)), seed):
        try:
            image, target = dataset[index]
        except SampleError as error:
            problems.append(error)
            continue
        yield image, target


def cut_outs_of(folder: Path) -> tuple[tuple[str, ...], list[Path]]:
    """The classes (number 0 is none) and the pictures of a folder of cut-outs.

    Args:
        folder: with a folder per class, or of one class.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    files = sorted(Path(place, name) for place, _, names in walked(folder) for name in names)
    found = [path for path in files if path.suffix.lower() in (".png", ".webp", ".tif", ".tiff")]
    if not found:
        raise UserError(f"{folder}: found no .png, .webp or .tif file with an alpha band")
    return ("", *sorted({path.parent.name for path in found})), found


def _cut_outs(
    paths: Iterable[Path], names: tuple[str, ...], problems: list[SampleError]
) -> Iterator[tuple[Tensor, Any]]:
    import torch

    for path in paths:
        try:
            pixels = read_picture(path, "stored")
            if pixels.shape[2] not in (2, 4):
                raise SampleError(
                    path, f"must have an alpha band behind grey or three colours, got {pixels.shape[2]} bands"
                )
            picture = torch.from_numpy(pixels).movedim(2, 0)
            half = (1 if picture.is_floating_point() else torch.iinfo(picture.dtype).max) / 2
            mask = (picture[-1:] > half).contiguous()
            if not mask.any():
                raise SampleError(path, f"alpha must be above {half:g} somewhere, got at most {picture[-1].max():g}")
        except SampleError as error:
            problems.append(error)
            continue
        yield (
            picture[:-1].expand(3, -1, -1).contiguous(),
            {"masks": mask, "labels": torch.tensor([names.index(path.parent.name)])},
        )


if __name__ == "__main__":
    sys.exit(main())
