"""CopyPaste's placing, blending and choice within Albumentations, by what shows on a black picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cutmix_dense as cd

A = pytest.importorskip("albumentations")
mixes = pytest.importorskip("cutmix_dense.albumentations")

BASE = [[4.0, 6.0, 20.0, 24.0]]
OBJECTS = [[30.0, 20.0, 54.0, 44.0], [60.0, 10.0, 72.0, 30.0]]


def pasted(**settings):
    """The mixed picture, and the boxes that came along: of white objects on grey, onto black."""
    partner = np.full((60, 80, 3), 50, dtype=np.uint8)
    for x1, y1, x2, y2 in np.array(OBJECTS, dtype=int):
        partner[y1:y2, x1:x2] = 255
    donor = {"image": partner, "bboxes": np.array(OBJECTS), "labels": [1, 2]}
    params = A.BboxParams("pascal_voc", label_fields=["labels"])
    pipeline = A.Compose([mixes.CopyPaste(p=1.0, min_visibility=0, **settings)], bbox_params=params, seed=3)
    black = np.zeros((60, 80, 3), dtype=np.uint8)
    out = pipeline(image=black, bboxes=np.array(BASE), labels=[7], mix_metadata=[donor])
    boxes = [box for box, label in zip(out["bboxes"], out["labels"]) if label != 7]
    return out["image"], np.array(boxes).round().astype(int)


@pytest.mark.parametrize(
    ("settings", "shade"),
    [
        ({"instances": "all"}, 255),
        ({"instances": "all", "source": "partner"}, 255),
        ({"instances": "all", "place": "random"}, 255),
        ({"instances": "all", "place": "grid", "overlap": 0.2}, 255),
        ({"instances": (1, 2), "place": "random", "scale": (0.5, 0.5), "interpolation": "nearest"}, 255),
        ({"instances": "all", "blend": 0.5}, 128),
        ({"instances": 1, "place": "random", "blend": (0.2, 0.2)}, 51),
        ({"instances": 1, "size_weights": {"small": 1.0, "medium": 0.0, "large": 0.0}, "place": "random"}, 255),
    ],
)
def test_boxes_lie_on_what_was_pasted(settings, shade):
    image, boxes = pasted(**settings)
    assert len(boxes) >= 1
    shown = np.zeros(image.shape[:2], dtype=bool)
    for x1, y1, x2, y2 in boxes:
        assert image[y1:y2, x1:x2].max() == pytest.approx(shade, abs=1)
        shown[y1:y2, x1:x2] = True
    assert not image[~shown].any()


def test_context_comes_along_round_the_box():
    image, boxes = pasted(instances=1, context=0.25, place="same")
    ((x1, y1, x2, y2),) = boxes
    around = image[..., 0] == 50
    assert around.any()
    assert (image[y1:y2, x1:x2] == 255).all()
    assert not around[y1:y2, x1:x2].any()


def own(source, *, masks=True, fmt="pascal_voc", label="labels", seed=3, keypoints=(), **settings):
    """A black picture with a grey and a dark object, mixed without a partner: what comes out, with boxes in pixels."""
    image, stack = np.zeros((60, 80, 3), dtype=np.uint8), np.zeros((2, 60, 80), dtype=np.uint8)
    image[6:24, 4:20], image[30:40, 50:70] = 90, 40
    stack[0, 6:24, 4:20], stack[1, 30:40, 50:70] = 1, 1
    boxes = np.array([[4.0, 6, 20, 24], [50, 30, 70, 40]])
    given = convert(boxes, fmt, (60, 80))
    params = A.BboxParams(fmt, label_fields=[label, "area"])
    points = A.KeypointParams("xy") if keypoints else None
    paste = mixes.CopyPaste(source=source, p=1.0, min_visibility=0, **settings)
    pipeline = A.Compose([paste], bbox_params=params, keypoint_params=points, seed=seed)
    call = {"image": image, "bboxes": given, label: ["cat", "dog"], "area": [288.0, 200.0]}
    call |= {"masks": list(stack)} if masks else {}
    call |= {"keypoints": np.array(keypoints)} if keypoints else {}
    out = pipeline(**call)
    back = np.array(out["bboxes"])
    if fmt != "albumentations":
        back = A.core.bbox_utils.convert_bboxes_to_albumentations(back, fmt, {"height": 60, "width": 80})
    return {**out, "boxes": (back * [80, 60, 80, 60]).round(3), "pipeline": pipeline, "call": call}


def convert(boxes, fmt, size):
    shape = {"height": size[0], "width": size[1]}
    share = boxes / [size[1], size[0], size[1], size[0]]
    return share if fmt == "albumentations" else A.core.bbox_utils.convert_bboxes_from_albumentations(share, fmt, shape)


def bank_of(*, masks=True, shade=200):
    """Cut-outs of classes 3 and 7: a white triangle each, of 12 x 10 pixels, the other way round."""
    bank = cd.InstanceBank()
    for label, upper in ((3, True), (7, False)):
        picture, mask = torch.zeros(3, 30, 40, dtype=torch.uint8), torch.zeros(1, 30, 40, dtype=torch.bool)
        triangle = torch.ones(12, 10).triu() if upper else torch.ones(12, 10).tril()
        mask[0, 8:20, 14:24] = triangle.bool()
        picture[:, mask[0]] = shade + label
        target = {"boxes": torch.tensor([[14.0, 8, 24, 20]]), "labels": torch.tensor([label])}
        bank.add([picture], [{**target, "masks": mask} if masks else target])
    return bank


SHADES = {"cat": 90, "dog": 40, "kite": 203, "bird": 207}


def check_pixels(out, label="labels"):
    """Every mask is where its shade shows, every box tight round its mask; every pixel that isn't black has one."""
    shown = np.zeros((60, 80), dtype=bool)
    for box, name, mask in zip(out["boxes"], out[label], out["masks"], strict=True):
        assert mask.any()
        assert (out["image"][mask > 0] == SHADES[name]).all()
        y, x = mask.nonzero()
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        shown |= mask > 0
    assert np.array_equal(out["image"].any(axis=-1), shown)


@pytest.mark.parametrize("fmt", ["pascal_voc", "coco", "yolo", "albumentations"])
def test_an_image_pastes_its_own_instances(fmt):
    counts = []
    for seed in range(6):
        out = own("self", fmt=fmt, seed=seed, instances=2, place="random", keypoints=[[5.5, 7.5], [79, 59]])
        check_pixels(out)
        counts.append(len(out["labels"]))
        # a keypoint is there once for each copy of its pixel
        for x, y in out["keypoints"]:
            assert (int(x), int(y)) == (79, 59) or out["image"][int(y), int(x), 0] == 90
        hidden = not (out["image"][7, 5] == 90).all()
        assert len(out["keypoints"]) <= 2 + out["labels"].count("cat") - hidden
        assert [79, 59] in out["keypoints"].tolist()
    assert max(counts) == 4


@pytest.mark.parametrize("fmt", ["pascal_voc", "yolo", "albumentations"])
def test_cut_outs_of_a_bank_have_the_classes_and_fields_of_the_call(fmt):
    names, found = {3: "kite", 7: "bird"}, set()
    for seed in range(6):
        out = own(bank_of(), fmt=fmt, seed=seed, instances=3, place="random", names=names, label_field="labels")
        check_pixels(out)
        found |= set(out["labels"])
        for name, area, mask in zip(out["labels"], out["area"], out["masks"]):
            if name in names.values():
                assert area == pytest.approx(mask.sum(), rel=1e-4)
    assert found == set(SHADES)


def test_cut_outs_keep_their_shape_where_the_call_has_no_masks():
    out = own(
        bank_of(),
        masks=False,
        instances=1,
        place="random",
        overlap=0,
        names=["", "", "", "kite"] + [""] * 3 + ["bird"],
        boxes="estimate",
        label_field="labels",
        weights={"kite": 1.0, "bird": 0.0},
    )
    assert out["labels"] == ["cat", "dog", "kite"]
    x0, y0, x1, y1 = out["boxes"][2].astype(int)
    assert ((out["image"][y0:y1, x0:x1, 0] == 203) == np.triu(np.ones((12, 10)))[: y1 - y0]).all()


def shares(source, weights, count=60, **settings):
    """How often each class is pasted, one at a time."""
    found = []
    for seed in range(count):
        out = own(source, seed=seed, instances=1, place="random", weights=weights, label_field="labels", **settings)
        found += list(out["labels"])
    return {name: found.count(name) - (count if name in ("cat", "dog") else 0) for name in SHADES}


def test_classes_are_drawn_by_what_the_label_field_holds():
    assert shares("self", {"cat": 0.0}, overlap=0) == {"cat": 0, "dog": 60, "kite": 0, "bird": 0}
    names = {3: "kite", 7: "bird"}
    found = shares(bank_of(), {"kite": 3.0, "bird": 1.0}, names=names, overlap=0)
    assert found["kite"] + found["bird"] == 60
    assert abs(found["kite"] - 45) < 14
    balanced = shares("self", "balanced", overlap=0)
    assert abs(balanced["cat"] - 30) < 16


def test_numbers_are_classes_too():
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    params = A.BboxParams("pascal_voc", label_fields=["labels"])
    for weights in ({5: 0.0}, {"5": 0}):  # as JSON has it
        paste = mixes.CopyPaste(source="self", instances=1, place="random", weights=weights, overlap=0, p=1.0)
        pipeline = A.Compose([paste], bbox_params=params, seed=1)
        out = pipeline(image=image, bboxes=[[4, 6, 20, 24], [50, 30, 70, 40]], labels=[5, 6])
        assert list(out["labels"]) == [5, 6, 6]
    paste = mixes.CopyPaste(source=bank_of(masks=False), instances=1, place="random", weights={7: 1, 3: 0}, p=1.0)
    out = A.Compose([paste], bbox_params=params, seed=1)(image=image, bboxes=[], labels=[])
    assert list(out["labels"]) == [7]


def test_pipelines_are_saved_loaded_replayed_and_closed(tmp_path):
    bank_of().save(tmp_path / "bank.pt")
    settings = {"instances": 2, "place": "random", "names": {3: "kite", 7: "bird"}, "label_field": "labels"}
    for source in ("self", {"type": "InstanceBank", "file": str(tmp_path / "bank.pt")}):
        out = own(source, **settings)
        A.save(out["pipeline"], tmp_path / "pipeline.json")
        loaded = A.load(tmp_path / "pipeline.json")
        loaded.set_random_seed(3)
        again = loaded(**out["call"])
        assert np.array_equal(again["image"], out["image"])
        assert list(again["labels"]) == list(out["labels"])
        (paste,) = out["pipeline"].transforms
        params = out["pipeline"].processors["bboxes"].params
        (other,) = own(source, **settings)["pipeline"].transforms
        replay = A.ReplayCompose([other], bbox_params=params)
        first = replay(**out["call"])
        second = A.ReplayCompose.replay(first["replay"], **out["call"])
        assert np.array_equal(first["image"], second["image"])
        assert (first["image"] != out["call"]["image"]).any()
        paste.close()
        closed = out["pipeline"](**out["call"])
        assert np.array_equal(closed["image"], out["call"]["image"])
        assert list(closed["labels"]) == ["cat", "dog"]
    with pytest.raises(ValueError, match=r'source can.t be saved.*"type": "InstanceBank", "file"'):
        A.to_dict(A.Compose([mixes.CopyPaste(source=bank_of(), instances=1, place="random")]))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"source": "batch"}, TypeError, "source must be 'self', a bank, a dataset or a callable here, got 'batch'"),
        ({"source": {"type": "AreaBox"}}, TypeError, "source must be of type InstanceBank"),
        ({"weights": [1.0, 2.0]}, ValueError, "weights must be None, 'balanced', or a mapping"),
        ({"source": "self", "instances": 2, "place": "somewhere"}, ValueError, "place"),
        ({"weights": {"brid": 0.0}}, ValueError, r"weights must be by .*'bird', 'kite'.*got \['brid'\]"),
        ({"weights": {3: 0.0}}, ValueError, r"weights must be by .*'bird', 'kite'.*got \[3\]"),
        ({"weights": {"bird": 1.0}, "names": None}, ValueError, "names= says which class of the bank has which name"),
    ],
)
def test_settings_that_are_refused(settings, error, words):
    if isinstance(settings.get("weights"), dict):
        settings = {"source": bank_of(), "instances": 1, "place": "random", "names": {3: "kite", 7: "bird"}, **settings}
    with pytest.raises(error, match=words):
        mixes.CopyPaste(**settings)


@pytest.mark.parametrize("source", ["self", "partner", "bank"])
def test_images_without_objects_are_bases(source):
    """A bank with masks serves them, too: boxes are tight round what is pasted."""
    bank = bank_of()
    made = {"self": "self", "partner": None, "bank": bank}[source]
    paste = mixes.CopyPaste(source=made, instances=2, place="random", p=1.0, min_visibility=0)
    params = A.BboxParams("pascal_voc", label_fields=["labels"])
    black = np.zeros((200, 220, 3), dtype=np.uint8)
    nothing = {"image": black, "bboxes": [], "labels": []}
    given = {**nothing, "mix_metadata": [nothing]} if source == "partner" else nothing
    out = A.Compose([paste], bbox_params=params, seed=1)(**given)
    assert len(out["bboxes"]) == len(out["labels"]) == (0 if source != "bank" else 2)
    if source != "bank":
        assert not out["image"].any()
        return
    for x1, y1, x2, y2 in np.round(out["bboxes"]).astype(int):
        inside = out["image"][y1:y2, x1:x2].any(axis=2)
        assert inside.any(axis=0).all()
        assert inside.any(axis=1).all()


def test_calls_that_are_refused():
    with pytest.raises(ValueError, match="label_field must be one of bbox_params"):
        own("self", instances=1, place="random", weights={"cat": 1.0}, label_field="class")
    with pytest.raises(ValueError, match=r"cut-out \d of source\['labels'\] must hold words"):
        own(bank_of(), instances=1, place="random", label_field="labels")
    with pytest.raises(ValueError, match="estimate"):
        own(bank_of(), masks=False, instances=1, place="random", names={3: "kite", 7: "bird"}, label_field="labels")
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    params = A.BboxParams("pascal_voc", label_fields=["labels", "colour"])
    paste = mixes.CopyPaste(source=bank_of(), instances=1, place="random", p=1.0)
    with pytest.raises(ValueError, match="label_field must say which label field"):
        A.Compose([paste], bbox_params=params)(image=image, bboxes=[], labels=[], colour=[])
    mapped = {"image": image, "bboxes": [], "labels": [], "mask": np.zeros((60, 80), dtype=np.uint8)}
    with pytest.raises(ValueError, match=r"cut-out \d of source must have 'mask'"):
        A.Compose([paste], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]))(**mapped)
    with pytest.raises(ValueError, match="source can't be a bank within RandomMix"):
        mixes.RandomMix(transforms=[cd.CopyPaste(source=bank_of(), instances=1, place="random")])
