"""The Python of every page under docs/ runs as it stands, top to bottom, and does what the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from snippets import ROOT, blocks, missing, run
from torchvision.ops import box_convert

import cutmix_dense as cd
from tools import docs_pictures
from tools.common import family

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*DOCS, ROOT / "README.md", *(ROOT / folder / "README.md" for folder in ("configs", "datasets"))]
BLOCKS = [(path, number, snippet) for path in DOCS for number, snippet in enumerate(blocks(path, "python"))]
NAMES: dict[Path, dict[str, Any]] = {path: {} for path in DOCS}
"""What the blocks of a page have defined so far."""


def inside(boxes, height, width):
    slack = 1e-3  # boxes were normalised and back
    low, high = boxes[:, :2], boxes[:, 2:]
    assert (low >= -slack).all()
    assert (high <= torch.tensor([width, height]) + slack).all()
    assert (high > low).all()


def torchvision(names):
    assert {"loss_classifier", "loss_box_reg"} <= names["losses"].keys()
    assert torch.isfinite(names["loss"])
    for image, target in zip(names["images"], names["targets"]):
        inside(target["boxes"].cpu(), *image.shape[1:])
        assert set(target["labels"].tolist()) <= {1, 2, 3}
    origins = torch.cat([target["origin"] for target in names["targets"]]).cpu()
    for (image, index), label in zip(origins, torch.cat([target["labels"] for target in names["targets"]]).cpu()):
        assert names["classes"][image][index] == label


def yolo(names):
    before, after = names["yolo"], names["mixed_yolo"]
    assert before.keys() == after.keys()
    for key in before:
        assert after[key].dtype == before[key].dtype
        assert after[key].shape[1:] == before[key].shape[1:]
    assert len(after["cls"]) == len(after["bboxes"]) == len(after["batch_idx"]) > 0
    inside(box_convert(after["bboxes"], "cxcywh", "xyxy") * torch.tensor([128, 96, 128, 96]), 96, 128)
    assert (after["batch_idx"].diff() >= 0).all()
    assert not torch.equal(after["img"], before["img"])
    with pytest.raises(ValueError, match="masks"):
        names["mix_yolo"]({**before, "masks": torch.zeros(4, 96, 128)}, None)

    same = names["mix_yolo"](before, cd.CutMix(p=0))  # there and back changes nothing
    for key in before:
        torch.testing.assert_close(same[key], before[key])


def forms(names):
    (mixed,) = names["mixed_forms"]
    assert list(mixed) == ["image", "mask", "aux"]
    assert not torch.equal(mixed["image"], names["pictures"])
    assert torch.equal(mixed["mask"], mixed["image"][:, 0] // 64)  # cut alike
    own = (mixed["image"] == names["pictures"]).all(dim=1).float().mean(dim=(1, 2))
    assert torch.allclose(mixed["aux"].diagonal(), own, atol=0.01)  # a random pixel may be the same by chance


def detr(names):
    batch = names["detr_batch"]
    assert torch.isfinite(names["detr_loss"])
    assert any(p.grad is not None and bool(p.grad.any()) for p in names["detr"].parameters())
    assert batch["pixel_values"].shape[-2:] == batch["pixel_mask"].shape[-2:]
    assert (batch["pixel_mask"].flatten(1).sum(1) < batch["pixel_mask"][0].numel()).any()  # something is padded
    height, width = batch["pixel_mask"].shape[-2:]
    seen = 0
    for valid, label in zip(batch["pixel_mask"], batch["labels"]):
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * torch.tensor([width, height, width, height])
        inside(boxes, int(valid[:, 0].sum()), int(valid[0].sum()))
        assert label["size"].tolist() == [height, width]
        assert len(boxes) == len(label["class_labels"]) == len(label["masks"]) == len(label["area"])
        assert not (label["masks"] & (valid == 0)).any()
        for box, mask, visibility in zip(boxes, label["masks"], label["visibility"]):
            if visibility < 1:  # boxes of what was cut are tight round the mask; others are as they came
                rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
                tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                torch.testing.assert_close(box, torch.tensor(tight).float(), atol=1e-3, rtol=0)
                seen += 1
    assert seen > 0
    origins = torch.cat([label["origin"] for label in batch["labels"]])
    labels = torch.cat([label["class_labels"] for label in batch["labels"]])
    classes = [*names["classes"][:3], names["classes"][0][:1]]
    assert len(labels) > 0
    assert all(classes[image][index] == label for (image, index), label in zip(origins, labels))


def segformer(names):
    before = names["semantic_batch"]["labels"]
    assert len(names["mixed_maps"]) == 2
    for after, loss in zip(names["mixed_maps"], names["semantic_losses"]):
        assert torch.isfinite(loss)
        assert after.shape == before.shape
        assert not torch.equal(after, before)
        assert set(after.unique().tolist()) <= {0, 1, 2, 3, 255}
        # every pixel is its own image's or the partner's, at its place
        assert ((after == before) | (after == before.roll(1, 0)) | (after == before.roll(-1, 0))).all()


def mask2former(names):
    batch, encoded = names["mask_batch"], names["encoded"]
    assert torch.isfinite(names["mask_loss"])
    assert not torch.equal(batch["pixel_values"], encoded["pixel_values"])
    for masks, labels in zip(batch["mask_labels"], batch["class_labels"]):
        assert masks.dtype == torch.float32
        assert masks.shape == (len(labels), 64, 96)
        assert set(masks.unique().tolist()) <= {0.0, 1.0}
        assert set(labels.tolist()) <= {0, 2}
        assert masks.flatten(1).any(1).all()
        assert masks.sum(0).max() <= 1  # the masks of an image stay disjoint


def stuff(names):
    before = names["semantic_batch"]["labels"]  # of the same processed size
    for index, (masks, labels) in enumerate(names["segments"]):
        assert len(labels.unique()) == len(labels) == len(masks)
        assert masks.sum(0).max() <= 1
        painted = torch.full((64, 96), 255)
        for mask, label in zip(masks.bool(), labels):
            painted[mask] = label
        own, partner = before[index], before.roll(1, 0)[index]
        assert ((painted == own) | (painted == partner)).all()


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
    "losses = model(images, targets)": torchvision,
    "mixed_yolo =": yolo,
    "detr_loss =": detr,
    "mixed_forms =": forms,
    "semantic_losses =": segformer,
    "mask_loss =": mask2former,
    "segments =": stuff,
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


@pytest.mark.parametrize(("path", "number", "snippet"), BLOCKS, ids=[f"{p.stem}-{n}" for p, n, _ in BLOCKS])
def test_a_snippet(path, number, snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what a training leaves
    if lacking := missing(snippet):
        pytest.skip(f"needs {', '.join(lacking)}")
    torch.manual_seed(number)
    run(snippet, path, number, NAMES[path])
    for line, check in CHECKS.items():
        if line in snippet:
            check(NAMES[path])


def test_every_check_has_its_snippet():
    text = "".join(snippet for _, _, snippet in BLOCKS)
    assert all(line in text for line in CHECKS)


@pytest.mark.parametrize(("path", "number", "snippet"), BLOCKS, ids=[f"{p.stem}-{n}" for p, n, _ in BLOCKS])
def test_a_snippet_is_short(path, number, snippet):
    assert len(snippet.splitlines()) <= 25


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("http", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_method_has_its_picture_and_its_line():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name in family():
        assert f"## {name}\n\n![{name}](pictures/method-{name.lower()}.webp)" in text
        assert re.search(rf"cd\.{name}\(", text)


def test_every_picture_is_drawn_and_shown():
    files = {path.stem for path in (ROOT / "docs" / "pictures").glob("*")}
    text = "".join(path.read_text() for path in DOCS)
    assert files == set(docs_pictures.PICTURES)
    assert files == set(re.findall(r"pictures/([\w-]+)\.webp", text))


@pytest.mark.parametrize("name", ["method-cutmix", "method-mosaic", "rule-visibility"])
def test_the_pictures_are_what_the_code_draws(name, tmp_path):
    pytest.importorskip("nibabel")
    draw, what = docs_pictures.PICTURES[name]
    draw(what, tmp_path).save(tmp_path / "now.webp", quality=docs_pictures.QUALITY, method=6)
    drawn, committed = (
        np.asarray(Image.open(path).convert("RGB")).astype(int)
        for path in (tmp_path / "now.webp", ROOT / "docs" / "pictures" / f"{name}.webp")
    )
    assert drawn.shape == committed.shape
    assert np.abs(drawn - committed).mean() < 1.5  # fonts and encoders differ a little from version to version


def test_the_rules_of_peers_are_all_told():
    text = (ROOT / "docs" / "boxes.md").read_text()
    assert all(f'`"{name}"`' in text for name in cd.functional.RULES)
