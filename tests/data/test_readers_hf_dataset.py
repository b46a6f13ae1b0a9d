"""A dataset object of Hugging Face: with `datasets` where it is installed, and with the least that will do."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from versions import needs_uint16

from cutmix_dense.data import DatasetError, SampleError
from cutmix_dense.data.readers import HuggingFaceDataset

pytestmark = pytest.mark.filterwarnings("ignore:.*left out")


def png(pixels: np.ndarray) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


class Picture:
    """The feature of an image column."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class Names:
    """A ClassLabel."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Items:
    """The feature of a list."""

    def __init__(self, feature: Any) -> None:
        self.feature = feature


class Rows:
    """The part of `datasets.Dataset` that is used."""

    split = "train"

    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self.columns.items()}

    def with_format(self, kind: None) -> Rows:
        return self

    def cast_column(self, name: str, feature: Any) -> Rows:
        return Rows(self.columns, {**self.features, name: feature})

    def select_columns(self, names: list[str]) -> Rows:
        return Rows({name: self.columns[name] for name in names}, {name: self.features[name] for name in names})


@pytest.fixture(params=["least", "datasets"])
def make(request):
    """Make a data set of columns; `names` are those of the category in objects."""
    library = pytest.importorskip("datasets") if request.param == "datasets" else None
    if library is not None and not hasattr(library, "Dataset"):  # the folder of that name in the repository
        pytest.skip("datasets is not installed")

    def made(names: list[str] | None = None, **columns: list[Any]) -> Any:
        pictures = [name for name in columns if name in ("image", "annotation")]
        if library is None:
            features: dict[str, Any] = {name: Picture() if name in pictures else object() for name in columns}
            if names:
                features["objects"] = {"bbox": Items(Items(object())), "category": Items(Names(names))}
            return Rows(columns, features)
        dataset = library.Dataset.from_dict(columns, split=library.NamedSplit("train"))
        for name in pictures:
            dataset = dataset.cast_column(name, library.Image())
        if names:
            category = library.Sequence(library.ClassLabel(names=names))
            features = {**dataset.features["objects"], "category": category}
            dataset = dataset.cast_column("objects", features)
        return dataset

    return made


PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
DEEP = (np.arange(40 * 60).reshape(40, 60) * 20).astype(np.uint16)
OBJECTS = {
    "bbox": [[1.0, 2.0, 10.0, 20.0], [30.5, 4.0, 5.0, 6.0]],
    "category": [1, 0],
    "area": [77.0, 30.0],
    "id": [4, 5],
}
NONE: dict[str, list[Any]] = {"bbox": [], "category": [], "area": [], "id": []}


@needs_uint16
def test_objects_with_names_and_pixels_of_sixteen_bits(make):
    rows = make(["cat", "dog"], image=[png(PIXELS), png(DEEP)], objects=[OBJECTS, NONE], caption=["two", "none"])
    dataset = HuggingFaceDataset(rows, details=True)
    assert (len(dataset), dataset.classes, dataset.split) == (2, ("background", "cat", "dog"), "train")
    image, target = dataset[0]
    assert np.array_equal(image.numpy(), PIXELS.transpose(2, 0, 1))
    assert target["boxes"].tolist() == [[1, 2, 11, 22], [30.5, 4, 35.5, 10]]
    assert target["labels"].tolist() == [2, 1]
    assert target["area"].tolist() == [77, 30]
    assert target["details"][0]["_stated"] == {"bbox": [1, 2, 10, 20], "category": 1, "area": 77, "id": 4}
    deep, empty = dataset[1]
    assert deep.dtype == torch.uint16
    assert np.array_equal(deep[0].numpy(), DEEP)
    assert list(empty) == list(target)
    assert empty["boxes"].shape == (0, 4)
    assert dataset.picture(0)[:2] == ("0.png", {"caption": "two"})
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[0][1]["boxes"], target["boxes"])


def test_numbers_without_names_and_names_in_words(make):
    rows = make(image=[png(PIXELS)], objects=[OBJECTS])
    assert HuggingFaceDataset(rows).classes == ("background", "0", "1")
    assert HuggingFaceDataset(rows, classes=["a", "b"]).classes == ("background", "a", "b")
    words = make(image=[png(PIXELS)], objects=[{"bbox": OBJECTS["bbox"], "label": ["zebra", "ant"]}])
    dataset = HuggingFaceDataset(words)
    assert dataset.classes == ("background", "ant", "zebra")
    assert dataset[0][1]["labels"].tolist() == [2, 1]


def test_maps(make):
    ids = np.zeros((40, 60), dtype=np.uint8)
    ids[:5], ids[6] = 1, 255
    rows = make(image=[png(PIXELS)], annotation=[png(ids)])
    dataset = HuggingFaceDataset(rows, semantic="annotation", classes=["road", "car"])
    target = dataset[0][1]
    assert dataset.has_semantic
    assert np.array_equal(target["semantic"].numpy(), ids)
    assert set(target) == {"image_id", "semantic"}
    with pytest.raises(ValueError, match="classes="):
        HuggingFaceDataset(rows, semantic="annotation")
    with pytest.raises(SampleError, match=r"train/0: the map holds the ids 0 … 1, the 1 classes are 0 … 0"):
        HuggingFaceDataset(rows, semantic="annotation", classes=["road"])[0]
    colours = make(image=[png(PIXELS)], annotation=[png(PIXELS)])
    with pytest.raises(SampleError, match="palette or grey picture, this one is RGB"):
        HuggingFaceDataset(colours, semantic="annotation", classes=["road"])[0]
    small = make(image=[png(PIXELS)], annotation=[png(ids[:20])])
    with pytest.raises(SampleError, match="the map is 60×20, its image is 60×40"):
        HuggingFaceDataset(small, semantic="annotation", classes=["road", "car"])[0]


def test_what_is_refused(make):
    rows = make(image=[png(PIXELS)], objects=[OBJECTS])
    with pytest.raises(ValueError, match="no column 'pic'; the columns are image, objects"):
        HuggingFaceDataset(rows, image="pic")
    with pytest.raises(ValueError, match="must hold pictures"):
        HuggingFaceDataset(rows, image="objects")
    with pytest.raises(ValueError, match="map-style"):
        HuggingFaceDataset({"train": rows})
    with pytest.raises(DatasetError, match="no row has boxes"):
        HuggingFaceDataset(make(image=[png(PIXELS)], text=["a"]))
    relative = {"bbox": [[0.1, 0.2, 0.5, 0.5]], "category": [0]}
    with pytest.raises(DatasetError, match='box_format="relative_xywh"'):
        HuggingFaceDataset(make(image=[png(PIXELS)], objects=[relative]))
    found = HuggingFaceDataset(make(image=[png(PIXELS)], objects=[relative]), box_format="relative_xywh")[0][1]["boxes"]
    assert found[0].tolist() == pytest.approx([6, 8, 36, 28], abs=1e-4)
    corners = {"bbox": [[30.0, 20.0, 55.0, 38.0]] * 3, "category": [0] * 3}
    with pytest.raises(DatasetError, match=r'9 of 9 .*box_format="xyxy" reads'):
        HuggingFaceDataset(make(image=[png(PIXELS)] * 3, objects=[corners] * 3))


def test_a_broken_picture_is_named(make):
    broken = {"bytes": b"nothing", "path": None}
    dataset = HuggingFaceDataset(make(image=[png(PIXELS), broken], objects=[OBJECTS, OBJECTS]))
    assert dataset[0][1]["labels"].tolist() == [2, 1]
    with pytest.raises(SampleError, match=r"train/1: .*cannot identify image"):
        dataset[1]
