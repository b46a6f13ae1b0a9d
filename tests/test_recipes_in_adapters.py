"""Recipes where detectors are trained: the DETR family's collate, Lightning's callback."""

from __future__ import annotations

import pickle

import pytest
import torch
from detr_batches import FRAME, SIZES, nested, pixel_targets, seeded, shares

import cutmix_dense as cd
from cutmix_dense.detr import MixCollate, mix_batch


def recipe() -> cd.Chain:
    return cd.recipes.dense_o2o(12, start=1, flat=4, no_aug=2)


@pytest.mark.parametrize("keypoints", [False, True])
def test_a_padded_batch_of_shares_is_mixed_as_the_same_in_pixels(keypoints):
    targets = pixel_targets(frame=FRAME, keypoints=keypoints)
    mix = recipe()
    mix.set_progress(2)
    changed = 0
    for seed in range(6):
        samples = nested()
        mixed, rows = mix_batch(samples, shares(targets), mix, generator=seeded(seed))
        assert torch.equal(mixed.mask, samples.mask)
        images, expected = mix(samples.tensors, targets, sizes=torch.tensor(SIZES), generator=seeded(seed))
        torch.testing.assert_close(mixed.tensors, images)
        changed += not torch.equal(images, samples.tensors)
        for row, target, (height, width) in zip(rows, expected, SIZES):
            unit = torch.tensor([width, height, width, height])
            low, side = (row["boxes"] * unit).chunk(2, dim=1)
            torch.testing.assert_close(
                torch.cat([low - side / 2, low + side / 2], dim=1), target["boxes"], atol=1e-3, rtol=0
            )
            for key in ("labels", "origin", "masks"):
                assert torch.equal(row[key], target[key]), key
            for key in ("weight", "visibility", "area"):
                torch.testing.assert_close(row[key], target[key], atol=2e-3, rtol=2e-3)
            if keypoints:
                points = row["keypoints"] * torch.tensor([width, height, 1])
                torch.testing.assert_close(points, target["keypoints"], atol=2e-3, rtol=0)
    assert changed > 3


def test_a_collate_function_tells_the_epoch():
    def collate(items):
        return torch.stack([image for image, _ in items]), [target for _, target in items]

    mixing = MixCollate(collate, recipe())
    target = {"boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]), "labels": torch.tensor([1])}
    items = [(image, dict(target)) for image in torch.rand(4, 3, 32, 48)]
    images, _ = collate(items)
    changed = []
    for epoch in range(12):
        mixing.set_epoch(epoch)
        torch.manual_seed(1)
        results = [mixing(items) for _ in range(6)]
        changed.append(any(not torch.equal(mixed, images) for mixed, _ in results))
        for _, rows in results:
            assert set(rows[0]) == {"boxes", "labels", "visibility", "weight", "origin"}
    assert changed == [False] + [True] * 9 + [False] * 2
    torch.manual_seed(3)
    mixing.set_epoch(2)
    once = mixing(items)
    torch.manual_seed(3)
    again = pickle.loads(pickle.dumps(mixing.mix))
    mixed, _ = mix_batch(*collate(items), again)
    assert torch.equal(once[0], mixed)


def test_a_yolo_recipe_changes_the_size_of_a_nested_batch():
    targets = shares(pixel_targets(frame=FRAME))
    mixed, rows = mix_batch(nested(), targets, cd.recipes.yolox(size=(32, 48)), generator=seeded(0))
    assert mixed.tensors.shape == (5, 3, 32, 48)
    assert not mixed.mask.any()
    assert all(row["size"].tolist() == [32, 48] for row in rows)
    assert all((row["boxes"] >= 0).all() and (row["boxes"] <= 1).all() for row in rows)
    alone = cd.Mosaic(size=(32, 48), expand=2)
    with pytest.raises(ValueError, match="Affine"):
        mix_batch(nested(), targets, alone, generator=seeded(0))
    with pytest.raises(ValueError, match="on_filtered"):
        mix_batch(nested(), targets, cd.recipes.dense_o2o(on_filtered="ignore"))


@pytest.mark.filterwarnings("ignore:.*(does not have many workers|GPU available|log_every_n_steps):")
def test_lightnings_callback_tells_the_epoch(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch", exc_type=ImportError)
    from cutmix_dense.lightning import MixCallback

    images = torch.rand(4, 3, 32, 48, generator=seeded(0))
    target = {"boxes": torch.tensor([[4.0, 4, 20, 16]]), "labels": torch.tensor([1])}
    items = [(image, target) for image in images]

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.changed: dict[int, bool] = {}

        def training_step(self, batch, index):
            seen = self.changed.get(self.current_epoch, False)
            self.changed[self.current_epoch] = seen or not torch.equal(batch[0], images)
            return self.layer(batch[0].mean().reshape(1, 1)).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.0)

    def collate(rows):
        return torch.stack([image for image, _ in rows]), [dict(row) for _, row in rows]

    loader = torch.utils.data.DataLoader(items * 6, 4, collate_fn=collate)
    trainer = lightning.Trainer(
        max_epochs=12,
        accelerator="cpu",
        devices=1,
        callbacks=[MixCallback(recipe(), generator=seeded(0))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    module = Module()
    trainer.fit(module, loader)
    assert list(module.changed.values()) == [False] + [True] * 9 + [False] * 2
