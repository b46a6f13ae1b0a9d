"""The page for MONAI users: its snippets run on the real package, and what they mix is mixed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from snippets import ROOT, after, blocks, run_page

pytest.importorskip("monai", reason="monai is not installed (extra: monai)")

PAGE = ROOT / "docs" / "stacks" / "monai.md"
SNIPPETS = blocks(PAGE, "python")


@pytest.fixture(scope="module")
def pages() -> list[tuple[str, dict[str, Any]]]:
    return run_page(PAGE)


def test_a_step_trains_on_mixed_voxels_and_their_labels(pages):
    names = after(pages, "loss = criterion(")
    image, before = names["mixed"]["image"], names["batch"]["image"]
    foreign = image != before
    assert 0.01 < foreign.float().mean() < 0.9
    assert torch.equal(image[foreign], before.roll(1, 0)[foreign])
    assert torch.equal(names["mixed"]["label"], (image > 0.8).float())  # every voxel's own
    assert torch.isfinite(names["loss"])
    assert all(parameter.grad is not None for parameter in names["net"].parameters())


def test_soft_maps_go_into_the_loss(pages):
    names = after(pages, "soft = Mixd(")
    label, ids = names["soft"]["label"], names["batch"]["label"]
    assert tuple(label.shape) == (4, 2, 32, 24, 16)
    assert label.dtype == torch.float32
    assert float(label.sum()) == pytest.approx(ids.numel())
    assert not torch.equal(label[:, 1:], ids)
    assert torch.isfinite(names["loss"])


def test_modalities_are_cut_alike(pages):
    names = after(pages, "both = Mixd(")
    both, given = names["both"], names["pair"]
    foreign = both["t1"] != given["t1"]
    assert foreign.any()
    assert both["t2"].dtype == torch.uint8
    assert torch.equal(both["t2"], (255 * both["t1"]).to(torch.uint8))
    assert torch.equal(both["label"], (both["t1"] > 0.8).float())


def test_boxes_are_those_of_what_shows(pages):
    names = after(pages, "found = ")
    assert any(not torch.equal(a["image"], b["image"]) for a, b in zip(names["found"], names["scans"], strict=True))
    counts = [len(target["box"]) for target in names["targets"]]
    assert counts != [1, 1, 1, 1]
    for sample in names["found"]:
        sides = sample["box"][:, 3:]
        volume = torch.tensor([6.0, 6, 4]).prod()
        assert ((sample["box_visibility"] > 0) & (sides.prod(dim=1) / volume >= sample["box_visibility"] - 1e-6)).all()
        low, high = sample["box"][:, :3] - sides / 2, sample["box"][:, :3] + sides / 2
        assert ((low >= torch.tensor([5.0, 6, 3])) & (high <= torch.tensor([11.0, 12, 7]))).all()
        assert len(sample["label"]) == len(sample["box"])


def test_the_last_epochs_are_not_mixed(pages):
    names = after(pages, "set_progress(epoch)")
    assert torch.equal(names["mixed"]["image"], names["batch"]["image"])
    names["mixd"].set_progress(0)
    assert not torch.equal(names["mixd"](names["batch"])["image"], names["batch"]["image"])


def test_the_table_is_written_as_it_runs(pages):
    """Every call of the table's right column makes a transform, which mixes."""
    from monai.transforms import CutMixd, MixUpd

    names = {**after(pages, "both = Mixd("), "K": 3, "CutMixd": CutMixd, "MixUpd": MixUpd}
    rows = re.findall(r"^\| `(\w+d\(.*?\))`.* \| `(Mixd\(.*?\))` \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(rows) == 2
    third = re.findall(r"^\| the same,.* \| `(Mixd\(.*?\))` \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(third) == 1
    images = torch.rand(8, 1, 10, 14)
    ids = (3 * images).long()
    for theirs, ours in [*rows, ("None", third[0])]:
        label = torch.nn.functional.one_hot(ids[:, 0], 3).movedim(-1, 1).float() if "MixUpd" in theirs else ids
        mixed = eval(ours, names)({"image": images, "label": label})
        assert not torch.equal(mixed["image"], images)
        if theirs == "None":
            assert tuple(mixed["label"].shape) == (8, 3, 10, 14)
            continue
        assert mixed["label"].shape == eval(theirs, names)({"image": images, "label": label})["label"].shape
        if "CutMixd" in theirs:
            assert torch.equal(mixed["label"], (3 * mixed["image"]).long())


def test_snippets_are_short():
    assert all(len([line for line in snippet.splitlines() if line.strip()]) <= 15 for snippet in SNIPPETS)
