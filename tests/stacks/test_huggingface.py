"""Mixing in real trainings by transformers' Trainer, a few steps of tiny models: evaluation isn't mixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import coded_image, decode
from snippets import ROOT, blocks, run
from torchvision.ops import box_convert

import cutmix_dense as cd

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from cutmix_dense.huggingface import MixCallback, MixCollator, mix_batch, soft_cross_entropy  # noqa: E402

FRAME, CLASSES, COUNT = (32, 48), 7, 8
SIZES = [FRAME] * COUNT

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument is set")


def label_of(prov_or_numbers):
    """The class of a pixel, by its code."""
    number, y, x = prov_or_numbers
    return (number * 5 + x // 4 + y // 3) % CLASSES


def samples(count=COUNT, first=0):
    """Dicts that transformers' default collator takes: coded images and maps that follow from the code."""
    y, x = torch.meshgrid(torch.arange(FRAME[0]), torch.arange(FRAME[1]), indexing="ij")
    return [
        {"pixel_values": coded_image(number, *FRAME), "labels": label_of((torch.tensor(number), y, x)), "name": "a"}
        for number in range(first, first + count)
    ]


def segformer():
    torch.manual_seed(0)
    widths = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
    config = transformers.SegformerConfig(num_labels=CLASSES, decoder_hidden_size=16, **widths)
    return transformers.SegformerForSemanticSegmentation(config)


class Seen:
    """What a model was given: (training?, epoch, images, labels) per call."""

    def __init__(self, model):
        self.rows, self.trainer = [], None
        model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, model, args, inputs):
        epoch = int(self.trainer.state.epoch or 0)
        self.rows.append((model.training, epoch, inputs["pixel_values"].clone(), inputs.get("labels")))

    def images(self, training, epoch=None):
        return [row[2] for row in self.rows if row[0] == training and epoch in (None, row[1])]


def trainer_of(tmp_path, callbacks, *, data=None, model=None, kind=None, collator=None, eval_set=None, **settings):
    """A Trainer on the CPU, and what its model sees."""
    model = model or segformer()
    seen = Seen(model)
    options = {name: settings.pop(name) for name in ("compute_loss_func",) if name in settings}
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        learning_rate=1e-5,
        **{"save_strategy": "no", **settings},
    )
    trainer = (kind or transformers.Trainer)(
        model=model,
        args=args,
        train_dataset=samples() if data is None else data,
        eval_dataset=samples(4, first=20) if eval_set is None else eval_set,
        data_collator=collator or transformers.default_data_collator,
        callbacks=callbacks,
        **options,
    )
    seen.trainer = trainer
    return trainer, seen


def foreign(image):
    """How many pixels of an image aren't its base's; raises unless each is some image's, at its place."""
    prov = decode(image, FRAME, [FRAME] * 40)
    return int((prov.source != prov.source[0, 0]).sum()), prov


def check_maps(seen):
    """Labels agree with the coded pixels, in training and in evaluation."""
    for _, _, images, labels in seen.rows:
        for image, ids in zip(images, labels):
            prov = foreign(image)[1]
            assert torch.equal(ids, torch.from_numpy(label_of((prov.source, prov.y, prov.x))))


@pytest.mark.parametrize(
    "workers",
    [
        {},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
        {
            "dataloader_num_workers": 2,
            "dataloader_persistent_workers": True,
            "dataloader_multiprocessing_context": "spawn",
        },
    ],
    ids=["none", "fork", "spawn"],
)
def test_training_is_mixed_until_the_last_epoch_and_evaluation_never(tmp_path, workers):
    mix = cd.CutMix(p=1.0)
    trainer, seen = trainer_of(
        tmp_path, [MixCallback(mix, close_epochs=1)], num_train_epochs=3, eval_strategy="epoch", **workers
    )
    trainer.train()
    trainer.predict(samples(4, first=20))
    for epoch in range(3):
        counts = [foreign(image)[0] for images in seen.images(True, epoch) for image in images]
        assert len(counts) == COUNT
        assert (sum(count > 0 for count in counts) >= 6) if epoch < 2 else not any(counts)
    evaluated = seen.images(False)
    assert len(evaluated) == 4  # after every epoch, and the prediction
    wanted = torch.stack([sample["pixel_values"] for sample in samples(4, first=20)])
    assert all(torch.equal(images, wanted) for images in evaluated)
    check_maps(seen)
    assert not mix.closed  # opened again behind the training


def test_the_last_steps(tmp_path):
    trainer, seen = trainer_of(tmp_path, [MixCallback(cd.CutMix(p=1.0), close_steps=3)], max_steps=8)
    trainer.train()
    mixed = [any(foreign(image)[0] for image in images) for images in seen.images(True)]
    assert mixed[:5] == [True] * 5
    assert mixed[6:] == [False] * 2  # one batch was made ahead


def test_windows_of_steps(tmp_path):
    mix = cd.RandomMix([cd.CutMix(p=1.0)], windows=[(2, 5)])
    trainer, seen = trainer_of(tmp_path, [MixCallback(mix, by_epoch=False)], max_steps=8)
    trainer.train()
    mixed = [any(foreign(image)[0] for image in images) for images in seen.images(True)]
    assert len(mixed) == 8
    assert mixed[:2] == [False] * 2
    assert mixed[3:5] == [True] * 2  # one batch was made ahead
    assert mixed[6:] == [False] * 2


def test_what_the_user_closed_stays_closed(tmp_path):
    mix = cd.CutMix(p=1.0)
    mix.close()
    trainer, seen = trainer_of(tmp_path, [MixCallback(mix, close_epochs=1)], num_train_epochs=2)
    trainer.train()
    assert not any(foreign(image)[0] for images in seen.images(True) for image in images)
    assert mix.closed


class Stops(transformers.TrainerCallback):
    """Ends a training by an error in its last epoch."""

    def __init__(self, at):
        self.at = at

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.at:
            self.at = -1
            raise KeyboardInterrupt


def test_a_training_after_one_that_broke_off(tmp_path):
    callback = MixCallback(cd.CutMix(p=1.0), close_epochs=1)
    trainer, seen = trainer_of(tmp_path, [callback, Stops(3)], num_train_epochs=2)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert callback.mix.closed
    seen.rows.clear()
    trainer.train()
    assert any(foreign(image)[0] for images in seen.images(True, 0) for image in images)
    assert not any(foreign(image)[0] for images in seen.images(True, 1) for image in images)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_gradient_accumulation_mixes_each_batch(tmp_path, accumulation):
    trainer, seen = trainer_of(
        tmp_path,
        [MixCallback(cd.CutMix(p=1.0))],
        data=samples(12),
        max_steps=2,
        gradient_accumulation_steps=accumulation,
    )
    trainer.train()
    batches = seen.images(True)
    assert len(batches) == 2 * accumulation
    assert all(any(foreign(image)[0] for image in images) for images in batches)
    check_maps(seen)


@pytest.mark.parametrize("workers", [{}, {"dataloader_num_workers": 2}], ids=["none", "two"])
@pytest.mark.parametrize("save", [2, 3], ids=["epoch", "within"])
def test_a_resumed_training(tmp_path, workers, save):
    """Two batches per epoch: after an epoch it goes on with the same mixes; within one, with others."""
    settings = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": save, **workers}
    trainer, seen = trainer_of(tmp_path, [MixCallback(cd.CutMix(p=1.0), close_epochs=1)], **settings)
    trainer.train()
    whole = seen.images(True)
    again, seen = trainer_of(tmp_path, [MixCallback(cd.CutMix(p=1.0), close_epochs=1)], **settings)
    again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{save}"))
    rest = seen.images(True)
    assert len(rest) == 6 - save
    assert torch.equal(rest[0], whole[save]) == (save == 2)
    if save == 2:
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[save:]))
    mixed = [any(foreign(image)[0] for image in images) for images in rest]
    assert mixed == [True] * (4 - save) + [False] * 2  # closed in the last epoch, counted over both runs
    check_maps(seen)


@pytest.mark.parametrize("workers", [{}, {"dataloader_num_workers": 2}], ids=["none", "two"])
def test_a_seed_repeats_a_training(tmp_path, workers):
    runs = []
    for seed in (1, 1, 2):
        trainer, seen = trainer_of(tmp_path, [MixCallback(cd.CutMix(p=1.0))], num_train_epochs=2, seed=seed, **workers)
        trainer.train()
        runs.append(torch.cat(seen.images(True)))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_a_dataset_that_transforms_itself(tmp_path):
    """A dataset of Hugging Face's library whose ``with_transform`` calls the processor, as in the tutorials."""
    datasets = pytest.importorskip("datasets")
    rows = samples(24)

    def process(columns):
        chosen = [rows[number] for number in columns["number"]]
        return {key: [row[key] for row in chosen] for key in ("pixel_values", "labels")}

    sets = [
        datasets.Dataset.from_dict({"number": list(part)}).with_transform(process) for part in (range(8), range(20, 24))
    ]
    trainer, seen = trainer_of(
        tmp_path,
        [MixCallback(cd.CutMix(p=1.0))],
        data=sets[0],
        eval_set=sets[1],
        num_train_epochs=1,
        eval_strategy="epoch",
        remove_unused_columns=False,
    )
    trainer.train()
    assert all(any(foreign(image)[0] for image in images) for images in seen.images(True))
    assert not any(foreign(image)[0] for images in seen.images(False) for image in images)
    check_maps(seen)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(samples())


@pytest.mark.parametrize("dispatch", [None, True, False])
def test_a_stream_of_unknown_length(tmp_path, dispatch):
    config = {} if dispatch is None else {"accelerator_config": {"dispatch_batches": dispatch}}
    trainer, seen = trainer_of(
        tmp_path, [MixCallback(cd.CutMix(p=1.0), close_steps=2)], data=Stream(), max_steps=5, **config
    )
    trainer.train()
    mixed = [any(foreign(image)[0] for image in images) for images in seen.images(True)]
    assert mixed[:3] == [True] * 3
    assert not mixed[-1]
    trainer, _ = trainer_of(tmp_path, [MixCallback(cd.CutMix(), close_epochs=1)], data=Stream(), max_steps=5)
    with pytest.raises(ValueError, match="close_epochs needs a dataset of known length: count in close_steps"):
        trainer.train()


SPAWN = {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "spawn"}


@pytest.mark.parametrize(
    ("workers", "unused"),
    [
        ({}, True),
        ({}, False),
        ({"dataloader_num_workers": 1}, True),
        ({"dataloader_num_workers": 1}, False),
        (SPAWN, False),
    ],
)
@pytest.mark.filterwarnings("ignore:Got pickle error when attempting to start a worker Process")
def test_a_trainer_does_not_take_the_collator(tmp_path, workers, unused):
    """It would evaluate on mixed images."""
    collator = MixCollator(transformers.default_data_collator, cd.CutMix(p=1.0))
    trainer, seen = trainer_of(tmp_path, [], collator=collator, max_steps=1, remove_unused_columns=unused, **workers)
    with pytest.raises(TypeError, match="MixCollator can't be the data_collator of a Trainer"):
        trainer.evaluate()
    with pytest.raises(TypeError, match="MixCollator can't be the data_collator of a Trainer"):
        trainer.train()
    assert not seen.rows


class OwnLoader(transformers.Trainer):
    """A Trainer whose training loader is no DataLoader."""

    def get_train_dataloader(self):
        return [transformers.default_data_collator(samples(4))]


class Hidden(transformers.Trainer):
    """A Trainer that collates before anyone can mix."""

    def get_train_dataloader(self):
        class Loader(torch.utils.data.DataLoader):
            def __iter__(self):
                return iter([transformers.default_data_collator(samples(4))])

        return Loader(self.train_dataset, batch_size=4)


def test_what_cannot_be_mixed_is_said(tmp_path):
    trainer, _ = trainer_of(tmp_path, [MixCallback(cd.CutMix())], kind=OwnLoader, max_steps=1)
    with pytest.raises(TypeError, match="the training loader must be a DataLoader, got list"):
        trainer.train()
    trainer, _ = trainer_of(tmp_path, [MixCallback(cd.CutMix())], kind=Hidden, max_steps=1)
    with pytest.raises(RuntimeError, match="no batch was collated by the training loader's collate_fn"):
        trainer.train()
    trainer, _ = trainer_of(tmp_path, [MixCallback(cd.CutMix()), MixCallback(cd.CutMix())], max_steps=1)
    with pytest.raises(ValueError, match="the training loader mixes already"):
        trainer.train()
    for options, message in (
        ({"close_epochs": -1}, "must be at least 0"),
        ({"close_epochs": 0.5}, "must be integers, got 0.5 and 0"),
        ({"close_epochs": 1, "close_steps": 1}, "one of them 0"),
        ({"by_epoch": False}, "by_epoch=False .* mix has none"),
        ({"stuff": "none"}, "stuff must be class ids or 'all'"),
        ({"mix": cd.RandomMix([cd.CutMix()], total=3, close_last=1)}, "schedule of its own"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            MixCallback(options.pop("mix", cd.CutMix()), **options)


def vit():
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=FRAME,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=CLASSES,
    )
    return transformers.ViTForImageClassification(config)


def test_classification_has_a_loss_of_its_own(tmp_path):
    data = [{"pixel_values": row["pixel_values"] / 50, "labels": i % CLASSES} for i, row in enumerate(samples(12))]
    mix = cd.CutMix(p=1.0, num_classes=CLASSES)
    trainer, _ = trainer_of(tmp_path, [MixCallback(mix)], model=vit(), data=data, max_steps=1)
    with pytest.raises(ValueError, match="compute_loss_func=cutmix_dense.huggingface.soft_cross_entropy"):
        trainer.train()
    losses = []
    for accumulation, batch in ((1, 6), (3, 2)):  # the same step in one batch or three; p=0 makes them comparable
        closed = cd.CutMix(p=0.0, num_classes=CLASSES)
        trainer, seen = trainer_of(
            tmp_path,
            [MixCallback(closed, soft_labels=True)],
            model=vit(),
            data=data[:6],
            eval_set=data,
            compute_loss_func=soft_cross_entropy,
            max_steps=1,
            logging_steps=1,
            eval_strategy="steps",
            gradient_accumulation_steps=accumulation,
        )
        trainer._train_batch_size = trainer.args.per_device_train_batch_size = batch
        trainer.train()
        losses.append(next(row["loss"] for row in trainer.state.log_history if "loss" in row))
        assert len(seen.images(True)) == accumulation
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] == pytest.approx(torch.tensor(CLASSES).log().item(), rel=0.2)  # an untrained one


PAGE = ROOT / "docs" / "stacks" / "huggingface.md"


def sources(images, known):
    """Per pixel which of the known images (unlike everywhere) it came from; raises if none has it at its place."""
    same = (images[:, None] == known[None]).all(dim=2)
    assert same.any(dim=1).all()
    return same.float().argmax(dim=1)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names of the page after all of its blocks, and what ``Trainer`` was given: {task: [(training?, inputs)]}."""
    given, patch = {}, pytest.MonkeyPatch()
    loss = transformers.Trainer.compute_loss

    def watched(self, model, inputs, *rest, **options):
        given.setdefault(self.args.output_dir, []).append((model.training, dict(inputs)))
        return loss(self, model, inputs, *rest, **options)

    patch.setattr(transformers.Trainer, "compute_loss", watched)
    patch.chdir(tmp_path_factory.mktemp("page"))
    names = {}
    torch.manual_seed(1)
    for number, snippet in enumerate(blocks(PAGE, "python")):
        run(snippet, PAGE, number, names)
    patch.undo()
    return names, given


@pytest.mark.parametrize("task", ["detr", "segformer", "former", "vit"])
def test_the_page_mixes_training_and_not_evaluation(page, task):
    names, given = page
    pictures = list(names["pictures"])
    if task == "vit":
        known = names["pictures"] / 255
    else:
        known = names[f"{task}_processor"](pictures, return_tensors="pt")["pixel_values"]
    trained = [inputs for training, inputs in given[task] if training]
    evaluated = [inputs for training, inputs in given[task] if not training]
    assert (len(trained), len(evaluated)) == (4, 2)  # two epochs, the last one closed
    for step, inputs in enumerate(trained):
        source = sources(inputs["pixel_values"], known)
        assert (source < 6).all()
        alone = (source == source[:, :1, :1]).all()
        assert alone == (step >= 2)
    for inputs in evaluated:
        assert torch.equal(inputs["pixel_values"], known[6:])


def test_the_boxes_of_the_page(page):
    names, given = page
    known = names["detr_processor"](list(names["pictures"]), return_tensors="pt")["pixel_values"]
    cut = 0
    for _, inputs in given["detr"]:
        source = sources(inputs["pixel_values"], known)
        for where, label in zip(source, inputs["labels"]):
            wanted = []
            for image in range(8):
                for number, (x0, y0, x1, y1) in enumerate(names["corners"][image]):
                    visible = torch.zeros(64, 96, dtype=torch.bool)
                    visible[y0:y1, x0:x1] = where[y0:y1, x0:x1] == image
                    if visible.sum() >= 0.1 * (y1 - y0) * (x1 - x0):
                        rows, columns = visible.any(1).nonzero(), visible.any(0).nonzero()
                        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                        wanted.append((number, [int(side) for side in tight]))
                        cut += wanted[-1][1] != [x0, y0, x1, y1]
            boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * torch.tensor([96, 64, 96, 64])
            found = zip(label["class_labels"].tolist(), boxes.round().int().tolist())
            assert sorted(found) == sorted(wanted)
    assert cut > 0


@pytest.mark.parametrize("task", ["segformer", "former"])
def test_the_maps_of_the_page(page, task):
    names, given = page
    known = names[f"{task}_processor"](list(names["pictures"]), return_tensors="pt")["pixel_values"]
    y, x = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    for _, inputs in given[task]:
        for index, where in enumerate(sources(inputs["pixel_values"], known)):
            wanted = names["maps"][where, y, x]
            if task == "segformer":
                assert torch.equal(inputs["labels"][index], wanted)
                continue
            masks, classes = inputs["mask_labels"][index], inputs["class_labels"][index]
            assert sorted(classes.tolist()) == wanted.unique().tolist()
            assert all(torch.equal(mask.bool(), wanted == label) for mask, label in zip(masks, classes))


def test_the_page_without_a_trainer(page):
    names, _ = page
    known = names["detr_processor"](list(names["pictures"]), return_tensors="pt")["pixel_values"]
    for batch in (names["collated"], names["mixed"]):
        source = sources(batch["pixel_values"], known)
        assert not (source == source[:, :1, :1]).all()
        assert isinstance(batch, transformers.BatchFeature)
        assert all("visibility" in label for label in batch["labels"])


@pytest.mark.parametrize("number", range(len(blocks(PAGE, "python"))))
def test_a_snippet_is_short(number):
    shown = blocks(PAGE, "python")[number]
    assert len([line for line in shown.splitlines() if line.strip()]) <= 15


PROCESSORS = ["Detr", "ConditionalDetr", "DeformableDetr", "Yolos", "RTDetr", "RfDetr"]


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("later", [False, True], ids=["padded", "padded later"])
def test_what_the_processors_write(name, later):
    """Wide and tall images of coded pixels: boxes and masks agree with them, whatever a processor counts in."""
    kind = getattr(transformers, f"{name}ImageProcessor", None)
    if kind is None:
        pytest.skip(f"this version of transformers has no {name}ImageProcessor")
    processor = kind(do_resize=later, do_rescale=False, do_normalize=False, do_convert_annotations=True, do_pad=True)
    sizes = [(32, 48), (48, 48), (40, 40), (48, 40)]
    images = [coded_image(number, *size) for number, size in enumerate(sizes)]
    box = [5, 6, 20, 22]  # x, y, width, height
    polygon = [5, 6, 25, 6, 25, 28, 5, 28]
    rows = {"bbox": box, "area": 440, "category_id": 3, "iscrowd": 0, "segmentation": [polygon]}
    annotations = [{"image_id": number, "annotations": [rows]} for number in range(4)]
    options = {"return_segmentation_masks": True, "return_tensors": "pt"}
    if later:
        own = [{"height": height, "width": width} for height, width in sizes]  # to the size they have
        single = [
            processor(image, annotations=row, size=size, **options)
            for image, row, size in zip(images, annotations, own)
        ]
        batch = {"labels": [one["labels"][0] for one in single]}
        batch |= {"pixel_values": torch.zeros(4, 3, 48, 48), "pixel_mask": torch.zeros(4, 48, 48, dtype=torch.long)}
        for number, (one, (height, width)) in enumerate(zip(single, sizes)):
            batch["pixel_values"][number, :, :height, :width] = one["pixel_values"][0]
            batch["pixel_mask"][number, :height, :width] = 1
    else:
        batch = processor(images, annotations=annotations, **options)
    mixed = mix_batch(batch, cd.CutMix(p=1.0, min_visibility=0.01), generator=torch.Generator().manual_seed(1))
    assert type(mixed) is type(batch)
    frame, foreign_boxes = tuple(mixed["pixel_values"].shape[-2:]), 0
    for number, (image, label, (height, width)) in enumerate(zip(mixed["pixel_values"], mixed["labels"], sizes)):
        assert isinstance(label, transformers.BatchFeature)
        prov = decode(image, (height, width), sizes, batch["pixel_values"][number])
        unit = torch.tensor([width, height] * 2 if later else [frame[1], frame[0]] * 2)
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * unit
        for row, (source, _) in enumerate(label["origin"].tolist()):
            inside = (prov.x >= 5) & (prov.x < 25) & (prov.y >= 6) & (prov.y < 28) & (prov.source == source)
            y, x = inside.nonzero()
            tight = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
            foreign_boxes += source != number
            if label["visibility"][row] < 1:
                assert torch.allclose(boxes[row], tight.float(), atol=1e-3)
            else:  # as it came
                assert torch.allclose(boxes[row], torch.tensor([5.0, 6, 25, 28]), atol=1e-3)
            if "masks" in label:
                found = label["masks"][row][:height, :width].numpy()
                wanted, mine = np.zeros((height, width), dtype=bool), prov.source == source
                wanted[mine] = batch["labels"][source]["masks"][0].numpy()[prov.y[mine], prov.x[mine]]
                assert np.array_equal(found, wanted)
    assert foreign_boxes > 0
