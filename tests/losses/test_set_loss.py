"""The set loss of the DETR family: equal to transformers' at weight 1, weighed in the matching and in each term."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from cutmix_dense.losses import (
    SetLoss,
    match_queries,
    pair_weights,
    query_weights,
    weigh_losses,
    weighted_matching_cost,
    weighted_set_loss,
)

scipy = pytest.importorskip("scipy")

B, Q, K = 2, 7, 5


def outputs(seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, Q, K, generator=generator)
    boxes = 0.2 + 0.6 * torch.rand(B, Q, 4, generator=generator)
    return {"logits": logits.requires_grad_(requires_grad), "pred_boxes": boxes.requires_grad_(requires_grad)}


def targets():
    generator = torch.Generator().manual_seed(9)
    return [
        {
            "class_labels": torch.randint(0, K - 1, (count,), generator=generator),
            "boxes": 0.2 + 0.5 * torch.rand(count, 4, generator=generator),
            "weight": torch.ones(count),
        }
        for count in (3, 2)
    ]


def weighed(*weights):
    return [{**one, "weight": torch.tensor(values)} for one, values in zip(targets(), weights)]


def stock(kind):
    """The criterion of transformers."""
    transformers_loss = pytest.importorskip("transformers.loss.loss_for_object_detection")
    if kind == "softmax":
        matcher = transformers_loss.HungarianMatcher(1, 5, 2)
        return transformers_loss.ImageLoss(matcher, K - 1, 0.1, ["labels", "boxes"])
    if kind == "focal":
        deformable = pytest.importorskip("transformers.loss.loss_deformable_detr")
        matcher = deformable.DeformableDetrHungarianMatcher(2, 5, 2)
        return deformable.DeformableDetrImageLoss(matcher, K, 0.25, ["labels", "boxes"])
    real_time = pytest.importorskip("transformers.loss.loss_rt_detr")
    costs = {"matcher_class_cost": 2, "matcher_bbox_cost": 5, "matcher_giou_cost": 2, "matcher_alpha": 0.25}
    coefficients = {"weight_loss_vfl": 1, "weight_loss_bbox": 5, "weight_loss_giou": 2, "eos_coefficient": 1e-4}
    focal = {"focal_loss_alpha": 0.75, "focal_loss_gamma": 2.0, "matcher_gamma": 2.0, "use_focal_loss": True}
    return real_time.RTDetrLoss(SimpleNamespace(**costs, **coefficients, **focal, num_labels=K))


@pytest.mark.parametrize("kind", ["softmax", "focal", "varifocal"])
@pytest.mark.parametrize("normalize", ["count", "weight"])
def test_weights_of_one_give_the_losses_of_transformers(kind, normalize):
    ours, theirs = outputs(requires_grad=True), outputs(requires_grad=True)
    found = weighted_set_loss(ours, targets(), "weight", SetLoss(kind), normalize=normalize)
    criterion = stock(kind)
    if kind == "varifocal":
        pairs = criterion.matcher(theirs, targets())
        expected = {
            **criterion.loss_labels_vfl(theirs, targets(), pairs, 5),
            **criterion.loss_boxes(theirs, targets(), pairs, 5),
        }
        expected["loss_ce"] = expected.pop("loss_vfl")
    else:
        expected = criterion(theirs, targets())
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    sum(found.values()).backward()
    sum(expected.values()).backward()
    for name in ours:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-4, atol=1e-6)


def cheapest(cost):
    """The best assignment by trying all."""
    queries, instances = cost.shape
    tried = itertools.permutations(range(queries), instances)
    return min(tried, key=lambda rows: sum(float(cost[row, column]) for column, row in enumerate(rows)))


@pytest.mark.parametrize("seed", range(6))
def test_the_matching_minimises_the_weighted_cost(seed):
    generator = torch.Generator().manual_seed(seed)
    cost = torch.randn(5, 3, generator=generator)
    weights = torch.rand(3, generator=generator) + 0.05
    queries, instances = match_queries(cost, weights)
    found = dict(zip(instances.tolist(), queries.tolist()))
    assert tuple(found[column] for column in range(3)) == cheapest(weighted_matching_cost(cost, weights))
    alike, _ = match_queries(cost, torch.full((3,), 0.3))
    assert torch.equal(alike, match_queries(cost, torch.ones(3))[0])


def test_the_heavier_instance_gets_the_query_that_both_want():
    cost = torch.tensor([[0.0, 0.1], [1.0, 1.0]])
    for weights, first in ([1.0, 0.1], 0), ([0.1, 1.0], 1):
        queries, instances = match_queries(cost, torch.tensor(weights))
        assert instances[queries == 0].item() == first


@pytest.mark.parametrize("seed", range(6))
def test_instances_of_weight_zero_take_what_is_left(seed):
    generator = torch.Generator().manual_seed(seed)
    cost, region_cost = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    queries, instances = match_queries(cost, torch.tensor([1.0, 0.0, 1.0]), region_cost)
    found = dict(zip(instances.tolist(), queries.tolist()))
    assert (found[0], found[2]) == cheapest(cost[:, [0, 2]])
    left = [row for row in range(5) if row not in (found[0], found[2])]
    assert found[1] == min(left, key=lambda row: float(region_cost[row, 1]))
    assert queries.tolist() == sorted(queries.tolist())


def test_more_instances_than_queries_are_matched_as_far_as_they_go():
    cost = torch.randn(2, 4)
    queries, instances = match_queries(cost, torch.tensor([1.0, 0.0, 1.0, 0.0]))
    assert queries.tolist() == [0, 1]
    assert sorted(instances.tolist()) == [0, 2]
    queries, instances = match_queries(torch.full((3, 2), float("nan")), torch.ones(2))
    assert sorted(instances.tolist()) == [0, 1]
    assert match_queries(torch.zeros(3, 0), torch.zeros(0))[0].tolist() == []


@pytest.mark.parametrize("kind", ["softmax", "focal", "varifocal"])
def test_weights_multiply_the_box_terms(kind):
    plain = weighted_set_loss(outputs(), targets(), "weight", SetLoss(kind))
    quarter = weighed([0.25] * 3, [0.25] * 2)
    counted = weighted_set_loss(outputs(), quarter, "weight", SetLoss(kind))
    shared = weighted_set_loss(outputs(), quarter, "weight", SetLoss(kind), normalize="weight")
    for name in ("loss_bbox", "loss_giou"):
        torch.testing.assert_close(counted[name], 0.25 * plain[name])
        torch.testing.assert_close(shared[name], plain[name])
    assert counted["loss_ce"] < plain["loss_ce"]


@pytest.mark.parametrize("kind", ["softmax", "focal", "varifocal"])
@pytest.mark.parametrize("how", ["weight", "iscrowd", "ignored"])
def test_what_is_ignored_teaches_nothing(kind, how):
    given = outputs(requires_grad=True)
    some = targets()
    if how == "weight":
        some = weighed([1.0, 0.0, 1.0], [1.0, 1.0])
    elif how == "iscrowd":
        some[0]["iscrowd"] = torch.tensor([0, 1, 0])
    else:
        keep = torch.tensor([0, 2])
        ignored = {"boxes": some[0]["boxes"][1:2]}
        some[0] = {**{key: value[keep] for key, value in some[0].items()}, "ignored": ignored}
    found = weighted_set_loss(given, some, "weight", SetLoss(kind))
    without = targets()
    without[0] = {key: value[[0, 2]] for key, value in without[0].items()}
    absent = weighted_set_loss(outputs(), without, "weight", SetLoss(kind))
    for name in ("loss_bbox", "loss_giou"):
        torch.testing.assert_close(found[name], absent[name])
    assert found["loss_ce"] != absent["loss_ce"]
    sum(found.values()).backward()
    taught = (given["logits"].grad[0].abs().sum(1) > 0).tolist()
    assert taught.count(False) == 1
    boxes = given["pred_boxes"].grad[0].abs().sum(1) > 0
    assert int(boxes.sum()) == 2


def test_weights_of_pairs_and_queries_are_a_plain_loop():
    pairs = [(torch.tensor([1, 4]), torch.tensor([2, 0])), (torch.tensor([3]), torch.tensor([1]))]
    weights = [torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5])]
    torch.testing.assert_close(pair_weights(pairs, weights), torch.tensor([0.3, 0.1, 0.5]))
    expected = torch.ones(2, 6)
    expected[0, 1], expected[0, 4], expected[1, 3] = 0.3, 0.1, 0.5
    torch.testing.assert_close(query_weights(pairs, weights, 6), expected)


def test_images_without_objects_have_class_terms_alone():
    empty = [{key: value[:0] for key, value in one.items()} for one in targets()]
    for kind in ("softmax", "focal", "varifocal"):
        found = weighted_set_loss(outputs(), empty, "weight", SetLoss(kind))
        assert float(found["loss_bbox"]) == float(found["loss_giou"]) == 0
        assert float(found["loss_ce"]) > 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: SetLoss("ce"), ValueError, "classification must be one of"),
        (lambda: SetLoss("focal", 0, 0, 0), ValueError, "can't all be 0"),
        (lambda: weighted_matching_cost(torch.ones(3, 2), torch.ones(3)), ValueError, "one number for each column"),
        (lambda: weighted_set_loss({"logits": torch.ones(1, 2, 3)}, [], "weight"), KeyError, "pred_boxes"),
        (lambda: weighted_set_loss(outputs(), [{"boxes": torch.ones(1, 4)}] * 2, "weight"), KeyError, "class_labels"),
    ],
)
def test_mistakes_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def tiny(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 6}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage2", "stage3", "stage4"]
    )
    common = {**size, **heads, "num_labels": K - 1, "auxiliary_loss": True, "dropout": 0.0, "use_timm_backbone": False}
    if kind == "detr":
        backbone.out_features = ["stage4"]
        config = transformers.DetrConfig(**common, use_pretrained_backbone=False, backbone_config=backbone)
        return transformers.DetrForObjectDetection(config)
    config = transformers.DeformableDetrConfig(
        **common, use_pretrained_backbone=False, backbone_config=backbone, num_feature_levels=3
    )
    return transformers.DeformableDetrForObjectDetection(config)


@pytest.mark.parametrize("kind", ["detr", "deformable"])
def test_a_model_of_transformers_weighs_its_loss(kind):
    model = tiny(kind).eval()  # no dropout
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    labels = [{key: value for key, value in one.items() if key != "weight"} for one in targets()]
    expected = model(pixel_values=images, labels=labels)
    ones = [{**one, "visibility": torch.ones(len(one["boxes"]))} for one in labels]
    weigh_losses(model, "visibility")
    found = model(pixel_values=images, labels=ones)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=1e-6)
    for name, value in found.loss_dict.items():
        torch.testing.assert_close(value, expected.loss_dict[name], rtol=1e-5, atol=1e-6)
    assert {name for name in expected.loss_dict if "cardinality" not in name} == set(found.loss_dict)
    seen = [{**one, "visibility": torch.full((len(one["boxes"]),), 0.5)} for one in labels]
    half = model(pixel_values=images, labels=seen)
    torch.testing.assert_close(half.loss_dict["loss_bbox_0"], 0.5 * expected.loss_dict["loss_bbox_0"])
    half.loss.backward()
    with pytest.raises(ValueError, match="united"):
        weigh_losses(model, "weight", mixed="interpolated")


def test_models_whose_losses_have_more_parts_are_refused_by_name():
    model = tiny("detr")
    model.loss_type = "LwDetrForObjectDetection"
    with pytest.raises(TypeError, match="LwDetrForObjectDetection.*weighted_matching_cost"):
        weigh_losses(model, "weight")
