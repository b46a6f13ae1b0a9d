"""The lines that the page writes run, and make what the page shows."""

from __future__ import annotations

import importlib.util
import shlex

import numpy as np
import pytest
import torch

from cutmix_dense.build import from_config
from cutmix_dense.cli import browse
from cutmix_dense.cli.exploring import code
from cutmix_dense.cli.exploring.parameters import methods
from cutmix_dense.cli.specs import build_transform

CASES = {
    **{name: {"type": name, "p": 1.0} for name in methods()},
    "alpha": {"type": "CutMix", "alpha": 0.5, "region": {"type": "AreaBox", "area": (0.1, 0.4)}, "p": 1.0},
    "region": {"type": "CutMix", "region": {"type": "ObjectBox", "margin": 0.5, "aspect": None}, "p": 0.5},
    "boxes": {
        "type": "CutMix",
        "region": {"type": "MultiBox", "box": {"type": "BetaBox", "alpha": 0.4}, "n": 2, "mode": "xor"},
        "p": 0.75,
        "min_visibility": (0.2, 0.3),
        "rule": "ultralytics",
        "boxes_from": "box",
    },
    "grid": {"type": "Mosaic", "grid": (3, 3), "size": (60, 90), "fill": 0, "p": 0.5},
    "black": {"type": "Mosaic", "fill": 0},
    "holes": {"type": "GridMix", "n_holes": (2, 3), "pattern": "checkerboard", "p": 1.0},
    "pasted": {"type": "CopyPaste", "instances": 0.5, "crowd": True, "scale": (0.5, 1.0), "feather": 1.5, "p": 1.0},
    "placed": {
        "type": "CopyPaste",
        "instances": (1, 3),
        "place": "grid",
        "overlap": 0.5,
        "blend": (0.4, 0.6),
        "p": 1.0,
    },
    "own": {"type": "CopyPaste", "instances": 2, "source": "self", "place": "random", "weights": "balanced", "p": 1.0},
    "lesion": {"type": "CarveMix", "classes": (1,), "p": 1.0},
    "cow": {"type": "CowMix", "proportion": (0.2, 0.6), "sigma": (4.0, 16.0), "p": 1.0, "on_filtered": "drop"},
    "fixed": {"type": "MixUp", "lam": 0.25, "p": 1.0},
}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (4, 3, 40, 60), dtype=torch.uint8, generator=generator)
    masks = torch.zeros((2, 40, 60), dtype=torch.bool)
    masks[0, 5:20, 8:30] = masks[1, 22:36, 28:55] = True
    target = {
        "boxes": torch.tensor([[8.0, 5.0, 30.0, 20.0], [28.0, 22.0, 55.0, 36.0]]),
        "labels": torch.tensor([1, 2]),
        "masks": masks,
        "semantic": (masks * torch.tensor([1, 2])[:, None, None]).sum(0).to(torch.uint8),
    }
    return images, [dict(target) for _ in images]


def same_plan(one, other, batch):
    plans = [mix.make_plan(*batch, generator=torch.Generator().manual_seed(5)) for mix in (one, other)]
    for field in ("source", "scale", "shift", "canvas"):
        assert torch.equal(getattr(plans[0], field), getattr(plans[1], field))
    if plans[0].weight is None:
        assert torch.equal(plans[0].owner_map(), plans[1].owner_map())
    else:
        assert torch.equal(plans[0].pixel_weights(), plans[1].pixel_weights())


@pytest.mark.parametrize("case", CASES)
def test_torch_lines_run_and_make_the_same_plan(case, batch):
    text = code.torch_code(CASES[case]).text
    found = {"images": batch[0], "targets": batch[1]}
    exec(text, found)
    wanted = from_config(CASES[case])
    assert repr(found["mix"]) == repr(wanted)
    same_plan(found["mix"], wanted, batch)
    assert len(found["targets"]) == len(batch[1])
    assert max(map(len, text.splitlines())) <= 110


def test_only_what_differs_is_written():
    assert "mix = cd.CutMix(alpha=0.5, region=cd.regions.AreaBox(area=(0.1, 0.4)), p=1.0)" in (
        code.torch_code(CASES["alpha"]).text
    )
    assert "mix = cd.Mosaic()\n" in code.torch_code({"type": "Mosaic", "p": 1.0}).text


@pytest.mark.parametrize("case", CASES)
def test_albumentations_lines_run_and_hold_the_same_method(case, batch):
    pytest.importorskip("albumentations")
    snippet = code.albumentations_code(CASES[case])
    found: dict = {}
    exec(snippet.text, found)
    wanted = from_config({**CASES[case], "p": 1.0})
    assert repr(found["mix"].method) == repr(wanted)
    assert found["mix"].p == from_config(CASES[case]).p
    same_plan(found["mix"].method, wanted, batch)
    assert not snippet.note
    image = batch[0][0].permute(1, 2, 0).numpy()
    mask = batch[1][0]["semantic"].numpy()
    if CASES[case]["type"] == "MixUp":
        mask = mask.astype(np.float32)
    boxes = {"bboxes": np.array([[8, 5, 30, 20]]), "labels": [1], "masks": [batch[1][0]["masks"][0].numpy()]}
    sample = {"image": image, "mask": mask, **boxes}
    made = found["pipeline"](**sample, mix_metadata=[sample] * 8)
    assert made["image"].shape[2] == 3


@pytest.mark.parametrize("case", CASES)
def test_mmengine_lines_build_the_same_method_per_sample_and_per_batch(case, batch):
    found: dict = {}
    exec(code.mmengine_code(CASES[case]).text, found)
    wanted = from_config(CASES[case])
    assert repr(from_config(found["per_sample"])) == repr(wanted)
    assert repr(from_config(found["per_batch"])) == repr(wanted)
    assert found["model"]["data_preprocessor"]["augments_before_normalize"] == [found["per_batch"]]
    pytest.importorskip("mmengine")
    from cutmix_dense.mmengine import MODELS, TRANSFORMS

    for registry, config in ((TRANSFORMS, found["per_sample"]), (MODELS, found["per_batch"])):
        built = registry.build(config).mix
        assert built.fill == wanted.fill
        built.semantic_keys = built.instance_keys = ()  # the adapter adds the names of MMEngine's maps and rows
        assert repr(built) == repr(wanted)
        same_plan(built, wanted, batch)


@pytest.mark.parametrize("case", CASES)
def test_the_command_names_the_same_transform(case):
    text = code.command_line(CASES[case], "/a folder/it's", {"layout": "voc", "split": "val"}, 7, 11).text
    words = shlex.split(text.replace("\\\n", " "))
    assert words[:2] == ["cutmix-dense", "browse"]
    arguments = browse.parser().parse_args(words[2:])
    assert repr(build_transform(arguments.transform)) == repr(from_config(CASES[case]))
    assert (arguments.root, arguments.layout, arguments.split) == ("/a folder/it's", "voc", "val")
    assert (arguments.index, arguments.seed) == ([7], 11)


def test_what_an_adapter_refuses_is_said():
    pytest.importorskip("albumentations")
    pytest.importorskip("mmengine")
    ignore, crowd = ({"type": "CutMix", "p": 1.0, "on_filtered": word} for word in ("ignore", "crowd"))
    assert "on_filtered must be 'drop'" in code.albumentations_code(ignore).note
    assert not code.mmengine_code(ignore).note
    assert "got 'crowd'" in code.mmengine_code(crowd).note
    assert not code.albumentations_code(crowd).note
    batch = {"type": "CopyPaste", "source": "batch", "instances": 3, "p": 1.0}
    assert (
        "source must be 'self', a bank, a dataset or a callable here, got 'batch'"
        in code.albumentations_code(batch).note
    )
    assert not code.mmengine_code(batch).note
    blend = {"type": "MixUp", "p": 1.0}
    assert not code.mmengine_code(blend).note
    assert "can't be blended" in code.mmengine_code(blend, has_maps=True).note
    assert "can't be blended" in code.albumentations_code(blend, has_maps=True).note


def test_an_adapter_that_is_not_there_is_not_asked(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    snippet = code.albumentations_code(CASES["alpha"])
    assert "isn't installed" in snippet.note
    assert "cda.CutMix(" in snippet.text
