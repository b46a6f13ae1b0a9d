"""Every form of a batch that loops and loaders have: pixels and targets are mixed, and the form is kept."""

from __future__ import annotations

import warnings
from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

import cutmix_dense as cd
from cutmix_dense.regions import AreaBox

SIZE = (20, 30)
HALF = AreaBox((0.5, 0.5))
CLASSES = 4


def mixer(**settings):
    return cd.CutMix(p=1.0, region=HALF, num_classes=CLASSES, **settings)


def image_of(index):
    """Every pixel says whose it is."""
    return torch.full((3, *SIZE), float(index))


def map_of(index):
    return torch.full(SIZE, index)


def batch(count=CLASSES):
    return torch.stack([image_of(i) for i in range(count)]), torch.arange(count)


def owners(images):
    """Index of the image that owns each pixel; every image shows its own and one other's."""
    ids = torch.stack([image[0] for image in images]).long()
    assert all(len(one.unique()) == 2 and index in one for index, one in enumerate(ids))
    return ids


def shares(images):
    return torch.nn.functional.one_hot(owners(images), CLASSES).float().mean(dim=(1, 2))


def check_labels(images, labels):
    assert torch.allclose(labels, shares(images), atol=1e-6)


def check_maps(images, maps):
    assert torch.equal(owners(images), torch.stack([m.squeeze() for m in maps]).long())


Pair = namedtuple("Pair", ["images", "labels"])


@pytest.mark.parametrize("kind", [list, tuple, Pair._make])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda mix: mix,
        lambda mix: v2.Compose([mix]),
        lambda mix: v2.RandomApply([mix], p=1.0),
        lambda mix: v2.RandomChoice([mix]),
        lambda mix: v2.Compose([v2.ToDtype(torch.float32), mix]),
        lambda mix: cd.RandomMix([mix]),
    ],
)
def test_a_pair_as_a_loader_hands_it_on(kind, wrap):
    given = kind(batch())
    mixed = wrap(mixer())(given)
    if kind is not Pair._make:
        assert type(mixed) is type(given)
    check_labels(*mixed)


def test_a_named_pair_stays_one():
    mixed = mixer()(Pair(*batch()))
    assert isinstance(mixed, Pair)
    check_labels(mixed.images, mixed.labels)


def test_a_real_loader_of_default_batches():
    samples = [(image_of(i), i) for i in range(CLASSES)]
    for loaded in DataLoader(samples, batch_size=CLASSES):
        assert type(loaded) is list
        mixed = v2.Compose([mixer()])(loaded)
        assert type(mixed) is list
        check_labels(*mixed)


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("number", [int, np.int64, np.int32, np.uint8, torch.tensor])
def test_samples_of_any_container_and_number(kind, number):
    samples = [kind((image_of(i), number(i))) for i in range(CLASSES)]
    (loaded,) = DataLoader(samples, batch_size=CLASSES, collate_fn=mixer())
    check_labels(*loaded)
    check_labels(*mixer()(torch.stack([image for image, _ in samples]), [label for _, label in samples]))


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("form", [map_of, lambda i: map_of(i)[None], lambda i: map_of(i)[None].float()])
def test_samples_of_images_and_maps(kind, count, form):
    samples = [kind((image_of(i), form(i))) for i in range(count)]
    images, maps = mixer()(samples)
    check_maps(images, maps)
    assert maps.dtype == samples[0][1].dtype


@pytest.mark.parametrize("outer", [list, tuple])
def test_columns_of_images_of_several_sizes(outer):
    """What ``collate_fn=lambda b: tuple(zip(*b))`` makes of two samples, where four tensors could be two pairs."""
    images = [torch.zeros(3, 20, 30), torch.ones(3, 24, 28)]
    targets = [{"boxes": torch.tensor([[1.0, 2, 9, 12]]), "labels": torch.tensor([i])} for i in range(2)]
    mixed, out = cd.CutMix(p=1.0, region=AreaBox((1, 1), (1, 1)))(outer((tuple(images), tuple(targets))))
    assert [len(image.unique()) for image in mixed] == [2, 2]
    assert [target["origin"][:, 0].tolist() for target in out] == [[1], [0]]
    maps = [torch.zeros(1, 20, 30, dtype=torch.long), torch.ones(1, 24, 28, dtype=torch.long)]
    mixed, out = mixer()(outer((images, maps)))
    assert all(torch.equal(image[0], ids[0].float()) for image, ids in zip(mixed, out))
    assert any(len(image.unique()) == 2 for image in mixed)


@pytest.mark.parametrize("kind", [list, tuple])
def test_two_images_are_a_batch_of_images(kind):
    mixed = mixer()(kind((image_of(0), image_of(1))))
    assert len(mixed) == 2
    owners(mixed)


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("target", [map_of(1), map_of(1)[None], torch.tensor(1), tv_tensors.Mask(map_of(1))])
def test_a_single_sample_is_no_batch(kind, target):
    with pytest.raises(ValueError, match="a batch is needed, not a single sample"):
        mixer()(kind((image_of(0), target)))


def test_four_images_in_two_lists_are_refused():
    pair = [image_of(0), image_of(1)]
    with pytest.raises(ValueError, match="may be .images, targets. or two samples"):
        mixer()([pair, list(pair)])
    images, seconds = mixer()([(image_of(0), image_of(2)), (image_of(1), image_of(3))])  # what belongs to each image
    assert torch.equal(images + 2, seconds)
    owners(images)


def test_two_views_are_mixed_by_one_plan():
    images, _ = batch()
    mixed, second = mixer()((images, images + 10))
    assert torch.equal(mixed + 10, second)
    owners(mixed)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda i, t: [i, t, t], r"begins with a batch must be \(images, targets\), got 3 tensors"),
        (lambda i, t: [(x, y, y) for x, y in zip(i, t)], r"lengths \[3\]"),
        (lambda i, t: ["a", "b"], "inputs must be images;"),
        (lambda i, t: {"label": t}, "must hold its images under one of"),
        (lambda i, t: {"image": i, "img": i}, "got several images"),
        (lambda i, t: {"image": i, "bbox": torch.ones(4, 4)}, r"targets\['bbox'\] (holds coordinates|is of unknown)"),
        (lambda i, t: {"image": i, "masks": torch.ones(4, *SIZE)}, "name it 'mask'"),
        (lambda i, t: {"image": i, "file": ["a"] * 4}, r"targets\['file'\] is of unknown meaning"),
        (lambda i, t: {"pixel_values": i, "pixel_mask": torch.ones(4, *SIZE).long()}, "give that as sizes="),
        (lambda i, t: [{"image": i[0], "label": 1}, {"image": i[1]}], "sample 1 holds no 'label'"),
    ],
)
def test_what_is_not_understood_is_refused(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        mixer()(given(*batch()))


def test_three_arguments_are_refused_with_the_remedy():
    images, labels = batch()
    with pytest.raises(TypeError, match="put what is beside the images into a dict"):
        mixer()(images, labels, labels)
    with pytest.raises(TypeError, match="a dict must be the only argument"):
        mixer()({"image": images}, labels)


@pytest.mark.parametrize("image", ["image", "images", "img", "pixel_values", "Image"])
@pytest.mark.parametrize("label", ["label", "labels", "Labels", "foo_label", "y"])
def test_dict_batches(image, label):
    images, labels = batch()
    given = {"id": ["a", "b", "c", "d"], image: images, label: labels}
    mixed = mixer(image_keys=("id",))(given)
    assert list(mixed) == list(given)
    assert mixed["id"] == given["id"]
    check_labels(mixed[image], mixed[label])


def test_a_batch_of_an_image_of_any_name_by_its_class():
    images, labels = batch()
    mixed = mixer()({"rgb": tv_tensors.Image(images), "label": labels})
    check_labels(mixed["rgb"], mixed["label"])


@pytest.mark.parametrize("dtype", [torch.long, torch.uint8, torch.float32])
@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("form", ["tuple", "list", "dict", "samples", "dict samples"])
def test_image_and_mask_as_segmentation_models_have_them(dtype, channel, form):
    images = batch()[0]
    masks = torch.stack([map_of(i) for i in range(CLASSES)]).to(dtype)
    masks = masks[:, None] if channel else masks
    samples = list(zip(images, masks))
    given = {
        "tuple": (images, masks),
        "list": [images, masks],
        "dict": {"image": images, "mask": masks},
        "samples": samples,
        "dict samples": [{"image": i, "mask": m} for i, m in samples],
    }[form]
    mixed = mixer()(given)
    mixed_images, mixed_masks = mixed.values() if isinstance(mixed, dict) else mixed
    check_maps(mixed_images, mixed_masks)
    assert (mixed_masks.dtype, mixed_masks.shape) == (masks.dtype, masks.shape)


def test_a_mask_of_zeros_and_ones_stays_one_where_it_is_scaled():
    mask = torch.zeros(2, 1, *SIZE)
    mask[..., 3:17, 5:22] = 1
    mixed = cd.ResizeMix(p=1.0)({"image": torch.rand(2, 3, *SIZE), "mask": mask})
    assert set(mixed["mask"].unique().tolist()) == {0, 1}
    assert not torch.equal(mixed["mask"], mask)


def test_labels_getter_finds_labels_as_in_torchvision():
    images, labels = batch()

    def getter(data):
        return data["aux"]

    theirs = v2.CutMix(num_classes=CLASSES, labels_getter=getter)({"image": images, "aux": labels})
    ours = mixer(labels_getter=getter)({"image": images, "aux": labels})
    assert theirs["aux"].shape == ours["aux"].shape
    check_labels(ours["image"], ours["aux"])
    pair = mixer(labels_getter=lambda data: data[1])([images, labels])
    check_labels(*pair)
    nested = mixer(labels_getter=lambda data: data[1]["aux"])(images, {"aux": labels})
    check_labels(nested[0], nested[1]["aux"])
    samples = mixer(labels_getter=getter)([{"image": i, "aux": int(n)} for i, n in zip(images, labels)])
    check_labels(samples["image"], samples["aux"])


@pytest.mark.parametrize(
    ("getter", "message"),
    [
        (lambda data: torch.arange(4), "an entry of the targets themselves"),
        (lambda data: data["image"], r"tensor \(B,\) or \(B, K\), got shape"),
        (lambda data: 3, "got int"),
    ],
)
def test_labels_getters_that_find_none(getter, message):
    images, labels = batch()
    with pytest.raises(ValueError, match=message):
        mixer(labels_getter=getter)({"image": images, "aux": labels})


def test_without_a_getter_odd_names_are_refused():
    images, labels = batch()
    with pytest.raises(ValueError, match=r"targets\['foo_label'\] is of unknown meaning"):
        mixer(labels_getter=None)({"image": images, "foo_label": labels})
    with pytest.raises(ValueError, match="labels_getter must be 'default', a callable or None"):
        cd.CutMix(labels_getter="labels")


def instances(index):
    """Two objects per image, whose class is the image's number."""
    boxes = torch.tensor([[1.0, 1, 14, 19], [16, 1, 29, 19]])
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 1:19, 1:14], masks[1, 1:19, 16:29] = True, True
    return {"boxes": boxes, "labels": torch.full((2,), index), "masks": masks}


def check_instances(images, rows):
    """Every mask shows where its image does, and its class is that image."""
    pasted = 0
    for index, (image, row) in enumerate(zip(images, rows)):
        ids = image[0].long()
        assert len(row["boxes"]) == len(row["labels"]) == len(row["masks"]) > 0
        for label, mask in zip(row["labels"].tolist(), row["masks"]):
            assert set(ids[mask].tolist()) == {label}
            pasted += label != index
    assert pasted


@pytest.mark.parametrize("nested", [False, True])
def test_dict_samples_with_instances(nested):
    samples = [
        {"image": image_of(i), "target": instances(i)} if nested else {"image": image_of(i), **instances(i)}
        for i in range(3)
    ]
    if not nested:
        samples[1] = {"image": image_of(1)}  # no objects
    (mixed,) = DataLoader(samples, batch_size=3, collate_fn=mixer())
    rows = (
        mixed["target"]
        if nested
        else [{key: mixed[key][i] for key in ("boxes", "labels", "masks", "origin")} for i in range(3)]
    )
    assert mixed["image"].shape == (3, 3, *SIZE)
    if nested:
        check_instances(mixed["image"], rows)
    else:
        for image, row in zip(mixed["image"], rows):
            for label, mask in zip(row["labels"].tolist(), row["masks"]):
                assert set(image[0].long()[mask].tolist()) == {label}
        assert any((row["origin"][:, 0] != index).any() for index, row in enumerate(rows))


def test_a_dict_batch_of_columns_goes_round():
    rows = [instances(i) for i in range(3)]
    given = {
        "image": torch.stack([image_of(i) for i in range(3)]),
        **{key: [row[key] for row in rows] for key in rows[0]},
        "image_id": torch.tensor([7, 8, 9]),
    }
    mixed = mixer()(given)
    assert mixed["image_id"].tolist() == [7, 8, 9]
    check_instances(mixed["image"], [{key: mixed[key][i] for key in rows[0]} for i in range(3)])
    again = mixer()(mixed)
    assert len(again["boxes"]) == 3
    with pytest.raises(ValueError, match=r"batch\['labels'\] must have one entry per image \(3\), got 2"):
        mixer()({**given, "labels": given["labels"][:2]})


def panoptic_sample(index):
    """A small picture whose panoptic map has one thing and one stuff."""
    ids = torch.ones(20, 30, dtype=torch.int32)
    ids[5:15, 5:20] = 2
    infos = [
        {"id": 1, "category_id": 7, "isthing": False},
        {"id": 2, "category_id": index, "isthing": True},
    ]
    return {"image": torch.full((3, 20, 30), float(index)), "panoptic": ids, "segments_info": infos}


@pytest.mark.parametrize("form", ["samples", "columns", "stacked", "loader"])
def test_dicts_with_panoptic_maps_are_read_as_pairs_are(form):
    samples = [panoptic_sample(index) for index in range(3)]
    columns = {key: [sample[key] for sample in samples] for key in samples[0]}
    columns["image"] = torch.stack(columns["image"])
    stacked = {**columns, "panoptic": torch.stack(columns["panoptic"])}
    mix = cd.CutMix(p=1.0)
    pairs = [(sample["image"], {key: sample[key] for key in sample if key != "image"}) for sample in samples]
    images, targets = mix(pairs, generator=seeded_by(3))
    if form == "loader":
        (mixed,) = DataLoader(samples, batch_size=3, collate_fn=lambda batch: mix(batch, generator=seeded_by(3)))
    else:
        mixed = mix({"samples": samples, "columns": columns, "stacked": stacked}[form], generator=seeded_by(3))
    assert isinstance(mixed["panoptic"], torch.Tensor) == (form == "stacked")
    assert torch.equal(mixed["image"], images)
    for index, target in enumerate(targets):
        assert torch.equal(mixed["panoptic"][index], target["panoptic"])
        assert mixed["segments_info"][index] == target["segments_info"]


def seeded_by(seed):
    return torch.Generator().manual_seed(seed)


def test_a_map_of_the_name_panoptic_alone_stays_a_map():
    samples = [{"image": torch.rand(3, 8, 12), "panoptic": torch.ones(8, 12).long()} for _ in range(2)]
    mixed = cd.CutMix(p=1.0, semantic_keys=("panoptic",))(samples)
    assert mixed["panoptic"].shape == (2, 8, 12)
    with pytest.raises(ValueError, match=r"targets\['panoptic'\] .* needs 'panoptic' and 'segments_info': give"):
        cd.CutMix(p=1.0)(samples)


def test_a_dict_batch_of_padded_boxes():
    rows = [instances(i) for i in range(3)]
    given = {
        "image": torch.stack([image_of(i) for i in range(3)]),
        "boxes": torch.stack([row["boxes"] for row in rows]),
        "labels": torch.stack([row["labels"] for row in rows]),
        "valid": torch.ones(3, 2, dtype=torch.bool),
    }
    mixed = mixer()(given)
    owners(mixed["image"])
    assert mixed["boxes"].shape == (3, 4, 4)
    filled = mixed["valid"]
    assert torch.equal(mixed["labels"][filled], mixed["origin"][..., 0][filled])


def test_a_report_comes_behind_any_form():
    samples = [(image_of(i), instances(i)) for i in range(3)]
    images, rows, report = mixer()(samples, return_report=True)
    check_instances(images, rows)
    batch, again = mixer()([{"image": i, "target": t} for i, t in samples], return_report=True)
    check_instances(batch["image"], batch["target"])
    assert len(report) == len(again) == 12


def test_a_bank_takes_every_form():
    for form in (
        lambda i: [image_of(i)[None], torch.tensor([i])],
        lambda i: {"image": image_of(i)[None], "label": [i]},
    ):
        mix = mixer(pairing=cd.SampleBank())
        mix(form(0))
        mixed = mix(form(1))
        images, labels = mixed.values() if isinstance(mixed, dict) else mixed
        assert set(images.unique().tolist()) == {0, 1}
        assert torch.allclose(labels[0, 1], (images[0, 0] == 1).float().mean())


def test_raw_coco_annotations_are_refused_with_the_remedy():
    rows = [{"bbox": [2, 3, 10, 10], "category_id": 1, "segmentation": [[2, 3, 12, 3, 12, 13]], "iscrowd": 0}]
    for targets in ([rows, rows], [rows, []]):
        for call in (lambda t: mixer()(batch(2)[0], t), lambda t: mixer()(list(zip(batch(2)[0], t)))):
            with pytest.raises(TypeError, match="wrap_dataset_for_transforms_v2"):
                call(targets)


def test_channels_last_is_refused_with_the_remedy():
    boxes = [{"boxes": torch.tensor([[1.0, 1, 14, 9]]), "labels": torch.tensor([1])}] * 2
    for images, targets in (
        (torch.rand(2, 10, 15, 3), boxes),
        ([torch.rand(10, 15, 3)] * 2, boxes),
        (torch.rand(2, 20, 30, 3), torch.tensor([0, 1])),
        (torch.rand(2, 20, 30, 4), None),
    ):
        with pytest.raises(ValueError, match=r"channels last.*permute\(0, 3, 1, 2\)"):
            mixer()(images, targets)
    narrow = [{"boxes": torch.tensor([[0.0, 1, 3, 9]]), "labels": torch.tensor([1])}] * 2
    assert mixer()(torch.rand(2, 10, 15, 3), narrow)[0].shape == (2, 10, 15, 3)


@pytest.mark.parametrize("method", [cd.ClassMix, cd.CarveMix])
def test_one_hot_maps_are_refused_with_the_remedy(method):
    if method is cd.CarveMix:
        pytest.importorskip("scipy")
    images = torch.stack([torch.zeros(3, *SIZE), torch.ones(3, *SIZE)])
    ids = torch.zeros(2, *SIZE, dtype=torch.long)
    ids[:, 4:12, 6:21] = 1
    one_hot = torch.nn.functional.one_hot(ids, 3).permute(0, 3, 1, 2)
    for targets in (one_hot, {"semantic": one_hot}, list(one_hot)):
        with pytest.raises(ValueError, match=r"got maps of 3 channels.*argmax\(1\)"):
            method(p=1.0)(images, targets)
    mixed, out = method(p=1.0)(images, {"semantic": one_hot.argmax(1), "one_hot": one_hot})
    assert (mixed != images).any()
    assert torch.equal(out["one_hot"].argmax(1), out["semantic"])


def test_a_batch_of_one_warns_once():
    mix = cd.CutMix(p=1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            mix(batch(1)[0])
    (caught_once,) = [warning for warning in caught if issubclass(warning.category, UserWarning)]
    assert "batch of one image" in str(caught_once.message)
    assert "SampleBank" in str(caught_once.message)
    assert caught_once.filename == __file__


@pytest.mark.parametrize("settings", [{"p": 0.0}, {"pairing": "bank"}])
def test_a_batch_of_one_that_is_meant_so(settings, recwarn):
    mix = cd.CutMix(**{"p": 1.0, **settings})
    mix(batch(1)[0])
    closed = cd.CutMix(p=1.0)
    closed.close()
    closed(batch(1)[0])
    assert not [w for w in recwarn if "batch of one" in str(w.message)]


def test_default_collate_of_dict_samples():
    given = default_collate([{"image": image_of(i), "label": i, "mask": map_of(i)} for i in range(CLASSES)])
    mixed = mixer()(given)
    check_labels(mixed["image"], mixed["label"])
    check_maps(mixed["image"], mixed["mask"])


class Batch(UserDict):
    """A dict with a method, as the batches of transformers are."""

    def count(self) -> int:
        return len(self["image"])


@pytest.mark.parametrize("kind", [OrderedDict, Batch])
@pytest.mark.parametrize("boxes", [False, True])
def test_dicts_of_a_class_come_back_in_it(kind, boxes):
    images, rows = torch.rand(2, 3, 16, 24), [torch.tensor([[1.0, 2.0, 9.0, 9.0]])] * 2
    given = kind({"image": images, **({"boxes": rows} if boxes else {"mask": torch.zeros(2, 16, 24).long()})})
    mixed = cd.CutMix(p=1.0)(given)
    assert type(mixed) is kind
    assert list(mixed)[: len(given)] == list(given)
    assert not mixed["image"].equal(images)
    assert given["image"] is images


def test_keys_of_targets_may_be_numbers():
    """As an adapter names the places of a tuple (image, map, labels)."""
    images = torch.arange(4.0)[:, None, None, None].expand(-1, 3, 12, 18).clone()
    maps, labels = images[:, 0].long(), torch.arange(4)
    for mix in (cd.CutMix(p=1.0, num_classes=4, label_keys=[2]), cd.CutMix(p=1.0, num_classes=4, labels_getter=second)):
        for several in (mix, cd.Chain([mix])):
            mixed, targets = several(images, {1: maps, 2: labels})
            assert torch.equal(targets[1], mixed[:, 0].long())
            assert not torch.equal(targets[1], maps)
            assert torch.allclose(targets[2], torch.nn.functional.one_hot(targets[1], 4).float().mean(dim=(1, 2)))


def second(batch):
    return batch[1][2]
