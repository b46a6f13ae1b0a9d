"""What is drawn of clips and volumes is what the plan did to each frame and slice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import cutmix_dense as cd
from cutmix_dense.data.mixed_sample import MixedSample
from cutmix_dense.functional import mix_pixels
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms.single import mix_single
from cutmix_dense.visualization import sample_rows
from cutmix_dense.visualization.views import views_of

METHODS = {
    "CutMix": {},
    "CutMix of several boxes": {"region": cd.regions.MultiBox(cd.regions.AreaBox(area=(0.2, 0.4)), n=3)},
    "ResizeMix": {},
    "CowMix": {},
    "CopyPaste": {},
    "MixUp": {},
}


def transform(name, **words):
    return getattr(cd, name.split()[0])(p=1.0, **METHODS[name], **words)


def mixed(transform, images, targets, seed):
    made = mix_single(transform, images, targets, torch.Generator().manual_seed(seed))
    rows = [] if made.report is None else list(made.report.rows())
    return MixedSample(list(range(len(images))), images, targets, made.plan, made.image, made.targets[0], rows, [])


def volumes(seed, sizes=((9, 20, 26), (9, 20, 26))):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.rand(1, *size, generator=generator) for size in sizes]
    targets = []
    for size in sizes:
        masks = torch.zeros(2, *size, dtype=torch.bool)
        masks[0, 1:5, 3:12, 4:15], masks[1, 4:8, 8:18, 10:24] = True, True
        boxes = torch.tensor([[4.0, 3, 1, 15, 12, 5], [10, 8, 4, 24, 18, 8]])
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks, "semantic": masks[1].byte()})
    return images, targets


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_section_of_a_plan_mixes_the_slices(name, axis):
    several = 0
    for seed in range(6):
        images, targets = volumes(seed)
        plan = transform(name, layout="BCDHW").make_plan(images, targets, generator=torch.Generator().manual_seed(seed))
        whole, where = plan.owner_map(), plan.source_pixels(axis)
        mixed_volumes = mix_pixels(torch.stack(images), plan, interpolation="nearest", fill=0)
        for place in range(plan.frame[axis]):
            section = plan.section(axis, place)
            section.validate()
            assert torch.equal(section.owner_map(), whole.select(axis + 1, place)) or plan.weight is not None
            for output in range(len(plan)):
                # each layer's source at the slice that the layer shows there
                pool = [
                    images[max(int(plan.source[output, layer]), 0)].select(axis + 1, int(where[output, layer, place]))
                    for layer in range(plan.layers)
                ]
                source = torch.where(section.source >= 0, torch.arange(plan.layers), -1)
                one = _only(section, output, source)
                picture = mix_pixels(torch.stack(pool), one, interpolation="nearest", fill=0)[0]
                torch.testing.assert_close(picture, mixed_volumes[output].select(axis + 1, place))
                several += len(one.owner_map().unique()) > 1
    assert several > 20 or name == "MixUp"


def _only(plan: MixPlan, output: int, source: Tensor) -> MixPlan:
    """One output of a plan, with other sources."""
    from dataclasses import replace

    fields = plan.each(lambda tensor: tensor[output : output + 1])
    return replace(plan, **{**fields, "source": source[output : output + 1]})


def test_sections_are_of_volumes():
    images, targets = volumes(0)
    plan = cd.CutMix(p=1.0, layout="BCDHW").make_plan(images, targets, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="axis"):
        plan.section(3, 0)
    with pytest.raises(ValueError, match=r"pixel must be in \[0, 9\), got 9"):
        plan.section(0, 9)
    with pytest.raises(ValueError, match="axis"):
        plan.section(0, 0).section(0, 0)


@pytest.mark.parametrize("name", METHODS)
def test_slices_of_a_volume(name):
    images, targets = volumes(3, sizes=((9, 20, 26), (12, 24, 22)))
    sample = mixed(transform(name, layout="BCDHW"), images, targets, 5)
    views = views_of(sample, 4)
    assert 1 <= len(views) <= 4
    low = torch.cat([image.flatten() for image in images]).quantile(0.005)
    high = torch.cat([image.flatten() for image in images]).quantile(0.995)
    for view in views:
        place = int(view.name.removeprefix("slice "))
        expected = ((sample.image[:, place] - low) / (high - low)).clamp(0, 1)
        torch.testing.assert_close(view.image, expected, atol=1e-3, rtol=0)
        if name == "MixUp":
            assert torch.equal(view.target["semantic"].b, sample.target["semantic"].b[place])
        else:
            assert torch.equal(view.target["semantic"], sample.target["semantic"][place])
        if name not in ("MixUp", "ResizeMix"):  # blended after the window; antialiased
            torch.testing.assert_close(
                mix_pixels(view.images, view.plan, interpolation="nearest", fill=0)[0], view.image
            )
        crossing = (sample.target["boxes"][:, 2] < place + 1) & (sample.target["boxes"][:, 5] > place)
        assert len(view.target["boxes"]) <= int(crossing.sum())
        assert len(view.target["boxes"]) == len(view.target["labels"]) == len(view.target["masks"])
        assert view.target["masks"].flatten(1).any(1).all()
    rows = sample_rows(sample, ["one", "two"], ["background", "organ", "lesion"])
    assert {len(row) for row in rows} == {len(views)}
    assert rows[0][0].caption.startswith(f"base · {views[0].name} · one")
    assert len(sample_rows(sample, ["one", "two"], ["background", "organ", "lesion"], views=1)[0]) == 3


def test_frames_of_a_clip():
    generator = torch.Generator().manual_seed(1)
    clips = [torch.randint(0, 256, (5, 3, 30, 40), dtype=torch.uint8, generator=generator) for _ in range(2)]
    targets = [
        [{"boxes": torch.tensor([[3.0 + t, 4, 20 + t, 22]]), "labels": torch.tensor([1 + clip])} for t in range(5)]
        for clip in range(2)
    ]
    sample = mixed(cd.CutMix(p=1.0, layout="BTCHW", region=cd.regions.AreaBox(area=(0.4, 0.5))), clips, targets, 2)
    views = views_of(sample, 3)
    assert [view.name for view in views] == ["frame 0", "frame 2", "frame 4"]
    for view in views:
        frame = int(view.name.removeprefix("frame "))
        assert torch.equal(view.image, sample.image[frame])
        assert torch.equal(mix_pixels(view.images, view.plan)[view.index], view.image)
        assert torch.equal(view.target["boxes"], sample.target[frame]["boxes"])
        for source, number in view.target["origin"].tolist():
            assert view.targets[source]["labels"][number] in view.target["labels"]
            assert view.owners[source] == source // 5
    rows = sample_rows(sample, ["one", "two"], ["background", "cat", "dog"], views=3, tagged=True)
    assert [[cell.caption.split(" · ")[:2] for cell in row] for row in rows] == [
        [[side, view.name] for view in views] for side in ("base", "partner", "mixed")
    ]
    assert all("one" in cell.caption for cell in rows[0])
    assert all("two" in cell.caption for cell in rows[1])
