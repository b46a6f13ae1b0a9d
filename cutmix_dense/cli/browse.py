"""Draw samples of a data set before and after a mix, as PNG contact sheets: base | partner (or cut-outs) | mixed.

    cutmix-dense browse runs/demo/data/coco
    cutmix-dense browse /data/VOC2012 --split val --transform CutMix region=ObjectBox --count 12
    cutmix-dense browse /data/coco --transform CopyPaste source=bank.pt instances=1,3 place=random
    cutmix-dense browse /data/cityscapes --transform "CutMix(region=MultiBox.french(3))" --index 0 7 12

Pixels that a mix doesn't use are dark, and a dashed line outlines the region. A percentage after a name is the visible
share of the instance. Semantic maps have a row of their own. Clips are drawn as a strip of frames, volumes as some of
their slices.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cutmix_dense.cli.common import add_dataset_arguments, counted, grouped, open_from, positive
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors
from cutmix_dense.cli.specs import add_transform_argument, family, transform_for
from cutmix_dense.data import DatasetError, DenseDataset, SampleError

if TYPE_CHECKING:  # they load torch, which an unknown folder and --help don't need
    from PIL.Image import Image

    from cutmix_dense.data.mixed_sample import MixedSample

_TRIED = 2000
"""So many samples are tried, or ten times those that were asked for, until enough of them could be read."""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("browse", __doc__)
    add_dataset_arguments(result)
    add_transform_argument(result)
    result.add_argument("--count", type=positive(), default=8, help="how many samples (default: 8)")
    result.add_argument("--index", type=positive(0), nargs="+", help="draw these samples instead of a random choice")
    result.add_argument("--seed", type=positive(0), default=0, help="random seed for samples, partners and mixes")
    result.add_argument(
        "--copy",
        type=positive(0),
        default=0,
        help="draw what cutmix-dense mix --copies writes as copy number COPY of a sample, from 0 (default: 0)",
    )
    result.add_argument("--pool", type=positive(), help="images per mix (default: what the transform needs)")
    result.add_argument(
        "--out", type=Path, default=Path("runs/browse"), help="folder of the sheets (default: runs/browse)"
    )
    result.add_argument(
        "--family",
        action="store_true",
        help="one sheet per sample: every method that mixes two pictures, on the same two; instead of --transform",
    )
    result.add_argument("--per-sheet", type=positive(), default=4, help="samples on a sheet (default: 4)")
    result.add_argument("--width", type=positive(120), default=480, help="width of a picture, pixels (default: 480)")
    result.add_argument(
        "--hide",
        nargs="+",
        default=[],
        choices=("boxes", "names", "masks", "keypoints", "semantic"),
        help="don't draw these; semantic is the row of semantic maps",
    )
    result.add_argument(
        "--tags", action="store_true", help="number the instances: a0, a1 … of the base, b0 … of the partner"
    )
    result.add_argument("--font", help="TrueType file for class names that the built-in font can't show")
    add_verbosity(result)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    known = parser()
    arguments = known.parse_args(argv)
    with reporting_errors("browse", arguments.traceback, lists_notes=True):
        if arguments.family and arguments.transform is not known.get_default("transform"):
            raise UserError("--family draws every method as it is by default: leave out --transform, or --family")
        _check_font(arguments.font)
        dataset = open_from(arguments, {"label_ids": "train"})
        _check_indices(dataset, arguments)
        problems: list[SampleError] = []
        draw = _draw_families if arguments.family else _draw_mixes
        drawn = draw(dataset, arguments, problems)
        for line in grouped((str(problem.path), problem.reason) for problem in problems).values():
            print(f"browse: skipped {line}", file=sys.stderr)
        for line in grouped(dataset.take_notes()).values():
            print(f"browse: {line}", file=sys.stderr)
        if not drawn:
            tried = counted(_most(dataset, arguments), "sample")
            mixing = [problem.reason.startswith("cannot be mixed") for problem in problems]
            done = "mixed" if all(mixing) else "read and mixed" if any(mixing) else "read"
            raise DatasetError(f"{dataset.root}: none of the {tried} that were tried can be {done}")
    return 0


def _draw_mixes(dataset: DenseDataset, arguments: argparse.Namespace, problems: list[SampleError]) -> int:
    """Draw sheets of base, partner and mix; returns how many samples are on them."""
    from cutmix_dense.data.mixed_sample import mix_sample

    transform = transform_for(dataset, arguments.transform)
    arguments.out.mkdir(parents=True, exist_ok=True)
    drawn = sheets = mixed = 0
    batch: list[MixedSample] = []

    def finish() -> None:
        nonlocal drawn, sheets, mixed
        path = arguments.out / f"{'-'.join(_parts(dataset))}-{sheets:02d}.png"
        sheet = draw_sheet(dataset, transform, batch, arguments)
        sheet.save(path)
        print(f"{path}: {counted(len(batch), 'sample')}, {sheet.width}×{sheet.height}")
        sheets += 1
        drawn += len(batch)
        mixed += sum(made.mixed for made in batch)
        batch.clear()

    dull: list[MixedSample] = []
    for index in _choice(dataset, arguments):
        try:
            made = mix_sample(dataset, transform, index, copy=arguments.copy, seed=arguments.seed, pool=arguments.pool)
        except SampleError as error:
            problems.append(error)
            continue
        problems += made.replaced
        if arguments.index is None and not _eventful(made) and len(dull) < 2 * arguments.count:
            dull.append(made)
            continue
        batch.append(made)
        if len(batch) == arguments.per_sheet:
            finish()
        if arguments.index is None and drawn + len(batch) == arguments.count:
            break
    for made in dull[: arguments.count - drawn - len(batch)]:  # better than none
        batch.append(made)
        if len(batch) == arguments.per_sheet:
            finish()
    if batch:
        finish()
    if drawn and not mixed:
        why = ", since --pool 1 leaves no partner" if arguments.pool == 1 else ""
        print(f"browse: nothing is mixed in {counted(drawn, 'sample')}{why}", file=sys.stderr)
    return drawn


def _eventful(made: MixedSample) -> bool:
    """Whether a mix shows anything: a tenth of the picture is the partner's, or an instance came, shrank or went."""
    if not made.targets or 1 - float(made.plan.share()[0, 0]) >= 0.1:
        return True
    return any(row["outcome"] != "kept" if row["layer"] == 0 else row["outcome"] != "dropped" for row in made.rows)


def _draw_families(dataset: DenseDataset, arguments: argparse.Namespace, problems: list[SampleError]) -> int:
    """Draw a sheet of every method for each sample; returns how many."""
    from cutmix_dense.visualization import contact_sheet, present_classes
    from cutmix_dense.visualization.family import family_rows

    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = _parts(dataset)
    cell = (round(arguments.width * 0.75), arguments.width)
    drawn = 0
    for index in _choice(dataset, arguments):
        try:
            found = family_rows(
                dataset,
                index,
                family(dataset.mix_layout),
                seed=arguments.seed,
                cell=cell,
                hide=arguments.hide,
                font=arguments.font,
            )
        except SampleError as error:
            problems.append(error)
            continue
        legend = present_classes(found.targets, names_of(dataset), semantic="semantic" not in arguments.hide)
        remark = found.remark()
        sheet = contact_sheet(
            found.rows, headers=(), title=" · ".join(parts), subtitle=remark, legend=legend, font=arguments.font
        )
        path = arguments.out / f"{'-'.join(parts)}-family-{index:05d}.png"
        sheet.save(path)
        print(f"{path}: {sheet.width}×{sheet.height}{remark and f', {remark}'}")
        drawn += 1
        if arguments.index is None and drawn == arguments.count:
            break
    return drawn


def _parts(dataset: DenseDataset) -> list[str]:
    """What a sheet is called after: folder, layout and split, each once."""
    return list(dict.fromkeys((dataset.root.resolve().name, dataset.layout, dataset.split)))


def names_of(dataset: DenseDataset) -> Sequence[str]:
    """The names of the numbers that targets hold: labels, or of panoptic segments categories."""
    return getattr(dataset, "category_names", dataset.classes)


def _check_indices(dataset: DenseDataset, arguments: argparse.Namespace) -> None:
    if not len(dataset):
        raise UserError(f"{dataset.root}: the split {dataset.split!r} lists no image")
    beyond = [index for index in arguments.index or () if index >= len(dataset)]
    if beyond:
        last = len(dataset) - 1
        raise UserError(f"--index {beyond[0]}: the split has {counted(len(dataset), 'sample')}, 0 to {last}")


def _check_font(font: str | None) -> None:
    """UserError for a font that can't be opened, by its path or by the name that the system knows it by."""
    if font is None:
        return
    from PIL import ImageFont

    try:
        ImageFont.truetype(font)
    except OSError:
        raise UserError(f"--font must be a TrueType file, {font} can't be opened as one") from None


def _most(dataset: DenseDataset, arguments: argparse.Namespace) -> int:
    """How many samples are tried at most: some can't be read, and there may be few that can."""
    if arguments.index is not None:
        return len(arguments.index)
    return min(len(dataset), max(_TRIED, 10 * arguments.count))


def _choice(dataset: DenseDataset, arguments: argparse.Namespace) -> list[int]:
    """The samples to try, in order: those that were named, or at random."""
    if arguments.index is not None:
        return list(arguments.index)
    import torch

    from cutmix_dense.randomness import generator_from

    order = torch.randperm(len(dataset), generator=generator_from("browse", arguments.seed))
    return order[: _most(dataset, arguments)].tolist()


def draw_sheet(
    dataset: DenseDataset, transform: object, samples: list[MixedSample], arguments: argparse.Namespace
) -> Image:
    """One contact sheet of some samples."""
    from cutmix_dense.data.cut_outs import banks_of
    from cutmix_dense.visualization import Drawing, contact_sheet, present_classes, sample_rows

    cell = (round(arguments.width * 0.8), arguments.width)
    rows, shown = [], []
    for made in samples:
        titles = [dataset.image_path(index).name for index in made.indices]
        shown += [*made.targets, made.target]
        rows += sample_rows(
            made, titles, names_of(dataset), cell=cell, hide=arguments.hide, tagged=arguments.tags, font=arguments.font
        )
    strips = any(len(row) > 3 for row in rows)
    if not strips and any(len(row) == 3 for row in rows):
        rows = [row if len(row) == 3 else [row[0], Drawing(None, "no other picture"), row[1]] for row in rows]
    middle = "cut-outs" if banks_of(transform) else "partner"
    headers = ("base", middle, "mixed") if any(len(row) == 3 for row in rows) else ("base", "mixed")
    return contact_sheet(
        rows,
        headers=() if strips else headers,
        title=" · ".join(_parts(dataset)),
        subtitle=re.sub(r"\d+\.\d{5,}", lambda number: f"{float(number[0]):.3g}", repr(transform)),
        legend=present_classes(shown, names_of(dataset), semantic="semantic" not in arguments.hide),
        font=arguments.font,
    )


if __name__ == "__main__":
    sys.exit(main())
