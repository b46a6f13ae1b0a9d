"""Closing mixes within pipelines of Albumentations, nested, copied and in workers that live on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

A = pytest.importorskip("albumentations")

import cutmix_dense.albumentations as cda  # noqa: E402


def image(index: int) -> np.ndarray:
    return np.full((12, 20, 3), 10 * index + 10, dtype=np.uint8)


class Images(Dataset):
    """Partners of any index."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        self.read += 1
        return {"image": image(index)}


class Mixed(Dataset):
    """Images with a nested pipeline, as an attribute of the dataset."""

    def __init__(self, pipeline) -> None:
        self.pipeline = pipeline

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pipeline(image=image(index), mix_metadata=[{"image": image((index + 1) % 8)}])["image"]


def nested(**options):
    stripes = {"transforms": [{"type": "StripeMix", "p": 1.0}], "p": 1.0}
    either = A.OneOf([cda.StripeMix(p=1.0), A.Sequential([cda.RandomMix(**stripes)], p=1.0)], p=1.0)
    return A.Compose([A.NoOp(), either], seed=3, **options)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_persistent_workers_obey(start):
    pipeline = nested()
    loader = DataLoader(Mixed(pipeline), 4, num_workers=2, persistent_workers=True, multiprocessing_context=start)

    def mixed() -> list[bool]:
        rows = [row.numpy() for batch in loader for row in batch]
        assert len(rows) == 8
        return [not np.array_equal(row, image(index)) for index, row in enumerate(rows)]

    assert all(mixed())
    assert cda.close(pipeline) == 2
    assert not any(mixed())
    assert cda.close(pipeline, False) == 2
    assert all(mixed())


def test_a_copy_obeys_and_a_loaded_pipeline_is_another_one():
    pipeline = nested()
    twin, loaded = copy.deepcopy(pipeline), A.from_dict(A.to_dict(pipeline))
    cda.close(pipeline)
    assert np.array_equal(Mixed(twin)[0], image(0))
    assert not np.array_equal(Mixed(loaded)[0], image(0))


def test_the_schedule_of_randommix_closes():
    mix = cda.RandomMix(transforms=[{"type": "StripeMix", "p": 1.0}], total=3, close_last=1, p=1.0)
    data = Mixed(copy.deepcopy(A.Compose([mix])))
    seen = []
    for epoch in range(3):
        mix.set_progress(epoch)
        seen.append(not np.array_equal(data[2], image(2)))
    assert seen == [True, True, False]


def test_a_closed_mix_reads_no_partner_and_draws_as_many_numbers():
    first, second = Images(), Images()
    open_, closed = (A.Compose([cda.StripeMix(source=s, p=1.0), A.RandomCrop(4, 4)], seed=5) for s in (first, second))
    cda.close(closed)
    for _ in range(4):
        assert np.array_equal(closed(image=image(0))["image"], image(0)[:4, :4])
        open_(image=image(0))
    assert first.read == 4
    assert second.read == 0
    # the crops are drawn alike: the generators have given the same numbers
    assert open_.transforms[1].py_random.random() == closed.transforms[1].py_random.random()


def test_a_closed_sample_has_the_form_of_a_mixed_one():
    def call(mix):
        boxes = A.BboxParams("pascal_voc", label_fields=["labels", "visibility"])
        box = {"bboxes": np.array([[2.0, 2, 9, 9]]), "labels": ["a"], "visibility": [1.0]}
        masks = {"mask": np.full((12, 20), 1, np.uint8), "masks": np.ones((1, 12, 20), np.uint8)}
        data = {"image": image(1), **box, **masks}
        return A.Compose([mix], bbox_params=boxes, seed=1)(**data, mix_metadata=[{**data, "image": image(2)}])

    mix = cda.Mosaic(p=1.0)
    mixed = call(mix)
    mix.close()
    result = call(mix)
    assert mix.closed
    assert np.array_equal(result["image"], image(1))
    assert np.allclose(result["bboxes"], [[2, 2, 9, 9]], atol=1e-5)  # Albumentations keeps them in float32
    assert (result["mask"] == 1).all()
    assert {k: type(v) for k, v in result.items()} == {k: type(v) for k, v in mixed.items()}


def test_what_was_recorded_is_replayed_mixed():
    mix = cda.StripeMix(p=1.0)
    pipeline = A.ReplayCompose([mix])
    data = {"image": image(1), "mix_metadata": [{"image": image(2)}]}
    made = pipeline(**data)
    mix.close()
    assert np.array_equal(pipeline(**data)["image"], image(1))
    assert np.array_equal(A.ReplayCompose.replay(made["replay"], **data)["image"], made["image"])


def test_nothing_to_close_is_named():
    with pytest.raises(ValueError, match="nothing to close"):
        cda.close(A.Compose([A.NoOp(), A.OneOf([A.HorizontalFlip()])]))
    with pytest.raises(TypeError, match="Albumentations"):
        cda.close([cda.CutMix()])


@pytest.mark.parametrize("seed", [7, None])
def test_workers_and_epochs_draw_their_own(seed):
    """Workers are copies of one pipeline; the shipped transforms of 2.0.8 draw alike in all of them."""
    pipeline = A.Compose([cda.CutMix(p=1.0, source=Images())], seed=seed)

    class Same(Dataset):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> np.ndarray:
            return pipeline(image=np.zeros((12, 20, 3), dtype=np.uint8))["image"]

    def epochs() -> list[bytes]:
        torch.manual_seed(3)
        loader = DataLoader(Same(), None, num_workers=2)
        return [np.asarray(each).tobytes() for _ in range(2) for each in loader]

    first = epochs()
    assert len(set(first)) > 8  # of 12 mixes
    if seed is not None:
        assert epochs() == first  # torch.manual_seed and the pipeline's seed repeat them
