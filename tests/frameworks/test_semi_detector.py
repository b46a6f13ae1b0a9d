"""MMDetection's SemiBaseDetector with a mix: the student's boxes are those that its pixels show."""

from __future__ import annotations

import copy
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")
pytest.importorskip("mmcv")

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import cutmix_dense.mmengine.semi_detector  # noqa: F401
from cutmix_dense.mmengine import HOOKS

H, W = 24, 36
SEEN: list = []


@pytest.fixture(autouse=True)
def scope():
    """MMDetection's, as in its configs, whatever was built before."""
    init_default_scope("mmdet")
    yield
    init_default_scope("mmengine")


@MODELS.register_module(name="TestReadsPixels", force=True)
class ReadsPixels(torch.nn.Module):
    """As a teacher, finds the boxes of the image that its first pixel names; as a student, keeps what it gets."""

    def __init__(self, **_) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def predict(self, inputs, samples, rescale=True):
        results = []
        for image, sample in zip(inputs, samples, strict=True):
            found = copy.copy(sample)
            found.pred_instances = boxes_of(int(image[0, 0, 0]))
            results.append(found)
        return results

    def loss(self, inputs, samples):
        SEEN.append((inputs.clone(), [copy.deepcopy(sample) for sample in samples]))
        return {"loss_bbox": self.scale * sum(len(sample.gt_instances) for sample in samples)}


def boxes_of(number: int) -> InstanceData:
    boxes = torch.tensor([[2.0, 3, 14, 13], [16, 6, 34, 22], [0, 0, 36, 24]])
    return InstanceData(
        bboxes=boxes, labels=torch.tensor([0, 1, 2]) + 10 * number, scores=torch.tensor([0.95, 0.9, 0.4])
    )


def batch(numbers) -> tuple[torch.Tensor, list]:
    images = torch.stack([torch.full((3, H, W), float(number)) for number in numbers])
    samples = []
    for _ in numbers:
        meta = {"img_shape": (H, W), "ori_shape": (H, W), "batch_input_shape": (H, W), "pad_shape": (H, W)}
        sample = DetDataSample(metainfo={**meta, "homography_matrix": np.eye(3, dtype=np.float32)})
        sample.gt_instances = boxes_of(0)[:1]
        samples.append(sample)
    return images, samples


CUTMIX = {"type": "cutmix_dense.CutMix", "p": 1.0, "region": {"type": "AreaBox", "area": (0.3, 0.5)}}


def detector(mix=CUTMIX):
    return MODELS.build(
        {
            "type": "cutmix_dense.SemiMixDetector",
            "mix": mix,
            "detector": {"type": "TestReadsPixels"},
            "semi_train_cfg": ConfigDict(cls_pseudo_thr=0.7, unsup_weight=2.0, min_pseudo_bbox_wh=(1e-2, 1e-2)),
            "semi_test_cfg": ConfigDict(predict_on="teacher"),
        }
    )


def reloaded(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def step(model):
    SEEN.clear()
    branches = {"sup": batch([1]), "unsup_teacher": batch([3, 4, 5]), "unsup_student": batch([3, 4, 5])}
    inputs, samples = ({name: pair[part] for name, pair in branches.items()} for part in range(2))
    return model.loss(inputs, samples)


def test_boxes_of_the_teacher_follow_their_pixels():
    torch.manual_seed(0)
    losses = step(detector())
    (supervised, _), (mixed, samples) = SEEN
    assert torch.equal(supervised, batch([1])[0])
    count = 0
    for image, sample in zip(mixed[:, 0], samples, strict=True):
        rows = sample.gt_instances
        wanted = {}
        for number in (3, 4, 5):
            found = boxes_of(number)[:2]
            for box, label in zip(found.bboxes.int().tolist(), found.labels.tolist(), strict=True):
                x0, y0, x1, y1 = box
                seen = torch.zeros(H, W, dtype=torch.bool)
                seen[y0:y1, x0:x1] = image[y0:y1, x0:x1] == number
                if float(seen.sum()) / ((x1 - x0) * (y1 - y0)) >= 0.1:
                    y, x = seen.nonzero().T
                    wanted[label] = [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]
        assert dict(zip(rows.labels.tolist(), rows.bboxes.int().tolist(), strict=True)) == wanted
        assert (rows.scores > 0.7).all()
        count += len(rows)
    assert len(mixed.unique()) == 3
    assert (mixed.flatten(2).amin(2) != mixed.flatten(2).amax(2)).any(), "something was mixed"
    assert float(losses["unsup_loss_bbox"].detach()) == 2.0 * count
    assert float(losses["sup_loss_bbox"].detach()) == 1.0


def test_closing_ends_the_mix_and_checkpoints_know_nothing_of_it():
    model = detector()
    assert set(model.state_dict()) == {"student.scale", "teacher.scale"}
    model.close()
    step(model)
    assert torch.equal(SEEN[1][0], batch([3, 4, 5])[0])
    assert [len(sample.gt_instances) for sample in SEEN[1][1]] == [2, 2, 2]


@pytest.mark.parametrize("repeated", [copy.deepcopy, reloaded])
def test_copies_and_saved_models_mix_as_the_model_does(repeated):
    model = detector()
    twin = repeated(model)
    assert type(twin) is type(model)
    seen = []
    for one in (model, twin):
        torch.manual_seed(0)
        step(one)
        seen.append(SEEN[1][0])
    assert not torch.equal(seen[0], batch([3, 4, 5])[0])
    assert torch.equal(seen[1], seen[0])


def test_windows_are_told_by_the_hook():
    model = detector({"type": "cutmix_dense.RandomMix", "transforms": [CUTMIX], "windows": [(1, 2)]})
    loader = SimpleNamespace(dataset=())
    runner = SimpleNamespace(model=model, train_dataloader=loader, train_loop=None, hooks=[])
    hook = HOOKS.build({"type": "cutmix_dense.MixScheduleHook"})
    hook.before_train(runner)
    mixed = []
    for runner.epoch in range(3):
        hook.before_train_epoch(runner)
        step(model)
        mixed.append(not torch.equal(SEEN[1][0], batch([3, 4, 5])[0]))
    assert mixed == [False, True, False]


@pytest.mark.parametrize("mix", [0.5, {"type": "TestReadsPixels"}])
def test_what_is_refused(mix):
    with pytest.raises(TypeError, match="mix"):
        MODELS.build({"type": "cutmix_dense.SemiMixDetector", "mix": mix, "detector": {"type": "TestReadsPixels"}})
