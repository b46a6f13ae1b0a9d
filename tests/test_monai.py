"""The MONAI adapter: its conventions of randomness and metadata, and a training through MONAI's loader and network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cutmix_dense as cd

monai = pytest.importorskip("monai", reason="monai is not installed (extra: monai)")

from monai.data import DataLoader, Dataset, MetaTensor  # noqa: E402
from monai.networks.nets import UNet  # noqa: E402
from monai.transforms import Compose, EnsureTyped, RandFlipd  # noqa: E402

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
