"""RT-DETR, RT-DETRv2, D-FINE and DEIMv2 of transformers, weighed: against their own criteria, and by what learns."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.huggingface import mix_batch
from cutmix_dense.losses import weigh_losses

transformers = pytest.importorskip("transformers")

K = 5
KINDS = [
    kind for kind in ("RTDetr", "RTDetrV2", "DFine", "Deimv2") if hasattr(transformers, f"{kind}ForObjectDetection")
]


def tiny(kind, **more):
    """A model of few channels with two decoder layers and denoising queries, in training mode but for dropout."""
    torch.manual_seed(0)
    stages = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "out_features": ["stage2", "stage3", "stage4"]}
    if kind.startswith("RT"):
        backbone = transformers.RTDetrResNetConfig(embedding_size=8, **stages)
    else:
        backbone = transformers.HGNetV2Config(
            stem_channels=[3, 8, 8],
            stage_in_channels=[8, 8, 8, 8],
            stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[8, 8, 8, 8],
            stage_num_blocks=[1, 1, 1, 1],
            stage_downsample=[False, True, True, True],
            stage_light_block=[False, False, False, False],
            stage_kernel_size=[3, 3, 3, 3],
            stage_numb_of_layers=[1, 1, 1, 1],
            **stages,
        )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone,
        encoder_in_channels=[8, 8, 8],
        encoder_hidden_dim=32,
        d_model=32,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        decoder_in_channels=[32, 32, 32],
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        decoder_layers=2,
        num_queries=20,
        num_denoising=8,
        num_labels=K,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        **more,
    )
    return getattr(transformers, f"{kind}ForObjectDetection")(config).train()


def labels(weights=None):
    """Two pictures, of two objects and of one."""
    boxes = [[[0.25, 0.4, 0.3, 0.4], [0.7, 0.5, 0.35, 0.5]], [[0.5, 0.5, 0.6, 0.4]]]
    made = [
        {"class_labels": torch.tensor([1, 3]), "boxes": torch.tensor(boxes[0])},
        {"class_labels": torch.tensor([2]), "boxes": torch.tensor(boxes[1])},
    ]
    for one, weight in zip(made, weights or ()):
        one["visibility"] = torch.tensor(weight)
    return made


def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def run(model, rows):
    torch.manual_seed(2)  # of the noise
    return model(pixel_values=images(), labels=rows)


def parts(losses, weight):
    """Losses of class terms, and of all others."""
    return {name: value for name, value in losses.items() if ("vfl" in name or "mal" in name) == weight}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("denoising", [8, 0])
def test_weights_of_one_are_the_stock_losses(kind, denoising):
    model = tiny(kind)
    model.config.num_denoising = denoising
    expected = run(model, labels())
    assert weigh_losses(model, "visibility") is model
    found = run(model, labels([[1.0, 1.0], [1.0]]))
    assert set(found.loss_dict) == set(expected.loss_dict)
    assert any("_dn_" in name for name in found.loss_dict) == bool(denoising)
    for name, value in expected.loss_dict.items():
        torch.testing.assert_close(found.loss_dict[name].reshape(()), value.reshape(()), rtol=1e-4, atol=1e-6, msg=name)
    torch.testing.assert_close(found.loss, expected.loss.reshape(()), rtol=1e-4, atol=1e-6)
    assert len(found.auxiliary_outputs) == len(expected.auxiliary_outputs)


@pytest.mark.skipif("Deimv2" not in KINDS, reason="transformers without DEIMv2")
def test_deimv2_without_dense_matching():
    model = tiny("Deimv2", use_dense_one_to_one=False)
    expected = run(model, labels()).loss_dict
    dense = run(tiny("Deimv2"), labels()).loss_dict
    assert any(abs(float(dense[name].detach() - expected[name].detach())) > 1e-4 for name in expected)
    found = run(weigh_losses(model, "visibility"), labels([[1.0, 1.0], [1.0]])).loss_dict
    for name, value in expected.items():
        torch.testing.assert_close(found[name].reshape(()), value.reshape(()), rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_half_of_everything_is_half_of_the_box_terms(kind):
    model = weigh_losses(tiny(kind), "visibility")
    whole = run(model, labels([[1.0, 1.0], [1.0]])).loss_dict
    half = run(model, labels([[0.5, 0.5], [0.5]])).loss_dict
    for name, value in whole.items():
        if "ddf" in name:  # the queries without an instance count as before
            assert float(half[name].detach()) <= float(value.detach())
        elif any(term in name for term in ("bbox", "giou", "fgl")):
            torch.testing.assert_close(half[name], 0.5 * value)
        else:
            assert 0 < float(half[name].detach()) < float(value.detach())
    shared = weigh_losses(model, "visibility", normalize="weight")  # divided by 1.5, not by 3
    scaled = run(shared, labels([[0.5, 0.5], [0.5]])).loss_dict
    for name in ("loss_giou_dn_0", "loss_bbox_dn_1"):
        torch.testing.assert_close(scaled[name], whole[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["weight", "iscrowd"])
def test_an_object_of_no_weight_teaches_nothing(kind, how):
    """Its queries, denoising ones too, learn nothing; no divisor knows of it."""
    model = weigh_losses(tiny(kind), "visibility")
    rows = labels([[0.0 if how == "weight" else 1.0, 1.0], [1.0]])
    if how == "iscrowd":
        rows[0]["iscrowd"] = torch.tensor([1, 0])
    given = {}
    stock = model.loss_function

    def keep(logits, labels, device, pred_boxes, config, outputs_class, outputs_coord, **settings):
        given.update(settings, outputs_class=outputs_class, outputs_coord=outputs_coord)
        for name in ("outputs_class", "outputs_coord", "enc_topk_logits", "enc_topk_bboxes"):
            given[name] = given[name].detach().requires_grad_()
        return stock(logits, labels, device, pred_boxes, config, **given)

    model.loss_function = keep
    losses = run(model, rows).loss_dict
    alone = {name: value for name, value in losses.items() if name.endswith(("_aux_0", "_aux_1"))}
    sum(alone.values()).backward()
    decoder, encoder = given["outputs_coord"].grad[:, 0], given["enc_topk_bboxes"].grad
    split = given["denoising_meta_values"]["dn_num_split"][0]
    taught = (decoder[:, split:].abs().sum(2) > 0).sum(1).tolist(), (encoder.abs().sum(2) > 0).sum(1).tolist()
    expected = 1 if kind != "Deimv2" else 3  # each image has one instance; DEIMv2 unites the queries of three layers
    assert all(1 <= count <= expected for part in taught for count in part), taught
    classes = given["enc_topk_logits"].grad.abs().sum(2)
    assert (classes == 0).sum(1).tolist() == [1, 0]

    losses = run(model, rows).loss_dict
    sum(value for name, value in losses.items() if name.endswith("_dn_0")).backward()
    groups = given["denoising_meta_values"]["dn_num_group"]
    boxes, logits = (given[name].grad[:, 0, :split] for name in ("outputs_coord", "outputs_class"))
    assert (boxes.abs().sum(2) > 0).sum(1).tolist() == [groups, groups]
    assert (logits.abs().sum(2) == 0).sum(1).tolist() == [groups, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_ignored_has_a_query_that_learns_nothing(kind):
    model = weigh_losses(tiny(kind), "visibility")
    rows = labels([[1.0, 1.0], [1.0]])
    ignored = {"boxes": rows[0]["boxes"][:1]}
    found = run(model, [{**{key: value[1:] for key, value in rows[0].items()}, "ignored": ignored}, rows[1]])
    absent = run(model, [{key: value[1:] for key, value in rows[0].items()}, rows[1]])
    for name, value in parts(found.loss_dict, weight=False).items():
        if "ddf" not in name:  # one query less has no instance
            torch.testing.assert_close(value, absent.loss_dict[name], msg=name)
    changed = parts(found.loss_dict, weight=True)
    assert all(bool(changed[name] < absent.loss_dict[name]) for name in changed if "_dn_" not in name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_batch_trains(kind):
    model = weigh_losses(tiny(kind), ("visibility", "weight"))
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        batch = {"pixel_values": images(), "labels": labels()}
        batch = mix_batch(batch, cd.CutMix(p=1.0, alpha=4.0, instance_weights=True), generator=generator)
        assert any((one["visibility"] < 1).any() for one in batch["labels"])
        loss = run(model, batch["labels"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert bool(loss.isfinite())
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_objects_and_copies(kind):
    model = weigh_losses(tiny(kind), "visibility")
    empty = [{key: value[:0] for key, value in one.items()} for one in labels()]
    losses = run(model, empty).loss_dict
    assert all(bool(value.isfinite()) for value in losses.values())
    assert all(float(value.detach()) == 0 for name, value in losses.items() if "bbox" in name or "giou" in name)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model.loss_function)))
    assert twin == model.loss_function


def test_others_are_refused_by_name():
    model = tiny(KINDS[0])
    with pytest.raises(ValueError, match="united"):
        weigh_losses(model, "weight", mixed="interpolated")
    model.loss_type = "LwDetrForObjectDetection"
    with pytest.raises(TypeError, match="RTDetrForObjectDetection.*LwDetrForObjectDetection.*weighted_matching_cost"):
        weigh_losses(model, "weight")
