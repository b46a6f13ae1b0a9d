"""Settings of transforms: their names, what a wrong one says, and the signature that shows them."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import semi
from cutmix_dense.build import known_transforms
from cutmix_dense.setting_names import _PEERS

METHODS = {name: kind for name, kind in known_transforms().items() if kind is not cd.RandomMix}
SHARED = {"pairing", "num_classes", "fill", "min_visibility", "instance_keys", "layout", "box_format", "labels_getter"}


@pytest.mark.parametrize("name", METHODS)
def test_the_signature_shows_own_and_shared_settings(name):
    parameters = inspect.signature(METHODS[name]).parameters
    assert SHARED | {"p"} <= set(parameters)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    own = [p for p in inspect.signature(METHODS[name].__init__).parameters if p not in ("self", "common")]
    assert list(parameters)[: len(own)] == own


def test_the_signature_has_the_methods_defaults():
    assert inspect.signature(cd.Mosaic).parameters["fill"].default is None
    assert inspect.signature(cd.Mosaic).parameters["p"].default == 1.0
    assert inspect.signature(cd.CutMix).parameters["p"].default == 0.5
    assert list(inspect.signature(cd.RandomMix).parameters) == [
        "transforms",
        "weights",
        "total",
        "close_last",
        "windows",
        "idle",
    ]
    assert "alpha" not in inspect.signature(cd.CutMix()).parameters  # of a call, not of the class


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_given_by_name(name):
    with pytest.raises(TypeError, match=rf"{name} takes its settings by name, got 0\.5 without one: .*=0\.5"):
        METHODS[name](0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cd.CutMix(alhpa=1), "CutMix has no setting 'alhpa': did you mean 'alpha'"),
        (lambda: cd.CutMix(min_visiblity=1), "did you mean 'min_visibility'"),
        (lambda: cd.CutMix(0.5), "alpha=0.5 or p=0.5"),
        (
            lambda: cd.RandomMix([cd.CutMix()], wieghts=[1]),
            "RandomMix has no setting 'wieghts': did you mean 'weights'",
        ),
        (lambda: cd.Mosaic(grdi=(2, 2)), "did you mean 'grid'"),
        (lambda: cd.CutMix(scope=(0.1, 0.8)), "no setting 'scope': (did you mean|known are)"),
        (lambda: cd.ClassMix.dacs(max_clases=3), "ClassMix has no setting 'max_clases': did you mean 'max_classes'"),
    ],
)
def test_unknown_settings_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cd.CutMix(prob=1), "CutMix has no setting 'prob': did you mean 'p'"),
        (lambda: cd.Mosaic(img_scale=(640, 640)), r"size=\(height, width\), where MMDetection 3 .* expand=2"),
        (lambda: cd.Affine(img_scale=(640, 640)), r"size=\(height, width\), where MMDetection 3 .*height\)\?$"),
        (lambda: cd.MixUp(img_scale=(640, 640)), "'img_scale': images are mixed at their own size here: leave it out"),
        (lambda: cd.Mosaic(center_ratio_range=(0.5, 1.5)), "did you mean jitter=0.5"),
        (lambda: cd.Mosaic(pad_val=114), "did you mean 'fill'"),
        (lambda: cd.MixUp(flip_ratio=0.5), "'flip_ratio': nothing is flipped here"),
        (lambda: cd.CopyPaste(flip_ratio=0.5), "did you mean 'flip'"),
        (lambda: cd.CopyPaste(bbox_occluded_thr=10), r"rule=OcclusionRule\(max_box_shift=…\), pixels"),
        (lambda: cd.CopyPaste(max_num_pasted=9), r"instances=\(least, most\)"),
        (lambda: cd.Mosaic(skip_filter=True), "did you mean rule='mmdet'"),
        (lambda: cd.Mosaic(target_size=(512, 512)), r"did you mean size=\(height, width\)"),
        (lambda: cd.CopyPaste(blending=True), "did you mean feather=2.0"),
        (lambda: cd.CutMix(beta=1.0), "did you mean 'alpha'"),
        (lambda: cd.RandomMix([cd.CutMix()], prob=0.5), "RandomMix has no setting 'prob': known are transforms"),
    ],
)
def test_names_of_other_libraries_get_the_setting_that_stands_for_them(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_what_hints_name_can_be_written():
    """Every setting that a hint names is one of a method, and its example is taken."""
    known = {name for kind in [*METHODS.values(), cd.Affine] for name in inspect.signature(kind).parameters}
    assert {ours for hints in _PEERS.values() for ours, _ in hints if ours} <= known
    assert not {*_PEERS} - {"beta"} & known
    cd.Mosaic(size=(640, 640), expand=2, scale=(0.5, 0.5), jitter=0.5, rule="mmdet")
    cd.CopyPaste(rule="mmdet_copy_paste", instances=(1, 9), feather=2.0)
    cd.CopyPaste(rule=cd.functional.OcclusionRule(max_box_shift=10, min_pixels=300))
    cd.CopyPaste(rule=cd.FilterRule(max_aspect=20))


@pytest.mark.parametrize("value", ["20", [1, 2, 3], object()])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("lam", lambda value: cd.MixUp(lam=value)),
        ("close_last", lambda value: cd.RandomMix([cd.CutMix()], close_last=value)),
        ("proportion", lambda value: cd.CowMix(proportion=value)),
        ("side", lambda value: cd.regions.SideBox(value)),
        ("pairing", lambda value: cd.CutMix(pairing=value)),
        ("candidates", lambda value: cd.regions.ObjectBox(candidates=value)),
        ("epochs", lambda value: cd.recipes.yolox(value)),
        ("no_aug", lambda value: cd.recipes.yolox(no_aug=value)),
        ("close", lambda value: cd.recipes.yolo26(close=value)),
        ("epochs", lambda value: cd.recipes.lightly(value)),
        ("start", lambda value: cd.recipes.dense_o2o(start=value)),
        ("flat", lambda value: cd.recipes.dense_o2o(flat=value)),
        ("mosaic", lambda value: cd.recipes.dense_o2o(mosaic=value)),
    ],
)
def test_what_is_no_number_is_refused_by_name(name, make, value):
    with pytest.raises(ValueError, match=f"^{name} must"):
        make(value)


@pytest.mark.parametrize("name", ["label_keys", "instance_keys", "image_keys", "semantic_keys"])
def test_keys_that_are_no_sequence_are_refused_by_name(name):
    for value in (None, 3, "boxes"):
        with pytest.raises(TypeError, match=f"^{name} must be"):
            cd.CutMix(**{name: value})


@pytest.mark.parametrize("scale", [(640, 640), (50, 150), (1.0, 30.5), (0.001, 1.0)])
@pytest.mark.parametrize("kind", [cd.Mosaic, cd.Affine, cd.CopyPaste])
def test_absurd_zooms_are_refused(kind, scale):
    with pytest.raises(
        ValueError, match=r"scale must be factors with 0\.01 <= low <= high <= 30, got .*: 1 (fits|keeps)"
    ):
        kind(scale=scale)
    assert kind(scale=(0.01, 30)).scale == (0.01, 30.0)


class Mine(cd.CutMix):
    """A method of a user's own, with a positional argument."""

    def __init__(self, strength, *, alpha=2.0, **common):
        super().__init__(alpha=alpha, **common)
        self.strength = strength


def test_methods_of_ones_own_have_their_own_arguments():
    assert list(inspect.signature(Mine).parameters)[:2] == ["strength", "alpha"]
    assert Mine(3, p=0.25).p == 0.25
    with pytest.raises(TypeError, match="Mine has no setting 'alhpa'"):
        Mine(3, alhpa=1)
    with pytest.raises(TypeError, match="Mine takes its settings by name, got 4 without one"):
        Mine(3, 4)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda mix: pickle.loads(pickle.dumps(mix))])
def test_copies_need_no_settings(again):
    mix = cd.CutMix(alpha=0.5, p=0.25, box_format="xywh", normalized=True)
    assert repr(again(mix)) == repr(mix)
    assert "box_format='xywh'" in repr(mix)


class TestRules:
    """The rules of a transform are made once, and again where a setting differs."""

    def test_they_stay_one_object_until_a_setting_differs(self):
        mix = cd.CutMix(min_visibility=0.3, instance_keys={"radius": "length"})
        rules = mix.rules
        assert mix.rules is rules
        mix.min_visibility = 0.5
        assert mix.rules.filter.min_visibility == 0.5
        mix.min_visibility = 0.3
        assert mix.rules == rules
        mix.rule = "ultralytics"
        assert mix.rules.filter == cd.functional.RULES["ultralytics"]

    def test_a_change_within_a_setting_counts(self):
        mix = cd.CutMix(instance_keys={"radius": "length"})
        assert "depth" not in mix.rules.changes
        mix.instance_keys["depth"] = "inverse"
        assert mix.rules.changes["depth"] == "inverse"
        mix.flip_pairs = [[0, 1]]
        assert mix.rules.flip_pairs == ((0, 1),)
        mix.flip_pairs[0][1] = 2
        assert mix.rules.flip_pairs == ((0, 2),)

    def test_arrays_are_taken_as_ever(self):
        mix = cd.CutMix()
        mix.flip_pairs = np.array([[0, 1], [2, 3]])
        assert mix.rules.flip_pairs == mix.rules.flip_pairs == ((0, 1), (2, 3))

    def test_a_wrong_value_is_refused_when_it_is_used(self):
        mix = cd.CutMix()
        assert mix.rules.min_visibility == 0.1
        mix.min_visibility = 2
        with pytest.raises(ValueError, match="min_visibility must lie in"):
            _ = mix.rules

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda mix: pickle.loads(pickle.dumps(mix))])
    def test_copies_have_their_own(self, copied):
        mix = cd.CutMix(min_size=3)
        rules = mix.rules
        other = copied(mix)
        assert other.rules == rules
        other.min_size = 4
        assert other.rules.filter.limits[1] == (4.0, 4.0)
        assert mix.rules is rules


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cd.CutMix(p=None), r"p must lie in \[0, 1\], got None"),
        (lambda: cd.CutMix(p="0.5"), r"p must lie in \[0, 1\], got '0.5'"),
        (lambda: cd.CutMix(alpha=None), "alpha must be above 0, got None"),
        (lambda: cd.CutMix(num_classes="4"), "num_classes must be a whole number of at least 1, got '4'"),
        (lambda: cd.CutMix(num_classes=2.5), "num_classes must be a whole number"),
        (lambda: cd.CutMix(ignore_index=None), "ignore_index must be a whole number, got None"),
        (lambda: cd.Mosaic(ignore_index=2.5), "ignore_index must be a whole number, got 2.5"),
        (lambda: cd.CutMix(min_visibility="half"), "min_visibility must be a number"),
        (lambda: cd.Mosaic(size=640), r"size must be \(height, width\) in pixels, each at least 1, got 640"),
        (lambda: cd.Mosaic(size=(640, 0)), "size must be"),
        (lambda: cd.Mosaic(grid=2), r"grid must be \(rows, columns\) with 2 to \d+ cells, each at least 1, got 2"),
        (lambda: cd.Mosaic(jitter="0.1"), "jitter must lie"),
        (lambda: cd.Affine(size=640), "size must be"),
        (lambda: cd.Affine(degrees=(-5, 5)), r"degrees must be one number in \[0, 180\], got \(-5, 5\)"),
        (lambda: cd.Affine(translate=(0.1, 0.1)), "translate must be one number"),
        (lambda: cd.CopyPaste(flip="yes"), r"flip must lie in \[0, 1\], got 'yes'"),
        (lambda: cd.SampleBank(max_bytes=None), "max_bytes must be a whole number"),
        (lambda: cd.SampleBank(max_samples=0), "max_samples must be a whole number of at least 1, got 0"),
        (lambda: cd.InstanceBank(max_bytes="1"), "max_bytes must be a whole number"),
        (lambda: semi.TileSwap(tiles=0), "tiles must be"),
        (lambda: cd.CopyPaste(weights={"car": 2.0}), "weights must map class ids, which are whole numbers"),
        (lambda: cd.CopyPaste(weights={1.5: 2.0}), "weights must map class ids"),
        (lambda: cd.CarveMix(classes=[1], spacing=2.0), "spacing must hold a length above 0 per axis, .*, got 2.0"),
        (lambda: cd.CarveMix(classes=[1], spacing=torch.ones(2, 3)), "spacing must hold a length .* for all images"),
        (
            lambda: cd.CutMix()(torch.rand(3, 3, 8, 9), outputs=4),
            "outputs must be a whole number from 1 to .*3.*, got 4",
        ),
        (lambda: cd.CutMix()(torch.rand(3, 3, 8, 9), outputs=0), "outputs must be"),
        (lambda: cd.CutMix()(torch.rand(3, 3, 8, 9), outputs="2"), "outputs must be .* got '2'"),
        (lambda: cd.FilterRule(max_aspect="4"), "max_aspect must be at least 1, got '4'"),
        (lambda: cd.FilterRule(max_aspect=float("nan")), "max_aspect must be at least 1, got nan"),
        (lambda: cd.regions.MultiBox(n="3"), r"n must be at least 1, or \(low, high\) .*, got '3'"),
        (lambda: cd.regions.MultiBox(n=(1, 2, 3)), r"n must be at least 1, .*, got \(1, 2, 3\)"),
        (lambda: cd.CopyPaste(size_weights="small"), "size_weights must map sizes to weights, got 'small'"),
        (lambda: cd.CopyPaste(size_weights=2.0), "size_weights must map sizes to weights, got 2.0"),
        (lambda: cd.CopyPaste(flip_pairs=[(1, 2, 3)]), r"flip_pairs must be pairs of keypoint indices.*\(1, 2, 3\)"),
        (lambda: cd.CopyPaste(flip_pairs="lr"), "flip_pairs must be pairs of keypoint indices.*'lr'"),
        (lambda: cd.recipes.yolox(model=["s"]), r"model must be one of \('nano', 'tiny', 's'\), got \['s'\]"),
    ],
)
def test_values_of_another_kind_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cd.Chain(cd.CutMix()), "transforms must be a list of mixing transforms"),
        (lambda: cd.RandomMix(cd.CutMix()), "transforms must be a list of mixing transforms"),
        (lambda: cd.CarveMix(classes=2), "classes must be a sequence of class ids or None, got 2"),
        (lambda: cd.Mosaic(fill="grey"), "fill must be a number, one number per channel, or None, got 'grey'"),
        (lambda: cd.CarveMix(classes=object()), "classes must be a sequence of class ids or None, got <object"),
        (lambda: cd.CarveMix(classes=torch.tensor(2)), r"classes must be a sequence of class ids .*tensor\(2\)"),
        (lambda: cd.CopyPaste(weights=3), "weights must be None, 'balanced', or a weight of each class, got 3"),
        (lambda: cd.RandomMix([cd.CutMix()], weights=1.0), "weights must be a list of numbers or None, got 1.0"),
        (lambda: cd.RandomMix([cd.CutMix()], windows=5), "windows must be a list of .start, stop. or None.*got 5"),
    ],
)
def test_containers_of_another_kind_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()
