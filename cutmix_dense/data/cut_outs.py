"""Banks of cut-outs that are pasted onto a data set's pictures: whether their classes are those of the data set."""

from __future__ import annotations

from typing import Any

from cutmix_dense.data.readers import DenseDataset
from cutmix_dense.transforms.instance_bank import InstanceBank, bank_of


def banks_of(transform: Any) -> list[InstanceBank]:
    """The banks that a transform, or one of several, pastes from."""
    banks = map(bank_of, getattr(transform, "members", [transform]))
    return [bank for bank in banks if bank is not None]


def check_banks(dataset: DenseDataset, transform: Any) -> None:
    """Raise ValueError unless what a transform pastes from banks can be written as instances of a data set.

    Args:
        dataset: what the cut-outs are pasted onto.
        transform: a transform of this package.

    Raises:
        ValueError: a bank holds a class that the data set doesn't have, or calls it by another name; a data set with
            maps of classes or segments, which a cut-out doesn't have.
    """
    for bank in banks_of(transform):
        for kind, there in (("semantic", dataset.has_semantic), ("panoptic", dataset.has_panoptic)):
            if there:
                raise ValueError(
                    f"source is a bank of cut-outs, which have no {kind} map, and {dataset.root} has such maps: "
                    "paste from its own pictures (source='partner')"
                )
        for label in sorted(bank.counts):
            own = dataset.classes[label] if 0 <= label < len(dataset.classes) else None
            name = bank.classes[label] if 0 <= label < len(bank.classes) else own
            if own is None or name != own:
                called = repr(name) if name is not None else "one without a name"
                theirs = f"calls it {own!r}" if own is not None else f"has {len(dataset.classes)} classes"
                raise ValueError(
                    f"source must hold classes of the data set alone, by its numbers: class {label} of the bank is "
                    f"{called}, and {dataset.root} {theirs}: make the bank of this data set, or give its cut-outs the "
                    f"numbers of {', '.join(map(repr, dataset.classes))}"
                )
