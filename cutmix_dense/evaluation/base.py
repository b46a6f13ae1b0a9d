"""The base of the metrics: one small result per image, each image once, in an order that ranks don't change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mmengine.evaluator import BaseMetric

from cutmix_dense.evaluation.samples import image_id


class ImageMetric(BaseMetric):
    """A metric of a whole dataset, put together from one result per image.

    MMEngine interleaves the ranks' results one by one and cuts the list to the dataset's length, which drops exactly
    what a sampler repeats at the end to give all ranks equally many. Images that come twice in spite of that stand
    where others are missing: they raise.

    Args:
        collect: `collect_device`, `collect_dir` and `prefix`, as in `mmengine.evaluator.BaseMetric`.
    """

    def __init__(self, **collect: Any) -> None:
        super().__init__(**collect)

    @abstractmethod
    def measure(self, sample: dict[str, Any]) -> Any:
        """What is kept of one image: small, picklable, on the CPU."""

    @abstractmethod
    def summarize(self, results: list[Any]) -> dict[str, float]:
        """The metrics, in percent, from every image's result in the order of the image ids."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; ValueError if the dataset doesn't state them."""
        names = (self.dataset_meta or {}).get("classes")
        if not names:
            raise ValueError(
                f"{type(self).__name__} needs the dataset's metainfo['classes'], got a metainfo of {self.dataset_meta}"
            )
        return tuple(names)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Measure the images of one batch.

        Args:
            data_batch: not read.
            data_samples: dicts with `image_id`, `prediction` and `target`.

        Raises:
            ValueError: a field that is missing or doesn't fit; named with its image.
        """
        for sample in data_samples:
            self.results.append((image_id(sample), self.measure(sample)))

    def compute_metrics(self, results: list[tuple[int | str, Any]]) -> dict[str, float]:
        """The metrics of the collected results.

        Raises:
            ValueError: no result at all, or two of one image.
        """
        name = type(self).__name__
        if not results:
            raise ValueError(f"{name} has nothing to evaluate: no image was processed")
        ordered = sorted(results, key=lambda result: (isinstance(result[0], str), result[0]))
        for (before, _), (after, _) in pairwise(ordered):
            if before == after:
                raise ValueError(f"{name}: image_id {after!r} came twice, each image may be evaluated once")
        return {key: float(value) for key, value in self.summarize([result for _, result in ordered]).items()}
