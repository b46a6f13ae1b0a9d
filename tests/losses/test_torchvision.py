"""torchvision's losses with weights: equal to the stock ones at weight 1, and each term weighed by its instance."""

from __future__ import annotations

import copy
import pickle
from unittest.mock import patch

import pytest
import torch
from losses.detectors import KINDS, LEFT, LOW, ONE_STAGE, RIGHT, SIZE, TWO_STAGE, batch, detector, losses, target
from torchvision.models.detection import FCOS, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

import cutmix_dense as cd
from cutmix_dense.losses import Weighing, instance_weights, weigh_losses

BOX_TERMS = {
    "fcos": ("bbox_regression", "bbox_ctrness"),
    "retinanet": ("bbox_regression",),
    "fasterrcnn": ("loss_box_reg", "loss_rpn_box_reg"),
    "maskrcnn": ("loss_box_reg", "loss_rpn_box_reg", "loss_mask"),
    "keypointrcnn": ("loss_box_reg", "loss_rpn_box_reg", "loss_keypoint"),
}
"""The terms that background has no part in."""

WHOLE = {
    "rpn_batch_size_per_image": 4000,
    "box_batch_size_per_image": 400,
    "rpn_post_nms_top_n_train": 60,
    "box_positive_fraction": 0.5,
}
"""Settings with which the R-CNNs sample all anchors and proposals, so that nothing is drawn."""


def same(one, other, **tolerance):
    assert sorted(one) == sorted(other)
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def weighed(targets, *weights, key="weight"):
    return [{**one, key: torch.tensor(values)} for one, values in zip(targets, weights)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", ["count", "weight"])
@pytest.mark.parametrize("mixed", ["united", "interpolated"])
def test_weights_of_one_give_the_stock_losses_and_gradients(kind, normalize, mixed):
    images, targets = batch()
    targets = [{**one, "origin": torch.zeros((len(one["boxes"]), 2), dtype=torch.long)} for one in targets]
    stock = detector(kind)
    model = weigh_losses(copy.deepcopy(stock), "weight", normalize=normalize, mixed=mixed)
    expected, found = losses(stock, images, targets), losses(model, images, targets)
    same(found, expected, rtol=1e-6, atol=1e-6)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    for (name, ours), theirs in zip(model.named_parameters(), stock.parameters()):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=lambda t, name=name: f"{name}: {t}"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_objects_give_the_stock_losses(kind):
    images, targets = batch()
    targets[1] = target([], [])
    stock = detector(kind)
    expected = losses(stock, images, targets)
    same(losses(weigh_losses(stock, "weight"), images, targets), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_box_mask_and_keypoint_terms_are_multiplied(kind):
    images, targets = batch()
    expected = losses(detector(kind), images, targets)
    half = weighed(targets, [0.25, 0.25, 0.25], [0.25])
    counted = losses(weigh_losses(detector(kind), "weight"), images, half)
    shared = losses(weigh_losses(detector(kind), "weight", normalize="weight"), images, half)
    for term in BOX_TERMS[kind]:
        torch.testing.assert_close(counted[term], 0.25 * expected[term], rtol=1e-5, atol=1e-7)
    for term in {"bbox_regression", "bbox_ctrness", "loss_mask", "loss_keypoint"} & set(BOX_TERMS[kind]):
        torch.testing.assert_close(shared[term], expected[term], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_is_a_line_in_the_weight_of_one_instance(kind):
    images, targets = batch()
    model = weigh_losses(detector(kind), "weight")
    low, middle, high = (
        losses(model, images, weighed(targets, [1.0, weight, 1.0], [1.0])) for weight in (0.2, 0.5, 0.8)
    )
    for term in low:
        torch.testing.assert_close(middle[term], (low[term] + high[term]) / 2, rtol=1e-5, atol=1e-6)
        assert high[term] > low[term], term


@pytest.mark.parametrize("kind", ONE_STAGE)
@pytest.mark.parametrize("normalize", ["count", "weight"])
def test_a_plain_loop_over_anchors_finds_the_same(kind, normalize):
    images, targets = batch()
    weights = [[0.3, 1.0, 0.7], [0.5]]
    head = FCOSHead if kind == "fcos" else RetinaNetHead
    model = detector(kind)
    with patch.object(head, "compute_loss", autospec=True, return_value={}) as seen:  # what the stock model matches
        losses(model, images, targets)
    _, _, outputs, anchors, matched = seen.call_args.args
    found = losses(weigh_losses(model, "weight", normalize=normalize), images, weighed(targets, *weights))

    sums = {name: [0.0, 0.0] for name in found}
    counted = [0.0, 0.0]
    for image, one in enumerate(targets):
        for place, index in enumerate(matched[image].tolist()):
            if index == -2:
                continue
            weight = weights[image][index] if index >= 0 else 1.0
            classes = torch.zeros(4)
            if index >= 0:
                classes[one["labels"][index]] = 1
                counted[image] += weight if normalize == "weight" else 1
            focal = sigmoid_focal_loss(outputs["cls_logits"][image, place], classes, reduction="sum")
            sums["classification"][image] += weight * float(focal.detach())
            if index < 0:
                continue
            box, anchor = one["boxes"][index], anchors[image][place]
            deltas = outputs["bbox_regression"][image, place].detach()
            if kind == "retinanet":
                code = model.head.regression_head.box_coder.encode_single(box[None], anchor[None])[0]
                sums["bbox_regression"][image] += weight * float((deltas - code).abs().sum())
                continue
            centre, side = (anchor[:2] + anchor[2:]) / 2, anchor[2] - anchor[0]
            guess = torch.cat([centre - deltas[:2] * side, centre + deltas[2:] * side])
            sums["bbox_regression"][image] += weight * float(generalized_box_iou_loss(guess, box))
            (left, top), (right, bottom) = (centre - box[:2]).tolist(), (box[2:] - centre).tolist()
            aim = (min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)) ** 0.5
            guessed = torch.sigmoid(outputs["bbox_ctrness"][image, place, 0]).item()
            entropy = -(aim * torch.tensor(guessed).log() + (1 - aim) * torch.tensor(1 - guessed).log())
            sums["bbox_ctrness"][image] += weight * float(entropy)
    for name, (first, second) in sums.items():
        if kind == "fcos":
            expected = (first + second) / sum(counted)
        else:
            expected = (first / max(1, counted[0]) + second / max(1, counted[1])) / 2
        assert float(found[name].detach()) == pytest.approx(expected, rel=1e-4), name


@pytest.mark.parametrize("kind", KINDS)
def test_weight_zero_is_absent_from_boxes_and_ignored_in_classes(kind):
    settings = WHOLE if kind in TWO_STAGE else {}
    images, targets = batch()
    model = detector(kind, **settings)
    without = [target([LEFT, LOW], [1, 3]), targets[1]]
    absent = losses(model, images, without)
    model = weigh_losses(model, "weight")
    zero = losses(model, images, weighed(targets, [1.0, 0.0, 1.0], [1.0]))
    for term in BOX_TERMS[kind]:
        if kind in ONE_STAGE or term in ("loss_mask", "loss_keypoint"):
            torch.testing.assert_close(zero[term], absent[term], rtol=1e-5, atol=1e-7)
        else:  # divided by fewer samples, as its background is left out
            assert zero[term] >= absent[term]
    classes = {"fcos": "classification", "retinanet": "classification"}.get(kind, "loss_objectness")
    if kind in ONE_STAGE:
        assert zero[classes] < absent[classes]  # less background
    others = [
        {**without[0], "ignored": {"boxes": torch.tensor([RIGHT])}},
        {**without[1]},
    ]
    same(losses(model, images, others), zero, rtol=1e-6, atol=1e-6)  # ignored instances are the same thing
    crowd = [{**targets[0], "iscrowd": torch.tensor([0, 1, 0])}, targets[1]]
    assert losses(model, images, crowd)[classes] != zero[classes]  # what lies within a crowd counts even less


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_no_gradient_comes_from_what_is_left_out(kind):
    images, targets = batch()
    model = weigh_losses(detector(kind), "weight")
    seen = {}
    model.head.register_forward_hook(lambda module, inputs, outputs: seen.update(outputs))
    crowd = {"boxes": torch.tensor([[-8.0, -8.0, 104.0, 72.0]]), "iscrowd": torch.tensor([1])}
    found = losses(model, images, [{**targets[0], "ignored": crowd}, targets[1]])
    logits = seen["cls_logits"]
    (gradient,) = torch.autograd.grad(found["classification"], logits)
    (plain,) = torch.autograd.grad(losses(model, images, targets)["classification"], seen["cls_logits"])
    touched, before = gradient.abs().sum(2) > 0, plain.abs().sum(2) > 0
    assert torch.equal(touched[1], before[1])
    if kind == "fcos":  # every anchor lies in the crowd, which covers the image: what is found is left
        with patch.object(FCOSHead, "compute_loss", autospec=True, return_value={}) as stock:
            losses(detector(kind), images, targets)
        matched = stock.call_args.args[4][0]
        assert torch.equal(touched[0], matched >= 0)
    assert 0 < touched[0].sum() < before[0].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_an_ignored_instance_is_resized_with_its_image(kind):
    images, targets = batch()
    images = [torch.nn.functional.interpolate(image[None], scale_factor=0.5)[0] for image in images]
    halves = [{**one, "boxes": one["boxes"] / 2, "masks": one["masks"][:, ::2, ::2]} for one in targets]
    for one in halves:
        one["keypoints"] = torch.cat([one["keypoints"][..., :2] / 2, one["keypoints"][..., 2:]], dim=2)
    model = weigh_losses(detector(kind), "weight")
    zero = losses(model, images, weighed(halves, [1.0, 0.0, 1.0], [1.0]))
    keep = torch.tensor([True, False, True])
    rest = {key: value[keep] for key, value in halves[0].items()}
    same(losses(model, images, [{**rest, "ignored": {"boxes": halves[0]["boxes"][1:2]}}, halves[1]]), zero)


@pytest.mark.parametrize("kind", TWO_STAGE)
def test_what_is_left_out_is_never_sampled(kind):
    images, targets = batch()
    everything = {"boxes": torch.tensor([[-8.0, -8.0, 104.0, 72.0]]), "iscrowd": torch.tensor([1])}
    model = weigh_losses(detector(kind), "weight", crowd_iof=1e-6)
    found = losses(model, images, [{**one, "ignored": everything} for one in targets])
    only = losses(model, images, [{**target([], []), "ignored": everything} for _ in targets])
    assert all(torch.isfinite(value) for value in found.values())
    assert float(found["loss_objectness"].detach()) > 0
    assert float(only["loss_rpn_box_reg"].detach()) == float(only["loss_box_reg"].detach()) == 0
    assert float(only["loss_classifier"].detach()) == 0


def test_rows_that_state_no_mask_are_left_out_of_the_mask_loss():
    images, targets = batch()
    model = weigh_losses(detector("maskrcnn"), "weight")
    first = losses(model, images, [{**one, "has_mask": torch.ones(len(one["boxes"])).bool()} for one in targets])
    same(first, losses(model, images, targets))
    bare = {**targets[0], "has_mask": torch.tensor([True, False, True])}
    emptied = {**bare, "masks": targets[0]["masks"] * torch.tensor([1, 0, 1])[:, None, None]}
    filled = {**bare, "masks": targets[0]["masks"] | torch.tensor([0, 1, 0])[:, None, None]}
    same(losses(model, images, [emptied, targets[1]]), losses(model, images, [filled, targets[1]]))
    assert losses(model, images, [emptied, targets[1]])["loss_mask"] != first["loss_mask"]


@pytest.mark.parametrize("kind", KINDS)
def test_visibility_of_a_mix_reaches_the_loss(kind):
    images, targets = batch()
    rows = [{key: one[key] for key in ("boxes", "labels", "masks", "keypoints")} for one in targets]
    plan_seed = torch.Generator().manual_seed(3)
    mixed, rows = cd.CutMix(p=1.0, alpha=5.0)(torch.stack(images), rows, generator=plan_seed)
    assert any(bool((one["visibility"] < 0.95).any()) for one in rows)
    stock = detector(kind)
    plain = losses(stock, list(mixed), rows)
    model = weigh_losses(stock, "visibility")
    seen = losses(model, list(mixed), rows)
    for term in BOX_TERMS[kind][:1]:
        assert seen[term] < plain[term]
    whole = [{**one, "visibility": torch.ones(len(one["boxes"]))} for one in rows]
    same(losses(model, list(mixed), whole), plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lam", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("empty", [False, True])
def test_interpolated_is_lossmix(kind, lam, empty):
    images, targets = batch()
    rows = [{key: one[key] for key in ("boxes", "labels", "masks", "keypoints")} for one in targets]
    if empty:
        rows[1] = {key: value[:0] for key, value in rows[1].items()}
    mixed, united = cd.MixUp(lam=lam, p=1.0)(torch.stack(images), rows)
    settings = WHOLE if kind in TWO_STAGE else {}
    stock = detector(kind, **settings)
    own, theirs = losses(stock, list(mixed), rows), losses(stock, list(mixed), rows[::-1])
    expected = {name: lam * own[name] + (1 - lam) * theirs[name] for name in own}
    found = losses(weigh_losses(stock, "weight", mixed="interpolated"), list(mixed), united)
    same(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lam", [0.3, 1.0])
@pytest.mark.parametrize("objects", ["both", "one", "none"])
def test_lossmix_leaves_out_the_regions_of_each_image_in_its_own_set(kind, lam, objects):
    """A crowd in one image and an ignored instance in the other, where the other image has background or objects."""
    images, targets = batch()
    rows = [{key: one[key] for key in ("boxes", "labels", "masks", "keypoints")} for one in targets]
    rows = [{**one, "iscrowd": torch.zeros(len(one["boxes"]), dtype=torch.long)} for one in rows]
    rows[0]["iscrowd"][0] = 1
    if objects != "both":
        rows[1] = {key: value[:0] for key, value in rows[1].items()}
    if objects == "none":
        rows[0] = {key: value[:1] for key, value in rows[0].items()}
    rows[1]["ignored"] = {"boxes": torch.tensor([LOW, [40.0, 4.0, 80.0, 30.0]])}
    mixed, united = cd.MixUp(lam=lam, p=1.0)(torch.stack(images), rows)
    model = weigh_losses(
        detector(kind, **(WHOLE if kind in TWO_STAGE else {})), lambda one: torch.ones(len(one["boxes"]))
    )
    own, theirs = losses(model, list(mixed), rows), losses(model, list(mixed), rows[::-1])
    expected = {name: lam * own[name] + (1 - lam) * theirs[name] for name in own}
    found = losses(weigh_losses(model, "weight", mixed="interpolated"), list(mixed), united)
    same(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_lossmix_leaves_out_regions_of_an_unknown_image_in_both_sets(kind):
    images, targets = batch()
    rows = [{key: one[key] for key in ("boxes", "labels")} for one in targets]
    mixed, united = cd.MixUp(lam=0.3, p=1.0)(torch.stack(images), rows)
    more = {"ignored": {"boxes": torch.tensor([[40.0, 4.0, 80.0, 30.0]])}}
    model = weigh_losses(detector(kind), lambda one: torch.ones(len(one["boxes"])))
    own, theirs = (losses(model, list(mixed), [{**one, **more} for one in some]) for some in (rows, rows[::-1]))
    model = weigh_losses(model, "weight", mixed="interpolated")
    found = losses(model, list(mixed), [{**one, **more} for one in united])
    same(found, {name: 0.3 * own[name] + 0.7 * theirs[name] for name in own}, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_lossmix_of_a_batch_that_is_mixed_in_part(kind):
    """An unmixed image has one set of labels; it counts as a batch of its own does for the model's own divisor."""
    images, targets = batch()
    rows = [{key: one[key] for key in ("boxes", "labels")} for one in targets]
    model = weigh_losses(detector(kind), "weight", mixed="interpolated")
    closed = cd.MixUp(lam=0.5, p=0.0)(torch.stack(images), rows)[1]
    same(losses(model, images, closed), losses(detector(kind), images, rows), rtol=1e-6, atol=1e-6)
    mixed, united = cd.MixUp(lam=0.5, p=1.0)(torch.stack(images), rows)
    both = losses(model, [mixed[0], images[1]], [united[0], closed[1]])
    if kind == "retinanet":  # which divides image by image
        alone = losses(model, [mixed[0]], [united[0]]), losses(model, [images[1]], [closed[1]])
        same(both, {name: (alone[0][name] + alone[1][name]) / 2 for name in both}, rtol=1e-5, atol=1e-6)
    assert all(torch.isfinite(value) for value in both.values())


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_an_image_of_share_zero_leaves_nothing_out(kind):
    images, targets = batch()
    origin = torch.tensor([[0, 0], [1, 0], [0, 1]])
    blended = {**targets[0], "origin": origin, "weight": torch.tensor([1.0, 0.0, 1.0])}
    expected = losses(detector(kind), images[:1], [target([LEFT, LOW], [1, 3])])
    found = losses(weigh_losses(detector(kind), "weight", mixed="interpolated"), images[:1], [blended])
    same(found, expected, rtol=1e-6, atol=1e-6)


def test_a_function_of_a_target_gives_the_weights():
    images, targets = batch()
    model = weigh_losses(detector("fcos"), lambda one: (one["labels"] == 2).float() * 0.5 + 0.5)
    expected = losses(weigh_losses(detector("fcos"), "weight"), images, weighed(targets, [0.5, 1.0, 0.5], [1.0]))
    same(losses(model, images, targets), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_stays_what_it_was(kind):
    images, targets = batch()
    stock = detector(kind)
    names = list(stock.state_dict())
    stock.eval()
    before = stock(images)
    model = weigh_losses(stock, "weight")
    assert isinstance(model, type(detector(kind)))
    assert list(model.state_dict()) == names
    after = model(images)
    for one, other in zip(before, after):
        same(one, other, rtol=0, atol=0)
    model.train()
    some = weighed(targets, [0.3, 1.0, 0.0], [0.5])
    expected = losses(model, images, some)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        same(losses(twin, images, some), expected, rtol=0, atol=0)
    weigh_losses(model, "visibility")  # once more: other settings
    same(losses(model, images, targets), losses(detector(kind), images, targets), rtol=1e-6, atol=1e-6)


def test_targets_are_not_changed():
    images, targets = batch()
    before = copy.deepcopy(targets)
    losses(weigh_losses(detector("maskrcnn"), "weight"), images, targets)
    for one, other in zip(targets, before):
        same(one, other, rtol=0, atol=0)


class OwnLoss(FCOS):
    def compute_loss(self, *inputs):
        return {}


def test_models_that_cannot_be_weighed_are_refused_by_name():
    with pytest.raises(TypeError, match="SSD"):
        weigh_losses(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2), "weight")
    model = detector("fcos")
    model.__class__ = OwnLoss
    with pytest.raises(TypeError, match=r"FCOS.compute_loss.*OwnLoss"):
        weigh_losses(model, "weight")


class Narrowed(FCOS):
    """Changes nothing that weighing replaces."""


def test_a_subclass_keeps_its_class():
    images, targets = batch()
    model = detector("fcos")
    model.__class__ = Narrowed
    model = pickle.loads(pickle.dumps(weigh_losses(model, "weight")))
    assert isinstance(model, Narrowed)
    same(losses(model, images, targets), losses(detector("fcos"), images, targets), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"by": 3}, TypeError, "by must be a key"),
        ({"by": ()}, TypeError, "by must be a key"),
        ({"by": "weight", "normalize": "sum"}, ValueError, "normalize must be one of"),
        ({"by": "weight", "mixed": "lossmix"}, ValueError, "mixed must be one of"),
        ({"by": "visibility", "mixed": "interpolated"}, ValueError, "name it in by"),
        ({"by": "weight", "crowd_iof": 0.0}, ValueError, "crowd_iof"),
    ],
)
def test_settings_are_checked(settings, error, words):
    with pytest.raises(error, match=words):
        Weighing(**settings)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weight": None}, KeyError, "targets\\[0\\] has no 'weight'"),
        ({"weight": torch.ones(2)}, ValueError, "one weight for each of 3 boxes"),
        ({"weight": torch.tensor([1.0, -1.0, 1.0])}, ValueError, "at least 0"),
        ({"weight": torch.tensor([1.0, float("nan"), 1.0])}, ValueError, "finite"),
        ({"labels": torch.ones(3)}, TypeError, "int64"),
        ({"boxes": torch.ones(3, 4, dtype=torch.long)}, TypeError, "floating point"),
        ({"ignored": {"boxes": torch.ones(1, 5)}}, TypeError, "ignored"),
    ],
)
def test_targets_are_checked(change, error, words):
    images, targets = batch()
    targets[0] = {key: value for key, value in {**targets[0], **change}.items() if value is not None}
    with pytest.raises(error, match=words):
        losses(weigh_losses(detector("fcos"), "weight"), images, targets)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"origin": None}, KeyError, "origin"),
        ({"weight": torch.tensor([0.5, 0.4, 0.5])}, ValueError, "single MixUp .* from 0.4 to 0.5 with the 'origin' 0"),
        ({"weight": torch.tensor([0.8, 0.8, 0.7])}, ValueError, "got the weights 0.8 of image 0, 0.7 of image 1"),
        ({"weight": torch.tensor([0.3, 0.3, 0.3])}, ValueError, "got the weights 0.3 of image 0, 0.3 of image 1"),
        (
            {"weight": torch.tensor([0.2, 0.3, 0.5]), "origin": torch.tensor([[0, 0], [1, 0], [2, 0]])},
            ValueError,
            "0.5 of image 2. After a Chain, a recipe .* use mixed='united'",
        ),
    ],
)
def test_shares_are_checked(change, error, words):
    images, targets = batch()
    origin = torch.tensor([[0, 0], [0, 1], [1, 0]])
    changed = {**targets[0], "origin": origin, "weight": torch.tensor([0.5, 0.5, 0.5]), **change}
    changed = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(error, match=words):
        losses(weigh_losses(detector("fcos"), "weight", mixed="interpolated"), images, [changed])


@pytest.mark.parametrize(
    "mix",
    [
        cd.Chain([cd.Mosaic(p=1.0), cd.MixUp(lam=0.3, p=1.0)]),
        cd.Chain([cd.Mosaic(p=1.0), cd.MixUp(lam=0.5, p=1.0)]),
        cd.CopyPaste(source="batch", instances=2, place="random", blend=0.5, p=1.0),
    ],
    ids=["chain", "chain_of_halves", "copyblend"],
)
def test_lossmix_is_for_a_single_mixup(mix):
    rows = [{"boxes": torch.tensor([[2.0, 2, 60, 60]]), "labels": torch.tensor([1])}] * 4
    images, after = mix(torch.rand(4, 3, 64, 64), rows, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"must be that of a single MixUp .* use mixed='united'"):
        losses(weigh_losses(detector("fcos"), "weight", mixed="interpolated"), list(images), after)
    losses(weigh_losses(detector("fcos"), "weight", mixed="united"), list(images), after)


def test_weights_have_no_gradient():
    weight = torch.tensor([0.5, 1.0], requires_grad=True)
    assert not instance_weights({"boxes": torch.rand(2, 4), "weight": weight}, "weight").requires_grad


def test_half_precision_under_autocast_gives_finite_losses():
    images, targets = batch()
    model = weigh_losses(detector("fcos"), "weight")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses(model, images, weighed(targets, [0.3, 1.0, 0.7], [0.5]))
    assert all(torch.isfinite(value) for value in found.values())
    assert SIZE == (64, 96)
