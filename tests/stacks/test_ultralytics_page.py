"""The page docs/stacks/ultralytics.md as it stands, and trainings of every task of the real package, on drawn images.

Every batch that a trainer hands on is coded before it is mixed: its images by number, x and y, its objects by their
place in the batch. So a training proves of each field what the tests of single batches prove.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import Settings, coded_image, decode
from snippets import ROOT, blocks, run
from stacks.yolo import check, generator, rows_of

import cutmix_dense as cd
from cutmix_dense.ultralytics import close_with_mosaic, mix_batch

PAGE = ROOT / "docs" / "stacks" / "ultralytics.md"
HEIGHT, WIDTH = 64, 96

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ultralytics") is None, reason="ultralytics isn't installed")

QUICK = {
    "imgsz": WIDTH,
    "batch": 4,
    "workers": 0,
    "device": "cpu",
    "amp": False,
    "plots": False,
    "verbose": False,
    "val": False,
    "save": False,
    "pretrained": False,
    "mosaic": 0.0,
}


@pytest.fixture(scope="module", autouse=True)
def settings(tmp_path_factory):
    """Ultralytics' settings in a folder of the tests; nothing is looked for on the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("settings")))
        patch.setenv("YOLO_OFFLINE", "1")
        yield


@pytest.fixture
def no_download(monkeypatch):
    """A download is an error."""
    from ultralytics.utils import downloads

    def refuse(*args, **kwargs):
        raise AssertionError(f"a download was tried: {args}, {kwargs}")

    monkeypatch.setattr(downloads, "safe_download", refuse)


@pytest.fixture
def fonts(no_download, monkeypatch):
    """Plots find a font without the network."""
    from matplotlib import font_manager
    from ultralytics.utils import plotting

    monkeypatch.setattr(plotting, "check_font", lambda *args: font_manager.findfont("DejaVu Sans"))


def draw(root: Path, task: str) -> Path:
    """Six images of 96 × 64 pixels, one of them without objects, in the layout of a task; returns its data.yaml."""
    import yaml
    from PIL import Image

    rng = np.random.default_rng(0)
    names = ["a", "b", "c"]
    for split in ("train", "val"):
        for number in range(6):
            classes = [names[number % 3]] if task == "classify" else []
            picture = root.joinpath(*([split, *classes] if task == "classify" else ["images", split]), f"{number}.png")
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(picture)
            lines = []
            for cls in range(0 if number == 2 else 4):
                size = rng.integers(12, 40, 2) / (WIDTH, HEIGHT)
                centre = rng.uniform(size / 2 + 0.02, 0.98 - size / 2)
                low, high = centre - size / 2, centre + size / 2
                shape = {
                    "segment": [low[0], low[1], high[0], low[1], high[0], high[1], low[0], high[1]],
                    "obb": [low[0], centre[1], centre[0], low[1], high[0], centre[1], centre[0], high[1]],
                }.get(task, [*centre, *size])
                if task == "pose":
                    points = np.column_stack([rng.uniform(low, high, (5, 2)), rng.integers(0, 3, 5)])
                    shape = [*shape, *points.flatten()]
                lines.append(" ".join(map(str, [cls % 3, *shape])))
            label = root / "labels" / split / f"{number}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            if task not in ("semantic", "depth", "classify"):
                label.write_text("\n".join(lines))
            if task == "semantic":
                semantic = rng.choice([0, 1, 2, 255], (HEIGHT, WIDTH)).astype(np.uint8)
                (root / "masks" / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(semantic).save(root / "masks" / split / f"{number}.png")
            if task == "depth":
                (root / "depth" / split).mkdir(parents=True, exist_ok=True)
                depth = rng.uniform(-1, 9, (HEIGHT, WIDTH)).astype(np.float32)
                np.save(root / "depth" / split / f"{number}.npy", depth)
    data: dict = {"path": str(root), "train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
    data |= {"pose": {"kpt_shape": [5, 3]}, "semantic": {"masks_dir": "masks"}}.get(task, {})
    if task == "depth":
        data |= {"names": {0: "depth"}, "nc": 1}
    (root / "data.yaml").write_text(yaml.safe_dump(data))
    return root if task == "classify" else root / "data.yaml"


class Coder:
    """Stands where ``mix_batch`` does: codes a batch, mixes it, holds it against its pixels, takes the codes off."""

    def __init__(self) -> None:
        self.foreign: dict[int, int] = {}  # pixels of other images, by epoch
        self.rows = self.batches = 0
        self.kinds: set[str] = set()

    def __call__(self, batch: dict, mix, epoch: int, **options) -> dict:
        seed = self.batches
        self.batches += 1
        count, *_, height, width = batch["img"].shape
        coded = dict(batch, img=torch.stack([coded_image(n, height, width) for n in range(count)]))
        classes = batch.get("cls")
        if "bboxes" in batch:
            coded["cls"] = torch.arange(len(classes), dtype=classes.dtype)[:, None]
        if "sem_masks" in batch:
            coded["sem_masks"] = self._numbered(coded, options["overlap_mask"])
        mixed = mix_batch(coded, mix, generator(seed), **options)
        self.kinds |= {key for key, value in mixed.items() if isinstance(value, torch.Tensor)}
        self.foreign.setdefault(epoch, 0)
        sizes = [(height, width)] * count
        sources = [decode(image, (height, width), sizes) for image in mixed["img"]]
        self.foreign[epoch] += sum(int((prov.source != n).sum()) for n, prov in enumerate(sources))
        for key in ("semantic_mask", "depth"):
            if key in batch:
                for prov, value in zip(sources, mixed[key]):
                    given = batch[key].reshape(count, height, width)
                    assert torch.equal(value.reshape(height, width), given[prov.source, prov.y, prov.x])
        if "bboxes" in batch:
            if batch["bboxes"].shape[1] == 4 and not mix.closed:
                check(coded, mixed, mix, seed, Settings(), chosen=False)
            self._centres(coded, mixed, sources)
            self.rows += len(mixed["cls"])
            mixed["cls"] = classes[mixed["cls"][:, 0].long()]
        if "sem_masks" in batch:
            mixed["sem_masks"] = classes[mixed["sem_masks"].long(), 0] if len(classes) else batch["sem_masks"]
        return mixed

    @staticmethod
    def _numbered(batch: dict, overlap: bool) -> torch.Tensor:
        """``sem_masks`` with the number of each pixel's row for its class."""
        maps = torch.zeros(len(batch["img"]), *batch["masks"].shape[1:])
        for image in range(len(maps)):
            rows = torch.from_numpy(rows_of(batch, image))
            if len(rows) and overlap:
                maps[image] = rows[batch["masks"][image].long() - 1].float()  # background: the last one's, as there
            elif len(rows):
                for row in sorted(rows.tolist(), key=lambda row: -batch["masks"][row].sum()):
                    maps[image][batch["masks"][row] > 0] = row
        return maps

    @staticmethod
    def _centres(batch: dict, mixed: dict, sources: list) -> None:
        """A row's image shows in its output; of an unchanged one the pixel at its centre, unless another lies on it."""
        for row in range(len(mixed["cls"])):
            number, output = int(mixed["cls"][row, 0]), int(mixed["batch_idx"][row])
            source = int(batch["batch_idx"][number])
            assert (sources[output].source == source).any()
        for output, prov in enumerate(sources):
            for source in np.unique(prov.source):
                whole = (prov.source == source).all()
                if whole:
                    wanted, rows = rows_of(batch, source), rows_of(mixed, output)
                    assert mixed["cls"][rows, 0].tolist() == wanted.tolist()
                    assert torch.equal(mixed["bboxes"][rows], batch["bboxes"][wanted])


TASKS = {
    "detect": ("DetectionTrainer", "", {}),
    "segment": ("SegmentationTrainer", "-seg", {}),
    "segment, a mask per row": ("SegmentationTrainer", "-seg", {"overlap_mask": False}),
    "pose": ("PoseTrainer", "-pose", {}),
    "obb": ("OBBTrainer", "-obb", {}),
    "semantic": ("SemanticSegmentationTrainer", "-sem", {}),
    "depth": ("DepthTrainer", "-depth", {}),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_training_of_every_task(name, tmp_path, no_download):
    from ultralytics.models import yolo

    trainer_name, suffix, options = TASKS[name]
    task = name.partition(",")[0]
    base, coder = getattr(getattr(yolo, task), trainer_name), Coder()

    class MixTrainer(base):
        mix = cd.CutMix(p=1.0)

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.add_callback("on_train_epoch_start", close_with_mosaic(self.mix))

        def preprocess_batch(self, batch):
            batch = super().preprocess_batch(batch)
            return coder(batch, self.mix, self.epoch, overlap_mask=self.args.overlap_mask)

    trainer = MixTrainer(
        overrides={
            **QUICK,
            **options,
            "rect": True,  # 96 × 64
            "model": f"yolo26n{suffix}.yaml",
            "data": str(draw(tmp_path / "data", task)),
            "epochs": 2,
            "close_mosaic": 1,
            "project": str(tmp_path / "runs"),
        }
    )
    trainer.train()
    assert coder.batches == 4  # validation isn't mixed
    assert coder.foreign[0] > HEIGHT * WIDTH / 2
    assert coder.foreign[1] == 0
    assert torch.isfinite(trainer.loss)
    wanted = {"segment": {"masks", "sem_masks"}, "pose": {"keypoints"}, "semantic": {"semantic_mask"}}
    assert wanted.get(task, {"img"} if task != "depth" else {"depth"}) <= coder.kinds
    assert coder.rows > 0 or task in ("semantic", "depth")


def test_a_classifier_learns_from_probabilities(tmp_path, no_download):
    from ultralytics.models.yolo.classify import ClassificationTrainer

    seen = []

    class MixTrainer(ClassificationTrainer):
        mix = cd.CutMix(p=1.0, num_classes=3)

        def preprocess_batch(self, batch):
            batch = super().preprocess_batch(batch)
            mixed = mix_batch(batch, self.mix)
            seen.append((batch, mixed))
            return mixed

    places = {"data": str(draw(tmp_path / "data", "classify")), "project": str(tmp_path / "runs")}
    trainer = MixTrainer(overrides={**QUICK, **places, "model": "yolo26n-cls.yaml", "epochs": 1})
    trainer.train()
    assert torch.isfinite(trainer.loss)
    assert len(seen) == 2
    before, after = seen[0]
    assert after["cls"].shape == (4, 3)
    assert torch.allclose(after["cls"].sum(1), torch.ones(4))
    for output in range(4):
        own = (after["img"][output] == before["img"][output]).all(dim=0).float().mean()
        partner = before["cls"].roll(1, 0)[output]
        share = after["cls"][output, before["cls"][output]]
        assert partner == before["cls"][output] or torch.isclose(share, own, atol=1e-3)
    assert not torch.equal(before["img"], after["img"])


def plots_of(trainer) -> list[str]:
    """The pictures of training batches that a trainer wrote, once its threads have drawn them."""
    for thread in threading.enumerate():
        if "plot_images" in thread.name:
            thread.join()
    return sorted(path.name for path in Path(trainer.save_dir).glob("train_batch*"))


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_classifier_of_the_page_trains_and_draws_its_batches(tmp_path, fonts):
    names: dict = {}
    for snippet in blocks(PAGE, "python"):
        if "class MixTrainer" in snippet or "class MixClassifier" in snippet:
            exec(snippet, names)
    names["MixClassifier"].mix.p = 1.0
    places = {"data": str(draw(tmp_path / "data", "classify")), "project": str(tmp_path / "runs")}
    options = {**QUICK, **places, "model": "yolo26n-cls.yaml", "epochs": 2, "close_mosaic": 1, "plots": True}
    shares = []

    class Watched(names["MixClassifier"]):
        def plot_training_samples(self, batch, ni):
            shares.append(batch["cls"].max(dim=1).values)
            super().plot_training_samples(batch, ni)

    trainer = Watched(overrides=options)
    trainer.train()
    assert torch.isfinite(trainer.loss)
    assert (torch.cat(shares) < 1).any(), "nothing was mixed"
    assert names["MixClassifier"].mix.closed
    assert plots_of(trainer) == [f"train_batch{number}.jpg" for number in range(4)]  # 3: closed


def test_the_page_trains_mixed_and_closes(tmp_path, monkeypatch, no_download):
    pytest.importorskip("cv2")
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    seen: dict[int, list[bool]] = {}
    keys: set[str] = set()
    for number, snippet in enumerate(blocks(PAGE, "python")):
        run(snippet, PAGE, number, names)
        if "class MixTrainer" in snippet:
            trainer, hook = names["MixTrainer"], names["MixTrainer"].preprocess_batch
            names["mix"] = trainer.mix
            trainer.mix.p = 1.0  # of 0.5 a batch may stay as it is

            def told(self, batch, hook=hook, trainer=trainer):
                plain = super(trainer, self).preprocess_batch({**batch})
                mixed = hook(self, batch)
                seen.setdefault(self.epoch, []).append(not torch.equal(plain["img"], mixed["img"]))
                keys.update(mixed)
                return mixed

            trainer.preprocess_batch = told
            own = len(snippet.partition("class MixTrainer")[2].splitlines())
            assert own <= 15
    assert seen == {0: [True, True], 1: [True, True], 2: [False, False]}
    assert {"masks", "sem_masks", "bboxes"} <= keys
    assert names["mix"].closed
    before, after = names["batch"], names["mixed"]
    assert list(before) == list(after)
    assert not torch.equal(before["img"], after["img"])
    assert len(after["bboxes"]) == len(after["cls"]) == len(after["batch_idx"]) > 0


def test_the_page_names_every_key_that_is_handled():
    from cutmix_dense.ultralytics import batch

    text = PAGE.read_text()
    for key in ("img", "masks", "sem_masks", "semantic_mask", "depth", *batch._ROWS):
        assert re.search(rf"`{key}`", text), key


def test_the_page_names_trainers_that_exist():
    from ultralytics.models import rtdetr, yolo

    found = {name for part in (yolo, rtdetr) for name in vars(part)} | {
        name for task in ("detect", "segment", "pose", "obb", "semantic", "depth") for name in vars(getattr(yolo, task))
    }
    named = set(re.findall(r"`(\w+Trainer)`", PAGE.read_text()))
    assert len(named) >= 6
    assert named <= found | {"RTDETRTrainer"}
    from ultralytics.models.rtdetr.train import RTDETRTrainer

    assert issubclass(RTDETRTrainer, yolo.detect.DetectionTrainer)
