"""What the demo does: it draws the scenes, mixes them in three layouts, and draws the pictures of its page."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cutmix_dense as cd
from cutmix_dense.cli import demo_page
from cutmix_dense.cli.common import cores
from cutmix_dense.cli.errors import UserError
from cutmix_dense.cli.specs import family
from cutmix_dense.data import DatasetError, DenseDataset
from cutmix_dense.data.copy_report import CopyReport
from cutmix_dense.data.demo import CITYSCAPES_NAMES, make_demo_set
from cutmix_dense.data.demo.shapes import CLASSES as SHAPES
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import MixedSample, mix_sample, open_complete
from cutmix_dense.visualization import (
    Drawing,
    caption_of,
    contact_sheet,
    mix_row,
    present_classes,
    sample_rows,
    to_pil,
)
from cutmix_dense.visualization.family import family_rows

LAYOUTS = ("coco", "voc", "cityscapes")


def run(arguments: argparse.Namespace) -> Path:
    """Draw, mix, and write the page; returns its path."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    out: Path = arguments.out
    if arguments.overwrite:
        for layout in LAYOUTS:
            copy = out / "mixed" / layout
            if any(copy.glob("mixed_copy.*.json")):
                shutil.rmtree(copy)
    transform = cd.CutMix(p=1.0, on_filtered="ignore")
    reports: dict[str, CopyReport] = {}
    columns = (TextColumn("{task.description:22}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns) as progress:
        bars = {
            name: progress.add_task(name, total=None, visible=False)
            for name in ("drawing scenes", *(f"mixing {layout}" for layout in LAYOUTS), "drawing sheets")
        }

        def advance(name: str, done: int, total: int) -> None:
            progress.update(bars[name], completed=done, total=total, visible=True)

        try:
            make_demo_set(
                out / "data",
                images=arguments.images,
                val=max(2, arguments.images // 6),
                seed=arguments.seed,
                overwrite=arguments.overwrite,
                progress=lambda done, total: advance("drawing scenes", done, total),
            )
            for layout in LAYOUTS:
                reports[layout] = mix_dataset(
                    open_complete(out / "data" / layout, layout),
                    out / "mixed" / layout,
                    transform,
                    seed=arguments.seed,
                    workers=cores() if arguments.workers is None else arguments.workers,
                    on_progress=lambda done, total, _, name=f"mixing {layout}": advance(name, done, total),  # type: ignore[misc]
                )
        except DatasetError as error:
            raise UserError(f"{error} (give another --out, or --overwrite)") from error
        page = Page(out, transform, arguments.seed, reports)
        page.write(lambda done, total: advance("drawing sheets", done, total))
    return out / "index.html"


class Page:
    """Draws the demo's pictures and writes its page."""

    def __init__(self, out: Path, transform: cd.MixTransform, seed: int, reports: dict[str, CopyReport]) -> None:
        self.out, self.transform, self.seed, self.reports = out, transform, seed, reports
        self.pictures = out / "pictures"
        self.sets = {
            layout: open_complete(out / "data" / layout, layout, label_ids="train" if layout == "cityscapes" else None)
            for layout in LAYOUTS
        }

    def write(self, advance: Any) -> None:
        """Draw everything and write ``index.html``."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        picked = self._pick(self.sets["coco"], 4)
        steps = len(picked) + 3
        samples = []
        for number, made in enumerate(picked):
            samples.append(self._sample(number, made))
            advance(number + 1, steps)
        regions = self._regions(picked[0].indices[0])
        advance(steps - 2, steps)
        maps = self._maps([made.indices[0] for made in picked[1:3]])
        advance(steps - 1, steps)
        methods = self._methods(picked[0].indices[0])
        advance(steps, steps)
        report = self.reports["coco"]
        instances = sum(count for (side, _, _), count in report.outcomes.items() if side == "base")
        shown = sum(count for (_, outcome, _), count in report.outcomes.items() if outcome in ("kept", "shrunk"))
        page = demo_page.render(
            title="CutMix for boxes, masks and maps",
            facts=[
                (f"{report.written:,}", "mixed pictures in each layout"),
                (f"{instances:,}", "instances before"),
                (f"{shown:,}", "instances after"),
                ("3", "layouts: COCO, VOC, Cityscapes"),
            ],
            tallies=[self._tally(layout) for layout in LAYOUTS],
            samples=samples,
            sections=[regions, maps, methods],
            folders=[
                *((f"data/{layout}", f"the demo set as {_title(layout)}") for layout in LAYOUTS),
                *((f"mixed/{layout}", "its mixed copy, for the readers you have; with a report") for layout in LAYOUTS),
                ("pictures", "the pictures of this page"),
            ],
            commands=[
                (
                    "Draw samples of a data set before and after a mix:",
                    "cutmix-dense browse path/to/dataset --transform CutMix region=ObjectBox",
                ),
                (
                    "Write a mixed copy of it, in its own layout:",
                    "cutmix-dense mix path/to/dataset path/to/copy --copies 2 --with-originals",
                ),
                (
                    "Or mix during training, after collate, on any device:",
                    "import cutmix_dense as cd\n\n"
                    "mix = cd.CutMix(alpha=1.0, p=0.5)\n"
                    "images, targets = mix(images, targets)",
                ),
            ],
            transform=repr(self.transform),
        )
        demo_page.save(page, self.out / "index.html")

    def _pick(self, dataset: DenseDataset, count: int) -> list[MixedSample]:
        """Samples in which much happens, yet not too much to be seen."""
        scored = []
        for index in range(min(len(dataset), 32)):
            made = mix_sample(dataset, self.transform, index, seed=self.seed)
            kinds = {(row["outcome"], row["layer"] > 0) for row in made.rows if row["reason"] != "covered"}
            kinds |= {(row["outcome"], False) for row in made.rows if row["layer"] == 0}
            shown = len(made.target["labels"])
            share = 1 - float(made.plan.share()[0, 0])
            fitting = (4 <= shown <= 12) + (0.1 <= share <= 0.5) + (len(made.rows) <= 20)
            scored.append((len(kinds) + 1.5 * fitting, -index, made))
        scored.sort(key=lambda entry: entry[:2], reverse=True)
        return [made for _, _, made in scored[:count]]

    def _sample(self, number: int, made: MixedSample) -> demo_page.Sample:
        dataset = self.sets["coco"]
        names = [dataset.image_path(index).name for index in made.indices]
        row = mix_row(
            made.images,
            made.targets,
            made.image,
            made.target,
            made.plan,
            0,
            dataset.classes,
            cell=(480, 640),
            titles=names,
            tagged=True,
        )
        captions = (f"base: {names[0]}", f"partner: {names[-1]}", f"mixed: {caption_of(made.rows)}")
        pictures = []
        for part, drawing, caption in zip(("base", "partner", "mixed"), row, captions, strict=True):
            if drawing.picture is not None:
                path = self.pictures / f"sample{number}-{part}.png"
                to_pil(drawing.picture).save(path)
                pictures.append(demo_page.Picture(f"{self.pictures.name}/{path.name}", caption))
        share = 1 - float(made.plan.share()[0, 0])
        instances = demo_page.instance_rows(made, dataset.classes)
        return demo_page.Sample(f"{share:.0%} of the picture replaced", pictures, instances)

    def _tally(self, layout: str) -> demo_page.Tally:
        report = self.reports[layout]
        counts: Counter[str] = Counter()
        for (side, outcome, reason), count in report.outcomes.items():
            counts[demo_page.outcome_of(side, outcome, reason)] += count
        return demo_page.Tally(_title(layout), f"{report.written:,} mixed pictures", dict(counts))

    def _regions(self, index: int) -> demo_page.Section:
        """The same base and partner under several samplers."""
        dataset = self.sets["voc"]
        samplers: list[tuple[str, Any]] = [
            ("AreaBox.french(): half of the picture", cd.regions.AreaBox.french()),
            ("AreaBox.unimatch(): 2–40 %, tall", cd.regions.AreaBox.unimatch()),
            ("MultiBox.french(3): three boxes, exclusive or", cd.regions.MultiBox.french(3)),
            ("ObjectBox(): cuts few objects, brings whole ones", cd.regions.ObjectBox()),
        ]
        rows, targets = [], []
        for title, sampler in samplers:
            made = mix_sample(dataset, cd.CutMix(p=1.0, region=sampler), index, seed=self.seed)
            names = [dataset.image_path(number).name for number in made.indices]
            made_rows = sample_rows(made, names, dataset.classes, cell=(300, 400), hide=["semantic"])
            first = made_rows[0]
            rows.append([first[0], first[1], Drawing(first[2].picture, f"{title}\n{first[2].caption}")])
            targets += [*made.targets, made.target]
        path = self._sheet("regions.png", rows, present_classes(targets, dataset.classes, semantic=False))
        return demo_page.Section(
            "Other regions",
            "A sampler draws the region, and you can choose another one. The annotations are handled in the same way.",
            [demo_page.Picture(path, "region=… of CutMix, the same base and partner")],
        )

    def _methods(self, index: int) -> demo_page.Section:
        """The same base and partner under every published method."""
        dataset = self.sets["voc"]  # which has maps, instances and the names of the shapes
        sheet = family_rows(dataset, index, family(), seed=self.seed, hide=["semantic"])
        legend = present_classes(sheet.targets, dataset.classes, semantic=False)
        path = self._sheet("methods.png", sheet.rows, legend, headers=())
        return demo_page.Section(
            "All methods",
            "Every published method draws a plan that says which picture each pixel comes from. So all of them mix the "
            "same kinds of annotations, by the same rules.",
            [demo_page.Picture(path, "the same two pictures, seed and rules")],
        )

    def _maps(self, indices: Iterable[int]) -> demo_page.Section:
        """Semantic maps and instances of the Cityscapes layout."""
        dataset = self.sets["cityscapes"]
        rows, targets = [], []
        for index in indices:
            made = mix_sample(dataset, self.transform, index, seed=self.seed)
            names = [dataset.image_path(number).name for number in made.indices]
            rows += sample_rows(made, names, dataset.classes, cell=(300, 400))
            targets += [*made.targets, made.target]
        path = self._sheet("maps.png", rows, present_classes(targets, dataset.classes))
        return demo_page.Section(
            "Semantic maps",
            "The same scenes in the Cityscapes layout: instances above, the semantic map below, cut by the same plan. "
            f"That layout has classes of its own, so each shape is called by one of them: {_renamed()}. Unlabelled "
            "pixels (255) are hatched and stay unlabelled.",
            [demo_page.Picture(path, "Cityscapes layout")],
        )

    def _sheet(
        self,
        name: str,
        rows: Sequence[Any],
        legend: Sequence[Any],
        headers: Sequence[str] = ("base", "partner", "mixed"),
    ) -> str:
        contact_sheet(rows, legend=legend, headers=headers).save(self.pictures / name)
        return f"{self.pictures.name}/{name}"


def _renamed() -> str:
    """What the shapes are called in the Cityscapes layout."""
    pairs = [f"a {shape} is “{name}”" for shape, name in CITYSCAPES_NAMES.items() if shape in SHAPES]
    return ", ".join(pairs)


def _title(layout: str) -> str:
    return {"coco": "COCO", "voc": "PASCAL VOC", "cityscapes": "Cityscapes"}[layout]
