"""torchvision's v2.CutMix and v2.MixUp beside ours: same λ and same box give the same images and the same labels."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

import cutmix_dense as cd
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import BetaBox

HEIGHT, WIDTH, CLASSES = 23, 37, 5
DRAW = "make_params" if hasattr(v2.CutMix, "make_params") else "_get_params"  # renamed in torchvision 0.21


def draw(peer, height=HEIGHT, width=WIDTH):
    return getattr(peer, DRAW)([torch.zeros(1, 3, height, width)])


def told(kind, params, **arguments):
    """The peer with its random draw replaced by ``params``."""
    return type(kind.__name__, (kind,), {DRAW: lambda self, flat_inputs: dict(params)})(**arguments)


def batch_of(count, seed=0, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        images = torch.rand((count, 3, HEIGHT, WIDTH), generator=random, dtype=dtype)
    else:
        images = torch.randint(0, 256, (count, 3, HEIGHT, WIDTH), generator=random).to(dtype)
    return images, torch.randint(0, CLASSES, (count,), generator=random)


def plan_of(box, count):
    """Our plan for the peer's box (x1, y1, x2, y2), which it takes for the whole batch, partner = the image before."""
    x1, y1, x2, y2 = box
    own = torch.arange(count)
    return MixPlan.from_rectangles(
        torch.stack([own, own.roll(1)], dim=1),
        torch.tensor([[[y1, x1, y2, x2]]]).expand(count, -1, -1),
        torch.tensor([[HEIGHT, WIDTH]] * count),
    )


class Given:
    """In place of the peer's Beta distribution."""

    def __init__(self, lam):
        self.lam = lam

    def sample(self, shape):
        return torch.tensor([self.lam], dtype=torch.float64)


@pytest.mark.parametrize(("height", "width"), [(23, 37), (37, 23), (1, 6), (64, 48)])
def test_equal_lambda_and_centre_give_the_equal_box(height, width, monkeypatch):
    peer = v2.CutMix(num_classes=CLASSES)
    cases, theirs = [], []
    random = torch.Generator().manual_seed(1)
    lams = [0.0, 1.0, 0.25, 0.75, *torch.rand(8, generator=random, dtype=torch.float64).tolist()]
    rows = sorted({0, 1 % height, height // 2, height - 1})
    columns = sorted({0, 1, width // 3, width - 2, width - 1})
    for lam in lams:
        peer._dist = Given(lam)
        for row in rows:
            for column in columns:
                centre = {height: row, width: column}
                with monkeypatch.context() as patch:
                    patch.setattr(torch, "randint", lambda high, size, centre=centre: torch.tensor([centre[high]]))
                    theirs.append(draw(peer, height, width)["box"])
                cases.append([lam, (row + 0.5) / height, (column + 0.5) / width, 0.0])
    sizes = torch.tensor([[height, width]] * len(cases))
    ours = BetaBox().place(torch.tensor(cases, dtype=torch.float64), sizes)[:, 0]
    theirs = torch.tensor(theirs)
    clipped = (theirs[:, :2] == 0).any(dim=1) | (theirs[:, 2] == width) | (theirs[:, 3] == height)
    assert clipped.any()
    assert (~clipped).any() or height == 1
    theirs = theirs[:, [1, 0, 3, 2]]
    low, high = theirs[:, :2], theirs[:, 2:]
    # the stated deviation: of an axis of 1 to 3 pixels the centre's pixel stays, unless nothing was cut
    empty = (low == high) & (sizes < 4) & (torch.tensor(cases)[:, :1] < 1)
    assert torch.equal(ours, torch.cat([low, high + empty], dim=1))
    assert empty.any() or height > 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("count", [2, 5])
def test_same_box_same_images_and_labels(dtype, count):
    for seed in range(10):
        torch.manual_seed(seed)
        params = draw(v2.CutMix(num_classes=CLASSES))
        images, labels = batch_of(count, seed, dtype)
        their_images, their_labels = told(v2.CutMix, params, num_classes=CLASSES)(images, labels)
        plan = plan_of(params["box"], count)
        mix = cd.CutMix(p=1.0, num_classes=CLASSES)
        our_images, our_labels = mix.apply_plan(plan, images, labels)
        assert torch.equal(our_images, their_images)
        assert our_labels.dtype == their_labels.dtype
        torch.testing.assert_close(our_labels, their_labels, rtol=0, atol=1e-6)


def test_a_whole_call_equals_the_peer_given_its_box():
    """The other way round: our call with its defaults (roll) and one region for the batch, the peer told our box."""
    images, labels = batch_of(6)
    mix = cd.CutMix(p=1.0, num_classes=CLASSES, same_region=True)
    for seed in range(10):
        plan = mix.make_plan(images, labels, generator=torch.Generator().manual_seed(seed))
        our_images, our_labels = mix(images, labels, generator=torch.Generator().manual_seed(seed))
        pasted = (plan.owner_map()[0] == 1).nonzero()
        y1, x1 = pasted.amin(dim=0).tolist() if len(pasted) else (0, 0)
        y2, x2 = (pasted.amax(dim=0) + 1).tolist() if len(pasted) else (0, 0)
        lam = 1.0 - (x2 - x1) * (y2 - y1) / (WIDTH * HEIGHT)
        peer = told(v2.CutMix, {"box": (x1, y1, x2, y2), "lam_adjusted": lam}, num_classes=CLASSES)
        their_images, their_labels = peer(images, labels)
        assert torch.equal(our_images, their_images)
        torch.testing.assert_close(our_labels, their_labels, rtol=0, atol=1e-6)


def test_probabilities_as_labels():
    images, _ = batch_of(4)
    soft = torch.rand(4, CLASSES, generator=torch.Generator().manual_seed(3)).softmax(dim=1)
    params = {"box": (3, 5, 20, 16), "lam_adjusted": 1 - 17 * 11 / (WIDTH * HEIGHT)}
    try:
        _, theirs = told(v2.CutMix, params, num_classes=CLASSES)(images, soft)
    except ValueError:
        pytest.skip("this torchvision takes integer labels only")
    _, ours = cd.CutMix(p=1.0).apply_plan(plan_of(params["box"], 4), images, soft)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_labels_count_by_the_clipped_box_not_by_the_drawn_lambda(monkeypatch):
    """λ = 0.19 asks for 81 % of the area; round a corner a quarter of that is left, in the peer as in ours."""
    peer = v2.CutMix(num_classes=2)
    peer._dist = Given(0.19)
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor([0]))
    params = draw(peer)
    plan = plan_of(params["box"], 2)
    assert params["lam_adjusted"] == pytest.approx(float(plan.share()[0, 0]), abs=1e-12)
    assert 1 - params["lam_adjusted"] < 0.25 * 0.81
    labels = cd.functional.mix_labels(torch.tensor([0, 1]), plan, 2)
    torch.testing.assert_close(labels[0], torch.tensor([params["lam_adjusted"], 1 - params["lam_adjusted"]]))


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.5, 0.73, 1.0])
def test_mixup_of_the_same_lambda(lam):
    images, labels = batch_of(5)
    their_images, their_labels = told(v2.MixUp, {"lam": lam}, num_classes=CLASSES)(images, labels)
    our_images, our_labels = cd.MixUp(lam=lam, p=1.0, num_classes=CLASSES)(images, labels)
    torch.testing.assert_close(our_images, their_images, rtol=0, atol=1e-6)
    torch.testing.assert_close(our_labels, their_labels, rtol=0, atol=1e-6)


def test_mixup_of_bytes_is_rounded_where_the_peer_fails():
    """v2.MixUp multiplies bytes in place by a float, which torch refuses; the rounded mean is what is meant."""
    images, labels = batch_of(4, dtype=torch.uint8)
    with pytest.raises(RuntimeError):
        told(v2.MixUp, {"lam": 0.3}, num_classes=CLASSES)(images, labels)
    theirs, _ = told(v2.MixUp, {"lam": 0.3}, num_classes=CLASSES)(images.double(), labels)
    ours, _ = cd.MixUp(lam=0.3, p=1.0, num_classes=CLASSES)(images, labels)
    assert ours.dtype == torch.uint8
    assert (ours.double() - theirs).abs().max() <= 0.5 + 1e-3


def expected_area(height, width):
    """Mean share of the clipped box for λ ~ U(0, 1), by going through every centre and a fine grid of λ."""
    lam = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    side = 0.5 * (1 - lam).sqrt()
    means = []
    for size in (height, width):
        half = (side * size).long()[:, None]
        centre = torch.arange(size)[None]
        length = (centre + half).clamp(max=size) - (centre - half).clamp(min=0)
        means.append(length.double().mean(dim=1) / size)
    return float((means[0] * means[1]).mean())


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_the_regions_have_the_peers_statistics(alpha):
    count, height, width = 2500, 32, 48
    torch.manual_seed(5)
    peer = v2.CutMix(alpha=alpha, num_classes=CLASSES)
    theirs = torch.tensor([draw(peer, height, width)["box"] for _ in range(count)])[:, [1, 0, 3, 2]]
    sampler, random = BetaBox(alpha), torch.Generator().manual_seed(6)
    ours = sampler.place(sampler.draw(5 * count, random), torch.tensor([[height, width]] * (5 * count)))[:, 0]

    def share(boxes):
        return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).double() / (height * width)

    def covers(boxes, row, column):
        return ((boxes[:, :2] <= torch.tensor([row, column])) & (torch.tensor([row, column]) < boxes[:, 2:])).all(1)

    pairs = [(share(theirs), share(ours)), (share(theirs) ** 2, share(ours) ** 2)]
    for row, column in [(0, 0), (0, width - 1), (height - 1, 0), (height // 2, width // 2), (3, width // 2)]:
        pairs.append((covers(theirs, row, column).double(), covers(ours, row, column).double()))
    for their, our in pairs:
        error = math.sqrt(their.var() / len(their) + our.var() / len(our))
        assert abs(their.mean() - our.mean()) < 4 * error
    if alpha == 1.0:
        assert abs(share(ours).mean() - expected_area(height, width)) < 4 * share(ours).std() / math.sqrt(5 * count)
        assert abs(share(theirs).mean() - expected_area(height, width)) < 4 * share(theirs).std() / math.sqrt(count)


def test_a_map_in_a_plain_tensor_is_mixed_here_and_not_there():
    """The peer takes a plain tensor behind the image for something that isn't its business: the map of another image
    stands under the pasted region. What lies on a pixel must come from where the pixel came from.
    """
    images, labels = batch_of(4)
    maps = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, HEIGHT, WIDTH).clone()
    params = {"box": (3, 5, 20, 16), "lam_adjusted": 1 - 17 * 11 / (WIDTH * HEIGHT)}
    theirs = told(v2.CutMix, params, num_classes=CLASSES)({"image": images, "labels": labels, "map": maps})
    assert not torch.equal(theirs["image"], images)
    assert torch.equal(theirs["map"], maps)

    mix = cd.CutMix(p=1.0, num_classes=CLASSES)
    our_images, ours = mix.apply_plan(plan_of(params["box"], 4), images, {"labels": labels, "map": maps})
    assert torch.equal(our_images, theirs["image"])
    torch.testing.assert_close(ours["labels"], theirs["labels"], rtol=0, atol=1e-6)
    expected = maps.clone()
    expected[:, 5:16, 3:20] = maps.roll(1, 0)[:, 5:16, 3:20]
    assert torch.equal(ours["map"], expected)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_dense_targets_are_refused_there_and_mixed_here(kind):
    images, labels = batch_of(2)
    values = {
        "boxes": tv_tensors.BoundingBoxes([[2.0, 3, 30, 20]], format="XYXY", canvas_size=(HEIGHT, WIDTH)),
        "masks": tv_tensors.Mask(torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)),
    }
    with pytest.raises(ValueError, match="does not support"):
        v2.CutMix(num_classes=CLASSES)({"image": images, "labels": labels, kind: values[kind]})
    target = {kind: values[kind], "labels": torch.tensor([1])}
    _, mixed = cd.CutMix(p=1.0).apply_plan(plan_of((0, 0, 10, HEIGHT), 2), images, [target, target])
    assert all(len(one[kind]) == 2 and type(one[kind]) is type(values[kind]) for one in mixed)
