"""The Python of README, docs/, configs/ and datasets/ runs as it stands, top to bottom, on the real packages.

Every mix of a page must have changed an image on it: one that is made and never applied, or applied and without effect,
is an error of the page, unless it is listed here with its reason. Checks of values stand beside.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from snippets import (
    ROOT,
    blocks,
    lines_of_code,
    mentions_a_mix,
    missing,
    only_defines,
    run,
    top_names,
    watching,
)
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.cli.specs import family
from tools import docs_photos, docs_pictures

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*DOCS, ROOT / "README.md", *(ROOT / folder / "README.md" for folder in ("configs", "datasets"))]
WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
BLOCKS = [(page, number, snippet) for page in WITH_PYTHON for number, snippet in enumerate(blocks(page, "python"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def inside(boxes, height, width):
    slack = 1e-3  # boxes were normalised and back
    low, high = boxes[:, :2], boxes[:, 2:]
    assert (low >= -slack).all()
    assert (high <= torch.tensor([width, height]) + slack).all()
    assert (high > low).all()


def forms(names):
    (mixed,) = names["mixed_forms"]
    assert list(mixed) == ["image", "mask", "aux"]
    assert not torch.equal(mixed["image"], names["pictures"])
    assert torch.equal(mixed["mask"], mixed["image"][:, 0] // 64)  # cut alike
    own = (mixed["image"] == names["pictures"]).all(dim=1).float().mean(dim=(1, 2))
    assert torch.allclose(mixed["aux"].diagonal(), own, atol=0.01)  # a random pixel may be the same by chance


def half_and_half(names):
    (kept,) = names["kept"] if isinstance(names["kept"], list) else [names["kept"]]
    assert kept["boxes"].tolist() == [[10, 10, 30, 40], [30, 10, 50, 40]]
    assert kept["visibility"].tolist() == [0.5, 0.5]
    assert len(names["dropped"]["boxes"]) == 0
    assert len(names["moved"]["ignored"]["boxes"]) == 2


def closed(names):
    assert torch.equal(names["unmixed"], names["images"])


def own_data(names):
    assert names["dataset"].classes[0] == "background"
    assert len(names["images"]) == 4


def corners(names):
    assert not torch.equal(names["mixed"], names["images"])
    small = [target for target in names["after"] if len(target["boxes"]) == 2]
    assert small
    for target in small:
        sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
        assert sides.min() < 14  # a third of the partner's box


def clip(names):
    assert names["mixed_clips"].shape == (2, 5, 3, 48, 64)
    assert {int(track) for target in names["mixed_tracks"][0] for track in target["track_id"]} <= {7, 8}


def moved(names):
    plan = names["plan"]
    assert (plan.frames, len(plan)) == (5, 10)
    owner = plan.owner_map().unflatten(0, (2, 5))
    assert (owner[:, 0] != owner[:, -1]).any()
    changed = (names["moved_clips"] != names["clips"]).any(dim=2).flatten(1).double().mean(dim=1)
    torch.testing.assert_close(plan.share()[:, 1], changed)
    torch.testing.assert_close(names["moved"]["labels"].diagonal().double(), 1 - changed)


def nifti(names):
    base, mixed = names["volumes"], names["mixed_volumes"]
    assert base.shape == (2, 1, 12, 36, 40)
    came = (mixed != base)[:, 0]
    assert came.any()
    assert torch.equal(mixed[:, 0][came], base.roll(1, 0)[:, 0][came])  # the partner's voxels, at their place
    assert torch.equal(names["mixed_lesions"][came], names["lesions"].roll(1, 0)[came])
    assert torch.equal(names["mixed_lesions"][~came], names["lesions"][~came])


def in_monai(names):
    image, label = names["batch"]["image"], names["batch"]["label"]
    own, theirs = names["volumes"], names["volumes"].roll(1, 0)
    assert ((image == own) | (image == theirs)).all()
    assert not torch.equal(image, own)
    assert label.shape == (2, 1, 12, 36, 40)


def rotated(names):
    for target in names["mixed_ships"]:
        assert target["boxes"].format.value == "XYXYXYXY"
        assert (target["visibility"] > 0).all()


def panoptic(names):
    queries, first = names["queries"], names["first"]
    assert len(queries["mask_labels"]) == len(queries["class_labels"]) == len(first["segments_info"])
    assert torch.equal(queries["mask_labels"].sum(0) > 0, first["panoptic"] > 0)


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "mixed_forms =": forms,
    "print(kept[": half_and_half,
    "unmixed, after =": closed,
    "make_demo_set(": own_data,
    "mixed, after = Corners": corners,
    "mixed_clips, mixed_tracks =": clip,
    "moved_clips, moved =": moved,
    "mixed_volumes, mixed_lesions =": nifti,
    "batch = mixd(": in_monai,
    "mixed_images, mixed_ships =": rotated,
    "queries =": panoptic,
}
"""What is true after the block that holds a line."""


# ------------------------------------------------------------------------------- what a page leaves to its reader


def _rows():
    """A few rows of a detection set and of a segmentation set, as Hugging Face's library gives them."""
    datasets = pytest.importorskip("datasets")
    image = Image.fromarray(np.zeros((40, 60, 3), dtype=np.uint8))
    names = datasets.ClassLabel(names=["coverall", "mask"])
    objects = {"bbox": [[[4.0, 5.0, 20.0, 10.0]]], "category": [[1]]}
    features = datasets.Features(
        image=datasets.Image(),
        objects=datasets.Sequence({"bbox": datasets.Sequence(datasets.Value("float32"), 4), "category": names}),
    )
    boxes = datasets.Dataset.from_dict({"image": [image], "objects": [{k: v[0] for k, v in objects.items()}]}, features)
    maps = datasets.Dataset.from_dict(
        {"image": [image], "annotation": [Image.fromarray(np.ones((40, 60), dtype=np.uint8))]},
        datasets.Features(image=datasets.Image(), annotation=datasets.Image()),
    )
    return boxes, maps


def given(page: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that a page takes as the reader's own, and what it would download."""
    if name_of(page) == "datasets/README.md" and not missing("import datasets"):
        boxes, maps = _rows()
        patch.setattr("datasets.load_dataset", lambda path, split: boxes)
        return {"rows": maps, "names": ["background", "wall"]}
    return {}


def first_batch(names):
    images, targets = next(iter(names["loader"]))
    assert len(images) == len(targets) == 8


def before_and_after_closing(names):
    """The README's loop has ended, so the mix is closed; at its start it isn't."""
    images, mix = torch.rand(4, 3, 48, 64), names["mix"]
    targets = [{"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])} for _ in images]
    assert torch.equal(mix(images, targets)[0], images)
    mix.set_progress(0)
    assert not all(torch.equal(mix(images, targets)[0], images) for _ in range(4))  # its CutMix has p = 0.5


def trained_by_the_config(names):
    """The line in a config of ours: what its model makes of a batch in training."""
    from mmengine.config import Config
    from mmengine.registry import MODELS

    import cutmix_dense.training  # noqa: F401

    config = Config.fromfile(ROOT / "configs" / "segmentation" / "unet-small_camvid_baseline.py")
    config.merge_from_dict({"model": names["model"]})
    preprocessor = MODELS.build(config.model.data_preprocessor)
    images = torch.randint(0, 256, (4, 3, 120, 160), dtype=torch.uint8)
    targets = [{"semantic": tv_tensors.Mask((image[0] // 64).long())} for image in images]
    for _ in range(4):  # p is 0.5
        preprocessor({"images": list(images), "targets": targets}, training=True)


def trained_by_a_trainer(names):
    """The callback in a Trainer, as the block's comment says; mixed are the epochs before the last ten."""
    from transformers import Trainer, TrainingArguments

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Conv2d(3, 4, 1)

        def forward(self, pixel_values, labels):
            return {"loss": torch.nn.functional.cross_entropy(self.net(pixel_values), labels)}

    samples = [{"pixel_values": torch.rand(3, 24, 32), "labels": torch.randint(0, 4, (24, 32))} for _ in range(4)]
    settings = {"report_to": "none", "use_cpu": True, "remove_unused_columns": False, "save_strategy": "no"}
    arguments = TrainingArguments("net", num_train_epochs=13, per_device_train_batch_size=4, **settings)
    Trainer(Net(), arguments, train_dataset=samples, callbacks=[names["mixing"]]).train()


FINISH: dict[str, Callable[[dict[str, Any]], None]] = {
    "loader = torch.utils.data.DataLoader(dataset, batch_size=8, collate_fn=": first_batch,
    "mix.set_progress(epoch)  # the last two": before_and_after_closing,
    "mix.set_progress(11)": before_and_after_closing,
    "model = dict(data_preprocessor=dict(mix=": trained_by_the_config,
    "# Trainer(..., callbacks=[mixing])": trained_by_a_trainer,
}
"""What the reader does next with the block that holds a line; counted as part of the block."""

SEEDS = {"docs/methods.md": 2}
"""Added to the seeds of a page whose mixes with p = 0.5 would all pass over their batch by chance."""

UNMIXED: dict[str, str] = {
    'cd.CutMix(p=0.0), to="yolo")': "writes the demo set in another layout, as it is",
    "plan = dict(": "the plan in a study's config, which names its variants",
}
"""Blocks that name a mix and mix nothing, by a line of theirs, and why they may."""


ELSEWHERE = {
    "samples, targets = mix_batch(samples, targets, mix)": (
        "tests/stacks/test_detr.py::test_the_loop_of_the_page_mixes_until_the_last_epochs"
    ),
    "loader = solver.cfg.train_dataloader": (
        "tests/stacks/test_detr.py::test_the_solver_of_the_page_mixes_until_its_epoch"
    ),
    "class MixClassifier(ClassificationTrainer):": (
        "tests/stacks/test_ultralytics_page.py::test_the_classifier_of_the_page_trains_and_draws_its_batches"
    ),
    "step = dict(type=sample.CutMix": "tests/frameworks/test_pure_python.py::test_the_classes_of_the_page_mix",
    "model_config = RFDETRNanoConfig()": "tests/stacks/test_rfdetr.py::test_every_pixel_box_and_mask_agrees",
}
"""Blocks within a framework that isn't on PyPI, that would download weights, or that define what a page doesn't run, by
a line, and the test that runs them on what it makes in their place, and asserts what is mixed."""


def is_config(snippet: str) -> bool:
    """Whether a block is lines of a config of MMDetection or MMSegmentation."""
    return "dict(" in snippet and bool(re.search(r'type="cutmix_dense\.|imports=\["cutmix_dense', snippet))


def listed(snippet: str, lines: dict[str, Any]) -> bool:
    return any(line in snippet for line in lines)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_a_page_runs_and_every_mix_on_it_mixes(page, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # what a training leaves
    names, ran, lacking = given(page, monkeypatch), {}, set()
    undefined: set[str] = set()  # by blocks that couldn't run
    with watching(tmp_path / "applied.jsonl") as watch:
        for number, snippet in enumerate(blocks(page, "python")):
            if is_config(snippet) or listed(snippet, ELSEWHERE):
                continue
            packages, (binds, reads) = missing(snippet), top_names(snippet)
            if packages or reads & (undefined - names.keys()):
                lacking.update(packages)
                undefined |= binds
                continue
            torch.manual_seed(number + SEEDS.get(name_of(page), 0))
            with watch.during(number):
                run(snippet, page, number, names)
                for line, finish in FINISH.items():
                    if line in snippet:
                        finish(names)
            for line, check in CHECKS.items():
                if line in snippet and page.parent.name != "stacks":  # whose values have tests of their own
                    check(names)
            ran[number] = snippet
        changed, applied = watch.changed(), watch.applied()
    mixing = {line["block"] for line in applied if line["changed"]}
    wrong = []
    for mix, (number, kind) in watch.made.items():
        if mix in changed:
            mixing.add(number)  # where it was made counts, too
        elif not lacking and not listed(ran[number], UNMIXED):
            how = "applied without effect" if any(line["what"] == mix for line in applied) else "never applied"
            wrong.append(f"block {number}: a {kind} is {how}")
    for number, snippet in ran.items():
        if number in mixing or listed(snippet, UNMIXED) or not mentions_a_mix(snippet):
            continue
        if lacking and only_defines(snippet):
            continue  # what calls it may be what couldn't run
        later = "\n".join(ran[other] for other in ran if other > number and other in mixing)
        if not any(re.search(rf"\b{name}\(", later) for name in only_defines(snippet)):
            wrong.append(f"block {number} mixes nothing:\n{snippet}")
    assert not wrong, "\n".join(wrong)
    if lacking:
        pytest.skip(f"needs {', '.join(sorted(lacking))}; its other blocks ran")


def test_what_a_page_gets_wrong_is_noticed(tmp_path):
    """A mix that is never applied, one without effect, one that mixes, and a plan applied by hand."""
    page = tmp_path / "page.md"
    images = "images = torch.rand(4, 3, 20, 30)\n"
    page.write_text("")
    cases = {
        "mix = cd.CutMix()": (["CutMix"], set()),
        "cd.CutMix(p=0.0)(images)": (["CutMix"], set()),
        "cd.CutMix(p=1.0)(images)": (["CutMix"], {0}),
        "cd.RandomMix([cd.CutMix(p=1.0), cd.StripeMix()])(images)": (["RandomMix"], {0}),
        "cd.functional.mix_pixels(images, cd.CutMix(p=1.0).make_plan(images))": (["CutMix"], {"functional.mix_pixels"}),
        "cd.functional.mix_pixels(images, cd.CutMix(p=0.0).make_plan(images))": (["CutMix"], set()),
    }
    for number, (snippet, (kinds, changed)) in enumerate(cases.items()):
        with watching(tmp_path / f"{number}.jsonl") as watch, watch.during(0):
            run(images + snippet, page, number, {"torch": torch, "cd": cd})
        assert [kind for _, kind in watch.made.values()] == kinds
        assert {what if isinstance(what, str) else 0 for what in watch.changed()} == changed
    assert not hasattr(cd.CutMix(), "_number")  # nothing is left behind


def test_lists_of_this_test_name_lines_of_pages():
    text = "".join(snippet for _, _, snippet in BLOCKS)
    assert [line for line in (*CHECKS, *FINISH, *UNMIXED, *ELSEWHERE) if line not in text] == []


@pytest.mark.parametrize("line", ELSEWHERE)
def test_blocks_that_are_run_elsewhere_are(line):
    (page,) = [page for page, _, snippet in BLOCKS if line in snippet]
    path, _, test = ELSEWHERE[line].partition("::")
    text = (ROOT / path).read_text()
    assert f"def {test}(" in text
    assert f'"{page.name}"' in text
    assert "blocks(PAGE" in text
    assert re.search(r"\brun\((\w+|blocks\(PAGE.*), PAGE", text)


def _selections(path: Path) -> list[tuple[str, ...]]:
    """Constant tuples of a module whose first word is a page: the page and words of one of its blocks."""
    values = [node.value for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    tuples = [ast.literal_eval(value) for value in values if isinstance(value, ast.Tuple) and _is_constant(value)]
    return [each for each in tuples if each and str(each[0]).endswith(".md")]


def _is_constant(value: ast.Tuple) -> bool:
    return all(isinstance(each, ast.Constant) for each in value.elts)


CONFIGS = [(page, number, snippet) for page, number, snippet in BLOCKS if is_config(snippet)]


@pytest.mark.parametrize(("page", "number", "snippet"), CONFIGS, ids=[f"{name_of(p)}-{n}" for p, n, _ in CONFIGS])
def test_lines_of_configs_are_merged_into_stock_configs_by_another_test(page, number, snippet):
    """In ``.ci/frameworks``, on the frameworks themselves: that test's choice of blocks holds this one."""
    path = ROOT / "tests" / "frameworks" / "test_readme_config.py"
    chosen = [words for words in _selections(path) if words[0] == name_of(page)]
    assert any(all(word in snippet for word in words[1:]) for words in chosen), f"{path.name} doesn't use this block"
    assert "tests.frameworks.test_readme_config::" in (ROOT / ".ci" / "framework_tests.txt").read_text()


@pytest.mark.parametrize(("page", "number", "snippet"), BLOCKS, ids=[f"{name_of(p)}-{n}" for p, n, _ in BLOCKS])
def test_a_snippet_is_short(page, number, snippet):
    recipe = page.parent.name == "stacks" and mentions_a_mix(snippet)
    if recipe:
        assert lines_of_code(snippet) <= 15
    assert len(snippet.splitlines()) <= (35 if name_of(page) == "docs/semi.md" else 25)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("http", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_method_has_its_picture_and_its_line():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name in family():
        assert f"## {name}\n\n![{name}](pictures/method-{name.lower()}.webp)" in text
        assert f"[![{name}](pictures/gallery-{name.lower()}.webp)](#{name.lower()})" in text
        assert re.search(rf"cd\.{name}\(", text)


def test_every_picture_is_drawn_and_shown():
    files = {path.stem for path in (ROOT / "docs" / "pictures").glob("*")}
    text = "".join(path.read_text() for path in DOCS)
    assert files == {*docs_pictures.PICTURES, *docs_photos.PICTURES}
    assert files == set(re.findall(r"pictures/([\w-]+)\.webp", text))


@pytest.mark.parametrize("name", ["method-cutmix", "method-mosaic", "rule-visibility"])
def test_the_pictures_are_what_the_code_draws(name, tmp_path):
    pytest.importorskip("nibabel")
    assert_as_committed(docs_pictures.PICTURES, name, tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["front", "gallery-classmix"])
def test_the_photos_are_what_the_code_draws(name, real, tmp_path):
    assert_as_committed(docs_photos.PICTURES, name, real("coco_by33"), tmp_path)


def assert_as_committed(pictures, name, source, tmp_path):
    draw, what = pictures[name]
    draw(what, source).save(tmp_path / "now.webp", quality=docs_pictures.QUALITY, method=6)
    drawn, committed = (
        np.asarray(Image.open(path).convert("RGB")).astype(int)
        for path in (tmp_path / "now.webp", ROOT / "docs" / "pictures" / f"{name}.webp")
    )
    assert drawn.shape == committed.shape
    assert np.abs(drawn - committed).mean() < 1.5  # fonts and encoders differ a little from version to version


def test_the_rules_of_peers_are_all_told():
    text = (ROOT / "docs" / "boxes.md").read_text()
    assert all(f'`"{name}"`' in text for name in cd.functional.RULES)
