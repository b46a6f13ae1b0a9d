"""The MONAI adapter: its conventions of randomness and metadata, and a training through MONAI's loader and network."""

from __future__ import annotations

import copy
import doctest
import pickle
from functools import partial

import numpy as np
import pytest
import torch

import cutmix_dense as cd

monai = pytest.importorskip("monai", reason="monai is not installed (extra: monai)")

from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, list_data_collate  # noqa: E402
from monai.data.box_utils import convert_box_mode  # noqa: E402
from monai.data.utils import no_collation  # noqa: E402
from monai.losses import DiceCELoss  # noqa: E402
from monai.networks.nets import UNet  # noqa: E402
from monai.transforms import Compose, CropForegroundd, CutMixd, EnsureTyped, MixUpd, RandFlipd  # noqa: E402

import cutmix_dense.monai  # noqa: E402
from cutmix_dense.monai import MixD, Mixd  # noqa: E402

SIZE = (10, 14, 12)


def coded(count: int = 4) -> dict[str, torch.Tensor]:
    """Volumes that hold their number and place, labels as MONAI loads them: floats with a channel."""
    place = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in SIZE), indexing="ij"))
    number = torch.arange(1.0, count + 1).reshape(-1, 1, 1, 1, 1).expand(-1, 1, *SIZE)
    images = torch.cat([number, place.expand(count, -1, -1, -1, -1)], dim=1)
    labels = torch.randint(0, 4, (count, 1, *SIZE), generator=torch.Generator().manual_seed(0)).float()
    return {"image": images, "label": labels}


def test_images_maps_and_labels_follow_one_plan():
    data = {**coded(), "class": torch.arange(4), "names": ["a", "b", "c", "d"]}
    mixd = Mixd(cd.CutMix(p=1.0, layout="BCDHW", num_classes=4), label_keys=["class"])
    mixd.set_random_state(seed=3)
    out = mixd(data)
    assert out is not data
    assert out["names"] == data["names"]
    assert out["label"].dtype == torch.float32
    assert out["label"].shape == data["label"].shape
    foreign = 0
    for index in range(4):
        source = out["image"][index, 0].long() - 1
        expected = torch.stack([data["label"][n, 0] for n in range(4)]).gather(0, source[None])[0]
        assert torch.equal(out["label"][index, 0], expected)
        share = torch.bincount(source.flatten(), minlength=4) / source.numel()
        torch.testing.assert_close(out["class"][index], share, atol=1e-6, rtol=0)
        foreign += int((source != index).sum())
    assert foreign > 0


def test_the_random_state_is_monais():
    def run(seed: int, calls: int = 3) -> list[torch.Tensor]:
        mixd = MixD(cd.CutMix(p=1.0, layout="BCDHW")).set_random_state(seed=seed)
        return [mixd(coded())["image"] for _ in range(calls)]

    first, again, other = run(5), run(5), run(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
    before = torch.get_rng_state()
    run(7)
    assert torch.equal(before, torch.get_rng_state())


def test_compose_hands_its_state_on():
    def run() -> torch.Tensor:
        pipe = Compose([Mixd(cd.CutMix(p=1.0, layout="BCDHW"))])
        pipe.set_random_state(seed=11)
        return pipe(coded())["image"]

    assert torch.equal(run(), run())


def test_metadata_and_arrays_keep_their_kind():
    data = coded()
    affine = torch.diag(torch.tensor([2.0, 1, 1, 1]))
    meta = {"image": MetaTensor(data["image"], affine=affine), "label": data["label"].numpy().astype(np.uint8)}
    out = Mixd(cd.CutMix(p=1.0, layout="BCDHW")).set_random_state(seed=1)(meta)
    assert isinstance(out["image"], MetaTensor)
    assert torch.equal(out["image"].affine, affine.to(out["image"].affine))
    assert isinstance(out["label"], np.ndarray)
    assert out["label"].dtype == np.uint8
    source = out["image"].as_tensor()[:, 0].long() - 1
    for index in range(4):
        own = source[index].numpy() == index
        assert np.array_equal(out["label"][index, 0][own], meta["label"][index, 0][own])


@pytest.mark.parametrize("kind", [torch.Tensor, MetaTensor])
@pytest.mark.parametrize("method", ["CutMix", "MixUp", "CowMix"])
@pytest.mark.parametrize(
    ("shape", "memory"), [((3, 2, 12, 10), torch.channels_last), ((3, 2, 8, 10, 12), torch.channels_last_3d)]
)
def test_the_memory_format_stays(shape, memory, method, kind):
    layout = "BCHW" if len(shape) == 4 else "BCDHW"
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    label = (image > 0.5).float()
    data = {"image": image, "second": 2 * image, "label": label}
    mix = getattr(cd, method)(p=1.0, layout=layout)
    mixes = [Mixd(mix, ["image", "second"], "label").set_random_state(3) for _ in range(2)]
    expected = mixes[0](dict(data))
    strided = {key: value.contiguous(memory_format=memory) for key, value in data.items()}
    if kind is MetaTensor:
        strided = {key: MetaTensor(value, meta={"filename_or_obj": key}) for key, value in strided.items()}
    mixed = mixes[1](strided)
    for key, value in data.items():
        assert type(mixed[key]) is kind, key
        assert mixed[key].is_contiguous(memory_format=memory), key
        assert torch.equal(torch.as_tensor(mixed[key]), expected[key]), key
        assert not torch.equal(expected[key], value), key
        assert kind is torch.Tensor or mixed[key].meta["filename_or_obj"] == key


def test_carvemix_looks_at_the_map():
    pytest.importorskip("scipy")
    data = coded()
    data["label"] = torch.zeros_like(data["label"])
    data["label"][:, :, 3:7, 4:9, 2:8] = torch.arange(1.0, 5).reshape(-1, 1, 1, 1, 1)
    out = Mixd(cd.CarveMix(p=1.0, layout="BCDHW")).set_random_state(seed=2)(data)
    for index in range(4):
        pasted = out["image"][index, 0] != index + 1
        assert pasted.any()
        assert pasted.float().mean() < 0.5


def test_what_it_refuses():
    mix = cd.CutMix(layout="BCDHW")
    with pytest.raises(TypeError, match="mix must be a mixing transform"):
        Mixd("CutMix")
    with pytest.raises(ValueError, match="must be of layout 'BCDHW' or 'BCHW'"):
        Mixd(cd.CutMix(layout="BTCHW"))
    with pytest.raises(ValueError, match="must differ"):
        Mixd(mix, map_keys=["image"])
    with pytest.raises(ValueError, match=r"data holds tensors under \['spacing'\]"):
        Mixd(mix)({**coded(), "spacing": torch.ones(4, 3)})
    with pytest.raises(ValueError, match=r"data\['label'\] must hold whole class ids"):
        Mixd(mix)({"image": coded()["image"], "label": coded()["label"] + 0.5})
    with pytest.raises(KeyError):
        Mixd(mix)({"image": coded()["image"]})
    assert set(Mixd(mix, allow_missing_keys=True)({"image": coded()["image"]})) == {"image"}


@pytest.mark.parametrize("method", ["CutMix", "CowMix", "ClassMix"])
def test_a_segmentation_network_trains_through_monais_loader(method: str):
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(8):
        label = torch.zeros(1, 16, 16, 16)
        low = torch.randint(1, 8, (3,), generator=generator).tolist()
        label[(slice(None), *(slice(a, a + 7) for a in low))] = 1
        image = label + 0.3 * torch.randn(1, 16, 16, 16, generator=generator)
        samples.append({"image": image, "label": label})
    pipe = Compose([EnsureTyped(["image", "label"]), RandFlipd(["image", "label"], prob=0.5)])
    loader = DataLoader(Dataset(samples, pipe), batch_size=4, shuffle=True)
    kinds = {"CutMix": cd.CutMix, "CowMix": lambda **c: cd.CowMix(sigma=(2.0, 4.0), **c), "ClassMix": cd.ClassMix}
    mixd = Mixd(kinds[method](p=0.5, layout="BCDHW")).set_random_state(seed=0)
    torch.manual_seed(0)
    net = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(5):
        for batch in loader:
            mixed = mixd(batch)
            loss = torch.nn.functional.cross_entropy(net(mixed["image"]), mixed["label"][:, 0].long())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


# ---------------------------------------------------------------------------------------------------------------------
# what a mix makes floating point

FLAT = (10, 14)
LAYOUTS = {2: "BCHW", 3: "BCDHW"}


def coded_of(ndim: int, count: int = 4) -> dict[str, torch.Tensor]:
    """Like ``coded``, of either number of axes, with ids as integers."""
    size = SIZE if ndim == 3 else FLAT
    place = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij"))
    number = torch.arange(1.0, count + 1).reshape(-1, *(1,) * (ndim + 1)).expand(-1, 1, *size)
    images = torch.cat([number, place.expand(count, *place.shape)], dim=1)
    labels = torch.randint(0, 4, (count, 1, *size), generator=torch.Generator().manual_seed(0))
    return {"image": images, "label": labels}


def first_weights(images: torch.Tensor) -> torch.Tensor:
    """How much of each pixel is the base's, where the partner is the image before (pairing "roll")."""
    count = len(images)
    own = torch.arange(1.0, count + 1).reshape(-1, *(1,) * (images.ndim - 2))
    return (images[:, 0] - own.roll(1, 0)) / (own - own.roll(1, 0))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("p", [1.0, 0.0])
@pytest.mark.parametrize("kind", ["int64", "uint8 array", "float MetaTensor", "no channel"])
def test_probabilities_stay_floating_point(ndim: int, p: float, kind: str):
    data = coded_of(ndim)
    ids = data["label"]
    label = {
        "int64": ids,
        "uint8 array": ids.numpy().astype(np.uint8),
        "float MetaTensor": MetaTensor(ids.float(), meta={"from": "a file"}),
        "no channel": ids[:, 0],
    }[kind]
    mix = cd.MixUp(p=p, num_classes=4, soft_semantic="probabilities", layout=LAYOUTS[ndim])
    out = Mixd(mix).set_random_state(seed=1)({**data, "label": label})
    found = out["label"]
    assert type(found) is type(label)
    assert tuple(found.shape) == (4, 4, *ids.shape[2:])
    if kind == "float MetaTensor":
        assert found.meta["from"] == "a file"
    found = torch.as_tensor(found)
    assert found.dtype == torch.float32
    weight = first_weights(out["image"])
    assert ((weight > 0.01) & (weight < 0.99)).any() == bool(p)
    hot = torch.nn.functional.one_hot(ids[:, 0], 4).movedim(-1, 1)
    expected = weight[:, None] * hot + (1 - weight[:, None]) * hot.roll(1, 0)
    torch.testing.assert_close(torch.Tensor(found), expected, atol=1e-5, rtol=0)
    assert float(found.sum()) == pytest.approx(ids.numel())
    loss = DiceCELoss(to_onehot_y=False, softmax=True)(torch.zeros_like(expected), torch.Tensor(found))
    assert torch.isfinite(loss)


def test_pairs_keep_their_weights_and_the_channel():
    data = coded_of(2)
    label = data["label"].to(torch.uint8)
    label[:, :, :2] = 255  # ignored
    out = Mixd(cd.MixUp(p=1.0)).set_random_state(seed=1)({**data, "label": label})
    pair, weight = out["label"], first_weights(out["image"])[:, None]
    assert torch.equal(pair.a, label)
    assert torch.equal(pair.b, label.roll(1, 0))
    assert pair.a.dtype == pair.b.dtype == torch.uint8
    torch.testing.assert_close(pair.weight[:, :, 2:], weight[:, :, 2:], atol=1e-6, rtol=0)
    assert not pair.weight[:, :, :2].any()


@pytest.mark.parametrize("form", ["pair", "probabilities"])
def test_a_randommix_with_mixup_has_one_form(form: str):
    data = coded_of(2)
    data["label"][:, :, :1] = 255
    mix = cd.RandomMix([cd.MixUp(p=1.0, soft_semantic=form, num_classes=4), cd.CutMix(p=1.0)])
    mixd = Mixd(mix).set_random_state(seed=0)
    hard = 0
    for _ in range(8):
        out = mixd(data)
        weight = first_weights(out["image"])
        hard += bool(((weight == 0) | (weight == 1)).all())
        base, partner = data["label"][:, 0], data["label"][:, 0].roll(1, 0)
        known = base != 255
        one_hot = [torch.nn.functional.one_hot(torch.where(known, ids, 0), 4) for ids in (base, partner)]
        wanted = (weight[..., None] * one_hot[0] + (1 - weight[..., None]) * one_hot[1]) * known[..., None]
        if form == "pair":
            a, b, share = (part[:, 0] for part in out["label"])
            hots = [torch.nn.functional.one_hot(torch.where(known, ids, 0).long(), 4) for ids in (a, b)]
            found = (share[..., None] * hots[0] + (1 - share[..., None]) * hots[1]) * known[..., None]
            assert torch.equal(a == 255, ~known)
        else:
            found = out["label"].movedim(1, -1)
        torch.testing.assert_close(found.float(), wanted.float(), atol=1e-5, rtol=0)
    assert 0 < hard < 8


def test_labels_of_a_randommix_are_probabilities():
    mix = cd.RandomMix([cd.MixUp(p=1.0, num_classes=4), cd.CutMix(p=1.0, num_classes=4)])
    mixd = Mixd(mix, map_keys=(), label_keys="class").set_random_state(seed=0)
    for _ in range(4):
        out = mixd({"image": coded_of(2)["image"], "class": torch.arange(4)})
        share = first_weights(out["image"]).flatten(1).mean(dim=1)
        assert out["class"].dtype == torch.float32
        torch.testing.assert_close(out["class"].diagonal(), share, atol=1e-5, rtol=0)
        torch.testing.assert_close(out["class"].sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("form", ["ints", "scalars", "arrays", "rows"])
def test_labels_of_samples(form: str):
    rows = torch.eye(4)[torch.tensor([2, 0, 3, 1])]
    made = {
        "ints": [2, 0, 3, 1],
        "scalars": list(torch.tensor([2, 0, 3, 1])),
        "arrays": list(np.array([2, 0, 3, 1])),
        "rows": list(rows),
    }[form]
    samples = [{"image": image, "class": label} for image, label in zip(coded_of(2)["image"], made, strict=True)]
    mixd = Mixd(cd.CutMix(p=1.0, num_classes=4), map_keys=(), label_keys="class").set_random_state(seed=0)
    out = mixd(samples)
    share = first_weights(torch.stack([sample["image"] for sample in out])).flatten(1).mean(dim=1, keepdim=True)
    assert ((share > 0) & (share < 1)).any()
    found = torch.stack([sample["class"] for sample in out])
    torch.testing.assert_close(found, share * rows + (1 - share) * rows.roll(1, 0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["CutMix", "MixUp", "ClassMix"])
@pytest.mark.parametrize("closed", [False, True])
def test_the_batch_that_is_given_stays(method: str, closed: bool):
    data = {**coded_of(2), "t2": coded_of(2)["image"].half()}
    data["regions"] = torch.cat([data["label"] == 1, data["label"] > 1], dim=1)
    data["label"] = data["label"].float()
    before = copy.deepcopy(data)
    mixd = Mixd(getattr(cd, method)(p=1.0), ["image", "t2"], ["label", "regions"]).set_random_state(seed=0)
    mixd.close(closed)
    out = mixd(data)
    assert torch.equal(out["image"], before["image"]) == closed
    assert [type(value) for value in out.values()] == [
        cd.functional.SemanticPair if method == "MixUp" and key == "label" else torch.Tensor for key in data
    ]
    out["image"].zero_()
    out["t2"].zero_()
    out["regions"].zero_()
    (out["label"].a if method == "MixUp" else out["label"]).zero_()
    assert all(torch.equal(data[key], before[key]) for key in data)


def test_channels_of_classes_move_or_blend():
    data = coded_of(3)
    regions = torch.cat([data["label"] >= k for k in (1, 2, 3)], dim=1)  # bool, overlapping, as those of BraTS
    data["label"] = regions
    out = Mixd(cd.CutMix(p=1.0, layout="BCDHW")).set_random_state(seed=1)(data)
    foreign = first_weights(out["image"])[:, None] == 0
    assert out["label"].dtype == torch.bool
    assert foreign.any()
    assert torch.equal(out["label"], torch.where(foreign, regions.roll(1, 0), regions))

    mix = cd.RandomMix([cd.MixUp(p=1.0, layout="BCDHW"), cd.CutMix(p=1.0, layout="BCDHW")])
    mixd = Mixd(mix).set_random_state(seed=1)
    for _ in range(6):
        out = mixd(data)
        weight = first_weights(out["image"])[:, None]
        wanted = weight * regions + (1 - weight) * regions.roll(1, 0).float()
        assert out["label"].dtype == torch.float32
        torch.testing.assert_close(out["label"], wanted, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"data\['label'\] has channels, which must hold indicators"):
        Mixd(cd.MixUp(p=1.0, layout="BCDHW"))({**data, "label": regions * 2})


def test_nobodys_pixels_have_no_class():
    data = coded_of(2)
    data["label"] = torch.ones(4, 3, *FLAT, dtype=torch.uint8)
    out = Mixd(cd.Mosaic(p=1.0, scale=(0.3, 0.4))).set_random_state(seed=1)(data)
    nobody = (out["image"] == 0).all(dim=1, keepdim=True)
    assert nobody.any()
    assert torch.equal(out["label"], (~nobody).expand(-1, 3, -1, -1).to(torch.uint8))


# ---------------------------------------------------------------------------------------------------------------------
# several images


@pytest.mark.parametrize("method", ["CutMix", "CowMix", "MixUp"])
@pytest.mark.parametrize("form", ["batch", "samples"])
def test_modalities_follow_one_plan(method: str, form: str):
    data = coded_of(3)
    number = data["image"][:, :1]
    data["t2"] = MetaTensor((number * 10).to(torch.uint8), affine=torch.diag(torch.tensor([3.0, 1, 1, 1])))
    data["dose"] = np.repeat((number * 8).numpy().astype(np.float16), 2, axis=1)
    kinds = {"CowMix": partial(cd.CowMix, sigma=(2.0, 3.0))}
    mix = kinds.get(method, getattr(cd, method))(p=1.0, layout="BCDHW")
    mixd = Mixd(mix, keys=["image", "t2", "dose"], map_keys=()).set_random_state(seed=2)
    del data["label"]
    if form == "batch":
        out = mixd(data)
    else:
        samples = mixd([{key: value[index] for key, value in data.items()} for index in range(4)])
        assert all(isinstance(sample["dose"], np.ndarray) for sample in samples)
        out = {key: [sample[key] for sample in samples] for key in data}
        out = {key: np.stack(value) if key == "dose" else torch.stack(value) for key, value in out.items()}
    assert isinstance(out["t2"], MetaTensor)
    assert out["t2"].dtype == torch.uint8
    assert isinstance(out["dose"], np.ndarray)
    assert out["dose"].dtype == np.float16
    assert out["dose"].shape == (4, 2, *SIZE)
    mixed = out["image"][:, 0]
    assert (mixed != number[:, 0]).any()
    close = {"atol": 0.51, "rtol": 0} if method == "MixUp" else {"atol": 0, "rtol": 0}
    torch.testing.assert_close(torch.Tensor(out["t2"].as_tensor().float())[:, 0], mixed * 10, **close)
    for channel in range(2):
        torch.testing.assert_close(torch.from_numpy(out["dose"]).float()[:, channel], mixed * 8, **close)


def test_modalities_with_a_bank():
    data = coded_of(3)
    data["t2"] = data["image"][:, :1] * 10
    bank = cd.CutMix(p=1.0, pairing=cd.SampleBank(max_bytes=2**24), layout="BCDHW")
    mixd = Mixd(bank, keys=["image", "t2"]).set_random_state(seed=2)
    foreign = 0
    for index in range(4):  # batches of one, as volumes need them
        out = mixd({key: value[index : index + 1] for key, value in data.items()})
        assert torch.equal(out["t2"], out["image"][:, :1] * 10)
        source = out["image"][:, :1].long() - 1
        assert torch.equal(out["label"], data["label"].movedim(0, 1).gather(1, source))
        foreign += int((source != index).any())
    assert foreign == 3
    with pytest.raises(ValueError, match=r"keys \['image', 't2'\] must be of one dtype"):
        mixd({**data, "t2": data["t2"].half()})


def test_a_key_in_the_wrong_place_is_told_the_right_one():
    images = torch.rand(2, 1, 20, 30)
    with pytest.raises(ValueError, match=r"whole images go into label_keys='label', with map_keys=\(\)"):
        Mixd(cd.CutMix(p=1.0, num_classes=3))({"image": images, "label": torch.tensor([1, 2])})
    with pytest.raises(TypeError, match=r"data\['label'\] must hold numbers, got 'benign': encode words as class ids"):
        Mixd(cd.CutMix(p=1.0), "image", label_keys="label")({"image": images, "label": ["benign", "malign"]})
    with pytest.raises(ValueError, match=r"volumes has layout='BCDHW', one of pictures 'BCHW'"):
        Mixd(cd.CutMix(p=1.0, layout="BCDHW"))({"image": images, "label": images.round()})


def test_images_of_different_sizes_are_refused():
    mixd = Mixd(cd.CutMix(p=1.0), keys=["rgb", "thermal"], map_keys=())
    rgb = torch.rand(2, 3, 8, 12)
    with pytest.raises(ValueError, match=r"data\['thermal'\] must have as many images as data\['rgb'\].*\(2, 8, 12\)"):
        mixd({"rgb": rgb, "thermal": torch.rand(2, 1, 4, 6)})
    with pytest.raises(ValueError, match="must have as many images"):
        mixd({"rgb": rgb, "thermal": torch.rand(1, 1, 8, 12)})
    with pytest.raises(ValueError, match=r"data\['rgb'\] must have axes BCHW .* layout='BCDHW'"):
        mixd({"rgb": torch.rand(2, 3, 8, 12, 4), "thermal": torch.rand(2, 1, 8, 12, 4)})
    with pytest.raises(ValueError, match="not a single sample"):
        mixd({"rgb": rgb[0], "thermal": rgb[0]})
    with pytest.raises(KeyError):
        Mixd(cd.CutMix(), keys=["rgb"], map_keys=(), allow_missing_keys=True)({"path": ["a"]})


# ---------------------------------------------------------------------------------------------------------------------
# boxes


def painted(ndim: int, count: int = 5) -> list[dict[str, torch.Tensor]]:
    """Samples of several sizes whose second channel holds the number of the box that a voxel lies in, boxes apart."""
    samples = []
    for index in range(count):
        size = [length + 2 * (index % 2) for length in (18, 26, 10)[:ndim]]
        low = torch.tensor([[2, 3, 1], [10, 4, 2], [4, 15, 3]])[: (index + 1) % 4, :ndim] + index % 2
        high = low + torch.tensor([5, 8, 4])[:ndim]
        image = torch.zeros(2, *size)
        image[0] = index + 1
        for number, (a, b) in enumerate(zip(low.tolist(), high.tolist())):
            image[(1, *map(slice, a, b))] = 10 * index + number + 1
        boxes = torch.cat([low, high], dim=1).float()
        samples.append({"image": image, "box": boxes, "label": 10 * index + 1 + torch.arange(len(boxes))})
    return samples


MODES = {2: [None, "xyxy", "xxyy", "xywh", "ccwh"], 3: [None, "xyxyzz", "xxyyzz", "xyzwhd", "cccwhd"]}


@pytest.mark.parametrize(("ndim", "mode"), [(ndim, mode) for ndim, modes in MODES.items() for mode in modes])
def test_boxes_have_monais_axes_and_mode(ndim: int, mode: str | None):
    samples = painted(ndim)
    given = [{**sample, "box": convert_box_mode(sample["box"], dst_mode=mode)} for sample in samples]
    before = copy.deepcopy(given)
    mix = cd.CutMix(p=1.0, layout=LAYOUTS[ndim], min_visibility=0.01)
    mixd = Mixd(mix, box_key="box", box_mode=mode, instance_keys="label").set_random_state(seed=4)
    seen = cut = 0
    for _ in range(4):
        out = mixd(given)
        for index, sample in enumerate(out):
            assert sample["box"].shape == (len(sample["label"]), 2 * ndim)
            corners = convert_box_mode(sample["box"], src_mode=mode) if len(sample["box"]) else sample["box"]
            shown = sample["image"][1]
            assert set(sample["label"].tolist()) == set(shown.unique().long().tolist()) - {0}
            for box, label, visibility in zip(corners, sample["label"], sample["box_visibility"]):
                voxels = (shown == label).nonzero()
                whole = samples[int(label) // 10]["image"][1] == label
                assert float(visibility) == pytest.approx(len(voxels) / int(whole.sum()))
                wanted = torch.cat([voxels.min(dim=0).values, voxels.max(dim=0).values + 1])
                torch.testing.assert_close(box, wanted.float())
                seen += int(label) // 10 != index
                cut += bool(visibility < 1)
    assert seen > 3
    assert cut > 3
    for sample, kept in zip(given, before):
        assert all(torch.equal(sample[key], kept[key]) for key in sample)


def test_forms_of_boxes():
    samples = painted(3)
    arrays = [{**sample, "box": sample["box"].numpy().astype(np.int64)} for sample in samples]
    arrays[3]["box"] = np.zeros(0)  # as MONAI's box transforms may leave it
    assert len(samples[3]["label"]) == 0
    make = partial(Mixd, cd.CutMix(p=1.0, layout="BCDHW"), box_key="box", instance_keys=["label"])
    flat = make().set_random_state(seed=1)(samples)
    first, rest = make().set_random_state(seed=1)([samples[:2], samples[2:]])  # of crops, a list per file
    assert len(first) == 2
    for other in (make().set_random_state(seed=1)(no_collation(arrays)), [*first, *rest]):
        for a, b in zip(flat, other, strict=True):
            assert isinstance(b["box"], (np.ndarray, torch.Tensor))
            assert torch.equal(a["box"], torch.as_tensor(b["box"]))
            assert torch.equal(a["label"], b["label"])
    lists = [{**sample, "label": sample["label"].tolist()} for sample in samples]
    for a, b in zip(flat, make().set_random_state(seed=1)(lists), strict=True):
        assert torch.equal(a["box"], b["box"])
        assert torch.equal(a["label"], b["label"])
    equal = [{**sample, "image": sample["image"][:, :18, :26, :10]} for sample in samples]
    batch = {key: [sample[key] for sample in equal] for key in ("box", "label")}
    out = make().set_random_state(seed=1)({"image": torch.stack([sample["image"] for sample in equal]), **batch})
    same = make().set_random_state(seed=1)(equal)
    assert (out["image"][:, 0] != torch.arange(1.0, 6).reshape(5, 1, 1, 1)).any()
    for index, sample in enumerate(same):
        assert torch.equal(out["image"][index], sample["image"])
        assert torch.equal(out["box"][index], sample["box"])
    blend = cd.MixUp(p=1.0, lam=0.75, layout="BCDHW")
    soft = Mixd(blend, box_key="box", instance_keys=["label"])(equal)
    for index, sample in enumerate(soft):
        own = sample["label"] // 10 == index
        assert torch.equal(sample["box_weight"], torch.where(own, 0.75, 0.25))
        assert len(own) == len(equal[index]["box"]) + len(equal[index - 1]["box"])
    with pytest.raises(ValueError, match=r"data\['box'\] must be a list .*no_collation"):
        make()({"image": torch.rand(2, 1, 8, 8, 8), "box": torch.rand(2, 3, 6), "label": torch.ones(2, 3)})
    with pytest.raises(ValueError, match=r"must hold boxes \(N, 6\), got \(1, 4\)"):
        make()({"image": torch.rand(1, 1, 8, 8, 8), "box": [torch.rand(1, 4)], "label": [torch.ones(1)]})
    with pytest.raises(ValueError, match="instance_keys need box_key"):
        Mixd(cd.CutMix(), instance_keys="label")
    with pytest.raises(ValueError, match="on_filtered='drop'"):
        Mixd(cd.CutMix(on_filtered="ignore"), box_key="box")
    with pytest.raises(KeyError, match=r"data\[2\]"):
        make(allow_missing_keys=True)([*samples[:2], {"image": samples[2]["image"]}])


def test_boxes_that_nothing_touched_are_the_same_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    center, extent = 6 + 6 * torch.rand(20, 3, generator=generator), 1 + 3 * torch.rand(20, 3, generator=generator)
    boxes = torch.cat([center, extent], dim=1)
    there = convert_box_mode(boxes, src_mode="cccwhd")
    assert not torch.equal(convert_box_mode(there, dst_mode="cccwhd"), boxes)  # conversions round
    samples = [{"image": torch.zeros(1, 20, 22, 18), "box": boxes.clone()} for _ in range(2)]
    for p in (0.0, 1.0):
        out = Mixd(cd.CutMix(p=p, layout="BCDHW"), box_key="box", box_mode="cccwhd").set_random_state(seed=0)(samples)
        for sample in out:
            whole = sample["box"][sample["box_visibility"] == 1]
            assert len(whole) == 20 if p == 0 else len(whole) > 0
            assert all((row == boxes).all(dim=1).any() for row in whole)


# ---------------------------------------------------------------------------------------------------------------------
# MONAI's own conventions


def test_monais_transforms_are_swapped_key_for_key():
    data = coded_of(2)
    for keys, labels in [("image", "label"), (["image"], ["label"]), (("image",), ("label",))]:
        theirs = CutMixd(keys, 4, labels)(data)
        ours = Mixd(cd.CutMix(p=1.0), keys, labels).set_random_state(seed=0)(data)
        foreign = first_weights(ours["image"])[:, None] == 0
        assert foreign.any()
        assert torch.equal(ours["label"], torch.where(foreign, data["label"].roll(1, 0), data["label"]))
        assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    hot = torch.nn.functional.one_hot(data["label"][:, 0], 4).movedim(-1, 1).float()
    theirs = MixUpd(["image", "label"], 4)({**data, "label": hot})
    ours = Mixd(cd.MixUp(p=1.0), ["image", "label"]).set_random_state(seed=0)({**data, "label": hot})
    weight = first_weights(ours["image"])[:, None]
    torch.testing.assert_close(ours["label"], weight * hot + (1 - weight) * hot.roll(1, 0), atol=1e-5, rtol=0)
    assert ours["label"].shape == theirs["label"].shape
    assert Mixd(cd.CutMix(num_classes=4), label_keys="label").map_keys == ()
    with pytest.raises(TypeError, match="map_keys must be a key or a sequence of keys"):
        Mixd(cd.CutMix(), map_keys=[1])


def test_the_random_state_of_a_compose_repeats_the_mix():
    pipe = Compose([Mixd(cd.CutMix(p=1.0))])
    data = coded_of(2)

    def run(**state: object) -> list[torch.Tensor]:
        pipe.set_random_state(**state)
        return [pipe(data)["image"] for _ in range(3)]

    first = run(seed=11)
    pickled = pickle.loads(pickle.dumps(pipe.set_random_state(seed=11)))
    assert not torch.equal(first[0], first[1])
    for again in (
        run(seed=11),
        run(state=np.random.RandomState(11)),
        [pickled(data)["image"] for _ in range(3)],
        [each(data)["image"] for each in [copy.deepcopy(pipe.set_random_state(seed=11))] for _ in range(3)],
    ):
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_what_monais_own_transforms_add_stays_the_bases():
    data = coded_of(2)
    added = {
        "image_meta_dict": {"affine": torch.eye(4).expand(4, 4, 4)},
        "image_transforms": [{"extra_info": np.ones(3)}],
        "foreground_end_coord": torch.ones(4, 2),
        "age": torch.arange(4),
    }
    out = Mixd(cd.CutMix(p=1.0), keep_keys="age")({**data, **added})
    assert all(out[key] is value for key, value in added.items())
    with pytest.raises(ValueError, match=r"data holds tensors under \['age'\]"):
        Mixd(cd.CutMix(p=1.0))({**data, **added})


def test_the_docstrings_example():
    assert doctest.testmod(cutmix_dense.monai) == (0, 6)


def test_a_mix_is_not_inverted_in_silence():
    pipe = Compose([Mixd(cd.CutMix(p=1.0))])
    with pytest.raises((NotImplementedError, RuntimeError)) as caught:
        pipe.inverse(pipe(coded_of(2)))
    told = caught.value if isinstance(caught.value, NotImplementedError) else caught.value.__cause__
    assert "Mixd can't be inverted" in str(told)


def volumes(count: int = 8) -> list[dict[str, MetaTensor]]:
    """Samples of a coded volume and its map, with metadata, in a border of zeros."""
    samples = []
    for index in range(count):
        size = (12, 16, 10)
        image, label = torch.zeros(1, *size), torch.zeros(1, *size)
        image[:, 2:-2, 2:-2, 2:-2] = index + 1
        label[:, 2:-2, 2:-2, 2:-2] = index + 1
        meta = {"filename_or_obj": f"{index}.nii"}
        samples.append({"image": MetaTensor(image, meta=dict(meta)), "label": MetaTensor(label, meta=dict(meta))})
    return samples


def test_a_whole_pipeline_keeps_its_metadata():
    pipe = Compose(
        [CropForegroundd(["image", "label"], "image"), RandFlipd(["image", "label"], prob=0.5, spatial_axis=0)]
    )
    loader = DataLoader(Dataset(volumes(), pipe), batch_size=4, num_workers=0)
    mixd = Mixd(cd.CutMix(p=1.0, layout="BCDHW")).set_random_state(seed=0)
    for number, batch in enumerate(loader):
        out = mixd(batch)
        assert "foreground_start_coord" in out
        assert torch.equal(out["image"].as_tensor(), out["label"].as_tensor())
        assert (out["image"].as_tensor() != batch["image"].as_tensor()).any()
        for index, (mixed, plain) in enumerate(zip(decollate_batch(out), decollate_batch(batch), strict=True)):
            assert mixed["image"].meta["filename_or_obj"] == f"{4 * number + index}.nii"
            operations = [
                [operation["class"] for operation in each["image"].applied_operations] for each in (mixed, plain)
            ]
            assert operations[0] == operations[1] == ["CropForeground", "RandFlipd"]


class Collate:
    """A collate_fn that mixes, as a class so that spawned workers can have it."""

    def __init__(self, mixd: Mixd) -> None:
        self.mixd = mixd

    def __call__(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return self.mixd(list_data_collate(samples))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_closing_reaches_the_workers(context: str):
    mix = cd.RandomMix([cd.CutMix(p=1.0, layout="BCDHW")], total=3, close_last=1)
    mixd = Mixd(mix).set_random_state(seed=0)
    loader = DataLoader(
        Dataset(volumes()),
        batch_size=4,
        num_workers=2,
        collate_fn=Collate(mixd),
        persistent_workers=True,
        multiprocessing_context=context,
    )
    plain = torch.cat([batch["image"] for batch in DataLoader(Dataset(volumes()), batch_size=4)]).as_tensor()
    epochs = []
    for epoch in range(3):
        mixd.set_progress(epoch)
        assert mixd.closed == (epoch == 2)
        batches = list(loader)
        mixed = torch.cat([batch["image"] for batch in batches]).as_tensor()
        assert torch.equal(mixed, torch.cat([batch["label"] for batch in batches]).as_tensor())
        epochs.append(mixed - plain)
    assert epochs[0].any()
    assert not torch.equal(epochs[0] != 0, epochs[1] != 0)
    halves = (epochs[0] != 0).chunk(2)  # of one worker each, which have equal copies of the random state
    assert not torch.equal(*halves)
    assert not epochs[2].any()
    mix.close(False)  # the original reaches the copy
    assert not mixd.closed
    with pytest.raises(TypeError, match="set_progress needs a RandomMix"):
        Mixd(cd.CutMix()).set_progress(0)
