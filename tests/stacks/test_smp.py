"""segmentation_models_pytorch: the page's snippets on the real package, and every form of its datasets, coded."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import FILL, coded_image
from PIL import Image
from snippets import ROOT, after, blocks, run_page
from torch.utils.data import DataLoader, default_collate

import cutmix_dense as cd

smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")

PAGE = ROOT / "docs" / "stacks" / "smp.md"
SNIPPETS = blocks(PAGE, "python")
SIZE = (26, 40)
COUNT = 5


# ---------------------------------------------------------------------------------------------------------------------
# the page


@pytest.fixture(scope="module")
def pages() -> list[tuple[str, dict[str, Any]]]:
    return run_page(PAGE)


def test_a_step_trains_on_mixed_pixels(pages):
    names = after(pages, "optimizer.step()")
    plain = names["pictures"][4:]  # the last batch
    assert 0.01 < (names["images"] != plain).any(dim=1).float().mean() < 0.9
    assert torch.equal(names["masks"], (3 * names["images"][:, 0]).long())  # each pixel's own class
    assert torch.isfinite(names["loss"])
    assert all(parameter.grad is not None for parameter in names["model"].parameters())


def test_behind_the_loader(pages):
    names = after(pages, "mixed = mix(batch)")
    mixed, batch = names["mixed"], names["batch"]
    assert (mixed["image"] != batch["image"]).any()
    assert torch.equal(mixed["mask"], (3 * mixed["image"][:, 0]).long())
    assert torch.isfinite(names["loss"])


def test_pixels_of_nobody_are_ignored(pages):
    names = after(pages, "soft_bce(")
    image, mask = names["mosaic"]["image"], names["mosaic"]["mask"]
    nobody = (image == FILL).all(dim=1, keepdim=True)
    assert mask.dtype == torch.uint8
    assert set(mask.unique().tolist()) <= {0, 1, 255}
    assert torch.equal(mask == 255, nobody)
    assert (image != names["pictures"]).any()
    loss = names["loss"]
    logits = names["one_class"].eval()(image)
    given = names["soft_bce"](logits, mask.float())
    changed = torch.where(nobody, torch.randn_like(logits), logits)
    torch.testing.assert_close(names["soft_bce"](changed, mask.float()), given)
    assert torch.isfinite(loss)


def test_the_last_epochs_are_not_mixed(pages):
    names = after(pages, "set_progress(epoch)")
    assert torch.equal(names["images"], names["pictures"])
    names["scheduled"].set_progress(7)
    again = torch.cat([images for images, _ in names["loader"]])  # the same workers
    assert not torch.equal(again, names["pictures"])


def test_snippets_are_short():
    assert all(len([line for line in snippet.splitlines() if line.strip()]) <= 15 for snippet in SNIPPETS)


# ---------------------------------------------------------------------------------------------------------------------
# forms, coded


def ids_of(number: int, image: torch.Tensor) -> torch.Tensor:
    """Class ids that hang on image and place: 0, 1, 2, and 255."""
    x, y = image[1].long(), image[2].long()
    ids = (number + x // 5 + y // 4) % 3
    return torch.where((x + y + number) % 17 == 0, 255, ids)


KINDS = {
    "ids": lambda ids: ids,
    "ids of bytes": lambda ids: ids.to(torch.uint8),
    "binary": lambda ids: (ids == 1).float(),
    "binary bytes": lambda ids: (ids == 1).to(torch.uint8),
    "binary bool": lambda ids: ids == 1,
    "multilabel": lambda ids: torch.stack([ids == 1, ids == 2, ids != 0]).float(),
}


def pool(kind: str, channel: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images = torch.stack([coded_image(number, *SIZE) for number in range(COUNT)])
    ids = [ids_of(number, image) for number, image in enumerate(images)]
    masks = torch.stack([KINDS[kind](each) for each in ids])
    trimaps = torch.stack([1 + (each % 3).to(torch.uint8) for each in ids])
    return images, masks[:, None] if channel else masks, trimaps[:, None] if channel else trimaps


def check(image: torch.Tensor, given: torch.Tensor, mixed: torch.Tensor, fill: float | None = None) -> int:
    """Each pixel of a map is the one that the image's code names; returns how many are another image's."""
    assert mixed.dtype == given.dtype
    assert mixed.shape == given.shape
    code = image.long()
    source, x, y = code[:, 0] - 1, code[:, 1], code[:, 2]
    for index in range(len(image)):
        nobody = source[index] < 0
        wanted = given[source[index].clamp(min=0), ..., y[index], x[index]]  # (H, W, …)
        wanted = wanted.movedim(-1, 0) if given.ndim == 4 else wanted
        if fill is not None:
            wanted = torch.where(nobody, torch.tensor(fill, dtype=wanted.dtype), wanted)
        else:
            assert not nobody.any()
        assert torch.equal(mixed[index], wanted)
    return int((source != torch.arange(len(image)).reshape(-1, 1, 1)).sum())


MASKS = [(kind, channel) for kind in KINDS for channel in (False, True) if (kind, channel) != ("multilabel", True)]
MIXES = {"CutMix": cd.CutMix, "RICAP": cd.RICAP, "GridMix": cd.GridMix}


@pytest.mark.parametrize("method", list(MIXES))
@pytest.mark.parametrize(("kind", "channel"), MASKS)
@pytest.mark.parametrize("form", ["pair samples", "list samples", "pair batch", "dict samples", "dict batch"])
def test_each_form_is_cut_as_its_image(method: str, kind: str, channel: bool, form: str):
    images, masks, trimaps = pool(kind, channel)
    pairs = list(zip(images, masks, strict=True))
    dicts = [{"image": i, "mask": m, "trimap": t} for i, m, t in zip(images, masks, trimaps, strict=True)]
    given: Any = {
        "pair samples": pairs,
        "list samples": [list(pair) for pair in pairs],
        "pair batch": default_collate(pairs),
        "dict samples": dicts,
        "dict batch": default_collate(dicts),
    }[form]
    torch.manual_seed(3)
    mixed = MIXES[method](p=1.0)(given)
    if "dict" in form:
        assert list(mixed) == ["image", "mask", "trimap"]
        assert check(mixed["image"], trimaps, mixed["trimap"]) > 0
        mixed = mixed["image"], mixed["mask"]
    assert check(mixed[0], masks, mixed[1]) > 0
    assert torch.equal(images, torch.stack([coded_image(number, *SIZE) for number in range(COUNT)]))  # untouched


@pytest.mark.parametrize("count", [1, 3])
def test_short_batches(count: int):
    images, masks, _ = pool("ids", channel=False)
    with pytest.warns(UserWarning, match="a batch of one image") if count == 1 else nullcontext():
        mixed = cd.CutMix(p=1.0)(list(zip(images[:count], masks[:count], strict=True)))
    assert check(mixed[0], masks[:count], mixed[1]) > 0 or count == 1


def test_mixup_blends_binary_masks_and_pairs_ids():
    images, masks, _ = pool("binary", channel=True)
    mixed = cd.MixUp(p=1.0, lam=0.75)({"image": images, "mask": masks})
    torch.testing.assert_close(mixed["image"], 0.75 * images + 0.25 * images.roll(1, 0))
    torch.testing.assert_close(mixed["mask"], 0.75 * masks + 0.25 * masks.roll(1, 0))
    images, masks, _ = pool("ids", channel=False)
    pair = cd.MixUp(p=1.0, lam=0.75)({"image": images, "mask": masks})["mask"]
    assert torch.equal(pair.a, masks)
    assert torch.equal(pair.b, masks.roll(1, 0))
    assert set(pair.weight[(masks != 255) & (masks.roll(1, 0) != 255)].unique().tolist()) == {0.75}
    criterion = smp.losses.DiceLoss(mode="multiclass", ignore_index=255)
    logits = torch.randn(COUNT, 3, *SIZE, requires_grad=True)
    (0.75 * criterion(logits, pair.a) + 0.25 * criterion(logits, pair.b)).backward()
    assert logits.grad is not None
    assert not logits.grad.movedim(1, -1)[(masks == 255) & (masks.roll(1, 0) == 255)].any()


@pytest.mark.parametrize("kind", ["ids", "binary"])
def test_scaled_maps_stay_maps(kind: str):
    images, masks, _ = pool(kind, channel=True)
    mixed = cd.ResizeMix(p=1.0)({"image": images, "mask": masks})
    assert set(mixed["mask"].unique().tolist()) <= set(masks.unique().tolist())
    assert not torch.equal(mixed["mask"], masks)


def test_what_nobody_owns_has_no_floating_point_class():
    images, masks, _ = pool("binary", channel=True)
    with pytest.raises(ValueError, match=r"targets\['mask'\] has no value for pixels without an owner"):
        cd.Mosaic(p=1.0, scale=(0.3, 0.4))({"image": images, "mask": masks})


# ---------------------------------------------------------------------------------------------------------------------
# the package's own dataset, on files


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder as Oxford-IIIT Pet has it, of a few flat pictures: their colours are their numbers."""
    names = []
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "trimaps").mkdir(parents=True)
    for number in range(1, 9):
        name = f"Pet_{number}"
        names.append(f"{name} 1 1 1")
        Image.fromarray(np.full((30, 50, 3), 25 * number, np.uint8)).save(
            tmp_path / "images" / f"{name}.jpg", quality=100
        )
        trimap = np.full((30, 50), 1 + number % 3, np.uint8)
        Image.fromarray(trimap).save(tmp_path / "annotations" / "trimaps" / f"{name}.png")
    (tmp_path / "annotations" / "trainval.txt").write_text("\n".join(names))
    return tmp_path


def collate_and_mix(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return cd.CutMix(p=1.0)(default_collate(samples))


@pytest.mark.parametrize("where", ["behind", "collate_fn"])
def test_the_pets_of_its_examples(pets: Path, where: str):
    dataset = smp.datasets.SimpleOxfordPetDataset(str(pets), "train")
    assert len(dataset) == 7
    if where == "behind":
        mix = cd.CutMix(p=1.0)
        batches = [mix(batch) for batch in DataLoader(dataset, batch_size=4)]
    else:
        batches = list(DataLoader(dataset, batch_size=4, collate_fn=collate_and_mix))
    assert [tuple(batch["image"].shape) for batch in batches] == [(4, 3, 256, 256), (3, 3, 256, 256)]
    foreign = 0
    for start, batch in zip((2, 6), batches, strict=True):  # the first of ten is for validation
        number = (batch["image"].float().mean(dim=1) / 25).round().long()
        foreign += int((number != torch.arange(start, start + len(number)).reshape(-1, 1, 1)).sum())
        trimap = 1 + number % 3
        assert batch["trimap"].dtype == torch.uint8
        assert torch.equal(batch["trimap"][:, 0].long(), trimap)
        assert batch["mask"].dtype == torch.float32
        assert torch.equal(batch["mask"][:, 0], (trimap != 2).float())
    assert foreign > 0


def test_arrays_as_samples_are_refused_with_a_remedy(pets: Path):
    dataset = smp.datasets.SimpleOxfordPetDataset(str(pets), "train")
    with pytest.raises(TypeError, match="must hold an image tensor, got ndarray"):
        cd.CutMix(p=1.0)([dataset[0], dataset[1]])
