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
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_half_precision_is_averaged_in_float32(dtype, warmup, buffers):
    """At d = 0.996, (1 − d)·(θ − θ') is below half a unit in the last place: rounded steps would never add up."""
    student, exact = small().to(dtype), small()
    teacher, expected = (MeanTeacher(model, 0.996, warmup, buffers) for model in (student, exact))
    for each in (teacher, expected):
        wander(each.module, 0)
    for step in range(300):
        for model, average in ((student, teacher), (exact, expected)):
            wander(model, step / 600)
            average.update(model)
    for (name, ours), theirs in zip(teacher.module.state_dict().items(), expected.module.state_dict().values()):
        assert ours.dtype == (dtype if ours.is_floating_point() else torch.long)
        assert torch.equal(ours, theirs.to(ours.dtype)), name
    assert float(teacher.module[0].bias.detach().mean()) > 1.05
    assert len(teacher.state_dict()) - len(expected.state_dict()) == (6 if buffers == "average" else 4)


def test_a_checkpoint_without_float32_averages_goes_on_from_its_weights():
    student = small().bfloat16()
    teacher = MeanTeacher(student, 0.996, warmup=False)
    assert not [name for name in teacher.state_dict() if name.startswith("averages.")], "only if needed"
    wander(student, 4)
    teacher.update(student)
    old = {name: value for name, value in teacher.state_dict().items() if not name.startswith("averages.")}
    teacher.load_state_dict(old)  # strict
    expected = old["module.0.bias"].float().lerp(torch.tensor(5.0), 0.004)
    teacher.update(student)
    torch.testing.assert_close(teacher.state_dict()["averages.0.bias"], expected, rtol=1e-6, atol=0)


def test_weights_that_others_change_are_averaged_from_there():
    student = small().bfloat16()
    teacher = MeanTeacher(student, 0.996, warmup=False)
    wander(student, 4)
    teacher.update(student)
    with torch.no_grad():
        teacher.module[0].bias.fill_(3.0)
    teacher.update(student)
    torch.testing.assert_close(teacher.state_dict()["averages.0.bias"], torch.full((3,), 3.008), rtol=1e-6, atol=0)
    held = nn.ModuleDict({"student": student, "teacher": teacher})
    twin = nn.ModuleDict({"student": small(), "teacher": MeanTeacher(small(), 0.996, warmup=False)}).bfloat16()
    twin.load_state_dict(held.state_dict())  # strict, a part of a model
    same = twin["teacher"].state_dict()
    assert all(torch.equal(value, same[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize("way", ["state", "deepcopy", "pickle"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_teacher_goes_on_alike(dtype, way, warmup):
    student = small().to(dtype)
    teacher = MeanTeacher(student, 0.9, warmup)
    for step in range(3):
        wander(student, step)
        teacher.update(student)
    if way == "state":
        restored = MeanTeacher(small().to(dtype), 0.9, warmup)
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
    other = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match=r"model must .* has 1.weight \(3,\) where model has 1.weight \(4,\)\. Give"):
        MeanTeacher(small()).update(other)
    with pytest.raises(ValueError, match=r"model must .* has 1.weight \(3,\) where model has no more"):
        MeanTeacher(small()).update(small()[:1])
    with pytest.raises(ValueError, match=r"model must .* has no more where model has 1.weight \(3,\)"):
        MeanTeacher(small()[:1]).update(small())
