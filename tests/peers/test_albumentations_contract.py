"""The contract of Albumentations' DualTransforms, as the generic tests of its version 2.0.8 ask it, for every mix.

Those tests walk over all classes of their package, and their wheel and source distribution come without them. Here each
property is asked of ours, of all methods alike, on pixels; ``albumentations_suite.py`` runs theirs where a checkout is.
"""

from __future__ import annotations

import copy
import inspect
import io
import json
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest

A = pytest.importorskip("albumentations")
cv2 = pytest.importorskip("cv2")

import cutmix_dense.albumentations as cda  # noqa: E402
from cutmix_dense.build import known_transforms  # noqa: E402

NAMES = sorted(known_transforms())
SETTINGS = {"RandomMix": {"transforms": [{"type": "CutMix", "p": 1.0}, {"type": "Mosaic", "p": 1.0}]}}
HEIGHT, WIDTH = 41, 60
PLACES = [[4, 3, 22, 20], [30, 12, 55, 33]]


def make(name: str, p: float = 1.0, **more):
    return getattr(cda, name)(p=p, **{**SETTINGS.get(name, {}), **more})


def picture(number: int, shape: tuple[int, ...] = (HEIGHT, WIDTH, 3), dtype=np.uint8) -> np.ndarray:
    """An image none of whose pixels another number has at that place."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    codes = (7 * x + 5 * y + 60 * number) % 240
    codes = codes if len(shape) == 2 else codes[..., None] + np.arange(shape[2])
    return codes.astype(np.uint8) if dtype == np.uint8 else (codes / 255).astype(dtype)


def sample(number: int, name: str = "CutMix", image: np.ndarray | None = None) -> dict:
    """An image with everything that belongs to it: what some method needs, and what each has to carry."""
    image = picture(number) if image is None else image
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    mask = np.zeros((height, width), np.float32 if name == "MixUp" else np.uint8)
    masks = []
    for index, (left, top, right, bottom) in enumerate(PLACES):
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        mask[inside] = index + 1
        masks.append(inside.astype(np.uint8))
    return {
        "image": image,
        "mask": mask,
        "masks": masks,
        "bboxes": [list(place) for place in PLACES],
        "labels": [10 * number + index for index in range(len(PLACES))],
        "mask_index": list(range(len(PLACES))),
        "keypoints": [(left + 2, top + 3) for left, top, _, _ in PLACES],
        "names": [f"{number} {index}" for index in range(len(PLACES))],
    }


def call(name: str = "CutMix", **forms) -> dict:
    return {**sample(0, name, **forms), "mix_metadata": [sample(k, name, **_other(k, forms)) for k in (1, 2, 3)]}


def _other(number: int, forms: dict) -> dict:
    """A partner's image of the base's form."""
    image = forms.get("image")
    return {} if image is None else {"image": picture(number, image.shape, image.dtype)}


def compose(*steps, seed: int | None = 7, points: str = "xy", visible: bool = True, **more):
    return A.Compose(
        list(steps),
        bbox_params=A.BboxParams("pascal_voc", label_fields=["labels", "mask_index"]),
        keypoint_params=A.KeypointParams(points, label_fields=["names"], remove_invisible=visible),
        seed=seed,
        **more,
    )


def same(one, other) -> bool:
    """Equal in values, kinds and dtypes."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def targets(result: dict) -> dict:
    return {key: value for key, value in result.items() if key in sample(0)}


every = pytest.mark.parametrize("name", NAMES)
hard = pytest.mark.parametrize("name", [name for name in NAMES if name != "MixUp"])  # whose maps are averages
needs_no_box = pytest.mark.parametrize("name", [name for name in NAMES if name != "CopyPaste"])
needs_no_target = pytest.mark.parametrize("name", [n for n in NAMES if n not in ("CarveMix", "ClassMix", "CopyPaste")])


# -------------------------------------------------------------------------------------------------- pixels and dtypes


@every
def test_at_p_one_the_image_changes_and_at_p_zero_nothing_does(name):
    data = call(name)
    assert not np.array_equal(compose(make(name))(**data)["image"], data["image"])
    unchanged = compose(make(name, p=0.0))(**data)
    assert np.array_equal(unchanged["image"], data["image"])
    assert np.array_equal(unchanged["mask"], data["mask"])
    np.testing.assert_allclose(unchanged["bboxes"], data["bboxes"], atol=1e-5)  # normalised and back
    assert unchanged["labels"] == data["labels"]


@every
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 1), (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH, 5)])
def test_dtype_rank_and_channels_are_kept(name, dtype, shape):
    image = picture(0, shape, dtype)
    result = compose(make(name))(**call(name, image=image))
    assert result["image"].dtype == dtype
    assert result["image"].shape == shape
    assert not np.array_equal(result["image"], image)
    assert float(result["image"].max()) <= (255 if dtype == np.uint8 else 1.0)
    assert result["mask"].dtype == (np.float32 if name == "MixUp" else np.uint8)
    assert all(mask.dtype == np.uint8 and mask.shape == (HEIGHT, WIDTH) for mask in result["masks"])


@every
def test_inputs_that_are_not_contiguous_are_read_and_outputs_are(name):
    data, strange = call(name), call(name)
    for each in (strange, *strange["mix_metadata"]):
        each["image"] = np.asfortranarray(each["image"])
        each["mask"] = each["mask"][::-1][::-1].T.copy().T
        assert not each["image"].flags["C_CONTIGUOUS"]
        assert not each["mask"].flags["C_CONTIGUOUS"]
    result = compose(make(name))(**strange)
    assert result["image"].flags["C_CONTIGUOUS"]
    assert result["mask"].flags["C_CONTIGUOUS"]
    assert same(targets(result), targets(compose(make(name))(**data)))
    alone = make(name)
    alone.set_random_seed(3)
    if name != "CopyPaste":  # which needs boxes, and they need Compose
        few, *more = [{key: each[key] for key in ("image", "mask")} for each in (strange, *strange["mix_metadata"])]
        assert alone(**few, mix_metadata=more)["image"].flags["C_CONTIGUOUS"]


@every
def test_inputs_and_partners_are_never_written(name):
    data = call(name)
    before = copy.deepcopy(data)
    compose(make(name), A.HorizontalFlip(p=1.0))(**data)
    assert same(data, before)


@hard
def test_no_id_is_invented(name):
    """Class maps hold the ids that went in, or the fill; masks 0 and 1, whatever OpenCV's flags say of images."""
    flags = {} if name == "RandomMix" else {"interpolation": cv2.INTER_LINEAR}
    data = call(name)
    for seed in range(4):
        mix = make(name, mask_interpolation=cv2.INTER_NEAREST, fill_mask=0, **flags)
        result = compose(mix, seed=seed)(**data)
        assert set(np.unique(result["mask"]).tolist()) <= {0, 1, 2}
        assert {int(value) for mask in result["masks"] for value in np.unique(mask)} <= {0, 1}


# ------------------------------------------------------------------------------------------------- OpenCV's arguments


FLAGS = {
    "nearest": (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT),
    "bilinear": (cv2.INTER_LINEAR, cv2.INTER_LINEAR_EXACT),
    "antialias": (cv2.INTER_AREA,),
}


@pytest.mark.parametrize(("word", "flag"), [(word, flag) for word, flags in FLAGS.items() for flag in flags])
@pytest.mark.parametrize("name", ["ResizeMix", "RandomMix"])
def test_flags_of_opencv_say_how_scaled_images_are_read(name, word, flag):
    def arguments(value):
        member = {"type": "ResizeMix", "interpolation": value, "p": 1.0}
        return {"transforms": [member]} if name == "RandomMix" else {"interpolation": value}

    one, other = (compose(getattr(cda, name)(p=1.0, **arguments(value))) for value in (word, flag))
    assert np.array_equal(one(**call())["image"], other(**call())["image"])
    again = A.from_dict(json.loads(json.dumps(A.to_dict(other))))
    again.set_random_seed(7)
    other.set_random_seed(7)
    assert np.array_equal(again(**call())["image"], other(**call())["image"])
    differs = compose(getattr(cda, name)(p=1.0, **arguments("nearest" if word != "nearest" else "bilinear")))
    assert not np.array_equal(differs(**call())["image"], one(**call())["image"])


def test_flags_that_the_core_has_nothing_like_are_named():
    for flag in (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4):
        with pytest.raises(ValueError, match=rf"interpolation must be cv2.INTER_NEAREST .* got {flag}"):
            cda.CutMix(interpolation=flag)
    with pytest.raises(ValueError, match="mask_interpolation must be cv2.INTER_NEAREST"):
        cda.CutMix(mask_interpolation=cv2.INTER_LINEAR)


@hard
def test_a_pipelines_mask_interpolation_leaves_class_maps_alone(name):
    pipeline = compose(make(name, fill_mask=0), mask_interpolation=cv2.INTER_LINEAR)
    for each in (pipeline, A.from_dict(A.to_dict(pipeline))):
        assert set(np.unique(each(**call(name))["mask"]).tolist()) <= {0, 1, 2}


# --------------------------------------------------------------------------------------------------- saving and state


@every
@pytest.mark.parametrize("how", ["dict", "json", "yaml", "pickle", "deepcopy"])
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_a_saved_pipeline_does_the_same(name, how, p):
    pipeline = compose(make(name, p=p))
    if how == "dict":
        again = A.from_dict(A.to_dict(pipeline))
    elif how in ("json", "yaml"):
        stream = io.StringIO()
        A.save(pipeline, stream, data_format=how)
        stream.seek(0)
        again = A.load(stream, data_format=how)
    else:
        again = pickle.loads(pickle.dumps(pipeline)) if how == "pickle" else copy.deepcopy(pipeline)
    for dtype in (np.uint8, np.float32):
        data = call(name, image=picture(0, dtype=dtype))
        for seed in (1, 2):
            pipeline.set_random_seed(seed)
            again.set_random_seed(seed)
            assert same(targets(pipeline(**data)), targets(again(**data)))


@every
def test_seeds_repeat_and_differ(name):
    data = call(name)
    results = [targets(compose(make(name), seed=seed)(**data)) for seed in (5, 5, 6, 7, 8)]
    assert same(results[0], results[1])
    assert not all(same(results[0], other) for other in results[2:])


@every
def test_nothing_of_other_libraries_is_drawn_from(name):
    import random

    data, states = call(name), (random.getstate(), np.random.get_state()[1].copy())  # noqa: NPY002
    compose(make(name))(**data)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


@every
def test_replays_repeat(name):
    data = call(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters that follow from targets, as Albumentations says of Mosaic
        pipeline = A.ReplayCompose(
            [make(name), A.HorizontalFlip(p=0.5)],
            bbox_params=A.BboxParams("pascal_voc", label_fields=["labels", "mask_index"]),
            keypoint_params=A.KeypointParams("xy", label_fields=["names"]),
        )
        made = pipeline(**data)
        again = A.ReplayCompose.replay(made["replay"], **data)
    assert same(targets(made), targets(again))


@every
def test_applied_parameters_are_told(name):
    pipeline = compose(make(name), save_applied_params=True)
    applied = pipeline(**call(name))["applied_transforms"]
    assert [each for each, _ in applied] == [name]
    assert {"partners", "seed"} <= applied[0][1].keys()
    assert make(name).get_applied_params() == {}


@every
def test_its_representation_makes_it_again(name):
    mix = make(name, p=0.25, fill_mask=3)
    again = eval(repr(mix), {name: getattr(cda, name)})
    assert A.to_dict(again) == A.to_dict(mix)


def _seeded(arguments):
    transform, seed, data = arguments
    transform.set_random_seed(seed)
    return transform(**data)["image"]


@every
def test_pools_of_processes_do_the_same(name):
    transform, data = compose(make(name)), call(name)
    here = [_seeded((copy.deepcopy(transform), seed, data)) for seed in range(2)]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.map(_seeded, [(transform, seed, data) for seed in range(2)])
    assert all(map(np.array_equal, here, there))


# -------------------------------------------------------------------------------------------------- kinds of targets


@needs_no_target
def test_an_image_and_its_stacks_are_mixed_alike(name):
    def stacks(number):
        image = picture(number)
        volume = np.stack([image] * 3)
        return {"image": image, "images": np.stack([image] * 2), "volume": volume, "volumes": np.stack([volume] * 2)}

    data = {**stacks(0), "mix_metadata": [stacks(number) for number in (1, 2, 3)]}
    result = A.Compose([make(name)], seed=5, strict=True)(**data)
    assert not np.array_equal(result["image"], data["image"])
    for key, ahead in (("images", 1), ("volume", 1), ("volumes", 2)):
        flat = result[key].reshape(-1, *result[key].shape[ahead:])
        assert len(flat) == {"images": 2, "volume": 3, "volumes": 6}[key]
        assert all(np.array_equal(each, result["image"]) for each in flat)


@needs_no_target
@pytest.mark.parametrize("as_array", [True, False])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 3), (HEIGHT, WIDTH)])
def test_frames_come_back_in_their_form(name, as_array, shape):
    def frames(number):
        both = [picture(number, shape)] * 2
        return {"images": np.stack(both) if as_array else both}

    data = {**frames(0), "mix_metadata": [frames(number) for number in (1, 2, 3)]}
    result = A.Compose([make(name)], seed=5, strict=True)(**data)["images"]
    assert isinstance(result, np.ndarray if as_array else list)
    assert np.array_equal(result[0], result[1])
    assert result[0].shape == shape
    assert not np.array_equal(result[0], data["images"][0])


@needs_no_box
@pytest.mark.parametrize("form", ["list", "array", "channels"])
def test_masks_without_boxes_are_mixed_one_by_one(name, form):
    dtype = np.float32 if name == "MixUp" else np.uint8

    def masks(number):
        one = (picture(number, (HEIGHT, WIDTH)) % 7).astype(dtype)
        one = np.stack([one] * 2, axis=2) if form == "channels" else one
        return np.stack([one] * 3) if form == "array" else [one] * 3

    def each(number):
        data = sample(number, name)
        return {"image": data["image"], "mask": data["mask"], "masks": masks(number)}

    data = {**each(0), "mix_metadata": [each(number) for number in (1, 2, 3)]}
    result = A.Compose([make(name, fill_mask=0)], seed=5, strict=True)(**data)
    assert len(result["masks"]) == 3
    assert type(result["masks"]) is type(data["masks"])
    for mask in result["masks"]:
        assert mask.dtype == dtype
        assert mask.shape == data["masks"][0].shape
        assert np.array_equal(mask, result["masks"][0])
        assert not np.array_equal(mask, data["masks"][0])


@every
def test_additional_targets_follow(name):
    def more(number):
        data = sample(number, name)
        return {**data, "depth": data["image"][..., :1].astype(np.float32), "left": data["image"], "part": data["mask"]}

    pipeline = compose(
        make(name, fill_mask=0),
        additional_targets={"left": "image", "part": "mask", "depth": "mask"},
        strict=True,
    )
    result = pipeline(**more(0), mix_metadata=[more(number) for number in (1, 2, 3)])
    assert np.array_equal(result["left"], result["image"])
    assert np.array_equal(result["part"], result["mask"])
    if name not in ("MixUp", "Mosaic", "ResizeMix", "RandomMix", "RICAP"):  # which scale, average, or fill
        assert np.array_equal(result["depth"][..., 0], result["image"][..., 0])


@every
def test_images_without_objects_are_mixed(name):
    def empty(number):
        data = sample(number, name)
        return {
            **data,
            "bboxes": np.zeros((0, 4), np.float32),
            "masks": np.zeros((0, HEIGHT, WIDTH), np.uint8),
            "keypoints": np.zeros((0, 2), np.float32),
            "labels": [],
            "mask_index": [],
            "names": [],
        }

    data = {**empty(0), "mix_metadata": [empty(number) for number in (1, 2, 3)]}
    result = compose(make(name), strict=True)(**data)
    assert np.asarray(result["bboxes"]).shape == (0, 4)
    assert np.asarray(result["keypoints"]).shape == (0, 2)
    assert len(result["masks"]) == len(result["labels"]) == len(result["names"]) == 0
    assert np.array_equal(result["image"], data["image"]) == (name == "CopyPaste")  # which has nothing to paste


@needs_no_box
def test_without_any_box_a_call_needs_no_masks(name):
    """Boxes of free-form methods need masks: only where there are boxes."""
    few = {"bboxes": np.zeros((0, 4), np.float32), "labels": []}

    def empty(number):
        data = sample(number, name)
        return {"image": data["image"], "mask": data["mask"], **few}

    data = {**empty(0), "mix_metadata": [empty(number) for number in (1, 2, 3)]}
    pipeline = A.Compose([make(name)], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]), seed=7)
    result = pipeline(**data)
    assert np.asarray(result["bboxes"]).shape == (0, 4)
    assert not np.array_equal(result["image"], data["image"])


@every
def test_keypoints_with_z_are_the_same_keypoints(name):
    data = call(name)
    flat = compose(make(name))(**data)["keypoints"]
    for each in (data, *data["mix_metadata"]):
        each["keypoints"] = [(*point, 4.0 + index) for index, point in enumerate(each["keypoints"])]
    deep = np.asarray(compose(make(name), points="xyz")(**data)["keypoints"])
    assert len(flat) == len(deep)
    if len(deep):
        np.testing.assert_allclose(np.asarray(flat), deep[:, :2], atol=1e-5)
        assert set(deep[:, 2].tolist()) <= {4.0, 5.0}


@every
def test_labels_and_keypoints_stay_with_their_objects(name):
    """An object whose box is whole has its keypoint at its place; labels say which image it is of."""
    seen = 0
    for seed in range(6):
        result = compose(make(name), seed=seed, visible=False)(**call(name))
        points = dict(zip(result["names"], result["keypoints"]))
        for box, label in zip(result["bboxes"], result["labels"]):
            image, index = divmod(int(label), 10)
            left, top, right, bottom = PLACES[index]
            sides = np.array([box[2] - box[0], box[3] - box[1]])
            if f"{image} {index}" in points and np.allclose(sides, [right - left, bottom - top], atol=1e-3):
                np.testing.assert_allclose(points[f"{image} {index}"], [box[0] + 2, box[1] + 3], atol=0.6)
                seen += 1
    assert seen > 0 or name == "Mosaic"  # which scales all of them


# -------------------------------------------------------------------------------------------------- within pipelines


@every
@pytest.mark.parametrize("wrapper", ["OneOf", "SomeOf", "RandomOrder", "Sequential", "OneOrOther", "nested"])
def test_compositions_hold_it(name, wrapper):
    mix, data = make(name), call(name)
    step = {
        "OneOf": lambda: A.OneOf([mix], p=1.0),
        "SomeOf": lambda: A.SomeOf([mix, A.NoOp()], n=2, p=1.0),
        "RandomOrder": lambda: A.RandomOrder([mix, A.NoOp()], n=2, p=1.0),
        "Sequential": lambda: A.Sequential([mix], p=1.0),
        "OneOrOther": lambda: A.OneOrOther(mix, copy.deepcopy(mix), p=1.0),
        "nested": lambda: compose(mix, seed=None),
    }[wrapper]()
    result = compose(step, strict=True)(**data)
    assert not np.array_equal(result["image"], data["image"])
    assert len(result["bboxes"]) == len(result["labels"]) == len(result["masks"])


@needs_no_target
def test_chosen_channels_are_mixed_with_partners_of_a_source(name):
    image = picture(0, (HEIGHT, WIDTH, 5))
    partners = [{"image": picture(number, (HEIGHT, WIDTH, 3))} for number in (1, 2, 3)]
    step = A.SelectiveChannelTransform([make(name, source=partners)], channels=[3, 2, 4], p=1.0)
    result = A.Compose([step], seed=2)(image=image)["image"]
    assert np.array_equal(result[..., :2], image[..., :2])
    assert all(not np.array_equal(result[..., channel], image[..., channel]) for channel in (2, 3, 4))


@every
def test_every_shipped_transform_may_come_before_and_behind(name):
    """Flips, turns, crops, pads and pixels: what goes through them first or later stays consistent."""
    steps = [
        A.HorizontalFlip(p=1.0),
        A.RandomBrightnessContrast(p=1.0),
        A.SquareSymmetry(p=1.0),
        A.PadIfNeeded(70, 70),
        A.RandomCrop(36, 50),
        A.Affine(rotate=(-20, 20), p=1.0),
        A.Normalize(),
    ]
    for place in range(len(steps)):
        pipeline = compose(*steps[:place], make(name, fill_mask=0), *steps[place:], strict=True, seed=place)
        result = pipeline(**call(name))
        assert result["image"].shape == (36, 50, 3)
        assert result["mask"].shape == (36, 50)
        assert len(result["bboxes"]) == len(result["labels"]) == len(result["mask_index"])


@every
def test_a_missing_argument_is_named_as_albumentations_names_it(name):
    data = call(name)
    del data["mix_metadata"]
    with pytest.raises(ValueError, match=rf"{name} requires \['mix_metadata'\] missing keys"):
        compose(make(name))(**data)
    with pytest.raises(KeyError, match="named arguments"):
        make(name)(picture(0))


@every
def test_the_interface_says_what_it_takes(name):
    kind = getattr(cda, name)
    assert issubclass(kind, A.DualTransform)
    assert set(kind._targets) == set(A.core.type_definitions.ALL_TARGETS)
    mix = make(name)
    assert set(mix.targets) <= mix.available_keys
    assert {"image", "images", "volume", "volumes", "mask", "masks", "mask3d", "masks3d", "bboxes", "keypoints"} == set(
        mix.targets
    )
    assert kind.__doc__
    arguments = inspect.signature(kind).parameters
    assert {"p", "fill_mask", "metadata_key", "mask_interpolation", "strict"} <= arguments.keys()
    assert all(each.default is not inspect.Parameter.empty for n, each in arguments.items() if n != "transforms")
    for wrong in (-0.1, 1.1, "half"):
        with pytest.raises((ValueError, TypeError)):
            make(name, p=wrong)


@pytest.mark.parametrize("mix", [{}, {"transforms": [{"type": "CutMix"}, {"type": "CopyPaste"}]}])
def test_pasting_without_boxes_is_refused_however_little_else_is_given(mix):
    """Never an unmixed image without a word, as if its partners had no objects."""
    paste = cda.RandomMix(p=1.0, **mix) if mix else cda.CopyPaste(p=1.0)
    for keys in (("image",), ("image", "mask")):
        base, *partners = [{key: sample(number)[key] for key in keys} for number in range(3)]
        with pytest.raises(ValueError, match="CopyPaste pastes the partners' instances: 'bboxes' must be given"):
            A.Compose([paste])(**base, mix_metadata=partners)


@pytest.mark.parametrize("name", ["CarveMix", "ClassMix"])
def test_classes_are_looked_at_in_a_class_map_alone(name):
    base, partner = ({"image": sample(number)["image"]} for number in range(2))
    with pytest.raises(ValueError, match=f"{name} looks at classes: 'mask' must be given, whole numbers"):
        make(name)(**base, mix_metadata=[partner])
    probabilities = {"mask": np.zeros((HEIGHT, WIDTH, 3), np.float32)}
    with pytest.raises(ValueError, match=f"{name} looks at classes"):
        make(name)(**base, **probabilities, mix_metadata=[{**partner, **probabilities}])
