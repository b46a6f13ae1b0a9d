"""The moving average against its closed form; a teacher that no gradient and no ``train()`` reaches."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from cutmix_dense.semi import MeanTeacher


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def wander(student: nn.Module, step: int) -> None:
    """Parameters become step + 1, buffers that are floats 10 · (step + 1)."""
    with torch.no_grad():
        for p in student.parameters():
            p.fill_(step + 1.0)
        for b in student.buffers():
            b.fill_(10 * (step + 1))


@pytest.mark.parametrize(("decay", "warmup"), [(0.9, False), (0.9, True), (0.5, True), (0.0, False)])
def test_closed_form(decay, warmup):
    """θ'_n = Σ (1 − d_k) Π_{j>k} d_j · θ_k + Π d_j · θ_0, with d_k = min(1 − 1/(k + 1), decay) in warm-up."""
    student = small()
    wander(student, -1)  # zeros
    teacher = MeanTeacher(student, decay, warmup)
    steps = 15
    for step in range(steps):
        wander(student, step)
        teacher.update(student)
    d = [min(1 - 1 / (k + 1), decay) if warmup else decay for k in range(steps)]
    expected = 0.0
    for k in range(steps):
        weight = 1 - d[k]
        for later in d[k + 1 :]:
            weight *= later
        expected += weight * (k + 1)
    for p in teacher.module.parameters():
        assert torch.allclose(p, torch.full_like(p, expected), rtol=1e-5)
    assert torch.allclose(teacher.module[1].running_mean, torch.full((3,), 10 * expected), rtol=1e-5)
    assert teacher.module[1].num_batches_tracked.item() == 150
    assert teacher.step == steps
    assert [teacher.decay_at(k) for k in range(steps)] == d


def test_in_warm_up_the_teacher_is_the_plain_mean_of_all_students():
    student = small()
    teacher = MeanTeacher(student, 0.99)
    for step in range(20):
        wander(student, step)
        teacher.update(student)
    assert torch.allclose(teacher.module[0].bias, torch.full((3,), 10.5))


def test_buffers_can_be_copied():
    student = small()
    teacher = MeanTeacher(student, 0.9, warmup=False, buffers="copy")
    wander(student, 4)
    teacher.update(student)
    assert torch.equal(teacher.module[1].running_var, torch.full((3,), 50.0))
    assert not torch.equal(teacher.module[1].weight, student[1].weight)


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize("way", ["state", "deepcopy", "pickle"])
def test_a_restored_teacher_goes_on_alike(way, warmup):
    student = small()
    teacher = MeanTeacher(student, 0.9, warmup)
    for step in range(3):
        wander(student, step)
        teacher.update(student)
    if way == "state":
        restored = MeanTeacher(small(), 0.9, warmup)
        restored.load_state_dict(teacher.state_dict())
    else:
        restored = copy.deepcopy(teacher) if way == "deepcopy" else pickle.loads(pickle.dumps(teacher))
    wander(student, 7)
    before = teacher.module[0].bias.clone()
    restored.update(student)
    assert torch.equal(teacher.module[0].bias, before)
    teacher.update(student)
    assert not torch.equal(teacher.module[0].bias, before)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name]), name
    assert restored.step == teacher.step == 4


def test_no_gradient_and_no_training_mode():
    student = small()
    holder = nn.ModuleList([student, MeanTeacher(student)])
    holder.train()
    teacher = holder[1]
    assert student.training
    assert not any(module.training for module in teacher.modules())
    images = torch.randn(2, 2, 4, 5, requires_grad=True)
    assert not teacher(images).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    assert teacher.module[0].weight.data_ptr() != student[0].weight.data_ptr()


def test_what_is_refused():
    for decay in (1.0, -0.1):
        with pytest.raises(ValueError, match="decay"):
            MeanTeacher(small(), decay)
    with pytest.raises(ValueError, match="buffers"):
        MeanTeacher(small(), buffers="keep")
    with pytest.raises(ValueError, match="model"):
        MeanTeacher(small()).update(nn.Conv2d(2, 3, 1))
