"""Banks of cut-outs and own instances in MMEngine: what is pasted, what is refused, what a checkpoint holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mmengine", reason="needs MMEngine")

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData, PixelData

import cutmix_dense as cd
import cutmix_dense.mmengine
from cutmix_dense.mmengine import MODELS, TRANSFORMS

BASE = torch.tensor([[4.0, 6, 20, 24], [30, 8, 44, 20]])
"""Two grey objects of a black picture of 40 x 60 pixels."""


@pytest.fixture
def bank(tmp_path):
    """A file of three white cut-outs of class 5, 8 rows of 10 pixels each."""
    picture = torch.zeros(3, 30, 40, dtype=torch.uint8)
    picture[:, 10:18, 12:22] = 255
    target = {"boxes": torch.tensor([[12.0, 10, 22, 18]]), "labels": torch.tensor([5])}
    made = cd.InstanceBank()
    for _ in range(3):
        made.add([picture], [target])
    made.save(tmp_path / "bank.pt")
    return str(tmp_path / "bank.pt")


def of_file(file: str) -> dict[str, Any]:
    return {"type": "InstanceBank", "file": file}


def picture() -> np.ndarray:
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    for x0, y0, x1, y1 in BASE.int().tolist():
        image[y0:y1, x0:x1] = 90
    return image


def batch(count: int = 2, dtype: torch.dtype = torch.uint8) -> tuple[torch.Tensor, list[Any]]:
    images = torch.from_numpy(np.stack([picture()] * count)).movedim(-1, 1).to(dtype)
    samples = [BaseDataElement(metainfo={"img_shape": (40, 60)}) for _ in range(count)]
    for sample in samples:
        sample.gt_instances = InstanceData(bboxes=BASE.clone(), labels=torch.tensor([1, 2]))
    return images, samples


def check_pasted(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, shade: int) -> int:
    """What is pasted lies in its boxes, nothing of that shade elsewhere; how many there are."""
    chosen = labels == 5
    rest = image.copy()
    for x0, y0, x1, y1 in boxes[chosen].astype(int):
        assert (image[y0:y1, x0:x1] == shade).any()
        rest[y0:y1, x0:x1] = 0
    assert (rest != shade).all()
    return int(chosen.sum())


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_is_pasted_from_a_file(bank, count):
    mix = MODELS.build(
        {"type": "cutmix_dense.CopyPaste", "source": of_file(bank), "instances": 2, "place": "random", "p": 1.0}
    )
    torch.manual_seed(0)
    pasted = 0
    for _ in range(5):
        images, samples = mix(*batch(count))
        for image, sample in zip(images, samples):
            found = sample.gt_instances
            pasted += check_pasted(image.movedim(0, -1).numpy(), found.bboxes.numpy(), found.labels.numpy(), 255)
            assert (found.origin[found.labels == 5, 0] >= count).all()
            assert (found.origin[found.labels != 5, 0] < count).all()
    assert pasted > 5 * count


OWN = {
    "self": {"source": "self", "place": "random"},
    "batch": {"source": "batch", "place": "random", "overlap": 0.2},
    "grid": {"source": "partner", "place": "grid"},
    "one": {"source": "batch", "place": "same", "weights": {1: 0.0}},
}


@pytest.mark.parametrize("name", OWN)
def test_a_batch_pastes_its_own_instances(name):
    mix = MODELS.build({"type": "cutmix_dense.CopyPaste", "instances": 2, "p": 1.0, "min_visibility": 0, **OWN[name]})
    torch.manual_seed(0)
    pasted = 0
    for _ in range(6):
        images, samples = batch(3)
        for number, (image, sample) in enumerate(zip(images, samples)):
            image[image == 90] = 90 + number
            boxes = sample.gt_instances.bboxes
            boxes += 2 * number
            image.copy_(torch.roll(image, (2 * number, 2 * number), (1, 2)))
        mixed, samples = mix(images, samples)
        for number, (image, sample) in enumerate(zip(mixed, samples)):
            found, shown = sample.gt_instances, torch.zeros(40, 60, dtype=torch.bool)
            for box, (source, index), label in zip(found.bboxes.int().tolist(), found.origin.tolist(), found.labels):
                x0, y0, x1, y1 = box
                assert label == index + 1
                part = image[0, y0:y1, x0:x1]
                assert (part == 90 + source).any()
                assert source == number or name != "self"
                own = BASE[index] + 2 * source
                is_pasted = source != number or box != own.tolist()
                if name == "one" and source != number:
                    assert label == 2
                    assert box == own.tolist()
                pasted += bool(is_pasted)
                shown[y0:y1, x0:x1] = True
            assert not (image[0] != 0)[~shown].any()
            if name == "batch":
                mine = found.origin[:, 0] == number
                assert (found.visibility[mine] >= 0.8 - 1e-6).all()
    assert pasted > 8


def test_within_a_chain_and_a_random_mix(bank):
    paste = {"type": "CopyPaste", "source": of_file(bank), "instances": 1, "place": "random", "p": 1.0}
    for config in (
        {"type": "cutmix_dense.Chain", "transforms": [{"type": "MixUp", "lam": 0.5, "p": 0.0}, paste]},
        {"type": "cutmix_dense.RandomMix", "transforms": [paste, {"type": "CutMix", "p": 0.0}]},
    ):
        mix, seen = MODELS.build(config), []
        torch.manual_seed(1)
        for _ in range(8):
            _, samples = mix(*batch())
            seen += [5 in sample.gt_instances.labels for sample in samples]
        assert any(seen)


def test_cut_outs_have_no_origin_wherever_their_bank_stands(bank):
    paste = {"type": "CopyPaste", "source": of_file(bank), "instances": 1, "place": "random", "p": 1.0}
    paste |= {"min_visibility": 0}
    for stages in ([paste, {"type": "CutMix", "p": 0.0}], [{"type": "CutMix", "p": 0.0}, paste]):
        mix = MODELS.build({"type": "cutmix_dense.Chain", "transforms": stages})
        torch.manual_seed(1)
        for number, sample in enumerate(mix(*batch())[1]):
            found = sample.gt_instances
            assert found.origin[found.labels == 5].tolist() == [[-1, -1]]
            assert (found.origin[found.labels != 5][:, 0] == number).all()


@pytest.mark.parametrize("given", [{}, {"max_cached_images": 3}, {"mix_results": True}])
@pytest.mark.parametrize("source", ["file", "self"])
def test_a_sample_needs_no_partner(bank, source, given):
    settings: Any = {"source": of_file(bank) if source == "file" else "self", "instances": 2, "place": "random"}
    cache = {key: value for key, value in given.items() if key == "max_cached_images"}
    mix = TRANSFORMS.build({"type": "cutmix_dense.CopyPaste", **settings, "p": 1.0, "min_visibility": 0, **cache})
    assert mix.get_indexes([0, 1]) == []
    pasted = 0
    np.random.seed(0)  # noqa: NPY002
    for _ in range(5):
        sample = {
            "img": picture(),
            "gt_bboxes": BASE.numpy().copy(),
            "gt_bboxes_labels": np.array([1, 2]),
            "gt_ignore_flags": np.zeros(2, dtype=bool),
        }
        out = mix({**sample, **({"mix_results": [dict(sample)]} if "mix_results" in given else {})})
        if source == "file":
            pasted += check_pasted(out["img"], out["gt_bboxes"], out["gt_bboxes_labels"], 255)
        else:
            assert set(out["gt_bboxes_labels"]) <= {1, 2}
            grey = np.zeros((40, 60), dtype=bool)
            for x0, y0, x1, y1 in out["gt_bboxes"].astype(int):
                grey[y0:y1, x0:x1] = True
            assert np.array_equal(out["img"][..., 0] == 90, grey)
            pasted += len(out["gt_bboxes"]) - 2
        assert len(out["gt_bboxes"]) == len(out["gt_bboxes_labels"]) == len(out["gt_ignore_flags"])
    assert pasted >= 4


def test_what_is_refused(bank):
    mix = MODELS.build(
        {"type": "cutmix_dense.CopyPaste", "source": of_file(bank), "instances": 1, "place": "random", "p": 1.0}
    )
    with pytest.raises(ValueError, match="float32 like the batch, got torch.uint8: mix before"):
        mix(*batch(dtype=torch.float32))
    images, samples = batch()
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, 40, 60, dtype=torch.long))
    with pytest.raises(ValueError, match="cut-outs, which have no gt_sem_seg"):
        mix(images, samples)
    sample = {"img": picture(), "gt_bboxes": BASE.numpy(), "gt_bboxes_labels": np.array([1, 2])}
    one = TRANSFORMS.build(
        {"type": "cutmix_dense.CopyPaste", "source": of_file(bank), "instances": 1, "place": "random", "p": 1.0}
    )
    with pytest.raises(ValueError, match="cut-outs, which have no gt_seg_map"):
        one({**sample, "gt_seg_map": np.zeros((40, 60), dtype=np.uint8)})
    with pytest.raises(KeyError, match="mix_results"):
        TRANSFORMS.build({"type": "cutmix_dense.CopyPaste", "p": 1.0})(sample)
    with pytest.raises(ValueError, match="max_bytes and margin are those of the file"):
        MODELS.build({"type": "cutmix_dense.CopyPaste", "source": {**of_file(bank), "margin": 0.1}})


class Counts(BaseModel):
    """A model that only mixes."""

    def __init__(self, data_preprocessor: dict) -> None:
        super().__init__(data_preprocessor)
        self.factor = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs: Any, data_samples: Any, mode: str = "loss") -> dict[str, Any]:
        return {"loss": self.factor.sum()}


class Preprocessor(cutmix_dense.mmengine.batch.nn.Module):
    """Batch augments alone."""

    def __init__(self, augment: dict) -> None:
        super().__init__()
        self.augment = MODELS.build(augment)

    def forward(self, data: Any, training: bool = False) -> dict[str, Any]:
        inputs, samples = self.augment(torch.stack(data["inputs"]), data["data_samples"])
        return {"inputs": inputs, "data_samples": samples}


MODELS.register_module("CountsCutOuts", module=Counts)
MODELS.register_module("PreprocessorCutOuts", module=Preprocessor)


class Items(torch.utils.data.Dataset):
    """Six samples."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Any]:
        images, samples = batch(1)
        return {"inputs": images[0], "data_samples": samples[0]}


def runner(folder: Any, source: Any, epochs: int, resume: bool) -> Runner:
    augment = {"type": "cutmix_dense.CopyPaste", "instances": 1, "place": "random", "p": 1.0, "source": source}
    return Runner(
        model={
            "type": "cutmix_dense.CountsCutOuts",
            "data_preprocessor": {"type": "cutmix_dense.PreprocessorCutOuts", "augment": augment},
        },
        work_dir=str(folder),
        train_dataloader={
            "dataset": Items(),
            "batch_size": 2,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "pseudo_collate"},
            "num_workers": 0,
        },
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        resume=resume,
        experiment_name=f"cut-outs-{epochs}-{resume}-{torch.initial_seed()}-{id(source)}",
        cfg=Config({}),
    )


def test_a_training_resumes_with_the_bank_that_it_began_with(bank, tmp_path):
    runner(tmp_path / "run", of_file(bank), 1, resume=False).train()
    held = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)
    fingerprint = cd.InstanceBank(file=bank).fingerprint
    assert held["message_hub"]["runtime_info"]["cutmix_dense_cut_outs"] == f"3 cut-outs {fingerprint}"
    runner(tmp_path / "run", of_file(bank), 2, resume=True).train()
    other = cd.InstanceBank(file=bank)
    other.map(lambda image: image // 2).save(tmp_path / "other.pt")
    with pytest.raises(ValueError, match=f"trained with, 3 cut-outs {fingerprint}, got 3 cut-outs"):
        runner(tmp_path / "run", of_file(str(tmp_path / "other.pt")), 3, resume=True).train()
    with pytest.raises(ValueError, match="got no bank"):
        runner(tmp_path / "run", "batch", 3, resume=True).train()
