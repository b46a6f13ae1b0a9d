"""torch's default dtype and device and its autocast change nothing: plans, pixels, targets and reports stay equal."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense import functional as F
from cutmix_dense import masks, regions, semi
from cutmix_dense.pairing import PAIRINGS, partners
from cutmix_dense.transforms.single import mix_single

SIZE = (24, 34)
LISTED = [(24, 34), (20, 30), (28, 26), (22, 34)]


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")  # where nothing has a value: whoever asks for one fails
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], Any]] = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": default_device,
    "device context": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def leaves(value: Any) -> Iterator[Any]:
    """All numbers in a result, each with its kind."""
    if isinstance(value, Tensor):
        kind = type(value).__name__, value.dtype, value.device.type, tuple(value.shape)
        plain = value.as_subclass(Tensor).detach()
        assert plain.device.type == "cpu"
        yield (*kind, plain.clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        yield list(value)
        for entry in value.values():
            yield from leaves(entry)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        yield type(value).__name__, len(value)
        for entry in value:
            yield from leaves(entry)
    elif isinstance(value, np.ndarray):
        yield value.dtype.str, value.shape, value.tobytes()
    else:
        yield value


# ---------------------------------------------------------------------------------------------------------------------
# what is mixed: made at import, under torch's own defaults


def boxes_in(size: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    low = torch.rand(count, 2, generator=generator) * torch.tensor([size[1] - 12.0, size[0] - 12.0])
    return torch.cat([low, low + 3 + 8 * torch.rand(count, 2, generator=generator)], dim=1)


def instances(size: tuple[int, int], count: int, generator: torch.Generator, **more: Tensor) -> dict[str, Any]:
    height, width = size
    boxes = boxes_in(size, count, generator)
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    a, b, c, d = boxes[:, :, None].unbind(1)
    inside = ((x >= a) & (x < c))[:, None], ((y >= b) & (y < d))[:, :, None]
    points = torch.cat([boxes.reshape(-1, 2, 2), torch.full((count, 2, 1), 2.0)], dim=2)
    return {
        "boxes": boxes,
        "labels": torch.arange(count),
        "masks": inside[0] & inside[1],
        "keypoints": points,
        "area": (boxes[:, 2:] - boxes[:, :2]).prod(dim=1),
        "iscrowd": (torch.arange(count) == 2).long(),
        "semantic": class_map(size, generator),
        **more,
    }


def class_map(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    coarse = torch.randint(0, 5, (-(-size[0] // 5), -(-size[1] // 5)), generator=generator)
    return coarse.repeat_interleave(5, 0).repeat_interleave(5, 1)[: size[0], : size[1]].contiguous()


def make_inputs() -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, *SIZE, generator=g)
    counts = (3, 4, 0, 5)
    made: dict[str, Any] = {
        "float": images,
        "half": images.to(torch.bfloat16),
        "bytes": (images * 255).to(torch.uint8),
        "listed": [torch.rand(3, *size, generator=g) for size in LISTED],
        "detection": [instances(SIZE, count, g) for count in counts],
        "listed detection": [instances(size, count, g) for size, count in zip(LISTED, counts)],
        "maps": torch.stack([class_map(SIZE, g) for _ in range(4)]),
        "labels": torch.tensor([0, 3, 1, 2]),
        "shares": torch.softmax(torch.rand(4, 5, generator=g), dim=1),
        "sizes": torch.tensor([[24, 34], [20, 30], [24, 28], [22, 34]]),
        "volumes": torch.rand(3, 1, 10, 12, 14, generator=g),
        "volume maps": torch.randint(0, 3, (3, 10, 12, 14), generator=g),
        "clips": torch.rand(3, 4, 3, *SIZE, generator=g),
    }
    made["tracks"] = [
        [{k: v for k, v in instances(SIZE, 2, g).items() if k != "semantic"} for _ in range(4)] for _ in range(3)
    ]
    low = torch.randint(0, 6, (3, 2, 3), generator=g).float()
    made["volume boxes"] = [{"boxes": torch.cat([row, row + 4], dim=1), "labels": torch.ones(2).long()} for row in low]
    slots = torch.stack([boxes_in(SIZE, 5, g) for _ in range(4)])
    made["padded"] = {
        "boxes": slots,
        "labels": torch.arange(20).reshape(4, 5),
        "area": (slots[..., 2:] - slots[..., :2]).prod(dim=2),
        "valid": torch.rand(4, 5, generator=g) < 0.7,
    }
    ids = [class_map(SIZE, g) for _ in range(4)]
    made["panoptic"] = [
        {
            "panoptic": one,
            "segments_info": [
                {"id": n, "category_id": n, "isthing": n % 2, "iscrowd": 0} for n in one.unique().tolist() if n
            ],
        }
        for one in ids
    ]
    if hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"):
        made["rotated"] = []
        for count in counts:
            row = boxes_in(SIZE, count, g)
            centre, sides = (row[:, :2] + row[:, 2:]) / 2, row[:, 2:] - row[:, :2]
            turned = torch.cat([centre, sides, 180 * torch.rand(count, 1, generator=g)], dim=1)
            boxes = tv_tensors.BoundingBoxes(turned, format="CXCYWHR", canvas_size=SIZE)
            made["rotated"].append({"boxes": boxes, "labels": torch.arange(count)})
    return made


I = make_inputs()  # noqa: E741
FREE = {"boxes": "estimate"}

METHODS: dict[str, Callable[..., Any]] = {
    "CutMix": cd.CutMix,
    "CutMix, area": lambda **o: cd.CutMix(region=regions.AreaBox(), **o),
    "CutMix, french": lambda **o: cd.CutMix(region=regions.AreaBox.french(), **o),
    "CutMix, unimatch": lambda **o: cd.CutMix(region=regions.AreaBox.unimatch(), pairing="swap", **o),
    "CutMix, several": lambda **o: cd.CutMix(region=regions.MultiBox(), pairing="shuffle", **o),
    "CutMix, xor": lambda **o: cd.CutMix(region=regions.MultiBox.french(), **o),
    "CutMix, objects": lambda **o: cd.CutMix(region=regions.ObjectBox(), **o),
    "CutMix, one region": lambda **o: cd.CutMix(same_region=True, pairing="halves", **o),
    "ResizeMix": cd.ResizeMix,
    "Mosaic": cd.Mosaic,
    "Mosaic, 3×3": lambda **o: cd.Mosaic(grid=(3, 3), **o),
    "RICAP": cd.RICAP,
    "GridMix": cd.GridMix,
    "StripeMix": cd.StripeMix,
    "CopyPaste": lambda **o: cd.CopyPaste(**FREE, **o),
    "CopyPaste, scaled": lambda **o: cd.CopyPaste(scale=(0.5, 1.5), flip=0.5, flip_pairs=(), feather=2.0, **FREE, **o),
    "ClassMix": lambda **o: cd.ClassMix(**FREE, **o),
    "CarveMix": lambda **o: cd.CarveMix(**FREE, **o),
    "CowMix": lambda **o: cd.CowMix(sigma=(3, 6), **FREE, **o),
    "FMix": lambda **o: cd.FMix(**FREE, **o),
    "SaliencyMix": cd.SaliencyMix,
    "Affine": cd.Affine,
    "MixUp": cd.MixUp,
    "MixUp, probabilities": lambda **o: cd.MixUp(soft_semantic="probabilities", **{"num_classes": 5, **o}),
    "RandomMix": lambda **o: cd.RandomMix([cd.CutMix(**o), cd.Mosaic(**o), cd.MixUp(**o)], [1, 2, 3]),
}


def seeded() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(5)


def pooled(make: Callable[..., Any], *inputs: Any, sizes: Any = None, calls: int = 2, **options: Any) -> Any:
    """Two calls by a generator, one by torch's own seed."""
    mix = make(**{"p": 0.8, **options})
    generator = seeded()
    results = [mix(*inputs, sizes=sizes, generator=generator) for _ in range(calls)]
    torch.manual_seed(3)
    return [*results, mix(*inputs, sizes=sizes)]


def of_targets(make: Callable[..., Any]) -> Any:
    """Images of several dtypes, with every kind of target that goes with all methods."""
    det = I["detection"]
    report = make(p=0.8)(I["float"], det, generator=seeded(), return_report=True)
    everything = {"instances": det, "semantic": I["maps"], "labels": I["labels"]}
    return [
        report,
        pooled(make, I["bytes"], det, on_filtered="ignore", instance_weights=True),
        pooled(make, I["half"], det, boxes_from="box"),
        pooled(make, I["float"], everything, num_classes=5, sizes=I["sizes"], calls=1),
        pooled(make, I["float"], {"instances": det, "labels": I["shares"]}, labels_by="objects"),
        pooled(make, I["listed"], I["listed detection"], rule="torchvision"),
    ]


CASES: dict[str, Callable[[], Any]] = {
    f"{name} of images": (lambda make=make: of_targets(make)) for name, make in METHODS.items()
}


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    CASES[function.__name__.replace("_", " ")] = function
    return function


@case
def maps_alone() -> Any:
    some = ("CutMix", "Mosaic", "ClassMix", "CarveMix", "ResizeMix", "CowMix")
    return [pooled(METHODS[name], I["bytes"], I["maps"].to(torch.uint8), sizes=I["sizes"]) for name in some]


@case
def labels_alone() -> Any:
    some = ("CutMix", "Mosaic", "MixUp", "RICAP")
    return [pooled(METHODS[name], I["float"], I["labels"], num_classes=5) for name in some]


@case
def sizes_as_lists() -> Any:
    return pooled(cd.CutMix, I["bytes"], I["detection"], sizes=I["sizes"].tolist())


@case
def collated() -> Any:
    samples = [(image, number) for image, number in zip(I["float"], range(4))]
    plain = pooled(lambda **o: cd.CutMix(num_classes=5, **o), samples)
    return plain, pooled(cd.CutMix, list(zip(I["listed"], I["listed detection"])))


@case
def panoptic() -> Any:
    some = ("CutMix", "Mosaic", "CopyPaste", "ResizeMix")
    return [pooled(METHODS[name], I["bytes"], I["panoptic"], min_visibility=0.3) for name in some]


@case
def padded_boxes() -> Any:
    plan = cd.Mosaic(p=1.0).make_plan(I["float"], generator=seeded())
    soft = cd.MixUp(p=1.0).make_plan(I["float"], generator=seeded())
    return [F.mix_padded(I["padded"], one) for one in (plan, soft)]


if "rotated" in I:

    @case
    def rotated_boxes() -> Any:
        some = ("CutMix", "Mosaic", "CopyPaste", "MixUp")
        kinds = ("keep", "refit")
        return [pooled(METHODS[name], I["bytes"], I["rotated"], rotated=kind) for name in some for kind in kinds]


@case
def volumes() -> Any:
    some = ("CutMix", "ResizeMix", "CowMix", "FMix", "CarveMix", "ClassMix", "MixUp", "CopyPaste")
    data = {"instances": I["volume boxes"], "semantic": I["volume maps"]}
    return [pooled(METHODS[name], I["volumes"], data, layout="BCDHW") for name in some]


@case
def clips() -> Any:
    moving = {"moves": lambda **o: cd.CutMix(region=regions.PathBox(regions.AreaBox()), **o)}
    some = {**{name: METHODS[name] for name in ("CutMix", "Mosaic", "MixUp", "GridMix")}, **moving}
    return [pooled(make, I["clips"], I["tracks"], layout="BTCHW") for make in some.values()]


@case
def banks() -> Any:
    results = []
    for images, sizes in ((I["bytes"], I["sizes"]), (I["listed"], None)):
        mix = cd.Mosaic(p=1.0, pairing=cd.SampleBank(max_samples=6))
        targets = I["detection"] if sizes is not None else I["listed detection"]
        generator = seeded()
        for _ in range(3):
            results.append(mix(images, targets, sizes=sizes, generator=generator))
        again = cd.Mosaic(p=1.0, pairing=cd.SampleBank(max_samples=6))
        again.load_state_dict(mix.state_dict())
        results.append(again(images, targets, sizes=sizes, generator=generator))
    labels = cd.CutMix(p=1.0, pairing="bank", num_classes=5)
    results += [labels(I["float"][:1], I["labels"][:1], generator=seeded()) for _ in range(2)]
    return results


@case
def single_samples() -> Any:
    made = [
        mix_single(METHODS[name](p=1.0), I["listed"], I["listed detection"], seeded())
        for name in METHODS
        if name != "Affine"
    ]
    return [(one.image, one.targets, one.report) for one in made]


@case
def other_uses_of_a_plan() -> Any:
    results = []
    for name in ("CutMix", "Mosaic", "CowMix", "ResizeMix", "CopyPaste", "MixUp"):
        plan = METHODS[name](p=1.0).make_plan(I["float"], I["detection"], generator=seeded())
        results += [plan, plan.share(), plan.pixel_ranges(), plan.owner_map()]
        results += [F.mix_pixels(I["bytes"], plan, fill=(1, 2, 3)), F.mix_labels(I["labels"], plan, 5)]
        results += [F.mix_instances(I["detection"], plan), F.object_pixels(I["detection"], plan)]
        if plan.weight is None:
            results += [F.mix_semantic(I["maps"], plan, ignore_index=255)]
        else:
            results += [F.mix_semantic_pair(I["maps"], plan), F.mix_semantic_soft(I["maps"], plan, num_classes=5)]
    return results


@case
def given_integer_images() -> Any:
    wide = (I["bytes"].to(torch.int32) * 200, I["bytes"].to(torch.int16))
    return [pooled(METHODS[name], images) for name in ("Mosaic", "MixUp", "ResizeMix") for images in wide]


@case
def samplers() -> Any:
    sizes, results = torch.from_numpy(I["sizes"].numpy()), []
    for sampler in (regions.BetaBox(), regions.AreaBox(), regions.MultiBox(), regions.MultiBox.french()):
        draws = sampler.draw(4, seeded())
        results += [draws, sampler.place(draws, sizes)]
    for mask in (masks.CowMask(sigma=(3, 6)), masks.FourierMask()):
        noise = mask.draw(4, SIZE, seeded())
        results += [tuple(noise), mask.place(noise, sizes, SIZE)]
    for mask in (masks.ClassMask(), masks.CarveMask(), masks.CarveMask(classes=(1, 2))):
        results.append(mask.place(mask.draw(4, seeded()), I["maps"]))
    results += [partners(name, 4, 4, 1, seeded()) for name in PAIRINGS]
    results += [partners(name, 4, 4, 3, seeded()) for name in ("roll", "shuffle")]
    results += [partners("bank", 4, 9, 2, seeded()), partners("behind", 2, 4, 3, seeded()), partners("roll", 1, 1, 1)]
    return results


@case
def semi_supervised() -> Any:
    weight = torch.linspace(-1, 1, 15, dtype=torch.float32, device="cpu").reshape(5, 3, 1, 1)
    images, results = I["float"] * 4 - 2, []

    def model(x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # what a user's model does is the user's
            return torch.nn.functional.conv2d(x, weight)

    losses = (semi.Consistency.unimatch(0.3), semi.Consistency.french(0.3), semi.Consistency.classmix(0.3))
    for mix in (cd.CutMix(p=1.0), cd.ClassMix(p=1.0), cd.CowMix(p=1.0, sigma=(3, 6)), semi.Cutout(p=0.7), None):
        for consistency in losses:
            options = {"consistency": consistency, "generator": seeded()}
            made = semi.mixed_consistency(model, model, images, mix, sizes=I["sizes"], **options)
            results.append((made.loss, made.logs, made.images, made.pseudo))
        if mix is not None:
            made = semi.mixed_consistency(
                model, model, images[:2], mix, partners=images[2:], partner_labels=I["maps"][2:], generator=seeded()
            )
            results.append((made.loss, made.logs, made.images, made.pseudo))
    return results


@case
def semi_supervised_boxes() -> Any:
    images, targets, results = I["float"], I["detection"], []
    found = [
        {
            "boxes": t["boxes"],
            "labels": t["labels"],
            "scores": torch.linspace(0.4, 1.0, len(t["boxes"]), dtype=torch.float32, device="cpu"),
        }
        for t in targets
    ]

    def student(pictures: list[Tensor], mixed: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {"loss": torch.stack([picture.mean() for picture in pictures]).sum()}

    mixpl = semi.MixPL(cache=4, tile=((16, 20), (20, 28)))
    tiles = semi.TileSwap(tiles=2)
    for mix in (None, cd.CutMix(p=1.0), semi.Cutout(region=regions.MultiBox.mixpl()), tiles, mixpl, mixpl):
        options = {"threshold": [0.5] * 100, "ignore_above": 0.2, "weigh": True, "generator": seeded()}
        made = semi.mixed_detection(student, lambda _: found, images, mix, **options)
        results.append((made.loss, made.logs, [tuple(view) for view in made.views]))
    partners = {"partners": images[2:], "partner_targets": targets[2:]}
    both = images[:2], cd.CutMix(p=1.0)
    made = semi.mixed_detection(student, lambda _: found[:2], *both, **partners, generator=seeded())
    results.append((made.loss, [tuple(view) for view in made.views]))
    plan = tiles.make_plan(images, generator=seeded())
    results.append(plan.inverse().owner_map())
    return results


@case
def mean_teachers() -> Any:
    student = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 1, dtype=torch.float32, device="cpu"),
        torch.nn.BatchNorm2d(2, dtype=torch.float32, device="cpu"),
    )
    with torch.no_grad():
        for number, weight in enumerate(student.parameters()):
            weight.copy_(torch.full(weight.shape, 0.1 * number + 0.3, dtype=torch.float32, device="cpu"))
    teacher = semi.MeanTeacher(student, decay=0.9, warmup=True)
    with torch.no_grad():
        for weight in student.parameters():
            weight.mul_(2)
    teacher.update(student)
    teacher.update(student)
    with torch.autocast("cpu", enabled=False):
        return [teacher(I["float"]), list(teacher.state_dict().values())]


EXPECTED: dict[str, list[Any]] = {}


def expected(name: str) -> list[Any]:
    """What comes out under torch's own defaults, once."""
    if name not in EXPECTED:
        EXPECTED[name] = list(leaves(CASES[name]()))
    return EXPECTED[name]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", CASES)
def test_the_results_are_the_same(name: str, setting: str):
    wanted = expected(name)
    with SETTINGS[setting]():
        found = CASES[name]()
    found = list(leaves(found))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert one == other


@pytest.mark.parametrize("setting", SETTINGS)
def test_albumentations_pipelines_are_the_same(setting: str):
    A = pytest.importorskip("albumentations")
    import cutmix_dense.albumentations as cda

    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    data = {
        "image": image,
        "mask": image[..., 0] // 64,
        "masks": [image[..., 1] // 128],
        "keypoints": [[4, 5], [30, 20]],
    }
    data |= {"bboxes": np.array([[3.0, 4, 30, 25]]), "labels": ["a"]}
    partner = {**data, "image": image[::-1].copy()}
    params = {
        "bbox_params": A.BboxParams("pascal_voc", label_fields=["labels"]),
        "keypoint_params": A.KeypointParams("xy"),
    }

    def mixed() -> list[Any]:
        results = []
        for transform in (cda.CutMix, cda.Mosaic, cda.ResizeMix, cda.CowMix, cda.CopyPaste):
            pipeline = A.Compose([transform(p=1.0, fill=7)], seed=4, **params)
            made = pipeline(**data, mix_metadata=[partner] * 3)
            results.append({key: made[key] for key in data})
        return list(leaves(results))

    wanted = mixed()
    with SETTINGS[setting]():
        assert mixed() == wanted


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_lightning_draws_the_same_plans_in_any_precision(precision: str):
    L = pytest.importorskip("lightning.pytorch")
    from cutmix_dense.lightning import MixCallback

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen: list[Any] = []

        def training_step(self, batch: Any, index: int) -> Tensor:
            self.seen.append((batch[0].sub(batch[0].amin()).bool(), [row["origin"].clone() for row in batch[1]]))
            assert batch[0].dtype == self.weight.dtype
            return self.weight * batch[0].mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(precision: str) -> list[Any]:
        images = torch.arange(4.0)[:, None, None, None].expand(4, 3, *SIZE)
        rows = [{"boxes": row["boxes"], "labels": row["labels"]} for row in I["detection"]]
        batches = [(images, rows)] * 3
        module = Module()
        mix = cd.RandomMix([cd.CutMix(p=1.0), cd.Mosaic(p=1.0), cd.GridMix(p=1.0)])
        torch.manual_seed(8)
        options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", precision=precision, callbacks=[MixCallback(mix)], **options
        )
        trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
        assert trainer.num_training_batches == 3
        return list(leaves(module.seen))

    assert fit(precision) == fit("32-true")
