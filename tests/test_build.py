from __future__ import annotations

import json

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.build import from_config, known_parts, known_transforms


def test_nested_objects_are_made():
    config = {
        "type": "CutMix",
        "p": 1.0,
        "region": {"type": "MultiBox", "n": 3, "box": {"type": "AreaBox.french", "area": 0.25}},
    }
    mix = from_config(json.loads(json.dumps(config)))
    assert isinstance(mix, cd.CutMix)
    assert mix.region == cd.regions.MultiBox(box=cd.regions.AreaBox.french(0.25), n=3)
    members = from_config({"type": "RandomMix", "transforms": [{"type": "Mosaic"}, {"type": "cutmix_dense.CutMix"}]})
    assert [type(member) for member in members.members] == [cd.Mosaic, cd.CutMix]


@pytest.mark.parametrize("name", sorted(set(known_transforms()) - {"RandomMix"}))
def test_every_method_is_made_by_its_name(name):
    assert type(from_config({"type": name, "p": 0.25})) is getattr(cd, name)


def test_lists_in_place_of_tuples_mean_the_same():
    """JSON and YAML have no tuples."""
    images = [torch.rand(3, 20, 30), torch.rand(3, 24, 18), torch.rand(3, 9, 40)]

    def plan(config):
        made = from_config(config).make_plan(images, generator=torch.Generator().manual_seed(0))
        return made.owner_map(), made.scale, made.shift, made.canvas

    for config in (
        {"type": "Mosaic", "grid": (2, 3), "scale": (0.4, 0.9), "size": (30, 40)},
        {"type": "ResizeMix", "scope": (0.2, 0.4), "p": 1.0, "min_visibility": (0.2, 0.3)},
        {"type": "CutMix", "p": 1.0, "region": {"type": "AreaBox", "area": (0.2, 0.4), "aspect": (0.5, 2.0)}},
        {"type": "GridMix", "p": 1.0, "n_holes": (2, 4), "cut_area": (0.5, 1.0)},
    ):
        for ours, theirs in zip(plan(config), plan(json.loads(json.dumps(config)))):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "CutMixx"}, "did you mean 'CutMix'"),
        ({"type": "os.system"}, "type must be one of"),
        ({"type": "AreaBox.draw"}, "type must be one of"),
        ({"type": "CutMix.__init__"}, "type must be one of"),
        ({"type": 3}, "type must be one of"),
        ({"type": "CutMix", "alpha": 0}, "CutMix: alpha"),
        ({"type": "CutMix", "region": {"type": "AreaBox", "area": [0.5, 0.1]}}, "CutMix: AreaBox: area|AreaBox: area"),
    ],
)
def test_mistakes_are_named(config, message):
    with pytest.raises((ValueError, TypeError), match=message):
        from_config(config)


def test_interpolation_is_a_setting_of_every_method():
    for name in sorted(set(known_transforms()) - {"RandomMix"}):
        assert from_config({"type": name, "interpolation": "nearest"}).interpolation == "nearest"
        with pytest.raises(ValueError, match=f"{name}: interpolation must be one of"):
            from_config({"type": name, "interpolation": "bicubic"})
    members = [{"type": "Mosaic", "interpolation": "bilinear"}, {"type": "CutMix"}]
    mix = from_config({"type": "RandomMix", "transforms": members})
    assert [member.interpolation for member in mix.members] == ["bilinear", None]


def test_parts_are_samplers_rules_and_banks():
    assert {"AreaBox", "CowMask", "FilterRule", "OcclusionRule", "SampleBank"} <= set(known_parts())


def test_a_misspelt_setting_of_a_sampler_is_named():
    with pytest.raises(TypeError, match="AreaBox has no setting 'areas': did you mean 'area'"):
        from_config({"type": "CutMix", "region": {"type": "AreaBox", "areas": (0.1, 0.2)}})


def test_a_config_with_a_name_of_another_library_gets_our_name():
    with pytest.raises(TypeError, match=r"Mosaic has no setting 'img_scale': did you mean size=\(height, width\)"):
        from_config({"type": "Mosaic", "img_scale": (640, 640)})
