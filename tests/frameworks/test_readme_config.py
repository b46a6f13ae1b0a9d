"""The lines of config in docs/stacks/mmengine.md and configs/README.md, merged word for word into stock configs, mix.

The frameworks' Runner builds datasets and preprocessors; the pixels that come out say which picture they are of.
"""

from __future__ import annotations

import copy
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

import torch
from drawn import BOXES, HEIGHT, NAMES, WIDTH, decoded, draw_cityscapes, draw_coco, draw_voc, on_disk, runner_of
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from snippets import ROOT, blocks
from trainings import (
    DEEPLAB,
    DEEPLAB_VOC,
    DEEPLAB_VOC_BATCH,
    MASK_RCNN,
    RCNN_COCO,
    RETINA,
    RTMDET,
    RTMDET_640,
    SEGFORMER,
    shrunk,
)
from trainings import coco as coco_settings

from cutmix_dense import InstanceBank
from cutmix_dense.mmengine import BatchMix, CloseMixHook, WeighLossesHook
from cutmix_dense.mmengine.replaced import find_mixes

RETINANET = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
RTMDET_TINY = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
YOLOX = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"
FASTER_RCNN = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
FCN = "mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py"
DEEPLABV3PLUS = "mmseg::deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py"
SEGFORMER_B0 = "mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py"


def lines_of(page, *words):
    """The one block of a page with these words; the page's import in front, where a block counts on it."""
    found = [block for block in blocks(ROOT / page, "python") if all(word in block for word in words)]
    (snippet,) = found
    (imports,) = {
        line for block in blocks(ROOT / page, "python") for line in block.splitlines() if "custom_imports" in line
    }
    return snippet if imports in snippet else f"{imports}\n{snippet}"


README_SAMPLE = ("docs/stacks/mmengine.md", "dense.CutMix", "PackDetInputs")
README_BATCH = ("docs/stacks/mmengine.md", "cutmix_dense.DetDataPreprocessor", "AreaBox")
README_BANK = ("docs/stacks/mmengine.md", "InstanceBank")
DET_SAMPLE = ("configs/README.md", "dense.CutMix", "PackDetInputs")
SEG_SAMPLE = ("configs/README.md", "PackSegInputs")
WRAPPED = ("configs/README.md", "dense.Mosaic", "PackDetInputs")
DET_BATCH = ("configs/README.md", "DetDataPreprocessor")
README_HOOK = ("docs/stacks/mmengine.md", "WeighLossesHook")
WEIGHED = ("docs/losses.md", "WeighLossesHook", "DetDataPreprocessor")
SEG_BATCH = ("configs/README.md", "SegDataPreProcessor")

BOX = torch.tensor([[5.0, 10.0, 35.0, 30.0]])


def merged(base, lines):
    """A stock config with lines below it, as a user writes them."""
    return Config.fromstring(f'_base_ = "{base}"\n{lines_of(*lines)}', file_format=".py")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return draw_coco(tmp_path_factory.mktemp("coco") / "data")


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    return draw_cityscapes(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return draw_voc(tmp_path_factory.mktemp("voc"))


@pytest.fixture(autouse=True)
def scope():
    yield
    init_default_scope("mmengine")


def batches(runner, count):
    """Batches as a training gets them; no picture is mixed with itself, as from an epoch before."""
    if hasattr(runner.train_loop, "dataloader_iterator"):
        yield from islice(runner.train_loop.dataloader_iterator, count)
        return
    made = 0
    while made < count:
        for mix in find_mixes(runner.train_dataloader.dataset):
            mix.cache.clear()
        for batch in islice(runner.train_dataloader, count - made):
            yield batch
            made += 1


def close(runner):
    """What CloseMixHook does at the end of a training."""
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, CloseMixHook)]
    hook.before_train(runner)
    runner.train_loop._epoch, runner.train_loop._iter = runner.max_epochs - 1, runner.max_iters - 1
    hook.before_train_epoch(runner)


def check_nothing_is_idle(runner):
    """The check at the start of a training, by the hooks that the Runner has of itself."""
    runner.train_loop  # noqa: B018 – built by asking for it
    for hook in runner.hooks:
        if type(hook).__name__ == "CheckMixHook":
            hook.before_run(runner)
            return
    raise AssertionError("the Runner checks nothing")


# per sample: every pixel's picture and place


def foreign_pixels(preprocessor, batch):
    """How many pixels of a batch are of other pictures; its boxes must say the same as its pixels."""
    data = preprocessor(batch, training=True)
    pictures = on_disk(preprocessor, data["inputs"])
    foreign = 0
    for picture, sample in zip(pictures, data["data_samples"]):
        height, width = sample.img_shape
        assert (height, width) == (HEIGHT, WIDTH)
        number, x, y = decoded(picture[:height, :width])
        assert {*np.unique(number)} <= {*range(6)}
        rows, columns = np.mgrid[:height, :width]
        assert (y == rows).all()
        assert ((x == columns) | (x == width - 1 - columns)).all()
        foreign += int((number != sample.img_id).sum())
        seen = []
        for box, label in zip(sample.gt_instances.bboxes.numpy(), sample.gt_instances.labels.tolist()):
            fits = []
            for x0, y0, x1, y1 in BOXES:
                inside = (number == label) & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
                shown_rows, shown_columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
                if len(shown_rows):
                    shown = [shown_columns[0], shown_rows[0], shown_columns[-1] + 1, shown_rows[-1] + 1]
                    fits.append(bool(np.abs(box - shown).max() < 0.01))
            assert any(fits), (box, label)
            seen.append(label)
        assert {*seen} <= {*np.unique(number).tolist()}
    return foreign


@pytest.mark.parametrize("lines", [README_SAMPLE, DET_SAMPLE], ids=["page", "configs"])
@pytest.mark.parametrize("base", [RETINANET, RTMDET_TINY, FASTER_RCNN])
def test_mmdet_per_sample(base, lines, coco, tmp_path):
    runner = runner_of(merged(base, lines), coco, tmp_path, batch_size=3)
    check_nothing_is_idle(runner)
    preprocessor = runner.model.data_preprocessor
    assert sum(foreign_pixels(preprocessor, batch) for batch in batches(runner, 5)) > 10000
    close(runner)
    assert sum(foreign_pixels(preprocessor, batch) for batch in batches(runner, 3)) == 0


def at_the_mix(runner, count=1):
    """What the first mix of a pipeline gives: later steps jitter colours."""
    mix = next(iter(find_mixes(runner.train_dataloader.dataset)))
    given, original = [], mix.transform
    mix.transform = lambda results: given.append(original(results)) or dict(given[-1])
    for _ in batches(runner, count):
        pass
    del mix.transform
    return given


def numbers_in(results):
    """The pictures that fill a hundredth of a sample or more, by the bits that resizing leaves alone."""
    number, _, _ = decoded(results["img"])
    found, size = np.unique(number[(results["img"] != 114).any(axis=2)], return_counts=True)  # without fill
    return {int(one) for one, pixels in zip(found, size) if 0 <= one < 6 and pixels > number.size / 100}


def check_mosaics(runner, size):
    """Each shows several pictures, with their objects; a closed one shows one."""
    check_nothing_is_idle(runner)
    samples = at_the_mix(runner)[-4:]  # by then a cache has filled
    assert samples
    for results in samples:
        assert results["img"].shape == (*size, 3)
        labels = {*results["gt_bboxes_labels"].tolist()}
        assert len(labels) >= 2
        assert labels <= numbers_in(results)


def test_yolox_in_its_own_wrapper(coco, tmp_path):
    runner = runner_of(merged(YOLOX, WRAPPED), coco, tmp_path, batch_size=3)
    check_mosaics(runner, (640, 640))
    close(runner)
    for results in at_the_mix(runner):
        assert {*results["gt_bboxes_labels"].tolist()} == {results["img_id"]} == numbers_in(results)


# per sample: colours and classes go together, whatever the pipeline does


def map_of(sample):
    """The map of a data sample; the frameworks name its field differently."""
    (value,) = sample.gt_sem_seg.values()
    return value[0]


def sources_of(preprocessor, batch):
    """From how many pictures each output comes; every class has one colour of its own there, as its picture had."""
    data = preprocessor(batch, training=True)
    pictures = on_disk(preprocessor, data["inputs"])
    counts = []
    for picture, sample in zip(pictures, data["data_samples"]):
        ids = map_of(sample).numpy()
        codes = (picture << np.array([0, 8, 16])).sum(axis=2)
        colours, shares = [], []
        for one in np.setdiff1d(np.unique(ids), [255]):
            values, count = np.unique(codes[ids == one], return_counts=True)
            shares.append((count.max(), count.sum()))
            if count.sum() > 2000:
                colours.append(values[count.argmax()])
        same, whole = np.sum(shares, axis=0)
        assert same > 0.9 * whole  # but for resized borders of quarters
        assert len({*colours}) == len(colours)
        counts.append(len({one // 4 for one in np.unique(ids).tolist() if one != 255}))
    return counts


@pytest.mark.parametrize("base", [FCN, DEEPLABV3PLUS, SEGFORMER_B0])
def test_mmseg_per_sample(base, cityscapes, tmp_path):
    runner = runner_of(merged(base, SEG_SAMPLE), cityscapes, tmp_path, batch_size=2)
    check_nothing_is_idle(runner)
    preprocessor = runner.model.data_preprocessor
    counts = [count for batch in batches(runner, 6) for count in sources_of(preprocessor, batch)]
    assert 1 in counts
    assert 2 in counts
    close(runner)
    assert {count for batch in batches(runner, 2) for count in sources_of(preprocessor, batch)} == {1}


# per batch: against the same batch unmixed


def check_batches(runner, count=6):
    """What differs from the unmixed batch is of another image of it, at the same place; so are the annotations."""
    check_nothing_is_idle(runner)
    preprocessor = runner.model.data_preprocessor
    mixes = [module for module in preprocessor.modules() if isinstance(module, BatchMix)]
    assert mixes
    foreign = 0
    for batch in batches(runner, count):
        outputs = []
        for closed in (True, False):
            for mix in mixes:
                mix.close(closed)
            given = {key: list(value) for key, value in batch.items()}
            given["data_samples"] = copy.deepcopy(given["data_samples"])
            outputs.append(preprocessor(given, training=True))
        foreign += compare(*outputs)
    assert foreign > 5000
    close(runner)
    assert all(mix.mix.closed for mix in mixes)


def compare(plain, mixed):
    """Foreign pixels of a mixed batch, each of which must be another image's at the same place."""
    assert plain["inputs"].shape == mixed["inputs"].shape
    foreign = 0
    for index, sample in enumerate(mixed["data_samples"]):
        own = (mixed["inputs"][index] == plain["inputs"][index]).all(dim=0)
        foreign += int((~own).sum())
        found = own.clone()
        if "gt_sem_seg" in sample:
            maps = [map_of(one) for one in plain["data_samples"]]
            result = map_of(sample)
        for other in range(len(plain["inputs"])):
            theirs = ~own & (mixed["inputs"][index] == plain["inputs"][other]).all(dim=0)
            found |= theirs
            if "gt_sem_seg" in sample and other != index:
                only = theirs & ~(mixed["inputs"][index] == plain["inputs"][index]).all(dim=0)
                assert torch.equal(result[only], maps[other][only])
        assert bool(found.all())
        if "gt_sem_seg" in sample:
            before = plain["inputs"].unbind()
            alone = own & ~torch.stack(
                [(before[index] == one).all(0) for i, one in enumerate(before) if i != index]
            ).any(0)
            assert torch.equal(result[alone], maps[index][alone])
        if "gt_instances" in sample:
            sources = sample.gt_instances.origin[:, 0].tolist()
            labels = [
                int(plain["data_samples"][i].gt_instances.labels[k]) for i, k in sample.gt_instances.origin.tolist()
            ]
            assert sample.gt_instances.labels.tolist() == labels
            if bool(own.all()):
                assert {*sources} <= {index}
    return foreign


@pytest.mark.parametrize("lines", [README_BATCH, DET_BATCH], ids=["page", "configs"])
@pytest.mark.parametrize("base", [RETINANET, RTMDET_TINY, YOLOX, FASTER_RCNN])
def test_mmdet_per_batch(base, lines, coco, tmp_path):
    check_batches(runner_of(merged(base, lines), coco, tmp_path, batch_size=2), 4)


@pytest.mark.parametrize("masks", [False, True])
def test_mmdet_pastes_cut_outs_of_a_bank(masks, coco, tmp_path, monkeypatch):
    """As ``cutmix-dense bank`` makes it of COCO, with masks, in a detector with boxes alone, too."""
    monkeypatch.chdir(tmp_path)
    bank = InstanceBank(margin=0)
    target = {"boxes": BOX, "labels": torch.tensor([1])}
    if masks:
        target["masks"] = torch.zeros(1, 40, 40, dtype=torch.bool)
        x0, y0, x1, y1 = BOX[0].int().tolist()
        target["masks"][0, y0:y1, x0:x1] = True
    bank.add([torch.full((3, 40, 40), 251, dtype=torch.uint8)], [target])
    bank.save("bank.pt")
    runner = runner_of(merged(RETINANET, README_BANK), coco, tmp_path, batch_size=2)
    preprocessor, pasted = runner.model.data_preprocessor, 0
    for batch in batches(runner, 6):
        data = preprocessor(batch, training=True)
        for picture, sample in zip(on_disk(preprocessor, data["inputs"]), data["data_samples"]):
            rows = sample.gt_instances
            for x0, y0, x1, y1 in torch.as_tensor(rows.bboxes[rows.labels == 1]).int().tolist():
                if (x1 - x0, y1 - y0) == (30, 20):
                    pasted += 1
                    assert (picture[y0:y1, x0:x1] == 251).mean() > 0.5  # another cut-out may lie on it
    assert pasted > 3


@pytest.mark.parametrize("base", [RETINANET, RTMDET_TINY, YOLOX])
def test_the_base_s_preprocessor_keeps_its_settings(base):
    """Dicts are merged: no ``_delete_``."""
    config, stock = merged(base, README_BATCH), Config.fromstring(f'_base_ = "{base}"', file_format=".py")
    ours, theirs = (dict(one.model.data_preprocessor) for one in (config, stock))
    assert ours.pop("augments_before_normalize")
    assert (ours.pop("type"), theirs.pop("type")) == ("cutmix_dense.DetDataPreprocessor", "DetDataPreprocessor")
    assert ours == theirs
    assert theirs
    assert config.get("custom_hooks") == stock.get("custom_hooks")
    assert config.default_hooks.pop("close_mix").type == "cutmix_dense.CloseMixHook"
    assert config.default_hooks == stock.default_hooks


@pytest.mark.parametrize("base", [FCN, DEEPLABV3PLUS, SEGFORMER_B0])
def test_mmseg_per_batch(base, cityscapes, tmp_path):
    runner = runner_of(merged(base, SEG_BATCH), cityscapes, tmp_path)
    assert runner.train_dataloader.batch_size == 2
    check_batches(runner)


@pytest.mark.parametrize("base", [RETINANET, RTMDET_TINY, FASTER_RCNN])
def test_mmdet_weighs_its_losses(base, coco, tmp_path):
    runner = runner_of(merged(base, README_HOOK), coco, tmp_path)
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, WeighLossesHook)]
    hook.before_train(runner)
    heads = runner.model.roi_head if base == FASTER_RCNN else runner.model
    assert type(heads.bbox_head).__name__.startswith("Weighing")


def test_mmdet_weighs_a_mixed_batch(coco, tmp_path):
    config = shrunk(merged(RETINANET, WEIGHED), coco_settings(coco, "train2017", NAMES), tmp_path, 8)
    runner = Runner.from_cfg(config)
    batch = next(iter(runner.train_dataloader))
    cut = []
    for seed in range(20):
        torch.manual_seed(seed)
        data = runner.model.data_preprocessor(copy.deepcopy(batch), training=True)
        cut = [sample for sample in data["data_samples"] if (sample.gt_instances.visibility < 0.9).any()]
        if cut and not any(len(sample.ignored_instances) for sample in data["data_samples"]):
            break
    assert cut
    stock = runner.model(**data, mode="loss")
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, WeighLossesHook)]
    hook.before_train(runner)
    found = runner.model(**data, mode="loss")
    assert sum(found["loss_bbox"]) < sum(stock["loss_bbox"])


# the shipped configs


@pytest.mark.parametrize("name", [RETINA, SEGFORMER, DEEPLAB_VOC_BATCH])
def test_ready_configs_mix_batches(name, request, tmp_path):
    data = request.getfixturevalue({RETINA: "coco", SEGFORMER: "cityscapes", DEEPLAB_VOC_BATCH: "voc"}[name])
    check_batches(runner_of(Config.fromfile(ROOT / "configs" / name), data, tmp_path))


def test_a_ready_detector_mixes_samples(coco, tmp_path):
    runner = runner_of(Config.fromfile(ROOT / "configs" / RCNN_COCO), coco, tmp_path)
    check_nothing_is_idle(runner)
    assert sum(foreign_pixels(runner.model.data_preprocessor, batch) for batch in batches(runner, 3)) > 10000


def test_a_ready_detector_pastes_by_masks(coco, tmp_path):
    """Behind a resize: the bits of a pixel's picture are whole but at a few borders."""
    runner = runner_of(Config.fromfile(ROOT / "configs" / MASK_RCNN), coco, tmp_path)
    check_nothing_is_idle(runner)
    pasted = 0
    for results in at_the_mix(runner, 3):
        number, _, _ = decoded(results["img"])
        for label, mask in zip(results["gt_bboxes_labels"].tolist(), results["gt_masks"].masks.astype(bool)):
            assert (number[mask] == label).mean() > 0.97
            pasted += label != results["img_id"]
    assert pasted > 0


@pytest.mark.parametrize(("name", "size"), [(RTMDET, (1280, 1280)), (RTMDET_640, (640, 640))])
def test_ready_detectors_mix_mosaics(name, size, coco, tmp_path):
    check_mosaics(runner_of(Config.fromfile(ROOT / "configs" / name), coco, tmp_path, batch_size=6), size)


@pytest.mark.parametrize("name", [DEEPLAB, DEEPLAB_VOC])
def test_ready_segmenters_mix_samples(name, request, tmp_path):
    data = request.getfixturevalue("cityscapes" if name == DEEPLAB else "voc")
    runner = runner_of(Config.fromfile(ROOT / "configs" / name), data, tmp_path, batch_size=2)
    check_nothing_is_idle(runner)
    counts = [n for batch in batches(runner, 6) for n in sources_of(runner.model.data_preprocessor, batch)]
    assert 2 in counts
